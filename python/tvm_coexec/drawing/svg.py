"""Scenes as SVG, with tooltips, which browsers show without scripts."""

from __future__ import annotations

import re
from html import escape

from .scene import Curve, Data, Group, Item, Rect, Scene, Text

# Characters that XML can't represent, not even escaped.
_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """Escape text for use between tags and in attributes."""
    return escape(_FORBIDDEN.sub("\ufffd", text), quote=True)


def svg_of(scene: Scene) -> str:
    """The scene as an ``<svg>`` element."""
    w, h = _number(scene.width), _number(scene.height)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
        f'font-family="Helvetica, Arial, sans-serif" role="img" aria-label="{clean(scene.title)}">'
    )
    return "\n".join([head, *map(_item, scene.items), "</svg>"])


def _item(item: Item) -> str:
    if isinstance(item, Group):
        tip = f"<title>{clean(item.tip)}</title>" if item.tip else ""
        return f"<g{_data(item.data)}>{tip}{''.join(map(_item, item.items))}</g>"
    if isinstance(item, Rect):
        edge = f' stroke="{item.stroke}" stroke-width="{_number(item.stroke_width)}"' if item.stroke else ""
        corner = f'x="{_number(item.x)}" y="{_number(item.y)}"'
        size = f'width="{_number(item.width)}" height="{_number(item.height)}"'
        return f'<rect {corner} {size} fill="{item.fill}"{edge}/>'
    if isinstance(item, Curve):
        edge = f'stroke="{item.stroke}" stroke-width="{_number(item.stroke_width)}"'
        return f'<path d="{_path(item)}" fill="none" {edge}/>'
    assert isinstance(item, Text)
    weight = ' font-weight="bold"' if item.bold else ""
    return (
        f'<text x="{_number(item.x)}" y="{_number(item.y)}" font-size="{_number(item.size)}" '
        f'text-anchor="{item.anchor}" fill="{item.fill}"{weight}>{clean(item.text)}</text>'
    )


def _path(curve: Curve) -> str:
    (x, y), *rest = curve.points
    text = f"M{_number(x)} {_number(y)}"
    for nx, ny in rest:
        middle = _number((x + nx) / 2)
        straight = f"L{_number(nx)} {_number(ny)}"
        bent = f"C{middle} {_number(y)} {middle} {_number(ny)} {_number(nx)} {_number(ny)}"
        text += straight if y == ny else bent
        x, y = nx, ny
    return text


def _data(data: Data) -> str:
    return "".join(f' data-{name}="{clean(str(value))}"' for name, value in data)


def _number(value: float) -> str:
    """Format a number in hundredths of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
