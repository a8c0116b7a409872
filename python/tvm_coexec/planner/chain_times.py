"""What a chain takes at each of its cuts: plain data, which `ChainSweep` works out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tvm_coexec.core.access import Region


class PerShare(NamedTuple):
    """Three arrays of shape (cuts,): the rows of one array of shape (3, cuts).

    Attributes
    ----------
    gpu, cpu : array
        Of what each device computes.
    for_last : array
        Of what the GPU would compute for the chain's last value alone, which is where values that others read as well
        are cut (see `chain_shares`).
    """

    gpu: np.ndarray
    cpu: np.ndarray
    for_last: np.ndarray


@dataclass(eq=False)
class Outer:
    """What a chain's shares read of a value from outside, as fractions; arrays have shape (cuts,).

    Attributes
    ----------
    gpu, cpu : array
    whole : bool
        Both shares read all of it, at every cut.
    part : bool
        Each share reads something but not all, at every cut.
    """

    gpu: np.ndarray
    cpu: np.ndarray
    whole: bool
    part: bool

    @cached_property
    def all_read(self) -> bool:
        """Whether the CPU's share reads something at every cut."""
        return self.whole or self.part or bool((self.cpu > 0).all())


def make_outer(region: Region, extent: int) -> Outer:
    """Make the flags of what is read of a value of that extent."""
    read = np.maximum(0, region.hi[:2] - region.lo[:2]) / extent
    low, high = read.min(), read.max()
    return Outer(read[0], read[1], bool(low == 1), bool(low > 0 and high < 1))


@dataclass(eq=False)
class ChainTimes:
    """One chain along one axis at all its cuts; arrays have shape (cuts,).

    Attributes
    ----------
    members : tuple of int
        Ascending.
    axis : str
        Axis of the last member.
    cuts : array
    gpu_s, cpu_s : array
        Work of each share.
    both_s : array
        Until both shares are done, when they begin at once and the GPU was idle.
    join_s : array
        Downloads and joins of all values that leave.
    leaves : dict of int to (array, int)
        Per member whose value leaves: where the GPU's part ends, and the extent.
    outer : dict of int to Outer
        Per value from outside what the shares read.
    after : tuple of int
        Values that the CPU reads after the join.
    joules : array
        Of the work alone, beyond idle power.
    slow : mapping of str to float or array
        Co-run slowdown by device.
    origin : ChainTimes or None
        The chain that this one repeats (see `repeats`); its values lie `shift` kernels further up.
    shift : int
    idle_outcomes : dict
        What `Outcomes.on_idle_gpu` has worked out, by places.
    """

    members: tuple[int, ...]
    axis: str
    cuts: np.ndarray
    gpu_s: np.ndarray
    cpu_s: np.ndarray
    both_s: np.ndarray
    join_s: np.ndarray
    leaves: dict[int, tuple[np.ndarray, int]]
    outer: dict[int, Outer]
    after: tuple[int, ...]
    joules: np.ndarray
    slow: Mapping[str, Any]
    origin: ChainTimes | None = None
    shift: int = 0
    idle_outcomes: dict[tuple[int, ...], list] = field(default_factory=dict)

    @cached_property
    def mask(self) -> int:
        """The members as a bit mask."""
        return sum(1 << m for m in self.members)
