"""Coverage: how much of a predicted time rests on kernel classes of which few samples were measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tvm_coexec.core.kernel_graph import Kernel

from .costs import Costs, Device

FEW_SAMPLES = 8  # as `models.analytic.MIN_SAMPLES`: a class with fewer has no coefficients of its own

# A kernel, the device that runs it or a share of it, and the predicted seconds.
Predicted = tuple[Kernel, Device, float]


@dataclass(frozen=True)
class Coverage:
    """Which part of predicted times rests on few samples.

    Attributes
    ----------
    total_s : float
        Predicted seconds of kernels, the sum over devices. Kernels of costs that count no samples are not in it.
    weak_s : dict of str to float
        Seconds by device and class (``gpu reduce/softmax``) of classes with fewer than `FEW_SAMPLES`, the largest
        first.
    """

    total_s: float
    weak_s: dict[str, float]

    @staticmethod
    def of(total_s: float, weak_s: Mapping[str, float]) -> Coverage:
        """Sort the classes by their seconds; those that take no time are left out."""
        order = sorted(weak_s.items(), key=lambda item: (-item[1], item[0]))
        return Coverage(total_s, {name: s for name, s in order if s > 0})

    @property
    def weak_fraction(self) -> float:
        """Fraction of the seconds that rests on few samples; 0 if nothing is known."""
        return sum(self.weak_s.values()) / self.total_s if self.total_s else 0.0

    def to_text(self) -> str:
        """Describe it in one line; empty if the costs count no samples."""
        if not self.total_s:
            return ""
        if not self.weak_s:
            return "coverage: all of the predicted time rests on kernel classes that were measured well"
        classes = ", ".join(f"{name} {s / self.total_s:.1%}" for name, s in self.weak_s.items())
        return (
            f"coverage: {self.weak_fraction:.1%} of the predicted time rests on kernel classes with fewer than "
            f"{FEW_SAMPLES} samples ({classes})"
        )


def find_coverage(costs: Costs, predicted: Iterable[Predicted]) -> Coverage:
    """Add up predicted seconds by how many samples they rest on.

    Parameters
    ----------
    costs : Costs
        `Costs.samples_of` tells the number of samples.
    predicted : iterable of (Kernel, str, float)
        Kernel, device and seconds.

    Returns
    -------
    Coverage
    """
    total, weak = 0.0, dict[str, float]()
    known: dict[tuple[str, str], tuple[str, int] | None] = {}
    for kernel, device, seconds in predicted:
        key = (device, kernel.signature())
        if key not in known:
            known[key] = costs.samples_of(device, kernel)
        found = known[key]
        if found is None:
            continue
        name, samples = found
        total += seconds
        if samples < FEW_SAMPLES:
            weak[f"{device} {name}"] = weak.get(f"{device} {name}", 0.0) + seconds
    return Coverage.of(total, weak)
