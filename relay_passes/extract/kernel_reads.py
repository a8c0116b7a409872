"""What a fused kernel evaluates and reads: the operators' rules, added up over the kernel."""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relay

from tvm_coexec.core.kernel_graph import dtype_bytes
from tvm_coexec.core.partial_reads import CONSTANT, PartialRead

from ..rules import NotSplittable, count_elements, flat_args, rule_for


def count_functions(calls: list[relay.Call]) -> tuple[tuple[str, float], ...]:
    """Return the special functions of a kernel and how often it evaluates each, by name."""
    found: dict[str, float] = {}
    for call in calls:
        for name, times in rule_for(call).functions(call).items():
            found[name] = found.get(name, 0.0) + times
    return tuple(sorted(found.items()))


def find_partial_reads(calls: list[relay.Call], args: Iterable[relay.Expr]) -> tuple[PartialRead, ...]:
    """Return the inputs and constants of which a kernel reads only some elements.

    An operator inside a kernel is computed where its readers need it: of ``relu(x)[0:4]`` four rows of ``x`` are read.
    So the accessed fraction of each value is propagated from the kernel's last operator backwards.

    Parameters
    ----------
    calls : list of relay.Call
        The kernel's calls in post order.
    args : iterable of relay.Expr
        Expressions that the kernel reads, in the order of its tensors.
    """
    reads = {call: rule_for(call).reads(call) for call in calls}
    if all(r is None for of_call in reads.values() for r in of_call):
        return ()
    inside = dict.fromkeys(calls, 0.0)
    inside[calls[-1]] = 1.0
    accessed: dict[relay.Expr, float] = {}
    whole: set[relay.Expr] = set()
    for call in reversed(calls):
        computed = min(1.0, inside[call])
        for arg, read in zip(flat_args(call), reads[call], strict=True):
            try:
                size = count_elements(arg)
            except NotSplittable:
                return ()
            elements = computed * (size if read is None else read)
            if arg in inside:
                inside[arg] += elements / max(1.0, size)
            else:
                accessed[arg] = accessed.get(arg, 0.0) + elements
                if read is None and computed == 1.0:
                    whole.add(arg)
    return tuple(_partial_reads(list(args), {e: n for e, n in accessed.items() if e not in whole}))


def _partial_reads(args: list[relay.Expr], accessed: dict[relay.Expr, float]) -> Iterable[PartialRead]:
    position = 0
    for arg in args:
        is_tensor = isinstance(arg.checked_type, relay.TensorType)
        if arg in accessed and is_tensor:
            yield _partial_read(position, arg, accessed[arg])
        position += 1 if is_tensor else _count_fields(arg.checked_type)
    for expr, elements in accessed.items():
        if isinstance(expr, relay.Constant):
            yield _partial_read(CONSTANT, expr, elements)


def _partial_read(position: int, expr: relay.Expr, elements: float) -> PartialRead:
    item = dtype_bytes(str(expr.checked_type.dtype))
    return PartialRead(position, round(count_elements(expr)) * item, round(elements) * item)


def _count_fields(ty: relay.Type) -> int:
    return sum(_count_fields(f) for f in ty.fields) if isinstance(ty, relay.TupleType) else 1
