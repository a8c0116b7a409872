"""Colours of devices, chains, and what happens on a timeline."""

from __future__ import annotations

DEVICE_COLOURS = {"cpu": "#a6c8ea", "gpu": "#fdc58a"}
# Neither blue nor orange, which stand for devices; neighbours differ much.
CHAIN_COLOURS = (
    "#3f9b4f", "#c8395f", "#7a5ab5", "#b8a11c", "#1f9aa0", "#a8653a", "#dd6fc0", "#6d8f1f", "#8c2f39", "#4a4fbf",
)  # fmt: skip
WHAT_COLOURS = {
    "upload": "#4d4d4d", "download": "#8a8a8a", "hand-over": "#b5c7b5", "device copy": "#6b7f94", "slice": "#c9b79c",
    "join": "#111111", "wait": "#f3e9c6", "enqueue": "#d9d9d9",
}  # fmt: skip
OTHER, INK, LINE, FAINT = "#d9d9d9", "#222222", "#9a9a9a", "#e4e4e4"


def chain_colour(chain: int) -> str:
    """Colour of the chain of that number, from 0; after ten they come again."""
    return CHAIN_COLOURS[chain % len(CHAIN_COLOURS)]


def mixed(one: str, other: str, part: float) -> str:
    """A colour with that part of `one`, the rest of `other`."""
    pairs = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(part * a + (1 - part) * b):02x}" for a, b in pairs)


def ink_on(fill: str) -> str:
    """Black or white, whichever can be read on a colour (by its luma, ITU-R BT.601)."""
    red, green, blue = (int(fill[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"
