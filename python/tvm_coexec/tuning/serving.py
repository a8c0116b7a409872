"""Which configuration a kernel gets: records, what is made from them, and what is left.

A build asks in this order:

1. the user's record of the workload itself;
2. TopHub's record of it. TVM asks TopHub only where no records of the user are in force;
3. a record of the user's of another share of the operator, adapted (`adapt`); then one of TopHub's, if it is of the
   device that the target names;
4. this package's schedule, on GPU targets (`opencl.schedules`) and of dense layers on CPUs (`llvm.dense`);
5. TVM's fallback.

Steps 1 and 2 are contexts of AutoTVM, 3 to 5 are its root context (`opencl.schedules.dispatch`). So records that any of
TVM's own means put in force serve shares: ``autotvm.apply_history_best``, ``tvmc compile --tuning-records``. Those keep
only the fastest record of each workload; `apply_records` keeps all, and more of them can be adapted.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

from tvm import autotvm
from tvm.autotvm.task.dispatcher import ApplyConfig, DispatchContext, FallbackContext
from tvm.autotvm.task.space import ConfigEntity
from tvm.target import Target

from tvm_coexec.opencl.schedules import configuration
from tvm_coexec.opencl.schedules.dispatch import SharesContext
from tvm_coexec.opencl.schedules.workloads import Workload

from .adapt import Adapted, adapted_candidates
from .records import Pair, Records, is_of, seconds_of

RECORD, ADAPTED, SCHEDULE, TOPHUB, FALLBACK = "record", "adapted", "our schedule", "TopHub", "fallback"


class RecordsContext(autotvm.task.ApplyHistoryBest):
    """Puts records in force: the fastest for their own workloads, all of them for shares of their operators.

    Parameters
    ----------
    records : Records
    targets : sequence of Target
        Records of other devices are left out; without targets none are.
    """

    def __init__(self, records: Records, targets: Sequence[Target] = ()):
        if targets:
            own = tuple(p for p in records.pairs if any(is_of(p[0].target, t) for t in targets))
            records = Records(own, records.source)
        for measured, result in records.pairs:
            if measured.config.cost is None and result.error_no == 0:  # not read from a file; TVM compares costs
                measured.config.cost = seconds_of((measured, result))
        self.records = records
        super().__init__(list(records.pairs))


def apply_records(records: Records, targets: Sequence[Target] = ()) -> RecordsContext:
    """Return a context, for ``with``, in which builds use records.

    Parameters
    ----------
    records, targets
        See `RecordsContext`.
    """
    return RecordsContext(records, targets)


@dataclass(frozen=True)
class Source:
    """Where the configuration of a workload comes from.

    Attributes
    ----------
    kind : str
        ``record``, ``adapted``, ``our schedule``, ``TopHub`` or ``fallback``.
    adapted : Adapted or None
    """

    kind: str
    adapted: Adapted | None = None

    def to_text(self) -> str:
        """Return the source in words; of an adapted record with the extents that it was measured with."""
        if self.adapted is None:
            return self.kind
        axis = f" along {self.adapted.axis}" if self.adapted.axis else ""
        return f"adapted{axis} from {_extents(self.adapted.record.task.workload)}"


def _extents(workload: Workload) -> str:
    shapes = [a[1] for a in workload[1:] if isinstance(a, tuple) and a and a[0] == "TENSOR"]
    return " * ".join("x".join(map(str, s)) for s in shapes[:2])


def find_source(target: Target, workload: Workload) -> Source:
    """Determine where a build that is started now would take a workload's configuration from."""
    for context in _contexts():
        if isinstance(context, FallbackContext):
            break
        if context._query_inside(target, workload) is not None:
            return Source(TOPHUB if getattr(context, "is_tophub", False) else RECORD)
    if (found := _adapt(target, workload)) is not None:
        return Source(ADAPTED, found)
    return Source(FALLBACK if configuration(target, workload) is None else SCHEDULE)


def has_records() -> bool:
    """Return whether records of the user's are in force."""
    return any(_records_of(c) is not None and not getattr(c, "is_tophub", False) for c in _contexts())


def serve(target: Target | None, workload: Workload | None) -> ConfigEntity | None:
    """Return a configuration adapted from the records in force; `None` if none of them is of the operator."""
    if target is None or workload is None:
        return None
    found = _adapt(target, workload)
    return None if found is None else copy(found.config)  # TVM writes into configurations


def install() -> None:
    """Let the root context of AutoTVM ask for adapted records, and mark TopHub's contexts. Idempotent."""
    SharesContext.serve_records = staticmethod(serve)
    stock = autotvm.tophub.context
    if getattr(stock, "marks_contexts", False):
        return

    @functools.wraps(stock)
    def context(*args: Any, **kwargs: Any) -> DispatchContext:
        made = stock(*args, **kwargs)
        made.is_tophub = True
        return made

    context.__dict__["marks_contexts"] = True
    autotvm.tophub.context = context


def _contexts() -> Iterator[DispatchContext]:
    """The contexts from the innermost to the root."""
    context = DispatchContext.current
    while context is not None:
        yield context
        context = getattr(context, "_old_ctx", None)


def _adapt(target: Target, workload: Workload) -> Adapted | None:
    for context in _contexts():
        if isinstance(context, ApplyConfig):  # a template is being instantiated with a given configuration
            return None
        records = _records_of(context)
        if records is not None and getattr(context, "is_tophub", False):
            records = _of_device(records, target)
        if records is not None and (found := _best(records, target, workload)) is not None:
            return found
    return None


def _of_device(records: Records, target: Target) -> Records:
    """TopHub's records of a device; those of others, adapted, may be worse than a schedule that is made for it."""
    known: dict[str, Records] = records.__dict__.setdefault("_of_device", {})
    if str(target) not in known:
        known[str(target)] = records.of_device(target)
    return known[str(target)]


def _best(records: Records, target: Target, workload: Workload) -> Adapted | None:
    known: dict[Any, Adapted | None] = records.__dict__.setdefault("_best_adapted", {})
    key = (str(target), str(target.host), workload)
    if key not in known:
        known[key] = next(iter(adapted_candidates(workload, target, records)), None)
    return known[key]


def _records_of(context: DispatchContext) -> Records | None:
    """Return the records of a context; of TVM's own contexts the fastest of each workload that they keep."""
    if isinstance(context, RecordsContext):
        return context.records
    if not isinstance(context, autotvm.task.ApplyHistoryBest):
        return None
    best = (*context.best_by_model.values(), *context.best_by_targetkey.values())
    pairs: dict[int, Pair] = {id(pair[0]): pair for pair in best}
    kept = context.__dict__.get("_coexec_records")
    if kept is None or [id(p[0]) for p in kept.pairs] != list(pairs):
        kept = Records(tuple(pairs.values()))
        context._coexec_records = kept
    return kept if kept.pairs else None
