"""``tvmc compile --coexec``, then ``tvmc run``, against onnxruntime: targets in any order, and TVM's other options."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.tvmc.nets import TARGET, network, reference, relative_error

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


def compiled(tvmc, model: Path, *options: object, target: str = TARGET):
    """Compile; everything but the results goes to neither stream."""
    done = tvmc("compile", "--coexec", "--target", target, *options, "-o", "net.tar", model)
    assert done.code == 0, done.err
    assert sorted(p for p in os.listdir() if p.startswith(".tvmc")) == []
    return done


def answer(tvmc, image_file: Path) -> np.ndarray:
    done = tvmc("run", "net.tar", "-i", image_file, "-o", "answer.npz")
    assert done.code == 0, done.err
    return np.load("answer.npz")["output_0"]


def graph_of(package: str = "net.tar") -> dict:
    with tarfile.open(package) as archive:
        return json.load(archive.extractfile("mod.json"))


def device_index(package: str = "net.tar") -> set[int]:
    return set(graph_of(package)["attrs"]["device_index"][1])


@pytest.mark.parametrize(
    "target",
    [
        "llvm -mcpu=core-avx2, opencl",
        "coexec -ratio=0.3, opencl, llvm",  # the option --coexec-ratio goes first
        '{"kind": "opencl", "host": {"kind": "llvm", "mcpu": "core-avx2"}}',
    ],
)
def test_both_devices_whatever_the_order(tvmc, model_file, image_file, expected, target):
    options = ["--coexec-ratio", "0.5", "--coexec-axis", "h", "--coexec-dump-plan", "plan.json"]
    compiled(tvmc, model_file, *options, target=target)
    assert device_index() == {1, 4}
    cuts = [s["cut"] for s in json.loads(Path("plan.json").read_text())["segments"] if s["device"] == "split"]
    assert cuts == [6]  # half of 12 rows
    assert relative_error(answer(tvmc, image_file), expected) < 1e-4


@pytest.mark.parametrize(("ratio", "axis"), [(0, "auto"), (0.3, "oc"), (0.7, "auto"), (1, "auto")])
def test_ratios_and_axes(tvmc, model_file, image_file, expected, ratio, axis):
    compiled(tvmc, model_file, "--coexec-ratio", ratio, "--coexec-axis", axis)
    assert device_index() == ({1} if ratio == 0 else {1, 4})
    assert relative_error(answer(tvmc, image_file), expected) < 1e-4


def test_without_coexec_a_target_may_ask_for_it(tvmc, model_file, image_file, expected):
    done = tvmc("compile", "--target", "coexec -ratio=0.5 -axis=oc, opencl, llvm", "-o", "net.tar", model_file)
    assert done.code == 0, done.err
    assert device_index() == {1, 4}
    assert relative_error(answer(tvmc, image_file), expected) < 1e-4


@pytest.mark.parametrize(
    "options",
    [
        ["-O", "0", "--print-pass-times", "--module-name", "other"],
        ["-O", "2", "--disabled-pass", "FoldScaleAxis,SimplifyExpr", "--dump-offloads", "-"],
        ["--desired-layout", "NHWC"],
        ["--pass-config", "tir.disable_vectorize=1", "--target-opencl-max_num_threads", "64"],
    ],
    ids=" ".join,
)
def test_other_options_still_work(tvmc, model_file, image_file, expected, options):
    compiled(tvmc, model_file, "--coexec-ratio", "0.5", *options)
    assert device_index() == {1, 4}
    assert relative_error(answer(tvmc, image_file), expected) < 1e-4


def test_mixed_precision(tvmc, model_file, image_file, expected):
    from tvm_coexec.opencl import runtime

    compiled(tvmc, model_file, "--coexec-ratio", "0.5", "--mixed-precision", "--mixed-precision-acc-type", "float32")
    if runtime.devices()[0].fp16:
        assert relative_error(answer(tvmc, image_file), expected) < 2e-2
        return
    done = tvmc("run", "net.tar", "-o", "answer.npz")
    assert done.code == 4 and done.err.startswith("Error: running failed: ") and done.err.count("\n") == 1
    assert "half precision" in done.err.lower() and not Path("answer.npz").exists()


@pytest.mark.parametrize("ratio", ["0.5", "1"])
def test_what_the_gpu_has_no_kernel_for_in_that_layout_stays_on_the_cpu(tvmc, tmp_path, image, image_file, ratio):
    """TVM has no grouped convolution in NHWC for a GPU."""
    onnx = pytest.importorskip("onnx")
    net = network(groups=4)
    onnx.save(net, str(tmp_path / "grouped.onnx"))
    options = ["--coexec-ratio", ratio, "--coexec-report", "report.txt", "--coexec-dump-plan", "plan.json"]
    compiled(tvmc, tmp_path / "grouped.onnx", "--desired-layout", "NHWC", *options)
    assert relative_error(answer(tvmc, image_file), reference(net, image)) < 1e-4
    assert "for opencl (Unsupported group_conv2d layout NHWC)" in Path("report.txt").read_text()
    segments = json.loads(Path("plan.json").read_text())["segments"]
    assert {s["device"] for s in segments} == {"cpu", "gpu" if ratio == "1" else "split"}


def test_input_shapes(tvmc, model_file):
    compiled(tvmc, model_file, "--coexec-ratio", "0.5", "--input-shapes", "x:[2,3,12,12]")
    images = np.random.default_rng(2).standard_normal((2, 3, 12, 12)).astype("float32")
    np.savez("in.npz", x=images)
    assert relative_error(answer(tvmc, Path("in.npz")), reference(network(batch=2), images)) < 1e-4


def test_a_missing_device_kind_is_filled_in_with_a_note(tvmc, model_file):
    done = compiled(tvmc, model_file, "--coexec-ratio", "0.5", target="opencl")
    assert done.err.count("\n") == 1 and "names no CPU" in done.err
    assert device_index() == {1, 4}


def test_target_options_reach_the_code(tvmc, model_file):
    compiled(tvmc, model_file, "--coexec-ratio", "0", "--target-llvm-mcpu", "core-avx2", "--dump-code", "ll")
    assert '"target-cpu"="core-avx2"' in Path("net.tar.ll").read_text()


def test_dumped_code_is_that_of_both_devices(tvmc, model_file):
    compiled(tvmc, model_file, "--coexec-ratio", "0.5", "--dump-code", "relay,tir,ll,asm")
    assert sorted(p.name for p in Path().iterdir()) == sorted(
        ["net.tar", *(f"net.tar.{suffix}" for suffix in ("relay", "tir", "ll", "asm", "opencl"))]
    )
    assert "device_copy" in Path("net.tar.relay").read_text()
    assert "__kernel void" in Path("net.tar.opencl").read_text()


def test_a_cross_compiler_links(tvmc, model_file, image_file, expected):
    note = Path("called.txt").absolute()
    script = Path("cross-c++").absolute()
    script.write_text(f'#!/bin/sh\necho "$@" >> {note}\nexec {shutil.which("c++") or shutil.which("g++")} "$@"\n')
    script.chmod(0o755)
    compiled(tvmc, model_file, "--coexec-ratio", "0.5", "--cross-compiler", script, "--cross-compiler-options=-O1 -g")
    assert "-O1 -g" in note.read_text()
    assert relative_error(answer(tvmc, image_file), expected) < 1e-4


@pytest.mark.aarch64
def test_for_a_board_the_generic_profile_plans_and_a_cross_compiler_links(tvmc, model_file):
    board = "llvm -mtriple=aarch64-linux-gnu -mattr=+neon, opencl -device=mali"
    arguments = ["compile", "--coexec", "--target", board, "--coexec-report", "report.txt", model_file, "-o", "net.tar"]
    done = tvmc(*arguments, "--cross-compiler", "aarch64-linux-gnu-g++")
    assert done.code == 0, done.err
    assert "planning with the generic profile" in done.err and "costs: generic" in Path("report.txt").read_text()
    with tarfile.open("net.tar") as archive:
        head = archive.extractfile("mod.so").read(20)
    assert head[:4] == b"\x7fELF" and head[18] == 183  # e_machine is AArch64


def test_an_old_output_is_replaced_and_a_link_followed(tvmc, model_file):
    os.mkdir("real")
    Path("real/file.tar").write_text("old")
    os.symlink("real/file.tar", "net.tar")
    compiled(tvmc, model_file, "--coexec-ratio", "0.5")
    assert os.path.islink("net.tar") and os.listdir("real") == ["file.tar"]
    assert device_index("real/file.tar") == {1, 4}


def test_tuning_records_choose_the_layouts_of_shares(tvmc, model_file):
    """Records are in force while the model is divided: a share's layout is the record's, not the default."""
    import tvm
    from tvm import autotvm, relay

    import tvm_coexec
    from tests.tvmc.nets import network

    class Asked(autotvm.task.FallbackContext):
        """Remembers the CPU's convolutions."""

        def __init__(self):
            super().__init__()
            self.workloads = []

        def _query_inside(self, target, workload):
            if workload is not None and workload[0] == "conv2d_NCHWc.x86":
                self.workloads.append((target, workload))
            return super()._query_inside(target, workload)

    mod, params = relay.frontend.from_onnx(network())
    with tvm.transform.PassContext(opt_level=3), Asked() as asked:
        tvm_coexec.partition_for_coexec(mod, params, ratio=0.5, axis="oc")
    records = []
    for target, workload in asked.workloads:
        task = autotvm.task.create(workload[0], workload[1:], target)
        config = next(
            entity
            for entity in (task.config_space.get(i) for i in range(len(task.config_space)))
            if entity["tile_oc"].size[-1] == 2
        )
        result = autotvm.MeasureResult((1e-9,), 0, 0.1, 0)
        records.append(autotvm.record.encode(autotvm.MeasureInput(target, task, config), result))
    assert records
    Path("records.log").write_text("\n".join(records) + "\n")

    options = ["--coexec-ratio", "0.5", "--coexec-axis", "oc", "--dump-code", "relay"]
    compiled(tvmc, model_file, *options, "--tuning-records", "records.log", "--coexec-report", "report.txt")
    assert 'out_layout="NCHW2c"' in Path("net.tar.relay").read_text()
    # those of the GPU's shares are of no record, the CPU's each of their own
    rows = [line for line in Path("report.txt").read_text().splitlines() if "conv2d_nchw" in line.lower()]
    assert {tuple(line.split()[:1]) + (" record " in line,) for line in rows} == {("cpu", True), ("gpu", False)}
    compiled(tvmc, model_file, *options)
    assert 'out_layout="NCHW2c"' not in Path("net.tar.relay").read_text()


def test_compiling_from_python(model_file, tmp_path, image, expected):
    from tvm.driver import tvmc

    import tvm_coexec.tvmc  # noqa: F401  puts the target coexec into TVM's tvmc

    model = tvmc.load(str(model_file))
    package = tvmc.compile(model, "coexec -ratio=0.5, llvm, opencl", package_path=str(tmp_path / "net.tar"))
    result = tvmc.run(package, device="cpu", inputs={"x": image})
    assert relative_error(result.outputs["output_0"], expected) < 1e-4
    with pytest.raises(tvmc.TVMCException, match="cpu, cl"):
        tvmc.run(package, device="cl", inputs={"x": image})
