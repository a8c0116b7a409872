"""What users get wrong: one line on standard error, an exit status that isn't 0, and no file that wasn't there."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.tvmc.conftest import assert_one_line
from tests.tvmc.nets import TARGET

pytestmark = pytest.mark.llvm


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("cpu, opencl", ["'cpu' is not a target of this TVM"]),
        ("llvm -mcpu=core-avx2,opencl", ["put a space before 'opencl'"]),
        ("llvm -mcpu, opencl", ["can't be parsed"]),
        ("llvm -speed=9, opencl", ["'llvm -speed=9' is not a TVM target"]),
        ("llvm, c", ["2 CPUs"]),
        ("llvm, opencl, metal", ["2 GPUs"]),
        ("coexec -colour=red, llvm, opencl", ["no option 'colour'", "-ratio=..."]),
        ('{"kind": "llvm"}', ["needs one CPU and one GPU"]),
        ('{"kind": "gpu"}', ["is not a TVM target"]),
        ("llvm -mtriple=riscv64-unknown-linux-gnu, opencl", ["--cross-compiler", "riscv64-unknown-linux-gnu-gcc"]),
    ],
)
def test_targets(compile_fails, target, words):
    compile_fails(words, "--coexec-ratio", "0.5", target=target)


def test_a_gpu_that_this_tvm_has_no_code_for(compile_fails):
    import tvm

    found = tvm.get_global_func("target.build.vulkan", allow_missing=True)  # of this package, if not of TVM
    tvm._ffi.registry.remove_global_func("target.build.vulkan")
    try:
        compile_fails(["built without code generation for vulkan"], target="llvm, vulkan")
    finally:
        tvm.register_func("target.build.vulkan", found, override=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--coexec-ratio", "1.5"], ["ratio '1.5'", "from 0", "to 1"]),
        (["--coexec-ratio", "-0.1"], ["ratio '-0.1'"]),
        (["--coexec-ratio", "half"], ["ratio 'half'"]),
        (["--coexec-axis", "depth"], ["axis 'depth' is unknown", "oc, h"]),
        (["--coexec-strategy", "best"], ["strategy 'best' is unknown", "coexec, codl"]),
        (["--coexec-min-gain", "much"], ["--coexec-min-gain 'much' must be a fraction"]),
        (["--coexec-min-gain", "3"], ["--coexec-min-gain '3'"]),
        (["--coexec-objective", "joy"], ["objective 'joy' is unknown", "latency, energy, edp"]),
        (["--coexec-bandwidth", "wide"], ["--coexec-bandwidth 'wide' must be a number"]),
        (["--coexec-bandwidth", "0"], ["--coexec-bandwidth '0'", "bytes per second"]),
        (["--coexec-plan", "no.json"], ["--coexec-plan 'no.json' is not a file"]),
        (["--coexec-profile", "no.json"], ["--coexec-profile 'no.json' is not a file", "measure, generic"]),
        (["--tuning-records", "no.log"], ["--tuning-records: there is no file no.log"]),
        (["--executor", "aot"], ["--executor aot", "needs --executor graph"]),
        (["--executor", "vm"], ['"vm" is not defined']),
        (["--executor-graph-link-params", "1"], ["--executor-graph-link-params", "leave it out"]),
        (["--runtime", "crt"], ["--runtime crt", "needs --runtime cpp"]),
        (["--output-format", "mlf"], ["--output-format mlf is for microcontrollers"]),
        (["--workspace-pools", "sram"], ["--workspace-pools"]),
        (["--cross-compiler", "no-such-c++"], ["no program 'no-such-c++'"]),
        (["--target-cuda-arch", "sm_80"], ["--target-cuda-arch", "did not specify cuda"]),
        (["--pass-config", "no.such=1"], ["'no.such' is not defined"]),
        (["--coexec-ratio", "0.5", "--desired-layout", "XYZ"], ["XYZ"]),
    ],
    ids=lambda v: "".join(v).strip("-") if isinstance(v, list) and v[0].startswith("-") else "",
)
def test_options(compile_fails, options, words):
    compile_fails(words, *options)


def test_energy_without_watts(tvmc, model_file):
    options = ["--coexec-objective", "energy", "--coexec-profile", "generic"]
    done = tvmc("compile", "--coexec", "--target", TARGET, *options, "-o", "net.tar", model_file)
    assert done.code == 4 and "Error: objective 'energy' needs watts" in done.err.splitlines()[-1]


def test_options_without_coexec(fails, model_file):
    words = ["--coexec-ratio has no effect without --coexec"]
    fails(words, "compile", "--target", TARGET, "--coexec-ratio", "0.5", model_file)


@pytest.mark.slow
def test_a_plan_for_another_model(tvmc, compile_fails, model_file):
    options = ["--coexec-ratio", "0.5", "--input-shapes", "x:[2,3,12,12]", "--coexec-dump-plan", "plan.json"]
    assert tvmc("compile", "--coexec", "--target", TARGET, "-o", "other.tar", *options, model_file).code == 0
    compile_fails(["made for another model or other shapes"], "--coexec-plan", "plan.json")
    words = ["--coexec-plan replays a plan unchanged", "--coexec-ratio"]
    compile_fails(words, "--coexec-plan", "plan.json", "--coexec-ratio", "0.5")
    plan = Path("plan.json").read_text()
    Path("cut.json").write_text(plan[: len(plan) // 2])
    compile_fails(["cut.json is not JSON"], "--coexec-plan", "cut.json")
    Path("list.json").write_text("[]")
    compile_fails(["list.json is not a co-execution plan"], "--coexec-plan", "list.json")
    Path("later.json").write_text(json.dumps({**json.loads(plan), "version": 99}))
    compile_fails(["plan version 99"], "--coexec-plan", "later.json")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1, "kind": "measured"}'])
def test_damaged_profiles(compile_fails, text):
    Path("profile.json").write_text(text)
    compile_fails(["profile profile.json"], "--coexec-profile", "profile.json")


def test_model_files(compile_fails, model_file):
    compile_fails(["'no.onnx' doesn't exist"], "--coexec-ratio", "0.5", model="no.onnx")
    data = model_file.read_bytes()
    for size in (0, 1, len(data) // 2, len(data) - 6, len(data) - 1):  # 6 from the end is where the opset begins
        Path("cut.onnx").write_bytes(data[:size])
        compile_fails(["can't read the model cut.onnx"], "--coexec-ratio", "0.5", model="cut.onnx")
    Path("text.onnx").write_text("no model at all\n")
    compile_fails(["can't read the model text.onnx"], "--coexec-ratio", "0.5", model="text.onnx")
    Path("model.xyz").write_bytes(data)
    compile_fails(["specify --model-format"], "--coexec-ratio", "0.5", model="model.xyz")


def test_a_model_of_unknown_shape(compile_fails, tvmc):
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, "relu.onnx")
    compile_fails(["input 'x' has open sizes: n", "--input-shapes x:[1,4]"], "--coexec-ratio", "0.5", model="relu.onnx")


@pytest.mark.slow
def test_models_that_can_t_be_imported(compile_fails):
    """The operator is named, or the executor's limit; TVM's warnings are no part of the answer."""
    onnx_models = pytest.importorskip("tests.frontend.onnx_models")
    cases = [
        (onnx_models.lacking(), ["importer lacks operators of net.onnx: Det (2 nodes", "com.acme::Fuse", "Mystery"]),
        (onnx_models.branch(), ["graph executor can't run branches or loops", "If (node 'choose')"]),
        (onnx_models.loop(), ["graph executor can't run branches or loops", "Loop (node 'repeat')"]),
        (onnx_models.two_inputs(["b", "s"], ["b", "s"]), ["'a' has open sizes: b, s", "give --input-shapes a:[1,128]"]),
        (onnx_models.two_inputs([2, 3], [4, 3]), ["can't convert the operator Add (node 'Add_0') of net.onnx"]),
    ]
    for proto, words in cases:
        onnx_models.save(proto, Path("net.onnx"))
        compile_fails(words, "--coexec-ratio", "0.5", model="net.onnx")
    options = ["--coexec-ratio", "0.5", "--input-shapes"]
    onnx_models.save(onnx_models.conv_net(["n", 3, "h", "w"]), Path("net.onnx"))
    compile_fails(["'x' has open sizes: h, w"], *options, "x:[2,3,-1,-1]", model="net.onnx")
    compile_fails(["no input 'y'; its inputs are: 'x' [n,3,h,w]"], *options, "y:[2,3,8,8]", model="net.onnx")
    compile_fails(["4 dimensions, [n,3,h,w], but 3 sizes are given"], *options, "x:[3,8,8]", model="net.onnx")
    compile_fails(["operator Conv", "check --input-shapes"], *options, "x:[2,4,8,8]", model="net.onnx")


@pytest.mark.parametrize("option", ["-o", "--coexec-dump-plan", "--coexec-report"])
def test_unwritable_outputs(compile_fails, option):
    Path("file").write_text("")
    os.mkdir("folder")
    names = {"no/net.tar": "there is no folder", "file/net.tar": "Not a directory", "folder": "it is a folder"}
    for name, reason in names.items():
        compile_fails([f"can't write {name}", reason], "--coexec-ratio", "0.5", option, name)


def test_two_outputs_in_one_file(compile_fails):
    compile_fails(["two outputs have the same file, x"], "--coexec-ratio", "0.5", "-o", "x", "--coexec-dump-plan", "x")


def test_options_that_the_strategy_does_not_ask_for(compile_fails):
    options = ("--coexec-profile", "generic", "--coexec-strategy", "single")
    compile_fails(["--coexec-ratio has no effect on the strategy 'single'"], *options, "--coexec-ratio", "0.5")


def test_ctrl_c_while_tvm_compiles(tvmc, model_file, monkeypatch, interrupts):
    """There the interruption is forgotten, and what it interrupted gives an error that misleads."""
    from tvm.relay.backend import te_compiler

    select = te_compiler.select_implementation

    def interrupted(*args, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return select(*args, **options)

    monkeypatch.setattr(te_compiler, "select_implementation", interrupted)
    before = sorted(os.listdir())
    done = tvmc("compile", "--coexec", "--target", TARGET, "--coexec-ratio", "0.5", "-o", "net.tar", model_file)
    assert done.code == 130 and done.err.splitlines()[-1] == "tvmc: interrupted"
    assert "Error" not in done.err and "Traceback" not in done.err
    assert sorted(os.listdir()) == before


def test_an_output_that_is_a_device(compile_fails):
    compile_fails(["can't write /dev/null", "not a regular file"], "--coexec-ratio", "0.5", "-o", "/dev/null")


@pytest.mark.slow
def test_a_failure_late_in_the_work_keeps_the_old_output(tvmc, model_file):
    """The linker fails when everything is compiled."""
    Path("net.tar").write_text("old")
    Path("broken-c++").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    os.chmod("broken-c++", 0o755)
    before = sorted(os.listdir())
    options = ["--coexec-ratio", "0.5", "--cross-compiler", "./broken-c++", "--coexec-dump-plan", "plan.json"]
    done = tvmc("compile", "--coexec", "--target", TARGET, "-o", "net.tar", *options, model_file)
    assert_one_line(done, "broken")
    assert sorted(os.listdir()) == before and Path("net.tar").read_text() == "old"


RECORD = (
    '{"input": ["%s", "conv2d_NCHWc.x86", [["TENSOR", [1, 3, 4, 4], "float32"]], {}], "config": {"index": 1, '
    '"code_hash": null, "entity": [["tile_ic", "sp", [-1, 1]]]}, "result": [[0.1], 0, 1.0, 1.0], "version": 0.2}'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RECORD % "llvm" + "\n" + RECORD[:50], "line 2 of records.log is not a tuning record: it is not JSON"),
        (RECORD % "cuda -model=v100 -arch=sm_70", "records.log has no records of llvm"),
    ],
)
def test_records_are_refused_before_the_model_is_read(tvmc, tmp_path, text, message):
    (tmp_path / "records.log").write_text(text + "\n")
    options = ["--coexec", "--target", "llvm, opencl", "--tuning-records", "records.log", "-o", "net.tar"]
    done = tvmc("compile", *options, "no.onnx")
    assert done.code == 4 and done.out == ""
    assert done.err.startswith(f"Error: --tuning-records: {message}") and done.err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["records.log"]
