"""Which values are on which device, as bit masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tvm_coexec.core.kernel_graph import KernelGraph

ON_CPU, ON_GPU = 1, 2


class Residency(NamedTuple):
    """Values that each device has.

    Attributes
    ----------
    cpu_mask, gpu_mask : int
        Bit masks over values (see `Values.bit`).
    """

    cpu_mask: int
    gpu_mask: int

    def places(self, bits: Iterable[int]) -> tuple[int, ...]:
        """Per value, given by its bit, the sum of `ON_CPU` and `ON_GPU` where it is there."""
        cpu, gpu = self
        return tuple([(ON_CPU if cpu & b else 0) + (ON_GPU if gpu & b else 0) for b in bits])

    def add(self, other: Residency, live: int) -> Residency:
        """Residency of the values of both; only those of the mask `live` are kept."""
        return Residency((self[0] | other[0]) & live, (self[1] | other[1]) & live)

    def restrict(self, mask: int) -> Residency:
        """Residency of the values of a mask."""
        return Residency(self[0] & mask, self[1] & mask)

    def covers(self, other: Residency) -> bool:
        """Whether each device has all values that it has in `other`."""
        return self[0] & other[0] == other[0] and self[1] & other[1] == other[1]


class Values:
    """The values of a graph as bits, and who reads them.

    Parameters
    ----------
    graph : KernelGraph

    Attributes
    ----------
    bit : dict of int to int
        The bit of each value; the inputs of the graph come first.
    reads : list of list of (int, int)
        Values that each kernel reads, without repetition, each with its bit.
    """

    def __init__(self, graph: KernelGraph):
        inputs, n = len(graph.inputs), len(graph.kernels)
        self._outputs = frozenset(graph.outputs)
        self._readers = {v: sum(1 << c for c in cs) for v, cs in graph.consumers.items()}
        self.first = -inputs
        self.bit = {v: 1 << (v + inputs) for v in range(-inputs, n)}
        self.reads = [[(v, self.bit[v]) for v in dict.fromkeys(k.inputs)] for k in graph.kernels]

    def start(self) -> Residency:
        """Inputs of the graph that are needed at all: they are on the CPU."""
        return Residency(sum(self.bit[v] for v in range(self.first, 0) if self._is_live(v, 0)), 0)

    def mask(self, values: Iterable[int], shift: int = 0) -> int:
        """Mask of some values; kernels' values lie `shift` kernels further down."""
        found = 0
        for v in values:
            found |= self.bit[v + shift if v >= 0 else v]
        return found

    def live_after(self, live: int, done: int, kernels: Iterable[int]) -> int:
        """Mask of the values that are needed after some kernels have run, as outputs or by kernels that have not.

        Parameters
        ----------
        live : int
            Mask of the values that were needed before.
        done : int
            All kernels that have run, `kernels` included, as a bit mask.
        kernels : iterable of int
            Those that have just run.
        """
        dead = 0
        for k in kernels:
            live |= self.bit[k]
            for v, bit in self.reads[k]:
                if not self._is_live(v, done):
                    dead |= bit
            if not self._is_live(k, done):
                dead |= self.bit[k]
        return live & ~dead

    def _is_live(self, value: int, done: int) -> bool:
        return value in self._outputs or self._readers.get(value, 0) & ~done != 0
