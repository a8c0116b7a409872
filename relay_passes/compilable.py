"""Check which functions of the GPU TVM can compile, before anything is built.

TVM rejects an operator on a GPU for several reasons: no implementation for a layout, no schedule for the target, a
schedule that does not fit the shape (often a share's), loops not bound to threads. All of these occur in the first
steps of compiling a kernel: an implementation is selected, scheduled, and lowered to loops. The check runs these steps
with the same calls and tuning records as `relay.build`, and skips the later passes and code generation, which take most
of the time; functions that code generation would get wrong are known by name. The answer for each kernel is cached by
its structure in this process.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import tvm
from tvm import autotvm, relay
from tvm.relay.backend import te_compiler
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.core.refusals import Refusal
from tvm_coexec.pass_context import change_context, empty_body

from .attrs import attrs_of, device_of
from .extract import anchor_attrs
from .extract.kernel_axes import anchor_of
from .ir_utils import dims_of
from .layout import tuned_records

_NOT_BOUND = "its schedule leaves a loop outside the GPU's threads"
_CLASS = re.compile(r"^(?:[\w.]*Error: )+")

_Key = tuple[int, str, str]
# Keyed by the context of tuning records: with other records TVM may choose another schedule.
_reasons: WeakKeyDictionary[autotvm.task.DispatchContext, dict[_Key, str]] = WeakKeyDictionary()


class Uncompilable(CoExecError):
    """A plan assigns work to the GPU that TVM can't compile for it.

    Attributes
    ----------
    refusals : tuple of Refusal
        The kernels and shares concerned; never empty.
    """

    def __init__(self, graph: KernelGraph, refusals: Sequence[Refusal]):
        self.refusals = tuple(refusals)
        first = self.refusals[0]
        name = f"kernel {first.kernel} ({graph.kernels[first.kernel].name})"
        what = f"splits {name} along '{first.axis}'" if first.axis else f"puts {name} on the gpu"
        more = f" (and {len(self.refusals) - 1} more like this)" if len(self.refusals) > 1 else ""
        super().__init__(f"the plan {what}: {first.reason}; put it on the cpu{more}")


@dataclass(frozen=True)
class _Rejected:
    """A fused kernel of a segment's function that TVM can't compile.

    Attributes
    ----------
    segment : int
    ops : frozenset of str
    attrs : dict
        The anchor's attributes, as `Kernel.attrs` has them.
    inputs, outputs : frozenset of tuple of int
        Shapes; weights are among the inputs.
    place : tuple of int
        Its number among the function's kernels with the same anchor, and the number of these.
    why : str
    """

    segment: int
    ops: frozenset[str]
    attrs: dict
    inputs: frozenset[tuple[int, ...]]
    outputs: frozenset[tuple[int, ...]]
    place: tuple[int, int]
    why: str

    @staticmethod
    def of(kernels: list[relay.Function], number: int, segment: int, why: str) -> _Rejected:
        """Describe one of the kernels of a function, by its number."""
        kernel, calls = kernels[number], _calls(kernels[number])
        anchor = anchor_of(calls)
        alike = [n for n, k in enumerate(kernels) if anchor_of(_calls(k)).op == anchor.op]
        return _Rejected(
            segment,
            frozenset(c.op.name for c in calls),
            anchor_attrs(anchor),
            frozenset().union(*(_shapes(p.checked_type) for p in kernel.params)),
            _shapes(kernel.ret_type),
            (alike.index(number), len(alike)),
            why,
        )


def check_compilable(mod: tvm.IRModule, plan: Plan, graph: KernelGraph, gpu: Target) -> None:
    """Check all functions of the GPU.

    Parameters
    ----------
    mod : IRModule
        After `AlterShareLayouts`.
    plan : Plan
        The plan that the module was divided by.
    graph : KernelGraph
    gpu : Target

    Raises
    ------
    Uncompilable
        If TVM can't compile some of them.
    """
    found: dict[tuple[int, str, int], Refusal] = {}
    for rejected in _find_rejected(mod, gpu):
        for r in _match_kernels(rejected, plan.segments[rejected.segment], graph, gpu):
            found.setdefault((r.kernel, r.axis, r.rows), r)
    if found:
        raise Uncompilable(graph, [found[key] for key in sorted(found)])


def _find_rejected(mod: tvm.IRModule, gpu: Target) -> list[_Rejected]:
    number = {v: attrs_of(f).segment for v, f in mod.functions.items() if device_of(f) == "gpu"}
    if not number:
        return []
    context = (
        autotvm.DispatchContext.current
    )  # read before TopHub's context is entered, which is a new object each time
    plain = tvm.IRModule({v: relay.Function(mod[v].params, mod[v].body, mod[v].ret_type) for v in number})
    with gpu:
        fused = tvm.transform.Sequential(
            [relay.transform.InferType(), relay.transform.FuseOps(), relay.transform.InferType()]
        )(plain)
    found = []
    with tuned_records([gpu]):
        for var, segment in number.items():
            kernels = _primitives(fused[var.name_hint])
            for n, kernel in enumerate(kernels):
                if why := _why_not(kernel, gpu, context):
                    found.append(_Rejected.of(kernels, n, segment, why))
    return found


def _primitives(func: relay.Function) -> list[relay.Function]:
    """Return fused kernels in the order of their calls."""
    found: list[relay.Function] = []

    def visit(node: relay.Expr) -> None:
        # calls, not functions: a function is visited before the arguments of its call
        if isinstance(node, relay.Call) and isinstance(node.op, relay.Function):
            found.append(node.op)

    relay.analysis.post_order_visit(func.body, visit)
    return found


def _why_not(kernel: relay.Function, gpu: Target, context: autotvm.task.DispatchContext) -> str:
    """Return why TVM can't compile a fused kernel; empty if it can."""
    config = {k: v for k, v in tvm.transform.PassContext.current().config.items() if "schedule" in k}
    key = (tvm.ir.structural_hash(kernel, map_free_vars=True), str(gpu), str(config))
    reasons = _reasons.setdefault(context, {})
    if key not in reasons:
        reasons[key] = _try_to_lower(kernel, gpu)
    return reasons[key]


# Functions that TVM emits by their C names where a GPU's language has others, so that only the driver's compiler would
# refuse them: those without a lowering for the target, and the remainder of floats, whose lowering for OpenCL is wrong.
_BY_C_NAME = ("acos", "acosh", "asin", "asinh", "atan", "atanh", "tan")
_LANGUAGES = ("opencl", "vulkan")


def _has_lowering(name: str, language: str) -> bool:
    try:
        return tvm.ir.Op.get(f"tir.{name}").get_attr(f"{language}.FLowerIntrinsic") is not None
    except tvm.TVMError:  # no function has one: TVM was built without the language
        return False


def _find_missing_function(kernel: relay.Function, gpu: Target) -> str:
    """Return why the code that TVM would generate for a kernel calls a function that does not exist; empty if none."""
    language = gpu.kind.name
    if language not in _LANGUAGES:
        return ""
    for call in _calls(kernel):
        name = call.op.name
        lacks = name in _BY_C_NAME and not _has_lowering(name, language)
        if lacks or (name == "mod" and language == "opencl" and "float" in str(call.checked_type.dtype)):
            return f"its code calls {name} by a name that {language} lacks"
    return ""


LanguageCheck = Callable[[tvm.tir.PrimFunc], str]
_checks: dict[str, LanguageCheck] = {}


def check_language(kind: str, check: LanguageCheck) -> None:
    """Add a check of what code generation for a kind of target would refuse later.

    Parameters
    ----------
    kind : str
        Of target, such as ``vulkan``.
    check : callable
        Returns why a kernel can't be written in the target's language; empty if it can. It gets the kernel after TVM
        has flattened buffers and vectorised loops.
    """
    _checks[kind] = check


def _try_to_lower(kernel: relay.Function, gpu: Target) -> str:
    if why := _find_missing_function(kernel, gpu):
        return why
    bound: list[bool] = []
    refused: list[str] = []
    check = _checks.get(gpu.kind.name)

    @tvm.tir.transform.prim_func_pass(opt_level=0)
    def inspect_loops(func, _mod, _ctx):
        bound.append(bool(_verify_memory(func.with_attr("target", gpu))))
        return empty_body(func) if check is None else func

    @tvm.tir.transform.prim_func_pass(opt_level=0)
    def inspect_code(func, _mod, _ctx):
        if check is not None and (why := check(func)):
            refused.append(why)
        return empty_body(func)

    compiler, silent = te_compiler.get(), autotvm.GLOBAL_SCOPE.silent
    context = change_context(instruments=(), config={"tir.add_lower_pass": [(0, inspect_loops), (2, inspect_code)]})
    compiler.clear()
    try:
        with context, gpu:
            compiler.lower(kernel, gpu)
    except Exception as err:  # relay.build would fail with the same error, of any class
        cause = err.__context__ or err  # the text of TVM's wrapper holds a stack trace
        # TVM prints targets with all their options
        return re.sub(rf"\b{gpu.kind.name} -[^'\"]*", gpu.kind.name, _CLASS.sub("", one_line(cause)))
    finally:
        compiler.clear()  # later compilations must not get the emptied kernels
        autotvm.GLOBAL_SCOPE.silent = silent  # stays set if an implementation raises
    return refused[0] if refused else "" if all(bound) else _NOT_BOUND


_verify_memory = tvm.get_global_func("tir.analysis.verify_memory")


def _calls(kernel: relay.Function) -> list[relay.Call]:
    """Return calls of operators, in post order."""
    calls: list[relay.Call] = []

    def visit(node: relay.Expr) -> None:
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op):
            calls.append(node)

    relay.analysis.post_order_visit(kernel.body, visit)
    return calls


def _shapes(ty: tvm.ir.Type) -> frozenset[tuple[int, ...]]:
    if isinstance(ty, tvm.ir.TupleType):
        return frozenset().union(*(_shapes(f) for f in ty.fields))
    return frozenset([dims_of(ty)])


def _match_kernels(rejected: _Rejected, segment: Segment, graph: KernelGraph, gpu: Target) -> list[Refusal]:
    """Find the graph's kernels that a rejected kernel was made from.

    A share's kernels carry no numbers, and at this point layouts are altered and slices added. They are matched by
    their operators, among equal operators by their order, or else by shapes and attributes. If the match is ambiguous,
    all candidates are rejected.
    """
    shares = segment.shares(graph) if segment.device == "split" else None
    fits: dict[int, tuple[int, ...]] = {}
    for k in segment.kernels:
        kernel = graph.kernels[k]
        shapes = {t.shape for t in kernel.outputs}
        if shares is not None:
            lo, hi = shares.gpu[k]
            if lo == hi:
                continue
            dim = shares.dims[k]
            shapes = {s if dim < 0 else (*s[:dim], hi - lo, *s[dim + 1 :]) for s in shapes}
        short = kernel.op.split(".")[-1]  # of an altered convolution: nn.contrib_conv2d_NCHWc
        anchor = 2 if kernel.op in rejected.ops else int(any(short in op for op in rejected.ops))
        fits[k] = (
            anchor,
            len(shapes & rejected.outputs),
            sum(rejected.attrs.get(name) == value for name, value in kernel.attrs.items()),
            sum(t.shape in rejected.inputs for t in kernel.in_tensors),
            len(rejected.ops & set(kernel.name.split("+"))),
        )
    best = max(fits.values())
    meant = [k for k, fit in fits.items() if fit == best]
    alike = [k for k, fit in fits.items() if fit[0] == best[0]]
    number, count = rejected.place
    if count == len(alike) and fits[alike[number]][1] == best[1]:
        meant = [alike[number]]
    found = []
    for k in meant:
        if shares is None:
            found.append(Refusal(k, "", f"TVM can't compile it for {gpu.kind.name} ({rejected.why})"))
            continue
        axis, (lo, hi) = graph.kernels[k].axis(shares.dims[k]), shares.gpu[k]
        why = f"TVM can't compile the GPU's share along '{axis.name}' for {gpu.kind.name} ({rejected.why})"
        found.append(Refusal(k, axis.name, why, hi - lo))
    return found
