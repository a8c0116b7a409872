"""Windowed operators (convolutions of any rank), and tiles of their outputs."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from .tiles import divisors


@dataclass(frozen=True)
class Window:
    """The properties of a windowed operator on which its tile depends.

    Attributes
    ----------
    batch, groups : int
    channels, reduce : int
        Output and input channels of one group.
    out, kernel, stride, dilation : tuple of int
        Spatial extents, outermost first.
    padded : bool
        Whether the input is padded, so that copying it needs bounds checks.
    element_bytes : int
    per_tap : bool
        Whether the template copies the inputs again for each position in the kernel.
    """

    batch: int
    groups: int
    channels: int
    reduce: int
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padded: bool
    element_bytes: int = 4
    per_tap: bool = False

    def region(self, tile: tuple[int, ...]) -> int:
        """Return the input elements of one channel that a tile of outputs needs at a time.

        Parameters
        ----------
        tile : tuple of int
            Spatial extents of the tile.

        Returns
        -------
        int
        """
        if self.per_tap:
            return prod((t - 1) * s + 1 for t, s in zip(tile, self.stride, strict=True))
        spans = zip(tile, self.stride, self.kernel, self.dilation, strict=True)
        return prod((t - 1) * s + (k - 1) * d + 1 for t, s, k, d in spans)

    @property
    def taps(self) -> int:
        """Number of positions in the kernel."""
        return prod(self.kernel)


@dataclass(frozen=True)
class Tile:
    """The outputs of one work-group.

    Each extent is split in three: `vthread` (unrolled by TVM), `thread` (work-items) and `inner` (loops).

    Attributes
    ----------
    channels : tuple of int
        The three extents for output channels.
    spatial : tuple of tuple of int
        The same for each spatial axis, outermost first.
    reduce : int
        Input channels held in local memory at a time.
    unroll_steps, unroll_explicit : int
        The template's options ``auto_unroll_max_step`` and ``unroll_explicit``.
    cost : float
        Estimated cost of the whole operator.
    """

    channels: tuple[int, int, int]
    spatial: tuple[tuple[int, int, int], ...]
    reduce: int
    unroll_steps: int
    unroll_explicit: int
    cost: float


def choose_reduce_block(window: Window, channels: int, spatial: tuple[int, ...], local_bytes: int, limit: int) -> int:
    """Return the largest divisor of the input channels whose inputs and weights fit into local memory."""
    weights = channels * (1 if window.per_tap else window.taps)
    each = (window.region(spatial) + weights) * window.element_bytes
    return max((d for d in divisors(window.reduce) if d <= limit and d * each <= local_bytes), default=1)
