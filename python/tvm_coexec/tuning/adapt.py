"""Configurations of a share from records of its whole operator.

A record of the whole operator (or of another share of it) gives the knobs; those that split an extent that the cut
changes get other factors (see `knobs`). A record gives several candidates, and several records of one operator more;
they are ranked by the seconds that the record and a model of the tile promise (see `rank`). How the seconds change with
the extents is the geometric mean of the ratio of FLOPs and of that of the modelled costs: the model alone would rank a
slow record first because its tile happens to fit the share.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from typing import Any

import numpy as np
import tvm
from tvm import autotvm
from tvm.autotvm.measure import MeasureInput
from tvm.autotvm.task.space import ConfigEntity, SplitEntity
from tvm.target import Target

from tvm_coexec.core.errors import one_line
from tvm_coexec.opencl.schedules import configuration
from tvm_coexec.opencl.schedules.device import device_traits, is_gpu_target
from tvm_coexec.opencl.schedules.workloads import Workload
from tvm_coexec.pass_context import stop_lowering

from .knobs import Change, all_changes, change_knob, make_config, threads_of, virtual_threads_of
from .operators import Operator, describe_operator, unpack
from .rank import Knobs, coupled_knobs, has_model, local_bytes, modelled_cost, window_for
from .records import Pair, Records, seconds_of
from .space import MOST_COPIES, Space, copies_of

logger = logging.getLogger("tvm_coexec")

RECORDS = 4  # records of one operator that are adapted, the fastest first
_COMBINATIONS = 1024
_MUCH_WORSE, _SEARCHED = 1.5, 8
# What the model counts for a tile of which no record is like it, on a CPU and on a GPU.
_UNPROVEN, _UNPROVEN_ON_GPU = 1.2, 1.5
_PER_POWER = 0.03  # what the model counts for a factor of two away from the record, which knows more than it


@dataclass(frozen=True)
class Adapted:
    """A configuration made from a record of another share, or of the whole operator.

    Attributes
    ----------
    config : ConfigEntity
        Its `cost` is `expected_s`.
    expected_s : float
        Expected seconds.
    record : MeasureInput
        The record that it comes from.
    axis : str
        The axis along which the record's workload differs: ``oc``, ``h``, ``ic``...; empty if it does not differ.
    """

    config: ConfigEntity
    expected_s: float
    record: MeasureInput
    axis: str


def adapted_candidates(
    workload: Workload, target: Target, records: Records | Iterable[Pair], limit: int = 1
) -> list[Adapted]:
    """Return configurations for a workload that has no record of its own, the best first.

    Parameters
    ----------
    workload : tuple
        The template's name and its arguments, as AutoTVM writes them; also in a packed layout.
    target : Target
        Records of other targets are not used.
    records : Records or iterable of (MeasureInput, MeasureResult)
    limit : int
        The largest number of candidates.

    Returns
    -------
    list of Adapted
        Empty if no record is of the same operator. The order depends on nothing but the arguments.
    """
    records = records if isinstance(records, Records) else Records(tuple(records))
    plain, blocks = unpack(workload)
    wanted = describe_operator(plain)
    if wanted is None:
        return []
    task = _task(plain, str(target))
    found: list[tuple[float, int, Knobs, Pair, str]] = []
    for pair, axis in islice(_records_of(wanted, target, records), RECORDS):
        if task is None or _task(pair[0].task.workload, str(target)) is None:
            continue
        for knobs, cost in _adapt(plain, target, pair, blocks, wanted):
            found.append((cost, len(found), knobs, pair, axis))
    if task is not None and found:
        for knobs, cost, pair, axis in (
            *_schedule(task, target, wanted, records),
            *(() if blocks else _searched(task, target, min(found, key=lambda f: f[:2]))),
        ):
            found.append((cost, len(found), knobs, pair, axis))
    best: list[Adapted] = []
    seen: set[str] = set()
    for cost, _, knobs, (measured, _), axis in sorted(found, key=lambda f: f[:2]):
        if len(best) == limit:
            break
        if repr(knobs) not in seen and task is not None:
            seen.add(repr(knobs))
            config = make_config(task.config_space, deepcopy(knobs), measured.config.code_hash)
            config.cost = cost
            key = (str(task.workload), str(target), repr(knobs))
            if key not in _compiled:
                _compiled[key] = _compiles(task, config)
            if _compiled[key]:
                best.append(Adapted(config, cost, measured, axis))
    return best


def _records_of(wanted: Operator, target: Target, records: Records) -> Iterable[tuple[Pair, str]]:
    """Records that may serve an operator with the axis along which they differ: the nearest, then the fastest first."""
    found: list[tuple[float, float, int, Pair, str]] = []
    for number, pair in enumerate(records.of_family(wanted.family, target)):
        operator = describe_operator(pair[0].task.workload)
        axis = None if operator is None else operator.axis_to(wanted)
        if operator is not None and axis is not None:
            found.append((operator.ratio_to(wanted), seconds_of(pair), number, pair, axis))
    for *_, pair, axis in sorted(found, key=lambda f: f[:3]):
        yield pair, axis


# Whether TVM lowers a configuration, by workload, target and knobs: plans ask repeatedly.
_compiled: dict[tuple[str, str, str], bool] = {}


@lru_cache(maxsize=2048)
def _task(workload: Workload, target: str) -> autotvm.task.Task | None:
    """Return a task with its space; `None` if this TVM has no such template, or refuses the workload."""
    environment = autotvm.task.TaskExtractEnv.current
    tracing = environment is not None and environment.tracing
    try:
        if tracing:
            environment.tracing = False
        return autotvm.task.create(workload[0], workload[1:], Target(target))
    except Exception as err:  # of any class: templates raise various errors
        logger.debug("%s: no space to adapt records in: %s", workload[0], err)
        return None
    finally:
        if tracing:
            environment.tracing = True


def _compiles(task: autotvm.task.Task, config: ConfigEntity) -> bool:
    """Whether the template takes a configuration and TVM makes loops of it: a build must not fail for a record."""
    try:
        with task.target, tvm.transform.PassContext(opt_level=3, config={"tir.add_lower_pass": [stop_lowering(0)]}):
            schedule, arguments = task.instantiate(config)
            tvm.lower(schedule, arguments)
    except Exception as err:  # of any class: templates raise various errors
        logger.debug("%s: a configuration for a share can't be compiled: %s", task.name, one_line(err))
        return False
    return config.valid()


def _adapt(
    workload: Workload, target: Target, pair: Pair, blocks: dict[str, int], wanted: Operator
) -> list[tuple[Knobs, float]]:
    """Return knobs and expected seconds of a record's candidates."""
    measured = pair[0]
    recorded: Knobs = measured.config._entity_map
    own, whole = _task(workload, str(target)), _task(measured.task.workload, str(target))
    assert own is not None and whole is not None
    if set(recorded) != set(own.config_space.space_map):
        return []  # of another version of the template
    groups = dict(wanted.extents).get("g", 1)
    template, names = workload[0], list(own.config_space.space_map)

    def alternatives(change: Callable[..., list[Change]], name: str) -> list[Change]:
        return change(template, name, recorded[name], own.config_space, blocks.get(name), groups)

    choices = {name: alternatives(change_knob, name) for name in names}
    if all(choices.values()) and any(c[0].distance for c in choices.values()):
        # a block of other channels needs another number of columns to fill the registers
        choices |= {name: alternatives(all_changes, name) for name in coupled_knobs(template) if name in choices}
    per_record = modelled_cost(measured.task.workload, target, recorded, whole.flop, 1.0, 0.0)
    found = []
    for changes in islice(product(*choices.values()), _COMBINATIONS):
        knobs: Knobs = OrderedDict((n, c.entity) for n, c in zip(names, changes, strict=True))
        if not _fits_device(workload, target, knobs, recorded):
            continue
        waste, distance = float(np.prod([c.waste for c in changes])), sum(c.distance for c in changes)
        cost = modelled_cost(workload, target, knobs, own.flop, waste, distance) * (1.0 + _PER_POWER * distance)
        by_work, by_model = max(own.flop, 1.0) / max(whole.flop, 1.0), cost / per_record
        found.append((knobs, seconds_of(pair) * (by_work * by_model) ** 0.5))
    return found


def _schedule(
    task: autotvm.task.Task, target: Target, wanted: Operator, records: Records
) -> Iterator[tuple[Knobs, float, Pair, str]]:
    """Yield this package's own schedule, if the records say what it takes for another share of the operator.

    It chooses the tile for the share's extents, which may be better than any tile that was made for others.
    """
    ours = schedule_knobs(task, target)
    if ours is None:
        return
    known: dict[Workload, Knobs | None] = {}
    for pair, axis in _records_of(wanted, target, records):
        other = _task(pair[0].task.workload, str(target))
        if other is None:
            continue
        if other.workload not in known:
            known[other.workload] = schedule_knobs(other, target)
        theirs = known[other.workload]
        if theirs is None or repr(theirs) != repr(pair[0].config._entity_map):
            continue
        costs = [modelled_cost(t.workload, target, k, t.flop, 1.0, 0.0) for t, k in ((task, ours), (other, theirs))]
        by_work = max(task.flop, 1.0) / max(other.flop, 1.0)
        yield ours, seconds_of(pair) * (by_work * costs[0] / costs[1]) ** 0.5, pair, axis
        return


def _searched(
    task: autotvm.task.Task, target: Target, best: tuple[float, int, Knobs, Pair, str]
) -> Iterator[tuple[Knobs, float, Pair, str]]:
    """Yield the model's best of the space, where the best tile near the record is much worse for the share.

    Such as 53 channels, for which no tile along channels fills vectors, if the record's does.
    """
    _, _, knobs, pair, axis = best
    other = _task(pair[0].task.workload, str(target))
    if other is None or not has_model(task.workload, target):
        return

    def cost(of: autotvm.task.Task, tile: Knobs) -> float:
        return modelled_cost(of.workload, target, tile, of.flop, 1.0, 0.0)

    work, before = max(task.flop, 1.0) / max(other.flop, 1.0), cost(other, pair[0].config._entity_map)
    if cost(task, knobs) < _MUCH_WORSE * work * before:
        return
    space = Space(task)
    scored = space.search(
        lambda configs: np.array([cost(task, c._entity_map) for c in configs]), np.random.default_rng(0)
    )
    unproven = _UNPROVEN_ON_GPU if is_gpu_target(target) else _UNPROVEN
    for index in sorted(scored, key=lambda i: (scored[i], i))[:_SEARCHED]:
        tile = space.get(index)._entity_map
        yield tile, unproven * seconds_of(pair) * (work * scored[index] / before) ** 0.5, pair, axis


def schedule_knobs(task: autotvm.task.Task, target: Target) -> Knobs | None:
    """Return the knobs of this package's schedule of a task; `None` if it has none, or if it lacks knobs."""
    config = configuration(target, task.workload) if is_gpu_target(target) else None
    names = list(task.config_space.space_map)
    if config is None or not set(names) <= set(config._entity_map):
        return None
    return OrderedDict((n, config._entity_map[n]) for n in names)


def _fits_device(workload: Workload, target: Target, knobs: Knobs, recorded: Knobs) -> bool:
    """Whether a GPU has work-items and local memory for a configuration: what the record's takes is enough."""
    if not is_gpu_target(target):
        return True
    traits = device_traits(target)
    if threads_of(knobs) > max(traits.max_threads, threads_of(recorded)):
        return False
    if virtual_threads_of(knobs) > virtual_threads_of(recorded) or copies_of(knobs) > MOST_COPIES:
        return False
    grown = [n for n, e in knobs.items() if isinstance(e, SplitEntity) and _inner(e) > _inner(recorded[n])]
    if not grown:
        return True
    window = window_for(workload)
    known = {"tile_f", "tile_d", "tile_y", "tile_x", "tile_rc"}
    return window is not None and known.issuperset(grown) and local_bytes(window, knobs) <= traits.local_bytes


def _inner(entity: Any) -> int:
    return int(np.prod(entity.size[1:]))
