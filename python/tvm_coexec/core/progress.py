"""A progress bar for work that takes long."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

DELAY_S = 2.0  # shorter work needs no bar


def progress(
    items: Iterable[T] | None = None, what: str = "", unit: str = "step", total: int | None = None
) -> tqdm[Any]:
    """Show a progress bar on standard error, on a terminal only, once the work has taken `DELAY_S` seconds.

    Parameters
    ----------
    items : iterable, optional
        What to iterate over. Without it, call ``update()`` of the bar after each step, and use it as a context manager.
    what : str
        What is being done (``"planning"``).
    unit : str
        What one step is (``"plan"``).
    total : int, optional
        Number of steps, where `items` does not have a length.

    Returns
    -------
    tqdm
        An iterator over `items` that is also a context manager. It leaves no line on the screen.
    """
    return tqdm(items, what, total, leave=False, file=sys.stderr, unit=unit, disable=None, delay=DELAY_S)
