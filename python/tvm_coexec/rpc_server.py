"""TVM's RPC server with this package's OpenCL runtime: ``python -m tvm_coexec.rpc_server``.

Arguments are those of ``python -m tvm.exec.rpc_server``, which serves only the devices that its TVM was built with. It
serves each session from a separate process, so it is not enough to import `tvm_coexec` in the server's own process:
every session's process has to import it.
"""

from __future__ import annotations

import runpy
import signal
import sys

import tvm.rpc.server

import tvm_coexec  # noqa: F401  importing registers the runtime in every process that imports this module

_stock_serve_loop = tvm.rpc.server._serve_loop


def _serve_loop(*args: object) -> None:
    """Entry point of a session's process, which finds it by this module's name and so registers the runtime first.

    A forked process has the runtime already; with ``--no-fork`` the process is a new one.
    """
    _stock_serve_loop(*args)


def _init_server() -> None:
    """Replace TVM's loop; called in the server's process before it listens."""
    tvm.rpc.server._serve_loop = _serve_loop


def main() -> None:
    """Run the server until it is stopped; SIGTERM also stops the processes that it started."""
    stock = tvm.rpc.Server
    started: list[tvm.rpc.Server] = []

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
    # Functions of this module are pickled by name for the server's processes, where __main__ is another module.
    from .rpc_server import main as run

    run()
