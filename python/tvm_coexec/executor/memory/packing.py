"""Pack buffers into storage blocks, or at offsets in one block.

Both algorithms are greedy (Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020): each
buffer in turn is put where it overlaps no other one that is in use at the same time. Offsets in one block (their
section 5) can use part of a gap, so they need less memory; the best order of buffers depends on the graph, so several
are tried and the best one is improved. Separate blocks, each used by one buffer at a time (section 4, shared objects),
are for devices on which a block is the unit of mapping or of synchronisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from .lifetimes import Buffer

_IMPROVEMENTS = 40


def pack_blocks(buffers: Sequence[Buffer]) -> list[list[Buffer]]:
    """Assign buffers to blocks: the largest first, each to the smallest block in which its lifetime overlaps no other.

    Parameters
    ----------
    buffers : sequence of Buffer

    Returns
    -------
    list of list of Buffer
        The buffers of each block, the largest first.
    """
    blocks: list[list[Buffer]] = []
    for b in sorted(buffers, key=lambda b: (-b.nbytes, b.root)):
        free = [k for k in blocks if all(b.may_share_memory(other) for other in k)]
        if free:
            min(free, key=lambda k: k[0].nbytes).append(b)
        else:
            blocks.append([b])
    return blocks


def pack_offsets(buffers: Sequence[Buffer], alignment: int) -> tuple[int, list[int]]:
    """Compute offsets of buffers in one block.

    Parameters
    ----------
    buffers : sequence of Buffer
    alignment : int
        Offsets are multiples of this many bytes.

    Returns
    -------
    nbytes : int
        Size of the block.
    offsets : list of int
        Offset of each buffer, in bytes.
    """
    if not buffers:
        return 0, []
    sizes = [-(-b.nbytes // alignment) * alignment for b in buffers]
    conflicts = find_conflicts(buffers)
    spans = [_lifetime_length(b) for b in buffers]
    numbers = range(len(buffers))
    orders = [
        sorted(numbers, key=lambda i: (-sizes[i], i)),
        sorted(numbers, key=lambda i: (-sizes[i] * spans[i], i)),
        sorted(numbers, key=lambda i: (-spans[i], -sizes[i], i)),
    ]
    tried = [(*_place_greedily(order, sizes, conflicts), order) for order in orders]
    best = min(tried, key=lambda t: t[0])
    return _improve(best, sizes, conflicts)


def find_conflicts(buffers: Sequence[Buffer]) -> np.ndarray:
    """Find the pairs of buffers whose lifetimes overlap.

    Parameters
    ----------
    buffers : sequence of Buffer

    Returns
    -------
    numpy.ndarray
        Symmetric, boolean, shape (buffers, buffers).
    """
    precedes = np.ones((len(buffers), len(buffers)), dtype=bool)
    for device in ("cpu", "gpu"):
        first = np.array([b.first.get(device, inf) for b in buffers])
        free = np.array([b.free_for[device] for b in buffers])
        precedes &= (first[None, :] > free[:, None]) | np.isinf(first)[None, :]
    return ~(precedes | precedes.T)


def _lifetime_length(buffer: Buffer) -> float:
    return min(max(buffer.free_for.values()), 1e9) - min(buffer.first.values(), default=0.0)


def _place_greedily(order: Sequence[int], sizes: Sequence[int], conflicts: np.ndarray) -> tuple[int, list[int]]:
    """Put each buffer in turn into the tightest gap between those it conflicts with, or after all of them."""
    begin = np.full(len(sizes), -1, dtype=np.int64)
    lengths = np.asarray(sizes, dtype=np.int64)
    for i in order:
        others = np.nonzero(conflicts[i] & (begin >= 0))[0]
        others = others[np.argsort(begin[others], kind="stable")]
        at, tightest, gap = 0, inf, -1
        for lo, hi in zip(begin[others].tolist(), (begin[others] + lengths[others]).tolist(), strict=True):
            if sizes[i] <= lo - at < tightest:
                tightest, gap = lo - at, at
            at = max(at, hi)
        begin[i] = at if gap < 0 else gap
    return int((begin + lengths).max()), begin.tolist()


def _improve(
    best: tuple[int, list[int], list[int]], sizes: Sequence[int], conflicts: np.ndarray
) -> tuple[int, list[int]]:
    """Repeatedly move the buffer with the highest end forward in the order, and keep the best result."""
    height, offsets, order = best
    now = list(offsets)
    order = list(order)
    for _ in range(_IMPROVEMENTS):
        top = max(order, key=lambda i: now[i] + sizes[i])
        position = order.index(top)
        if position == 0:
            break
        order.insert(position // 2, order.pop(position))
        reached, now = _place_greedily(order, sizes, conflicts)
        if reached < height:
            height, offsets = reached, now
    return height, offsets
