"""TVM's RPC server with this package's OpenCL runtime: ``python -m tvm_coexec.rpc_server``.

Arguments are those of ``python -m tvm.exec.rpc_server``, which serves only the devices that its TVM was built with. The
server and each session run in separate processes, all of which have to import `tvm_coexec`: `hooks.workers` does that.
"""

from __future__ import annotations

import runpy
import signal
import sys

import tvm.rpc

from tvm_coexec.hooks import workers  # importing the package registers the runtime, in every process that does so


def main() -> None:
    """Run the server until it is stopped; SIGTERM also stops the processes that it started."""
    stock = tvm.rpc.Server
    started: list[tvm.rpc.Server] = []

    def start(*args: object, **kwargs: object) -> tvm.rpc.Server:
        started.append(stock(*args, **kwargs, server_init_callback=workers.install))
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
    main()
