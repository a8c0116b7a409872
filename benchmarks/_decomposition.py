"""Where the time of a co-executed run goes: an exact sum, from recorded runs.

Let ``C`` and ``G`` be the times of the model on the CPU and on the GPU alone, and ``B = 1 / (1/C + 1/G)`` the bound:
the time of a run in which both devices work all the time, as fast as alone. A run of ``R`` seconds satisfies
``R/B = R/C + R/G``, and for each device ``R`` is the sum of what the device does. So ``R/B - 1`` is a sum of seconds of
the CPU over ``C`` and seconds of the GPU over ``G``, and each moment of the run is in it once for each device.
`lost_time` groups them:

``shares``
    Work that the split adds, with ``W'`` the kernels' time where no two of them run at the same time:
    ``W'_cpu/C + W'_gpu/G - 1``. Rows that both devices compute, tiles and data layouts that suit a share less than the
    whole; below zero where a kernel's implementation is better than in the unsplit build.
``co_run``
    What the kernels take longer because the other device works too: ``(W_cpu - W'_cpu)/C + (W_gpu - W'_gpu)/G``.
``meetings``
    Slices, joins and copies of both devices, the CPU's waiting while the GPU is idle (the driver takes its time), and
    the GPU's idle time meanwhile.
``launch``
    The CPU's time for launching GPU kernels, and that of the executor between two functions.
``imbalance``
    The rest: the CPU waits for a GPU that works; the GPU is idle while the CPU computes or launches.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tvm_coexec.tracing import Timeline, TraceEvent
from tvm_coexec.tracing.intervals import Interval, intersect, subtract, total_length, union
from tvm_coexec.tracing.spans import COPIES
from tvm_coexec.tracing.timeline import TRANSFERS

T = TypeVar("T")

CPU_STATES = ("work", "sync", "launch", "wait")
GPU_STATES = ("work", "sync", "idle")
TERMS = ("shares", "co_run", "meetings", "launch", "imbalance")
SYNC = ("slice", "join", *COPIES)


@dataclass(frozen=True)
class Activity:
    """Seconds of a run by what both devices do.

    Attributes
    ----------
    seconds : mapping of (str, str) to float
        By the CPU's state and the GPU's: of `CPU_STATES` and `GPU_STATES`. Their sum is the run's time.
    """

    seconds: Mapping[tuple[str, str], float]

    @property
    def run_s(self) -> float:
        """Seconds of the run."""
        return self.of()

    def of(self, cpu: Sequence[str] = CPU_STATES, gpu: Sequence[str] = GPU_STATES) -> float:
        """Return the seconds in which each device is in one of some states."""
        return sum(self.seconds[c, g] for c in cpu for g in gpu)


def measure_activity(timeline: Timeline) -> Activity:
    """Sum up a timeline by what both devices do at the same time.

    Parameters
    ----------
    timeline : Timeline
        Its events may overlap and, within the uncertainty of the GPU's clock, be outside of the run: each moment of the
        run counts once, for the first state in the order of `CPU_STATES` and `GPU_STATES` that holds.

    Returns
    -------
    Activity
    """
    run = [(0.0, timeline.total_s)]
    host, kernels, copies = (timeline.lane(lane) for lane in ("cpu", "gpu", TRANSFERS))
    cpu = _partition(
        run,
        {
            "work": [e for e in host if e.what == "work"],
            "sync": [e for e in host if e.what in SYNC],
            "wait": [e for e in host if e.what == "wait"],
        },
        rest="launch",  # and the executor itself
    )
    gpu = _partition(
        run,
        {"work": [e for e in kernels if e.what == "work"], "sync": [e for e in [*kernels, *copies] if e.what in SYNC]},
        rest="idle",
    )
    return Activity({(c, g): total_length(intersect(cpu[c], gpu[g])) for c in CPU_STATES for g in GPU_STATES})


def _partition(
    run: Sequence[Interval], events: Mapping[str, Sequence[TraceEvent]], rest: str
) -> dict[str, list[Interval]]:
    left, found = list(run), {}
    for state, its_events in events.items():
        found[state] = intersect(left, union(e.interval for e in its_events))
        left = subtract(left, found[state])
    return found | {rest: left}


def mean_activity(activities: Sequence[Activity]) -> Activity:
    """Return the mean of the runs of middle length: without the shortest and the longest quarter.

    A mean, unlike medians of the parts, has parts that add up.
    """
    middle = middle_half(activities, lambda a: a.run_s)
    return Activity({state: statistics.fmean(a.seconds[state] for a in middle) for state in middle[0].seconds})


def middle_half(items: Sequence[T], key: Callable[[T], float]) -> list[T]:
    """Return the items without the smallest and the largest quarter by a key."""
    drop = len(items) // 4
    return sorted(items, key=key)[drop : len(items) - drop]


def bound_s(cpu_s: float, gpu_s: float) -> float:
    """Return the time of a run in which both devices work all the time, as fast as alone."""
    return 1.0 / (1.0 / cpu_s + 1.0 / gpu_s)


def lost_time(cpu_s: float, gpu_s: float, run: Activity, one_at_a_time: Activity) -> dict[str, float]:
    """Decompose what a run takes longer than the bound.

    Parameters
    ----------
    cpu_s, gpu_s : float
        Seconds of the model on each device alone.
    run : Activity
        Of the co-executed run.
    one_at_a_time : Activity
        Of a run of the same module in which no two kernels run at the same time.

    Returns
    -------
    dict of str to float
        Fraction of the bound by `TERMS`. The sum is ``run.run_s / bound_s(cpu_s, gpu_s) - 1``.
    """
    work, idle = ("work",), ("idle",)
    cpu_alone_s, gpu_alone_s = one_at_a_time.of(cpu=work), one_at_a_time.of(gpu=work)
    idle_wait_s = run.of(("wait",), idle)
    return {
        "shares": cpu_alone_s / cpu_s + gpu_alone_s / gpu_s - 1.0,
        "co_run": (run.of(cpu=work) - cpu_alone_s) / cpu_s + (run.of(gpu=work) - gpu_alone_s) / gpu_s,
        "meetings": (run.of(cpu=("sync",)) + idle_wait_s) / cpu_s
        + (run.of(gpu=("sync",)) + idle_wait_s + run.of(("sync",), idle)) / gpu_s,
        "launch": run.of(cpu=("launch",)) / cpu_s,
        "imbalance": run.of(("wait",), ("work", "sync")) / cpu_s + run.of(("work", "launch"), idle) / gpu_s,
    }
