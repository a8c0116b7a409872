"""Errors as one line: what is wrong and what to do, without C++ stack traces."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from tvm.driver.tvmc import TVMCException

from tvm_coexec.core.errors import CoExecError, one_line
from tvm_coexec.core.interrupts import was_interrupted
from tvm_coexec.frontend.quiet import quiet_tvm

LOG_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)  # without -v, with one, with more


@contextmanager
def reported(verbose: int, what: str) -> Iterator[None]:
    """Turn every error inside into a `TVMCException` of one line, which tvmc prints; its exit status is then 4.

    Parameters
    ----------
    verbose : int
        Number of ``-v`` flags; if any, errors of unknown cause are shown with their stack trace.
    what : str
        The failed step, for the message of such errors.
    """
    try:
        with quiet_tvm():
            yield
    except Exception as err:
        if was_interrupted():
            raise KeyboardInterrupt from None
        raise _reported(err, verbose, what) from None


def _reported(err: Exception, verbose: int, what: str) -> TVMCException:
    if isinstance(err, TVMCException):
        # keep subclasses: tvmc's main gives them other exit statuses
        return err if type(err) is not TVMCException else TVMCException(one_line(err))
    if isinstance(err, CoExecError):
        return TVMCException(one_line(err))
    if verbose:
        traceback.print_exception(err)
    kind = "" if isinstance(err, (OSError, RuntimeError)) else f"{type(err).__name__}: "
    hint = "" if verbose else " (-v shows where)"
    return TVMCException(f"{what}: {kind}{one_line(err)}{hint}")


__all__ = ["LOG_LEVELS", "one_line", "reported"]
