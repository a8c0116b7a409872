"""Numbers as characters: the form in which models of a few kilobytes keep them in JSON."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Printable ASCII that JSON doesn't escape.
ALPHABET = "".join(chr(c) for c in range(33, 127) if chr(c) not in '"\\')
BASE = len(ALPHABET)
_AT = {c: i for i, c in enumerate(ALPHABET)}
_SMALLEST = 1e-18  # seconds per unit of a term
_STEP = np.log(1e20) / BASE**2  # two characters are a logarithm: 20 decades in steps of 0.5 %


def pack_digits(values: Sequence[int]) -> str:
    """Return one character for each integer from 0 to `BASE` - 1."""
    return "".join(ALPHABET[v] for v in values)


def unpack_digits(text: str) -> list[int]:
    """Return the integers of `pack_digits`; `ValueError` for another character."""
    try:
        return [_AT[c] for c in text]
    except KeyError as err:
        raise ValueError(f"unknown character {err.args[0]!r}") from None


def index_width(count: int) -> int:
    """Return the number of characters by which one of `count` things is named."""
    return 1 if count <= BASE else 2


def pack_index(index: int, count: int) -> str:
    """Return the characters of an index below `count`."""
    return pack_digits(divmod(index, BASE) if index_width(count) == 2 else [index])


def unpack_index(text: str) -> int:
    """Return the index of `pack_index`."""
    return int(np.polyval(unpack_digits(text), BASE))


def round_packed(values: np.ndarray) -> list[float]:
    """Round positive numbers to those that two characters can be, at most 0.3 % away; others become 0.

    Numbers below 1e-18 become 0, which no clock can tell from them.
    """
    return [_unpack_level(level) if (level := _level(v)) else 0.0 for v in values]


def pack_number(value: float) -> str:
    """Return the two characters of a number of `round_packed`."""
    high, low = divmod(_level(value), BASE)
    return ALPHABET[high] + ALPHABET[low]


def unpack_number(text: str) -> float:
    """Return the number of `pack_number`."""
    high, low = unpack_digits(text)
    return _unpack_level(high * BASE + low)


def _level(value: float) -> int:
    if not value > _SMALLEST:
        return 0
    return min(BASE**2 - 1, round(float(np.log(value / _SMALLEST)) / _STEP))


def _unpack_level(level: int) -> float:
    return float(f"{_SMALLEST * np.exp(level * _STEP):.6e}") if level else 0.0
