"""Adaptive sampling: more designed kernels where a latency model errs most.

After nn-Meter (MobiSys 2021, section 5.2). The designed set is the initial sample. Then, in rounds, a latency model is
fitted to all samples in cross-validation; around the kernels with the largest errors new ones are made, with channels
(or rows) drawn from 0.4 to 1.2 times theirs and all else equal, and measured. The file keeps the points of each round
before it is measured, so that an interrupted run goes on with the same kernels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.dataset import DEVICES, Samples, SampleWriter, read_samples
from tvm_coexec.cost_models.models.analytic import AnalyticModel
from tvm_coexec.cost_models.models.base import LatencyModel, assign_folds

from ..read_model import Model
from .collection import Options, Summary
from .collector import collect
from .design import NAME, SPACES, Space, choose_points, is_in_bounds, make_module
from .design_maker import Point
from .sampling_plan import choose_jobs

ROUNDS = 4
AROUND = 3  # new kernels for each with a large error
LEAST_ERROR = 0.1  # logarithmic; kernels that are predicted better need no neighbours
_SCALED = ("ic", "oc", "m", "rows", "width")
_RANGE = (0.4, 1.2)
_FOLDS = 5
_TRIES = 20

Points = list[tuple[Space, Point]]


@dataclass(frozen=True)
class Round:
    """A round of adaptive sampling.

    Attributes
    ----------
    kernels : int
        Number of new kernels.
    centres : int
        Kernels around which they lie.
    errors : (float, float)
        Smallest and largest relative error of these.
    """

    kernels: int
    centres: int
    errors: tuple[float, float]


def make_default() -> LatencyModel:
    """Make the model that profiles have."""
    return AnalyticModel(fallback=True).silence_warnings()


def collect_adaptively(
    path: str,
    designed: int,
    total: int,
    options: Options,
    make: Callable[[], LatencyModel] = make_default,
) -> tuple[Summary, list[Round]]:
    """Measure designed kernels where the errors of a latency model are.

    Parameters
    ----------
    path : str
        A dataset with the designed set.
    designed : int
        Number of kernels of the designed set.
    total : int
        Number of kernels to add to the file in all rounds, those of earlier runs included.
    options : Options
        `Options.budget_s` is the time of all rounds.
    make : callable
        Makes the model whose errors count.

    Returns
    -------
    summary : Summary
        Of all rounds.
    rounds : list of Round
        Those that were chosen in this run.

    Raises
    ------
    CoExecError
        See `collect`.
    """
    start = time.monotonic()
    whole, rounds = Summary(), list[Round]()
    initial = choose_points(designed)
    while True:
        earlier = _read_rounds(path)
        waiting = [points for points in earlier if _count_missing(path, points, options.cuts)]
        if waiting:
            left_s = None if options.budget_s is None else options.budget_s - (time.monotonic() - start)
            if left_s is not None and left_s <= 0:
                whole.left = sum(_count_missing(path, points, options.cuts) for points in waiting)
                break
            models = [_model_of(points) for points in waiting]
            part = collect(models, path, replace(options, budget_s=left_s))
            _add(whole, part)
            if whole.left or not part.measured:
                break
            continue
        missing = total - sum(map(len, earlier))
        if missing <= 0:
            break
        wanted = min(missing, -(-total // ROUNDS))
        chosen, found = choose_around([initial, *earlier], read_samples(path), wanted, len(earlier), make)
        if not chosen:
            break
        _append(path, chosen)
        rounds.append(found)
    whole.seconds = time.monotonic() - start
    return whole, rounds


def choose_around(
    earlier: Sequence[Points], samples: Samples, wanted: int, seed: int, make: Callable[[], LatencyModel]
) -> tuple[Points, Round]:
    """Choose new points around those with the largest errors.

    Parameters
    ----------
    earlier : sequence of list of (Space, dict)
        The points of the designed set, and of each round.
    samples : Samples
    wanted : int
        Number of points; fewer if there are not so many large errors.
    seed : int
    make : callable
        Makes the model whose errors count.

    Returns
    -------
    points : list of (Space, dict)
    round : Round
    """
    known = {signature: point for points in earlier for signature, point in _by_signature(points).items()}
    errors = {s: e for s, e in find_errors(samples, make).items() if s in known and e >= LEAST_ERROR}
    taken = {(space.name, tuple(p.items())) for points in earlier for space, p in points}
    rng = np.random.default_rng(seed)
    chosen: Points = []
    used: list[float] = []
    for signature in sorted(errors, key=lambda s: (-errors[s], s)):
        if len(chosen) >= wanted:
            break
        space, centre = known[signature]
        found = _draw_around(space, centre, min(AROUND, wanted - len(chosen)), rng, taken)
        if found:
            chosen += [(space, p) for p in found]
            used.append(errors[signature])
    span = (float(np.expm1(used[-1])), float(np.expm1(used[0]))) if used else (0.0, 0.0)
    return chosen, Round(len(chosen), len(used), span)


def find_errors(samples: Samples, make: Callable[[], LatencyModel]) -> dict[str, float]:
    """Return the logarithmic error of each kernel in cross-validation, by signature.

    All pieces of a kernel are in one fold. The error is the mean over the kernel and its shares, of the worse device.
    """
    worst: dict[str, float] = {}
    for device in DEVICES:
        found = samples.of(device)
        if not found:
            continue
        seconds = np.array([s.seconds for s in found])
        fold = assign_folds([s.signature for s in found], _FOLDS)
        missed = np.zeros(len(found))
        for k in range(fold.max() + 1):
            inside, out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            if not len(inside):
                continue
            model = make().fit([found[i].workload for i in inside], seconds[inside])
            known = [int(i) for i in out if model.knows(found[i].workload)]
            if known:
                predicted = model.predict([found[i].workload for i in known])
                missed[known] = np.abs(np.log(predicted / seconds[known]))
        names, where = np.unique([s.signature for s in found], return_inverse=True)
        means = np.bincount(where, missed) / np.bincount(where)
        for name, error in zip(names.tolist(), means.tolist(), strict=True):
            worst[name] = max(worst.get(name, 0.0), error)
    return worst


def _draw_around(space: Space, centre: Point, count: int, rng: np.random.Generator, taken: set) -> list[Point]:
    """Draw points near another one that are in bounds and new; add them to `taken`."""
    found: list[Point] = []
    for _ in range(_TRIES * count):
        if len(found) == count:
            break
        point = dict(centre)
        for name in _SCALED:
            if name in point and space.bounds[name][0] < space.bounds[name][1]:
                low, high = space.bounds[name]
                point[name] = int(np.clip(round(point[name] * rng.uniform(*_RANGE)), np.ceil(low), np.floor(high)))
        key = (space.name, tuple(point.items()))
        if key not in taken and is_in_bounds(point):
            taken.add(key)
            found.append(point)
    return found


def _model_of(points: Points) -> Model:
    return Model(NAME, make_module(points), {})


def _by_signature(points: Points) -> dict[str, tuple[Space, Point]]:
    """Return the point of each kernel."""
    graph = _model_of(points).graph()
    return {
        graph.kernels[value].signature(): point
        for value, point in zip(graph.outputs, points, strict=True)
        if value >= 0
    }


def _count_missing(path: str, points: Points, cuts: int) -> int:
    """Return how many kernels and shares of a round are not in the file, with an error or without."""
    measured = {s.key for s in read_samples(path).samples}
    return len({j.key for j in choose_jobs([(NAME, _model_of(points).graph())], cuts)} - measured)


def _read_rounds(path: str) -> list[Points]:
    by_name = {s.name: s for s in SPACES}
    rounds = read_samples(path).points
    if unknown := [name for points in rounds for name, _ in points if name not in by_name]:
        raise CoExecError(f"{path} has kernels of class '{unknown[0]}', which this release can't make; use a new file")
    return [[(by_name[name], p) for name, p in points] for points in rounds]


def _append(path: str, points: Points) -> None:
    record = {"record": "points", "points": [[space.name, p] for space, p in points]}
    with SampleWriter(path, read_samples(path).header) as writer:
        writer.write(record)


def _add(whole: Summary, part: Summary) -> None:
    whole.measured += part.measured
    whole.left += part.left
    whole.failed += part.failed
    whole.load = max(whole.load, part.load)
