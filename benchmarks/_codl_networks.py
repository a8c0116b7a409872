"""CoDL's five networks as straight lists of kernels, from tables of their shapes, and its published plans."""

from __future__ import annotations

import csv
from pathlib import Path

from tvm_coexec.core.access import AccessMap, InputAccess, identity
from tvm_coexec.core.kernel_graph import REDUCED, Kernel, KernelGraph, SplitAxis, Tensor
from tvm_coexec.core.op_kinds import OpKind

# Names in the tables of shapes, and in the table of plans.
NETWORKS = {
    "YOLO-V2": "Yolov2",
    "VGG-16": "Vgg16",
    "POSENET": "Posenet",
    "FAST_STYLE_TRANSFER": "FastStyleTransfer",
    "RETINAFACE": "RetinaFace",
}
_VALID, _SAME = 0, 1


def networks(folder: Path) -> dict[str, KernelGraph]:
    """Each network by the name of its shapes.

    Parameters
    ----------
    folder : Path
        Holds ``conv2d_shapes.csv``, ``pooling_shapes.csv`` and ``dense_shapes.csv`` (columns CNN, IH, IW, IC, OC, KH,
        KW, SH, SW and paddings), operators in order.

    A pooling follows the first convolution whose output it fits. If an operator's input is not its predecessor's output
    (the lists leave out branches, crops and channel shuffles), the operator reads all of that output.
    """
    convs, pools, denses = (_rows(folder / f"{n}_shapes.csv") for n in ("conv2d", "pooling", "dense"))
    return {name: _Straight(name).built(convs, pools, denses) for name in NETWORKS}


def published_sync_points(folder: Path) -> dict[str, int]:
    """Minimum number of sync points of CoDL's published plans on Snapdragon phones: two per split chain."""
    found: dict[str, int] = {}
    names = {plan: name for name, plan in NETWORKS.items()}
    for row in _rows(folder / "published_plans.csv"):
        if not row["soc"].startswith("Snapdragon"):
            continue
        lengths = [int(n) for n in row["chain_lengths"].split()]
        ratios = [float(r) for r in row["gpu_ratio_per_op"].split()]
        points, at = 0, 0
        for n in lengths:
            points += 2 * any(0.0 < r < 1.0 for r in ratios[at : at + n])
            at += n
        name = names[row["network"]]
        found[name] = min(found.get(name, points), points)
    return found


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


class _Straight:
    def __init__(self, name: str):
        self.name = name
        self.kernels: list[Kernel] = []

    def built(self, convs: list[dict], pools: list[dict], denses: list[dict]) -> KernelGraph:
        own = [[{k: int(v) for k, v in r.items() if k != "CNN"} for r in rows if r["CNN"] == self.name] for rows in
               (convs, pools, denses)]  # fmt: skip
        waiting = own[1]
        first = own[0][0]
        self.input = Tensor((1, first["IC"], first["IH"], first["IW"]), "float32")
        for i, conv in enumerate(own[0]):
            self._convolution(conv)
            following = own[0][i + 1] if i + 1 < len(own[0]) else None
            for pool in waiting:
                fits = self._last().shape[1:3] == (pool["IC"], pool["IH"])
                if fits and (following is None or following["IH"] < pool["IH"]):
                    self._pooling(pool)
                    waiting.remove(pool)
                    break
        for dense in own[2]:
            self._dense(dense)
        return KernelGraph(tuple(self.kernels), (("x", self.input),), (len(self.kernels) - 1,))

    def _last(self) -> Tensor:
        return self.kernels[-1].outputs[0] if self.kernels else self.input

    def _window(self, row: dict, letter: str) -> tuple[int, AccessMap]:
        """Output extent and the rows that a range of it needs."""
        n, k, stride = row[f"I{letter}"], row[f"K{letter}"], row[f"S{letter}"]
        if row.get("PT", _VALID) == _SAME:
            out = -(-n // stride)
            before = max(0, (out - 1) * stride + k - n) // 2
        else:
            before = row[f"P{letter}"] // 2  # of both sides together
            out = (n + row[f"P{letter}"] - k) // stride + 1
        return out, AccessMap(stride, -before, k - 1 - before, 1, n)

    def _add(
        self,
        op: str,
        kind: OpKind,
        fused: str,
        attrs: dict,
        read: Tensor,
        out: Tensor,
        flops: float,
        weights: int,
        axes,
    ) -> None:
        index, axes = len(self.kernels), tuple(axes)
        kinds = (kind, *[OpKind.ELEMENTWISE] * fused.count("+"))
        self.kernels.append(
            Kernel(index, op + fused, op, attrs, (index - 1,), (read,), (out,), weights, flops, axes, kinds=kinds)
        )

    def _fits(self, read: Tensor, need: InputAccess) -> InputAccess | None:
        """The need, if the input is the predecessor's output; otherwise all of it."""
        return need if self._last().shape == read.shape else None

    def _convolution(self, row: dict) -> None:
        (oh, rows), (ow, columns) = self._window(row, "H"), self._window(row, "W")
        read = Tensor((1, row["IC"], row["IH"], row["IW"]), "float32")
        out = Tensor((1, row["OC"], oh, ow), "float32")
        shape = [row["OC"], row["IC"], row["KH"], row["KW"]]
        attrs = {"strides": [row["SH"], row["SW"]], "kernel_size": shape[2:], "weight_shape": shape, "groups": 1,
                 "data_layout": "NCHW", "kernel_layout": "OIHW", "padding": [-rows.b, -columns.b]}  # fmt: skip
        weights = 4 * (row["OC"] * row["IC"] * row["KH"] * row["KW"] + row["OC"])
        channels = InputAccess(1, ((identity(row["IC"]),),))
        axes = [
            SplitAxis("oc", 1, row["OC"], 1, min(8, row["OC"]), (None,), True),
            SplitAxis("h", 2, oh, 1, 1, (self._fits(read, InputAccess(2, ((rows,),))),), False),
        ]
        if self._fits(read, channels) is not None:
            axes.append(SplitAxis("ic", REDUCED, row["IC"], 1, min(8, row["IC"]), (channels,), True))
        flops = 2.0 * row["OC"] * oh * ow * row["IC"] * row["KH"] * row["KW"]
        self._add("nn.conv2d", OpKind.CONV, "+add+nn.relu", attrs, read, out, flops, weights, axes)

    def _pooling(self, row: dict) -> None:
        (oh, rows), (ow, _) = self._window(row, "H"), self._window(row, "W")
        read, out = self._last(), Tensor((1, row["OC"], oh, ow), "float32")
        attrs = {"pool_size": [row["KH"], row["KW"]], "strides": [row["SH"], row["SW"]], "layout": "NCHW"}
        axes = [
            SplitAxis("oc", 1, row["OC"], 1, min(8, row["OC"]), (InputAccess(1, ((identity(row["OC"]),),)),), False),
            SplitAxis("h", 2, oh, 1, 1, (InputAccess(2, ((rows,),)),), False),
        ]
        self._add(
            "nn.max_pool2d", OpKind.POOL, "", attrs, read, out, row["OC"] * oh * ow * row["KH"] * row["KW"], 0, axes
        )

    def _dense(self, row: dict) -> None:
        reduced = row["IC"] * row["IH"] * row["IW"]
        read, out = Tensor((1, reduced), "float32"), Tensor((1, row["OC"]), "float32")
        axes = [SplitAxis("n", 1, row["OC"], 1, 8, (None,), True)]
        need = InputAccess(1, ((identity(reduced),),))
        if self._fits(read, need) is not None:
            axes.append(SplitAxis("ic", REDUCED, reduced, 1, 8, (need,), True))
        attrs = {"weight_shape": [row["OC"], reduced]}
        flops, weights = 2.0 * reduced * row["OC"], 4 * (reduced + 1) * row["OC"]
        self._add("nn.dense", OpKind.DENSE, "+add+nn.relu", attrs, read, out, flops, weights, axes)
