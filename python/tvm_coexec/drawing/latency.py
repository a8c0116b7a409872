"""The latency of a plan over the trials of tuning: expected by the profile, and measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .colours import FAINT, INK, LINE
from .scene import Curve, Group, Item, Rect, Scene, Text

_WIDTH, _HEIGHT = 640.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 24.0, 56.0, 44.0
_EXPECTED, _MEASURED = "#3f6fb5", "#c8395f"
_DOT = 4.0
_TICKS = 4


@dataclass(frozen=True)
class Measured:
    """A module that was measured.

    Attributes
    ----------
    trials : int
        After how many trials its plan and records were there.
    seconds : float
    name : str
        For its tooltip.
    """

    trials: int
    seconds: float
    name: str = ""


def draw_latency(expected: Sequence[tuple[int, float]], measured: Sequence[Measured], title: str = "") -> Scene:
    """Draw expected seconds as steps, and measured ones as dots.

    Parameters
    ----------
    expected : sequence of (int, float)
        Trials, and seconds from there on; ascending.
    measured : sequence of Measured
    title : str

    Returns
    -------
    Scene
        The vertical axis starts at 0, so that heights compare.
    """
    most = max([1, *(n for n, _ in expected), *(m.trials for m in measured)])
    top_s = max([1e-9, *(s for _, s in expected), *(m.seconds for m in measured)]) * 1.1
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(trials: float) -> float:
        return _LEFT + width * trials / most

    def y(seconds: float) -> float:
        return _TOP + height * (1.0 - seconds / top_s)

    items: list[Item] = [Rect(0.0, 0.0, _WIDTH, _HEIGHT, "#ffffff"), Text(_LEFT, 22.0, title, 14.0, bold=True)]
    for n in range(_TICKS + 1):
        seconds, trials = top_s * n / _TICKS, round(most * n / _TICKS)
        items.append(Curve(((_LEFT, y(seconds)), (_LEFT + width, y(seconds))), FAINT if n else LINE))
        items.append(Text(_LEFT - 6.0, y(seconds) + 4.0, f"{seconds * 1e3:.3g}", anchor="end"))
        items.append(Text(x(trials), _TOP + height + 16.0, str(trials), anchor="middle"))
    items.append(Text(_LEFT - 6.0, _TOP - 10.0, "ms", anchor="end"))
    items.append(Text(_LEFT + width / 2, _HEIGHT - 8.0, "trials", anchor="middle"))
    steps = [(x(n), y(s)) for n, s in expected]
    for (x0, y0), (x1, y1) in pairwise(steps):
        items.append(Curve(((x0, y0), (x1, y0)), _EXPECTED, 2.0))
        items.append(Curve(((x1, y0), (x1, y1)), _EXPECTED, 2.0))
    if len(steps) == 1 and most > 0:
        items.append(Curve((steps[0], (_LEFT + width, steps[0][1])), _EXPECTED, 2.0))
    for m in measured:
        dot = Rect(x(m.trials) - _DOT, y(m.seconds) - _DOT, 2 * _DOT, 2 * _DOT, _MEASURED)
        data = (("trials", m.trials), ("ms", f"{m.seconds * 1e3:.3f}"))
        items.append(Group((dot,), f"{m.name}: {m.seconds * 1e3:.3f} ms measured", data))
    for number, (name, colour) in enumerate((("expected", _EXPECTED), ("measured", _MEASURED))):
        at = _LEFT + width - 160.0 + 84.0 * number
        items += [Rect(at, 30.0, 10.0, 10.0, colour), Text(at + 14.0, 39.0, name, fill=INK)]
    return Scene(_WIDTH, _HEIGHT, tuple(items), title or "latency over trials")
