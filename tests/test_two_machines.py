"""A network cut between two places: the halves compute what the whole does, wherever they run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
import tvm
from tvm import relay

from tests import models
from tests.cli.conftest import coexec  # noqa: F401 (a fixture)
from tests.remote.servers import kill_tree, start
from tests.tvmc.test_remote import PATIENCE_S, free_port, server, tracker  # noqa: F401 (a fixture)
from tvm_coexec import CoExecError, remote, two_machines
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.planner import make_plan
from tvm_coexec.two_machines import HERE, THERE, Source, TwoMachineRunner, split_at

pytestmark = pytest.mark.llvm


def cut_plan(mod: tvm.IRModule, at: int, first: str = "cpu") -> Plan:
    """So many kernels on the first device, the rest on the other one."""
    _, extracted = two_machines.prepare(mod)
    n = len(extracted.graph.kernels)
    second = "gpu" if first == "cpu" else "cpu"
    segments = [Segment(d, tuple(r)) for d, r in ((first, range(at)), (second, range(at, n))) if r]
    return Plan(extracted.graph.fingerprint(), tuple(segments), "neurosurgeon")


def two_inputs() -> tvm.IRModule:
    """The second input is read behind the cut, and an output comes from before it."""
    rng = np.random.default_rng(4)
    x, z = relay.var("x", shape=(1, 4, 10, 10)), relay.var("z", shape=(1, 8, 10, 10))
    a = models.conv(rng, x, 4, 8)
    b = models.conv(rng, a, 8, 8)
    return tvm.IRModule.from_expr(relay.Function([x, z], relay.Tuple([a, relay.add(b, z)])))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server with both devices, which takes a session at a time."""
    port = free_port()
    command = [sys.executable, "-m", "tvm_coexec.rpc_server", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--port-end", str(port + 1)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                remote.close(remote.connect(f"127.0.0.1:{port}"))
                break
            except CoExecError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.3)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_a_residual_crosses_alongside_its_branch():
    mod = models.residual_net()
    # kernels: conv, pool, conv of the branch, | conv, projection + sum, ...
    found = split_at(mod, None, cut_plan(mod, 3))
    first, second = found.parts
    assert (first.machine, second.machine) == (HERE, THERE)
    assert list(first.inputs) == ["x"] and first.inputs["x"] == Source(name="x")
    assert list(second.inputs) == ["coexec_cross0", "coexec_cross1"]
    assert sorted(s.output for s in second.inputs.values()) == [0, 1]
    assert found.outputs == (Source(1, 0),)
    assert [p.name_hint for p in second.mod["main"].params] == list(second.inputs)


@pytest.mark.remote
@pytest.mark.parametrize("first", ["cpu", "gpu"])
@pytest.mark.parametrize("at", [1, 3, 5])
def test_halves_equal_the_whole(address, at, first):
    mod = models.residual_net()
    inputs = models.input_of(mod)
    found = split_at(mod, None, cut_plan(mod, at, first))
    assert [p.machine for p in found.parts] == ([HERE, THERE] if first == "cpu" else [THERE, HERE])
    with TwoMachineRunner(found, session=remote.connect(address)) as both:
        ran = both.run(inputs)
    models.assert_same(ran.outputs, models.reference(mod, inputs))
    assert len(ran.part_s) == 2 and all(s > 0 for s in ran.part_s) and ran.link_s > 0
    crossing = sum(
        4 * int(np.prod(p.checked_type.concrete_shape)) for p in found.parts[1].mod["main"].params if p.name_hint != "x"
    )
    if first == "cpu":
        assert (ran.sent_bytes, ran.received_bytes) == (crossing, 4 * 10)
    else:
        assert (ran.sent_bytes, ran.received_bytes) == (inputs["x"].nbytes, crossing)


@pytest.mark.remote
@pytest.mark.opencl
@pytest.mark.parametrize(("at", "first"), [(3, "cpu"), (3, "gpu"), (0, "cpu")])
def test_a_gpu_there(address, at, first):
    mod = models.residual_net()
    inputs = models.input_of(mod)
    found = split_at(mod, None, cut_plan(mod, at, first))
    with TwoMachineRunner(found, there="opencl", session=remote.connect(address)) as both:
        ran = both.run(inputs)
    models.assert_same(ran.outputs, models.reference(mod, inputs))


@pytest.mark.remote
@pytest.mark.parametrize("first", ["cpu", "gpu"])
def test_inputs_and_outputs_on_either_side_of_the_cut(address, first):
    mod = two_inputs()
    inputs = models.input_of(mod)
    found = split_at(mod, None, cut_plan(mod, 1, first))
    assert list(found.parts[1].inputs) == ["coexec_cross0", "z"] and found.outputs == (Source(0, 0), Source(1, 0))
    with TwoMachineRunner(found, session=remote.connect(address)) as both:
        models.assert_same(both.run(inputs).outputs, models.reference(mod, inputs))
        with pytest.raises(CoExecError, match="the model's input 'z' is missing \\(given: x"):
            both.run({"x": inputs["x"]})


@pytest.mark.remote
def test_a_closed_session_makes_room_for_the_next(address):
    """Although the first one's objects are still there: in Python nobody knows when they go."""
    found = split_at(models.residual_net(), None, cut_plan(models.residual_net(), 3))
    session = remote.connect(address)
    with TwoMachineRunner(found, session=session) as first:
        modules = list(first.modules)
    remote.close(remote.connect(address))
    assert len(modules) == 2 and first.modules == []


@pytest.mark.slow
def test_everything_here_needs_no_other_machine():
    mod = models.residual_net()
    inputs = models.input_of(mod)
    found = split_at(mod, None, cut_plan(mod, 9))
    ran = TwoMachineRunner(found).run(inputs)
    models.assert_same(ran.outputs, models.reference(mod, inputs))
    assert (ran.sent_bytes, ran.received_bytes, ran.link_s) == (0, 0, 0.0)
    with pytest.raises(CoExecError, match="give a session"):
        TwoMachineRunner(split_at(mod, None, cut_plan(mod, 3)))


def test_plans_of_another_kind_are_refused():
    mod = models.conv_chain(3)
    _, extracted = two_machines.prepare(mod)
    with pytest.raises(CoExecError, match="has 2 segments and 2 chains; two machines take one segment"):
        split_at(mod, None, make_plan(extracted.graph, ratio=0.5, axis="h"))
    there_and_back = (Segment("cpu", (0,)), Segment("gpu", (1,)), Segment("cpu", (2,)))
    with pytest.raises(CoExecError, match="has 3 segments"):
        split_at(mod, None, Plan(extracted.graph.fingerprint(), there_and_back))
    with pytest.raises(CoExecError, match="made for another model"):
        split_at(models.residual_net(), None, cut_plan(mod, 2))
    with pytest.raises(CoExecError, match="'lvm', is not a TVM target"):
        TwoMachineRunner(split_at(mod, None, cut_plan(mod, 3)), here="lvm")


def test_machines_that_are_not_there(monkeypatch):
    for name in ("TVM_TRACKER_HOST", "TVM_TRACKER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(CoExecError, match="no other machine is named"):
        remote.connect()
    with pytest.raises(CoExecError, match="RPC server here is not of the form HOST:PORT"):
        remote.connect("here")
    with pytest.raises(CoExecError, match="can't be reached"):
        remote.connect(f"127.0.0.1:{free_port()}")
    with pytest.raises(CoExecError, match="omit tracker and key"):
        remote.connect("127.0.0.1:1", key="board")
    monkeypatch.setenv("TVM_TRACKER_HOST", "127.0.0.1")
    monkeypatch.setenv("TVM_TRACKER_PORT", "1")
    with pytest.raises(CoExecError, match=r"tracker 127\.0\.0\.1:1 needs the device's key"):
        remote.connect()


@pytest.fixture
def model_file(tmp_path):
    onnx = pytest.importorskip("onnx")
    from tests.tvmc.nets import network

    path = tmp_path / "small.onnx"
    onnx.save(network(), str(path))
    return path


@pytest.mark.remote
def test_the_command_by_tracker_and_profile(coexec, model_file, tracker, tmp_path, monkeypatch):  # noqa: F811
    from tests.tvmc.nets import network, reference

    image = np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype("float32")
    np.savez(tmp_path / "in.npz", x=image)
    host, port = tracker.split(":")
    monkeypatch.setenv("TVM_TRACKER_HOST", host)
    monkeypatch.setenv("TVM_TRACKER_PORT", port)
    files = ["--inputs", tmp_path / "in.npz", "-o", tmp_path / "out.npz", "--json", tmp_path / "ran.json"]
    with server("tvm_coexec.rpc_server", tracker, "desk"):
        done = coexec("places", model_file, "--cut", 2, "--key", "desk", *files)
        assert done.code == 0, done.err
        assert "link: 9216 bytes sent, 40 received" in done.out and "together: " in done.out
        assert np.abs(np.load(tmp_path / "out.npz")["output_0"] - reference(network(), image)).max() < 1e-4
        ran = json.loads((tmp_path / "ran.json").read_text())
        assert [p["place"] for p in ran["parts"]] == [HERE, THERE] and ran["seconds"] > 0
        done = coexec("places", model_file, "--profile", "generic", "--bandwidth", "1e6", "--key", "desk")
        assert done.code == 0 and "ms expected" in done.out, done.err


@pytest.mark.remote
def test_a_server_that_ends_during_the_run(coexec, model_file, monkeypatch):  # noqa: F811
    process, address = start()
    runs = []

    def run(both, inputs, stock=two_machines.TwoMachineRunner.run):
        runs.append(inputs)
        if len(runs) == 2:
            kill_tree(process)
        return stock(both, inputs)

    monkeypatch.setattr(two_machines.TwoMachineRunner, "run", run)
    done = coexec("places", model_file, "--cut", 2, "--remote", address)
    assert done.code == 2 and done.err.count("\n") == 1 and len(runs) == 2, done
    assert "coexec places: the network can't be run: the connection broke, so the server" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "give one of --profile, --plan and --cut"),
        (["--cut", "1", "--profile", "generic"], "give one of --profile, --plan and --cut"),
        (["--profile", "generic"], "--profile needs --bandwidth"),
        (["--cut", "99"], "--cut 99: the model has only 5 kernels"),
        (["--plan", "none.json"], "can't read plan none.json"),
        (["--cut", "9", "--inputs", "none.npz"], "--cut 9: "),
        (["--cut", "5", "--inputs", "none.npz"], "can't read none.npz"),
    ],
)
def test_wrong_options(coexec, model_file, options, text):  # noqa: F811
    done = coexec("places", model_file, *options)
    assert done.code == 2 and text in done.err


@pytest.mark.slow
def test_a_plan_of_the_strategy_is_followed(coexec, model_file, tmp_path):  # noqa: F811
    from tests.planner.graphs import costs
    from tvm_coexec.measuring.read_model import load_model

    graph = load_model(str(model_file)).graph()
    slow_link = make_plan(graph, costs(), strategy="neurosurgeon", bandwidth=1e3)
    assert [s.device for s in slow_link.segments] == ["cpu"]
    slow_link.save(str(tmp_path / "plan.json"))
    done = coexec("places", model_file, "--plan", tmp_path / "plan.json", "--repeats", 1)
    assert done.code == 0, done.err
    assert "link: 0 bytes sent, 0 received" in done.out and "expected" not in done.out
    fast_link = make_plan(graph, costs(gpu_gflops=1e3), strategy="neurosurgeon", bandwidth=1e12)
    assert "gpu" in [s.device for s in fast_link.segments]
    parts = split_at(load_model(str(model_file)).mod, load_model(str(model_file)).params, fast_link).parts
    assert THERE in [p.machine for p in parts]
