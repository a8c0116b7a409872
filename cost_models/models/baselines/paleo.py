"""Paleo's analytical model: the work of the algorithm, over a fraction of the device's peak."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from typing_extensions import Self

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.features.terms import round_up
from tvm_coexec.cost_models.features.workload import Number, Workload, Workloads

from ...device_parameters import DeviceParameters
from ..base import LatencyModel, check_samples, unknown_class_error
from ..regression import fit_non_negative, round_digits

_MIN_S = 1e-9
_LEAST_PERCENT = 1e-6


class Paleo(LatencyModel):
    """Seconds = bytes fetched / B + FLOPs / (P x percent of peak) + bytes written / B; Paleo (ICLR 2017, section 4).

    FLOPs are those of the algorithm that the device computes a kernel by: a Winograd convolution counts its transforms
    and products of tiles. P and B are the device's peak FLOP/s and bandwidth. The *platform percent of peak* (section
    4.3) is fitted for each class and algorithm; Paleo has one for a platform, from a few measured layers. There is no
    cost of a launch.

    Parameters
    ----------
    peak_flops_per_s, bytes_per_s : float or None
        Of the device (see `of_device`). What is not given is estimated from the samples: the bandwidth together with
        the percents of peak, and as peak the highest rate of any sample.
    """

    name: ClassVar[str] = "paleo"

    def __init__(self, peak_flops_per_s: float | None = None, bytes_per_s: float | None = None):
        for name, value in (("peak_flops_per_s", peak_flops_per_s), ("bytes_per_s", bytes_per_s)):
            if value is not None and not 0 < value < float("inf"):
                raise CoExecError(f"Paleo's {name} must be a positive number, not {value}")
        self.peak_flops_per_s, self.bytes_per_s = peak_flops_per_s, bytes_per_s

    @classmethod
    def of_device(cls, parameters: DeviceParameters) -> Self:
        """Make a model with a device's peak and bandwidth; what is not known there is estimated."""
        return cls(parameters.peak_flops_per_s or None, parameters.bandwidth_bytes_per_s or None)

    def fit(self, kernels: Workloads, seconds: np.ndarray) -> Self:
        """See `LatencyModel.fit`."""
        groups, y = check_samples(kernels, seconds)
        work = {w.key: np.zeros(len(y)) for w, _ in groups}
        moved = np.zeros(len(y))
        for w, where in groups:
            work[w.key][where] = count_flops(w)
            moved[where] = w.traffic_bytes
        total = np.sum(list(work.values()), axis=0)
        table = np.stack(list(work.values()), 1)
        if self.bytes_per_s is None:
            per_byte, *per_flop = fit_non_negative(np.column_stack([moved, table]), y)
        else:
            per_byte = 1 / self.bytes_per_s
            # Kernels that the bandwidth alone explains have little to say about arithmetic.
            per_flop = list(fit_non_negative(table, np.maximum(y - moved * per_byte, 0.1 * y)))
        self.peak_ = float(round_digits(np.array([self.peak_flops_per_s or max(1.0, float(np.max(total / y)))]))[0])
        self.s_per_byte_ = float(round_digits(np.array([per_byte]))[0])
        percents = [0.0 if not c else 1 / (c * self.peak_) for c in per_flop]
        self.percents_ = dict(zip(work, round_digits(np.array(percents)), strict=True))
        return self

    def knows(self, w: Workload) -> bool:
        """See `LatencyModel.knows`."""
        return w.key in self.percents_

    def predict_stacked(self, w: Workload) -> np.ndarray:
        """See `LatencyModel.predict_stacked`."""
        percent = self.percents_.get(w.key)
        if percent is None:
            raise unknown_class_error(self, w.key, list(self.percents_))
        fetch, write = (w.in_bytes + w.weight_bytes) * self.s_per_byte_, w.out_bytes * self.s_per_byte_
        # Of a class that the bytes explain alone the percent is 0: its arithmetic is hidden by them.
        compute = count_flops(w) / (self.peak_ * percent) if percent else 0.0
        return np.maximum(fetch + compute + write, _MIN_S)

    def state(self) -> dict[str, Any]:
        """See `LatencyModel.state`."""
        options = {"peak_flops_per_s": self.peak_flops_per_s, "bytes_per_s": self.bytes_per_s}
        return {
            "options": options,
            "peak": self.peak_,
            "s_per_byte": self.s_per_byte_,
            "percents": self.percents_,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """See `LatencyModel.from_state`."""
        model = cls(**state["options"])
        model.peak_, model.s_per_byte_ = float(state["peak"]), float(state["s_per_byte"])
        model.percents_ = {str(k): float(v) for k, v in state["percents"].items()}
        if not (0 < model.peak_ < np.inf and 0 <= model.s_per_byte_ < np.inf):
            raise ValueError(f"peak {model.peak_}, {model.s_per_byte_} s a byte")
        if not all(0 <= v < np.inf for v in model.percents_.values()):
            raise ValueError("a percent of peak is negative")
        return model


def count_flops(w: Workload) -> Number:
    """Return FLOPs by the algorithm (Paleo, section 4.1), special functions included.

    Winograd F(m x m, 3 x 3) transforms (m + 2)^2 elements a tile of input and output, and multiplies as many for each
    pair of channels (Lavin and Gray, CVPR 2016); other algorithms compute the multiply-adds of the definition.
    """
    if "winograd" not in w.algorithm:
        return w.flops + w.special
    tile = 2 if "2x2" in w.algorithm else 4
    places = w.batch * round_up(w.oh, tile) * round_up(w.ow, tile) * ((tile + 2) / tile) ** 2
    products = 2.0 * places * w.oc * w.ic / w.groups
    transforms = 2.0 * (tile + 2) * places * (w.ic + w.oc)
    return products + transforms + w.special
