"""Libraries that are timed together, so that a quiet moment serves all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from .device_worker import DeviceWorker
from .protocol import BATCH, Timed, TimeRequest
from .worker import ChildError

T = TypeVar("T")


def split_into_batches(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield lists of as many items as are timed together."""
    left = iter(items)
    while batch := list(islice(left, BATCH)):
        yield batch


def time_each(
    worker: DeviceWorker,
    requests: Sequence[TimeRequest],
    timeout_s: float,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Timed | ChildError]:
    """Time a batch of libraries, or, if that ends the process, each for itself.

    Parameters
    ----------
    worker : DeviceWorker
    requests : sequence of TimeRequest
        At least one.
    timeout_s : float
        Of the batch, and of each library, without waiting for quiet moments.
    check : callable
        Called after the process has failed; what it raises ends the timing.

    Yields
    ------
    Timed or ChildError
        In the order of the requests.
    """
    batches = [list(requests)]
    while batches:
        batch = batches.pop()
        try:
            answers = worker.time_batch(batch, timeout_s) if len(batch) > 1 else [worker.time(batch[0], timeout_s)]
        except ChildError as err:
            check()
            if len(batch) == 1:
                yield err
            else:  # which of them was it?
                batches.extend([request] for request in reversed(batch))
        else:
            yield from answers
