"""Published latencies as workloads: readers for the formats of the RK3399 and phone files."""

from __future__ import annotations

import ast
import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvm_coexec.cost_models.features.describe import kernel_class
from tvm_coexec.cost_models.features.workload import Workload


@dataclass(frozen=True)
class Measured:
    """Kernels with their times on one device.

    Attributes
    ----------
    device : str
    workloads : list of Workload
    seconds : array, shape (n,)
    groups : array of int, shape (n,)
        Equal for rows that must not be separated into training and test sets.
    """

    device: str
    workloads: list[Workload]
    seconds: np.ndarray
    groups: np.ndarray


def read_rk3399(path: Path) -> dict[str, Measured]:
    """Convolutions on the CPU and the Mali GPU of one board, each shape in a separate group."""
    rows = _rows(path)
    workloads = [_rk3399_conv(r) for r in rows]
    groups = _numbered(workloads)
    return {
        device: Measured(device, workloads, np.array([float(r[f"{device}_ms"]) * 1e-3 for r in rows]), groups)
        for device in ("cpu", "mali")
    }


def _rk3399_conv(r: dict[str, str]) -> Workload:
    batch, ic, ih, iw, oc, kh, kw, stride, pad = (
        int(r[n]) for n in ("N", "IC", "IH", "IW", "OC", "KH", "KW", "stride", "pad")
    )
    # The file has one padding; kernels that are not square keep the map's size.
    oh = (ih + 2 * (pad if kh == kw else kh // 2) - kh) // stride + 1
    ow = (iw + 2 * (pad if kh == kw else kw // 2) - kw) // stride + 1
    depthwise = r["depthwise"] == "1"
    return conv("tuned", batch, ic, ih, iw, oc, oh, ow, kh, kw, stride, ic if depthwise else 1)


def conv(algorithm: str, batch, ic, ih, iw, oc, oh, ow, kh, kw, stride, groups) -> Workload:
    """A convolution in fp32; its class by its groups, and by its kernel where algorithms differ by it."""
    kind = "depthwise_conv" if groups == ic and groups > 1 else "group_conv" if groups > 1 else "conv"
    if kind == "conv":
        algorithm += kernel_class(kh, kw, stride)
    macs = batch * oc * oh * ow * ic // groups * kh * kw
    return Workload(
        kind, algorithm, batch, groups, ic, oc, ih, iw, oh, ow, kh, kw, stride, stride,
        4 * batch * ic * ih * iw, 4 * batch * oc * oh * ow, 4 * oc * ic // groups * kh * kw, 2.0 * macs,
    )  # fmt: skip


def read_phones(path: Path) -> dict[str, Measured]:
    """Convolutions on the GPU of each phone in the header, grouped by network."""
    rows = [r for r in _rows(path) if "conv" in r["operation"].lower()]
    phones = [name.split("|")[0] for name in rows[0] if name.endswith("|gpu|float")]
    names = {m: i for i, m in enumerate(dict.fromkeys(r["model"] for r in rows))}
    found = {}
    for phone in phones:
        known = [r for r in rows if r[f"{phone}|gpu|float"] not in ("", "nan")]
        workloads = [_phone_conv(ast.literal_eval(r["feature"]), r[f"{phone}|gpu|kernel"]) for r in known]
        seconds = np.array([float(r[f"{phone}|gpu|float"]) * 1e-6 for r in known])
        found[phone] = Measured(phone, workloads, seconds, np.array([names[r["model"]] for r in known]))
    return found


def _phone_conv(feature: dict, kernel: str) -> Workload:
    low = {k.lower(): v for k, v in feature.items()}
    ic = int(low["input_channel"])
    oc = int(low.get("filter", low.get("output_channel")))
    size, out = int(low["input_shape"]), int(low["output_shape"])
    k = int(low.get("kernel", low.get("kernel_size")))
    # The kernel's name without its number in the network and without fused operators.
    algorithm = re.sub(r"_\d+$", "", kernel.split("_linked")[0].removeprefix("vulkan."))
    depthwise = "depthwise_conv" in algorithm or "_dw" in algorithm  # the file counts their groups as one
    groups = ic if depthwise else int(low.get("group", low.get("groups", 1)))
    return conv(algorithm, 1, ic, size, size, oc, out, out, k, k, int(low["stride"]), groups)


def _numbered(workloads: list[Workload]) -> np.ndarray:
    seen: dict[Workload, int] = {}
    return np.array([seen.setdefault(w, len(seen)) for w in workloads])


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    if not rows:
        raise SystemExit(f"{path} has no rows")
    return rows
