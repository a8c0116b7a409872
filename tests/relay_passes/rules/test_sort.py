"""Operators that TVM's GPU code gets wrong on some devices stay on the CPU, however the model is divided."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tvm_coexec.relay_passes.rules import RULES

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def typed(params: list[relay.Var], fields: list[relay.Expr]) -> tvm.IRModule:
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(params, relay.Tuple(fields))))


def sorting() -> tvm.IRModule:
    """Rows and columns, more and fewer elements than a group of TVM's sort, floats and integers."""
    rng = np.random.default_rng(0)
    x = relay.var("x", shape=(5, 32))
    y = relay.nn.dense(x, models.weights(rng, 150, 32))
    whole = relay.cast(y * relay.const(3.0), "int32")
    best = relay.topk(y, 4, axis=1, ret_type="both")
    fields = [
        relay.nn.relu(relay.sort(y, axis=1)),  # continues after it
        relay.sort(whole, axis=0),
        relay.argsort(y, axis=1, is_ascend=False, dtype="int32"),
        best[0],
        best[1],
        relay.topk(relay.nn.dense(relay.sort(y, axis=1), models.weights(rng, 9, 150)), 3, ret_type="values"),
        # as many as there are for sure; the rest of the output is not set
        relay.strided_slice(relay.unique(relay.reshape(whole, (-1,)), is_sorted=True)[0], [0], [5]),
    ]
    return typed([x], fields)


def detection() -> tvm.IRModule:
    """A head as in SSD: classes and offsets from convolutions, boxes, suppression."""
    rng = np.random.default_rng(1)
    x = relay.var("x", shape=(1, 8, 6, 6))
    anchors = relay.vision.multibox_prior(x, sizes=(0.3, 0.5))
    count = 2 * 36
    classes = relay.reshape(models.conv(rng, x, 8, 2 * 4, relu=False), (1, 4, count))
    offsets = relay.reshape(models.conv(rng, x, 8, 2 * 4, relu=False), (1, 4 * count))
    boxes = relay.vision.multibox_transform_loc(relay.nn.softmax(classes, axis=1), offsets, anchors)
    indices = relay.const(np.arange(count, dtype="int32").reshape(1, count))
    kept = relay.vision.non_max_suppression(
        boxes[0], boxes[1], indices, relay.const(-1), relay.const(0.45), force_suppress=True, return_indices=False
    )
    return typed([x], [kept, boxes[1]])


MODELS = {
    "sorting": (sorting, {"sort", "argsort", "topk", "unique"}),
    "detection": (detection, {"vision.multibox_transform_loc", "vision.non_max_suppression"}),
}


@pytest.mark.opencl
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    "options", [{"ratio": 1.0}, {"ratio": 0.5}, {"strategy": "single", "profile": "generic"}], ids=str
)
def test_they_stay_on_the_cpu_and_the_numbers_are_right(name, options):
    make, expected = MODELS[name]
    mod = make()
    partition = tvm_coexec.CoExecPartition(**options)
    split = partition(mod)
    graph, plan = partition.report.graph, partition.report.plan
    kept = [k for k in graph.kernels if k.cpu_only]
    assert {k.op for k in kept} == expected
    on_cpu = {k for s in plan.segments if s.device == "cpu" for k in s.kernels}
    assert {k.index for k in kept} <= on_cpu
    assert options != {"ratio": 1.0} or any(s.device == "gpu" for s in plan.segments)
    text = partition.report.to_text()
    assert all(k.cpu_only in text and f"{k.op} stays on the CPU: TVM's GPU code" in k.cpu_only for k in kept)
    with tvm.transform.PassContext(opt_level=3):
        module = tvm_coexec.create(relay.build(split, target=tvm_coexec.targets()))
    inputs = models.input_of(mod)
    want = models.reference(mod, inputs)
    module.set_input(**inputs)
    for _ in range(2):
        module.run()
        models.assert_same([module.get_output(i).numpy() for i in range(len(want))], want)


@pytest.mark.parametrize("name", ["cumsum", "scatter_elements", "argmax", "vision.get_valid_counts"])
def test_others_may_run_on_a_gpu(name):
    """Scans, scatter and reductions of TVM's are right there."""
    assert name not in RULES or not RULES[name].cpu_only(None)
