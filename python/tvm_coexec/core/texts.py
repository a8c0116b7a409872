"""Texts made to fit into one line, a column or a box."""

from __future__ import annotations

import re

LONGEST = 400  # characters of an error; TVM's own messages list every pass or target it knows
ELLIPSIS = "\u2026"

# "TVMError: text", "InternalError: text": where the message starts after TVM's stack trace
_MESSAGE = re.compile(r"^(?:[A-Za-z_.]*(?:Error|Exception)|error): *(.*)$")


def one_line(err: BaseException) -> str:
    """The text of an error without stack traces and line breaks."""
    text = str(err) or type(err).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [n for n, line in enumerate(lines) if _MESSAGE.match(line)]
    if starts and any(line.startswith(("Traceback", "Stack trace", "File ")) for line in lines):
        # what stands before the stack trace says what was tried, what follows it says what went wrong
        head = lines[0].split("Traceback")[0].strip()
        matched = _MESSAGE.match(lines[starts[-1]])
        assert matched is not None
        lines = [head, matched[1], *lines[starts[-1] + 1 :]] if head else [matched[1], *lines[starts[-1] + 1 :]]
    text = " ".join(line for line in lines if line).rstrip(" :")
    return text if len(text) <= LONGEST else text[: LONGEST - 4].rstrip() + " ..."


def shorten(text: str, longest: int) -> str:
    """Replace the middle of a long text by an ellipsis: names differ at their ends more often than in their middle.

    Parameters
    ----------
    text : str
    longest : int
        Characters of the result, at least 3.
    """
    if len(text) <= longest:
        return text
    kept = longest - len(ELLIPSIS)
    tail = kept // 2
    return text[: kept - tail] + ELLIPSIS + text[len(text) - tail :]


def list_some(items: list[str], most: int = 3) -> str:
    """Join the first items by commas, and count the others."""
    text = ", ".join(items[:most])
    return text if len(items) <= most else f"{text} and {len(items) - most} more"
