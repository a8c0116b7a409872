"""Linear algebra on one thread.

The matrices of a fit are so small that BLAS's threads gain nothing, and where other programs use the cores they wait
for each other: a fit that takes 0.3 s on one thread takes 1 s on two idle cores, and up to 17 s on two busy ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

P = ParamSpec("P")
R = TypeVar("R")


def on_one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function whose calls of BLAS are to use one thread each."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with threadpool_limits(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return run
