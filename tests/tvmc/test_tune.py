"""``tvmc tune`` for both devices, its records for a share, and what is refused before the first trial."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.remote.servers import tracked
from tests.tvmc.nets import TARGET
from tests.tvmc.test_remote import tracker  # noqa: F401 - a fixture

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.remote]

QUICK = ["--tuner", "random", "--number", "1", "--min-repeat-ms", "0", "--tasks", "0", "-o", "log.json"]


def convolution(folder: Path, channels: int) -> Path:
    """Write a model of one convolution."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).standard_normal((channels, 3, 3, 3)).astype("float32")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4)],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, channels, 9, 9])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = folder / f"{channels}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.fixture
def whole(tmp_path) -> Path:
    return convolution(tmp_path, 16)


@pytest.fixture(scope="module")
def server(tracker) -> Iterator[list[str]]:  # noqa: F811
    """Options for a stock server of a tracker."""
    with tracked(tracker, "stock"):
        yield ["--rpc-tracker", tracker, "--rpc-key", "stock"]


def test_records_of_a_share_configure_it(tvmc, whole, tmp_path, monkeypatch):
    from tvm.autotvm.task.dispatcher import ApplyHistoryBest

    done = tvmc("tune", "--target", "opencl", "--trials", "2", *QUICK, convolution(tmp_path, 8))
    assert done.code == 0, done.err
    records = [json.loads(line) for line in Path("log.json").read_text().splitlines()]
    assert [r["result"][1] for r in records] == [0, 0]
    answers = []
    stock = ApplyHistoryBest._query_inside

    def query(context, target, workload):
        answer = stock(context, target, workload)
        if target.kind.name == "opencl" and answer is not None:
            answers.append((workload[0], answer.index))
        return answer

    monkeypatch.setattr(ApplyHistoryBest, "_query_inside", query)
    options = ["--coexec-ratio", "0.5", "--coexec-axis", "oc", "--tuning-records", "log.json", "-o", "net.tar"]
    done = tvmc("compile", "--coexec", "--target", TARGET, *options, whole)
    assert done.code == 0, done.err
    best = min(records, key=lambda r: r["result"][0][0])
    assert set(answers) == {(best["input"][1], best["config"]["index"])}


def test_the_cpu_of_a_stock_server(tvmc, whole, server):
    done = tvmc("tune", "--target", "llvm", "--trials", "1", *server, *QUICK, whole)
    assert done.code == 0, done.err
    (record,) = (json.loads(line) for line in Path("log.json").read_text().splitlines())
    assert record["input"][0].startswith("llvm") and record["result"][1] == 0


def test_the_auto_scheduler_asks_the_server_for_its_limits(tracker, server):  # noqa: F811
    import tvm

    from tvm_coexec.remote import Server
    from tvm_coexec.tuning.tuners import gpu_limits
    from tvm_coexec.tvmc import tuning

    target = tvm.target.Target("opencl", host="llvm")
    options = dict.fromkeys(gpu_limits(0, 0, 0))
    options |= {"max_vthread_extent": None, "warp_size": 32, "target": target, "target_host": None}
    there = tuning._limits(True, target, Server(tracker=tracker, key="stock"), options)
    here = tuning._limits(True, target, None, options)
    assert str(there) == str(here) and there.warp_size == 32
    assert tuning._limits(False, target, None, options) is None


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--output: no/log.json can't be written"], ["-o", "no/log.json"]),
        (["--rpc-tracker and --rpc-key belong together"], ["--rpc-key", "board"]),
        (["--rpc-tracker and --rpc-key belong together"], ["--rpc-tracker", "127.0.0.1:1"]),
        (["tracker 127.0.0.1:1 can't be reached"], ["--rpc-tracker", "127.0.0.1:1", "--rpc-key", "board"]),
        (["keeps tensors in textures", "tune for `opencl -model=adreno`"], ["--target", "opencl -device=adreno"]),
        (["line 1 of records.json is not a tuning record"], ["--tuning-records", "records.json"]),
        (["--tuning-records", "there is no file none.json"], ["--tuning-records", "none.json"]),
    ],
)
def test_refused_before_the_first_trial(tvmc, whole, words, options):
    Path("records.json").write_text("{\n")
    before = sorted(os.listdir())
    done = tvmc("tune", "--target", "opencl", *QUICK, *options, whole)
    assert done.code == 4 and done.err.startswith("Error: ") and done.err.count("\n") == 1, done.err
    assert all(word in done.err for word in words), done.err
    assert sorted(os.listdir()) == before


def test_a_machine_without_the_device_is_told_how_to_tune(whole, tmp_path):
    command = [sys.executable, "-m", "tvm_coexec.tvmc", "tune", "--target", "opencl", *QUICK, str(whole)]
    environment = {**os.environ, "TVM_COEXEC_LIBOPENCL": "/no/libOpenCL.so"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 4 and done.stderr.count("\n") == 1, done.stderr
    assert "this machine has no such device" in done.stderr and "--rpc-tracker" in done.stderr
