"""The whole pass: how it behaves among TVM's passes, what it refuses, what it leaves alone."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tvm_coexec import CoExecError
from tvm_coexec.cost_models import AnalyticCosts
from tvm_coexec.opencl import runtime
from tvm_coexec.partition import PLAN_ATTR

pytestmark = pytest.mark.llvm


def test_is_a_relay_transform_with_a_name():
    one = relay.transform.CoExecPartition(ratio=0.5)
    assert one.info.name == "CoExecPartition"
    assert "CoExecPartition" in str(one)


def test_composes_in_a_sequential():
    passes = tvm.transform.Sequential([relay.transform.InferType(), relay.transform.CoExecPartition(ratio=0.5)])
    assert PLAN_ATTR in passes(models.conv_chain())["main"].attrs.keys()  # noqa: SIM118 (DictAttrs has no `in`)


def test_is_found_by_name():
    assert tvm.get_global_func("relay._transform.CoExecPartition")().info.name == "CoExecPartition"


def test_is_idempotent():
    once = relay.transform.CoExecPartition(ratio=0.5)(models.residual_net())
    twice = relay.transform.CoExecPartition(ratio=0.3, axis="oc")(once)
    assert tvm.ir.structural_equal(once, twice)


def test_does_not_change_its_input():
    mod = models.residual_net()
    before = mod.astext()
    relay.transform.CoExecPartition(ratio=0.5)(mod)
    assert mod.astext() == before


def test_same_module_same_text():
    texts = {relay.transform.CoExecPartition(ratio=0.5)(models.residual_net()).astext(False) for _ in range(2)}
    assert len(texts) == 1


@pytest.mark.slow
def test_plan_can_be_replayed_from_text_file_and_object(tmp_path):
    mod = models.residual_net()
    made = relay.transform.CoExecPartition(ratio=0.4, axis="oc")(mod)
    plan = tvm_coexec.plan_of(made)
    plan.save(str(tmp_path / "plan.json"))
    for source in (plan, plan.to_json(), tmp_path / "plan.json", str(tmp_path / "plan.json")):
        again = relay.transform.CoExecPartition(plan=source)(mod)
        assert tvm.ir.structural_equal(made, again)


def test_plan_for_another_model_is_refused():
    plan = tvm_coexec.plan_of(relay.transform.CoExecPartition(ratio=0.5)(models.fire_net()))
    with pytest.raises(CoExecError, match="made for another model or other shapes"):
        relay.transform.CoExecPartition(plan=plan)(models.residual_net())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"cpu": "llvmx"}, "cpu target 'llvmx' is not a TVM target"),
        ({"cpu": "opencl"}, "cpu target 'opencl' is not a CPU target"),
        ({"gpu": "llvm"}, "gpu target 'llvm' is a CPU target"),
        ({"gpu": "opencl -nonsense=1"}, "gpu target 'opencl -nonsense=1' is not a TVM target"),
        ({"ratio": 2}, "ratio 2 must be auto or a number"),
        ({"axis": "z"}, "axis 'z' is unknown"),
        ({"strategy": "luck"}, "strategy 'luck' is unknown"),
        ({"plan": "/nowhere/plan.json"}, "plan '/nowhere/plan.json' is not a file"),
        ({"plan": "{"}, "plan is not JSON"),
        ({"plan": 3}, "plan 3 must be a Plan, its JSON text or a path, not int"),
    ],
)
def test_bad_options_are_one_sentence(options, text):
    with pytest.raises(CoExecError) as caught:
        relay.transform.CoExecPartition(**options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_profile_is_one_sentence(tmp_path):
    path = tmp_path / "profile.json"
    for content, text in (("{", "is not JSON"), ("{}", "is not a profile of version 1")):
        path.write_text(content)
        with pytest.raises(CoExecError, match=text):
            relay.transform.CoExecPartition(profile=str(path))(models.conv_chain())


class LooksLikeCosts:
    """Has every method of a cost model and is none."""

    upload = download = host_copy = None

    def whole_s(self, device, kernel): ...

    def shares_s(self, device, kernel, dim, ranges): ...

    def slowdown(self, device): ...


@pytest.mark.parametrize("profile", [7, {"cpu": 1.0}, LooksLikeCosts(), AnalyticCosts])
def test_what_is_no_cost_model_is_refused(profile):
    with pytest.raises(CoExecError, match=rf"profile must be .*Costs\), not {type(profile).__name__}$"):
        relay.transform.CoExecPartition(profile=profile)(models.conv_chain())


def test_control_flow_stays_whole_with_a_reason():
    x, c = relay.var("x", shape=(1, 8, 8, 8)), relay.var("c", shape=(), dtype="bool")
    mod = tvm.IRModule.from_expr(relay.Function([x, c], relay.If(c, relay.nn.relu(x), x)))
    made = relay.transform.CoExecPartition(ratio=0.5)
    assert tvm.ir.structural_equal(made(mod), mod)
    assert "control flow" in made.report.summary()


def test_unknown_operator_stays_whole_with_a_reason():
    x = relay.var("x", shape=(1, 8, 14, 14))
    y = models.conv(models.np.random.default_rng(0), relay.matrix_set_diag(x, relay.zeros((1, 8, 14), "float32")), 8, 8)
    partition = relay.transform.CoExecPartition(ratio=0.5)
    made = partition(tvm.IRModule.from_expr(relay.Function([x], y)))
    assert "no split rule for operator matrix_set_diag" in partition.report.to_text()
    assert tvm_coexec.plan_of(made).chains


def test_let_bound_models_are_understood():
    mod = relay.transform.ToANormalForm()(relay.transform.InferType()(models.conv_chain(2)))
    assert tvm_coexec.plan_of(relay.transform.CoExecPartition(ratio=0.5)(mod)).chains


def test_decisions_can_be_read_in_the_annotated_ir():
    from tvm_coexec.relay_passes.outline import OutlineSegments
    from tvm_coexec.relay_passes.prepare import Prepare

    mod = models.fire_net()
    plan = tvm_coexec.plan_of(relay.transform.CoExecPartition(ratio=0.5, axis="h")(mod))
    annotated = OutlineSegments(plan)(Prepare()(mod))
    chain = annotated["coexec_0_split"]
    assert str(chain.attrs["coexec.axis"]) == "h"
    assert int(chain.attrs["coexec.cut"]) == plan.segments[0].cut
    assert int(chain.attrs["coexec.extent"]) == 13
    assert "nn.conv2d" in annotated.astext(False)


def test_host_of_the_gpu_carries_the_cpu_options():
    cpu, gpu = tvm_coexec.targets("llvm -mcpu=core-avx2 -mattr=+fma", tvm.target.Target("opencl", host="llvm"))
    for target in (cpu, gpu.host):
        assert str(target.attrs["mcpu"]) == "core-avx2"
        assert [str(a) for a in target.attrs["mattr"]] == ["+fma"]


@pytest.mark.parametrize("gpu", ["opencl", "vulkan", "cuda", "metal"])
def test_any_gpu_target_places(gpu):
    mod = relay.transform.CoExecPartition(gpu=gpu, ratio=0.5)(models.conv_chain())
    kind = tvm.device(gpu).device_type
    assert f"device_type={kind}" in mod.astext(False)


def test_unknown_processors_are_refused():
    """LLVM would compile for a plain one."""
    with pytest.raises(CoExecError, match="LLVM knows no processor 'skylake-avx51'; did you mean skylake-avx512"):
        tvm_coexec.targets("llvm -mcpu=skylake-avx51")
    for known in ("llvm", "llvm -mcpu=core-avx2", "llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a76"):
        tvm_coexec.targets(known)


def test_errors_name_the_plan_file(tmp_path):
    path = tmp_path / "plan.json"
    tvm_coexec.plan_of(tvm_coexec.partition_for_coexec(models.conv_chain(2), ratio=0.5)).save(str(path))
    with pytest.raises(CoExecError, match=f"{path}: the plan was made for another model"):
        tvm_coexec.partition_for_coexec(models.conv_chain(3), plan=str(path))


@pytest.mark.opencl
@pytest.mark.parametrize(("dtype", "device"), [("float16", "gpu"), ("float16", "cpu"), ("float32", "gpu")])
def test_types_that_the_gpu_lacks(caplog, dtype, device):
    """Its driver would refuse the kernel when the module runs; the plan may be for another machine's, so it stays."""
    x = relay.var("x", shape=(1, 8, 10, 10), dtype=dtype)
    weight = relay.const(np.ones((8, 8, 3, 3), dtype))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.conv2d(x, weight, channels=8, kernel_size=(3, 3))))
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        tvm_coexec.partition_for_coexec(mod, ratio=float(device == "gpu"), axis="oc")
    warned = [m for r in caplog.records if "has no float16" in (m := r.getMessage())]
    assert len(warned) == (device == "gpu" and dtype == "float16" and not runtime.devices()[0].fp16)
    assert all("opencl device has no float16, so kernel 0 (nn.conv2d) of the plan can't run" in m for m in warned)
