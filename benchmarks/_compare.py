"""A co-executed network against each device alone: the builds, the times in turns, and what is derived from them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import _common, _modules, _quiet

QUIET = (
    "runs count if a loop on both cores at once was at its full speed before and after them; quiet_%: how many of the "
    "runs were so, after waiting for waited_s seconds; if 0, all count"
)


@dataclass(frozen=True)
class Alone:
    """The unsplit builds of a network.

    Attributes
    ----------
    runners : list of Runner
        ``cpu``, and ``gpu`` if TVM can build the network for it.
    cpu_library : executor factory
    gpu_failure : str
        Why there is no module for the GPU; empty if there is one.
    """

    runners: list[_modules.Runner]
    cpu_library: object
    gpu_failure: str = ""


@dataclass(frozen=True)
class Compared:
    """A co-executed network against each device alone.

    Attributes
    ----------
    row : dict
        Median milliseconds, and the speed-up over the better device.
    best_s : dict of str to float
        Shortest run of ``cpu``, ``gpu`` and ``both``.
    better : str
        The better device by the median.
    median_s, speed_ups : dict of str to float
        Median run of each; and the speed-up over the better device of each that uses both.
    outputs : dict of str to list of ndarray
        Results of ``cpu``, ``gpu`` and those.
    two_threads_s, over_two_threads : float or None
        Median of TVM's own CPU build on two threads, and the speed of ``both``, relative to it.
    waited_s, quiet_percent : float
        Seconds spent waiting for quiet moments, and percentage of the runs at such moments, which alone count; 0: none
        were, and all count.
    """

    row: dict
    best_s: dict[str, float]
    better: str
    median_s: dict[str, float]
    speed_ups: dict[str, float]
    outputs: dict[str, list[np.ndarray]]
    two_threads_s: float | None
    over_two_threads: float | None
    waited_s: float
    quiet_percent: float


def build_alone(net: _modules.Network, target: str, needs_gpu: bool = True, gpu: str = _modules.GPU) -> Alone:
    """Build a network for each device alone; without `needs_gpu` a failure of the GPU's build is kept as text."""
    import tvm

    import tvm_coexec
    from tvm_coexec.core.errors import one_line

    cpu_target, gpu_target = tvm_coexec.targets(target, gpu)
    cpu, lib = _modules.single(net, "cpu", cpu_target, tvm.cpu())
    try:
        alone, _ = _modules.single(net, "gpu", gpu_target, tvm.device(gpu))
        alone.once()
    except Exception as err:  # TVM lacks GPU schedules of some operators; the class of its error depends on where
        if needs_gpu:
            raise
        return Alone([cpu], lib, one_line(err, 160))
    return Alone([cpu, alone], lib)


def compare(
    name: str,
    alone: Alone,
    both: _modules.Runner,
    bed: _common.TestBed,
    turns: int,
    two_threads: bool = False,
    patience_s: float = 120.0,
    others: Sequence[_modules.Runner] = (),
) -> Compared:
    """Time a co-executed build, each device alone and, if requested, the CPU build on two threads, in turns.

    `patience_s` limits the time that is spent waiting for a quiet machine; `others` are more co-executed builds.
    """
    runners: list[_modules.Runner | _modules.TwoThreads] = [*alone.runners, both, *others]
    outputs = {r.name: r.once()[1] for r in runners}
    threads = _modules.TwoThreads("two_threads", alone.cpu_library, both.inputs) if two_threads else None
    runners += [threads] if threads else []
    try:
        with _quiet.Quiet(patience_s) as quiet:
            times = _modules.time_steady_state(runners, turns, bed, quiet)
    finally:
        if threads:
            threads.close()
    median = {n: statistics.median(s for turn in t for s in turn) for n, t in times.items()}
    best = {n: min(s for turn in t for s in turn) for n, t in times.items()}
    better = min((r.name for r in alone.runners), key=median.__getitem__)
    row = {
        "network": name,
        "cpu_ms": median["cpu"] * 1e3,
        "gpu_ms": median["gpu"] * 1e3 if "gpu" in median else None,
        "both_ms": median["both"] * 1e3,
        "speed_up": speed_up(times[better], times["both"]),
        "best_runs": best[better] / best["both"],
    }
    speed_ups = {r.name: speed_up(times[better], times[r.name]) for r in (both, *others)}
    over = speed_up(times["two_threads"], times["both"]) if two_threads else None
    two_threads_s = median.get("two_threads")
    return Compared(
        row, best, better, median, speed_ups, outputs, two_threads_s, over, quiet.waited_s, quiet.quiet_percent
    )


def compare_with_alone(
    net: _modules.Network,
    both: _modules.Runner,
    bed: _common.TestBed,
    turns: int,
    target: str,
    two_threads: bool = False,
    gpu: str = _modules.GPU,
    others: Sequence[_modules.Runner] = (),
) -> Compared:
    """Build a network for each device alone, and time both and co-executed builds in turns."""
    return compare(net.name, build_alone(net, target, gpu=gpu), both, bed, turns, two_threads, others=others)


def speed_up(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """Speed of `other`, relative to `one`: the median over turns of the ratio of their medians.

    Other load on the host of a virtual machine disturbs the runs of a turn equally.
    """
    return statistics.median(statistics.median(a) / statistics.median(b) for a, b in zip(one, other, strict=True))


def bounds(row: Mapping) -> dict[str, float | None]:
    """The bound of the speed-up, and what of it was reached.

    Two devices that share the work without any loss need ``1 / (1 / cpu + 1 / gpu)``; the bound is the better device's
    time over that. Without a GPU's time there is none.
    """
    cpu, gpu = row["cpu_ms"], row["gpu_ms"]
    if not gpu:
        return {"bound": None, "of_bound": None}
    bound = min(cpu, gpu) * (1 / cpu + 1 / gpu)
    return {"bound": bound, "of_bound": row["speed_up"] / bound}


def promised_off(expected_s: float, row: Mapping) -> float | None:
    """How far a plan's expected time is off the median run, in percent; negative where it promised too much."""
    return 100 * (expected_s * 1e3 / row["both_ms"] - 1) if expected_s else None


def summarise(rows: Sequence[Mapping], of_bound: tuple[float, float], promises: tuple[float, float]) -> list[str]:
    """Lines on speed-up over bound and on promises, with their goals: mean and worst of each."""
    lines = []
    reached = [(r["of_bound"], r["network"]) for r in rows if r.get("of_bound") is not None]
    if reached:
        mean, (least, name) = statistics.geometric_mean(value for value, _ in reached), min(reached)
        lines.append(
            f"speed-up over bound: geometric mean {mean:.3f} (goal >= {of_bound[0]:g}), worst {least:.3f} (goal >= "
            f"{of_bound[1]:g}), of {name}"
        )
    off = [(abs(r["promised_off_%"]), r["network"]) for r in rows if r.get("promised_off_%") is not None]
    if off:
        mean, (most, name) = statistics.fmean(value for value, _ in off), max(off)
        lines.append(
            f"promised against kept time: mean of magnitudes {mean:.1f} % (goal <= {promises[0]:g} %), worst "
            f"{most:.1f} % (goal <= {promises[1]:g} %), of {name}"
        )
    return lines
