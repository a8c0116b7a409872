"""Paths along the branches of a block, as far as a split can travel."""

from __future__ import annotations

from collections.abc import Iterator

from tvm_coexec.core.kernel_graph import Kernel, KernelGraph, SplitAxis

from .blocks import bits


class Branches:
    """Paths that begin with a kernel and go on as long as one reader alone may run next.

    A path ends where no split can travel on: a kernel that needs the whole of what it reads (a dense layer along its
    features) may end a chain along its reduction, but no chain goes through it. A path that is cut there has lost no
    set of kernels that could be a chain. So in an unrolled recurrent network a path stays within one cell, however
    many there are.

    Parameters
    ----------
    graph : KernelGraph
    producers : list of int
        See `producers_mask`.

    Attributes
    ----------
    waits_for : list of tuple of int
        Per kernel the sets, as bit masks, that decide where its path goes: it depends on which of them have all run.
    """

    def __init__(self, graph: KernelGraph, producers: list[int]):
        self.graph, self.producers = graph, producers
        self._own = [frozenset(a.dim for a in k.axes if not a.reduces) for k in graph.kernels]
        self._carried: dict[tuple[int, int, frozenset[int]], tuple[bool, frozenset[int]]] = {}
        self.waits_for = [self._all_waits(k.index) for k in graph.kernels]

    def paths(self, k: int, done: int, stop: int) -> Iterator[int]:
        """The path from a kernel, shorter ones first, as bit masks; only kernels below `stop` are taken."""
        mask, dims = 1 << k, self._own[k]
        yield mask
        while dims:
            readers = [c for c in self.graph.consumers.get(k, ()) if c < stop]
            free = [c for c in readers if not self.producers[c] & ~(done | mask)]
            if len(free) != 1:
                return
            can_end, dims = self._carry(k, free[0], dims)
            if not can_end:
                return
            k = free[0]
            mask |= 1 << k
            yield mask

    def _carry(self, value: int, reader: int, dims: frozenset[int]) -> tuple[bool, frozenset[int]]:
        """Whether a split of a value along some of `dims` can travel to a reader; and along which dimensions on."""
        key = (value, reader, dims)
        if key not in self._carried:
            kernel = self.graph.kernels[reader]
            axes = [a for a in kernel.axes if _takes(kernel, a, value, dims)]
            self._carried[key] = (bool(axes), frozenset(a.dim for a in axes if not a.reduces))
        return self._carried[key]

    def _all_waits(self, start: int) -> tuple[int, ...]:
        """What the readers on any path from a kernel wait for apart from the path, which has not run."""
        readers, along, ahead = set(), {start: self._own[start]}, 1 << start
        while ahead:
            k = next(bits(ahead))
            ahead &= ahead - 1
            if not along[k]:
                continue
            for c in self.graph.consumers.get(k, ()):
                readers.add(c)
                can_end, dims = self._carry(k, c, along[k])
                if can_end:
                    along[c] = along.get(c, frozenset()) | dims
                    ahead |= 1 << c
        others = ~sum(1 << k for k in along)
        return tuple(sorted({self.producers[c] & others for c in readers} - {0}))


def _takes(kernel: Kernel, axis: SplitAxis, value: int, dims: frozenset[int]) -> bool:
    """Whether a kernel divided along an axis can do with a value that is divided along some of `dims`."""
    needs = [need for v, need in zip(kernel.inputs, axis.needs, strict=True) if v == value]
    return all(need is not None and not need.after_join and (need.dim in dims or not need.reads) for need in needs)
