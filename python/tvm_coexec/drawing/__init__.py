"""Plans as pictures: a network with its chains, and what both devices do when, as a page (HTML) or an image (PNG).

Read it in this order: `scene` (what pictures are made of), `layout` and `network`, `timelines`, `planned` (both for a
plan), and the writers `page` with `svg`, and `png`. Nothing here imports TVM, and a page needs nothing but a browser.
"""

from __future__ import annotations

from .page import html_of, write_html
from .planned import Drawing, draw_plan, lanes_of
from .png import write_png
from .scene import Scene
from .timelines import Bar, Lane, timelines

__all__ = [
    "Bar",
    "Drawing",
    "Lane",
    "Scene",
    "draw_plan",
    "html_of",
    "lanes_of",
    "timelines",
    "write_html",
    "write_png",
]
