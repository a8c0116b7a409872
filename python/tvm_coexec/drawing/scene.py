"""Elements of pictures: rectangles, curves and texts in pixels, x to the right and y down.

Several writers (`svg`, `png`) draw the same scene, so that a page and an image look alike.
"""

from __future__ import annotations

from dataclasses import dataclass

Data = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Rect:
    """A filled rectangle; an empty `stroke` draws no outline."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str = ""
    stroke_width: float = 1.0


@dataclass(frozen=True)
class Curve:
    """A curve through points, with horizontal tangents at each of them."""

    points: tuple[tuple[float, float], ...]
    stroke: str
    stroke_width: float = 1.0


@dataclass(frozen=True)
class Text:
    """One line of text; `y` is its baseline, `anchor` is ``start``, ``middle`` or ``end``."""

    x: float
    y: float
    text: str
    size: float = 11.0
    anchor: str = "start"
    fill: str = "#222222"
    bold: bool = False


@dataclass(frozen=True)
class Group:
    """Items that belong together.

    Attributes
    ----------
    items : tuple
    tip : str
        Tooltip of the items.
    data : tuple of (str, object)
        What the items represent, as ``data-...`` attributes of a page.
    """

    items: tuple[Item, ...]
    tip: str = ""
    data: Data = ()


Item = Rect | Curve | Text | Group


@dataclass(frozen=True)
class Scene:
    """A picture of `width` by `height` pixels; `title` is its text for screen readers."""

    width: float
    height: float
    items: tuple[Item, ...]
    title: str = ""
