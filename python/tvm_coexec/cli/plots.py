"""Plots of a comparison: predicted against measured, errors by class, and a learning curve."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.logs import log_levels
from tvm_coexec.cost_models.dataset import DEVICES, Samples

from .accuracy import Compared, figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELD_OUT = 0.25
STEPS = (20, 50, 100, 200, 500, 1000, 2000, 5000)


def require_matplotlib(option: str = "--plots") -> None:
    """Raise `CoExecError` if matplotlib, which the option needs, is missing."""
    try:
        import matplotlib
    except ImportError:
        raise CoExecError(f"{option} needs matplotlib; install tvm-coexec[plot]") from None
    matplotlib.use("Agg")


def draw(compared: Sequence[Compared], samples: Samples, folder: str) -> list[str]:
    """Draw all plots.

    Parameters
    ----------
    compared : sequence of Compared
    samples : Samples
        For the learning curve, which fits models to subsets of them.
    folder : str
        Created if it does not exist.

    Returns
    -------
    list of str
        Paths of the files.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as err:
        raise CoExecError(
            f"can't make the folder {folder}: {err.strerror}; choose another folder for --plots"
        ) from None
    shown = [c for c in compared if c.samples]
    figures_ = {"predicted.png": _predicted(shown), "errors.png": _errors(shown), "learning.png": _learning(samples)}
    paths = []
    for name, figure in figures_.items():
        path = os.path.join(folder, name)
        try:
            figure.savefig(path, dpi=120)
        except OSError as err:
            raise CoExecError(f"can't write {path}: {err.strerror}; choose another folder for --plots") from None
        paths.append(path)
    return paths


def _figure(columns: int, height: float = 4.5) -> tuple[Figure, list]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * columns, height), layout="constrained")
    return figure, list(np.ravel(figure.subplots(1, columns)))


def _predicted(compared: Sequence[Compared]) -> Figure:
    """Plot predicted against measured times, both axes logarithmic; dotted lines mark errors of 10 %."""
    figure, axes = _figure(len(compared))
    for ax, c in zip(axes, compared, strict=True):
        for kind in sorted({s.workload.kind for s in c.samples}):
            mine = np.array([s.workload.kind == kind for s in c.samples])
            ax.loglog(c.measured_s[mine] * 1e3, c.predicted_s[mine] * 1e3, ".", ms=4, alpha=0.6, label=kind)
        ends = np.array([c.measured_s.min(), c.measured_s.max()]) * 1e3
        for factor, style in ((1.0, "k-"), (1.1, "k:"), (1 / 1.1, "k:")):
            ax.loglog(ends, ends * factor, style, lw=0.8)
        shown = figures(c.errors)
        ax.set_title(f"{c.device}: {shown['within 10 %']:.0f} % within 10 %, MAPE {shown['MAPE %']:.1f} %")
        ax.set_xlabel("measured, ms")
        ax.set_ylabel("predicted, ms")
        ax.legend(fontsize=7)
    return figure


def _errors(compared: Sequence[Compared]) -> Figure:
    """Plot the errors of each class: median, quartiles (thick line), 5th and 95th percentile (thin line)."""
    figure, axes = _figure(len(compared))
    for ax, c in zip(axes, compared, strict=True):
        classes = sorted({s.workload.key for s in c.samples})
        values = [c.of_class(k) * 100 for k in classes]
        for y, v in enumerate(values):
            low, first, median, third, high = np.percentile(v, (5, 25, 50, 75, 95))
            ax.plot([low, high], [y, y], "C0-", lw=1)
            ax.plot([first, third], [y, y], "C0-", lw=6)
            ax.plot(median, y, "wo", ms=4)
        ax.set_yticks(range(len(classes)), [f"{k} ({len(v)})" for k, v in zip(classes, values, strict=True)])
        ax.axvspan(-10, 10, color="0.9", zorder=0)
        ax.set_title(c.device)
        ax.set_xlabel("predicted / measured - 1, %")
    return figure


def _learning(samples: Samples) -> Figure:
    """Plot the errors on held-out kernels over the number of samples that a profile was fitted to."""
    curve = learning_curve(samples)
    figure, axes = _figure(2)
    for ax, key in zip(axes, ("within 10 %", "MAPE %"), strict=True):
        for device in sorted({d for d, _ in curve}):
            points = sorted((n, f[key]) for (d, n), f in curve.items() if d == device and f[key] is not None)
            ax.semilogx([n for n, _ in points], [v for _, v in points], "o-", label=device)
        ax.set_xlabel("samples in the fit")
        ax.set_ylabel(key)
        ax.set_ylim(bottom=0)
        ax.legend()
    return figure


def learning_curve(samples: Samples, seed: int = 0) -> dict[tuple[str, int], dict[str, float | None]]:
    """Accuracy of the default model on held-out kernels, by device and number of samples in the fit.

    A kernel's samples (whole and shares) are either all held out or none, so that no shape is in both.
    """
    from tvm_coexec.cost_models.models.analytic import AnalyticModel

    signatures = sorted({s.signature for s in samples.usable})
    order = np.random.default_rng(seed).permutation(len(signatures))
    held = {signatures[i] for i in order[: max(1, round(HELD_OUT * len(signatures)))]}
    rank = {signatures[i]: n for n, i in enumerate(order)}
    curve = {}
    with log_levels({"tvm_coexec": logging.ERROR}):  # small subsets lack kernel classes: their warnings are expected
        for device in DEVICES:
            mine = sorted(samples.of(device), key=lambda s: rank[s.signature])
            rest, test = ([s for s in mine if (s.signature in held) == out] for out in (False, True))
            if not rest or not test:
                continue
            measured = np.array([s.seconds for s in test])
            for size in [n for n in STEPS if n < len(rest)] + [len(rest)]:
                model = AnalyticModel(fallback=True)
                model.fit([s.workload for s in rest[:size]], np.array([s.seconds for s in rest[:size]]))
                curve[device, size] = figures(model.predict([s.workload for s in test]) / measured - 1.0)
    return curve
