"""Tuning tasks of a co-executed model, for both devices, in the order in which tuning them pays."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import tvm
from tvm import relay
from tvm.target import Target

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.core.progress import progress
from tvm_coexec.measuring.pieces import KernelBuilder
from tvm_coexec.pass_context import deployment_context
from tvm_coexec.planner import CachedCosts
from tvm_coexec.relay_passes.extract import extract_with_calls
from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.targets import targets as make_targets

from . import tuners
from .parts import Part, cut_parts, iterate_heavy, merge_parts, plan_parts, read_cuts, whole_parts

logger = logging.getLogger("tvm_coexec")


@dataclass(frozen=True)
class TuningTask:
    """A task of one of TVM's tuners, and what it is worth to the model.

    Attributes
    ----------
    task : autotvm.task.Task, auto_scheduler.SearchTask or meta_schedule.ExtractedTask
    tuner : {"autotvm", "autoscheduler", "metaschedule"}
    device : {"cpu", "gpu"}
    target : Target
    parts : tuple of Part
        The kernels and shares that the task is of.
    key : str
        Text that is equal for equal tasks of a device.
    """

    task: Any
    tuner: str
    device: str
    target: Target
    parts: tuple[Part, ...]
    key: str

    @property
    def runs(self) -> int:
        """How often a run of the model computes it: the task's weight. 0 for what the plan does not run."""
        return sum(p.runs for p in self.parts)

    @property
    def seconds(self) -> float:
        """Expected seconds of all runs together, by the costs."""
        return sum(p.seconds for p in self.parts)

    @property
    def critical(self) -> bool:
        """Whether a segment waits for it: its device is the slower one there, or the only one."""
        return any(p.critical for p in self.parts)

    @property
    def kernels(self) -> tuple[int, ...]:
        """Indices of the kernels, ascending."""
        return tuple(sorted({k for p in self.parts for k in p.kernels}))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the kernels, each once."""
        return tuple(dict.fromkeys(p.name for p in self.parts))

    @property
    def whole(self) -> bool:
        """Whether it is of a whole kernel; it then serves the shares of that kernel, too."""
        return any(p.rows is None for p in self.parts)

    @property
    def axis(self) -> str:
        """The axis of the first share; empty for a task of whole kernels only."""
        return next((p.axis for p in self.parts if p.rows is not None), "")

    @property
    def cut(self) -> int:
        """The cut of the first share; 0 for a task of whole kernels only."""
        return next((p.cut for p in self.parts if p.rows is not None), 0)


def extract_tasks(
    mod: tvm.IRModule,
    params: dict | None = None,
    cpu: str | Target = "llvm",
    gpu: str | Target = "opencl",
    plan: Plan | str | os.PathLike | None = None,
    cuts: int | Sequence[float] | None = None,
    tuner: str = "autotvm",
    profile: object | None = None,
) -> list[TuningTask]:
    """Return the tuning tasks of a model's whole kernels and of its shares, on both devices.

    Parameters
    ----------
    mod, params
        The model and its weights, as `build` takes them.
    cpu, gpu : str or Target
        See `tvm_coexec.targets`.
    plan : Plan or path, optional
        Its kernels and shares count as often as they run. Whole kernels and cuts that it does not run come last, with
        0 runs. Without a plan every kernel counts on both devices.
    cuts : int or sequence of float, optional
        Also the shares that a planner may choose: how many cuts each axis gets, or the GPU's fractions.
    tuner : {"autotvm", "autoscheduler", "metaschedule"}
    profile : str, path or Costs, optional
        Source of the expected seconds, see `CoExecPartition`.

    Returns
    -------
    list of TuningTask
        Each task once for each device. Tasks of the device that its segment waits for come first, then those that
        take the most seconds. The same arguments give the same order.

    Raises
    ------
    CoExecError
        If the model can't be planned, if the plan is of another model, or if TVM can't tune for a target with `tuner`.
    """
    tuners.check_tuner(tuner)
    both = make_targets(cpu, gpu)
    fractions = None if cuts is None else read_cuts(cuts)
    tuners.check_targets(both, tuner)
    with deployment_context(instruments=False):
        prepared = Prepare(params)(mod)
        extracted = extract_with_calls(prepared)
        graph = extracted.graph
        if not graph.kernels:
            raise CoExecError(f"the model has no kernels to tune: {graph.reason or 'it has no operators'}")
        given = Plan.load(os.fspath(plan)) if isinstance(plan, (str, os.PathLike)) else plan
        if given is not None:
            given.check(graph)
        costs = CachedCosts(graph, _choose_costs(prepared, both, profile))
        parts = find_parts(graph, costs, given, fractions)
        builder = KernelBuilder(prepared, extracted, *both)
        return tasks_of(builder, parts, tuner)


def find_parts(
    graph: KernelGraph, costs: CachedCosts, plan: Plan | None = None, cuts: int | Sequence[float] | None = None
) -> list[Part]:
    """Return what `extract_tasks` makes tasks of: kernels and shares that have something to tune."""
    others = [*whole_parts(graph, costs), *(cut_parts(graph, cuts, costs) if cuts is not None else ())]
    if plan is None:
        return others
    return list(iterate_heavy(graph, merge_parts(graph, plan_parts(graph, plan, costs), others)))


# What `tasks_of` has extracted: texts and tasks by device, signature, dimension and range.
Memo: TypeAlias = "dict[tuple[Any, ...], list[tuple[str, Any]]]"


def tasks_of(
    builder: KernelBuilder, parts: Sequence[Part], tuner: str = "autotvm", memo: Memo | None = None
) -> list[TuningTask]:
    """Return the tasks of parts, see `extract_tasks`.

    Parameters
    ----------
    builder : KernelBuilder
        Of the model that the parts are of.
    parts : sequence of Part
    tuner : str
    memo : dict, optional
        Kept by the caller, so that the tasks of further parts of the same model are found faster.
    """
    memo = {} if memo is None else memo
    tasks: dict[tuple[str, str], Any] = {}
    uses: dict[tuple[str, str], list[Part]] = {}
    for part in progress(parts, "extracting tuning tasks", "kernel"):
        known = (part.device, builder.graph.kernels[part.kernels[0]].signature(), part.dim, part.rows, tuner)
        if known not in memo:
            memo[known] = _extract_part(builder, part, tuner)
        for key, task in memo[known]:
            tasks.setdefault((part.device, key), task)
            uses.setdefault((part.device, key), []).append(part)
    found = [
        TuningTask(task, tuner, device, builder.gpu if device == "gpu" else builder.cpu, tuple(uses[device, key]), key)
        for (device, key), task in tasks.items()
    ]
    return sorted(found, key=lambda t: (not t.critical, -t.seconds, -t.runs, not t.whole, t.device, t.key))


def _extract_part(builder: KernelBuilder, part: Part, tuner: str) -> list[tuple[str, Any]]:
    try:
        func = builder.unaltered(part.piece)
    except CoExecError as err:
        logger.warning("%s: no tuning task: %s", part.name, err)
        return []
    return _extract(func, builder.gpu if part.device == "gpu" else builder.cpu, tuner)


def _extract(func: relay.Function, target: Target, tuner: str) -> list[tuple[str, Any]]:
    try:
        return tuners.extract(func, target, tuner)
    except CoExecError:
        raise
    except Exception as err:  # of any class: tuners raise various errors for a target that they do not have
        if tuner == "autotvm":
            raise
        raise tuners.refuse(tuner, target, err) from None


def _choose_costs(prepared: tvm.IRModule, both: Sequence[Target], profile: object | None) -> Any:
    from tvm_coexec.measuring.choose_costs import choose_costs  # measuring needs the runtime

    cpu, gpu = both
    return choose_costs(prepared, cpu, gpu, profile).costs
