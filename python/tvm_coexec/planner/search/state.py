"""States of execution, and the ways to get there."""

from __future__ import annotations

from dataclasses import dataclass, field

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


@dataclass(slots=True)
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


@dataclass(slots=True)
class State:
    """A set of kernels that have run.

    Attributes
    ----------
    done : int
        These kernels, as a bit mask.
    ready : int
        Kernels that may run next: they have not run, and all that they wait for have.
    live : int
        Values that are still needed, as a bit mask (see `Values`).
    labels : list of Label
    """

    done: int
    ready: int
    live: int
    labels: list[Label] = field(default_factory=list)

    @property
    def first(self) -> int:
        """The first kernel that has not run."""
        return (~self.done & (self.done + 1)).bit_length() - 1
