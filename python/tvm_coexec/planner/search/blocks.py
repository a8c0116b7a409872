"""Blocks of a graph: kernels between two points that every order of execution passes, and the states in between."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from tvm_coexec.core.kernel_graph import KernelGraph

# A block with more states than this is searched along its branches only.
SMALL_BLOCK = 24


@dataclass(frozen=True)
class Block:
    """Kernels between two places that every order of execution passes through.

    Attributes
    ----------
    start, stop : int
        Kernels ``start..stop - 1``.
    states : tuple of int or None
        Sets of the block's kernels that may have run when the others have not (downward closed), as bit masks over all
        kernels, from few kernels to many; `None` where they are too many.
    """

    start: int
    stop: int
    states: tuple[int, ...] | None


def blocks_of(graph: KernelGraph) -> list[Block]:
    """Blocks in order; together they are all kernels."""
    n = len(graph.kernels)
    producers = producers_mask(graph)
    needed: list[int] = []  # everything that a kernel waits for, itself included
    for k in range(n):
        needed.append(1 << k)
        for v in bits(producers[k]):
            needed[k] |= needed[v]
    blocks, common, stops = [], (1 << n) - 1, [n]
    for k in reversed(range(1, n)):
        common &= needed[k]
        if common & ((1 << k) - 1) == (1 << k) - 1:  # all from here on wait for all before
            stops.append(k)
    start = 0
    for stop in reversed(stops):
        blocks.append(Block(start, stop, _states(producers, start, stop)))
        start = stop
    return blocks


def producers_mask(graph: KernelGraph) -> list[int]:
    """Per kernel the kernels that must run before it, as a bit mask.

    They are those that it reads, and earlier ones without readers: outputs in the middle of a model may as well be
    computed in the model's order.
    """
    found, unread = [], 0
    for k in graph.kernels:
        found.append(unread | sum(1 << v for v in set(k.inputs) if v >= 0))
        if k.index not in graph.consumers:
            unread |= 1 << k.index
    return found


def followers_of(producers: list[int]) -> list[tuple[int, ...]]:
    """Per kernel the kernels that wait for it, ascending; `producers` as `producers_mask` gives them."""
    found: list[list[int]] = [[] for _ in producers]
    for k, waits_for in enumerate(producers):
        for v in bits(waits_for):
            found[v].append(k)
    return [tuple(f) for f in found]


def _states(producers: list[int], start: int, stop: int) -> tuple[int, ...] | None:
    if stop - start == 1:
        return (0, 1 << start)
    inside = (1 << stop) - (1 << start)
    found, fresh = {0}, [0]
    while fresh:
        done = fresh.pop()
        for k in range(start, stop):
            if not done >> k & 1 and not producers[k] & inside & ~done:
                more = done | 1 << k
                if more not in found:
                    if len(found) >= SMALL_BLOCK:
                        return None
                    found.add(more)
                    fresh.append(more)
    return tuple(sorted(found, key=lambda s: (s.bit_count(), s)))


def bits(mask: int) -> Iterator[int]:
    """Positions of the bits that are set, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


@functools.lru_cache(maxsize=1 << 12)
def positions(mask: int) -> tuple[int, ...]:
    """As `bits`, for masks that come again and again."""
    return tuple(bits(mask))
