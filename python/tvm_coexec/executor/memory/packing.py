"""Buffers -> blocks of memory, or places in one block.

Both ways are greedy (Pisarchyk and Lee, Efficient Memory Management for Deep Neural Net Inference, 2020): one after the
other, each buffer goes where it meets no other one that is in use at the same time. In one block (their section 5,
offsets) parts of a free place can be used, so that is smaller; which order is best depends on the graph, so several are
tried, and the best is improved. Blocks that buffers have to themselves while they are in use (section 4, shared
objects) are for devices to which a block is the unit of mapping or of order.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from .lifetimes import Buffer

_IMPROVEMENTS = 40


def into_blocks(buffers: Sequence[Buffer]) -> list[list[Buffer]]:
    """The largest buffers first, each into the smallest block in which it never meets another one."""
    blocks: list[list[Buffer]] = []
    for b in sorted(buffers, key=lambda b: (-b.nbytes, b.root)):
        free = [k for k in blocks if all(b.fits_beside(other) for other in k)]
        if free:
            min(free, key=lambda k: k[0].nbytes).append(b)
        else:
            blocks.append([b])
    return blocks


def into_one(buffers: Sequence[Buffer], alignment: int) -> tuple[int, list[int]]:
    """Places in one block.

    Parameters
    ----------
    buffers : sequence of Buffer
    alignment : int
        Buffers begin at multiples of that many bytes.

    Returns
    -------
    nbytes : int
        Of the block.
    offsets : list of int
        By buffer.
    """
    if not buffers:
        return 0, []
    sizes = [-(-b.nbytes // alignment) * alignment for b in buffers]
    met = conflicts(buffers)
    spans = [_span(b) for b in buffers]
    numbers = range(len(buffers))
    orders = [
        sorted(numbers, key=lambda i: (-sizes[i], i)),
        sorted(numbers, key=lambda i: (-sizes[i] * spans[i], i)),
        sorted(numbers, key=lambda i: (-spans[i], -sizes[i], i)),
    ]
    tried = [(*_placed(order, sizes, met), order) for order in orders]
    best = min(tried, key=lambda t: t[0])
    return _improved(best, sizes, met)


def conflicts(buffers: Sequence[Buffer]) -> np.ndarray:
    """Which buffers may not be the same memory, as a symmetric boolean matrix."""
    precedes = np.ones((len(buffers), len(buffers)), dtype=bool)
    for device in ("cpu", "gpu"):
        first = np.array([b.first.get(device, inf) for b in buffers])
        free = np.array([b.free_for[device] for b in buffers])
        precedes &= (first[None, :] > free[:, None]) | np.isinf(first)[None, :]
    return ~(precedes | precedes.T)


def _span(buffer: Buffer) -> float:
    return min(max(buffer.free_for.values()), 1e9) - min(buffer.first.values(), default=0.0)


def _placed(order: Sequence[int], sizes: Sequence[int], met: np.ndarray) -> tuple[int, list[int]]:
    """Each buffer in turn into the tightest gap between those that it meets; else behind them."""
    begin = np.full(len(sizes), -1, dtype=np.int64)
    lengths = np.asarray(sizes, dtype=np.int64)
    for i in order:
        others = np.nonzero(met[i] & (begin >= 0))[0]
        others = others[np.argsort(begin[others], kind="stable")]
        at, tightest, place = 0, inf, -1
        for lo, hi in zip(begin[others].tolist(), (begin[others] + lengths[others]).tolist(), strict=True):
            if sizes[i] <= lo - at < tightest:
                tightest, place = lo - at, at
            at = max(at, hi)
        begin[i] = at if place < 0 else place
    return int((begin + lengths).max()), begin.tolist()


def _improved(best: tuple[int, list[int], list[int]], sizes: Sequence[int], met: np.ndarray) -> tuple[int, list[int]]:
    """Place the buffer that sticks out on top earlier, and again, as long as that may help."""
    height, offsets, order = best
    now = list(offsets)
    order = list(order)
    for _ in range(_IMPROVEMENTS):
        top = max(order, key=lambda i: now[i] + sizes[i])
        position = order.index(top)
        if position == 0:
            break
        order.insert(position // 2, order.pop(position))
        reached, now = _placed(order, sizes, met)
        if reached < height:
            height, offsets = reached, now
    return height, offsets
