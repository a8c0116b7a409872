"""Convolutions that ``benchmarks.tuning`` tunes: those of SqueezeNet, MobileNet and ResNet, and their shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

CPU, GPU = "llvm -mcpu=core-avx2", "opencl -model=pocl"
CUTS = (1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6)  # the GPU's fraction
_TYPE = "float32"


@dataclass(frozen=True)
class Conv:
    """A convolution in NCHW, whole or a share.

    Attributes
    ----------
    channels, height, width, outputs, kernel, stride : int
    pads : tuple of int
        Rows before, columns before, rows after, columns after.
    depthwise : bool
    axis : str
        What its shares are cut along: ``oc`` or ``h``.
    """

    channels: int
    height: int
    width: int
    outputs: int
    kernel: int
    stride: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    depthwise: bool = False
    axis: str = "oc"

    @property
    def label(self) -> str:
        """The name in tables."""
        text = f"{self.channels}x{self.height}x{self.width} -> {self.outputs}, {self.kernel}x{self.kernel}"
        return text + (f" / {self.stride}" if self.stride > 1 else "") + (" depthwise" if self.depthwise else "")

    @property
    def rows(self) -> int:
        """Rows of the output."""
        return (self.height + self.pads[0] + self.pads[2] - self.kernel) // self.stride + 1

    def share(self, device: str, fraction: float) -> Conv:
        """Return a device's share at the planner's nearest cut: the GPU's is the first part."""
        from tvm_coexec.relay_passes.extract.kernel_axes import tile_alignment

        extent = self.outputs if self.axis == "oc" else self.rows
        tile = tile_alignment(self.axis, extent)
        cut = min(extent - tile, max(tile, tile * round(fraction * extent / tile)))
        first, last = (0, cut) if device == "gpu" else (cut, extent)
        if self.axis == "oc":
            channels = last - first if self.depthwise else self.channels
            return replace(self, outputs=last - first, channels=channels)
        top, left, _, right = self.pads
        begin, end = first * self.stride - top, (last - 1) * self.stride - top + self.kernel
        inside = max(0, begin), min(self.height, end)
        pads = (inside[0] - begin, left, end - inside[1], right)
        return replace(self, height=inside[1] - inside[0], pads=pads)

    def workload(self, device: str) -> tuple[Any, ...]:
        """Return the workload of AutoTVM's template for a device."""
        data = ("TENSOR", (1, self.channels, self.height, self.width), _TYPE)
        inner = 1 if self.depthwise else self.channels
        kernel = ("TENSOR", (self.outputs, inner, self.kernel, self.kernel), _TYPE)
        name = ("depthwise_" if self.depthwise else "") + (
            "conv2d_NCHWc.x86" if device == "cpu" else "conv2d_nchw.cuda"
        )
        layouts = ("NCHW", "NCHW") if device == "cpu" else ()
        return (name, data, kernel, (self.stride,) * 2, self.pads, (1, 1), *layouts, _TYPE)

    def task(self, device: str) -> Any:
        """Return the task of a device."""
        import tvm
        from tvm import autotvm

        target = tvm.target.Target(CPU) if device == "cpu" else tvm.target.Target(GPU, host=CPU)
        workload = self.workload(device)
        return autotvm.task.create(workload[0], workload[1:], target)


def _conv(channels: int, size: int, outputs: int, kernel: int, stride: int = 1, axis: str = "oc", **options) -> Conv:
    pad = options.pop("pad", kernel // 2)
    return Conv(channels, size, size, outputs, kernel, stride, (pad,) * 4, axis=axis, **options)


CONVS = (
    _conv(64, 56, 64, 3),
    _conv(128, 28, 128, 3, axis="h"),
    _conv(256, 14, 256, 3),
    _conv(128, 55, 16, 1, axis="h"),
    _conv(16, 55, 64, 3),
    _conv(64, 13, 256, 3, axis="h"),
    _conv(256, 28, 512, 1),
    _conv(512, 14, 512, 1, axis="h"),
    _conv(3, 112, 32, 3, 2),
    _conv(256, 28, 256, 3, depthwise=True),
)
