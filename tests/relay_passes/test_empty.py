"""Tensors without elements: constants after `Prepare`, and no kernel that computes them."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tvm_coexec.cost_models import AnalyticCosts
from tvm_coexec.planner import make_plan
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.relay_passes.prepare.empty import DropEmptyTensors

pytestmark = pytest.mark.llvm


def typed(body) -> tvm.IRModule:
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body)))


def conv(x):
    return models.conv(np.random.default_rng(0), x, 8, 8)


def dense(x):
    return relay.nn.dense(x, models.weights(np.random.default_rng(1), 6, 8))


def image():
    return relay.var("x", shape=(1, 8, 9, 10))


def no_rows():
    return relay.var("e", shape=(1, 8, 0, 10))


def no_vectors():
    return relay.var("n", shape=(0, 8))


def nothing_at_all():
    return relay.Tuple([relay.nn.softmax(dense(no_vectors())), conv(relay.var("b", shape=(0, 8, 9, 10)))])


CASES = {
    "slices as outputs": lambda: relay.Tuple(
        [relay.nn.relu(relay.strided_slice(conv(image()), [4], [4], axes=[2])), conv(image())]
    ),
    "empty ends of rows": lambda: relay.nn.max_pool2d(
        relay.concatenate([no_rows(), conv(image()), no_rows()], 2), (2, 2)
    ),
    "empty rows of a matrix": lambda: dense(relay.concatenate([no_vectors(), relay.var("f", shape=(5, 8))], axis=0)),
    "sum of nothing": lambda: conv(image()) + relay.sum(relay.exp(no_rows()), axis=[2], keepdims=True),
    "padding of nothing": lambda: relay.concatenate(
        [conv(image()), relay.nn.pad(no_rows(), ((0, 0), (0, 0), (1, 1), (0, 0)))], axis=2
    ),
    "no indices": lambda: relay.Tuple([conv(image()), relay.take(image(), relay.const(np.zeros(0, "int64")), axis=3)]),
    "nothing at all": nothing_at_all,
}


def unique_params(mod: tvm.IRModule) -> tvm.IRModule:
    """Variables of one name as one variable."""
    first: dict[str, relay.Var] = {}
    binds = {p: first.setdefault(p.name_hint, p) for p in mod["main"].params}
    body = relay.bind(mod["main"].body, {p: v for p, v in binds.items() if p is not v})
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(list(first.values()), body)))


def case(name: str) -> tvm.IRModule:
    return unique_params(typed(CASES[name]()))


def empties(mod: tvm.IRModule) -> list[str]:
    """Operators of main that give or read a tensor without elements."""
    found = []

    def visit(node):
        if isinstance(node, relay.Call):
            types = [node.checked_type, *(a.checked_type for a in node.args)]
            types = [f for t in types for f in (t.fields if isinstance(t, tvm.ir.TupleType) else [t])]
            if any(0 in [int(d) for d in t.shape] for t in types):
                found.append(node.op.name)

    relay.analysis.post_order_visit(mod["main"].body, visit)
    return found


@pytest.mark.parametrize("name", CASES)
def test_no_operator_is_left_that_meets_them(name):
    mod = case(name)
    assert empties(mod)
    prepared = Prepare()(mod)
    assert empties(prepared) == []
    assert tvm.ir.structural_equal(prepared["main"].ret_type, mod["main"].ret_type)
    assert [p.name_hint for p in prepared["main"].params] == [p.name_hint for p in mod["main"].params]


@pytest.mark.parametrize("name", CASES)
def test_kernels_that_meet_them_stay_whole_in_a_module_that_was_not_prepared(name):
    """The planner and the cost models take such kernels, too."""
    graph = extract(case(name))
    empty = [k for k in graph.kernels if any(0 in t.shape for t in (*k.in_tensors, *k.outputs))]
    assert empty
    assert {k.reason for k in empty} == {"one of its tensors has no elements"}
    for options in ({}, {"min_gain": 0.0}, {"ratio": 0.5, "axis": "oc"}, {"ratio": 0.5, "axis": "h"}, {"ratio": 1.0}):
        plan = make_plan(graph, AnalyticCosts(), **options)
        assert {k for c in plan.chains for k in c.kernels}.isdisjoint(k.index for k in empty)


def test_a_model_without_them_is_returned_as_it_is():
    mod = typed(conv(image()))
    assert DropEmptyTensors()(mod).same_as(mod)


@pytest.mark.opencl
@pytest.mark.parametrize("name", CASES)
def test_results(name):
    mod = case(name)
    inputs = models.input_of(mod)
    want = None if name == "nothing at all" else models.reference(mod, inputs)  # TVM can't build a product of no rows
    devices = [tvm.cpu(), tvm.opencl()]
    every = ({"ratio": 0.5, "axis": "h"}, {"ratio": 0.5, "axis": "oc"}, {"ratio": 1.0})
    for options in every if name == "slices as outputs" else [every[len(name) % 3]]:
        lib = tvm_coexec.build(mod, cpu=models.CPU, **options)
        module = tvm_coexec.create(lib)
        module.set_input(**inputs)
        for _ in range(2):
            module.run()
            got = [module.get_output(i).numpy() for i in range(module.get_num_outputs())]
            for results in (got, models.run(lib, inputs, devices)):
                if want is None:
                    assert [r.shape for r in results] == [(0, 6), (0, 8, 9, 10)]
                    continue
                assert [r.shape for r in results] == [w.shape for w in want]
                full = [n for n, w in enumerate(want) if w.size]
                models.assert_same([results[n] for n in full], [want[n] for n in full])
