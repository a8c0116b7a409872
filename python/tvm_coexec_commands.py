"""Start the commands ``coexec`` and ``tvmc``.

Console scripts import their module before anything of ours runs, and TVM takes seconds to import. So they start here,
outside the package: a command can be interrupted from its first moment on, and starts faster.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupt_silently() -> Iterator[None]:
    """Leave Ctrl-C to the system, which ends the process: Python would show a traceback through the imports."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # ignored, as under nohup, or handled by someone else
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def hide_module(name: str) -> Iterator[None]:
    """Let imports of a module fail inside the block, unless it is loaded already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # what Python's documentation names for this
    try:
        yield
    finally:
        del sys.modules[name]


def start(module: str) -> object:
    """Import a command's module, and return what its ``main`` returns.

    TVM imports XGBoost, which imports scikit-learn if it is there, for estimators that nothing here uses: almost half
    of the time that a command takes to start.
    """
    with interrupt_silently(), hide_module("sklearn"):
        main = importlib.import_module(module).main
    return main()


def coexec() -> object:
    """Run the command ``coexec``."""
    return start("tvm_coexec.cli")


def tvmc() -> object:
    """Run the command ``tvmc``: TVM's own, with co-execution."""
    return start("tvm_coexec.tvmc")
