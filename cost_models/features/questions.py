"""Features that decide between implementations: extents, sizes, and what tiles and waves leave over.

Libraries choose a kernel, a tile or a work-group by comparing such numbers with constants, and caches do so with sizes.
Trees of a model ask the same questions (see `models.residual_trees`).
"""

from __future__ import annotations

import numpy as np

from .terms import Parts, Term, largest_divisor, power_of_two_in, round_up
from .workload import Number

_TINY = 1e-9


def _remainder(extent: str, tile: int) -> Term:
    """What is left over by tiles, as a fraction of one."""

    def question(p: Parts) -> Number:
        value = p.w.oh * p.w.ow if extent == "place" else getattr(p.w, extent)
        part = value / tile
        return part - np.floor(part) if isinstance(part, np.ndarray) else part - part // 1

    return question


def _waste(channels: int, columns: int, rows: int) -> Term:
    """Outputs of whole work-groups of that many channels, columns and rows, over outputs."""

    def question(p: Parts) -> Number:
        w = p.w
        return _over(w.oc, channels) * _over(w.ow, columns) * _over(w.oh, rows)

    return question


def _flat_waste(channels: int, places: int) -> Term:
    """As `_waste`, for rows and columns as one axis."""

    def question(p: Parts) -> Number:
        return _over(p.w.oc, channels) * _over(p.w.oh * p.w.ow, places)

    return question


def _wave_waste(threads: int) -> Term:
    """Threads of whole waves, each with four channels, over threads."""
    return lambda p: _over(_threads(p), threads)


def _over(extent: Number, tile: int) -> Number:
    """Return an extent rounded up to tiles, over itself; 1 for an empty one."""
    return (round_up(extent, tile) + _TINY) / (extent + _TINY)


def _threads(p: Parts) -> Number:
    return round_up(p.w.oc, 4) / 4 * p.positions


def _image_alignment(p: Parts) -> Number:
    """The largest power of two that divides the bytes of one channel."""
    bytes_ = 4.0 * p.w.ih * p.w.iw
    return power_of_two_in(np.asarray(bytes_)) if isinstance(bytes_, np.ndarray) else np.gcd(round(bytes_), 4096)


QUESTIONS: dict[str, Term] = {
    "ic": lambda p: p.w.ic / p.w.groups,
    "oc": lambda p: p.w.oc,
    "oh": lambda p: p.w.oh,
    "ow": lambda p: p.w.ow,
    "kernel": lambda p: p.w.kh * p.w.kw,
    "stride": lambda p: p.w.sh * p.w.sw,
    "groups": lambda p: p.w.groups,
    "fused": lambda p: p.w.fused,
    "places": lambda p: p.positions,
    "macs": lambda p: p.macs,
    "depth": lambda p: p.depth,
    "threads": _threads,
    "in": lambda p: p.w.in_bytes,
    "out": lambda p: p.w.out_bytes,
    "weights": lambda p: p.w.weight_bytes,
    "traffic": lambda p: p.w.traffic_bytes,
    "intensity": lambda p: p.macs / (p.w.traffic_bytes + _TINY),
    "div.oc": lambda p: largest_divisor(p.w.oc, 16),
    "div.ic": lambda p: largest_divisor(p.w.ic, 16),
    "div.ow": lambda p: largest_divisor(p.w.ow, 28),
    "div.place": lambda p: largest_divisor(p.w.oh * p.w.ow, 16),
    "align": _image_alignment,
}
QUESTIONS |= {f"oc%{t}": _remainder("oc", t) for t in (4, 8, 16, 32)}
QUESTIONS |= {f"ow%{t}": _remainder("ow", t) for t in (2, 4, 7, 8)}
QUESTIONS |= {f"ic%{t}": _remainder("ic", t) for t in (4, 8, 16)}
QUESTIONS |= {"oh%4": _remainder("oh", 4), "place%8": _remainder("place", 8)}
_TILES = ((4, 2, 2), (8, 2, 2), (4, 4, 4), (4, 8, 4), (8, 16, 4), (4, 16, 8), (16, 8, 2), (16, 4, 4), (8, 32, 2))
QUESTIONS |= {f"tile{c}x{x}x{y}": _waste(c, x, y) for c, x, y in _TILES}
QUESTIONS |= {f"tile{c}x{x}": _flat_waste(c, x) for c, x in ((4, 32), (8, 64), (4, 128), (8, 256))}
QUESTIONS |= {f"wave{t}": _wave_waste(t) for t in (64, 256, 1024)}
