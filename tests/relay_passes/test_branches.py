"""Parallel operators in a let chain: as planned at every level, and no node more for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.relay_passes.branches import keep_apart
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


def module(body) -> tvm.IRModule:
    return tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body))


def inception() -> tvm.IRModule:
    """Branches that read a value computed on the same device, which a pooling and a residual read as well."""
    rng = np.random.default_rng(1)
    s = models.conv(rng, relay.var("x", shape=(1, 4, 5, 6)), 4, 8, kernel=1)
    rows = [models.conv(rng, s, 8, 8, kernel=k) for k in (1, 3, 1)]
    return module(relay.concatenate([relay.nn.max_pool2d(s, (3, 3), padding=(1, 1)), rows[0] + s, *rows[1:]], axis=1))


def queries_keys_values() -> tvm.IRModule:
    """Products that read an input, each a chain of its own."""
    rng = np.random.default_rng(2)
    x = relay.var("x", shape=(5, 16))
    q, k, v = (
        relay.nn.bias_add(relay.nn.dense(x, models.weights(rng, 16, 16)), models.weights(rng, 16)) for _ in "qkv"
    )
    return module(relay.Tuple([relay.nn.relu(q), k, relay.tanh(v)]))


def heads() -> tvm.IRModule:
    """Batched products that read one value."""
    rng = np.random.default_rng(3)
    x = relay.exp(relay.var("x", shape=(4, 5, 8)))
    return module(relay.Tuple([relay.nn.relu(relay.nn.batch_matmul(x, models.weights(rng, 4, 6, 8))) for _ in "abc"]))


def each(graph, device: str) -> list[Segment]:
    return [
        Segment("split", (k.index,), k.axes[0].name, k.axes[0].extent // 2)
        if device == "split" and k.is_heavy
        else Segment("gpu" if device == "gpu" or k.index % 2 else "cpu", (k.index,))
        for k in graph.kernels
    ]


@pytest.mark.parametrize(
    ("make", "plan"),
    [
        (inception, "together"),
        (queries_keys_values, "gpu"),
        (queries_keys_values, "split"),
        (heads, "together"),
    ],
)
def test_results_at_every_level(make, plan):
    """A module that was divided at one level is built at any."""
    mod = make()
    inputs = models.input_of(mod)
    want = models.reference(mod, inputs)
    graph = extract(Prepare()(mod))
    segments = [Segment("gpu", tuple(k.index for k in graph.kernels))] if plan == "together" else each(graph, plan)
    divided = tvm_coexec.partition_for_coexec(mod, plan=Plan(graph.fingerprint(), tuple(segments)))
    libs = {}
    for level in (1, 3, 4):
        with tvm.transform.PassContext(opt_level=level):
            libs[level] = relay.build(divided, target=tvm_coexec.targets(models.CPU))
    counts = {
        level: len([n for n in json.loads(lib.get_graph_json())["nodes"] if n["op"] != "null"])
        for level, lib in libs.items()
    }
    assert counts[3] == counts[4]  # nothing was merged
    if plan == "together":
        assert counts[1] == counts[3] == len(graph.kernels) + 1 + len(want)  # an upload, and downloads of results
    for level in (1, 4) if make is heads else (4,):
        models.assert_same(models.run(libs[level], inputs, [tvm.cpu(), tvm.opencl()]), want)


def test_fewer_branches_are_left_alone():
    x = relay.var("x", shape=(5, 16))
    binds = [(relay.var(f"y{n}"), relay.nn.dense(x, relay.var(f"w{n}", shape=(16, 16)))) for n in range(2)]
    assert all(a is b for (_, a), (_, b) in zip(keep_apart(binds), binds, strict=True))


def test_a_common_value_is_bound_once_on_the_device_that_computes_it():
    x = relay.var("x", shape=(5, 16))
    s = relay.exp(x)
    outs = [relay.nn.dense(s, relay.var(f"w{n}", shape=(16, 16))) for n in range(3)]
    value = relay.annotation.on_device(
        relay.Tuple([*outs, s]), tvm.opencl(), constrain_result=True, constrain_body=True
    )
    binds = keep_apart([(relay.var("coexec_7_gpu"), value)])
    assert [v.name_hint for v, _ in binds] == [*(f"coexec_7_gpu_{n}" for n in (1, 2, 3, 4)), "coexec_7_gpu"]
    (first, computed), *aliases, (_, rest) = binds
    assert computed.op.name == "on_device" and computed.attrs.virtual_device.device_type == tvm.opencl().device_type
    assert all(alias.same_as(first) for _, alias in aliases)
    fields = rest.args[0].fields
    assert fields[3].same_as(first)
    assert len({f.args[0] for f in fields[:3]}) == 3


@pytest.mark.parametrize("level", [0, 2])
def test_biases_fold_on_the_gpu_at_a_higher_level(level):
    """At level 3 relay.build expands them; what was divided at a lower one has them expanded by then."""
    rng = np.random.default_rng(4)
    x = relay.var("x", shape=(1, 4, 6, 7))
    y = relay.nn.conv2d(x, models.weights(rng, 8, 4, 3, 3), padding=(1, 1), channels=8, kernel_size=(3, 3))
    mod = module(relay.nn.relu(relay.nn.bias_add(y, models.weights(rng, 8))))
    inputs = models.input_of(mod)
    with tvm.transform.PassContext(opt_level=level):
        divided = tvm_coexec.partition_for_coexec(mod, ratio=0.5, axis="h")
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(divided, target=tvm_coexec.targets(models.CPU))
    models.assert_same(models.run(lib, inputs, [tvm.cpu(), tvm.opencl()]), models.reference(mod, inputs))
