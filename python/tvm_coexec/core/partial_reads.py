"""Tensors of which a kernel reads only some elements: rows of a table, a slice, every second row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CONSTANT = -1  # stands for the position of a constant, which is not among a kernel's inputs
# Memory is read in whole cache lines; 64 bytes on x86, ARM and most GPUs.
CACHE_LINE_BYTES = 64


@dataclass(frozen=True)
class PartialRead:
    """One tensor that a kernel reads in part.

    Attributes
    ----------
    tensor : int
        Position in `Kernel.in_tensors`, or `CONSTANT`.
    nbytes : int
        Size of the tensor in bytes.
    accessed_bytes : int
        Bytes that the whole kernel accesses, in whole cache lines. More than `nbytes` if elements are accessed several
        times: then the whole tensor is read, but a share may still read less of it.
    """

    tensor: int
    nbytes: int
    accessed_bytes: int

    @property
    def read_bytes(self) -> int:
        """Bytes that the whole kernel reads."""
        return min(self.nbytes, self.accessed_bytes)


def unread_bytes(reads: Iterable[PartialRead], constants: bool) -> int:
    """Return the bytes of constants, or of inputs, that a whole kernel does not read."""
    return sum(r.nbytes - r.read_bytes for r in reads if (r.tensor == CONSTANT) == constants)
