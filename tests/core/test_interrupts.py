"""Programs end in one way after Ctrl-C, whatever the code that it interrupts makes of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

import pytest

from tvm_coexec.core.interrupts import AGAIN_S, interruptible, was_interrupted

pytestmark = pytest.mark.usefixtures("interrupts")


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)  # the signal is handled between two instructions of Python's


def test_an_interruption_stays_one():
    with pytest.raises(KeyboardInterrupt), interruptible():
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_that_follows_from_it_is_an_interruption():
    def fail() -> None:
        try:
            interrupt()
        except BaseException:
            raise ValueError("no attribute span") from None

    with pytest.raises(KeyboardInterrupt), interruptible():
        fail()


def test_another_error_is_what_it_is():
    with pytest.raises(ValueError, match="span"), interruptible():
        raise ValueError("no attribute span")
    assert not was_interrupted()


def test_in_a_call_from_c_it_is_heard_afterwards(capsys):
    """As when TVM's compiler calls Python: there the exception is forgotten."""
    calls = []

    @ctypes.CFUNCTYPE(None)
    def called_from_c() -> None:
        calls.append(1)
        if len(calls) == 1:
            interrupt()
        time.sleep(0.001)

    def call_often() -> None:
        for _ in range(5000):
            called_from_c()
            time.sleep(0.001)

    hook = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), interruptible():
        call_often()
    assert 1 < len(calls) < 5000 and capsys.readouterr().err == ""
    assert sys.unraisablehook is hook


def test_one_that_was_forgotten_in_a_call_from_c_does_not_outlive_the_block():
    called_from_c = ctypes.CFUNCTYPE(None)(interrupt)

    def fail() -> None:
        called_from_c()
        raise ValueError("no attribute span")

    with pytest.raises(KeyboardInterrupt), interruptible():
        fail()
    time.sleep(3 * AGAIN_S)


def test_a_block_that_ends_well_has_ended_well():
    with interruptible(), contextlib.suppress(KeyboardInterrupt):
        interrupt()
    with interruptible():
        assert not was_interrupted()


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda *_: None], ids=["ignored", "own handler"])
def test_who_handles_the_signal_goes_on_doing_so(handler):
    before = signal.signal(signal.SIGINT, handler)
    try:
        with interruptible():
            interrupt()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_are_left_alone():
    found = []

    def run() -> None:
        with interruptible():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
