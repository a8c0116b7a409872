"""The plan in a built module's graph."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm.relay")

import tvm
from tvm import relay

import tvm_coexec
from tests.models import CPU, conv_chain, fire_net, input_of, reference, residual_net, run
from tvm_coexec.executor.annotations import find_roles, read_metadata, with_metadata
from tvm_coexec.executor.graph_json import Graph

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


@functools.cache
def built(net, axis: str):
    """The network's module, half of each chain on the GPU; several tests read it."""
    return tvm_coexec.build(net(), cpu=CPU, ratio=0.5, axis=axis)


def op_nodes(text: str) -> list[tuple[str, str, str]]:
    """Name, function and device of each operator node."""
    graph = json.loads(text)
    devices = graph["attrs"]["device_index"][1]
    return [
        (n["name"], n["attrs"]["func_name"], "cpu" if d == 1 else "gpu")
        for n, d in zip(graph["nodes"], devices, strict=True)
        if n["op"] != "null"
    ]


@pytest.mark.parametrize(
    ("net", "axis"), [(residual_net, "auto"), (fire_net, "h"), (fire_net, "oc"), (conv_chain, "ic")]
)
def test_roles_fit_what_the_nodes_do(net, axis):
    lib = built(net, axis)
    content = read_metadata(Graph(lib.get_graph_json()))
    nodes = op_nodes(lib.get_graph_json())
    assert list(content["nodes"]) == [name for name, _, _ in nodes]
    chains = {s for s, row in enumerate(content["segments"]) if row["device"] == "split"}
    assert chains and [content["segments"][s]["chain"] for s in sorted(chains)] == list(range(len(chains)))
    for name, function, device in nodes:
        segment, role = content["nodes"][name]
        assert (function == "__copy") == (role in ("upload", "download")), name
        assert role != "upload" or device == "gpu"
        assert role != "download" or device == "cpu"
        if role == "slice":
            assert "strided_slice" in function
        if role == "join":
            assert "concatenate" in function or "add" in function
        if segment in chains or role == "work":
            continue
        assert role in ("upload", "download", "slice")
    for segment in chains:  # both devices have their share, in the let chain's order: launches first
        own = [(device, content["nodes"][name][1]) for name, _, device in nodes if content["nodes"][name][0] == segment]
        assert ("gpu", "work") in own and ("cpu", "work") in own
        assert own.index(("gpu", "work")) < own.index(("cpu", "work"))
    numbers = [content["nodes"][name][0] for name, _, _ in nodes if content["nodes"][name][1] == "work"]
    assert numbers == sorted(numbers)  # segments run one after the other


def test_segments_and_expected_times_match_the_plan():
    made = relay.transform.CoExecPartition(ratio=0.5, profile="generic")
    with tvm.transform.PassContext(opt_level=3):
        made(residual_net())
    content = read_metadata(Graph(tvm_coexec.build(residual_net(), ratio=0.5, profile="generic").get_graph_json()))
    for row, segment in zip(content["segments"], made.report.plan.segments, strict=True):
        assert row["device"] == segment.device
        if segment.device == "split":
            assert (row["axis"], row["cut"]) == (segment.axis, segment.cut) and row["cut"] < row["extent"]
    sim, expected = made.report.simulated, content["expected"]
    assert expected["total_ns"] == round(sim.now_s * 1e9)
    assert expected["bytes_moved"] == round(sim.totals.bytes_moved)
    assert expected["sync_points"] == sim.sync_points
    assert [tuple(e) for e in expected["events"]] == [
        (e.lane, round(e.start_s * 1e9), round(e.end_s * 1e9), e.what, e.segment) for e in sim.events
    ]


def test_without_costs_nothing_is_expected():
    assert "expected" not in read_metadata(Graph(built(conv_chain, "ic").get_graph_json()))


def test_a_whole_model_on_the_cpu_is_one_segment():
    content = read_metadata(Graph(tvm_coexec.build(conv_chain(), ratio=0.0).get_graph_json()))
    assert content["segments"] == [{"device": "cpu", "chain": -1}]
    assert content["nodes"] and set(map(tuple, content["nodes"].values())) == {(0, "work")}


@pytest.mark.opencl
def test_the_stock_executor_runs_it_also_from_a_file(tmp_path):
    mod = residual_net()
    lib = built(residual_net, "auto")
    devices = [tvm.cpu(), tvm.opencl()]
    want = run(lib, input_of(mod), devices)
    for name in ("net.so", "net.tar"):
        lib.export_library(str(tmp_path / name))
        loaded = tvm.runtime.load_module(str(tmp_path / name))
        assert loaded["get_graph_json"]() == lib.get_graph_json()
        got = run(loaded, input_of(mod), devices)
        np.testing.assert_array_equal(got[0], want[0])
    np.testing.assert_allclose(want[0], reference(mod, input_of(mod))[0], rtol=1e-3, atol=1e-5)


def test_a_user_s_instruments_see_the_build():
    @tvm.instrument.pass_instrument
    class Names:
        def __init__(self):
            self.seen = set()

        def run_after_pass(self, mod, info):
            self.seen.add(info.name)

    names = Names()
    with tvm.transform.PassContext(opt_level=3, instruments=[names]):
        tvm_coexec.build(conv_chain(), ratio=0.5)
    assert "LowerTE" in names.seen and "FuseOps" in names.seen


def test_any_other_graph_has_none():
    with tvm.transform.PassContext(opt_level=3):
        text = relay.build(conv_chain(), "llvm").get_graph_json()
    assert read_metadata(Graph(text)) is None
    assert read_metadata(Graph(with_metadata(text, {"coexec": {"version": 99}}))) is None
    assert list(json.loads(with_metadata(text, {})))[-1] == "metadata"  # the executor reads no further


def test_a_let_chain_of_other_names_is_work():
    """Whoever changes the names loses roles, no more."""
    x = relay.var("x", shape=(1, 4))
    a, b = relay.var("a"), relay.var("coexec_4_npu")
    body = relay.Let(a, relay.nn.relu(x), relay.Let(b, relay.tanh(relay.nn.relu(a)), b))
    lowered = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([x], body)))
    assert find_roles(lowered) == [(-1, "work"), (4, "work"), (4, "work")]


SCRIPT = """
from tests.models import residual_net
import tvm_coexec
print(tvm_coexec.build(residual_net(), ratio=0.5, profile="generic").get_graph_json())
"""


def test_same_bytes_in_every_process():
    root = Path(__file__).parents[2]
    texts = []
    for seed in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env={**os.environ, "PYTHONHASHSEED": seed}, cwd=root,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        texts.append(done.stdout[done.stdout.index('"metadata"') :])
    assert texts[0] == texts[1]
