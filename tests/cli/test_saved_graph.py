"""``coexec plan`` on a saved kernel graph: the same plans as for the model, without TVM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.planner import goldens
from tests.test_layering import run
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.core.plan import Plan

GRAPH = goldens.graph_path("squeezenet")


def test_a_graph_is_planned_and_its_plan_checked(coexec, profile_file, tmp_path):
    plan, page, numbers, again = (tmp_path / n for n in ("p.json", "p.html", "n.json", "g.json"))
    done = coexec(
        "plan", GRAPH, "--profile", profile_file, "--min-gain", 0, "-o", plan, "--html", page, "--json", numbers,
        "--save-graph", again,
    )  # fmt: skip
    assert done.code == 0
    made = Plan.load(str(plan))
    made.check(goldens.load_graph("squeezenet"))
    assert made.chains and made.graph == goldens.load_graph("squeezenet").fingerprint()
    assert json.loads(numbers.read_text())["model"] == str(GRAPH)
    assert again.read_text() == GRAPH.read_text() and "squeezenet" in page.read_text()
    checked = coexec("plan", again, "--profile", profile_file, "--check", plan)
    assert checked.code == 0 and f"{plan}: OK, the plan fits {again}" in checked.out
    assert coexec("plan", goldens.graph_path("alexnet"), "--check", plan).err.count("another model") == 1


def test_the_plan_is_the_golden_one(coexec, tmp_path):
    """The command takes the same way as the planner: the first plan of the network's goldens."""
    path = tmp_path / "p.json"
    profile = goldens.FOLDER / "profiles" / "generic.json"
    assert coexec("plan", GRAPH, "--profile", profile, "--strategy", "coexec", "-o", path).code == 0
    text = (goldens.FOLDER / "squeezenet.plans.txt").read_text()
    assert f"# profile generic, strategy coexec\n{path.read_text()}" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--profile", "measure"], "--profile measure needs the model itself"),
        (["--cpu", "llvm"], "--cpu would have no effect"),
        (["--gpu", "cuda"], "--gpu would have no effect"),
        (["--profile", "none.json"], "there is no profile none.json"),
        (["--save-graph", "no/folder/g.json"], "there is no folder"),
    ],
)
def test_what_a_graph_cannot_have_is_one_sentence(coexec, options, says):
    done = coexec("plan", GRAPH, *options)
    assert done.code == 2 and says in done.err and done.err.count("\n") == 1


def test_other_files_are_one_sentence(coexec, tmp_path):
    for name, text, says in (
        ("plan.json", '{"version": 1, "segments": []}', "plan.json is not a kernel graph"),
        ("cut.json", GRAPH.read_text()[:500], "cut.json is not JSON"),
        ("odd.json", GRAPH.read_text().replace('"flops":44158464.0', '"flops":"many"'), "'many' is not a number"),
    ):
        (tmp_path / name).write_text(text)
        done = coexec("plan", tmp_path / name)
        assert done.code == 2 and says in done.err and done.err.count("\n") == 1
    empty = tmp_path / "empty.json"
    KernelGraph((), (), (), "the model has control flow").save(empty)
    assert "empty.json has no kernels: the model has control flow" in coexec("plan", empty).err


@pytest.mark.slow
def test_commands_that_need_no_tvm(samples_file, tmp_path):
    """A saved graph is planned, and its plan checked; a profile is fitted, and compared with measurements."""
    profile, plan, page = (str(tmp_path / name) for name in ("profile.json", "plan.json", "plan.html"))
    commands = [
        ["fit", samples_file, "-o", profile],
        ["eval", profile, samples_file],
        ["plan", str(GRAPH), "--profile", profile, "--min-gain", "0", "-o", plan, "--compare", "--html", page],
        ["plan", str(GRAPH), "--profile", profile, "--check", plan],
    ]
    text = run(f"""
import os
os.environ["TVM_COEXEC_CACHE_DIR"] = {str(tmp_path)!r}
from tvm_coexec.cli import main
for command in {commands!r}:
    assert main(command) == 0, command
assert sys.modules["tvm"] is None and not any(m.startswith("tvm.") for m in sys.modules)
""")
    assert f"{plan}: OK, the plan fits {GRAPH}" in text and "neurosurgeon" in text
    assert "fitted in" in text and "conv" in text


@pytest.mark.llvm
def test_a_model_and_its_saved_graph_have_the_same_plan(coexec, profile_file, tmp_path):
    from tests.cli.test_plan import save_model

    model = save_model(tmp_path / "small.onnx", 3)
    graph, first, second = (tmp_path / n for n in ("g.json", "a.json", "b.json"))
    options = ["--profile", profile_file, "--min-gain", 0]
    done = coexec("plan", model, *options, "-o", first, "--save-graph", graph)
    assert done.code == 0 and f"{graph}: the kernel graph" in done.out
    assert coexec("plan", graph, *options, "-o", second).code == 0
    assert Path(first).read_text() == Path(second).read_text() and Plan.load(str(first)).chains
    assert coexec("plan", model, "--profile", profile_file, "--check", second).code == 0
