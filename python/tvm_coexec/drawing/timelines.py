"""Timelines: lanes of bars over one axis of milliseconds.

The input is plain data from any source: a simulated plan or a measured run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from .colours import DEVICE_COLOURS, FAINT, INK, LINE, OTHER, WHAT_COLOURS, chain_colour, ink_on
from .scene import Group, Item, Rect, Scene, Text

LEFT, RIGHT = 96.0, 24.0
LANE_HEIGHT, LANE_GAP = 34.0, 10.0
TITLE_HEIGHT = 40.0
AXIS_HEIGHT = 30.0
LEGEND_LINE = 20.0
CHAINS_IN_LEGEND = 12
_CHARACTER = 6.2  # pixels, approximate width at a font size of 11 pixels


@dataclass(frozen=True)
class Bar:
    """An interval on a timeline.

    Attributes
    ----------
    start_s, end_s : float
        Seconds from the start of the run.
    what : str
        ``work``, ``upload``, ``download``, ``slice``, ``join``; other names are drawn as well.
    segment : int
        Number of the plan's segment, -1 for none.
    chain : int
        Number of the chain among the plan's chains, for its colour; -1 for none.
    tip : str
        Additional text for the tooltip.
    """

    start_s: float
    end_s: float
    what: str
    segment: int = -1
    chain: int = -1
    tip: str = ""


@dataclass(frozen=True)
class Lane:
    """The bars of one device, which must not overlap. `device` decides the colour of work outside of chains."""

    name: str
    device: str
    bars: tuple[Bar, ...]


def timelines(lanes: Sequence[Lane], title: str, width: float = 1280.0) -> Scene:
    """Draw lanes below each other on one axis, with a legend."""
    end_s = max((b.end_s for lane in lanes for b in lane.bars), default=0.0)
    span = width - LEFT - RIGHT
    scale = span / end_s if end_s > 0 else 0.0
    bottom = TITLE_HEIGHT + len(lanes) * (LANE_HEIGHT + LANE_GAP)
    items: list[Item] = [Text(LEFT, 24, title, 14, bold=True)]
    for ms in ticks(end_s * 1e3):
        x = LEFT + ms / 1e3 * scale
        items.append(Rect(x, TITLE_HEIGHT - 4, 1, bottom - TITLE_HEIGHT + 6, FAINT))
        items.append(Text(x, bottom + 16, f"{ms:g}", 10, "middle"))
    items.append(Rect(LEFT, bottom + 1, span, 1, LINE))
    items.append(Text(LEFT - 10, bottom + 16, "ms", 10, "end"))
    for row, lane in enumerate(lanes):
        y = TITLE_HEIGHT + row * (LANE_HEIGHT + LANE_GAP)
        items.append(Text(LEFT - 10, y + LANE_HEIGHT / 2 + 4, lane.name, 12, "end", bold=True))
        items.extend(_bar(bar, lane, LEFT + bar.start_s * scale, y, scale) for bar in lane.bars)
    legend, height = _legend(lanes, width, bottom + AXIS_HEIGHT)
    return Scene(width, height, (*items, *legend), title)


def bar_colour(bar: Bar, device: str) -> str:
    """Colour of a bar: work has its chain's or device's colour, everything else the colour of its kind."""
    if bar.what == "work":
        return chain_colour(bar.chain) if bar.chain >= 0 else DEVICE_COLOURS.get(device, OTHER)
    return WHAT_COLOURS.get(bar.what, OTHER)


def ticks(end: float) -> list[float]:
    """Choose five to twelve round numbers from 0 to `end`."""
    if end <= 0:
        return [0.0]
    power = 10.0 ** floor(log10(end / 5))
    step = max(s for s in (power, 2 * power, 5 * power) if s <= end / 5 * (1 + 1e-9))
    return [n * step for n in range(int(end / step * (1 + 1e-9)) + 1)]


def _bar(bar: Bar, lane: Lane, x: float, y: float, scale: float) -> Group:
    wide, fill = (bar.end_s - bar.start_s) * scale, bar_colour(bar, lane.device)
    items: list[Item] = [Rect(x, y, wide, LANE_HEIGHT, fill)]
    label = str(bar.segment) if bar.segment >= 0 else ""
    if label and bar.what == "work" and wide > 8 * len(label) + 4:
        items.append(Text(x + wide / 2, y + LANE_HEIGHT / 2 + 4, label, 11, "middle", ink_on(fill)))
    where = f"segment {bar.segment}: " if bar.segment >= 0 else ""
    times = f"{bar.start_s * 1e3:.3f} to {bar.end_s * 1e3:.3f} ms, {(bar.end_s - bar.start_s) * 1e3:.3f} ms"
    tip = "\n".join(t for t in (f"{lane.name}, {where}{bar.what}", times, bar.tip) if t)
    data = (("lane", lane.name), ("what", bar.what), ("segment", bar.segment), ("colour", fill))
    return Group(tuple(items), tip, data)


def _legend(lanes: Sequence[Lane], width: float, top: float) -> tuple[list[Item], float]:
    entries: dict[str, str] = {}
    chains: dict[int, int] = {}
    for lane in lanes:
        for b in lane.bars:
            if b.what == "work" and b.chain >= 0:
                chains[b.chain] = b.segment
            elif b.what == "work":
                entries[f"{lane.device.upper()}, whole kernels"] = bar_colour(b, lane.device)
    others = {b.what: bar_colour(b, lane.device) for lane in lanes for b in lane.bars if b.what != "work"}
    entries |= {w: others[w] for w in sorted(others, key=lambda w: (*WHAT_COLOURS, w).index(w))}
    shown = sorted(chains)[:CHAINS_IN_LEGEND]
    entries |= {f"chain (segment {chains[c]})": chain_colour(c) for c in shown}
    items: list[Item] = []
    x, y = LEFT, top
    for text, fill in entries.items():
        wide = 16 + 6 + _CHARACTER * len(text) + 20
        if x + wide > width - RIGHT and x > LEFT:
            x, y = LEFT, y + LEGEND_LINE
        items += [Rect(x, y, 16, 12, fill), Text(x + 22, y + 10, text)]
        x += wide
    if len(chains) > len(shown):
        text = f"and {len(chains) - len(shown)} more chains, in the same colours repeatedly"
        items.append(Text(LEFT, (y := y + LEGEND_LINE) + 10, text, fill=INK))
    return items, y + LEGEND_LINE + 8
