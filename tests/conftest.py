"""What every test starts from: environment defaults, seeds, and the tiers by what a test needs.

A test says with a marker that it needs a TVM with LLVM (``llvm``), an OpenCL device (``opencl``), a Vulkan device
(``vulkan``), TVM's RPC over the loopback interface (``remote``), an emulator of ARM with pocl (``aarch64``), or PyTorch
and LightGBM (``predictors``). What the machine lacks is skipped, with the reason. Where nothing may be lacking, set
``TVM_COEXEC_REQUIRE=llvm,opencl,vulkan,remote,aarch64,predictors``: then the run stops at once, with the same reason.
"""

from __future__ import annotations

import gc
import importlib
import os
import random
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

# Before anything imports tvm or loads an OpenCL driver: they read these once. One thread each, and on pocl, which is an
# OpenCL device made of CPU cores, one core: results then do not depend on how busy the machine is.
DEFAULTS = {
    "TVM_NUM_THREADS": "1",
    "POCL_MAX_PTHREAD_COUNT": "1",
    "POCL_AFFINITY": "1",
    "LP_NUM_THREADS": "1",  # of lavapipe, Mesa's Vulkan device on CPU cores
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",  # of PyTorch and xgboost
    "TOPHUB_LOCATION": "NONE",
    "ORT_DISABLE_TELEMETRY": "1",
}
# TVM and pocl pin their threads to the first core: of several test processes all would share that one.
if "PYTEST_XDIST_WORKER" in os.environ:
    DEFAULTS |= {"POCL_AFFINITY": "0", "TVM_BIND_THREADS": "0"}
for _name, _value in DEFAULTS.items():
    os.environ.setdefault(_name, _value)
# Of the time that a process takes to import TVM a third is xgboost, which only some of TVM's tuners need: the processes
# that tests start do without, this one has it.
_HIDDEN = str(Path(__file__).with_name("without_xgboost"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_HIDDEN, os.environ.get("PYTHONPATH")]))

import numpy as np  # noqa: E402
import pytest  # noqa: E402


def lacks_llvm() -> str | None:
    """Return why tests that compile for the CPU cannot run."""
    try:
        tvm = importlib.import_module("tvm")
        importlib.import_module("tvm.relay")
    except ImportError as error:
        return f"no TVM with Relay: {error}"
    if tvm.get_global_func("target.build.llvm", allow_missing=True) is None:
        return "this TVM was built without LLVM"
    return None


def lacks_opencl() -> str | None:
    """Return why tests that run on an OpenCL device cannot run."""
    if (reason := lacks_llvm()) is not None:
        return reason
    importlib.import_module("tvm_coexec")  # installs the runtime
    runtime = importlib.import_module("tvm_coexec.opencl.runtime")
    if (reason := runtime.why_unavailable()) is not None:
        return f"OpenCL: {reason}"
    if not importlib.import_module("tvm").opencl(0).exist:
        return "no OpenCL device"
    return None


def lacks_vulkan() -> str | None:
    """Return why tests that run on a Vulkan device cannot run."""
    if (reason := lacks_llvm()) is not None:
        return reason
    importlib.import_module("tvm_coexec")  # installs the runtime
    return importlib.import_module("tvm_coexec.vulkan.runtime").why_unavailable()


def lacks_remote() -> str | None:
    """Return why tests that start an RPC server cannot run."""
    if (reason := lacks_llvm()) is not None:
        return reason
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), timeout=5),
        ):
            return None
    except OSError as error:
        return f"no connection over 127.0.0.1: {error}"


def lacks_aarch64() -> str | None:
    """Return why tests that run programs for arm64 in an emulator cannot run."""
    return importlib.import_module("scripts.setup_env.arm64").lacks()


def lacks_predictors() -> str | None:
    """Return why tests that fit the learned predictors cannot run."""
    return importlib.import_module("scripts.setup_env.predictors").lacks()


NEEDS: dict[str, Callable[[], str | None]] = {
    "llvm": lacks_llvm,
    "opencl": lacks_opencl,
    "vulkan": lacks_vulkan,
    "remote": lacks_remote,
    "aarch64": lacks_aarch64,
    "predictors": lacks_predictors,
}


def look_for_cycles_rarely() -> None:
    """Let the collector of reference cycles skip what the imports made, and wait for more new objects than by default.

    TVM's imports leave hundreds of thousands of objects. Going through them again and again takes a tenth of the time
    of the tests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def interrupts() -> Iterator[None]:
    """SIGINT raises `KeyboardInterrupt`, as in a program; processes that run tests in parallel ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# The last test of the rules names those that no test tried; the learned models are fitted once for all their files.
WHOLE_FOLDERS = ("tests/relay_passes/rules/", "tests/cost_models/models/")


def scope_of(nodeid: str) -> str:
    """Return what one process runs as a whole: a file, or one of `WHOLE_FOLDERS`."""
    return next((folder for folder in WHOLE_FOLDERS if nodeid.startswith(folder)), nodeid.split("::", 1)[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what the machine cannot run, and put files with many slow tests first.

    A need is looked at only if a selected test has it. Processes finish soonest if the longest files start first.
    """
    slow = Counter(scope_of(item.nodeid) for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[scope_of(item.nodeid)])
    required = {name for name in os.environ.get("TVM_COEXEC_REQUIRE", "").split(",") if name}
    if unknown := required - NEEDS.keys():
        raise pytest.UsageError(f"TVM_COEXEC_REQUIRE: no need is called {', '.join(sorted(unknown))}")
    for name, lacks in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        reason = lacks() if marked or name in required else None
        if reason is not None and name in required:
            raise pytest.UsageError(f"{name} tests are required here, but: {reason}")
        if reason is not None:
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"{name}: {reason}"))
    look_for_cycles_rarely()


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Start every test from the same random numbers, in whatever order tests run."""
    random.seed(0)
    np.random.seed(0)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Give each process whole scopes, in the order of the tests."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByScope(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    config.option.loadscopereorder = False  # it would start the files with the most tests first
    return ByScope(config, log)
