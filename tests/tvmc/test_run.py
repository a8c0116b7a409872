"""``tvmc run`` of a module for two devices, and of modules for one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from tests.tvmc.nets import TARGET, masked_network, references, relative_error

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


@pytest.mark.parametrize("devices", [[], ["--device", "cpu,cl"], ["--device", "cl,cpu"]])
def test_npz_in_and_out(tvmc, package, image_file, expected, devices):
    done = tvmc("run", package, "-i", image_file, "-o", "answer.npz", *devices)
    assert done.code == 0, done.err
    with np.load("answer.npz") as outputs:
        assert list(outputs) == ["output_0"]
        assert relative_error(outputs["output_0"], expected) < 1e-4
    assert os.listdir() == ["answer.npz"]


def test_bools_and_names_beyond_ascii(tvmc):
    onnx = pytest.importorskip("onnx")
    model, rng = masked_network(), np.random.default_rng(2)
    onnx.save(model, "m.onnx")
    assert tvmc("compile", "--coexec", "--target", TARGET, "--coexec-ratio", "0.5", "-o", "m.tar", "m.onnx").code == 0
    inputs = {
        "bild_ö": rng.standard_normal((1, 3, 10, 10)).astype("float32"),
        "マスク": rng.random((1, 16, 1, 10)) < 0.3,
    }
    for given in (inputs, {**inputs, "マスク": np.ones((1, 16, 1, 10), "bool")}):
        np.savez("in.npz", **given)
        done = tvmc("run", "m.tar", "-i", "in.npz", "-o", "out.npz", "--profile", "--profile-trace", "t.json")
        assert done.code == 0, done.err
        expected = references(model, given)
        with np.load("out.npz") as outputs:
            assert relative_error(outputs["output_0"], expected[0]) < 1e-4
            np.testing.assert_array_equal(outputs["output_1"], expected[1])
    for mode in ("ones", "random"):  # inputs that are made up have the model's types
        done = tvmc("run", "m.tar", "--fill-mode", mode, "-o", f"{mode}.npz")
        assert done.code == 0, done.err


@pytest.mark.parametrize(("mode", "value"), [("zeros", 0.0), ("ones", 1.0)])
def test_fill_modes(tvmc, package, image, mode, value):
    np.savez("in.npz", x=np.full_like(image, value))
    assert tvmc("run", package, "-i", "in.npz", "-o", "given").code == 0  # numpy's suffix is added
    assert tvmc("run", package, "--fill-mode", mode, "-o", "filled.npz").code == 0
    np.testing.assert_array_equal(np.load("given.npz")["output_0"], np.load("filled.npz")["output_0"])


def test_random_inputs_and_top_results(tvmc, package):
    done = tvmc("run", package, "--print-top", "3")
    assert done.code == 0 and done.out.count("\n") == 2


@pytest.mark.parametrize("ratio", ["0", "0.5"])
@pytest.mark.parametrize("shape", [(), (6,), (0, 6)], ids=str)
def test_top_results_of_any_shape(tvmc, shape, ratio):
    """On one device TVM's own code runs the module."""
    onnx = pytest.importorskip("onnx")
    import onnx.helper as make

    last = {
        (): make.make_node("ReduceSum", ["z"], ["y"], keepdims=0),
        (6,): make.make_node("ReduceSum", ["z", "zero"], ["y"], keepdims=0),
        (0, 6): make.make_node("Slice", ["z", "zero", "zero"], ["y"]),
    }
    weight = np.random.default_rng(4).standard_normal((6, 6)).astype("float32")
    constants = [onnx.numpy_helper.from_array(v, n) for n, v in (("w", weight), ("zero", np.array([0])))]
    nodes = [make.make_node("MatMul", ["x", "w"], ["z"]), last[shape]]
    ends = [[make.make_tensor_value_info(n, 1, s)] for n, s in (("x", (4, 6)), ("y", shape))]
    graph = make.make_graph(nodes, "net", *ends, constants)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 13)], ir_version=8), "m.onnx")
    done = tvmc("compile", "--coexec", "--target", TARGET, "--coexec-ratio", ratio, "-o", "m.tar", "m.onnx")
    assert done.code == 0, done.err
    done = tvmc("run", "m.tar", "--print-top", "2")
    if shape == (0, 6):
        assert done.code != 0 and "--print-top: the first output has no elements" in done.err
    else:
        assert done.code == 0, done.err
        rows = done.out.replace("[", " ").replace("]", " ").split()
        assert len(rows) == (2 if shape == () else 4)


@pytest.mark.parametrize("options", [[], ["--end-to-end"]])
def test_times_are_printed(tvmc, package, options):
    done = tvmc("run", package, "--print-time", "--repeat", "2", "--number", "3", *options)
    assert done.code == 0, done.err
    title, head, row = done.out.splitlines()[:3]
    assert "Execution time summary" in title and "mean (ms)" in head
    mean, _, longest, shortest, _ = map(float, row.split())
    assert 0 < shortest <= mean <= longest


def test_the_clock_is_the_cpu_s(package, image):
    """A GPU's own timer would leave out the CPU's part and the copies."""
    from tvm.contrib import graph_executor
    from tvm.driver import tvmc

    import tvm_coexec.tvmc  # noqa: F401

    asked = []
    stock = graph_executor.GraphModule.benchmark

    def benchmark(self, device, *args, **kwargs):
        asked.append(device.device_type % 128)
        return stock(self, device, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph_executor.GraphModule, "benchmark", benchmark)
        loaded = tvmc.TVMCPackage(str(package))
        result = tvmc.run(loaded, device="cpu", inputs={"x": image}, benchmark=True, repeat=2, number=1)
    assert asked == [1]
    assert len(result.times.results) == 2


def test_profile_shows_kernels_of_both_devices(tvmc, package):
    done = tvmc("run", package, "--profile")
    assert done.code == 0, done.err
    assert "opencl0" in done.out and "cpu0" in done.out and "conv2d" in done.out


def test_profile_shows_what_runs_side_by_side(tvmc, package, image_file, expected):
    pytest.importorskip("matplotlib")
    files = ["--profile-trace", "t.json", "--profile-html", "t.html", "--profile-png", "t.png"]
    done = tvmc("run", package, "--profile", *files, "-i", image_file, "-o", "answer.npz", "--print-time")
    assert done.code == 0, done.err
    assert done.out.startswith("small: ") and "the median of 10 runs" in done.out and "GPU: kernels, ms" in done.out
    assert done.out.index("GPU: kernels") < done.out.index("each kernel alone") < done.out.index("opencl0")
    assert "Execution time summary" in done.out and "t.html: both timelines" in done.out
    assert {"t.json", "t.html", "t.png", "answer.npz"} <= set(os.listdir())
    events = json.loads(Path("t.json").read_text())["traceEvents"]
    chains = {e["args"].get("chain") for e in events if e["ph"] == "X" and e["pid"] == 1}
    assert {0, 1, 2} <= chains  # what tvmc compile wrote into the graph
    assert relative_error(np.load("answer.npz")["output_0"], expected) < 1e-4


def test_a_module_for_the_cpu_runs_as_ever(tvmc, model_file, image_file, expected):
    assert tvmc("compile", "--target", "llvm", "-o", "cpu.tar", model_file).code == 0
    for devices in ([], ["--device", "cpu"], ["--device", "cpu,cl"]):
        done = tvmc("run", "cpu.tar", "-i", image_file, "-o", "answer.npz", "--print-time", *devices)
        assert done.code == 0, done.err
        assert relative_error(np.load("answer.npz")["output_0"], expected) < 1e-4


def test_a_module_for_the_gpu_runs_as_ever(tvmc, model_file, image_file, expected):
    assert tvmc("compile", "--target", "opencl, llvm", "-o", "gpu.tar", model_file).code == 0
    for devices in (["--device", "cl"], ["--device", "cpu,cl"], []):
        done = tvmc("run", "gpu.tar", "-i", image_file, "-o", "answer.npz", *devices)
        assert done.code == 0, done.err
        assert relative_error(np.load("answer.npz")["output_0"], expected) < 1e-4


def test_adaptive_archive(tvmc, model_file, image_file, expected, package):
    done = tvmc(
        *("compile", "--coexec", "--coexec-adaptive", "--target", TARGET, "--coexec-ratio", "0.5"),
        *("-o", "adaptive.tar", model_file),
    )
    assert done.code == 0, done.err
    assert "weights of the adaptive module" in done.err and not done.out
    for options in (["--adaptive"], []):
        done = tvmc("run", "adaptive.tar", *options, "-i", image_file, "-o", "answer.npz", "--print-time")
        assert done.code == 0, done.err
        assert ("adaptive: " in done.err) == bool(options)
        with np.load("answer.npz") as outputs:
            assert relative_error(outputs["output_0"], expected) < 1e-4
    done = tvmc("run", package, "--adaptive")
    assert done.code == 4 and "build it with adaptive=True or --coexec-adaptive" in done.err
    done = tvmc("run", "adaptive.tar", "--adaptive", "--profile")
    assert done.code == 4 and "leave one out" in done.err
