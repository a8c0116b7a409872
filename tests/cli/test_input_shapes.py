"""``--input-shapes`` of plan, predict and profile: models whose file leaves sizes open."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.llvm
pytest.importorskip("onnx")

from tests.frontend import onnx_models  # noqa: E402
from tvm_coexec.core.plan import Plan  # noqa: E402


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, str]:
    """Models by what is open in them."""
    folder = tmp_path_factory.mktemp("models")
    protos = {
        "map": onnx_models.conv_net(["N", 3, "height", "width"]),
        "batch": onnx_models.conv_net(["N", 3, 12, 12]),
        "text": onnx_models.two_inputs(["batch", "seq_len"], ["batch", "seq_len"]),
        "nothing": onnx_models.conv_net([1, 3, 12, 12]),
    }
    return {name: onnx_models.save(proto, folder / f"{name}.onnx") for name, proto in protos.items()}


@pytest.mark.slow
def test_open_sizes_are_named_by_every_command(coexec, files, profile_file, tmp_path):
    for argv in (["plan", "{}"], ["predict", profile_file, "{}"], ["profile", "{}", "-o", tmp_path / "s.jsonl"],
                 ["places", "{}", "--cut", 1]):  # fmt: skip
        for name, words in (
            ("map", "input 'x' has open sizes: N, height, width (model "),
            ("text", "input 'a' has open sizes: batch, seq_len; input 'b' has open sizes: batch, seq_len (model "),
        ):
            done = coexec(*[files[name] if a == "{}" else a for a in argv])
            assert done.code == 2 and done.out == "" and done.err.count("\n") == 1, done
            assert done.err.startswith(f"coexec {argv[0]}: {words}") and "give --input-shapes " in done.err


def test_what_is_given_is_planned_for(coexec, files, profile_file, tmp_path):
    plan, out = tmp_path / "plan.json", tmp_path / "p.json"
    options = ["--profile", profile_file, "--ratio", "0.5", "--axis", "h", "-o", plan]
    done = coexec("plan", files["map"], "--input-shapes", "x:[2,3,20,18]", *options)
    assert done.code == 0 and "UserWarning" not in done.err, done.err
    (chain,) = Plan.load(str(plan)).chains
    assert (chain.axis, chain.cut) == ("h", 10)
    found = []
    for shapes in (["--input-shapes", "x:[1,3,12,12]"], ["--input-shapes", "x: [1, 3, 24, 24]"]):
        assert coexec("predict", profile_file, files["map"], *shapes, "--json", out).code == 0
        found.append(json.loads(out.read_text())["network_s"]["cpu"])
    assert found[1] > found[0]
    assert coexec("predict", profile_file, files["nothing"], "--json", out).code == 0
    assert json.loads(out.read_text())["network_s"]["cpu"] == pytest.approx(found[0], rel=1e-12)
    assert coexec("predict", profile_file, files["batch"], "--json", out).code == 0  # one image
    assert json.loads(out.read_text())["network_s"]["cpu"] == pytest.approx(found[0], rel=1e-12)
    assert coexec("predict", profile_file, files["text"], "--input-shapes", "b:[2,5]").code == 0


def test_samples_of_other_shapes_are_others(files):
    """A network is known by its name in a file of samples; one that a file has all sizes of keeps its plain name."""
    from tvm_coexec.measuring.read_model import load_models

    both = [files["map"], files["text"]]
    found = load_models(both, {"x": [1, 3, 8, 8], "a": [2, 5]})
    assert [m.name for m in found] == ["map x:[1,3,8,8]", "text a:[2,5]"]
    assert [m.name for m in load_models([files["batch"], files["nothing"]])] == ["batch", "nothing"]
    (parameter,) = found[0].mod["main"].params
    assert [int(d) for d in parameter.checked_type.shape] == [1, 3, 8, 8]


def test_shapes_that_do_not_fit(coexec, files, profile_file, tmp_path):
    cases = [
        (["predict", profile_file, files["map"], "--input-shapes", "y:[1,3,8,8]"], "has no input 'y'"),
        (["predict", profile_file, files["map"], "--input-shapes", "x:[1,3,8]"], "has 4 dimensions, [N,3,height"),
        (["predict", profile_file, files["map"], "--input-shapes", "x=1,3,8,8"], "must be of the form"),
        (["plan", files["map"], "--input-shapes", "x:[1,3,-1,8]"], "'x' has open sizes: height"),
        (["plan", files["map"], "--input-shapes", "x:[1,5,8,8]"], "operator Conv (node 'Conv_0')"),
        (["profile", files["map"], files["text"], "--input-shapes", "q:[1]", "-o", tmp_path / "s"], "none of the"),
        (["profile", "--designed", 1, "--input-shapes", "x:[1]", "-o", tmp_path / "s"], "no effect without a model"),
    ]  # fmt: skip
    for argv, text in cases:
        done = coexec(*argv)
        assert done.code == 2 and text in done.err and done.err.count("\n") == 1, (argv, done)
