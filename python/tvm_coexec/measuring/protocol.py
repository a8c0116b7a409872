"""What the timing process is set up with, what it is asked for, and what it answers: plain data."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from tvm_coexec import testbed
from tvm_coexec.cost_models.dataset import is_noisy
from tvm_coexec.remote import Server

from .compile import Built

REPEATS, MIN_REPEAT_MS = 7, 3
PATIENCE_S, SETTLE_S = 2.5, 1.0
BATCH = 8  # libraries that are timed together
WHERE = "where"  # the request for the address of the RPC server


@dataclass(frozen=True)
class Setting:
    """Setting of the timing process.

    Attributes
    ----------
    gpu_type : int
        DLPack type of the GPU.
    bed : TestBed or None
        Test-bed for which the process is pinned to cores.
    server : Server or None
        RPC server of the devices; `None` for this machine's. Our runtime is loaded there if it is not.
    environment : dict
        Environment variables to set; `None` removes one.
    cores : tuple of int
        Cores that the process may use; empty for those of its parent.
    settle_s : float
        Seconds during which the shortest time of a reference kernel is searched for.
    """

    gpu_type: int
    bed: testbed.TestBed | None = None
    server: Server | None = None
    environment: dict[str, str | None] = field(default_factory=dict)
    cores: tuple[int, ...] = ()
    settle_s: float = SETTLE_S


@dataclass(frozen=True)
class TimeRequest:
    """Time a library `repeats` times, each for at least `min_repeat_ms`, and again if the times differ too much.

    With a `reference` on the same device, only while that kernel does not drift, unless it drifts for `patience_s`.
    """

    built: Built
    repeats: int
    min_repeat_ms: int
    reference: Built | None = None
    patience_s: float = PATIENCE_S


@dataclass(frozen=True)
class TimeBatch:
    """Time libraries that wait for quiet moments together; the answer is a list of `Timed`, or the error's text."""

    requests: tuple[TimeRequest, ...]


@dataclass(frozen=True)
class OutputsRequest:
    """Run a library once, with inputs and weights by name in an ``.npz`` file; the answer is the outputs."""

    built: Built
    values: str


@dataclass(frozen=True)
class EnqueueRequest:
    """Measure the launch overhead with a library of one kernel."""

    built: Built


@dataclass(frozen=True)
class CopyRequest:
    """Time a library with a copy between the devices from an idle GPU's view (see `links.time_from_idle`)."""

    built: Built


@dataclass(frozen=True)
class RoundTripRequest:
    """Measure the library's round trip in memory that both devices address (see `measure_round_trip`)."""

    built: Built


@dataclass(frozen=True)
class Timed:
    """Seconds of each repeat, and the state of the machine.

    Attributes
    ----------
    seconds : tuple of float
    wall_s : float
        Duration of all repeats.
    load : float
        Number of cores that other processes used meanwhile.
    mhz : float
        Clock of the CPU; 0 if it can't be read.
    pace : float
        Reference drift, at the best of the timed moments.
    """

    seconds: tuple[float, ...]
    wall_s: float
    load: float
    mhz: float
    pace: float = 1.0

    @property
    def best_s(self) -> float:
        """Shortest repeat."""
        return min(self.seconds)

    @property
    def median_s(self) -> float:
        """Median repeat."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Relative spread: median over the shortest, minus 1."""
        return spread_of(self.seconds)

    @property
    def is_noisy(self) -> bool:
        """Whether the repeats differ, or the reference kernel drifted, by more than the limits."""
        return is_noisy(self.spread, self.pace)


def spread_of(seconds: tuple[float, ...]) -> float:
    """Return the relative spread of repeats: median over the shortest, minus 1."""
    return statistics.median(seconds) / max(min(seconds), 1e-12) - 1.0


@dataclass(frozen=True)
class GaugeRequest:
    """Find the gauge of the machine's energy (see `find_gauge`); the answer is its name.

    Attributes
    ----------
    root : str
        Folder of ``sys``.
    """

    root: str = "/"


@dataclass(frozen=True)
class EnergyRequest:
    """Measure the energy while a library runs repeatedly, or at rest if it is `None`; the answer is an `EnergyRun`.

    Attributes
    ----------
    built : Built or None
    root : str
        Folder of ``sys``.
    least_s : float or None
        Shortest duration; by default what the gauge needs.
    """

    built: Built | None
    root: str = "/"
    least_s: float | None = None


@dataclass(frozen=True)
class BusyRequest:
    """Run a library repeatedly until the next message."""

    built: Built
