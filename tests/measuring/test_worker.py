"""Children: answers, errors, hangs and deaths."""

from __future__ import annotations

import os
import sys
import time

import pytest

from tvm_coexec.core.errors import one_line
from tvm_coexec.measuring.worker import Child, ChildError, answer, wait_for_answers

pytestmark = pytest.mark.slow


def _serve(connection):
    def handle(request):
        what, value = request
        if what == "sleep":
            time.sleep(value)
        elif what == "die":
            os._exit(value)
        elif what == "kill":
            os.kill(os.getpid(), value)
        elif what == "raise":
            raise ValueError(value)
        elif what == "load":
            import tvm_coexec.measuring.timer  # noqa: F401

            value = [name for name in value if name in sys.modules and sys.modules[name] is not None]
        return os.getpid(), value

    answer(connection, handle)


@pytest.fixture(params=["fork", "fresh"])
def child(request):
    made = Child(request.param, _serve)
    yield made
    made.stop()


def test_one_process_answers_many_requests(child):
    first = child.call(("say", "a"), 30)
    assert first[1] == "a" and child.call(("say", "b"), 30) == (first[0], "b")
    assert first[0] != os.getpid()


def test_an_error_is_reported_and_the_process_continues(child):
    pid, _ = child.call(("say", 1), 30)
    with pytest.raises(ChildError, match=r"^what is wrong$"):
        child.call(("raise", "what is wrong"), 30)
    assert child.call(("say", 2), 30) == (pid, 2)


@pytest.mark.parametrize(("how", "value", "text"), [("die", 3, "exit status 3"), ("kill", 9, "SIGKILL")])
def test_a_death_is_reported_and_another_process_continues(child, how, value, text):
    pid, _ = child.call(("say", 1), 30)
    with pytest.raises(ChildError, match=text):
        child.call((how, value), 30)
    assert child.call(("say", 2), 30)[0] != pid


def test_a_hang_is_ended_in_time(child):
    start = time.monotonic()
    with pytest.raises(ChildError, match="in time"):
        child.call(("sleep", 60), 0.5)
    assert time.monotonic() - start < 30
    assert child.call(("say", 2), 30)[1] == 2


def test_the_first_answer_is_returned():
    slow, quick = Child("fork", _serve), Child("fork", _serve)
    try:
        slow.send(("sleep", 20), 60)
        quick.send(("say", 1), 60)
        assert wait_for_answers([slow, quick]) == [quick]
        assert quick.receive()[1] == 1
    finally:
        slow.stop()
        quick.stop()


def test_a_stack_trace_becomes_its_message():
    text = "Traceback (most recent call last):\n  1: run\n  File x.cc\nTVMError: Check failed: no memory\n"
    assert one_line(RuntimeError(text)) == "Check failed: no memory"
    assert one_line(RuntimeError("")) == "RuntimeError"


@pytest.mark.llvm
def test_a_fresh_process_loads_nothing_that_only_fits_need():
    pytest.importorskip("tvm.relay")
    child = Child("fresh", _serve)
    try:
        _, loaded = child.call(("load", ["tvm", "sklearn", "scipy.optimize", "scipy.stats", "scipy.cluster"]), 120)
    finally:
        child.stop()
    assert loaded == ["tvm"]
