"""Shares compiled with adapted records compute what the unsplit model computes, on both devices."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow]

tvm = pytest.importorskip("tvm")

from tvm import relay  # noqa: E402
from tvm.contrib import graph_executor  # noqa: E402

import tvm_coexec  # noqa: E402
from tests import models  # noqa: E402
from tests.tuning import made  # noqa: E402
from tvm_coexec.core.plan import Plan, Segment  # noqa: E402
from tvm_coexec.relay_passes.extract import extract_with_calls  # noqa: E402
from tvm_coexec.relay_passes.prepare import Prepare  # noqa: E402
from tvm_coexec.tuning.serving import apply_records  # noqa: E402


def network() -> tvm.IRModule:
    """A strided 3x3 convolution, a 1x1, a depthwise and a grouped one, a dense layer and a batched product."""
    rng = np.random.default_rng(7)
    x = relay.var("x", shape=(1, 6, 23, 23))
    y = models.conv(rng, x, 6, 20, strides=(2, 2))
    y = models.conv(rng, y, 20, 24, kernel=1)
    y = models.conv(rng, y, 24, 24, groups=24)
    y = models.conv(rng, y, 24, 18, groups=6, strides=(2, 2))
    rows = relay.reshape(y, (18, 36))
    dense = relay.nn.relu(relay.nn.dense(rows, models.weights(rng, 40, 36), units=40))
    batched = relay.reshape(dense, (3, 6, 40))
    z = relay.nn.batch_matmul(batched, models.weights(rng, 3, 15, 40))
    return tvm.IRModule.from_expr(relay.Function([x], z))


# The cut of each kernel along its axis, in order: odd ones, that no tile divides.
PLANS = [
    (("oc", 13), ("oc", 7), ("oc", 11), ("oc", 9), ("n", 23), ("n", 7)),
    (("h", 5), ("h", 7), ("h", 5), ("h", 1), ("m", 11), ("m", 5)),
    (("ic", 3), ("ic", 13), ("w", 7), ("w", 5), ("n", 3), ("batch", 1)),
]


def plan_of(graph, cuts) -> Plan:
    wanted, segments = iter(cuts), []
    for k in graph.kernels:
        if not k.is_heavy:
            segments.append(Segment("cpu", (k.index,)))
            continue
        axis, cut = next(wanted)
        segments.append(Segment("split", (k.index,), axis, cut))
    return Plan(graph.fingerprint(), tuple(segments))


@pytest.fixture(scope="module")
def net() -> tvm.IRModule:
    return network()


@pytest.fixture(scope="module")
def records(net):
    """Records of the whole kernels only."""
    tasks = tvm_coexec.extract_tasks(net, profile="generic", cpu=made.CPU, gpu=made.GPU)
    assert {t.task.name for t in tasks} >= {
        *("conv2d_NCHWc.x86", "depthwise_conv2d_NCHWc.x86", "group_conv2d_nchw.x86", "dense_pack.x86"),
        *("batch_matmul.x86", "conv2d_nchw.cuda", "depthwise_conv2d_nchw.cuda", "group_conv2d_nchw.cuda"),
        *("dense_small_batch.gpu", "batch_matmul.cuda"),
    }
    return made.make_records([t.task for t in tasks if "winograd" not in t.task.name], count=2, seed=3)


@pytest.fixture(scope="module")
def expected(net):
    data = models.input_of(net)
    module = graph_executor.GraphModule(relay.build(net, target="llvm")["default"](tvm.cpu()))
    module.run(**data)
    return data, module.get_output(0).numpy()


@pytest.mark.parametrize("cuts", PLANS, ids=lambda c: "-".join(axis for axis, _ in c))
def test_equal_to_the_unsplit_model(net, records, expected, cuts):
    data, want = expected
    with tvm.transform.PassContext(opt_level=3):
        plan = plan_of(extract_with_calls(Prepare()(net)).graph, cuts)
        with apply_records(records, [made.CPU, made.GPU]):
            partition = tvm_coexec.CoExecPartition(made.CPU, made.GPU, plan=plan)
            lib = relay.build(partition(net), target=tvm_coexec.targets(made.CPU, made.GPU))
    sources = partition.report.sources
    adapted = {(s.device, s.template) for s in sources if s.source.startswith("adapted")}
    assert len(sources) == 12 and len(adapted) >= 10, [(s.device, s.template, s.source) for s in sources]
    module = graph_executor.GraphModule(lib["default"](tvm.cpu(), tvm.opencl()))
    module.run(**data)
    np.testing.assert_allclose(module.get_output(0).numpy(), want, rtol=1e-4, atol=1e-4)
