"""What TVM can't compile for the GPU: it stays on the CPU, results are right, and the reason is in the report."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import autotvm, relay
from tvm.relay.backend import te_compiler

import tvm_coexec
from tests import models
from tvm_coexec import CoExecError, Plan
from tvm_coexec.core.plan import Segment
from tvm_coexec.cost_models import AnalyticCosts, Link, MeasuredCosts, Roofline
from tvm_coexec.cost_models.measured import UNUSABLE_S, WHOLE
from tvm_coexec.partition import CoExecPartition
from tvm_coexec.planner import STRATEGIES
from tvm_coexec.relay_passes import compilable
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare
from tvm_coexec.relay_passes.rules import RULES, Rule

pytestmark = pytest.mark.llvm

UNSUPPORTED = "Unsupported group_conv2d layout NHWC"


def nhwc(rng, x, channels_in: int, channels: int, groups: int = 1, kernel: int = 3, **attrs) -> relay.Expr:
    """Convolution and ReLU in NHWC; depthwise where there are as many groups as inputs."""
    is_depthwise = groups == channels_in and groups > 1
    shape = (
        (kernel, kernel, channels_in, channels // groups) if is_depthwise else (kernel, kernel, channels_in // groups)
    )
    weight = relay.const((rng.standard_normal(shape if is_depthwise else (*shape, channels)) / 4).astype("float32"))
    y = relay.nn.conv2d(
        x, weight, channels=channels, kernel_size=(kernel, kernel), groups=groups, padding=(kernel // 2,) * 2,
        data_layout="NHWC", kernel_layout="HWOI" if is_depthwise else "HWIO", **attrs,
    )  # fmt: skip
    return relay.nn.relu(y)


def grouped_net() -> tvm.IRModule:
    """Four convolutions in NHWC, of which TVM has none for a GPU of the second."""
    rng = np.random.default_rng(3)
    x = relay.var("x", shape=(1, 15, 13, 8))
    y = nhwc(rng, x, 8, 16)
    y = nhwc(rng, y, 16, 16, groups=4, strides=(2, 1))
    y = nhwc(rng, y, 16, 16, groups=16, kernel=5)
    return typed(nhwc(rng, y, 16, 12, kernel=1))


def depthwise_net(channels: int, multiplier: int) -> tvm.IRModule:
    """A depthwise convolution in NHWC whose schedule suits some numbers of channels."""
    rng = np.random.default_rng(4)
    x = relay.var("x", shape=(1, 9, 11, channels))
    return typed(nhwc(rng, x, channels, channels * multiplier, groups=channels))


def without_schedule_net() -> tvm.IRModule:
    """Operators that have an implementation for CPUs only (dilation), or one that binds no threads."""
    rng = np.random.default_rng(5)
    x, offset = relay.var("x", shape=(1, 7, 9, 4)), relay.var("offset", shape=(1, 5, 7, 18))
    weight = relay.const(rng.standard_normal((3, 3, 4, 6)).astype("float32"))
    y = relay.nn.deformable_conv2d(
        x, offset * relay.const(0.1), weight, channels=6, kernel_size=(3, 3), data_layout="NHWC", kernel_layout="HWIO"
    )
    y = relay.transpose(relay.nn.relu(y), (0, 3, 1, 2))
    y = relay.image.dilation2d(y, relay.const(rng.standard_normal((6, 2, 3)).astype("float32")))
    return typed(models.conv(rng, relay.tanh(y), 6, 8))


def typed(body: relay.Expr) -> tvm.IRModule:
    return relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function(relay.analysis.free_vars(body), body)))


def fast_gpu(upload_s: float = 1e-7) -> AnalyticCosts:
    """Costs by which everything belongs on the GPU."""
    slow, fast, link = Roofline(1e9, 1e12, 0.0), Roofline(1e12, 1e12, 0.0), Link(upload_s, 1e-12)
    return AnalyticCosts(slow, fast, link, link, link)


def partitioned(mod: tvm.IRModule, **options) -> tuple[tvm.IRModule, CoExecPartition]:
    partition = CoExecPartition(**options)
    with tvm.transform.PassContext(opt_level=3):
        return partition(mod), partition


def built(mod: tvm.IRModule, **options):
    """The executor factory, and the report."""
    divided, partition = partitioned(mod, **options)
    with tvm.transform.PassContext(opt_level=3):
        return relay.build(divided, target=tvm_coexec.targets(models.CPU)), partition.report


def whole_on_gpu(plan: Plan) -> set[int]:
    return {k for s in plan.segments if s.device == "gpu" for k in s.kernels}


NETS = {
    "grouped": grouped_net,
    "depthwise": lambda: depthwise_net(6, 2),
    "without a schedule": without_schedule_net,
}
FORCED = [dict(ratio=0.5), dict(ratio=0.5, axis="oc"), dict(ratio=0.3, axis="h"), dict(ratio=1.0)]


@pytest.mark.opencl
@pytest.mark.parametrize("name", NETS)
def test_forced_ratios_give_right_numbers(name):
    mod = NETS[name]()
    inputs = models.input_of(mod)
    want = models.reference(mod, inputs)
    for options in FORCED:
        lib, report = built(mod, **options)
        models.assert_same(models.run(lib, inputs, [tvm.cpu(), tvm.opencl()]), want)
        if options == dict(ratio=1.0):
            assert whole_on_gpu(report.plan) or len(report.graph.kernels) == 1


@pytest.mark.opencl
@pytest.mark.parametrize("channels, multiplier", [(6, 2), (5, 3), (8, 1), (12, 2)])
def test_shares_of_depthwise_convolutions(channels, multiplier):
    """Of some the GPU takes the whole and not the share, or a share along one axis and not the other."""
    mod = depthwise_net(channels, multiplier)
    inputs = models.input_of(mod)
    want = models.reference(mod, inputs)
    for options in (dict(ratio=0.5, axis="oc"), dict(ratio=0.25, axis="oc"), dict(ratio=0.6, axis="h")):
        lib, report = built(mod, **options)
        models.assert_same(models.run(lib, inputs, [tvm.cpu(), tvm.opencl()]), want)
        assert report.plan.chains or f"GPU's share along '{options['axis']}' for opencl" in report.plan.notes["0"]


@pytest.mark.opencl
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_by_cost(strategy):
    mod = grouped_net()
    inputs = models.input_of(mod)
    lib, report = built(mod, strategy=strategy, profile=fast_gpu())
    models.assert_same(models.run(lib, inputs, [tvm.cpu(), tvm.opencl()]), models.reference(mod, inputs))
    assert 1 not in whole_on_gpu(report.plan)
    divided = [c for c in report.plan.chains if 1 in c.kernels]
    assert all(rows == (0, 4) for rows in gpu_rows(report, 1))  # one of four groups is an ordinary convolution
    if whole_on_gpu(report.plan) and not divided:  # else nothing was asked: mulayer, say, may stay on the CPU
        assert strategy == "neurosurgeon" or whole_on_gpu(report.plan) == {0, 2, 3}
        assert UNSUPPORTED in report.plan.notes["1"] and UNSUPPORTED in report.to_text()


def gpu_rows(report, kernel: int) -> list[tuple[int, int]]:
    """What the GPU computes of a kernel."""
    chains = [c for c in report.plan.chains if kernel in c.kernels]
    return [c.shares(report.graph).gpu[kernel] for c in chains]


@pytest.mark.opencl
@pytest.mark.parametrize("strategy", ["coexec", "codl", "exhaustive"])
def test_only_the_shares_that_are_refused_are_left_out(strategy):
    """Of a grouped convolution the GPU can take one group; a planner that would give it more gives it that."""
    rng = np.random.default_rng(3)
    x = relay.var("x", shape=(1, 15, 13, 16))
    mod = typed(nhwc(rng, x, 16, 16, groups=4))
    inputs = models.input_of(mod)
    lib, report = built(mod, strategy=strategy, profile=fast_gpu(), axis="oc", min_gain=0.0)
    assert gpu_rows(report, 0) == [(0, 4)]
    axis = report.graph.kernels[0].named_axis("oc")
    assert (
        axis.refused_rows and not set(axis.refused_rows) & {4} and UNSUPPORTED in report.graph.kernels[0].refusal("oc")
    )
    models.assert_same(models.run(lib, inputs, [tvm.cpu(), tvm.opencl()]), models.reference(mod, inputs))
    replayed = Plan(report.plan.graph, (Segment("split", (0,), "oc", axis.refused_rows[0]),))
    with pytest.raises(CoExecError, match=r"the GPU's part of kernel 0 .* would be \d+ of 16: TVM can't compile"):
        replayed.check(report.graph)


@pytest.mark.slow
def test_only_what_is_refused_is_left_whole():
    """The other convolutions of a chain are divided as before, whatever is alike among their shapes."""
    for axis in ("oc", "h"):
        _, partition = partitioned(grouped_net(), ratio=0.5, axis=axis)
        report = partition.report
        assert {k for c in report.plan.chains for k in c.kernels} == {0, 2, 3}
        assert report.plan.notes == {
            "1": f"TVM can't compile the GPU's share along '{axis}' for opencl ({UNSUPPORTED})"
        }
    # a quarter of four groups is an ordinary convolution, which TVM can compile
    _, partition = partitioned(grouped_net(), ratio=0.25, axis="oc")
    assert {k for c in partition.report.plan.chains for k in c.kernels} == {0, 1, 2, 3}


def test_reasons_say_what_is_missing():
    _, partition = partitioned(without_schedule_net(), ratio=1.0)
    notes = partition.report.plan.notes
    found = {op: str(k.index) for k in partition.report.graph.kernels for op in k.name.split("+")}
    assert "its schedule leaves a loop outside the GPU's threads" in notes[found["nn.deformable_conv2d"]]
    assert "schedule not registered for 'opencl')" in notes[found["image.dilation2d"]]


@pytest.mark.slow
@pytest.mark.parametrize("gpu", ["opencl -device=mali", "opencl -device=intel_graphics", "vulkan"])
def test_other_targets_refuse_other_things(gpu):
    """TVM raises when it chooses their layouts, already."""
    mod = grouped_net()
    for options in FORCED:
        _, partition = partitioned(mod, gpu=gpu, **options)
        plan = partition.report.plan
        assert 1 not in whole_on_gpu(plan) and all(1 not in c.kernels for c in plan.chains)
        kind = gpu.split()[0]
        assert f" for {kind} (" in plan.notes["1"] and " -keys" not in plan.notes["1"]


@pytest.mark.slow
def test_a_kernel_is_asked_for_once(monkeypatch):
    asked = []
    ask = compilable._try_to_lower
    monkeypatch.setattr(compilable, "_reasons", type(compilable._reasons)())
    monkeypatch.setattr(compilable, "_try_to_lower", lambda kernel, gpu: asked.append(str(gpu)) or ask(kernel, gpu))
    partitioned(grouped_net(), ratio=0.5, axis="oc")
    first = len(asked)
    assert 3 <= first <= 4  # the ordinary, the grouped, the depthwise and the pointwise one
    partitioned(grouped_net(), ratio=0.5, axis="oc")
    assert len(asked) == first
    partitioned(grouped_net(), gpu="vulkan", ratio=0.5, axis="oc")
    assert len(asked) > first
    before = len(asked)
    partitioned(models.conv_chain(4), ratio=0.5, axis="oc")  # all four are alike
    assert len(asked) == before + 1
    with autotvm.FallbackContext():  # with other records TVM may choose other schedules
        partitioned(models.conv_chain(4), ratio=0.5, axis="oc")
    assert len(asked) == before + 2


@pytest.mark.slow
def test_the_check_leaves_no_state():
    """TVM's own compiler must not hand out kernels that were emptied, nor stay silent about untuned ones."""
    info, silent = te_compiler.libinfo, autotvm.GLOBAL_SCOPE.silent
    te_compiler.get().clear()
    partitioned(without_schedule_net(), ratio=1.0)
    partitioned(grouped_net(), ratio=0.5)
    assert not te_compiler.get().items()
    assert te_compiler.libinfo is info and autotvm.GLOBAL_SCOPE.silent == silent


def test_a_replayed_plan_is_refused_with_the_kernel_and_the_reason(tmp_path):
    mod = grouped_net()
    with tvm.transform.PassContext(opt_level=3):
        graph = extract(Prepare()(mod))
    on_gpu = Plan(graph.fingerprint(), (Segment("gpu", (0, 1, 2, 3)),))
    split = Plan(graph.fingerprint(), (Segment("cpu", (0,)), Segment("split", (1, 2), "oc", 8), Segment("cpu", (3,))))
    file = tmp_path / "plan.json"
    for plan, where in (
        (on_gpu, "segment 0 of the plan puts kernel 1"),
        (split, "segment 1 of the plan can't be split"),
    ):
        plan.save(str(file))
        with pytest.raises(CoExecError, match=UNSUPPORTED) as error:
            partitioned(mod, plan=str(file))
        text = str(error.value)
        assert text.startswith(f"{file}: {where}") and "kernel 1 (nn.conv2d+nn.relu)" in text and "\n" not in text
    fine = Plan(graph.fingerprint(), (Segment("gpu", (0,)), Segment("cpu", (1,)), Segment("gpu", (2, 3))))
    _, partition = partitioned(mod, plan=fine)
    assert partition.report.plan is fine


def test_what_failed_when_it_was_measured_is_not_planned_for_the_gpu():
    """Measured costs know that a kernel failed, and TVM says why, if it does not compile."""
    link = Link(1e-7, 1e-12)
    costs = MeasuredCosts(link, link, link, fallback=fast_gpu())
    mod = grouped_net()
    with tvm.transform.PassContext(opt_level=3):
        graph = extract(Prepare()(mod))
    for index in (1, 3):
        costs.add("gpu", graph.kernels[index].signature(), WHOLE, 0, UNUSABLE_S)
    _, partition = partitioned(mod, profile=costs, strategy="single")
    report = partition.report
    assert whole_on_gpu(report.plan) == {0, 2} and max(report.alone_s().values()) < 1.0
    assert report.plan.notes["1"] == f"TVM can't compile it for opencl ({UNSUPPORTED})"
    assert report.plan.notes["3"] == "it failed when measured on the GPU"


@pytest.mark.slow
def test_a_rule_can_keep_an_operator_off_the_gpu(monkeypatch):
    """What the compiler takes may still be wrong on a GPU; the operator's rule says so."""

    class Kept(Rule):
        def splits(self, call):
            return stock.splits(call)

        def cpu_only(self, call):
            return "tanh is wrong on some GPUs" if len(call.checked_type.shape) == 4 else ""

    stock = RULES["tanh"]
    monkeypatch.setitem(RULES, "tanh", Kept())
    rng = np.random.default_rng(6)
    x = relay.var("x", shape=(1, 6, 12, 12))
    y = relay.tanh(models.conv(rng, relay.nn.max_pool2d(models.conv(rng, x, 6, 8), (2, 2), (2, 2)), 8, 8))
    flat = relay.tanh(relay.nn.dense(relay.nn.batch_flatten(y), models.weights(rng, 10, 8 * 6 * 6)))
    mod = typed(flat)
    for options in (
        dict(ratio=1.0),
        dict(ratio=0.5),
        dict(profile=fast_gpu()),
        dict(profile=fast_gpu(), strategy="codl"),
    ):
        _, partition = partitioned(mod, **options)
        plan, graph = partition.report.plan, partition.report.graph
        kept = [k.index for k in graph.kernels if k.cpu_only]
        assert len(kept) == 1 and "tanh" in graph.kernels[kept[0]].name and not graph.kernels[kept[0]].axes
        assert kept[0] not in whole_on_gpu(plan) and all(kept[0] not in c.kernels for c in plan.chains)
        assert plan.notes[str(kept[0])] == "tanh is wrong on some GPUs"
        assert "tanh is wrong on some GPUs" in partition.report.to_text()


@pytest.mark.slow
def test_networks_without_such_operators_are_planned_once(monkeypatch):
    from tvm_coexec import partition as conductor

    calls = []
    make = conductor.planner.make_plan
    monkeypatch.setattr(conductor.planner, "make_plan", lambda *a, **k: calls.append(1) or make(*a, **k))
    for net in (models.residual_net(), models.fire_net()):
        for options in FORCED:
            calls.clear()
            _, partition = partitioned(net, **options)
            assert len(calls) == 1
            assert not any(k.refused or k.cpu_only for k in partition.report.graph.kernels)


@pytest.mark.opencl
def test_functions_that_opencl_has_under_other_names_stay_on_the_cpu():
    """TVM emits tanf, asinf and so on, which only the driver's compiler refuses."""
    rng = np.random.default_rng(0)
    x = relay.var("x", shape=(1, 4, 6, 5))
    weight = relay.const(rng.standard_normal((8, 4, 3, 3)).astype("float32"))
    conv = relay.nn.conv2d(x, weight, padding=(1, 1), channels=8, kernel_size=(3, 3))
    inside = relay.sigmoid(conv)  # between 0 and 1
    names = ("acos", "asin", "asinh", "atan", "atanh", "tan")
    values = [getattr(relay, name)(inside * relay.const(0.9)) for name in names]
    values += [relay.acosh(inside + relay.const(1.0)), relay.mod(conv, relay.const(0.7)), relay.sinh(inside)]
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.Tuple(values)))
    partition = CoExecPartition(ratio=1.0)
    made = partition(mod)
    graph = partition.report.graph
    reasons = {k.cpu_only for k in graph.kernels if k.cpu_only}
    text = "TVM can't compile it for opencl (its code calls {} by a name that opencl lacks)"
    assert reasons == {text.format(name) for name in (*names, "acosh", "mod")}
    assert any("conv2d" in k.name and not k.cpu_only for k in graph.kernels)
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(made, target=tvm_coexec.targets())
        alone = relay.build(mod, target="llvm")
    data = rng.standard_normal((1, 4, 6, 5)).astype("float32")
    modules = [tvm_coexec.create(lib), tvm_coexec.create(alone)]
    for module in modules:
        module.run(x=data)
    for i in range(len(values)):
        got, want = (m.get_output(i).numpy() for m in modules)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
