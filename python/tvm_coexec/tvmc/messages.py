"""Errors as one line: what is wrong and what to do, without C++ stack traces."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from tvm.driver.tvmc import TVMCException

from tvm_coexec.core.errors import CoExecError

LOG_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)  # without -v, with one, with more
LONGEST = 400  # characters; TVM's own messages list every pass or target it knows

# "TVMError: text", "InternalError: text": where the message begins behind TVM's stack trace
_MESSAGE = re.compile(r"^(?:[A-Za-z_.]*(?:Error|Exception)|error): *(.*)$")


def one_line(err: BaseException) -> str:
    """The text of an error without stack traces and line breaks."""
    text = str(err) or type(err).__name__
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [n for n, line in enumerate(lines) if _MESSAGE.match(line)]
    if starts and any(line.startswith(("Traceback", "Stack trace", "File ")) for line in lines):
        # what stood before the stack trace says what was tried, what stands behind it says what went wrong
        head = lines[0].split("Traceback")[0].strip()
        matched = _MESSAGE.match(lines[starts[-1]])
        assert matched is not None
        lines = [head, matched[1], *lines[starts[-1] + 1 :]] if head else [matched[1], *lines[starts[-1] + 1 :]]
    text = " ".join(line for line in lines if line).rstrip(" :")
    return text if len(text) <= LONGEST else text[: LONGEST - 4].rstrip() + " ..."


@contextmanager
def reported(verbose: int, what: str) -> Iterator[None]:
    """Turn every error inside into a `TVMCException` of one line, which tvmc prints; its exit status is then 4.

    Parameters
    ----------
    verbose : int
        How often ``-v`` was given; from 1 on an error that isn't known to be the user's is shown with its stack, too.
    what : str
        What was being done, for such errors.
    """
    try:
        yield
    except TVMCException as err:
        # another class than the base means something to tvmc's main: it has an exit status of its own
        raise (err if type(err) is not TVMCException else TVMCException(one_line(err))) from None
    except CoExecError as err:
        raise TVMCException(one_line(err)) from None
    except Exception as err:
        if verbose:
            traceback.print_exc()
        kind = "" if isinstance(err, (OSError, RuntimeError)) else f"{type(err).__name__}: "
        hint = "" if verbose else " (-v shows where)"
        raise TVMCException(f"{what}: {kind}{one_line(err)}{hint}") from None
