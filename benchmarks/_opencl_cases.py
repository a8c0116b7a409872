"""The operators that ``benchmarks.opencl_schedules`` compares schedules on.

Shapes are those of ResNet-50, SqueezeNet, ShuffleNet, Inception v1 and DenseNet-121, and shares of them: odd numbers of
channels, some of the rows with their halo. Transposed, one- and three-dimensional convolutions and batched products,
which these networks lack, have usual shapes of segmentation, audio, video and attention.
"""

from __future__ import annotations

from dataclasses import dataclass

_TYPE = "float32"


@dataclass(frozen=True)
class Case:
    """An operator.

    Attributes
    ----------
    kind, label : str
        Its class and its name in the table.
    templates : tuple
        The AutoTVM templates that implement it, with their arguments; first the one that TVM chooses without tuning
        records.
    """

    kind: str
    label: str
    templates: tuple[tuple[str, list], ...]


def _tensor(*shape: int) -> list:
    return ["TENSOR", list(shape), _TYPE]


def _conv2d(kind: str, channels: int, height: int, width: int, outputs: int, kernel: int, **options) -> Case:
    stride, padding = options.get("stride", 1), options.get("padding", kernel // 2)
    groups = options.get("groups", 1)
    pads = list(padding) if isinstance(padding, tuple) else [padding] * 4
    data, weight = _tensor(1, channels, height, width), _tensor(outputs, channels // groups, kernel, kernel)
    arguments = [data, weight, [stride, stride], pads, [1, 1]]
    label = f"{channels}x{height}x{width} -> {outputs}, {kernel}x{kernel}"
    label += f" / {stride}" if stride > 1 else ""
    if kind == "depthwise":
        return Case(kind, label, (("depthwise_conv2d_nchw.cuda", [*arguments, _TYPE]),))
    if groups > 1:
        return Case(kind, f"{label}, {groups} groups", (("group_conv2d_nchw.cuda", [*arguments, groups, _TYPE]),))
    return Case(kind, label, (("conv2d_nchw.cuda", [*arguments, _TYPE]),))


def _depthwise(channels: int, size: int, kernel: int = 3, stride: int = 1, rows: int | None = None) -> Case:
    return _conv2d("depthwise", channels, rows or size, size, channels, kernel, stride=stride, groups=channels)


def _transpose(channels: int, size: int, outputs: int, kernel: int, stride: int, padding: int, extra: int = 0) -> Case:
    arguments = [_tensor(1, channels, size, size), _tensor(channels, outputs, kernel, kernel), [stride, stride]]
    label = f"{channels}x{size}x{size} -> {outputs}, {kernel}x{kernel} / {stride}"
    arguments += [[padding] * 4, _TYPE, [extra, extra], 1]
    return Case("conv2d_transpose", label, (("conv2d_transpose_nchw.cuda", arguments),))


def _conv1d(channels: int, width: int, outputs: int, kernel: int, stride: int = 1) -> Case:
    arguments = [_tensor(1, channels, width), _tensor(outputs, channels, kernel), [stride], [kernel // 2] * 2, [1]]
    label = f"{channels}x{width} -> {outputs}, {kernel}" + (f" / {stride}" if stride > 1 else "")
    return Case("conv1d", label, (("conv1d_ncw.cuda", [*arguments, _TYPE]),))


def _conv3d(channels: int, depth: int, size: int, outputs: int, kernel: int, stride: int = 1) -> Case:
    data, weight = _tensor(1, channels, depth, size, size), _tensor(outputs, channels, kernel, kernel, kernel)
    label = f"{channels}x{depth}x{size}x{size} -> {outputs}, {kernel}x{kernel}x{kernel}"
    arguments = [data, weight, [stride] * 3, [kernel // 2] * 6, [1, 1, 1], 1, _TYPE]
    return Case("conv3d", label + (f" / {stride}" if stride > 1 else ""), (("conv3d_ncdhw.cuda", arguments),))


def _dense(rows: int, outputs: int, reduce: int) -> Case:
    arguments = [_tensor(rows, reduce), _tensor(outputs, reduce), None, _TYPE]
    names = ["dense_small_batch.gpu"] + (["dense_large_batch.gpu"] if rows >= 32 else [])
    return Case("dense", f"{rows}x{reduce} -> {outputs}", tuple((name, arguments) for name in names))


def _batch_matmul(batch: int, rows: int, columns: int, reduce: int, transpose_b: bool = True) -> Case:
    right = _tensor(batch, columns, reduce) if transpose_b else _tensor(batch, reduce, columns)
    arguments = [_tensor(batch, rows, reduce), right, None, _TYPE, False, transpose_b]
    label = f"{batch} x ({rows}x{reduce} . {reduce}x{columns}{', b transposed' if transpose_b else ''})"
    return Case("batch_matmul", label, (("batch_matmul.cuda", arguments),))


GOAL = _conv2d("conv2d", 64, 56, 56, 64, 3)

CASES: tuple[Case, ...] = (
    GOAL,
    _conv2d("conv2d", 64, 56, 56, 24, 3),
    _conv2d("conv2d", 64, 24, 56, 64, 3, padding=(1, 1, 0, 1)),  # 23 rows and their halo
    _conv2d("conv2d", 128, 28, 28, 128, 3),
    _conv2d("conv2d", 512, 7, 7, 200, 3),
    _conv2d("conv2d", 16, 55, 55, 64, 3),
    _conv2d("conv2d", 96, 27, 27, 128, 3),
    _conv2d("conv2d", 96, 13, 13, 101, 3),
    _conv2d("conv2d 1x1", 64, 56, 56, 256, 1),
    _conv2d("conv2d 1x1", 256, 56, 56, 40, 1),
    _conv2d("conv2d 1x1", 512, 28, 28, 128, 1),
    _conv2d("conv2d 1x1", 1024, 14, 14, 256, 1),
    _conv2d("conv2d 1x1", 512, 7, 7, 1024, 1),
    _conv2d("conv2d 1x1", 128, 55, 55, 16, 1),
    _conv2d("conv2d 1x1", 192, 27, 27, 96, 1),
    _conv2d("conv2d 1x1", 512, 13, 13, 333, 1),
    _conv2d("conv2d strided", 3, 224, 224, 64, 7, stride=2),
    _conv2d("conv2d strided", 3, 224, 224, 27, 7, stride=2),
    _conv2d("conv2d strided", 3, 224, 224, 64, 3, stride=2, padding=0),
    _conv2d("conv2d strided", 128, 56, 56, 64, 3, stride=2),
    _conv2d("conv2d strided", 256, 28, 28, 256, 3, stride=2),
    _conv2d("conv2d strided", 512, 14, 14, 216, 3, stride=2),
    _conv2d("conv2d strided", 256, 56, 56, 128, 1, stride=2),
    _conv2d("conv2d strided", 1024, 14, 14, 500, 1, stride=2),
    _conv2d("group conv2d", 24, 56, 56, 112, 1, groups=4),
    _conv2d("group conv2d", 112, 28, 28, 112, 1, groups=4),
    _conv2d("group conv2d", 136, 28, 28, 136, 1, groups=4),
    _conv2d("group conv2d", 136, 13, 28, 136, 1, groups=4),
    _conv2d("group conv2d", 272, 14, 14, 272, 1, groups=4),
    _conv2d("group conv2d", 544, 7, 7, 544, 1, groups=4),
    _conv2d("group conv2d", 128, 28, 28, 128, 3, groups=32),
    _conv2d("group conv2d", 256, 28, 28, 256, 3, stride=2, groups=32),
    _depthwise(112, 56, stride=2),
    _depthwise(136, 28),
    _depthwise(136, 28, rows=11),
    _depthwise(272, 14),
    _depthwise(272, 14, stride=2),
    _depthwise(544, 7),
    _depthwise(37, 112),
    _depthwise(96, 27, kernel=5),
    _transpose(128, 7, 64, 4, 2, 1),
    _transpose(64, 14, 32, 4, 2, 1),
    _transpose(64, 14, 13, 4, 2, 1),
    _transpose(32, 28, 16, 3, 2, 1, 1),
    _transpose(64, 28, 32, 2, 2, 0),
    _transpose(32, 27, 24, 3, 1, 1),
    _transpose(21, 16, 21, 4, 2, 1),
    _transpose(64, 13, 40, 3, 2, 1, 1),
    _conv1d(64, 128, 64, 3),
    _conv1d(64, 1000, 27, 3),
    _conv1d(128, 256, 128, 5),
    _conv1d(1, 4000, 32, 25, 4),
    _conv1d(256, 55, 256, 3),
    _conv1d(256, 200, 128, 1),
    _conv1d(80, 400, 96, 3, 2),
    _conv1d(32, 500, 13, 9),
    _conv3d(3, 8, 56, 16, 3),
    _conv3d(16, 8, 28, 16, 3),
    _conv3d(32, 4, 28, 24, 3),
    _conv3d(32, 8, 14, 64, 3),
    _conv3d(64, 4, 14, 27, 3, 2),
    _conv3d(128, 2, 7, 128, 3),
    _conv3d(64, 8, 14, 96, 1),
    _conv3d(16, 6, 27, 13, 3),
    _dense(1, 1000, 2048),
    _dense(1, 397, 1024),
    _dense(1, 4096, 4096),
    _dense(4, 1000, 1024),
    _dense(16, 500, 512),
    _dense(32, 1000, 2048),
    _dense(64, 512, 512),
    _dense(49, 384, 384),
    _batch_matmul(12, 64, 64, 64),
    _batch_matmul(12, 128, 128, 64),
    _batch_matmul(12, 128, 64, 128, transpose_b=False),
    _batch_matmul(5, 128, 128, 64),
    _batch_matmul(8, 49, 49, 32),
    _batch_matmul(1, 49, 512, 64),
    _batch_matmul(8, 13, 27, 40),
    _batch_matmul(4, 100, 200, 96),
)
