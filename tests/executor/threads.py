"""Run a function in several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

N_THREADS = 4


def in_threads(work: Callable[[int], None], n: int = N_THREADS) -> None:
    """Run work(0), work(1), ... at once and raise the first error."""
    errors: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as err:
            errors.append(err)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
