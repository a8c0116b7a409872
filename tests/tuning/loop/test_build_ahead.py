"""Candidates that are built together with those that are measured after them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.llvm

pytest.importorskip("tvm.relay")

from tvm.autotvm.measure import MeasureErrorNo, MeasureInput  # noqa: E402

from tests.tuning import made  # noqa: E402
from tvm_coexec.tuning.loop.build_ahead import BuildAhead, make_builder  # noqa: E402
from tvm_coexec.tuning.scope import autotvm_scope  # noqa: E402


@pytest.fixture
def builder():
    made_builder = make_builder(60, "default")
    made_builder.n_parallel = 2
    return made_builder


def test_candidates_are_built_some_at_a_time(builder, monkeypatch):
    """Every library is there when its candidate is measured, also after others were built, or at a second try."""
    task = made.task_of(made.conv2d("conv2d_NCHWc.x86", (1, 8, 14, 14), (8, 8, 3, 3), 1, (1,) * 4))
    inputs = [MeasureInput(task.target, task, task.config_space.get(i)) for i in range(5)]
    builds, build = [], builder.build
    monkeypatch.setattr(builder, "build", lambda some: builds.append([m.config.index for m in some]) or build(some))
    builder.set_task(task)
    ahead = BuildAhead(builder, inputs)
    with autotvm_scope(in_tuning=True):
        for number in (0, 1, 2, 0, 3, 4):
            (built,) = ahead.take([number], [i for i in range(5) if i > number])
            assert built.error is None and Path(built.filename).is_file()
        assert builds == [[0, 1], [2, 3], [0, 1], [3, 4]]
        both = ahead.take([1, 2, 3], [])
        assert builds[4:] == [[1, 2, 3]], "as many as there are boards"
        assert len({b.filename for b in both if Path(b.filename).is_file()}) == 3


def test_a_candidate_that_cannot_be_built_does_not_end_the_others(builder):
    task = made.task_of(made.conv2d("conv2d_NCHWc.x86", (1, 8, 14, 14), (8, 8, 3, 3), 1, (1,) * 4))
    right, wrong = task.config_space.get(0), task.config_space.get(1)
    del wrong._entity_map["tile_oc"]
    builder.set_task(task)
    ahead = BuildAhead(builder, [MeasureInput(task.target, task, c) for c in (wrong, right)])
    with autotvm_scope(in_tuning=True):
        (first,) = ahead.take([0], [1])
        (second,) = ahead.take([1], [])
    assert getattr(first, "error_no", MeasureErrorNo.NO_ERROR) != MeasureErrorNo.NO_ERROR
    assert second.error is None
