"""Schedules of injective kernels for OpenCL devices that run on CPU cores.

TVM's GPU schedule fuses the axes of an output and gives each element a work-item, which divides its number into the
indices that the kernel reads. On a GPU memory latency hides that; on a CPU core two divisions cost more than the
copy, and no compiler vectorises them: shuffles, transposes, concatenations and batch normalisations take 5 to 20 times
as long as on the CPU's own target (``python -m benchmarks.loops``).

Here a work-group is one work-item, which runs a loop nest without divisions, as long as possible and contiguous:

1. an axis is split where its index is divided by a constant: a reshape from 12 heads of 64 to 768 becomes two loops;
2. axes are fused from the right as long as no division arises;
3. what remains on the left, and chunks of a long loop, are work-groups.

Shapes that are not constant keep TVM's schedule, as do devices that are GPUs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import tvm
from tvm import autotvm, te, tir, topi
from tvm.autotvm.task.topi_integration import get_workload
from tvm.target import Target

from .device import device_traits
from .tiles import CODE_HASH, largest_divisor
from .workloads import Workload

_STOCK = topi.cuda.injective.schedule_injective_from_existing
# Elements per work-group: enough to hide the start of a group (some 50 ns on pocl), few enough to share among cores.
_LEAST = 512
_MOST = 4096
_MAX_SPLITS = 4
_DIVISIONS = (tir.FloorDiv, tir.FloorMod, tir.Div, tir.Mod)


@dataclass(frozen=True)
class Loop:
    """A loop over an output.

    Attributes
    ----------
    axis : te.schedule.IterVar
        Its axis in the schedule.
    extent : int
    var : tir.Var
        Its variable in the analysed expressions.
    """

    axis: te.schedule.IterVar
    extent: int
    var: tir.Var = field(default_factory=lambda: tir.Var("i", "int32"))


def bind_groups(stage: te.schedule.Stage, loops: list[Loop], work: int = 1) -> None:
    """Make work-groups of the outer loops, each of one work-item that does some thousand steps.

    Parameters
    ----------
    stage : te.schedule.Stage
        Changed in place.
    loops : list of Loop
        At least one, from the outermost to the innermost.
    work : int
        Steps that an element takes.
    """
    outer = [loop.axis for loop in loops]
    loop, elements = loops[-1], loops[-1].extent
    outer.pop()
    if elements * work > _MOST:
        chunk = largest_divisor(elements, _MOST // work)
        outer.append(stage.split(loop.axis, factor=chunk if chunk * work >= _LEAST else _MOST // work)[0])
    for loop in reversed(loops[:-1]):
        if elements * work >= _LEAST:
            break
        outer.pop()
        taken = largest_divisor(loop.extent, max(1, _MOST // (elements * work)))
        elements *= taken
        if taken < loop.extent:
            outer.append(stage.split(loop.axis, factor=taken)[0])
            break
    if not outer:
        outer = [stage.split(stage.leaf_iter_vars[0], nparts=1)[0]]
    group = stage.fuse(*outer) if len(outer) > 1 else outer[0]
    stage.bind(group, te.thread_axis("blockIdx.x"))


class _Nest:
    """The loops over an output, with the expressions that they index.

    Parameters
    ----------
    stage : te.schedule.Stage
        The stage of the output; splits and fusions are applied to it.
    loops : list of Loop
    expressions : list of PrimExpr
        The value and the index that the innermost statement stores.
    """

    def __init__(self, stage: te.schedule.Stage, loops: list[Loop], expressions: list[tir.PrimExpr]):
        self.stage = stage
        self.loops = loops
        self.expressions = expressions

    def split_divided(self) -> None:
        """Split loops whose variable is divided by a constant at that constant."""
        for _ in range(_MAX_SPLITS):
            found = self._first_divided()
            if found is None:
                return
            at, factor = found
            loop = self.loops[at]
            outer, inner = self.stage.split(loop.axis, factor=factor)
            first, second = (tir.Var(name, loop.var.dtype) for name in ("o", "i"))
            pair = [Loop(outer, loop.extent // factor, first), Loop(inner, factor, second)]
            self.loops[at : at + 1] = pair
            self.expressions = self._replaced({loop.var: first * factor + second}, self.loops)

    def fuse_from_right(self) -> None:
        """Fuse the innermost loops while that needs no division."""
        while len(self.loops) > 1:
            left, right = self.loops[-2:]
            fused = tir.Var("i", left.var.dtype)
            loops = [*self.loops[:-2], Loop(right.axis, left.extent * right.extent, fused)]
            mapping = {left.var: tir.floordiv(fused, right.extent), right.var: tir.floormod(fused, right.extent)}
            expressions = self._replaced(mapping, loops)
            if any(_divisors(e, fused) for e in expressions):
                return
            axis = self.stage.fuse(left.axis, right.axis)
            self.loops, self.expressions = [*loops[:-1], Loop(axis, loops[-1].extent, fused)], expressions

    def _first_divided(self) -> tuple[int, int] | None:
        for at, loop in enumerate(self.loops):
            factors = {d for e in self.expressions for d in _divisors(e, loop.var) if 1 < d < loop.extent}
            if exact := sorted(d for d in factors if loop.extent % d == 0):
                return at, exact[-1]
        return None

    def _replaced(self, mapping: dict[tir.Var, tir.PrimExpr], loops: list[Loop]) -> list[tir.PrimExpr]:
        """Return the expressions with variables replaced, simplified in the ranges of `loops`."""
        analyzer = tvm.arith.Analyzer()
        for loop in loops:
            analyzer.bind(loop.var, tvm.ir.Range(0, loop.extent))
        return [analyzer.simplify(tir.stmt_functor.substitute(e, mapping)) for e in self.expressions]


def _divisors(expression: tir.PrimExpr, var: tir.Var) -> set[int]:
    """Return the constants by which integers that depend on `var` are divided; 0 stands for any other divisor."""
    found: set[int] = set()

    def visit(node: tvm.Object) -> None:
        if isinstance(node, _DIVISIONS) and "int" in node.dtype and _uses(node.a, var):
            found.add(int(node.b) if isinstance(node.b, tir.IntImm) else 0)

    tir.stmt_functor.post_order_visit(expression, visit)
    return found


def _uses(expression: tir.PrimExpr, var: tir.Var) -> bool:
    used: list[bool] = []
    tir.stmt_functor.post_order_visit(expression, lambda node: used.append(node.same_as(var)))
    return any(used)


def _inputs(out: te.Tensor) -> list[te.Tensor]:
    """Return the placeholders that an output is computed from."""
    found: dict[te.Operation, te.Tensor] = {}
    stack, seen = [out], set()
    while stack:
        tensor = stack.pop()
        if tensor.op in seen:
            continue
        seen.add(tensor.op)
        if isinstance(tensor.op, te.PlaceholderOp):
            found[tensor.op] = tensor
        stack.extend(tensor.op.input_tensors)
    return list(found.values())


def _nest_of(schedule: te.Schedule, out: te.Tensor) -> _Nest | None:
    """Return the loops of an output as TVM lowers them, or `None` if they are not a plain nest of constant extents."""
    if not isinstance(out.op, te.ComputeOp) or not all(isinstance(e, tir.IntImm) for e in out.shape):
        return None
    alone = te.create_schedule(out.op)
    te.schedule.AutoInlineInjective(alone)
    with tvm.transform.PassContext(config={"tir.disable_cse_tir": True}):
        body = tvm.lower(alone, [*_inputs(out), out])["main"].body
    wanted = [axis for axis in schedule[out].op.axis if int(axis.dom.extent) > 1]
    loops: list[Loop] = []
    while isinstance(body, (tir.For, tir.DeclBuffer, tir.AttrStmt, tir.Allocate, tir.SeqStmt)):
        if isinstance(body, tir.SeqStmt):
            body = body[len(body) - 1]  # before it: producers that are not inlined
            continue
        if isinstance(body, tir.For):
            if len(loops) == len(wanted) or int(wanted[len(loops)].dom.extent) != int(body.extent):
                return None
            loops.append(Loop(wanted[len(loops)], int(body.extent), body.loop_var))
        body = body.body
    if not isinstance(body, tir.BufferStore) or not loops or len(loops) != len(wanted):
        return None
    # Axes of one element come first: those between others would keep these from being fused.
    schedule[out].reorder(*(axis for axis in schedule[out].op.axis if int(axis.dom.extent) == 1), *wanted)
    return _Nest(schedule[out], loops, [body.value, *body.indices])


def schedule_output(schedule: te.Schedule, out: te.Tensor) -> bool:
    """Schedule the loops over one output whose producers are inlined.

    Parameters
    ----------
    schedule : te.Schedule
        Changed in place.
    out : te.Tensor

    Returns
    -------
    bool
        `False` if the output is no loop nest of constant extents with more than one element; nothing is changed then.
    """
    nest = _nest_of(schedule, out)
    if nest is None:
        return False
    nest.split_divided()
    nest.fuse_from_right()
    bind_groups(schedule[out], nest.loops)
    return True


def schedule_injective(schedule: te.Schedule, out: te.Tensor) -> te.Schedule:
    """Schedule one output of an injective kernel; stands in for TVM's ``schedule_injective_from_existing``.

    Parameters
    ----------
    schedule : te.Schedule
        All producers of the output are inlined in it. Changed in place.
    out : te.Tensor

    Returns
    -------
    te.Schedule
    """
    if device_traits(Target.current(allow_none=False)).is_cpu and schedule_output(schedule, out):
        return schedule
    return _STOCK(schedule, out)


def takes_loops(outs: Sequence[te.Tensor]) -> bool:
    """Return whether a kernel has one output of constant extents, and the current target means CPU cores."""
    static = all(isinstance(extent, tir.IntImm) and int(extent) for extent in outs[0].shape)
    return len(outs) == 1 and static and device_traits(Target.current(allow_none=False)).is_cpu


def configured_workload(outs: Sequence[te.Tensor], template: str) -> Workload | None:
    """Return the workload of a template that a kernel of a CPU-core device has, if no tuning record configures it.

    Parameters
    ----------
    outs : sequence of te.Tensor
        As TVM passes them to a schedule.
    template : str
    """
    if not takes_loops(outs):
        return None
    workload = get_workload(outs, template)
    entity = autotvm.DispatchContext.current.query(Target.current(), workload)
    return workload if entity.code_hash == CODE_HASH else None


def install() -> None:
    """Replace the function that schedules an output for TVM's strategies of injective operators. Idempotent."""
    topi.cuda.injective.schedule_injective_from_existing = schedule_injective


def uninstall() -> None:
    """Restore TVM's function."""
    topi.cuda.injective.schedule_injective_from_existing = _STOCK
