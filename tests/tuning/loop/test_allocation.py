"""Which task gets the next trials: seconds at stake, times what trials have gained and may gain."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytestmark = pytest.mark.llvm

pytest.importorskip("tvm.relay")

from tvm.autotvm.measure import MeasureInput, MeasureResult  # noqa: E402

from tests.planner.graphs import costs, residual  # noqa: E402
from tests.tuning.loop.test_candidates import DENSE, tuning_task  # noqa: E402
from tvm_coexec.core.plan import Plan, Segment  # noqa: E402
from tvm_coexec.planner import CachedCosts  # noqa: E402
from tvm_coexec.tuning.loop.allocation import (  # noqa: E402
    TaskState,
    choose_task,
    expected_gain,
    seconds_by_kernel,
    value_of,
)
from tvm_coexec.tuning.loop.candidates import Candidates  # noqa: E402
from tvm_coexec.tuning.loop.options import check_tune_options  # noqa: E402
from tvm_coexec.tuning.parts import Part, merge_parts, plan_parts, whole_parts  # noqa: E402
from tvm_coexec.tuning.records import Records  # noqa: E402

OPTIONS = check_tune_options({"tuner": "random"})


def state(value_s: float, *seconds: float, kernels=(0,), whole=True) -> TaskState:
    """A task with results; a negative number stands for one that failed."""
    task = tuning_task(DENSE)
    part = Part("cpu", kernels, "dense") if whole else Part("cpu", kernels, "dense", "n", 48, (8, 48), 1)
    made = TaskState(replace(task, parts=(part,)), Candidates(task, OPTIONS, Records(())), value_s=value_s)
    for s in seconds:
        measured = MeasureInput(task.task.target, task.task, task.task.config_space.get(0))
        made.pairs.append((measured, MeasureResult((abs(s),), 0 if s > 0 else 4, 0.1, 0.0)))
    return made


def test_the_most_valuable_first_and_then_the_others():
    small, large = state(1e-3), state(5e-3, kernels=(1,))
    assert choose_task([small, large], 8) is large
    tried = state(5e-3, *[1e-3] * 16, kernels=(1,))
    assert choose_task([small, tried], 8) is small, "16 trials found nothing better"


def test_a_task_that_still_gains_goes_on():
    flat = state(1e-3, *[1e-3] * 8)
    falling = state(1e-3, *[1e-3] * 4, 8e-4, 6e-4, 5e-4, 4e-4, kernels=(1,))
    assert expected_gain(falling, 8) > expected_gain(flat, 8)
    assert choose_task([flat, falling], 8) is falling
    assert expected_gain(state(1.0, -1.0, -1.0), 8) > 0.0


def test_of_two_templates_for_a_kernel_the_slower_one_waits():
    direct, winograd = state(1e-3, 1e-3, 9e-4), state(1e-3, 4e-3, 2e-3)
    other = state(2e-4, kernels=(1,))
    assert choose_task([winograd, direct, other], 8) is direct
    assert choose_task([winograd, other], 8) is winograd


def test_what_has_no_candidate_left_gets_nothing():
    done = state(1.0)
    done.candidates._exhausted = True
    assert choose_task([done], 8) is None and choose_task([], 8) is None


def test_values_of_a_plan():
    graph = residual()
    cached = CachedCosts(graph, costs())
    first, *rest = [k.index for k in graph.kernels]
    signatures = [k.signature() for k in graph.kernels]
    heavy = next(k.index for k in graph.kernels if k.is_heavy and signatures.count(k.signature()) == 1)
    segments = tuple(Segment("gpu" if k == heavy else "cpu", (k,)) for k in (first, *rest))
    run = plan_parts(graph, Plan(graph.fingerprint(), segments), cached)
    spent_s = seconds_by_kernel(run)
    parts = merge_parts(graph, run, whole_parts(graph, cached))

    def value(device: str) -> float:
        part = next(p for p in parts if p.device == device and heavy in p.kernels and p.rows is None)
        return value_of(replace(tuning_task(DENSE), parts=(replace(part, kernels=(heavy,)),)), cached, spent_s)

    assert value("gpu") >= cached.whole["gpu"][heavy] > value("cpu") > 0.0


def test_dropped_results_are_not_the_best():
    found = state(1.0, 3e-3, 1e-3, 2e-3)
    assert found.best_s == 1e-3 and found.best_after(1) == 3e-3
    found.drop_best()
    assert found.best_s == 2e-3
    found.drop_all()
    assert found.best is None and found.gflops == 0.0
