"""Fused kernels with records in force: wrong numbers are found, right ones timed; what shares are expected to take."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]

tvm = pytest.importorskip("tvm")
from tvm import autotvm, relay  # noqa: E402
from tvm.autotvm.measure import MeasureInput, MeasureResult  # noqa: E402

from tests import models  # noqa: E402
from tests.tuning.loop import nets  # noqa: E402
from tvm_coexec.cost_models.measured import WHOLE  # noqa: E402
from tvm_coexec.measuring.kernel_meter import Timing  # noqa: E402
from tvm_coexec.measuring.pieces import KernelBuilder  # noqa: E402
from tvm_coexec.relay_passes.extract import extract_with_calls  # noqa: E402
from tvm_coexec.relay_passes.prepare import Prepare  # noqa: E402
from tvm_coexec.targets import targets  # noqa: E402
from tvm_coexec.tuning.loop import kernels  # noqa: E402
from tvm_coexec.tuning.loop.folder import Journal  # noqa: E402
from tvm_coexec.tuning.loop.refine import Expectations, PartTime  # noqa: E402
from tvm_coexec.tuning.parts import Part  # noqa: E402
from tvm_coexec.tuning.records import Records  # noqa: E402
from tvm_coexec.tuning.tuners import autotvm_workloads  # noqa: E402

GROUPED = "group_conv2d_nchw.x86"


@pytest.fixture(scope="module")
def builder():
    """A grouped convolution, 12 channels a group."""
    rng = np.random.default_rng(0)
    x = relay.var("x", shape=(1, 36, 14, 14))
    mod = tvm.IRModule.from_expr(relay.Function([x], models.conv(rng, x, 36, 36, groups=3)))
    prepared = Prepare()(mod)
    return KernelBuilder(prepared, extract_with_calls(prepared), *targets(nets.CPU, nets.GPU))


@pytest.fixture
def checks(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "TIMING", Timing(repeats=2, min_repeat_ms=1, patience_s=0.0, settle_s=0.0))
    made = kernels.KernelChecks(builder, Journal(tmp_path / "kernels.jsonl"))
    yield made
    made.close()


def record(builder, part: Part, template: str, seconds: float, **blocks: int):
    """A record of a part's task whose innermost factors are those given."""
    target = builder.gpu if part.device == "gpu" else builder.cpu
    workload = next(w for w in autotvm_workloads(builder.unaltered(part.piece), target) if w[0] == template)
    task = autotvm.task.create(workload[0], workload[1:], target)
    space = task.config_space
    index = next(
        i for i in range(len(space)) if all(space.get(i)[name].size[-1] == block for name, block in blocks.items())
    )
    return MeasureInput(target, task, space.get(index)), MeasureResult((seconds,), 0, 0.1, 0.0)


def test_wrong_sums_are_found(builder, checks):
    part = Part("cpu", (0,), "conv")
    wrong = Records((record(builder, part, GROUPED, 1e-5, tile_ic=9, tile_oc=12),))
    found = checks.check(part, wrong)
    assert "of the largest value from the untuned CPU's" in found.error and found.seconds == 0.0
    right = Records((record(builder, part, GROUPED, 1e-5, tile_ic=12, tile_oc=12),))
    found = checks.check(part, right)
    assert not found.error and 0 < found.seconds < 1
    lines = checks.journal.path.read_text().count("\n")
    assert checks.check(part, right) == found and checks.journal.path.read_text().count("\n") == lines


@pytest.mark.parametrize("device, rows", [("gpu", (0, 12)), ("cpu", (12, 36))])
def test_shares_of_both_devices(builder, checks, device, rows):
    axis = next(a for a in builder.graph.kernels[0].axes if a.name == "oc")
    part = Part(device, (0,), "conv", "oc", axis.extent, rows, axis.dim)
    found = checks.check(part, Records(()))
    assert not found.error and 0 < found.seconds < 1


def test_a_kernel_that_can_not_be_built_is_an_error(builder, checks, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such intrinsic")

    monkeypatch.setattr(builder, "function", fail)
    assert checks.check(Part("cpu", (0,), "conv"), Records(())).error == "no such intrinsic"


def test_shares_are_expected_to_take_what_adapted_records_promise(builder):
    part = Part("cpu", (0,), "conv")
    pair = record(builder, part, GROUPED, 1e-5, tile_ic=12, tile_oc=12)
    expectations = Expectations(builder)
    found = expectations.expect([PartTime(part, 3e-5, 1e-5)], Records((pair,)))
    by_dim = {(k.dim, k.rows): k.seconds for k in found}
    assert by_dim[WHOLE, 0] == pytest.approx(3e-5), "its own record, times what fusing adds"
    shares = {key: s for key, s in by_dim.items() if key[0] != WHOLE}
    assert shares and all(0 < s < 3e-5 for s in shares.values())
    assert expectations.expect([PartTime(part, 3e-5, 1e-5)], Records(())) == []
