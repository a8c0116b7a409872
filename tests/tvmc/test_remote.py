"""A module for two devices over RPC: a tracker and a server on the loopback interface."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

from tests.tvmc.nets import relative_error

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.remote]

PATIENCE_S = 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="module")
def tracker() -> Iterator[str]:
    from tvm.rpc.tracker import Tracker

    port = free_port()
    tracker = Tracker("127.0.0.1", port=port, port_end=port + 100, silent=True)
    try:
        yield f"127.0.0.1:{tracker.port}"
    finally:
        tracker.terminate()


@contextmanager
def server(module: str, tracker: str, key: str, *options: str) -> Iterator[subprocess.Popen]:
    """A server process; yields it when the tracker knows it."""
    port = free_port()
    command = [sys.executable, "-m", module, "--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 100)]
    process = subprocess.Popen(
        [*command, "--tracker", tracker, "--key", key, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for_key(tracker, key, process)
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        process.wait(PATIENCE_S)
        for child in children:  # TVM's own server leaves them
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def wait_for_key(tracker: str, key: str, process: subprocess.Popen) -> None:
    from tvm import rpc

    host, port = tracker.split(":")
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        if re.search(rf"^{key} +1 +1 ", rpc.connect_tracker(host, int(port)).text_summary(), re.M):
            return
        time.sleep(0.2)
    raise AssertionError(f"the server did not register within {PATIENCE_S} s")


@pytest.mark.parametrize("options", [[], ["--no-fork"]], ids=["fork", "spawn"])
def test_two_devices_of_a_server(tvmc, package, image_file, expected, tracker, options):
    key = "both" + "".join(options).replace("-", "")
    with server("tvm_coexec.rpc_server", tracker, key, *options) as process:
        remote = ["--rpc-tracker", tracker, "--rpc-key", key]
        done = tvmc("run", package, *remote, "-i", image_file, "-o", "answer.npz", "--print-time", "--repeat", "2")
        assert done.code == 0, done.err
        assert "Execution time summary" in done.out
        assert relative_error(np.load("answer.npz")["output_0"], expected) < 1e-4
        done = tvmc("run", package, *remote, "--device", "cpu,cl", "--profile")
        assert done.code == 0 and "opencl0" in done.out and "is not recorded" not in done.err, done.err
        assert "the median of 10 runs" in done.out
        done = tvmc("run", package, *remote, "--device", "cpu")
        assert done.code == 4 and "--device names only cpu" in done.err
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
        _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
        assert not alive


def test_servers_that_are_not_there(fails, package, tracker, monkeypatch):
    monkeypatch.delenv("TVM_TRACKER_HOST", raising=False)
    run = ["run", "-o", "answer.npz", package]
    fails(["--rpc-key needs --rpc-tracker HOST:PORT", "this machine"], *run, "--rpc-key", "board")
    fails(["the tracker has no device 'board'; it has: "], *run, "--rpc-tracker", tracker, "--rpc-key", "board")
    monkeypatch.setenv("TVM_TRACKER_HOST", "127.0.0.1")
    monkeypatch.setenv("TVM_TRACKER_PORT", str(free_port()))
    fails(["the tracker 127.0.0.1:", "can't be reached"], *run, "--rpc-key", "board")
    nowhere = f"127.0.0.1:{free_port()}"
    fails([f"the RPC server {nowhere} can't be reached"], *run, "--rpc-tracker", nowhere)
    fails([f"the tracker {nowhere} can't be reached"], *run, "--rpc-tracker", nowhere, "--rpc-key", "board")
    for wrong in ("board:port", ":9090"):
        fails([f"--rpc-tracker: {wrong} is not of the form HOST:PORT"], *run, "--rpc-tracker", wrong)


def test_a_stock_server_gets_the_runtime(tvmc, package, image_file, expected, tracker):
    with server("tvm.exec.rpc_server", tracker, "plain"):
        remote = ["--rpc-tracker", tracker, "--rpc-key", "plain"]
        done = tvmc("run", package, *remote, "-i", image_file, "-o", "answer.npz")
    assert done.code == 0, done.err
    assert relative_error(np.load("answer.npz")["output_0"], expected) < 1e-4


def test_a_server_without_the_gpu_is_named(tvmc, package, tracker, monkeypatch):
    monkeypatch.setenv("TVM_COEXEC_LIBOPENCL", "/no/libOpenCL.so")
    with server("tvm.exec.rpc_server", tracker, "lacking"):
        monkeypatch.delenv("TVM_COEXEC_LIBOPENCL")
        done = tvmc("run", package, "--rpc-tracker", tracker, "--rpc-key", "lacking", "-o", "answer.npz")
    assert done.code == 4 and done.err.count("\n") == 1 and not os.path.exists("answer.npz")
    assert "device opencl(0) of the RPC server, which is not available: " in done.err and "/no/libOpenCL" in done.err
