"""How far predictions are from measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.cost_models.coverage import FEW_SAMPLES, Coverage
from tvm_coexec.cost_models.dataset import DEVICES, Sample, Samples

if TYPE_CHECKING:
    from tvm_coexec.cost_models.profile import Profile


_LARGE_ERROR = 0.3


@dataclass(frozen=True)
class Compared:
    """Measured samples of one device, with their predictions.

    Attributes
    ----------
    device : str
    samples : list of Sample
        Those that the profile can predict.
    predicted_s : array, shape (n,)
    unknown : dict of str to int
        Kernel classes that are not in the profile, and the number of samples of each.
    """

    device: str
    samples: list[Sample]
    predicted_s: np.ndarray
    unknown: dict[str, int]

    @property
    def measured_s(self) -> np.ndarray:
        """Measured seconds; shape (n,)."""
        return np.array([s.seconds for s in self.samples])

    @property
    def errors(self) -> np.ndarray:
        """Relative errors, predicted / measured - 1; shape (n,)."""
        return self.predicted_s / self.measured_s - 1.0

    def of_class(self, key: str) -> np.ndarray:
        """Relative errors of the samples of one kernel class."""
        return self.where(lambda s: s.workload.key == key)

    def where(self, keep: Callable[[Sample], bool]) -> np.ndarray:
        """Relative errors of the samples for which `keep` holds."""
        return self.errors[np.array([keep(s) for s in self.samples], bool)]


def compare(profile: Profile, samples: Iterable[Sample]) -> list[Compared]:
    """Compare predictions with all samples that have a measured time, one `Compared` per device."""
    found = []
    samples = [s for s in samples if not s.error]
    for device in DEVICES:
        by_class: dict[str, list[Sample]] = {}
        for s in samples:
            if s.device == device:
                by_class.setdefault(s.workload.key, []).append(s)
        known, predicted, unknown = [], [], {}
        for key, members in sorted(by_class.items()):
            try:
                predicted.append(profile.devices[device].predict([s.workload for s in members]))
                known += members
            except CoExecError:  # the table shows it; the other classes can still be compared
                unknown[key] = len(members)
        found.append(Compared(device, known, np.concatenate(predicted) if predicted else np.zeros(0), unknown))
    return found


def figures(errors: np.ndarray) -> dict[str, float | None]:
    """Fraction of samples within 10 %, mean and median of the absolute relative errors, all in per cent."""
    if not len(errors):
        return {"within 10 %": None, "MAPE %": None, "median %": None}
    size = np.abs(errors) * 100
    return {
        "within 10 %": float((size <= 10).mean() * 100),
        "MAPE %": float(size.mean()),
        "median %": float(np.median(size)),
    }


def rows_of(compared: Compared) -> list[dict[str, object]]:
    """Rows of a table: one per kernel class, then whole kernels, shares, and all samples."""

    def row(name: str, errors: np.ndarray) -> dict[str, object]:
        return {"device": compared.device, "class": name, "kernels": len(errors), **figures(errors)}

    classes = sorted({s.workload.key for s in compared.samples})
    rows = [row(c, compared.of_class(c)) for c in classes]
    for name, number in compared.unknown.items():
        rows.append(row(f"{name} (not in the profile)", np.zeros(0)) | {"kernels": number})
    rows.append(row("whole kernels", compared.where(lambda s: s.dim < 0)))
    rows.append(row("shares", compared.where(lambda s: s.dim >= 0)))
    rows.append(row("all", compared.errors))
    return [r for r in rows if r["kernels"]]


def rows_by_network(compared: Compared) -> list[dict[str, object]]:
    """Rows of a table: one per network, of the samples of its kernels."""
    rows: list[dict[str, object]] = []
    for name in sorted({s.network for s in compared.samples}):
        errors = np.array([e for s, e in zip(compared.samples, compared.errors, strict=True) if s.network == name])
        rows.append({"device": compared.device, "network": name, "kernels": len(errors), **figures(errors)})
    return rows


def whole_networks(profile: Profile, samples: Samples) -> list[dict[str, object]]:
    """Rows of a table: whole networks, measured, and predicted from the sums of kernel times."""
    rows = []
    for n in samples.networks:
        correction = profile.networks.get(n["device"])
        if correction is None:
            continue
        predicted = correction.seconds(n["kernels"], n["sum_s"])
        times = {"sum ms": n["sum_s"] * 1e3, "predicted ms": predicted * 1e3, "measured ms": n["seconds"] * 1e3}
        fixed = {"device": n["device"], "network": n["network"], "kernels": n["kernels"]}
        rows.append(fixed | times | {"error %": 100 * (predicted / n["seconds"] - 1)})
    return sorted(rows, key=lambda r: (str(r["device"]), str(r["network"])))


def coverage_of(profile: Profile, compared: Iterable[Compared]) -> Coverage:
    """How much of the predicted time of measured kernels (whole ones and shares) rests on few samples."""
    total, weak = 0.0, dict[str, float]()
    for c in compared:
        for s, seconds in zip(c.samples, c.predicted_s, strict=True):
            found = profile.devices[c.device].samples_of(s.workload)
            if found is None:
                continue
            total += float(seconds)
            if found < FEW_SAMPLES:
                name = f"{c.device} {s.workload.key}"
                weak[name] = weak.get(name, 0.0) + float(seconds)
    return Coverage.of(total, weak)


def weak_classes(compared: Iterable[Compared]) -> list[str]:
    """Notes on kernel classes with few samples or large errors, one line each."""
    lines = []
    for c in compared:
        for key in sorted({s.workload.key for s in c.samples}):
            errors = np.abs(c.of_class(key))
            if len(errors) < FEW_SAMPLES:
                lines.append(
                    f"note: {c.device} {key} has only {len(errors)} samples; add some with coexec profile --designed"
                )
            elif errors.mean() > _LARGE_ERROR:
                lines.append(
                    f"note: {c.device} {key} has a mean error of {errors.mean():.0%}; plans with them may be poor"
                )
    return lines
