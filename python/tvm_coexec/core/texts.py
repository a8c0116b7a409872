"""Shortening texts to fit into a line, a column or a box."""

from __future__ import annotations

ELLIPSIS = "\u2026"


def shorten(text: str, longest: int) -> str:
    """Replace the middle of a long text by an ellipsis, because names differ most at their ends.

    Parameters
    ----------
    text : str
    longest : int
        Maximum number of characters of the result, at least 3.
    """
    if len(text) <= longest:
        return text
    kept = longest - len(ELLIPSIS)
    tail = kept // 2
    return text[: kept - tail] + ELLIPSIS + text[len(text) - tail :]


def list_some(items: list[str], most: int = 3) -> str:
    """Join the first items with commas, and count the others."""
    text = ", ".join(items[:most])
    return text if len(items) <= most else f"{text} and {len(items) - most} more"
