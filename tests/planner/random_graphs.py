"""Random series-parallel kernel graphs and costs, to hold planners against each other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from tvm_coexec.core.access import AccessMap, InputAccess, Range, identity
from tvm_coexec.core.kernel_graph import REDUCED, Kernel, KernelGraph, SplitAxis, Tensor
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.cost_models.co_run import CoRun
from tvm_coexec.cost_models.costs import Costs, Link

SIZE = 12
CHANNELS = 12


class RandomCosts(Costs):
    """Costs in which every kernel has its own speed on each device; a share takes its part of the time and a launch.

    Parameters
    ----------
    seed : int
    slowdown : float
        Of both devices while the other works.
    s_per_flop : float
        Small kernels are worth dividing on slow devices.
    pairs : dict of str to CoRun, optional
        Co-run slowdown by device, in place of `slowdown`.
    start_s : float
        See `Costs`.
    """

    def __init__(
        self,
        seed: int,
        slowdown: float = 1.0,
        s_per_flop: float = 1e-10,
        pairs: Mapping[str, CoRun] | None = None,
        start_s: float = 0.0,
    ):
        dice = np.random.default_rng(seed)
        self.seed, self._slow, self.s_per_flop = seed, slowdown, s_per_flop
        # from meetings that cost nothing to such that cost as much as a kernel
        copy_s = float(10 ** dice.uniform(-6, -3.3))
        self.upload, self.download = Link(copy_s, 1e-9), Link(copy_s * float(dice.uniform(0.5, 2)), 1e-9)
        self.host_copy = Link(1e-6, 2e-10)
        self.launch_s = {"cpu": 1e-6, "gpu": float(10 ** dice.uniform(-6, -4))}
        self.balance = float(dice.uniform(0.4, 2.5))
        self.enqueue_s = float(10 ** dice.uniform(-6, -4.5))
        self.start_s, self.pairs = start_s, pairs
        self.description = f"random costs {seed}"

    def whole_s(self, device: str, kernel: Kernel) -> float:
        """See `Costs`."""
        return self.launch_s[device] + self._work_s(device, kernel)

    def shares_s(self, device: str, kernel: Kernel, dim: int, ranges: Sequence[Range]) -> np.ndarray:
        """See `Costs`."""
        axis = kernel.axis(dim)
        rows = np.asarray(ranges, float).reshape(-1, 2)
        part = np.maximum(0.0, rows[:, 1] - rows[:, 0]) / axis.extent
        return np.where(part > 0, self.launch_s[device] + part * self._work_s(device, kernel), 0.0)

    def slowdown(self, device: str) -> float:
        """See `Costs`."""
        return self._slow if self.pairs is None else self.pairs[device].typical

    def co_run(self, device: str) -> CoRun:
        """See `Costs`."""
        return super().co_run(device) if self.pairs is None else self.pairs[device]

    def _work_s(self, device: str, kernel: Kernel) -> float:
        """The same kernel takes as long on every call and in every process."""
        text = f"{self.seed} {device} {kernel.index} {kernel.name}"
        at = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") / 2**32  # 0..1
        base = kernel.flops * self.s_per_flop * (self.balance if device == "gpu" else 1.0)
        return base * (0.5 + 1.5 * at)


def random_graph(seed: int, kernels: int, block: int | None = None) -> KernelGraph:
    """A series-parallel graph of convolutions, elementwise kernels and sums, with up to five cuts an axis.

    Parameters
    ----------
    seed : int
    kernels : int
        How many there are.
    block : int, optional
        Branches are within blocks of so many kernels, one after the other, as networks have them; else anywhere.
    """
    dice = np.random.default_rng(seed)
    made: list[Kernel] = []

    def channels(value: int) -> int:
        return CHANNELS if value < 0 else made[value].outputs[0].shape[1]

    def leaf(source: int) -> int:
        index, n = len(made), channels(source)
        made.append(_conv(index, source, n, dice) if dice.random() < 0.75 else _elementwise(index, (source,), n))
        return index

    def join(ends: tuple[int, ...]) -> int:
        index, sizes = len(made), [channels(e) for e in ends]
        if len(set(sizes)) > 1 or (len(ends) > 1 and dice.random() < 0.4):
            made.append(_concatenation(index, ends, sizes))
        else:
            made.append(_elementwise(index, ends, sizes[0]))
        return index

    def grow(source: int, room: int) -> int:
        """Kernels after `source`, `room` of them; returns the last."""
        if room <= 0:
            return source
        if room >= 3 and dice.random() < 0.5:
            inner = int(dice.integers(2, room)) if room > 3 else 2
            left = int(dice.integers(1, inner + 1))
            ends = [grow(source, left), grow(source, inner - left)]
            return grow(join(tuple(dict.fromkeys(ends))), room - inner - 1)
        return grow(leaf(source), room - 1)

    end = -1
    while len(made) < kernels:
        end = grow(end, min(block or kernels, kernels - len(made)))
    x = Tensor((1, CHANNELS, SIZE, SIZE), "float32")
    return KernelGraph(tuple(made), (("x", x),), (len(made) - 1,))


def _conv(index: int, source: int, channels: int, dice: np.random.Generator) -> Kernel:
    size = int(dice.choice([1, 3]))
    rows = InputAccess(2, ((AccessMap(1, -(size // 2), size // 2, 1, SIZE),),))
    axes = [SplitAxis("oc", 1, CHANNELS, 1, 2, (None,), True), SplitAxis("h", 2, SIZE, 1, 2, (rows,), False)]
    if dice.random() < 0.3:
        reads = InputAccess(1, ((identity(channels),),))
        axes.append(SplitAxis("ic", REDUCED, channels, 1, channels // 6, (reads,), True))
    attrs = {"n": index, "kernel_size": [size, size], "strides": [1, 1], "groups": 1}
    flops = float(10 ** dice.uniform(5.5, 7.5))
    name, kinds = "nn.conv2d+nn.relu", (OpKind.CONV, OpKind.ELEMENTWISE)
    reads, makes = (_map(channels),), (_map(CHANNELS),)
    return Kernel(index, name, "nn.conv2d", attrs, (source,), reads, makes, 4096, flops, tuple(axes), kinds=kinds)


def _elementwise(index: int, sources: tuple[int, ...], channels: int) -> Kernel:
    axes = tuple(
        SplitAxis(n, d, e, 1, e // 6, tuple(InputAccess(d, ((identity(e),),)) for _ in sources), False)
        for n, d, e in (("oc", 1, channels), ("h", 2, SIZE))
    )
    name, t = "add" if len(sources) > 1 else "nn.relu", _map(channels)
    kinds = (OpKind.ELEMENTWISE,)
    return Kernel(index, name, name, {"n": index}, sources, (t,) * len(sources), (t,), 0, 1e5, axes, kinds=kinds)


def _concatenation(index: int, sources: tuple[int, ...], sizes: list[int]) -> Kernel:
    total, fields, offset = sum(sizes), [], 0
    for n in sizes:
        fields.append(InputAccess(1, ((AccessMap(1, -offset, -offset, 1, n),),)))
        offset += n
    rows = tuple(InputAccess(2, ((identity(SIZE),),)) for _ in sources)
    axes = (
        SplitAxis("oc", 1, total, 1, total // 6, tuple(fields), False),
        SplitAxis("h", 2, SIZE, 1, 2, rows, False),
    )
    tensors = tuple(_map(n) for n in sizes)
    name, kinds = "concatenate", (OpKind.CONCAT,)
    return Kernel(index, name, name, {"n": index}, sources, tensors, (_map(total),), 0, 0.0, axes, kinds=kinds)


def _map(channels: int) -> Tensor:
    return Tensor((1, channels, SIZE, SIZE), "float32")
