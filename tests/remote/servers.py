"""RPC servers on the loopback interface, as processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.tvmc.test_remote import PATIENCE_S, free_port

STOCK = "tvm.exec.rpc_server"


def start(module: str = STOCK, *options: str, port: int = 0, **environment: str) -> tuple[subprocess.Popen, str]:
    """Start a server without a tracker; returns its process, and its address when it listens."""
    port = port or free_port()
    command = [sys.executable, "-m", module, "--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 1)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, *options], env={**os.environ, **environment}, **quiet)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process, f"127.0.0.1:{port}"
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                kill_tree(process)
                raise
            time.sleep(0.1)


@contextmanager
def serving(module: str = STOCK, *options: str, port: int = 0, **environment: str) -> Iterator[str]:
    """Start a server without a tracker; yields its address. Ends its sessions' processes, too."""
    process, address = start(module, *options, port=port, **environment)
    try:
        yield address
    finally:
        kill_tree(process)


@contextmanager
def tracked(tracker: str, key: str, module: str = STOCK) -> Iterator[subprocess.Popen]:
    """Start a server that registers with a tracker; yields its process when the tracker knows it."""
    from tvm_coexec.remote import count_free

    before, port = count_free(tracker, key), free_port()
    command = [sys.executable, "-m", module, "--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 1)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "--tracker", tracker, "--key", key], **quiet)
    try:
        end = time.monotonic() + PATIENCE_S
        while count_free(tracker, key) == before:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        process.address = f"127.0.0.1:{port}"
        yield process
    finally:
        kill_tree(process)


def kill_tree(process: subprocess.Popen) -> None:
    """End a server at once, with the processes of its sessions."""
    family = [psutil.Process(process.pid)] if process.poll() is None else []
    family += family[0].children(recursive=True) if family else []
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended with its parent
            member.kill()
    process.wait(PATIENCE_S)
