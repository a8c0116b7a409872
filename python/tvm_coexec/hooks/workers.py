"""Let the processes that TVM's tuners and RPC servers start have what importing this package gives.

TVM starts them as ``python -m tvm.exec.popen_worker``: the builders and runners of AutoTVM, the auto-scheduler and
MetaSchedule, RPC servers and trackers. Such a process imports TVM only, so it would lack the OpenCL runtime and its
code generator, the schedules and the callback for kernels' sources. `install` makes every new worker import this
package before its first task; ``TVM_COEXEC_HOOKS`` of its environment selects its hooks, as everywhere. That takes
0.3 s where importing TVM takes 2 s, and opens no driver, so an RPC server can still fork its sessions.

A worker that cannot import this package works as TVM's own, with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from tvm_coexec.core.errors import one_line

if TYPE_CHECKING:
    from tvm.contrib.popen_pool import PopenWorker

_LOG = logging.getLogger("tvm_coexec")

# A worker shows messages from level INFO on, which would repeat for each candidate that a tuner measures.
_IMPORT = "import logging, tvm_coexec; logging.getLogger('tvm_coexec').setLevel(logging.WARNING)"

_original: dict[str, Callable] = {}


def install() -> None:
    """Replace the function that starts a worker, and the one that serves a session of an RPC server. Idempotent."""
    import tvm.rpc.server
    from tvm.contrib.popen_pool import PopenWorker

    if not _original:
        _original.update(_start=PopenWorker._start, _serve_loop=tvm.rpc.server._serve_loop)
        PopenWorker._start, tvm.rpc.server._serve_loop = _start, _serve_loop


def uninstall() -> None:
    """Restore TVM's own functions. Workers that run already keep what they imported."""
    import tvm.rpc.server
    from tvm.contrib.popen_pool import PopenWorker

    if _original:
        PopenWorker._start, tvm.rpc.server._serve_loop = _original["_start"], _original["_serve_loop"]
        _original.clear()


def _start(worker: PopenWorker) -> None:
    """Start a worker's process if there is none, and let it import this package."""
    if worker._proc is not None:
        return
    _original["_start"](worker)
    # A function of Python's own: to find one of this package the worker would have to import the package, at a place
    # where it catches no errors.
    worker.send(exec, (_IMPORT, {}))
    try:
        worker.recv()
    except ChildProcessError:  # it has ended, and can't take the task that follows
        raise
    except Exception as err:
        _LOG.warning("a worker process of TVM can't import tvm_coexec and works without it: %s", one_line(err))


def _serve_loop(*args: object) -> None:
    """Serve a session. A process that is not forked imports this module, and so the package, to find the function."""
    import tvm.rpc.server

    _original.get("_serve_loop", tvm.rpc.server._serve_loop)(*args)
