"""``coexec plan``: plans written, compared, checked after edits by hand, and drawn."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.measuring.meters import quick
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models import Power, shipped
from tvm_coexec.cost_models.profile import Profile
from tvm_coexec.measuring import choose_costs
from tvm_coexec.measuring.choose_costs import load_generic
from tvm_coexec.planner import STRATEGIES

pytestmark = pytest.mark.llvm
onnx = pytest.importorskip("onnx")


def save_model(path: Path, convs: int, size: int = 28) -> str:
    """Convolutions with ReLU in a row, the input of the second added to its output, and a pooling."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((32, 32, 3, 3)).astype("float32") for _ in range(convs)]
    nodes, value = [], "x"
    for i in range(convs):
        nodes.append(helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        if i == 1:
            nodes.append(helper.make_node("Add", ["c1", "r0"], ["s"]))
        nodes.append(helper.make_node("Relu", ["s" if i == 1 else f"c{i}"], [f"r{i}"]))
        value = f"r{i}"
    nodes.append(helper.make_node("MaxPool", [value], ["y"], kernel_shape=[2, 2], strides=[2, 2]))
    shapes = [("x", [1, 32, size, size]), ("y", [1, 32, size // 2, size // 2])]
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes)
    initial = [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", [given], [made], initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=7), str(path))
    return str(path)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> str:
    return save_model(tmp_path_factory.mktemp("model") / "small.onnx", 3)


@pytest.fixture(scope="module")
def power_file(profile_file, tmp_path_factory) -> str:
    """The profile with watts."""
    profile = replace(Profile.load(profile_file), power=Power(0.5, {"cpu": 2.0, "gpu": 1.0}))
    path = tmp_path_factory.mktemp("power") / "power.json"
    profile.save(path)
    return str(path)


@pytest.fixture
def planned(coexec, model_file, profile_file, tmp_path):
    """A plan by cost of the small model."""
    path = tmp_path / "plan.json"
    done = coexec("plan", model_file, "--profile", profile_file, "--min-gain", 0, "-o", path)
    assert done.code == 0, done.err
    return path, done


@pytest.mark.slow
def test_for_a_board_the_generic_profile_plans(coexec, model_file):
    board = ("--cpu", "llvm -mtriple=aarch64-linux-gnu -mattr=+neon", "--gpu", "opencl -device=adreno")
    done = coexec("plan", model_file, *board)
    assert done.code == 0 and "generic" in done.out and "planning with the generic profile" in done.err


def edited(path: Path, **changes: object) -> Path:
    """The plan with its first chain changed."""
    d = json.loads(path.read_text())
    next(s for s in d["segments"] if s["device"] == "split").update(changes)
    path.write_text(json.dumps(d))
    return path


@pytest.mark.slow
def test_a_plan_is_made_shown_and_replayed(planned, model_file, profile_file):
    from tvm_coexec import CoExecPartition, plan_of
    from tvm_coexec.measuring.read_model import load_model
    from tvm_coexec.pass_context import deployment_context

    path, done = planned
    plan = Plan.load(str(path))
    assert plan.chains and plan.strategy == "coexec" and plan.costs == "two made-up devices"
    model = load_model(model_file)
    plan.check(model.graph())
    lines = done.out.splitlines()
    assert lines[0] == f"profile: {profile_file}"
    assert "kernels split in" in lines[1] and "expected" in lines[1] and "mJ" not in lines[1]
    assert lines[2] == "strategy coexec; costs: two made-up devices" and lines[-1] == f"{path}: the plan"
    with deployment_context(instruments=False):
        replayed = CoExecPartition(params=model.params, plan=str(path))(model.mod)
    assert plan_of(replayed) == plan


def test_the_same_plan_again(planned, coexec, model_file, profile_file, tmp_path):
    path, _ = planned
    again = tmp_path / "again.json"
    assert coexec("plan", model_file, "--profile", profile_file, "--min-gain", 0, "-o", again).code == 0
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_options_reach_the_planner(coexec, model_file, profile_file, tmp_path):
    path = tmp_path / "plan.json"
    base = ("plan", model_file, "--profile", profile_file, "-o", path)
    assert coexec(*base, "--ratio", "0.25", "--axis", "oc").code == 0
    chains = Plan.load(str(path)).chains
    assert chains and {c.axis for c in chains} == {"oc"} and {c.cut for c in chains} == {8}
    done = coexec(*base, "--strategy", "mulayer")
    assert done.code == 0 and "strategy mulayer" in done.out and Plan.load(str(path)).strategy == "mulayer"
    assert coexec(*base, "--min-gain", "0.99").code == 0
    assert [s.device for s in Plan.load(str(path)).segments] in (["cpu"], ["gpu"])
    assert coexec(*base, "--strategy", "neurosurgeon", "--bandwidth", "1").code == 0
    assert len(Plan.load(str(path)).segments) == 1  # nothing crosses a link of a byte a second


def test_strategies_side_by_side(coexec, model_file, profile_file, tmp_path):
    out = tmp_path / "told.json"
    done = coexec("plan", model_file, "--profile", profile_file, "--compare", "--json", out)
    assert done.code == 0, done.err
    told = json.loads(out.read_text())
    rows = {r["strategy"]: r for r in told["strategies"]}
    assert list(rows) == list(STRATEGIES) and all("expected_s" in r for r in rows.values())
    table = done.out[done.out.index("strategies, all with the same costs") :].splitlines()
    assert table[1].split("  ")[0] == "strategy" and "energy" not in table[1] and "sync points" in table[1]
    printed = {line.split()[0]: line.split() for line in table[3:]}
    alone = min(told["alone_s"].values())
    for name, row in rows.items():
        assert float(printed[name][2]) == pytest.approx(alone / row["expected_s"], abs=0.01)
        assert int(printed[name][3]) == row["sync_points"] and int(printed[name][6]) == row["chains"]
        assert float(printed[name][4]) >= 0
    assert rows["exhaustive"]["expected_s"] <= rows["coexec"]["expected_s"] * (1 + 1e-9) <= alone * (1 + 1e-9)
    assert told["expected_s"] == pytest.approx(rows["coexec"]["expected_s"])
    assert (told["sync_points"], told["bytes_moved"]) == tuple(
        rows["coexec"][k] for k in ("sync_points", "bytes_moved")
    )


@pytest.mark.slow
def test_a_strategy_that_cant_plan_says_why(coexec, profile_file, tmp_path):
    model = save_model(tmp_path / "long.onnx", 12, 8)
    done = coexec("plan", model, "--profile", profile_file, "--compare")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1].startswith("exhaustive: strategy 'exhaustive' is for graphs of at most")
    assert not any(line.startswith("exhaustive  ") for line in done.out.splitlines())


@pytest.mark.slow
def test_energy_where_the_profile_knows_power(coexec, model_file, power_file, profile_file, tmp_path):
    out = tmp_path / "told.json"
    found = {}
    for objective in ("latency", "energy", "edp"):
        options = ("--objective", objective, "--min-gain", 0, "--json", out, "--compare")
        done = coexec("plan", model_file, "--profile", power_file, *options)
        assert done.code == 0, done.err
        told = json.loads(out.read_text())
        assert f"ms and {told['energy_j'] * 1e3:.3f} mJ" in done.out.splitlines()[1] and "energy mJ" in done.out
        found[objective] = told["expected_s"], told["energy_j"]
    assert found["latency"][0] <= min(s for s, _ in found.values()) * (1 + 1e-9)
    assert found["energy"][1] <= min(j for _, j in found.values()) * (1 + 1e-9)
    done = coexec("plan", model_file, "--profile", profile_file, "--objective", "energy")
    assert done.code == 2 and "needs watts" in done.err


@pytest.mark.slow
def test_a_plan_edited_by_hand_is_checked(planned, coexec, model_file, profile_file, tmp_path):
    path, _ = planned
    chain = Plan.load(str(path)).chains[0]
    edited(path, cut=chain.cut - 4)
    out, again = tmp_path / "told.json", tmp_path / "again.json"
    base = ("plan", model_file, "--profile", profile_file, "--check", path)
    done = coexec(*base, "--json", out, "-o", again, "--compare")
    assert done.code == 0, done.err
    assert f"{path}: OK, the plan fits {model_file}" in done.out and f" {chain.cut - 4}/" in done.out
    told = json.loads(out.read_text())
    checked, *others = told["strategies"]
    assert checked["strategy"] == "plan.json" and checked["expected_s"] == told["expected_s"]
    assert {r["strategy"] for r in others} == set(STRATEGIES)
    assert min(r["expected_s"] for r in others) <= checked["expected_s"]
    fresh = Plan.load(str(again))  # with times of the cut that it has now
    assert fresh.chains[0].cut == chain.cut - 4
    assert fresh.chains[0].expected_s["gpu"] < chain.expected_s["gpu"]


@pytest.mark.slow
def test_plans_that_are_stale_foreign_or_damaged_are_refused(planned, coexec, model_file, profile_file, tmp_path):
    path, _ = planned
    good = path.read_text()
    other = save_model(tmp_path / "other.onnx", 4)
    segments = json.loads(good)["segments"]
    dropped = json.dumps({**json.loads(good), "segments": segments[:-1]})
    cases = [
        (other, good, "was made for another model or other shapes"),
        (model_file, good[: len(good) // 2], "is not JSON"),
        (model_file, good.replace('"version": 1', '"version": 99'), "has plan version 99"),
        (model_file, dropped, "the plan has no segment for kernels"),
        (model_file, good.replace('"cut"', '"cutt"'), "has the unknown key 'cutt'"),
        (model_file, "[]", "is not a co-execution plan"),
    ]
    for model, text, says in cases:
        path.write_text(text)
        done = coexec("plan", model, "--profile", profile_file, "--check", path)
        assert done.code == 2 and says in done.err and done.err.count("\n") == 1, (says, done)
        assert str(path) in done.err and done.out == ""
    path.write_text(good)
    for change, says in (({"cut": 9999}, "cut 9999"), ({"axis": "t"}, "no axis 't'"), ({"device": "npu"}, "'npu'")):
        done = coexec("plan", model_file, "--profile", profile_file, "--check", edited(path, **change))
        assert done.code == 2 and says in done.err, done
        path.write_text(good)


@pytest.mark.slow
def test_drawings(planned, coexec, model_file, profile_file, tmp_path):
    pytest.importorskip("matplotlib")
    path, _ = planned
    png, html = tmp_path / "plan.png", tmp_path / "plan.html"
    done = coexec("plan", model_file, "--profile", profile_file, "--check", path, "--png", png, "--html", html)
    assert done.code == 0, done.err
    assert f"{png}: the drawing" in done.out and f"{html}: the drawing" in done.out
    assert png.read_bytes().startswith(b"\x89PNG") and png.stat().st_size > 10_000
    page = ElementTree.fromstring(html.read_text().split("\n", 1)[1])
    text = "".join(page.itertext())
    assert text.strip().startswith("small: expected ") and "best single device" in text
    kernels = [e.attrib["data-kernel"] for e in page.iter() if "data-kernel" in e.attrib]
    assert kernels == [str(k) for k in range(len(kernels))] and len(kernels) == 4
    assert done.out.splitlines()[2] in text  # the report


@pytest.mark.slow
def test_without_a_profile_the_costs_are_those_of_the_pass(coexec, model_file, monkeypatch):
    """The package's profile of these devices; where no kernel can run, the generic one."""
    mine = replace(load_generic(), description="of this machine")
    done = coexec("plan", model_file, "--cpu", "llvm -mtriple=riscv64-linux-gnu")
    assert done.code == 0 and done.out.startswith("profile: generic, of another board, since")
    assert "kernels can't be measured here (" in done.err and f"costs: {load_generic().description}" in done.out
    monkeypatch.setattr(shipped, "find_matching", lambda targets, devices: ("this_one", mine))
    monkeypatch.setattr(choose_costs, "why_not_here", lambda cpu, gpu: "")
    assert coexec("plan", model_file).out.startswith("profile: this_one, which comes with tvm-coexec")
    assert coexec("plan", model_file, "--profile", "generic").out.startswith("profile: generic\n")


@pytest.mark.opencl
def test_measuring_when_asked_for(coexec, model_file, tmp_path, monkeypatch):
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(choose_costs, "measure", functools.partial(choose_costs.measure, make_meter=quick))
    done = coexec("plan", save_model(tmp_path / "one.onnx", 1), "--profile", "measure")
    assert done.code == 0, done.err
    assert done.out.startswith("profile: measured here\n") and list((tmp_path / "profiles").glob("*.json"))


def depends_on_data(folder: Path) -> Path:
    """A model whose output has as many columns as its input has elements that are not 0."""
    from onnx import TensorProto, helper

    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["y"])],
        "nonzero",
        [info("x", TensorProto.FLOAT, [4, 4])],
        [info("y", TensorProto.INT64, [2, None])],
    )
    path = folder / "nonzero.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_strategy_takes_its_own_options_and_a_comparison_all(coexec, model_file, profile_file):
    base = ("plan", model_file, "--profile", profile_file)
    assert coexec(*base, "--strategy", "neurosurgeon", "--bandwidth", "1e9").code == 0
    assert coexec(*base, "--strategy", "single", "--axis", "auto").code == 0
    assert coexec(*base, "--compare", "--bandwidth", "1e9").code == 0


def test_errors_are_one_line(coexec, model_file, profile_file, tmp_path):
    base = (model_file, "--profile", profile_file)
    cases = [
        ((tmp_path / "none.onnx",), "there is no model"),
        (
            (model_file, "--profile", "nowhere"),
            "there is no profile nowhere: give a file of `coexec fit`, or one of measure, generic",
        ),
        ((model_file, "--profile", model_file), "small.onnx"),
        ((*base, "--strategy", "best"), "strategy 'best' is unknown; use one of coexec"),
        ((*base, "--axis", "depth"), "axis 'depth' is unknown"),
        ((*base, "--ratio", "2"), "ratio '2' must be auto"),
        ((*base, "--min-gain", "much"), "--min-gain 'much'"),
        ((*base, "--objective", "joy"), "objective 'joy' is unknown; use one of latency, energy, edp"),
        ((*base, "--bandwidth", "0"), "bandwidth '0' must be"),
        ((*base, "--compare", "--ratio", "0.5"), "--compare leaves the ratio to each strategy"),
        ((*base, "--check", tmp_path / "none.json"), "can't read plan"),
        ((*base, "--check", "p.json", "--strategy", "codl"), "so --strategy would have no effect"),
        ((*base, "--check", "p.json", "--min-gain", "0"), "so --min-gain would have no effect"),
        ((*base, "-o", tmp_path / "no" / "p.json"), "there is no folder"),
        ((*base, "--html", tmp_path), "it is a folder"),
        ((*base, "--gpu", "llvm"), "llvm"),
        ((*base, "--strategy", "single", "--ratio", "0.5"), "--ratio has no effect on the strategy 'single'"),
        ((*base, "--strategy", "exhaustive", "--ratio", "0.5"), "--ratio has no effect on the strategy 'exhaustive'"),
        ((*base, "--strategy", "neurosurgeon", "--axis", "h"), "--axis has no effect on the strategy 'neurosurgeon'"),
        ((*base, "--bandwidth", "1e9"), "--bandwidth has no effect on the strategy 'coexec'"),
        ((*base, "--png", tmp_path / "x.jpg"), "the file would not be a jpg file; name it *.png"),
        ((*base, "--html", tmp_path / "x.png"), "the file would not be a png file; name it *.html"),
        ((*base, "-o", tmp_path / "x", "--json", tmp_path / "x"), "--output and --json name the same file"),
        (
            (depends_on_data(tmp_path), "--profile", profile_file),
            "result shape of operator argwhere depends on data",
        ),
    ]
    for argv, text in cases:
        done = coexec("plan", *argv)
        assert done.code == 2 and text in done.err and done.err.count("\n") == 1, (argv, done)
        assert done.err.startswith("coexec plan: ") and done.out == ""
