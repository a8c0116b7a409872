"""States of execution, and the ways to get there."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from .residency import Residency


@dataclass(frozen=True, slots=True)
class RunKernel:
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


@dataclass(frozen=True, slots=True)
class RunChain:
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
    where : Residency
        Of the live values.
    joules : float
        Of the work so far, beyond idle power; 0 where energy does not count.
    before : Label or None
    step : RunKernel, RunChain or None
        How the state was reached from the one before.
    """

    host_s: float
    gpu_s: float
    where: Residency
    joules: float = 0.0
    before: Label | None = None
    step: Step | None = None

    @property
    def least_gpu_s(self) -> float:
        """When the GPU's queue is free if the CPU alone works on: `gpu_s`, but for rounding."""
        at_s = self.host_s + (self.gpu_s - self.host_s)
        return at_s if at_s < self.gpu_s else self.gpu_s


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
        Ways in the order in which they were found, as arguments of `Transitions.run_kernels` or `after_chain`.
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
    offers: list[tuple] = field(default_factory=list)
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

    def offer(self, way: tuple, bound_s: float) -> None:
        """Add a way; the GPU's queue is not free before `bound_s`."""
        self.offers.append(way)
        if bound_s < self.bound_s:
            self.bound_s = bound_s
