"""A progress bar for long operations."""

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
        The items to iterate over. Without them, use the bar as a context manager and call its ``update()`` after each
        step.
    what : str
        Name of the work (``"planning"``).
    unit : str
        Name of one step (``"plan"``).
    total : int, optional
        Number of steps, if `items` has no length.

    Returns
    -------
    tqdm
        An iterator over `items` that is also a context manager. It erases its line at the end.
    """
    return tqdm(items, what, total, leave=False, file=sys.stderr, unit=unit, disable=None, delay=DELAY_S)
