"""Run an exported module from Python, from the C++ example and on a stock RPC server, in turns."""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import _modules

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tvm_coexec.testbed import TestBed

ROOT = Path(__file__).resolve().parents[1]
RUNS, ROUNDS, CREATIONS = 30, 3, 9


def measure(net: _modules.Network, bed: TestBed, profile: str, program: Path, pin: Callable[[], None]) -> dict:
    """Milliseconds of a network's co-executed module, by who runs it, and whether all give the same bits.

    Parameters
    ----------
    net : Network
    bed : TestBed
        Its second core is for the CPU's share, here and in the other processes.
    profile : str
        Costs for planning.
    program : Path
        The C++ example.
    pin : callable
        Pins this process's thread.
    """
    import tvm

    import tvm_coexec

    lib = tvm_coexec.build(net.mod, net.params, profile=profile)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/net.so"
        lib.export_library(path)
        loaded = tvm.runtime.load_module(path)
        beyond_ms = _create_beyond_ms(loaded)
        here = tvm_coexec.create(loaded)
        want = _run(here, net.inputs)
        pin()
        with _served(path, bed) as (there, session):
            outputs = {"rpc": _run(there, net.inputs)}
            before = _counts(session)
            timer = there.module.time_evaluator("run", session.cpu(0), number=1, repeat=RUNS)
            ms: dict[str, list[float]] = {"python": [], "c++": [], "rpc": []}
            for _ in range(ROUNDS):
                ms["python"].append(statistics.median(_time(here.run) for _ in range(RUNS)) * 1e3)
                took, outputs["c++"] = _run_program(program, path, net, folder, bed)
                ms["c++"].append(took)
                ms["rpc"].append(statistics.median(timer().results) * 1e3)
            copied = sum(_counts(session)) - sum(before)
    best = {who: min(times) for who, times in ms.items()}
    return {
        "network": net.name,
        "python_ms": best["python"],
        "c++_ms": best["c++"],
        "rpc_ms": best["rpc"],
        "c++_off_%": 100 * (best["c++"] / best["python"] - 1),
        "rpc_off_%": 100 * (best["rpc"] / best["python"] - 1),
        "equal_bits": all(np.array_equal(got.ravel(), want.ravel()) for got in outputs.values()),
        "copies_in_rpc_runs": copied,
        "create_beyond_ms": beyond_ms,
    }


def _create_beyond_ms(lib: Any) -> float:
    """Milliseconds that `create` takes beyond TVM's own executor, by the shortest of several in turns."""
    import tvm
    from tvm.contrib import graph_executor

    import tvm_coexec

    makers = (
        lambda: graph_executor.GraphModule(lib["default"](tvm.cpu(), tvm.opencl())),
        lambda: tvm_coexec.create(lib),
    )
    stock_s, ours_s = (min(t) for t in zip(*(map(_time, makers) for _ in range(CREATIONS)), strict=True))
    return (ours_s - stock_s) * 1e3


def build_program(folder: str) -> Path:
    """Build the C++ example."""
    import tvm

    full = Path(tvm._ffi.base._LIB._name)
    library = next(p for p in (full.with_name("libtvm_runtime.so"), full) if p.exists())
    for command in (["-S", ROOT / "examples/cpp", "-B", folder, f"-DTVM_RUNTIME={library}"], ["--build", folder]):
        subprocess.run(["cmake", *map(str, command)], check=True, capture_output=True)
    return Path(folder) / "run_model"


def _time(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _run(module: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    module.set_input(**inputs)
    module.run()
    return module.get_output(0).numpy()


def _environment() -> dict[str, str]:
    """As in this process, but TVM must not pin its thread to pocl's core; and the libraries that libtvm needs."""
    stubs = Path(sys.prefix) / "share/tvm-coexec/cuda_stubs"
    paths = os.pathsep.join(p for p in (str(stubs), os.environ.get("LD_LIBRARY_PATH", "")) if p)
    return {**os.environ, "TVM_BIND_THREADS": "0", "LD_LIBRARY_PATH": paths}


def _pinned(bed: TestBed) -> list[str]:
    return ["taskset", "-c", str(bed.cores[1])] if bed.pocl and len(bed.cores) > 1 else []


def _run_program(
    program: Path, path: str, net: _modules.Network, folder: str, bed: TestBed
) -> tuple[float, np.ndarray]:
    """Milliseconds and the output of the C++ example."""
    files = []
    for number, value in enumerate(net.inputs.values()):
        value.tofile(f"{folder}/x{number}.bin")
        files += ["--input", f"{folder}/x{number}.bin"]
    command = [*_pinned(bed), str(program), path, *files, "--runs", str(RUNS), "--output", f"{folder}/y.bin"]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=True)
    found = re.search(r"([\d.]+) ms, the median", done.stdout)
    assert found is not None, done.stdout
    return float(found[1]), np.fromfile(f"{folder}/y.bin", "float32")


@contextmanager
def _served(path: str, bed: TestBed) -> Iterator[tuple[Any, Any]]:
    """The module on a stock RPC server, to which this package's runtime is uploaded; and the session."""
    import tvm_coexec
    from tvm_coexec import remote

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*_pinned(bed), sys.executable, "-m", "tvm.exec.rpc_server", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--port-end", str(port + 1)],
        env=_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        session = _connect(remote.connect, f"127.0.0.1:{port}")
        session.upload(path)
        module = tvm_coexec.create(session.load_module(os.path.basename(path)), [session.cpu(), session.cl()])
        yield module, session
        remote.close(session)
    finally:
        server.terminate()
        server.wait()


def _connect(connect: Callable[..., Any], address: str) -> Any:
    from tvm_coexec import CoExecError

    for _ in range(60):
        try:
            return connect(address, upload=True)
        except CoExecError as err:  # the server is starting
            last = err
            time.sleep(0.5)
    raise last


def _counts(session: Any) -> tuple[int, int]:
    """Uploads and downloads so far."""
    import json

    stats = json.loads(session.get_function("tvm_coexec.opencl.stats")())
    return stats["uploads"], stats["downloads"]
