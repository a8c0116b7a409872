"""RPC servers on the loopback interface, as processes."""

from __future__ import annotations

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


@contextmanager
def serving(module: str = STOCK, *options: str, **environment: str) -> Iterator[str]:
    """Start a server without a tracker; yields its address when it listens. Ends its sessions' processes, too."""
    port = free_port()
    command = [sys.executable, "-m", module, "--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 1)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, *options], env={**os.environ, **environment}, **quiet)
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        kill_tree(process)


def kill_tree(process: subprocess.Popen) -> None:
    """End a server at once, with the processes of its sessions."""
    family = [psutil.Process(process.pid)] if process.poll() is None else []
    family += family[0].children(recursive=True) if family else []
    for member in family:
        if member.is_running():
            member.kill()
    process.wait(PATIENCE_S)
