"""Runs recorded on a stock RPC server: the events and their order are those of a run here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm.relay")

import tvm

import tvm_coexec
from tests import models
from tests.cli.conftest import coexec  # noqa: F401 (a fixture)
from tests.tracing.test_record import check_one_at_a_time, check_order
from tests.tvmc.conftest import tvmc  # noqa: F401 (a fixture)
from tests.tvmc.nets import relative_error
from tvm_coexec import CoExecError, remote
from tvm_coexec.executor.create import find_devices
from tvm_coexec.tracing import Recording, Tracer, numbers, record
from tvm_coexec.tracing.load import input_types, open_model_there

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.remote]


@pytest.fixture(scope="module")
def lib():
    return tvm_coexec.build(models.residual_net(), ratio=0.5, profile="generic")


@pytest.fixture(scope="module")
def files(lib, tmp_path_factory) -> dict[str, str]:
    """The model as `export_library` and as ``tvmc compile`` write it."""
    from tvm.driver.tvmc.model import TVMCModel

    folder = tmp_path_factory.mktemp("models")
    paths = {"so": str(folder / "net.so"), "tar": str(folder / "net.tar")}
    lib.export_library(paths["so"])
    TVMCModel(models.residual_net(), {}).export_package(lib, paths["tar"])
    return paths


def events_of(recording: Recording) -> list[tuple]:
    """What does not depend on time: waits, the way to wait, and the parts of copies before them, do."""
    return [
        (e.lane, e.what, e.name, e.segment, e.nbytes)
        for e in recording.measured.events
        if e.what != "wait" and "coexec_signal" not in e.name and (e.nbytes or "copy" not in e.what)
    ]


@pytest.mark.parametrize("kind", ["so", "tar"])
def test_a_recorded_run(session, lib, files, kind):
    inputs = models.input_of(models.residual_net())
    there = open_model_there(files[kind], session)
    assert input_types(there, session) == input_types(lib)
    tracer = Tracer()
    module = tracer.create(there, find_devices(lib.get_graph_json(), session))
    module.set_input(**inputs)
    recording = tracer.record(module.run, runs=3, warm_up=1)
    assert len(recording.windows) == 3 and all(0 < s < 60 for s in recording.seconds)
    check_order(recording.measured)
    here = record(lib, inputs, runs=1, warm_up=1)
    assert events_of(recording) == events_of(here)
    assert numbers(recording.measured)["moved_bytes"] == numbers(here.measured)["moved_bytes"]
    models.assert_same([module.get_output(0).numpy()], models.reference(models.residual_net(), inputs))
    check_one_at_a_time(tracer.record(module.run, runs=1, warm_up=0, one_at_a_time=True).measured)


def test_the_command(coexec, address, files, tmp_path):  # noqa: F811
    done = coexec("trace", files["tar"], "--rpc", address, "--runs", 2, "--json", tmp_path / "t.json")
    assert done.code == 0 and done.err == "", done
    assert done.out.startswith("net: ") and "the median of 2 runs" in done.out and "the plan expected" in done.out
    written = json.loads((tmp_path / "t.json").read_text())
    assert len(written["runs_s"]) == 2 and written["gpu_clock_uncertainty_s"] > 0
    assert [os.listdir(tmp_path)] == [["t.json"]]


def test_tvmc_run_and_its_profile(tvmc, address, files, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    inputs = models.input_of(models.residual_net())
    np.savez("in.npz", **inputs)
    options = ["--rpc-tracker", address, "-i", "in.npz", "-o", "out.npz"]  # without a key: the server itself
    done = tvmc("run", files["tar"], *options, "--print-time", "--repeat", "2")
    assert done.code == 0 and "Execution time summary" in done.out, done.err
    (want,) = models.reference(models.residual_net(), inputs)
    assert relative_error(np.load("out.npz")["output_0"], want) < 1e-4
    done = tvmc("run", files["tar"], *options, "--profile", "--profile-trace", "t.json")
    assert done.code == 0 and "is not recorded" not in done.err, done.err
    assert "the plan expected" in done.out and "each kernel alone" in done.out and "opencl0" in done.out
    events = json.loads(Path("t.json").read_text())["traceEvents"]
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] == "X"} >= {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert relative_error(np.load("out.npz")["output_0"], want) < 1e-4


def test_a_server_without_the_runtime(address, lib, files):
    session = remote.connect(address)
    try:
        with tvm.transform.PassContext(opt_level=3):
            cpu = tvm.relay.build(models.conv_chain(1), "llvm")
        path = os.path.join(os.path.dirname(files["so"]), "cpu.so")
        cpu.export_library(path)
        there = open_model_there(path, session)
        with pytest.raises(CoExecError, match="does not use this package's OpenCL runtime; open the session with"):
            Tracer().create(there, find_devices(cpu.get_graph_json(), session))
        with pytest.raises(
            CoExecError, match=r"device opencl\(0\) of the RPC server, which is not available: the server"
        ):
            find_devices(tvm_coexec.build(models.conv_chain(1), ratio=0.5, profile="generic").get_graph_json(), session)
    finally:
        remote.close(session)


def test_a_run_that_fails_there_leaves_the_session_alive(session, lib, files):
    inputs = models.input_of(models.residual_net())
    tracer = Tracer()
    module = tracer.create(open_model_there(files["so"], session), find_devices(lib.get_graph_json(), session))
    module.set_input(**inputs)
    module.run()
    session.get_function("tvm_coexec.opencl.inject_fault")("launch", 1, 1, 0)
    with pytest.raises(CoExecError, match=r"recording on the RPC server failed: .*kernel"):
        tracer.record(module.run, runs=1, warm_up=0)
    check_order(tracer.record(module.run, runs=1, warm_up=0).measured)  # the recording had been ended


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--rpc", "127.0.0.1:1"], "can't be reached"),
        (["--rpc", "nowhere"], "is not of the form HOST:PORT"),
        (["--rpc-tracker", "127.0.0.1:1"], "needs --rpc-key"),
    ],
)
def test_what_users_get_wrong(coexec, files, argv, text):  # noqa: F811
    done = coexec("trace", files["so"], *argv)
    assert done.code == 2 and text in done.err and done.err.count("\n") == 1 and done.out == ""


def test_a_model_that_the_server_cannot_load(coexec, address, tmp_path):  # noqa: F811
    (tmp_path / "bad.so").write_bytes(b"not a library")
    for name, text in (("bad.so", "bad.so can't be loaded on the RPC server"), ("none.so", "there is no file")):
        done = coexec("trace", tmp_path / name, "--rpc", address)
        assert done.code == 2 and text in done.err and done.err.count("\n") == 1
