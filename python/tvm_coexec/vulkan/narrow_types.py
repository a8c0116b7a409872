"""Types of 8 and 16 bits, and booleans, in WGSL, which has none of them: words in tensors, 32 bits in a kernel.

A tensor's elements lie in words of four bytes. Loads shift the element out of its word. Stores must not touch the
word's other elements, which other work-items write, so they are atomic. In a kernel such values are integers of 32
bits, wrapped to their width after each operation that may exceed it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import tvm
from tvm import tir
from tvm.ir import PointerType, PrimType
from tvm.tir.stmt_functor import ir_transform, post_order_visit, substitute

NARROW = ("int8", "uint8", "int16", "uint16")
STORED = (*NARROW, "bool")  # in tensors; inside a kernel WGSL has booleans
_ARITHMETIC = ("tir.Add", "tir.Sub", "tir.Mul", "tir.Div", "tir.Mod", "tir.FloorDiv", "tir.FloorMod")
_LOAD, _STORE = "coexec_load_{}", "coexec_store_{}"
_BINDING = re.compile(r"(@group\(0\) @binding\((\d+)\) var<storage, )(?:read|read_write)(> (\w+) : array<)u32>;")


def why_not_narrow(func: tir.PrimFunc) -> str:
    """Return why a kernel with such types can't be rewritten; empty if it can."""
    found: list[str] = []

    def visit(node: object) -> None:
        if isinstance(node, tir.PrimExpr) and not found:
            name, _, lanes = str(node.dtype).partition("x")
            if lanes and name in STORED and not isinstance(node, tir.Ramp | tir.Broadcast):
                found.append(f"it computes with vectors of {name}")

    post_order_visit(func.body, visit)
    return found[0] if found else ""


def widen(func: tir.PrimFunc) -> tir.PrimFunc:
    """Return a kernel without such types, whose tensors of them are words.

    Parameters
    ----------
    func : PrimFunc
        After TVM's passes for devices.

    Returns
    -------
    PrimFunc
        It loads and stores elements by calls that `with_accessors` defines; unchanged if it has no such types.
    """
    words: dict[tir.Var, tir.Var] = {}
    numbers: dict[tir.Var, int] = {}
    handles = [p for p in func.params if p.dtype == "handle"]
    for number, param in enumerate(handles):
        if _element_of(param) in STORED:
            words[param] = tir.Var(param.name, PointerType(PrimType("uint32"), "global"))
            numbers[param] = number
    if not words and not _has_narrow_values(func.body):
        return func
    body = _wrap_arithmetic(_inline_narrow_lets(func.body))
    body = _Widening(numbers).rewrite(body)
    params = [words.get(p, p) for p in func.params]
    return tir.PrimFunc(params, body, func.ret_type, None, func.attrs)


def with_accessors(source: str, func: tir.PrimFunc) -> str:
    """Return the shader of a widened kernel with the functions that load and store elements.

    Parameters
    ----------
    source : str
        What the generator wrote for `widen(func)`.
    func : PrimFunc
        The kernel before it was widened.
    """
    handles = [p for p in func.params if p.dtype == "handle"]
    elements = [_element_of(p) for p in handles]
    functions: list[str] = []

    def declare(found: re.Match[str]) -> str:
        number, name = int(found[2]), found[4]
        if elements[number] not in STORED:
            return found[0]
        stores = _STORE.format(number) + "(" in source
        bits = 8 if elements[number] == "bool" else tvm.DataType(elements[number]).bits
        functions.append(_accessors(number, name, bits, stores))
        return f"{found[1]}read_write{found[3]}atomic<u32>>;" if stores else f"{found[1]}read{found[3]}u32>;"

    declared = _BINDING.sub(declare, source)
    return "".join(functions) + declared


def _accessors(number: int, name: str, bits: int, stores: bool) -> str:
    per_word, mask = 32 // bits, (1 << bits) - 1
    word = f"atomicLoad(&{name}[i / {per_word}u])" if stores else f"{name}[i / {per_word}u]"
    text = f"""fn {_LOAD.format(number)}(at : i32) -> u32 {{
  let i = u32(at);
  return ({word} >> (i % {per_word}u * {bits}u)) & {mask}u;
}}
"""
    if stores:
        text += f"""fn {_STORE.format(number)}(at : i32, value : u32) -> i32 {{
  let i = u32(at);
  let shift = i % {per_word}u * {bits}u;
  atomicAnd(&{name}[i / {per_word}u], ~({mask}u << shift));
  atomicOr(&{name}[i / {per_word}u], (value & {mask}u) << shift);
  return 0i;
}}
"""
    return text


def _element_of(param: tir.Var) -> str:
    """Return the type of a tensor's elements; empty before TVM has made it a pointer."""
    pointed = param.type_annotation
    return str(pointed.element_type.dtype) if isinstance(pointed, PointerType) else ""


def _has_narrow_values(body: tir.Stmt) -> bool:
    found: list[bool] = []

    def visit(node: object) -> None:
        if isinstance(node, tir.PrimExpr) and str(node.dtype) in NARROW:
            found.append(True)

    post_order_visit(body, visit)
    return bool(found)


def _inline_narrow_lets(body: tir.Stmt) -> tir.Stmt:
    def inline(node: tir.LetStmt) -> tir.Stmt | None:
        return substitute(node.body, {node.var: node.value}) if str(node.var.dtype) in NARROW else None

    return ir_transform(body, None, inline, ["tir.LetStmt"])


def _wrap_arithmetic(body: tir.Stmt) -> tir.Stmt:
    """Compute narrow operations in 32 bits and cast the result, as their type would wrap it."""

    def wrap(node: tir.PrimExpr) -> tir.PrimExpr | None:
        if str(node.dtype) not in NARROW:
            return None
        return type(node)(node.a.astype("int32"), node.b.astype("int32")).astype(node.dtype)

    return ir_transform(body, None, wrap, list(_ARITHMETIC))


class _Widening:
    """Replaces narrow values by integers of 32 bits, given the kernel's tensors of words by their numbers."""

    def __init__(self, numbers: dict[tir.Var, int]):
        self.numbers = numbers
        self.locals: dict[tir.Var, tir.Buffer] = {}

    def rewrite(self, body: tir.Stmt) -> tir.Stmt:
        """Return a statement without narrow types."""
        by_node: dict[str, Callable[..., object]] = {
            "tir.DeclBuffer": self._drop_declaration,
            "tir.BufferLoad": self._load,
            "tir.BufferStore": self._store,
            "tir.Allocate": self._allocate,
            "tir.Cast": self._cast,
            "IntImm": self._constant,
            "tir.Call": self._call,
        }

        def visit(node: object) -> object:
            name = type(node).__name__
            return by_node[name if name in by_node else f"tir.{name}"](node)

        return ir_transform(body, None, visit, list(by_node))

    def _load(self, node: tir.BufferLoad) -> tir.PrimExpr | None:
        dtype = str(node.buffer.dtype)
        if node.buffer.data in self.numbers:
            name = _LOAD.format(self.numbers[node.buffer.data])
            bits = tir.call_pure_extern("uint32", name, node.indices[0].astype("int32"))
            return bits != tir.const(0, "uint32") if dtype == "bool" else _wrapped(bits, dtype)
        return tir.BufferLoad(self._local(node.buffer), node.indices) if dtype in NARROW else None

    def _store(self, node: tir.BufferStore) -> tir.Stmt | None:
        if node.buffer.data in self.numbers:
            name = _STORE.format(self.numbers[node.buffer.data])
            value = node.value.astype("int32").astype("uint32")
            return tir.Evaluate(tir.call_extern("int32", name, node.indices[0].astype("int32"), value))
        if str(node.buffer.dtype) not in NARROW:
            return None
        return tir.BufferStore(self._local(node.buffer), node.value.astype("int32"), node.indices)

    def _local(self, buffer: tir.Buffer) -> tir.Buffer:
        if buffer.data not in self.locals:
            scope = buffer.data.type_annotation.storage_scope
            data = tir.Var(buffer.data.name, PointerType(PrimType("int32"), scope))
            self.locals[buffer.data] = tir.decl_buffer(buffer.shape, "int32", buffer.name, data=data, scope=scope)
        return self.locals[buffer.data]

    def _allocate(self, node: tir.Allocate) -> tir.Stmt | None:
        if str(node.dtype) not in NARROW or node.buffer_var not in self.locals:
            return None
        data = self.locals[node.buffer_var].data
        return tir.Allocate(data, "int32", node.extents, node.condition, node.body, node.annotations)

    @staticmethod
    def _drop_declaration(node: tir.DeclBuffer) -> tir.Stmt:
        return node.body

    @staticmethod
    def _cast(node: tir.Cast) -> tir.PrimExpr | None:
        return _wrapped(node.value.astype("int32"), str(node.dtype)) if str(node.dtype) in NARROW else None

    @staticmethod
    def _constant(node: tir.IntImm) -> tir.PrimExpr | None:
        return tir.IntImm("int32", node.value) if str(node.dtype) in NARROW else None

    @staticmethod
    def _call(node: tir.Call) -> tir.PrimExpr | None:
        return tir.Call("int32", node.op, node.args) if str(node.dtype) in NARROW else None


def _wrapped(value: tir.PrimExpr, dtype: str) -> tir.PrimExpr:
    """Return the value of the lowest bits as an int32."""
    bits = tvm.DataType(dtype).bits
    value = value.astype("int32")
    if dtype.startswith("u"):
        return tir.bitwise_and(value, tir.IntImm("int32", (1 << bits) - 1))
    return tir.shift_right(tir.shift_left(value, tir.IntImm("int32", 32 - bits)), tir.IntImm("int32", 32 - bits))
