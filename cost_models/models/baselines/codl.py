"""CoDL's latency formulas: work rounded up to blocks, units and warps, times a unit time linear in the shape."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tvm_coexec.cost_models.features.terms import round_up
from tvm_coexec.cost_models.features.workload import Workload

from .by_class import ByClass, least_squares


class CoDL(ByClass):
    """Seconds = quantised work x t, with t linear in (1, H, W, IC, OC), for each class and algorithm.

    CoDL (MobiSys 2022, section 5.2). On a CPU the outputs are divided into blocks over the cores, and a block into
    units that one inner loop computes: ``ceil(out / (block x cores)) x ceil(block / unit)``. On a GPU work-items
    compute four channels each, and work-groups run in warps over the compute units: ``ceil(lws / warp) x
    ceil(ceil(gws / lws) / units) x ceil(IC / 4)``. Convolutions by Winograd's algorithm have its three parts.

    Parameters
    ----------
    device : str
        ``cpu`` or ``gpu``.
    cores, block, unit : int
        CPU: number of cores, and output channels per block and per unit.
    compute_units, warp, group : int
        GPU: number of compute units, and work-items per warp and per work-group.
    """

    name: ClassVar[str] = "codl"

    def __init__(
        self,
        device: str = "cpu",
        cores: int = 1,
        block: int = 16,
        unit: int = 4,
        compute_units: int = 4,
        warp: int = 32,
        group: int = 128,
    ):
        self.device, self.cores, self.block, self.unit = device, cores, block, unit
        self.compute_units, self.warp, self.group = compute_units, warp, group

    def key(self, w: Workload) -> str:
        """See `ByClass.key`."""
        return w.key

    def fit_class(self, w: Workload, seconds: np.ndarray) -> list[float]:
        """See `ByClass.fit_class`; by relative error, so that small kernels count."""
        features = self._features(w)
        return least_squares(features / seconds[:, None], np.ones(len(seconds)))

    def predict_class(self, w: Workload, state: list[float]) -> np.ndarray:
        """See `ByClass.predict_class`."""
        return self._features(w) @ np.array(state, float)

    def _features(self, w: Workload) -> np.ndarray:
        shape = (1.0, w.oh, w.ow, w.ic, w.oc)
        columns = [work * s for work in self._work(w) for s in shape]
        return np.stack([np.broadcast_to(np.asarray(c, float), (w.size,)) for c in [1.0, *columns]], 1)

    def _work(self, w: Workload) -> tuple[Any, ...]:
        if "winograd" in w.algorithm:
            tiles = -(-w.oh // 4) * -(-w.ow // 4)
            return tiles * w.ic * 36, 36 * self._quantised(tiles, w.ic, w.oc), tiles * w.oc * 16
        taps = w.kh * w.kw
        return (taps * self._quantised(w.batch * w.oh * w.ow, w.ic / w.groups, w.oc),)

    def _quantised(self, places: Any, depth: Any, channels: Any) -> Any:
        if self.device == "gpu":
            items = -(-channels // 4) * places
            groups = round_up(items, self.group) // self.group
            waves = round_up(groups, self.compute_units) // self.compute_units
            return round_up(self.group, self.warp) // self.warp * waves * -(-depth // 4)
        blocks = -(-channels // (self.block * self.cores))
        return blocks * (round_up(self.block, self.unit) / self.unit) * places * depth
