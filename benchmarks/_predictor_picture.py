"""The picture of the predictors' bench: accuracy over the size of a model's file, coloured by its time to predict."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.files import write_atomically

_KERNEL_SETS = ("rk_cpu", "rk_mali", "phones", "own_cpu", "own_gpu")
_NEAR_LOG, _NEAR_POINTS = 0.6, 3.0  # labels of points that are nearer go to different sides
_SIDES = ((7, 4), (7, -11), (-7, 4), (-7, -11))  # offsets in points


def draw(rows: Sequence[dict], path: Path) -> None:
    """Draw one point for each model.

    Kernels' models are circles at the mean of their accuracies, networks' models are squares. Rows without a size or an
    accuracy are left out.

    Parameters
    ----------
    rows : sequence of dict
        Of the bench's table.
    path : Path
        SVG file.

    Raises
    ------
    CoExecError
        If matplotlib is missing, or the file can't be written.
    """
    try:
        import matplotlib
    except ImportError:
        raise CoExecError("the picture needs matplotlib: install the extra, pip install 'tvm-coexec[plot]'") from None
    matplotlib.use("Agg")
    matplotlib.rcParams |= {"svg.hashsalt": "predictors", "font.size": 9}
    from matplotlib import colors, pyplot

    points = find_points(rows)
    figure, axes = pyplot.subplots(figsize=(9, 5.6), layout="constrained")
    norm = colors.LogNorm(*_range([p["one_us"] for p in points]))
    drawn = None
    for is_network, marker in ((False, "o"), (True, "s")):
        some = [p for p in points if p["is_network"] == is_network]
        drawn = axes.scatter(
            [p["bytes"] for p in some], [p["within_10"] for p in some], c=[p["one_us"] for p in some], norm=norm,
            cmap="viridis", marker=marker, s=70, edgecolors="black", linewidths=0.6, zorder=3,
            label="whole networks (mean of NAS-Bench-201 and phones)" if is_network else "kernels (mean of all sets)",
        )  # fmt: skip
    for p, (x, y) in zip(points, choose_sides(points), strict=True):
        axes.annotate(
            p["model"], (p["bytes"], p["within_10"]), (x, y), textcoords="offset points",
            ha="left" if x > 0 else "right", fontsize=8,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set(xlabel="bytes of the model's file", ylabel="% predicted within ±10 %")
    axes.grid(alpha=0.3, zorder=0)
    axes.margins(x=0.12, y=0.08)
    axes.legend(loc="lower right", fontsize=8)
    if drawn is not None and points:
        figure.colorbar(drawn, ax=axes, label="time to predict one, µs")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    lines = (line.rstrip() for line in buffer.getvalue().splitlines())
    write_atomically(str(path), "\n".join(lines) + "\n")


def find_points(rows: Sequence[dict]) -> list[dict]:
    """Return name, bytes, microseconds and accuracy of each model that has them; kernels' models have their mean."""
    points = []
    for row in rows:
        kernels = [row[name] for name in _KERNEL_SETS if row.get(name) is not None]
        networks = [row[name] for name in ("nasbench", "nets") if row.get(name) is not None]
        values = kernels or networks
        if values and row.get("bytes") and row.get("one_us"):
            points.append(
                {"model": row["model"], "bytes": row["bytes"], "one_us": row["one_us"],
                 "within_10": sum(values) / len(values), "is_network": not kernels}
            )  # fmt: skip
    return points


def choose_sides(points: Sequence[dict]) -> list[tuple[int, int]]:
    """Choose the side of each label, another one than those of points nearby; the largest models are first."""
    chosen: dict[int, tuple[int, int]] = {}
    for i in sorted(range(len(points)), key=lambda i: -points[i]["bytes"]):
        near = {side for k, side in chosen.items() if _are_near(points[i], points[k])}
        chosen[i] = next((side for side in _SIDES if side not in near), _SIDES[0])
    return [chosen[i] for i in range(len(points))]


def _are_near(p: dict, q: dict) -> bool:
    in_size = abs(math.log10(p["bytes"] / q["bytes"])) < _NEAR_LOG
    return in_size and abs(p["within_10"] - q["within_10"]) < _NEAR_POINTS


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=1.0), max(values, default=10.0)
    return (low, high) if high > low else (low / 2, low * 2)
