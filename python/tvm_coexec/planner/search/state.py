"""States of execution, and the ways to get there."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from ..chain_times import ChainTimes
from .outcomes import Outcome
from .residency import Residency


class RunKernel(NamedTuple):
    """A kernel run whole on one device.

    Attributes
    ----------
    device : str
    kernel : int
    copies : bool
        Whether an input had to be copied to the device first.
    """

    device: str
    kernel: int
    copies: bool


class RunChain(NamedTuple):
    """A chain run on both devices; see `Segment`."""

    members: tuple[int, ...]
    axis: str
    cut: int


Step = RunKernel | RunChain


@dataclass(slots=True, eq=False)
class Label:
    """One way to a state.

    Attributes
    ----------
    host_s, gpu_s : float
        When host and GPU queue are free; the queue's is never less.
    on_cpu, on_gpu : int
        Live values that each device has, as bit masks.
    joules : float
        Of the work so far, beyond idle power; 0 where energy does not count.
    before : Label or None
    step : RunKernel, RunChain or None
        How the state was reached from the one before.
    """

    host_s: float
    gpu_s: float
    on_cpu: int
    on_gpu: int
    joules: float = 0.0
    before: Label | None = None
    step: Step | None = None

    @property
    def where(self) -> Residency:
        """The masks as one value."""
        return Residency(self.on_cpu, self.on_gpu)

    @property
    def least_gpu_s(self) -> float:
        """When the GPU's queue is free if the CPU alone works on: `gpu_s`, but for rounding."""
        at_s = self.host_s + (self.gpu_s - self.host_s)
        return at_s if at_s < self.gpu_s else self.gpu_s


@dataclass(slots=True, eq=False)
class ChainStart:
    """A chain that may begin in a state.

    Attributes
    ----------
    chain : ChainTimes
    done : int
        Kernels that have run after it.
    live : int
        Values that are needed then.
    reads : tuple of int
        Bits of the values that it reads, in the order of the `places` of `Outcomes.of`.
    read_mask : int
        All these bits.
    after : State or None
        The state after it, once a way there was offered.
    """

    chain: ChainTimes
    done: int
    live: int
    reads: tuple[int, ...]
    read_mask: int
    after: State | None = None


class ChainEnd(NamedTuple):
    """Where a chain leads to from given places of what it reads.

    Attributes
    ----------
    start : ChainStart
    outcome : Outcome
    where : Residency
        Of the values that are on a device because of the chain.
    step : RunChain
    """

    start: ChainStart
    outcome: Outcome
    where: Residency
    step: RunChain


class AfterChain(NamedTuple):
    """The way to a state from one label of another, by running a chain that begins at `start_s`."""

    label: Label
    end: ChainEnd
    start_s: float


# Ways to a state from all labels of another by running one kernel, given by its index, on either device; or by a chain.
Way = tuple["State", int] | AfterChain


@dataclass(slots=True, eq=False)
class State:
    """A set of kernels that have run.

    Ways to it are offered first and worked out later, if it turns out to be among the most promising of its level.

    Attributes
    ----------
    done : int
        These kernels, as a bit mask.
    before : State or None
        One from which there is a way here; `None` for the first state.
    bound_s : float
        No way that was offered has the GPU's queue free before.
    offers : list
        Ways in the order in which they were found.
    ready : int
        Kernels that may run next: they have not run, and all that they wait for have.
    live : int
        Values that are still needed, as a bit mask (see `Values`).
    labels : list of Label
        Ways that are not worse than others.
    host_s, gpu_s, least_gpu_s : float
        The least of the labels from which the search goes on.
    """

    done: int
    before: State | None
    bound_s: float = inf
    offers: list[Way] = field(default_factory=list)
    ready: int = 0
    live: int = 0
    labels: list[Label] = field(default_factory=list)
    host_s: float = 0.0
    gpu_s: float = 0.0
    least_gpu_s: float = 0.0

    @property
    def first(self) -> int:
        """The first kernel that has not run."""
        return (~self.done & (self.done + 1)).bit_length() - 1

    def offer(self, way: Way, bound_s: float) -> None:
        """Add a way; the GPU's queue is not free before `bound_s`."""
        self.offers.append(way)
        if bound_s < self.bound_s:
            self.bound_s = bound_s
