"""Random networks, random chains, random cuts: the split module computes what the module computes."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tvm
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tests.relay_passes.rules.evaluate import evaluate
from tests.relay_passes.rules.harness import assert_close, assert_same, random_inputs, run_all, split_at
from tests.relay_passes.rules.networks import networks
from tests.relay_passes.rules.sequences import sequences
from tvm_coexec.core.chains import chain_shares
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.relay_passes.extract import extract_with_calls
from tvm_coexec.relay_passes.inline import inline_functions
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = [pytest.mark.llvm, pytest.mark.slow]

# TVM_COEXEC_RANDOM_CHAINS=N looks for trouble: N networks, other ones at every run.
MORE = int(os.environ.get("TVM_COEXEC_RANDOM_CHAINS", "0"))
COMMON = dict(deadline=None, derandomize=not MORE, database=None, suppress_health_check=list(HealthCheck))


def chains(data, graph, count: int = 4):
    """Some chains (mostly the longest one that ends in a kernel) with an axis and a cut."""
    for _ in range(count):
        last = len(graph.kernels) - 1 - data.draw(st.sampled_from([0, 0, 0, 1, 2]))
        if last < 0 or not graph.kernels[last].axes:
            continue
        axis = data.draw(st.sampled_from(graph.kernels[last].axes))
        cut = data.draw(st.integers(0, axis.extent // axis.granule)) * axis.granule
        feasible = [f for f in range(last + 1) if carries(graph, list(range(f, last + 1)), axis.name, cut)]
        first = min(feasible) if data.draw(st.booleans()) else data.draw(st.sampled_from(feasible))
        yield list(range(first, last + 1)), axis.name, cut


def carries(graph, members: list[int], axis: str, cut: int) -> bool:
    """Whether the planner's side takes these kernels for a chain."""
    try:
        chain_shares(graph, members, axis, cut)
    except CoExecError:
        return False
    return True


@given(networks(), st.data())
@settings(max_examples=MORE or 150, **COMMON)
def test_images(network, data):
    compare(network, data)


@given(sequences(), st.data())
@settings(max_examples=MORE or 120, **COMMON)
def test_matrices(network, data):
    compare(network, data)


def compare(network, data) -> None:
    """A network with some splits of it, evaluated in numpy."""
    prepared = Prepare()(tvm.IRModule.from_expr(network))
    extracted = extract_with_calls(prepared)
    graph = extracted.graph
    if not graph.kernels:
        return
    inputs = random_inputs(prepared["main"].params)
    want = evaluate(prepared["main"], inputs)
    for members, axis, cut in chains(data, graph):
        split = split_at(prepared, extracted, members, axis, cut)
        event(f"split {len(members)} kernels")
        got = evaluate(inline_functions(split)["main"], inputs)
        assert_same(got, want, f"kernels {members} along {axis} at {cut}", 1e-9)


@given(st.one_of(networks(most=4), sequences(most=4)), st.data())
@settings(max_examples=6, **COMMON)
def test_builds(network, data):
    prepared = Prepare()(tvm.IRModule.from_expr(network))
    extracted = extract_with_calls(prepared)
    graph = extracted.graph
    if not graph.kernels:
        return
    made, labels = [], []
    for members, axis, cut in chains(data, graph):
        made.append(inline_functions(split_at(prepared, extracted, members, axis, cut)))
        labels.append(f"kernels {members} along {axis} at {cut}")
    inputs = random_inputs(prepared["main"].params)
    want, *results = run_all(prepared, made[:2], inputs)
    assert_close(want, evaluate(prepared["main"], inputs), "numpy's idea of the module", 1e-4)
    for label, got in zip(labels, results, strict=False):
        assert_same(got, want, label, 1e-4)
    assert np.isfinite(want[0]).all()
