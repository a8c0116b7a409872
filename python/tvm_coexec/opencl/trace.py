"""Times of kernels, and traces of calls, kernels, copies and waits."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .load import call

if TYPE_CHECKING:
    import tvm

_log = logging.getLogger("tvm_coexec")


@dataclass(frozen=True)
class KernelTime:
    """Times of one launch of a kernel, in seconds of the device's own clock.

    Attributes
    ----------
    name : str
    device : int
        ``tvm.opencl(device)``.
    queued_s, start_s, end_s : float
        When the launch was enqueued, and when the kernel started and ended.
    """

    name: str
    device: int
    queued_s: float
    start_s: float
    end_s: float

    @property
    def elapsed_s(self) -> float:
        """Seconds that the kernel ran."""
        return self.end_s - self.start_s


def set_profiling(on: bool) -> None:
    """Switch the timing of individual kernels on or off, on all devices. Call it while nothing runs.

    Parameters
    ----------
    on : bool
    """
    call("set_profiling", int(on))


def kernel_times() -> list[KernelTime]:
    """Return the times of all kernels launched since `set_profiling` or the last call, in order of launch.

    Waits for kernels that still run. At most 100000 launches are kept; older ones are dropped, which the log warns of.

    Returns
    -------
    list of KernelTime
    """
    taken = json.loads(call("kernel_times"))
    if taken["dropped"]:
        _log.warning("kernel_times: the %d oldest launches were dropped", taken["dropped"])
    return [
        KernelTime(k["name"], k["device"], k["queued_ns"] * 1e-9, k["start_ns"] * 1e-9, k["end_ns"] * 1e-9)
        for k in taken["kernels"]
    ]


def trace_module(module: tvm.runtime.Module, functions: Sequence[str]) -> tvm.runtime.Module:
    """Return a module with the functions of another one, whose calls are recorded while a trace is being recorded.

    Parameters
    ----------
    module : Module
        Compiled functions, its imports included.
    functions : sequence of str
        Names in the order in which an executor looks them up: calls of the k-th are recorded as node ``k``.

    Returns
    -------
    Module
    """
    return call("trace_module", module, "\n".join(functions))


def trace_start(one_at_a_time: bool = False) -> None:
    """Start recording calls, kernels, copies and waits, by the clock of `time.monotonic_ns`.

    Call it while nothing runs. It measures the devices' clocks and switches profiling on; times that `kernel_times` has
    not returned yet are lost.

    Parameters
    ----------
    one_at_a_time : bool
        While the recording lasts, the host waits for each kernel and copy where it launches it, so that the devices
        never work at the same time. Results are the same.
    """
    call("trace_start", int(one_at_a_time))


def trace_take() -> dict[str, Any]:
    """Stop recording, restore the state of profiling, and return the record.

    Returns
    -------
    dict
        As `tracing.spans.parse_spans` reads it.
    """
    return json.loads(call("trace_take"))
