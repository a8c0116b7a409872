"""Paths along the branches of a block, as far as a split can travel."""

from __future__ import annotations

from dataclasses import dataclass, field

from tvm_coexec.core.kernel_graph import Kernel, KernelGraph, SplitAxis


@dataclass(slots=True, eq=False)
class Path:
    """A path, and the longer ones that begin with it: which one it is depends on what has run.

    Attributes
    ----------
    masks : tuple of int
        The path and shorter ones, shorter ones first, as bit masks.
    dims : frozenset of int
        Dimensions along which a split can travel on.
    end : int
        The last kernel.
    readers : tuple of int
        Kernels that may be next.
    waits_for : tuple of int
        Kernels that each of them waits for apart from the path, as bit masks.
    longer : dict of (bool or tuple of bool) to Path
        What follows by which readers may run, or by whether the only one may; where the path ends, itself without
        readers.
    chains : dict of bool to list
        Chains of the sets, for who asks (see `Candidates`).
    """

    masks: tuple[int, ...]
    dims: frozenset[int]
    end: int
    readers: tuple[int, ...] = ()
    waits_for: tuple[int, ...] = ()
    longer: dict[bool | tuple[bool, ...], Path] = field(default_factory=dict)
    chains: dict[bool, list] = field(default_factory=dict)


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
    """

    def __init__(self, graph: KernelGraph, producers: list[int]):
        self.graph, self.producers = graph, producers
        self._own = [frozenset(a.dim for a in k.axes if not a.reduces) for k in graph.kernels]
        self._carried: dict[tuple[int, int, frozenset[int]], tuple[bool, frozenset[int]]] = {}
        self._from: dict[tuple[int, int], Path] = {}

    def path(self, k: int, done: int, stop: int) -> Path:
        """The path from a kernel when exactly the kernels of `done` have run; only kernels below `stop` are taken."""
        path = self._from.get((k, stop))
        if path is None:
            path = self._from[k, stop] = self._reach((1 << k,), self._own[k], k, stop)
        missing = ~done
        while path.readers:
            waits_for = path.waits_for
            free: bool | tuple[bool, ...]
            if len(waits_for) == 1:  # most often
                free = not waits_for[0] & missing
            else:
                free = tuple([not mask & missing for mask in waits_for])
            longer = path.longer.get(free)
            if longer is None:
                longer = path.longer[free] = self._extend(path, free, stop)
            path = longer
        return path

    def _reach(self, masks: tuple[int, ...], dims: frozenset[int], end: int, stop: int) -> Path:
        """A path with the readers of its last kernel."""
        readers = tuple(c for c in self.graph.consumers.get(end, ()) if c < stop) if dims else ()
        return Path(masks, dims, end, readers, tuple(self.producers[c] & ~masks[-1] for c in readers))

    def _extend(self, path: Path, free: bool | tuple[bool, ...], stop: int) -> Path:
        """The path one kernel longer, if one reader alone may run next and the split can travel there; else its end."""
        are_free = (free,) if isinstance(free, bool) else free
        nexts = [c for c, is_free in zip(path.readers, are_free, strict=True) if is_free]
        if len(nexts) == 1:
            can_end, dims = self._carry(path.end, nexts[0], path.dims)
            if can_end:
                return self._reach((*path.masks, path.masks[-1] | 1 << nexts[0]), dims, nexts[0], stop)
        return Path(path.masks, path.dims, path.end)

    def _carry(self, value: int, reader: int, dims: frozenset[int]) -> tuple[bool, frozenset[int]]:
        """Whether a split of a value along some of `dims` can travel to a reader; and along which dimensions on."""
        key = (value, reader, dims)
        if key not in self._carried:
            kernel = self.graph.kernels[reader]
            axes = [a for a in kernel.axes if _takes(kernel, a, value, dims)]
            self._carried[key] = (bool(axes), frozenset(a.dim for a in axes if not a.reduces))
        return self._carried[key]


def _takes(kernel: Kernel, axis: SplitAxis, value: int, dims: frozenset[int]) -> bool:
    """Whether a kernel divided along an axis can do with a value that is divided along some of `dims`."""
    needs = [need for v, need in zip(kernel.inputs, axis.needs, strict=True) if v == value]
    return all(need is not None and not need.after_join and (need.dim in dims or not need.reads) for need in needs)
