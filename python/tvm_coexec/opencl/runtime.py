"""Find and load the OpenCL runtime (``runtime/``) for a TVM that was built without one, and ask it about itself.

Nothing here needs OpenCL to be installed: `install` registers the runtime, and the first use of a device opens the
drivers. Environment variables (all optional; read when the drivers are opened):

=================================  ====================================================================================
``TVM_COEXEC_OPENCL_DEVICES``      which devices, in which order: a comma list of ``all``, ``gpu``, ``cpu``,
                                   ``accelerator``, ``P:D`` (platform and device index as in clinfo), or a part of a
                                   platform's or device's name; default ``all``: GPUs, then accelerators, then CPUs
``TVM_COEXEC_OPENCL_MEMORY``       ``buffer``, ``coarse``, ``fine`` (shared virtual memory) or ``hostptr``; default
                                   ``auto``: the cheapest sharing that the device has, ``buffer`` on discrete GPUs
``TVM_COEXEC_OPENCL_WAIT``         ``event``, ``poll`` or ``flag``: how the host waits for a kernel in shared memory;
                                   default ``auto``: the quickest, measured once in each process
``TVM_COEXEC_OPENCL_BUILD_OPTIONS``  options for the OpenCL compiler, such as ``-cl-fast-relaxed-math``
``TVM_COEXEC_OPENCL_PROFILE``      ``1``: profiling queues from the start, see `kernel_times`
``TVM_COEXEC_OPENCL_STAGING_MB``   host memory for uploads that wait for the device; default 256
``TVM_COEXEC_CACHE_DIR``           folder for kernel binaries; default ``~/.cache/tvm_coexec`` (``XDG_CACHE_HOME`` is
                                   respected), where pocl is left to its own cache; ``off``: no cache
``TVM_COEXEC_LIBOPENCL``           the OpenCL library, if it is not where such libraries are
``TVM_COEXEC_OPENCL_FAULTS``       for tests: what shall go wrong, as in ``launch:3,delay:500:7``; see `inject_fault`
=================================  ====================================================================================
"""

from __future__ import annotations

import ctypes
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvm_coexec import hooks
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.texts import one_line

if TYPE_CHECKING:
    import tvm

LIBRARY_NAME = "libtvm_coexec_runtime.so"

_log = logging.getLogger("tvm_coexec")


@dataclass(frozen=True)
class DeviceInfo:
    """One OpenCL device as TVM sees it.

    Attributes
    ----------
    id : int
        ``tvm.opencl(id)``.
    platform, name, version, driver : str
        What its driver says.
    type : str
        ``gpu``, ``accelerator``, ``cpu`` or ``custom``.
    memory_mode : str
        ``buffer``, ``coarse``, ``fine`` or ``hostptr``; ``unsupported`` if the user asked for one that the device
        lacks; ``stock`` under TVM's own OpenCL runtime.
    compute_units : int
    global_bytes : int
    unified : bool
        Whether device and host share memory.
    fp16, fp64 : bool
        Whether kernels may use these types.
    """

    id: int
    platform: str
    name: str
    version: str
    driver: str
    type: str
    memory_mode: str
    compute_units: int
    global_bytes: int
    unified: bool
    fp16: bool
    fp64: bool


@dataclass(frozen=True)
class KernelTime:
    """When one launch of a kernel was enqueued, began and ended, in seconds of the device's own clock."""

    name: str
    device: int
    queued_s: float
    start_s: float
    end_s: float

    @property
    def elapsed_s(self) -> float:
        """Time that the kernel ran."""
        return self.end_s - self.start_s


@dataclass
class _State:
    loaded: bool = False
    ours: bool = False  # our runtime is the registered one, not TVM's
    error: str | None = None
    library: ctypes.CDLL | None = None


_state = _State()


def library_path() -> Path:
    """Return where the runtime's library is (or should be)."""
    return Path(__file__).resolve().parents[1] / "lib" / LIBRARY_NAME


def install() -> bool:
    """Register the OpenCL runtime with the imported TVM, unless that has one of its own. Idempotent, never raises.

    Returns
    -------
    bool
        Whether ``device_api.opencl`` is registered now. Whether there is a device is another question: see
        `why_unavailable`.
    """
    if not _state.loaded:
        _state.loaded = True
        _state.error = _register()
        if _state.error is not None:
            _log.debug("OpenCL runtime not registered: %s", _state.error)
    return _state.error is None


def _ensure() -> bool:
    """Install on first use, unless the hook is switched off."""
    if not _state.loaded and not hooks.enabled("opencl"):
        _state.error = f"the hook 'opencl' is switched off by {hooks.VARIABLE}"
        return False
    return install()


def _register() -> str | None:
    try:
        import tvm
    except ImportError as err:
        return f"tvm cannot be imported ({err})"
    if tvm.get_global_func("device_api.opencl", allow_missing=True) is not None:
        # Registered by TVM itself, or by us if this module was loaded a second time.
        _state.ours = tvm.get_global_func("tvm_coexec.opencl.stats", allow_missing=True) is not None
        return None
    path = library_path()
    if not path.exists():
        return f"the OpenCL runtime's library is missing ({path}): build it with `pip install .` or `make setup`"
    try:
        _make_tvm_symbols_global()
        library = ctypes.CDLL(str(path))
    except OSError as err:
        return f"the OpenCL runtime's library cannot be loaded: {err}"
    library.tvm_coexec_runtime_register.restype = ctypes.c_char_p
    reason = library.tvm_coexec_runtime_register()
    _state.library = library
    _state.ours = reason is None
    return None if reason is None else reason.decode()


def _make_tvm_symbols_global() -> None:
    """Make libtvm's symbols visible to libraries that are loaded later, however tvm itself was loaded."""
    from tvm._ffi.base import _LIB

    if name := getattr(_LIB, "_name", None):
        ctypes.CDLL(name, ctypes.RTLD_GLOBAL)


def why_unavailable() -> str | None:
    """Return in one sentence why TVM cannot use an OpenCL device here, or None if it can.

    Opens the OpenCL drivers if that has not been done yet.
    """
    if not _ensure():
        return _state.error
    if _state.ours:
        return _call("why_unavailable") or None
    import tvm

    return None if tvm.opencl(0).exist else "TVM's own OpenCL runtime finds no device"


def is_ours() -> bool:
    """Return whether the OpenCL runtime in use is ours, not TVM's own; also where it finds no device."""
    return _ensure() and _state.ours


def why_not_ours(what: str) -> str:
    """Return one sentence that says `what` is the matter where `is_ours` is false, and why."""
    return f"{what}: " + (
        _state.error or "OpenCL is TVM's own here, which records nothing; use a TVM built without OpenCL"
    )


def devices() -> list[DeviceInfo]:
    """Return the OpenCL devices that ``tvm.opencl(0)``, ``tvm.opencl(1)``, ... stand for.

    Raises
    ------
    CoExecError
        If there is none; says why.
    """
    if (reason := why_unavailable()) is not None:
        raise CoExecError(reason)
    if _state.ours:
        return [DeviceInfo(**fields) for fields in json.loads(_call("devices"))]
    return _stock_devices()


def _stock_devices() -> list[DeviceInfo]:
    import tvm

    found = []
    while (dev := tvm.opencl(len(found))).exist:
        found.append(
            DeviceInfo(
                id=len(found),
                platform="",
                name=dev.device_name,
                version=dev.compute_version,
                driver="",
                type="gpu",  # TVM's runtime takes CPUs only if there is no GPU, and does not tell
                memory_mode="stock",
                compute_units=dev.multi_processor_count,
                global_bytes=dev.total_global_memory or 0,
                unified=False,
                fp16=False,
                fp64=False,
            )
        )
    return found


def stats() -> dict[str, int]:
    """Return counters since the start or `reset_stats`: launches, copies, bytes, cache hits, memory."""
    return json.loads(_call("stats"))


def reset_stats() -> None:
    """Set all counters but those of live memory to zero."""
    _call("reset_stats")


def set_profiling(on: bool) -> None:
    """Switch the measuring of single kernels on or off, on all devices. Call it while nothing runs."""
    _call("set_profiling", int(on))


def kernel_times() -> list[KernelTime]:
    """Return the times of all kernels that were launched since profiling began or since the last call, in order.

    Waits for those that still run. Of more than 100000 launches the oldest are dropped, with a warning in the log.
    """
    taken = json.loads(_call("kernel_times"))
    if taken["dropped"]:
        _log.warning("kernel_times: the %d oldest launches were dropped", taken["dropped"])
    return [
        KernelTime(k["name"], k["device"], k["queued_ns"] * 1e-9, k["start_ns"] * 1e-9, k["end_ns"] * 1e-9)
        for k in taken["kernels"]
    ]


def trace_module(module: tvm.runtime.Module, functions: Sequence[str]) -> tvm.runtime.Module:
    """Return a module with the functions of another one, which are recorded while a trace is.

    Parameters
    ----------
    module : Module
        Compiled functions; its imports are looked through, too.
    functions : sequence of str
        The names that an executor will ask for, in that order: of what is recorded, the k-th is node ``k``.
    """
    return _call("trace_module", module, "\n".join(functions))


def trace_start() -> None:
    """Start recording calls, kernels, copies and waits, by the clock of `time.monotonic_ns`.

    Call it while nothing runs. Measures the devices' clocks and switches profiling on; what `kernel_times` has not
    given yet is lost.
    """
    _call("trace_start")


def trace_take() -> dict[str, Any]:
    """Stop recording; return what was recorded, as `tracing.spans` reads it. Profiling is put back as it was."""
    return json.loads(_call("trace_take"))


def host_view(array: tvm.nd.NDArray) -> tvm.nd.NDArray:
    """Return a CPU array over the memory of an OpenCL array (any memory mode but ``buffer``).

    Either array keeps the memory alive. Copying one onto the other moves no bytes: to the CPU it waits for the kernel
    that wrote the array, to the device it hands the CPU's changes over.
    """
    return _call("host_view", array)


def storage_view(array: tvm.nd.NDArray, offset: int, nbytes: int, on_cpu: bool) -> tvm.nd.NDArray:
    """Return some bytes (uint8) of an array's memory as an array.

    Parameters
    ----------
    array : NDArray
        On the CPU or an OpenCL device; its memory lives as long as the view.
    offset, nbytes : int
    on_cpu : bool
        Of an OpenCL array: the view is one on the CPU (any memory mode but ``buffer``).
    """
    return _call("storage_view", array, offset, nbytes, int(on_cpu))


def host_block(nbytes: int, device: int = 0) -> tvm.nd.NDArray:
    """Return host memory (uint8) that is given back when no download of the OpenCL device is under way any more."""
    return _call("host_block", nbytes, device)


def meeting_module(library: tvm.runtime.Module, launching: Iterable[str]) -> tvm.runtime.Module:
    """Return a module with the functions of the nodes that `memory.rewrite` adds to graphs, over a compiled library.

    Parameters
    ----------
    library : Module
    launching : iterable of str
        The library's functions that launch kernels: their kernels learn how large the tensors are.
    """
    return _call("meeting_module", library, " ".join(sorted(launching)))


def waiting(device: int = 0) -> dict[str, Any]:
    """Return how the host waits for a kernel in shared memory, and why.

    Returns
    -------
    dict
        ``method``: ``event`` (clWaitForEvents), ``poll`` (asking for the event's status) or ``flag`` (a number in
        fine-grained memory that a tiny kernel sets behind the one in question), as ``TVM_COEXEC_OPENCL_WAIT`` says or
        else the quickest; and for each method that works here the seconds from the launch of a kernel of about a tenth
        of a millisecond until the host had noticed its end, measured when this was first asked for.
    """
    return json.loads(_call("waiting", device))


def source_module(
    source: str, name: str, arg_types: Sequence[str], launch_tags: Sequence[str] = ("blockIdx.x", "threadIdx.x")
) -> tvm.runtime.Module:
    """Return a module with one kernel of hand-written OpenCL C.

    ``module[name]`` takes the arguments (OpenCL arrays for handles) and then one number per launch tag: the number of
    work-groups or work-items along that axis.

    Parameters
    ----------
    source : str
        OpenCL C with ``__kernel void name(...)``. Compiled at the first launch.
    name : str
    arg_types : sequence of str
        ``"handle"`` for pointers, else the type of the scalar, such as ``"int32"`` or ``"float16"``.
    launch_tags : sequence of str
        Of ``blockIdx.{x,y,z}`` and ``threadIdx.{x,y,z}``.
    """
    return _call("source_module", source, name, " ".join(arg_types), " ".join(launch_tags))


def inject_fault(what: str, nth: int = 1, count: int = 1, code: int = 0) -> None:
    """Let calls of the OpenCL driver fail, for tests of what happens then; see ``runtime/README.md``.

    Parameters
    ----------
    what : str
        ``build`` a program, ``allocate`` memory, ``launch`` a kernel, ``copy`` to, from or within the device;
        ``event``: a kernel or copy is accepted, but ends badly; ``lost``: the device is gone, and every call fails.
    nth, count : int
        The `nth` such call from now on (1 is the next) and the `count` - 1 behind it fail; -1: until `clear_faults`.
    code : int
        The OpenCL error; 0: the one that is usual there.
    """
    _call("inject_fault", what, nth, count, code)


def inject_delays(limit_us: int, seed: int = 0) -> None:
    """Hold up a quarter of all calls, and of all commands on the device, by up to so many microseconds, for tests."""
    _call("inject_fault", "delay", limit_us, seed)


def clear_faults() -> None:
    """Let nothing fail or wait any longer."""
    _call("clear_faults")


def fault_hits(what: str) -> int:
    """Return how many calls have failed that way since the start (of ``delay``: how many were held up)."""
    return _call("fault_hits", what)


def _call(name: str, *args: Any) -> Any:
    """Call a global function of our runtime; errors become a CoExecError of one sentence."""
    import tvm

    if not _ensure():
        raise CoExecError(_state.error)
    if not _state.ours:
        raise CoExecError(f"tvm_coexec.opencl.runtime.{name} is not available with TVM's own OpenCL runtime")
    function: Callable[..., Any] = tvm.get_global_func(f"tvm_coexec.opencl.{name}")
    try:
        return function(*args)
    except tvm.TVMError as err:
        raise CoExecError(one_line(err)) from err
