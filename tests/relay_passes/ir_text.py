"""A module as text that tells what the passes decided, and nothing that changes from one TVM version to the next."""

from __future__ import annotations

import tvm
from tvm import relay

# Attributes that the passes read or write; others keep what the model had.
ATTRS = (
    "strides", "padding", "dilation", "groups", "channels", "output_padding", "pool_size", "ceil_mode", "axis", "axes",
    "begin", "end", "pad_width", "size", "units",
)  # fmt: skip
DEFAULTS = {"dilation": "[1, 1]", "groups": "1", "ceil_mode": "0", "output_padding": "[0, 0]"}


def ir_text(mod: tvm.IRModule) -> str:
    """One line an operator; functions by segment, the GPU's share before the CPU's, what joins them, main last."""
    names = sorted((v.name_hint for v in mod.get_global_vars()), key=_order)
    return "\n".join(_function(name, mod[name]) for name in names)


def _order(name: str) -> tuple[int, int, str]:
    if name == "main":
        return (1 << 30, 0, name)
    _, number, device = name.split("_")
    return (int(number), ["gpu", "cpu", "split", "join"].index(device), name)


def _type(ty: tvm.ir.Type) -> str:
    if isinstance(ty, tvm.ir.TupleType):
        return "(" + ", ".join(_type(f) for f in ty.fields) + ")"
    return f"{ty.dtype}[{', '.join(str(int(d)) for d in ty.shape)}]"


def _plain(value: object) -> str:
    if isinstance(value, tvm.ir.Array):
        return "[" + ", ".join(_plain(v) for v in value) + "]"
    return str(int(value)) if isinstance(value, (bool, int, tvm.tir.IntImm)) else str(value)


def _attrs(call: relay.Call) -> str:
    if call.attrs is None or not isinstance(call.op, tvm.ir.Op):
        return ""
    have = {str(f.name) for f in tvm.ir.Attrs.list_field_info(call.attrs)}
    shown = []
    for key in ATTRS:
        value = getattr(call.attrs, key) if key in have else None
        if value is not None and _plain(value) != DEFAULTS.get(key):
            shown.append(f"{key}={_plain(value)}")
    return "  {" + ", ".join(shown) + "}" if shown else ""


def _function(name: str, func: relay.Function) -> str:
    lines: list[str] = []
    names: dict[relay.Expr, str] = {}

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Var):
            names[node] = f"%{node.name_hint}"
        elif isinstance(node, relay.Constant):
            names[node] = f"const {_type(node.checked_type)}"
        elif isinstance(node, relay.Tuple):
            names[node] = "(" + ", ".join(names[f] for f in node.fields) + ")"
        elif isinstance(node, relay.TupleGetItem):
            names[node] = f"{names[node.tuple_value]}.{node.index}"
        elif isinstance(node, relay.GlobalVar):
            names[node] = f"@{node.name_hint}"
        elif isinstance(node, relay.Call):
            op = node.op.name if isinstance(node.op, tvm.ir.Op) else names[node.op]
            names[node] = f"%{len(lines)}"
            args = ", ".join(names[a] for a in node.args)
            lines.append(f"  {names[node]} = {op}({args}){_attrs(node)} -> {_type(node.checked_type)}")

    relay.analysis.post_order_visit(func.body, visit)
    params = ", ".join(f"%{p.name_hint}: {_type(p.checked_type)}" for p in func.params)
    decided = {} if func.attrs is None else {str(k): func.attrs[k] for k in func.attrs.keys()}  # noqa: SIM118
    head = [f"  {k} = {_plain(v)}" for k, v in sorted(decided.items()) if k.startswith("coexec.")]
    return "\n".join([f"def @{name}({params})", *head, *lines, f"  return {names[func.body]}", ""])
