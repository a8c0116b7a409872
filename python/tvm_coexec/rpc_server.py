"""TVM's RPC server with this package's OpenCL runtime: ``python -m tvm_coexec.rpc_server``.

Arguments are those of ``python -m tvm.exec.rpc_server``. That one serves what its TVM was built with, and it serves
from processes of its own, so importing `tvm_coexec` before starting it is not enough: each of them must do that.
"""

from __future__ import annotations

import runpy
import signal
import sys

import tvm.rpc.server

import tvm_coexec  # noqa: F401  importing registers the runtime, in whatever process reads this module

_stock_serve_loop = tvm.rpc.server._serve_loop


def _serve_loop(*args: object) -> None:
    """What a session's process runs. It is found by this module's name there, so the runtime is registered first.

    A forked process has it already; with ``--no-fork`` the process is a new one.
    """
    _stock_serve_loop(*args)


def _init_server() -> None:
    """Runs in the server's process, before it listens."""
    tvm.rpc.server._serve_loop = _serve_loop


def main() -> None:
    """Run the server until it is stopped; SIGTERM stops the processes that it started, too."""
    stock, started = tvm.rpc.Server, []

    def start(*args: object, **kwargs: object) -> tvm.rpc.Server:
        started.append(stock(*args, **kwargs, server_init_callback=_init_server))
        return started[-1]

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    tvm.rpc.Server = start
    try:
        runpy.run_module("tvm.exec.rpc_server", run_name="__main__", alter_sys=True)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        tvm.rpc.Server = stock
        for server in started:
            server.terminate()


if __name__ == "__main__":
    # functions of this module travel to the server's processes by name, and __main__ is another module there
    from .rpc_server import main as run

    run()
