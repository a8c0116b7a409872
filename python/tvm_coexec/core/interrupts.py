"""Interruption of programs by their user (Ctrl-C), also while TVM's compiler runs.

TVM calls Python from C. There an exception is printed and forgotten, and the compiler goes on with whatever the call
returned: most often it soon fails for that reason, with an error that has nothing to do with what the user did.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # exit status of a program that its user interrupted
AGAIN_S = 0.05  # until an interruption that was forgotten is made again

_state = {"interrupted": False}


def was_interrupted() -> bool:
    """Whether the user has interrupted the present `interruptible` block."""
    return _state["interrupted"]


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `KeyboardInterrupt` in the place of any error of a block that the user interrupted.

    Does nothing outside the main thread, or if someone else handles the signal.
    """
    _state["interrupted"] = False
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def handle(_signal: int, _frame: FrameType | None) -> None:
        _state["interrupted"] = True
        raise KeyboardInterrupt

    def interrupt_again(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            # again when the call from C is over; if that is in another such call, once more
            timer = threading.Timer(AGAIN_S, _thread.interrupt_main)
            timer.daemon = True
            timer.start()
            again.append(timer)
        else:
            before(unraisable)

    again: list[threading.Timer] = []
    before = sys.unraisablehook
    signal.signal(signal.SIGINT, handle)
    sys.unraisablehook = interrupt_again
    try:
        yield
    except BaseException:
        if was_interrupted():
            raise KeyboardInterrupt from None
        raise
    finally:
        for timer in again:
            timer.cancel()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = before
