"""The model as the planner sees it: fused kernels, their tensors, and the axes along which they can be split.

Plain data: nothing here imports TVM, so that another IR can use the planner unchanged. A kernel is one fused
primitive function as Relay launches it. Values are numbered: a value ``>= 0`` is the output of the
kernel of that index, a value ``< 0`` is graph input ``-1 - value``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .access import Bound, InputAccess, namespace
from .errors import CoExecError
from .files import read_text, write_atomically
from .op_kinds import OpKind
from .partial_reads import PartialRead, unread_bytes
from .refusals import Refusal, restrict_kernel

if TYPE_CHECKING:
    from .chains import Shares

# Stands for the output dimension of the reduction axis, which the output does not have.
REDUCED = -1


@dataclass(frozen=True)
class SplitAxis:
    """An axis along which a kernel's output can be divided.

    Attributes
    ----------
    name : str
        ``oc``, ``h``, ``w``, ``batch`` for image-like tensors, where ``h`` is the outermost spatial axis that can be
        divided; ``m``, ``n``, ``batch`` for matrices; ``ic`` for the reduction.
    dim, extent : int
        Output dimension and its size in elements. For the reduction: `REDUCED`, and the number of input channels
        (columns of the first factor); each share is then a partial sum of the whole output over its range of them.
    granule : int
        Group multiple: ranges are widened to multiples of it; a hard limit (grouped convolution).
    align : int
        Tile alignment: cuts are chosen at multiples of it; a preference of the devices' tiles.
    needs : tuple of (InputAccess or None)
        One entry per kernel input; ``None`` means that each share reads the whole input.
    weights : bool
        Whether the constants are divided with the output (else each share reads all of them).
    refused_rows : tuple of int
        Sizes of the GPU's share, in elements, that it can't run.
    """

    name: str
    dim: int
    extent: int
    granule: int
    align: int
    needs: tuple[InputAccess | None, ...]
    weights: bool
    refused_rows: tuple[int, ...] = ()

    @property
    def reduces(self) -> bool:
        """Whether the shares are partial sums, joined by addition."""
        return self.dim == REDUCED

    @property
    def tile(self) -> int:
        """Multiple for cuts: `align`, if it is compatible with `granule`."""
        return self.align if self.align % self.granule == 0 else self.granule


@dataclass(frozen=True)
class Tensor:
    """Shape (elements) and dtype of a value."""

    shape: tuple[int, ...]
    dtype: str

    @cached_property
    def nbytes(self) -> int:
        """Size in bytes."""
        n = 1
        for d in self.shape:
            n *= d
        return n * dtype_bytes(self.dtype)


def dtype_bytes(dtype: str) -> int:
    """Bytes of one element of ``dtype`` (``float32`` -> 4, ``bool`` -> 1)."""
    digits = "".join(c for c in dtype.split("x")[0] if c.isdigit())
    return max(1, int(digits) // 8) if digits else 1


@dataclass(frozen=True)
class Kernel:
    """One fused kernel.

    Attributes
    ----------
    index : int
        Position in topological order; also the number of the value it produces.
    name : str
        Operators joined by ``+`` in order of execution (``nn.conv2d+add+nn.relu``).
    op : str
        The anchor operator: the one that decides the kernel's cost.
    attrs : dict
        The anchor's attributes that a cost model needs (strides, kernel size, groups...), plain JSON values.
    inputs : tuple of int
        Values read (see the module's text for the numbering).
    in_tensors : tuple of Tensor
    outputs : tuple of Tensor
        More than one only for kernels that return a tuple, which are never split.
    weight_bytes : int
        Bytes of the constants.
    flops : float
        Floating-point operations, one multiply-add counted as two.
    axes : tuple of SplitAxis
    reason : str
        Why the kernel is not splittable; empty if it is.
    kinds : tuple of OpKind
        Kind of each operator in `name`; a cost model, a planner or a search for chains needs them.
    cpu_only : str
        Why the whole kernel must run on the CPU; empty if both devices can run it.
    refused : tuple of (str, str)
        Axes left out of `axes`, or with `SplitAxis.refused_rows`, because the GPU can't run its share along them: name
        and reason.
    functions : tuple of (str, float)
        Special functions (``erf``, ``exp``, ``divide``...) and how often the whole kernel evaluates each.
    partial_reads : tuple of PartialRead
        Tensors of which the kernel reads only some elements.
    """

    index: int
    name: str
    op: str
    attrs: dict = field(hash=False)
    inputs: tuple[int, ...] = ()
    in_tensors: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    weight_bytes: int = 0
    flops: float = 0.0
    axes: tuple[SplitAxis, ...] = ()
    reason: str = ""
    kinds: tuple[OpKind, ...] = ()
    cpu_only: str = ""
    refused: tuple[tuple[str, str], ...] = ()
    functions: tuple[tuple[str, float], ...] = ()
    partial_reads: tuple[PartialRead, ...] = ()

    @property
    def devices(self) -> tuple[str, ...]:
        """Devices that can run the whole kernel."""
        return ("cpu",) if self.cpu_only else DEVICES

    @cached_property
    def in_bytes(self) -> int:
        """Bytes of the non-constant inputs."""
        return sum(t.nbytes for t in self.in_tensors)

    @cached_property
    def out_bytes(self) -> int:
        """Bytes of the outputs."""
        return sum(t.nbytes for t in self.outputs)

    @cached_property
    def read_bytes(self) -> int:
        """Bytes of the non-constant inputs that are read."""
        return self.in_bytes - unread_bytes(self.partial_reads, constants=False)

    @cached_property
    def weight_read_bytes(self) -> int:
        """Bytes of the constants that are read."""
        return self.weight_bytes - unread_bytes(self.partial_reads, constants=True)

    @cached_property
    def kind(self) -> OpKind:
        """Kind of the anchor."""
        return dict(zip(self.name.split("+"), self.kinds, strict=True)).get(self.op, OpKind.ELEMENTWISE)

    @cached_property
    def is_heavy(self) -> bool:
        """Whether the kernel is compute-intensive: its anchor is a convolution or a matrix product."""
        return self.kind.is_compute_intensive

    @cached_property
    def is_free(self) -> bool:
        """Whether the kernel computes and moves nothing, so that nothing is launched or measured."""
        return set(self.kinds) == {OpKind.VIEW}

    @cached_property
    def workloads(self) -> dict[str, Any]:
        """Cache of `cost_models.describe` for this kernel, by device: models are asked for it and for many shares."""
        return {}

    def axis(self, dim: int) -> SplitAxis:
        """The split axis along output dimension ``dim``, or along the reduction for `REDUCED`.

        Raises
        ------
        CoExecError
            If the kernel can't be split along it.
        """
        found = self.find_axis(dim)
        if found is None:
            raise CoExecError(f"kernel {self.index} ({self.name}) can't be split along dimension {dim}")
        return found

    def find_axis(self, dim: int) -> SplitAxis | None:
        """Return what `axis` returns, or None if the kernel can't be split along the dimension."""
        return next((a for a in self.axes if a.dim == dim), None)

    def named_axis(self, name: str) -> SplitAxis | None:
        """Return the split axis of that name, or of its synonym (``oc`` = ``n``, ``h`` = ``m``)."""
        other = AXIS_EQUALS.get(name)
        exact = next((a for a in self.axes if a.name == name), None)
        return exact or next((a for a in self.axes if a.name == other), None)

    def refusal(self, name: str) -> str:
        """Return why the GPU can't run shares, all or some, along the axis of that name or its synonym, or ""."""
        known = dict(self.refused)
        return known.get(name) or known.get(AXIS_EQUALS.get(name, ""), "")

    def signature(self) -> str:
        """Return text that is equal for kernels that compute the same function on the same shapes."""
        return self._signature

    @cached_property
    def _signature(self) -> str:
        return json.dumps(
            [self.name, self.attrs, [[t.shape, t.dtype] for t in self.in_tensors + self.outputs], self.weight_bytes],
            sort_keys=True,
            default=list,
        )


# Users who give "oc" for a network that ends in a classifier mean the classifier's output features as well.
AXIS_EQUALS = {"oc": "n", "n": "oc", "h": "m", "m": "h"}
DEVICES = ("cpu", "gpu")
AXIS_NAMES = ("oc", "h", "w", "d", "n", "m", "batch", "ic")


@dataclass(frozen=True)
class KernelGraph:
    """Kernels in topological order, the graph's inputs, and the values that leave it."""

    kernels: tuple[Kernel, ...]
    inputs: tuple[tuple[str, Tensor], ...]
    outputs: tuple[int, ...]
    reason: str = ""

    def tensor(self, value: int) -> Tensor:
        """Shape and dtype of a value (a tuple-valued kernel's first field)."""
        return self.inputs[-1 - value][1] if value < 0 else self.kernels[value].outputs[0]

    @cached_property
    def consumers(self) -> dict[int, tuple[int, ...]]:
        """Kernel indices that read each value, in order."""
        out: dict[int, list[int]] = {}
        for k in self.kernels:
            for v in dict.fromkeys(k.inputs):
                out.setdefault(v, []).append(k.index)
        return {v: tuple(c) for v, c in out.items()}

    def is_live_out(self, index: int, inside: Container[int]) -> bool:
        """Whether a kernel's value is an output of the model or read by kernels that are not `inside`."""
        return index in self.outputs or any(c not in inside for c in self.consumers.get(index, ()))

    @cached_property
    def shares_memo(self) -> dict[tuple, Shares]:
        """Cache of `chain_shares` for this graph: searches evaluate the same chains many times."""
        return {}

    def restrict(self, refusals: Iterable[Refusal]) -> KernelGraph:
        """Return the graph restricted to what the GPU can run.

        A refusal holds for all kernels with the same signature. The fingerprint does not change: it identifies the
        model, not the target.
        """
        found: dict[str, list[Refusal]] = {}
        for r in refusals:
            found.setdefault(self.kernels[r.kernel].signature(), []).append(r)
        return replace(self, kernels=tuple(restrict_kernel(k, found.get(k.signature(), [])) for k in self.kernels))

    def lift_restrictions(self) -> KernelGraph:
        """Return the graph with every kernel allowed on both devices; refused axes are not restored."""
        return replace(self, kernels=tuple(replace(k, cpu_only="") for k in self.kernels))

    def fingerprint(self) -> str:
        """Return a short hash of structure and shapes, not weights, by which a plan names its graph."""
        text = json.dumps(
            [[k.signature(), list(k.inputs)] for k in self.kernels]
            + [[n, list(t.shape), t.dtype] for n, t in self.inputs]
            + [list(self.outputs)]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the graph as JSON, one kernel per line."""
        from .graph_json import write_graph

        return write_graph(self)

    @staticmethod
    def from_json(text: str, source: str = "kernel graph") -> KernelGraph:
        """Read a graph.

        Parameters
        ----------
        text : str
        source : str
            Name for error messages, usually the file name.

        Raises
        ------
        CoExecError
            If the text is not a graph of a known version, or is damaged.
        """
        from .graph_json import read_graph

        return read_graph(text, source)

    def save(self, path: str | os.PathLike) -> None:
        """Write the graph; the file is replaced atomically."""
        write_atomically(os.fspath(path), self.to_json())

    @staticmethod
    def load(path: str | os.PathLike) -> KernelGraph:
        """Read a graph from a file; `CoExecError` names the file if it can't be read."""
        return KernelGraph.from_json(read_text(path, "kernel graph"), os.fspath(path))


def round_cut(axis: SplitAxis, ratio: Bound) -> Bound:
    """Return the aligned cut nearest to ``ratio`` (a number or an array) of the axis; ratios 0 and 1 give its ends."""
    tiles = ratio * axis.extent / axis.tile + 0.5
    cut = (tiles.astype(int) if isinstance(tiles, np.ndarray) else int(tiles)) * axis.tile
    xp = namespace(cut)
    return xp.maximum(0, xp.minimum(axis.extent, cut))


def cuts_of(axis: SplitAxis) -> list[int]:
    """Return every aligned cut strictly inside the axis."""
    return list(range(axis.tile, axis.extent, axis.tile))
