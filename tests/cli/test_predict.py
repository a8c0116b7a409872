"""``coexec predict`` on a small ONNX model."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytestmark = pytest.mark.llvm
onnx = pytest.importorskip("onnx")


@pytest.fixture
def model_file(tmp_path) -> str:
    """Two convolutions with ReLU, and a pooling; the batch is left open."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((16, 16, 3, 3)).astype("float32") for _ in range(2)]
    nodes, value = [], "x"
    for i in range(2):
        nodes.append(helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        value = f"r{i}"
    nodes.append(helper.make_node("MaxPool", [value], ["y"], kernel_shape=[2, 2], strides=[2, 2]))
    shapes = [("x", ["n", 16, 14, 14]), ("y", ["n", 16, 7, 7])]
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes)
    initial = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", [given], [made], initial)
    path = str(tmp_path / "small.onnx")
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), path)
    return path


def test_kernels_and_networks_are_predicted(coexec, model_file, profile_file, tmp_path):
    from tvm_coexec.cost_models.profile import Profile
    from tvm_coexec.measuring.read_model import load_model

    path = tmp_path / "p.json"
    done = coexec("predict", profile_file, model_file, "--json", path)
    assert done.code == 0, done.err
    found = json.loads(path.read_text())
    profile, graph = Profile.load(profile_file), load_model(model_file).graph()
    assert [k["name"] for k in found["kernels"]] == [k.name for k in graph.kernels] and len(graph.kernels) == 3
    for device in ("cpu", "gpu"):
        predicted = [k[f"{device}_s"] for k in found["kernels"]]
        assert predicted == pytest.approx([profile.whole_s(device, k) for k in graph.kernels], rel=1e-12)
        assert found["network_s"][device] == profile.network_s(device, graph) > 0
        assert f"{device}: {found['network_s'][device] * 1e3:.3f} ms for the whole network of 3 kernels" in done.out


@pytest.mark.slow
def test_energy_is_predicted_where_a_meter_was_read(coexec, model_file, samples_file, tmp_path):
    meter, path, out = tmp_path / "meter.csv", tmp_path / "device.json", tmp_path / "p.json"
    meter.write_text("seconds,joules,cpu,gpu\n1,0.5,,\n1,2.5,1,\n1,4.5,,1\n1,6.5,1,1\n")
    done = coexec("fit", samples_file, "--meter", meter, "-o", path)
    assert done.code == 0, done.err
    done = coexec("predict", path, model_file, "--json", out)
    found = json.loads(out.read_text())
    for device, watts in (("cpu", 2.0), ("gpu", 4.0)):
        kernels = sum(k[f"{device}_s"] for k in found["kernels"])
        joules = 0.5 * found["network_s"][device] + watts * kernels
        assert found["energy_j"][device] == pytest.approx(joules, rel=0.02)
        assert f"kernels, {found['energy_j'][device] * 1e3:.1f} mJ" in done.out


def test_profiles_of_the_package_are_known_by_name(coexec, model_file):
    done = coexec("predict", "generic", model_file)
    assert done.code == 0 and "for the whole network" in done.out


def test_costs_of_one_model(coexec, model_file, profile_file, samples_file, tmp_path):
    """What `coexec tune` leaves, by folder and by file, and measured times; `fit` and `eval` need more than that."""
    from tvm_coexec.cost_models import KernelTime, Link, MeasuredCosts, Profile, TunedCosts
    from tvm_coexec.cost_models.measured import WHOLE
    from tvm_coexec.measuring.read_model import load_model

    profile, graph = Profile.load(profile_file), load_model(model_file).graph()
    conv = next(k for k in graph.kernels if k.is_heavy)
    tuned = TunedCosts(profile, [KernelTime("cpu", conv.signature(), 0.25)])
    folder, measured, out = tmp_path / "tuned", tmp_path / "measured.json", tmp_path / "p.json"
    folder.mkdir()
    tuned.save(folder / "profile.json")
    table = MeasuredCosts(*[Link(1e-6, 1e-9)] * 3)
    for device in ("cpu", "gpu"):
        for k in graph.kernels:
            table.add(device, k.signature(), WHOLE, 0, 1e-3 * (k.index + 1))
    table.add_network("cpu", graph, 0.5)
    table.save(str(measured))
    for given, costs in ((folder, tuned), (folder / "profile.json", tuned), (measured, table)):
        done = coexec("predict", given, model_file, "--json", out)
        assert done.code == 0, done.err
        found = json.loads(out.read_text())
        for device in ("cpu", "gpu"):
            predicted = [k[f"{device}_s"] for k in found["kernels"]]
            assert predicted == pytest.approx([costs.whole_s(device, k) for k in graph.kernels], rel=1e-12)
            assert found["network_s"][device] == pytest.approx(costs.network_s(device, graph), rel=1e-12)
    assert found["network_s"] == {"cpu": 0.5, "gpu": pytest.approx(7e-3)}  # the convolutions are equal: 2, 2 and 3
    equal = sum(k.signature() == conv.signature() for k in graph.kernels)
    more_s = equal * (0.25 - profile.whole_s("cpu", conv))
    assert tuned.network_s("cpu", graph) == pytest.approx(profile.network_s("cpu", graph) + more_s, rel=1e-3)
    for argv in (
        ("eval", folder, samples_file),
        *(("fit", samples_file, o, folder, "-o", out) for o in ("--from", "--refine")),
    ):
        done = coexec(*argv)
        assert done.code == 2 and "profile.json has measured times of one model's kernels" in done.err, (argv, done)
        assert done.err.count("\n") == 1
    (tmp_path / "empty").mkdir()
    done = coexec("predict", tmp_path / "empty", model_file)
    assert done.code == 2 and "empty has no profile.json: give the folder of a finished" in done.err


def test_one_device_alone(coexec, model_file, profile_file):
    done = coexec("predict", profile_file, model_file, "--device", "gpu")
    assert done.code == 0 and "gpu ms" in done.out and "cpu ms" not in done.out


def test_errors_are_one_line(coexec, model_file, profile_file, tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    cases = [
        ((profile_file, tmp_path / "none.onnx"), "there is no model"),
        ((profile_file, tmp_path / "bad.onnx"), "can't read the model"),
        ((model_file, model_file), "small.onnx"),
        ((profile_file, model_file, "--json", tmp_path / "no" / "p.json"), "there is no folder"),
        ((profile_file, model_file, "--device", "npu"), "invalid choice"),
    ]
    for argv, text in cases:
        done = coexec("predict", *argv)
        assert done.code == 2 and text in done.err and done.err.count("\n") == 1, (argv, done)
