"""Measure copies between the devices, synchronisation and launch overhead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tvm import relay
from tvm.target import Target

from tvm_coexec.pass_context import deployment_context

from . import links
from .compile import Built, compile_for
from .device_worker import DeviceWorker
from .protocol import CopyRequest, EnqueueRequest, RoundTripRequest, TimeRequest

LINK_S = 120
LINK_REPEATS = 100


@dataclass(frozen=True)
class LinkTimes:
    """Measured links.

    Attributes
    ----------
    copies : tuple of dict
        ``link``, ``bytes`` and ``seconds``, as in the records of a dataset.
    round_trip_s : float
        Seconds of a small tensor to an idle GPU, through a kernel, and back, by copies, without the kernel's own time.
    unified : dict or None
        The same in memory that both devices address (see `measure_round_trip`); `None` if they have none.
    enqueue_s : float
        Launch overhead in seconds.
    """

    copies: tuple[dict[str, Any], ...]
    round_trip_s: float
    unified: dict[str, Any] | None
    enqueue_s: float


def measure_blocking_copies(
    worker: DeviceWorker, cpu: Target, gpu: Target, export: Callable[[Any, str], Built]
) -> tuple[dict[str, Any], ...]:
    """Measure copies between the devices as TVM's own OpenCL runtime makes them.

    Parameters
    ----------
    worker : DeviceWorker
        Of `device_worker.blocking`.
    cpu, gpu : Target
    export : callable
        See `measure_links`.

    Returns
    -------
    tuple of dict
        See `LinkTimes.copies`.
    """
    found = []
    for link, nbytes, _, mod in links.link_modules(gpu.get_target_device_type()):
        if link in ("upload", "download"):
            with deployment_context(instruments=False):
                built = export(relay.build(mod, target=[cpu, gpu]), "both")
            found.append({"link": link, "bytes": nbytes, "seconds": worker.call(CopyRequest(built), LINK_S)})
    return tuple(found)


def measure_links(
    worker: DeviceWorker,
    cpu: Target,
    gpu: Target,
    export: Callable[[Any, str], Built],
    time_kernel: Callable[[Built], float],
) -> LinkTimes:
    """Measure the links between two devices.

    Parameters
    ----------
    worker : DeviceWorker
    cpu, gpu : Target
    export : callable
        Writes a compiled library for a device, or ``both``, to a file that the worker can read.
    time_kernel : callable
        Returns the seconds of a kernel.

    Raises
    ------
    ChildError
        If measuring fails.
    """
    seconds: dict[tuple[str, int], float] = {}
    for link, nbytes, number, mod in links.link_modules(gpu.get_target_device_type()):
        with deployment_context(instruments=False):
            built = export(relay.build(mod, target=[cpu, gpu]), "both")
        if link == "meeting":
            round_trip_s = worker.call(CopyRequest(built), LINK_S)
            unified = worker.call(RoundTripRequest(built), LINK_S)
            continue
        # One run at a time: a copy is timed from an idle device until the data has arrived.
        seconds[link, nbytes] = worker.time(TimeRequest(built, LINK_REPEATS, 0), LINK_S).best_s / number
    kernel = export(compile_for(links.small_module(), gpu, cpu), "gpu")
    round_trip_s -= time_kernel(kernel)
    enqueue_s = worker.call(EnqueueRequest(kernel), LINK_S)
    copies = tuple({"link": link, "bytes": n, "seconds": max(1e-9, s)} for (link, n), s in seconds.items())
    return LinkTimes(copies, max(0.0, round_trip_s), unified, enqueue_s)
