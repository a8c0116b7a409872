"""tvmc, traces and RPC with a Vulkan device: one network, compiled once by each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tests.cli.conftest import Done, coexec  # noqa: F401 (a fixture)
from tests.remote.servers import serving
from tests.tvmc.conftest import call
from tests.tvmc.nets import masked_network, references, relative_error
from tvm_coexec import remote
from tvm_coexec.tracing import record
from tvm_coexec.vulkan import runtime

pytestmark = [pytest.mark.llvm, pytest.mark.vulkan]


def test_tvmc_compiles_runs_and_profiles(
    capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx = pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    model, rng = masked_network(), np.random.default_rng(2)
    onnx.save(model, "m.onnx")
    options = ["--target", "llvm, vulkan", "--coexec-ratio", "0.5", "-o", "m.tar"]
    assert call(capsys, "compile", "--coexec", *options, "m.onnx").code == 0
    inputs = {
        "bild_ö": rng.standard_normal((1, 3, 10, 10)).astype("float32"),
        "マスク": rng.random((1, 16, 1, 10)) < 0.3,
    }
    np.savez("in.npz", **inputs)
    done = call(capsys, "run", "m.tar", "-i", "in.npz", "-o", "out.npz", "--profile", "--profile-trace", "t.json")
    assert done.code == 0, done.err
    expected = references(model, inputs)
    with np.load("out.npz") as outputs:
        assert relative_error(outputs["output_0"], expected[0]) < 1e-4
        np.testing.assert_array_equal(outputs["output_1"], expected[1])
    events = json.loads(Path("t.json").read_text())
    assert any("conv2d" in str(e.get("name")) for e in events.get("traceEvents", events))


def test_a_trace_has_the_devices_times() -> None:
    mod = models.conv_chain(2)
    lib = tvm_coexec.build(mod, {}, gpu="vulkan", ratio=0.5, axis="oc")
    made = record(lib, models.input_of(mod), runs=3, warm_up=1)
    for timeline in made.timelines:
        kernels = timeline.lane("gpu")
        assert len(kernels) >= 2 and all(k.end_s > k.start_s for k in kernels)


@pytest.mark.remote
def test_over_rpc(tmp_path: Path) -> None:
    mod = models.conv_chain(2)
    inputs = models.input_of(mod)
    lib = tvm_coexec.build(mod, {}, gpu="vulkan", ratio=0.5, axis="h")
    lib.export_library(str(tmp_path / "net.so"))
    with serving("tvm_coexec.rpc_server") as address:
        host, port = address.split(":")
        session = tvm.rpc.connect(host, int(port))
        board = remote.describe(session)
        session.upload(str(tmp_path / "net.so"))
        there, devices = session.load_module("net.so"), [session.cpu(), session.device("vulkan", 0)]
        module = tvm_coexec.create(there, devices)
        module.set_input(**inputs)
        module.run()
        found = module.get_output(0).numpy()
        del module
        made = record(there, inputs, runs=2, warm_up=1, devices=devices)
        del there
    models.assert_same([found], models.reference(mod, inputs))
    assert board.vulkan == "own" and board.why_no_vulkan == ""
    (device,) = [d for d in board.devices if d["kind"] == "vulkan"]
    assert device["name"] == runtime.devices()[0].name and device["clock_ns"] > 0 and "method" in device["wait"]
    assert all(t.lane("gpu")[0].end_s > t.lane("gpu")[0].start_s for t in made.timelines)


@pytest.mark.remote
def test_a_server_without_wgpu_native_says_so(tmp_path: Path, coexec: Callable[..., Done]) -> None:  # noqa: F811
    lib = tvm_coexec.build(models.conv_chain(1), {}, gpu="vulkan", ratio=1.0)
    lib.export_library(str(tmp_path / "net.so"))
    with serving("tvm_coexec.rpc_server", TVM_COEXEC_LIBWGPU="/no/libwgpu.so") as address:
        done = coexec("connect", address)
        assert done.code == 0 and "Vulkan: the runtime of tvm-coexec; no device: " in done.out, done.err
        ran = coexec("trace", str(tmp_path / "net.so"), "--rpc", address)
    assert ran.code == 2 and ran.err.count("\n") == 1 and "/no/libwgpu.so" in ran.err


def test_the_pass_takes_both_names() -> None:
    mod = models.conv_chain(1)
    plans = []
    for name in ("vulkan", "webgpu"):
        split = relay.transform.CoExecPartition("llvm", name, ratio=0.5, axis="oc")(mod)
        plans.append(tvm_coexec.plan_of(split).segments)
    assert plans[0] == plans[1]
