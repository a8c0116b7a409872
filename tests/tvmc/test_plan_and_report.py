"""Plans written and replayed, reports, and planning by measured costs."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.measuring.meters import quick
from tests.tvmc.nets import TARGET
from tvm_coexec.measuring import choose_costs

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


@pytest.fixture
def compile_with(tvmc, model_file):
    def run(*options: object):
        done = tvmc("compile", "--coexec", "--target", TARGET, "-o", "net.tar", *options, model_file)
        assert done.code == 0, done.err
        return done

    return run


def test_a_replayed_plan_is_the_same_byte_for_byte(compile_with):
    compile_with("--coexec-ratio", "0.3", "--coexec-axis", "oc", "--coexec-dump-plan", "first.json")
    compile_with("--coexec-plan", "first.json", "--coexec-dump-plan", "second.json")
    first = Path("first.json").read_text()
    assert json.loads(first)["segments"][0]["device"] == "split"
    assert Path("second.json").read_text() == first
    # edited, it is followed
    plan = json.loads(first)
    plan["segments"][0]["cut"] = 8
    Path("first.json").write_text(json.dumps(plan))
    done = compile_with("--coexec-plan", "first.json", "--coexec-report", "-")
    assert "8/16" in done.out


def test_the_report_names_chains_cuts_and_what_stays_whole(compile_with):
    options = ["--coexec-ratio", "0.5", "--coexec-axis", "h"]
    done = compile_with(*options, "--coexec-report", "-")
    assert "2 of 5 kernels split in 1 chains, 2 sync points" in done.out.splitlines()[0]
    assert "split   h              6/12" in done.out
    assert "2 kernels: no convolution or matrix product in it" in done.out
    assert "(2 nn.global_avg_pool2d; " in done.out
    assert done.err == ""
    compile_with(*options, "--coexec-report", "report.txt")
    assert Path("report.txt").read_text() == done.out


def test_plan_and_report_may_go_to_the_console_or_a_device(compile_with):
    done = compile_with("--coexec-ratio", "0.5", "--coexec-dump-plan", "-", "--coexec-report", "/dev/null")
    assert json.loads(done.out)["version"] == 1
    assert not os.path.isfile("/dev/null")


def test_auto_measures_plans_and_takes_the_profile_again(compile_with, tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(choose_costs, "measure", functools.partial(choose_costs.measure, make_meter=quick))
    done = compile_with("--coexec-profile", "measure", "--coexec-report", "-", "--coexec-dump-plan", "first.json")
    assert "measured here" in done.out and "expected" in done.out
    (profile,) = (tmp_path / "cache" / "profiles").glob("*.json")
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", str(tmp_path / "empty"))
    compile_with("--coexec-profile", profile, "--coexec-dump-plan", "second.json", "--coexec-strategy", "coexec")
    assert Path("second.json").read_text() == Path("first.json").read_text()
    assert not (tmp_path / "empty").exists()  # nothing was measured
    compile_with("--coexec-profile", profile, "--coexec-strategy", "codl", "--coexec-dump-plan", "codl.json")
    assert json.loads(Path("codl.json").read_text())["strategy"] == "codl"
    done = compile_with("--coexec-profile", profile, "--coexec-min-gain", "0.99", "--coexec-report", "-")
    assert "0 of 5 kernels split" in done.out


def test_a_model_without_operators_is_built_for_the_cpu(tvmc):
    """There is nothing to plan then, no plan to write, and one device to run on."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    weights = [helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0]) for name in ("a", "b")]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "constant", [], [output], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, "constant.onnx")
    options = ["--coexec-ratio", "0.5", "--coexec-report", "-", "--coexec-dump-plan", "plan.json"]
    done = tvmc("compile", "--coexec", "--target", TARGET, "-o", "net.tar", *options, "constant.onnx")
    assert done.code == 0, done.err
    assert done.out.startswith("the model stays whole: ") and "no plan was written" in done.err
    assert not Path("plan.json").exists()
    assert tvmc("run", "net.tar", "-o", "answer.npz").code == 0
    assert np.load("answer.npz")["output_0"].tolist() == [2.0, 4.0]
