"""Parts of a network that repeat: what is worked out for one layer of an encoder serves the others.

Two parts are alike when their kernels compute the same on the same shapes, read values at the same distances, and have
the same of their values read from outside.
"""

from __future__ import annotations

from collections.abc import Sequence

from tvm_coexec.core.kernel_graph import KernelGraph

from ..chain_times import ChainTimes

Key = tuple


class Repeats:
    """Keys that are equal for parts that are alike.

    Parameters
    ----------
    graph : KernelGraph
    """

    def __init__(self, graph: KernelGraph):
        numbers: dict[str, int] = {}
        self._alike = [numbers.setdefault(k.signature(), len(numbers)) for k in graph.kernels]
        # how far back each input was made; inputs of the model are themselves, wherever they are read
        self._reads = [tuple(k.index - v if v >= 0 else v for v in k.inputs) for k in graph.kernels]
        self._inputs = [k.inputs for k in graph.kernels]
        # the kernels that read each value, as a mask; the bit after the last kernel's stands for the caller
        caller = 1 << len(graph.kernels)
        self._readers = [sum(1 << c for c in {*graph.consumers.get(k.index, ())}) for k in graph.kernels]
        for value in graph.outputs:
            if value >= 0:
                self._readers[value] |= caller
        own: dict[Key, int] = {}
        self._own = [2 * own.setdefault(key, len(own)) for key in zip(self._alike, self._reads, strict=True)]

    def of_kernel(self, index: int, last: int) -> Key:
        """Of a kernel in a run of consecutive ones that ends with `last`."""
        return (self._alike[index], self._reads[index], self._readers[index] >> last + 1 != 0)

    def of_set(self, mask: int, members: Sequence[int]) -> Key:
        """Of some kernels, as a mask and ascending."""
        own, readers, outside = self._own, self._readers, ~mask
        return (mask >> members[0], *[own[k] + (readers[k] & outside != 0) for k in members])

    def of_work(self, mask: int, members: Sequence[int]) -> Key:
        """Of some kernels, as a mask and ascending, wherever the values that they read from outside were made.

        What the kernels cost, and whether they can carry a split, is the same for parts with equal keys.
        """
        inside, key = set(members), []
        outside: dict[int, int] = {}
        for k in members:
            # kernels inside by where they are, from 0 on; values from outside by their order, from -1 on downwards
            reads = [
                v - members[0] if v in inside else outside.setdefault(v, -1 - len(outside)) for v in self._inputs[k]
            ]
            key.append((self._alike[k], k - members[0], tuple(reads), self._readers[k] & ~mask != 0))
        return tuple(key)


def shift_chain(chain: ChainTimes, by: int) -> ChainTimes:
    """The same chain `by` kernels further down."""
    if not by:
        return chain
    c = chain
    return ChainTimes(
        tuple([m + by for m in c.members]), c.axis, c.cuts, c.gpu_s, c.cpu_s, c.both_s, c.join_s,
        {m + by: cut for m, cut in c.leaves.items()}, {(v + by if v >= 0 else v): read for v, read in c.outer.items()},
        tuple([v + by if v >= 0 else v for v in c.after]), c.joules, c.slow,
        c.origin or c, c.shift + by,
    )  # fmt: skip
