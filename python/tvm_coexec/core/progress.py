"""Progress of long operations: a bar on a terminal, lines of a log elsewhere."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

from .logs import PROGRESS

T = TypeVar("T")

DELAY_S = 2.0  # shorter work needs no bar
LINE_S = 30.0  # between lines in the log

logger = logging.getLogger(PROGRESS)


class _Log:
    """A file whose lines are logged."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            logger.info("%s", line)

    def flush(self) -> None:
        pass


def progress(
    items: Iterable[T] | None = None, what: str = "", unit: str = "step", total: int | None = None, done: int = 0
) -> tqdm[Any]:
    """Show how far long work is.

    On a terminal a bar on standard error appears once the work has taken `DELAY_S` seconds. Elsewhere a line is logged
    by ``tvm_coexec.progress`` every `LINE_S` seconds, at the level INFO.

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
    done : int
        Number of steps that were done before.

    Returns
    -------
    tqdm
        An iterator over `items` that is also a context manager. It erases its line at the end.
    """
    options: dict[str, Any] = {"leave": False, "unit": unit, "initial": done}
    if sys.stderr.isatty() or not logger.isEnabledFor(logging.INFO):
        return tqdm(items, what, total, file=sys.stderr, disable=None, delay=DELAY_S, **options)
    options |= {"mininterval": LINE_S, "maxinterval": LINE_S, "miniters": 1, "delay": LINE_S}
    return tqdm(items, what, total, file=_Log(), bar_format="{desc}: {n_fmt}/{total_fmt} {unit}s, {elapsed}", **options)
