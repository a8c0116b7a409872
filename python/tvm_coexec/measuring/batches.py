"""Libraries that are timed together, so that a quiet moment serves all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


def time_each(worker: DeviceWorker, requests: Sequence[TimeRequest], timeout_s: float) -> list[Timed | ChildError]:
    """Time a batch of libraries, or, if that ends the process, each for itself.

    Parameters
    ----------
    worker : DeviceWorker
    requests : sequence of TimeRequest
    timeout_s : float
        Of the batch, and of each library, without waiting for quiet moments.

    Returns
    -------
    list of Timed or ChildError
        In the order of the requests.
    """
    if len(requests) > 1:
        try:
            return worker.time_batch(requests, timeout_s)
        except ChildError:  # one of them crashes or hangs: which one?
            pass
    results: list[Timed | ChildError] = []
    for request in requests:
        try:
            results.append(worker.time(request, timeout_s))
        except ChildError as err:
            results.append(err)
    return results
