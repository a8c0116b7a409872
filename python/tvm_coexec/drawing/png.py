"""Scenes as a PNG image, drawn with matplotlib (the extra ``plot``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm_coexec.core.errors import CoExecError

from .planned import Drawing
from .scene import Curve, Group, Item, Rect, Text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PIXELS_PER_INCH = 100.0
POINTS_PER_INCH = 72.0
DPI = 150.0
_LARGEST = 60000.0  # pixels along one side; matplotlib's limit is 2**16
_ANCHORS = {"start": "left", "middle": "center", "end": "right"}


def write_png(drawing: Drawing, path: str) -> None:
    """Write all pictures of a drawing below each other.

    Raises
    ------
    CoExecError
        If the file can't be written, or matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CoExecError("drawing PNG files needs matplotlib; install tvm-coexec[plot]") from None
    width = max(scene.width for _, scene in drawing.scenes)
    height = sum(scene.height for _, scene in drawing.scenes)
    figure = Figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH))
    ax = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    ax.set_axis_off()
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    top = 0.0
    for _, scene in drawing.scenes:
        for item in scene.items:
            _draw(ax, item, top)
        top += scene.height
    try:
        figure.savefig(path, format="png", dpi=min(DPI, _LARGEST * PIXELS_PER_INCH / max(width, height)))
    except OSError as err:
        raise CoExecError(f"can't write {path}: {err.strerror or err}; choose another path") from None


def _draw(ax: Axes, item: Item, top: float) -> None:
    from matplotlib.patches import PathPatch, Rectangle
    from matplotlib.path import Path

    if isinstance(item, Group):
        for inner in item.items:
            _draw(ax, inner, top)
    elif isinstance(item, Rect):
        width = item.stroke_width * POINTS_PER_INCH / PIXELS_PER_INCH if item.stroke else 0.0
        edge = item.stroke or "none"
        corner = (item.x, item.y + top)
        ax.add_artist(Rectangle(corner, item.width, item.height, fc=item.fill, ec=edge, lw=width))
    elif isinstance(item, Curve):
        (x, y), *rest = item.points
        points, codes = [(x, y + top)], [Path.MOVETO]
        for nx, ny in rest:
            middle = (x + nx) / 2
            points += [(middle, y + top), (middle, ny + top), (nx, ny + top)]
            codes += [Path.CURVE4] * 3
            x, y = nx, ny
        width = item.stroke_width * POINTS_PER_INCH / PIXELS_PER_INCH
        ax.add_artist(PathPatch(Path(points, codes), fc="none", ec=item.stroke, lw=width))
    else:
        assert isinstance(item, Text)
        ax.text(
            item.x, item.y + top, item.text, size=item.size * POINTS_PER_INCH / PIXELS_PER_INCH, color=item.fill,
            ha=_ANCHORS[item.anchor], va="baseline", weight="bold" if item.bold else "normal", parse_math=False,
        )  # fmt: skip
