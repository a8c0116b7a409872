"""What programs log, and where."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PACKAGE = "tvm_coexec"
PROGRESS = f"{PACKAGE}.progress"


@contextmanager
def log_levels(levels: Mapping[str, int]) -> Iterator[None]:
    """Give loggers other levels, and their own ones again at the end.

    Parameters
    ----------
    levels : mapping of str to int
        By names of loggers.
    """
    before = {name: logging.getLogger(name).level for name in levels}
    try:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def log_to_stderr(form: str, levels: Mapping[str, int] | None = None) -> Iterator[None]:
    """Log to standard error, since standard output is for results, and log the progress of long work.

    For the programs of this package.

    Parameters
    ----------
    form : str
        Of a line, as in `logging.Formatter`.
    levels : mapping of str to int, optional
        By names of loggers: see `log_levels`.
    """
    logger = logging.getLogger(PACKAGE)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(form))
    propagates = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        # the package's own level is named since commands set it, too
        with log_levels({PACKAGE: logger.level, PROGRESS: logging.INFO, **(levels or {})}):
            yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
