"""Errors that a user can cause and fix, and errors of others as one line."""

from __future__ import annotations

import re

LONGEST = 400  # characters; TVM's own messages list every pass or target it knows

# "TVMError: text", "InternalError: text": where the message begins, after TVM's stack trace
_MESSAGE = re.compile(r"^(?:[A-Za-z_.]*(?:Error|Exception)|TVMCall CFunc Error): *(.*)$")
_DIAGNOSTIC = re.compile(r"^error: *(.*)$")  # of Relay's type checker; also of compilers, whose logs a message may hold
_STACK = ("Traceback", "Stack trace", "File ", "TVMCall CFunc Error:")


class CoExecError(ValueError):
    """A wrong option, file or device. The text is one sentence that says what to do."""


def one_line(err: BaseException, longest: int = LONGEST) -> str:
    """The text of an error without stack traces and line breaks.

    Parameters
    ----------
    err : BaseException
    longest : int
        A longer text is cut, and ends in an ellipsis.

    Returns
    -------
    str
        Never empty: the error's class where it has no text.
    """
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    starts = [n for n, line in enumerate(lines) if _MESSAGE.match(line)]
    is_traced = any(line.startswith(_STACK) for line in lines)
    if is_traced and not starts:
        starts = [n for n, line in enumerate(lines) if _DIAGNOSTIC.match(line)]
    if starts and (is_traced or starts[-1] == 0):
        # what stands before the stack trace says what was tried, what stands after it says what went wrong
        head = "" if starts[-1] == 0 or lines[0].startswith(_STACK) else lines[0].split("Traceback")[0].strip()
        message = re.sub(r"^[\w. ]*: *", "", lines[starts[-1]], count=1)
        lines = [head, message, *lines[starts[-1] + 1 :]]
    text = " ".join(line for line in lines if line).rstrip(" :") or type(err).__name__
    return text if len(text) <= longest else text[: longest - 4].rstrip() + " ..."
