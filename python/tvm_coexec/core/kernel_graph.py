"""The model as the planner sees it: fused kernels, their tensors, and how a split travels through them.

Plain data: nothing here imports TVM, so that another IR can use the planner as it is. A kernel is one fused
primitive function as Relay will launch it. Values are numbered like this: a value ``>= 0`` is the output of the
kernel of that index, a value ``< 0`` is graph input ``-1 - value``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

from .errors import CoExecError

Range = tuple[int, int]

# Stands for the output dimension of an axis that the output does not have: the one that the anchor sums over.
REDUCED = -1


@dataclass(frozen=True)
class Step:
    """One linear map of an output range ``[lo, hi)`` onto the input range that it needs.

    ``lower = (lo * a + b) // c``, ``upper = ((hi - 1) * a + e) // c + 1``, both clipped to ``[0, extent]``. A strided
    convolution is ``a = stride, b = -pad, e = (k - 1) * dilation - pad, c = 1``; an upsampling has ``c = scale``; a
    field of a concatenation is a shift. The result may be empty (a field that the range does not touch).
    """

    a: int
    b: int
    e: int
    c: int
    extent: int

    def apply(self, r: Range) -> Range:
        """Input range for the output range ``r``; ``(0, 0)`` when nothing is needed."""
        lo, hi = r
        if lo >= hi:
            return (0, 0)
        low = max(0, (lo * self.a + self.b) // self.c)
        high = min(self.extent, ((hi - 1) * self.a + self.e) // self.c + 1)
        return (low, high) if low < high else (0, 0)


def identity(extent: int) -> Step:
    """The map of an operator that reads exactly the rows it writes."""
    return Step(1, 0, 0, 1, extent)


def union(a: Range, b: Range) -> Range:
    """Smallest range that holds both; an empty range adds nothing."""
    if a[0] >= a[1]:
        return b
    if b[0] >= b[1]:
        return a
    return (min(a[0], b[0]), max(a[1], b[1]))


def round_out(r: Range, granule: int, extent: int) -> Range:
    """The range widened to multiples of ``granule`` (a group of a grouped convolution can't be cut)."""
    if r[0] >= r[1]:
        return (0, 0)
    return (r[0] // granule * granule, min(extent, -(-r[1] // granule) * granule))


@dataclass(frozen=True)
class Need:
    """What a share needs of one input: dimension ``dim``, by one or more paths through the kernel's operators.

    Each path is a sequence of steps from the kernel's output back to the input; the need is the union of all. Without
    a path neither share needs anything of it.

    Attributes
    ----------
    dim : int
        Dimension of the input.
    paths : tuple of tuple of Step
    after_join : bool
        Whether the CPU reads all of the input, whatever the ranges are, once the parts are joined: a bias or residual
        that is added to the sum of a kernel split along its reduction. Such an input can't come out of the same chain.
    """

    dim: int
    paths: tuple[tuple[Step, ...], ...]
    after_join: bool = False

    def apply(self, r: Range) -> Range:
        """Range of the input that the output range ``r`` needs."""
        total: Range = (0, 0)
        for path in self.paths:
            cur = r
            for step in path:
                cur = step.apply(cur)
            total = union(total, cur)
        return total


@dataclass(frozen=True)
class SplitAxis:
    """An axis along which a kernel's output can be divided.

    Attributes
    ----------
    name : str
        ``oc``, ``h``, ``w``, ``batch`` for image-like tensors; ``m``, ``n``, ``batch`` for matrices; ``ic`` for the
        reduction.
    dim, extent : int
        Output dimension and its size in elements. For the reduction `REDUCED` and the number of input channels (columns
        of the first factor): each share is then a sum over its range of them, as large as the whole output.
    granule : int
        Ranges are widened to multiples of it; a hard limit (grouped convolution).
    align : int
        Cuts are chosen at multiples of it; what the devices' tiles like.
    needs : tuple of (Need or None)
        One entry per kernel input; ``None`` means that each share needs the whole input.
    weights : bool
        Whether the constants are divided with the output (else each share reads all of them).
    """

    name: str
    dim: int
    extent: int
    granule: int
    align: int
    needs: tuple[Need | None, ...]
    weights: bool

    @property
    def reduces(self) -> bool:
        """Whether the shares are partial sums, joined by addition."""
        return self.dim == REDUCED


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
        Operators joined by ``+``, the anchor first among equals (``nn.conv2d+add+nn.relu``).
    op : str
        The anchor operator: the one that decides the kernel's cost.
    attrs : dict
        The anchor's attributes that a cost model needs (strides, kernel size, groups...), plain JSON values.
    inputs : tuple of int
        Values read (see the module's text for the numbering).
    in_tensors : tuple of Tensor
    outputs : tuple of Tensor
        More than one only for kernels that return a tuple; those are never split.
    weight_bytes : int
        Constants read.
    flops : float
        Floating-point operations, one multiply-add counted as two.
    axes : tuple of SplitAxis
    reason : str
        Why the kernel can't be split at all; empty when it can.
    cpu_only : str
        Why the whole kernel must run on the CPU; empty when both devices can run it.
    refused : tuple of (str, str)
        Axes left out of `axes` because the GPU can't run its share along them: name and reason.
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
    cpu_only: str = ""
    refused: tuple[tuple[str, str], ...] = ()

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
    def is_heavy(self) -> bool:
        """Whether the anchor is a convolution or a matrix product: what a split is for."""
        return self.op.split(".")[-1] in HEAVY_OPS

    def axis(self, dim: int) -> SplitAxis | None:
        """The split axis along output dimension ``dim``, or along the reduction for `REDUCED`."""
        return next((a for a in self.axes if a.dim == dim), None)

    def named_axis(self, name: str) -> SplitAxis | None:
        """The split axis of that name, or of its equal in the other vocabulary (``oc`` = ``n``, ``h`` = ``m``)."""
        other = AXIS_EQUALS.get(name)
        exact = next((a for a in self.axes if a.name == name), None)
        return exact or next((a for a in self.axes if a.name == other), None)

    def refusal(self, name: str) -> str:
        """Why the axis of that name (or its equal) was left out of `axes`; empty when it was not."""
        known = dict(self.refused)
        return known.get(name) or known.get(AXIS_EQUALS.get(name, ""), "")

    def signature(self) -> str:
        """Text that is equal for kernels that compute the same thing on the same shapes."""
        return self._signature

    @cached_property
    def _signature(self) -> str:
        return json.dumps(
            [self.name, self.attrs, [[t.shape, t.dtype] for t in self.in_tensors + self.outputs], self.weight_bytes],
            sort_keys=True,
            default=list,
        )


HEAVY_OPS = frozenset(
    ["conv1d", "conv2d", "conv3d", "conv1d_transpose", "conv2d_transpose", "conv3d_transpose"]
    + ["dense", "matmul", "batch_matmul"]
)
# A user who says "oc" of a network with a classifier at its end means its output features too.
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

    @cached_property
    def shares_memo(self) -> dict[tuple, Shares]:
        """What `chain_shares` has worked out for this graph: a search asks for the same chains again and again."""
        return {}

    def restrict(self, refusals: Iterable[Refusal]) -> KernelGraph:
        """The graph without what the GPU can't run.

        A refusal holds for all kernels that compute the same on the same shapes. The fingerprint stays: it names the
        model, not what a target makes of it.
        """
        found: dict[str, dict[str, str]] = {}
        for r in refusals:
            found.setdefault(self.kernels[r.kernel].signature(), {}).setdefault(r.axis, r.reason)
        return replace(self, kernels=tuple(_restrict(k, found.get(k.signature(), {})) for k in self.kernels))

    def lift_restrictions(self) -> KernelGraph:
        """The graph with every kernel allowed on both devices; axes that were refused are not restored."""
        return replace(self, kernels=tuple(replace(k, cpu_only="") for k in self.kernels))

    def fingerprint(self) -> str:
        """Short hash of structure and shapes (not of weights): a plan names the graph it was made for."""
        text = json.dumps(
            [[k.signature(), list(k.inputs)] for k in self.kernels]
            + [[n, list(t.shape), t.dtype] for n, t in self.inputs]
            + [list(self.outputs)]
        )
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """The graph as JSON, for golden tests and bug reports; what the GPU can't run is there where there is some."""
        graph = asdict(self)
        for kernel in graph["kernels"]:
            for key in ("cpu_only", "refused"):
                if not kernel[key]:
                    del kernel[key]
        return json.dumps({"version": 1, **graph}, indent=1)


@dataclass(frozen=True)
class Refusal:
    """What the GPU can't run.

    Attributes
    ----------
    kernel : int
    axis : str
        Name of the axis whose share was refused; empty for the whole kernel.
    reason : str
    """

    kernel: int
    axis: str
    reason: str


def _restrict(kernel: Kernel, reasons: dict[str, str]) -> Kernel:
    """The kernel without the axes, or the whole run on the GPU (key ``""``), that were refused."""
    if not reasons:
        return kernel
    axes = tuple(a for a in kernel.axes if a.name not in reasons)
    refused = (*kernel.refused, *((a.name, reasons[a.name]) for a in kernel.axes if a.name in reasons))
    reason = kernel.reason or ("" if axes or not refused else refused[-1][1])
    return replace(kernel, axes=axes, refused=refused, reason=reason, cpu_only=kernel.cpu_only or reasons.get("", ""))


@dataclass(frozen=True)
class Shares:
    """How a chain's work divides: per kernel the dimension and the two ranges.

    Attributes
    ----------
    dims : dict
        Kernel index to the output dimension that is split; `REDUCED` for a last kernel that sums up.
    gpu, cpu : dict
        Kernel index to the range each device computes (with halo rows; may be empty). Along `REDUCED` it is a range of
        input channels.
    cuts : dict
        For every kernel whose value leaves the chain: where the GPU's part of the joined value ends. Along `REDUCED`
        the input channel where the GPU's sum ends.
    """

    dims: dict[int, int]
    gpu: dict[int, Range]
    cpu: dict[int, Range]
    cuts: dict[int, int]


def chain_dims(graph: KernelGraph, members: list[int], axis: str) -> dict[int, int]:
    """Which dimension of each kernel of a chain is split, starting from the last kernel's axis ``axis``.

    The split travels along the edges inside the chain: a consumer that is split along a dimension needs its producer
    split along the dimension that its rule names. Only the last kernel may be split along its reduction: what it gives
    are partial sums, of no use to a reader before they are added up.

    Raises
    ------
    CoExecError
        When a kernel can't carry the split; the text says which and why.
    """
    inside = set(members)
    last = graph.kernels[members[-1]]
    start = last.named_axis(axis)
    if start is None:
        if why := last.refusal(axis):
            raise CoExecError(f"kernel {last.index} ({last.name}) can't be split along '{axis}': {why}")
        have = ", ".join(a.name for a in last.axes) or (last.reason or "none")
        raise CoExecError(f"kernel {last.index} ({last.name}) has no axis '{axis}' to split; it has: {have}")
    dims = {last.index: start.dim}
    for index in reversed(members):
        kernel = graph.kernels[index]
        if index not in dims:  # feeds nobody inside the chain: a second sink, split along the same axis
            own = kernel.named_axis(axis)
            if own is None:
                raise CoExecError(f"kernel {index} ({kernel.name}) has no axis '{axis}' to split")
            if own.reduces:
                raise CoExecError(
                    f"kernel {index} ({kernel.name}) would give partial sums beside those of kernel {last.index}: only "
                    "the last kernel of a chain can be split along 'ic'"
                )
            dims[index] = own.dim
        split = kernel.axis(dims[index])
        if split is None:
            why = f": {kernel.refused[-1][1]}" if kernel.refused else ""
            raise CoExecError(f"kernel {index} ({kernel.name}) can't be split along dimension {dims[index]}{why}")
        for value, need in zip(kernel.inputs, split.needs, strict=True):
            if value not in inside:
                continue
            if need is None:
                raise CoExecError(
                    f"kernel {index} ({kernel.name}) needs the whole of kernel {value}, which would be split"
                )
            if need.after_join:
                raise CoExecError(
                    f"kernel {index} ({kernel.name}) adds kernel {value} to its sum after the join; leave kernel "
                    f"{value} out of the chain"
                )
            if dims.setdefault(value, need.dim) != need.dim:
                raise CoExecError(f"kernel {value} would have to be split along two dimensions at once")
    return dims


def chain_shares(graph: KernelGraph, members: list[int], axis: str, cut: int) -> Shares:
    """Ranges of both shares of a chain, halo rows computed backwards from its end.

    Parameters
    ----------
    graph : KernelGraph
    members : list of int
        Kernel indices in topological order.
    axis : str
        Axis of the last kernel.
    cut : int
        Where the GPU's range of the last kernel's output ends, 0..extent.

    Raises
    ------
    CoExecError
        When the chain can't carry the split or the cut is outside the axis.
    """
    key = (*members, axis, cut)
    if key in graph.shares_memo:
        return graph.shares_memo[key]
    dims = chain_dims(graph, members, axis)
    last = members[-1]
    last_axis = graph.kernels[last].axis(dims[last])
    assert last_axis is not None
    if not 0 <= cut <= last_axis.extent or cut % last_axis.granule:
        raise CoExecError(
            f"cut {cut} of kernel {last} ({graph.kernels[last].name}) must be a multiple of {last_axis.granule} "
            f"between 0 and {last_axis.extent}"
        )
    inside = set(members)
    consumers = graph.consumers
    leaves = [
        m for m in members if m in graph.outputs or any(c not in inside for c in consumers.get(m, ())) or m == last
    ]

    def demand(seed: dict[int, Range]) -> dict[int, Range]:
        ranges = {m: seed.get(m, (0, 0)) for m in members}
        for m in reversed(members):
            split = graph.kernels[m].axis(dims[m])
            assert split is not None
            ranges[m] = round_out(ranges[m], split.granule, split.extent)
            for value, need in zip(graph.kernels[m].inputs, split.needs, strict=True):
                if value in inside and need is not None:
                    ranges[value] = union(ranges[value], need.apply(ranges[m]))
        return ranges

    # A value in the middle of the chain that is also read outside is cut where the GPU stops computing it anyway.
    natural = demand({last: (0, cut)})
    cuts = {last: cut}
    for m in leaves:
        if m == last:
            continue
        split = graph.kernels[m].axis(dims[m])
        assert split is not None
        if any(c in inside for c in consumers.get(m, ())):
            cuts[m] = natural[m][1]
        else:
            cuts[m] = round_cut(split, cut / last_axis.extent)
    gpu = demand({m: (0, cuts[m]) for m in leaves})
    cpu = demand({m: (cuts[m], graph.kernels[m].axis(dims[m]).extent) for m in leaves})
    graph.shares_memo[key] = Shares(dims, gpu, cpu, cuts)
    return graph.shares_memo[key]


def round_cut(axis: SplitAxis, ratio: float) -> int:
    """The aligned cut nearest to ``ratio`` of the axis; 0 and the extent stay for ratio 0 and 1."""
    step = axis.align if axis.align % axis.granule == 0 else axis.granule
    cut = int(ratio * axis.extent / step + 0.5) * step
    return max(0, min(axis.extent, cut))


def cuts_of(axis: SplitAxis) -> list[int]:
    """Every aligned cut strictly inside the axis."""
    step = axis.align if axis.align % axis.granule == 0 else axis.granule
    return list(range(step, axis.extent, step))
