"""Which board is to blame for candidates that do not end."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm.relay")

from tvm.autotvm.measure import MeasureErrorNo, MeasureResult

from tvm_coexec import CoExecError
from tvm_coexec.tuning.loop.hanging import MOST, MOST_OF_LAST, HangWatch

pytestmark = pytest.mark.llvm

FINE = MeasureResult((1e-3,), MeasureErrorNo.NO_ERROR, 0.1, 0.0)
LATE = MeasureResult(("",), MeasureErrorNo.RUN_TIMEOUT, 20.0, 0.0)
A, B = "10.0.0.1:9090", "10.0.0.2:9090"


@pytest.fixture
def saved() -> dict[int, MeasureResult]:
    return {}


@pytest.fixture
def watch() -> HangWatch:
    return HangWatch()


@pytest.fixture
def watched(watch, saved):
    return watch.open(lambda number, result: saved.update({number: result}))


def test_a_board_with_timeouts_in_a_row_is_left_out(watch, watched, saved):
    for i in range(MOST):
        assert watched.leave_out(2, "in time") == [] and watch.accepts(A)
        watched.add_answer(10 + i, FINE, B)
        watched.add_timeout(i, LATE, A)
    assert watched.leave_out(2, "in time") == list(range(MOST)) and not watch.accepts(A) and watch.accepts(B)
    assert set(saved) == {10 + i for i in range(MOST)}  # the others are measured again
    watched.add_answer(0, FINE, B)
    watched.add_timeout(1, LATE, B)  # on both boards: the candidate is the reason
    assert saved[1] is LATE and saved[0] is FINE and not watch.counts


def test_an_answer_clears_a_board(watch, watched, saved):
    for i in range(MOST - 1):
        watched.add_timeout(i, LATE, A)
    assert not saved
    watched.add_answer(9, FINE, A)
    assert saved == {**dict.fromkeys(range(MOST - 1), LATE), 9: FINE}
    watched.add_timeout(3, LATE, A)
    assert watched.leave_out(2, "in time") == [] and watch.accepts(A)
    watched.close()
    assert saved[3] is LATE


def test_a_row_goes_on_with_the_next_task(watch):
    for task in range(MOST):
        kept: list[int] = []
        watched = watch.open(lambda number, _, kept=kept: kept.append(number))
        watched.add_timeout(task, LATE, A)
        again = watched.leave_out(2, "in time")
        watched.close()
        assert (again, kept) == (([], [task]) if task < MOST - 1 else ([task], []))


def test_boards_are_not_left_out_all_at_once(watch, watched):
    """The last one is not compared with any, and is given up later."""
    for i in range(MOST):
        watched.add_timeout(i, LATE, A)
        watched.add_timeout(10 + i, LATE, B)
    assert len(watched.leave_out(2, "in time")) == MOST and watch.accepts(A) != watch.accepts(B)
    last = A if watch.accepts(A) else B
    for i in range(20, 20 + MOST_OF_LAST - MOST):
        assert watched.leave_out(1, "in time") == []
        watched.add_timeout(i, LATE, last)
    with pytest.raises(CoExecError, match=f"the last board, {last}, seems to hang: {MOST_OF_LAST} candidates in a row"):
        watched.leave_out(1, "in time")


def test_a_board_that_is_gone(watch, watched, saved):
    watched.add_timeout(0, LATE, A)
    watched.add_timeout(1, LATE, B)
    assert watched.take_from_gone([B]) == [0] and watch.counts == {B: 1}
    watched.close()
    assert saved == {1: LATE}
