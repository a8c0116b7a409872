"""Silencing what TVM itself writes to standard error: Python warnings and type checker diagnostics.

A command prints its result or one sentence. TVM's warnings, such as a shape that a file leaves out, take two lines each
and matter only to developers; ``-v`` shows them.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tvm
from tvm.ir import diagnostics

logger = logging.getLogger("tvm_coexec")

_RENDERER = "diagnostics.OverrideRenderer"  # the global function that TVM calls to show diagnostics


@contextmanager
def quiet_tvm() -> Iterator[None]:
    """Send TVM's Python warnings to the log, at level info, and its diagnostics into the text of the error."""
    with _log_warnings(), _collect_diagnostics() as found:
        try:
            yield
        except tvm.error.DiagnosticError as err:
            if not found:
                raise
            raise tvm.error.DiagnosticError(found[0]) from err  # the others follow from the first


@contextmanager
def _log_warnings() -> Iterator[None]:
    folder = os.path.dirname(tvm.__file__) + os.sep
    with warnings.catch_warnings():
        stock = warnings.showwarning

        def show(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
            if filename.startswith(folder):
                logger.info("%s: %s", category.__name__, " ".join(str(message).split()))
            else:
                stock(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


@contextmanager
def _collect_diagnostics() -> Iterator[list[str]]:
    """Collect errors instead of printing them; the caller's own renderer is restored afterwards."""
    found: list[str] = []
    before = tvm.get_global_func(_RENDERER, allow_missing=True)

    def collect(context: diagnostics.DiagnosticContext) -> None:
        found.extend(
            " ".join(str(d.message).split())
            for d in context.diagnostics
            if d.level <= diagnostics.DiagnosticLevel.ERROR
        )

    diagnostics.override_renderer(collect)
    try:
        yield found
    finally:
        if before is None:
            diagnostics.override_renderer(None)
        else:
            tvm.register_func(_RENDERER, before, override=True)
