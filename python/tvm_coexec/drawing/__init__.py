"""Pictures of plans: the network with its chains, and the devices' timelines, as a page (HTML) or an image (PNG).

Modules, in reading order: `scene` (the elements of pictures), `node_layout` and `network`, `timelines`, `planned` (both
for a plan), and the writers `page` with `svg`, and `png`. Nothing here imports TVM, and a page needs only a browser.
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
