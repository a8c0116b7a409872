"""What pictures are made of: rectangles, curves and texts in pixels, x to the right and y down.

One scene has several writers (`svg`, `png`), so that a page and an image show the same.
"""

from __future__ import annotations

from dataclasses import dataclass

Data = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Rect:
    """A filled rectangle; without a stroke where that is empty."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str = ""
    stroke_width: float = 1.0


@dataclass(frozen=True)
class Curve:
    """A line through points, horizontal at each of them."""

    points: tuple[tuple[float, float], ...]
    stroke: str
    stroke_width: float = 1.0


@dataclass(frozen=True)
class Text:
    """One line of text; `y` is that of its base line, `anchor` is ``start``, ``middle`` or ``end``."""

    x: float
    y: float
    text: str
    size: float = 11.0
    anchor: str = "start"
    fill: str = "#222222"
    bold: bool = False


@dataclass(frozen=True)
class Group:
    """Things that belong together.

    Attributes
    ----------
    items : tuple
    tip : str
        Shown where a mouse points at them.
    data : tuple of (str, object)
        What they stand for, as ``data-...`` attributes of a page.
    """

    items: tuple[Item, ...]
    tip: str = ""
    data: Data = ()


Item = Rect | Curve | Text | Group


@dataclass(frozen=True)
class Scene:
    """A picture of `width` by `height` pixels; `title` is for those who can't see it."""

    width: float
    height: float
    items: tuple[Item, ...]
    title: str = ""
