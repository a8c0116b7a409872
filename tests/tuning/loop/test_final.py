"""Modules that are measured at the end: those of the rounds, and those by costs that recorded runs have corrected."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow]

tvm = pytest.importorskip("tvm")
pytest.importorskip("tvm.relay")

from tests import models  # noqa: E402
from tests.measuring.verify.recorded import recorded  # noqa: E402
from tests.planner.graphs import costs as made_up  # noqa: E402
from tvm_coexec import targets  # noqa: E402
from tvm_coexec.core.kernel_graph import KernelGraph  # noqa: E402
from tvm_coexec.core.plan import Plan  # noqa: E402
from tvm_coexec.measuring.verify.correct import Corrections  # noqa: E402
from tvm_coexec.pass_context import deployment_context  # noqa: E402
from tvm_coexec.planner import make_plan, with_times  # noqa: E402
from tvm_coexec.planner.cached_costs import CachedCosts  # noqa: E402
from tvm_coexec.planner.strategies.single import on_one  # noqa: E402
from tvm_coexec.relay_passes.divide import make_shares, place  # noqa: E402
from tvm_coexec.relay_passes.extract import extract_with_calls  # noqa: E402
from tvm_coexec.relay_passes.prepare import Prepare  # noqa: E402
from tvm_coexec.tuning.loop import final  # noqa: E402
from tvm_coexec.tuning.loop.options import TuneOptions  # noqa: E402

TARGETS = targets()


@pytest.fixture(scope="module")
def model() -> tuple[KernelGraph, Callable[[Plan], object]]:
    """A chain of convolutions, and what divides it by a plan."""
    with deployment_context():
        prepared = Prepare()(models.conv_chain(3))
        extracted = extract_with_calls(prepared)

    def divide(plan: Plan) -> object:
        return place(make_shares(prepared, extracted, plan, TARGETS), plan, TARGETS)

    return extracted.graph, divide


def results(graph: KernelGraph) -> list[final.Result]:
    costs = made_up()
    alone = with_times(graph, CachedCosts(graph, costs), Plan(graph.fingerprint(), on_one(graph, "cpu"), "single"))
    plan = make_plan(graph, costs)
    assert plan.chains
    return [
        final.Result(final.UNTUNED, alone, alone.expected_s),
        final.Result(final.TUNED, plan, plan.expected_s, tuned=True, trials=7),
    ]


def test_a_module_by_corrected_costs_is_measured_too(model, monkeypatch):
    """The CPU's shares are said to take twice as long as predicted, so another cut is proposed."""
    graph, divide = model
    stock = Corrections.learn
    monkeypatch.setattr(
        Corrections, "learn", lambda self, plan, _: stock(self, plan, recorded(graph, self.base, plan, cpu=2.0))
    )
    given, options = results(graph), TuneOptions()
    found = final.measure_modules(given, divide, TARGETS, options, corrections=Corrections(graph, made_up(), options))
    assert [r.name for r in found[:2]] == [r.name for r in given] and len(found) > 2
    for n, r in enumerate(found[2:], 1):
        assert r.name == "tuned, by recorded runs" + (f" ({n})" if n > 1 else "") and r.tuned and r.trials == 7
        assert r.plan.digest() != given[1].plan.digest() and r.expected_s == r.plan.expected_s
    assert all(r.measured_s > 0 and not r.error for r in found)


def test_without_corrections_the_given_modules_are_measured(model):
    graph, divide = model
    found = final.measure_modules(results(graph), divide, TARGETS, TuneOptions())
    assert [r.name for r in found] == [final.UNTUNED, final.TUNED] and all(r.measured_s > 0 for r in found)


def test_no_two_modules_have_one_name(model):
    first, second = results(model[0])
    names = [r.name for r in final.number_names([first, second, second, first, second])]
    assert names == ["untuned", "tuned", "tuned (2)", "untuned (2)", "tuned (3)"]
