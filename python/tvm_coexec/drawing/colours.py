"""Colours of devices, chains, and what happens on a timeline."""

from __future__ import annotations

DEVICE_COLOURS = {"cpu": "#a6c8ea", "gpu": "#fdc58a"}
# Not blue or orange, which stand for devices; consecutive colours differ clearly.
CHAIN_COLOURS = (
    "#3f9b4f", "#c8395f", "#7a5ab5", "#b8a11c", "#1f9aa0", "#a8653a", "#dd6fc0", "#6d8f1f", "#8c2f39", "#4a4fbf",
)  # fmt: skip
WHAT_COLOURS = {
    "upload": "#4d4d4d", "download": "#8a8a8a", "elided copy": "#b5c7b5", "device copy": "#6b7f94", "slice": "#c9b79c",
    "join": "#111111", "wait": "#f3e9c6", "enqueue": "#d9d9d9",
}  # fmt: skip
OTHER, INK, LINE, FAINT = "#d9d9d9", "#222222", "#9a9a9a", "#e4e4e4"


def chain_colour(chain: int) -> str:
    """Colour of a chain by its number, from 0; the ten colours repeat."""
    return CHAIN_COLOURS[chain % len(CHAIN_COLOURS)]


def mix(one: str, other: str, fraction: float) -> str:
    """Mix two colours; `fraction` (0 to 1) is the weight of `one`."""
    pairs = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(fraction * a + (1 - fraction) * b):02x}" for a, b in pairs)


def ink_on(fill: str) -> str:
    """Choose black or white text for a background colour, by its luma (ITU-R BT.601)."""
    red, green, blue = (int(fill[i : i + 2], 16) for i in (1, 3, 5))
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"
