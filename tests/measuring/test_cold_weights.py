"""Copies of a kernel with weights of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor

from tvm_coexec.measuring.cold_weights import COLD_BYTES, MOST_COPIES, copy_kernels, count_copies, count_weight_bytes
from tvm_coexec.measuring.compile import export
from tvm_coexec.measuring.executors import create_module
from tvm_coexec.measuring.library_timer import LibraryTimer
from tvm_coexec.measuring.protocol import Setting, TimeRequest
from tvm_coexec.measuring.timing_devices import TimingDevices

pytestmark = pytest.mark.llvm


def build(gated: bool = False) -> Any:
    rng = np.random.default_rng(1)
    x, skip = relay.var("x", shape=(4, 8)), relay.var("skip", shape=(4, 16))
    w, other = (relay.const(rng.standard_normal((16, n)).astype("float32")) for n in (8, 16))
    y = relay.nn.relu(relay.nn.dense(x, w)) + skip
    if gated:  # two kernels and two outputs
        y = relay.Tuple([y, relay.nn.dense(relay.nn.softmax(y), other)])
    return relay.build(tvm.IRModule.from_expr(relay.Function([x, skip], y)), target="llvm")


@pytest.mark.parametrize("gated", [False, True])
def test_the_last_copy_computes_the_outputs(gated: bool) -> None:
    lib = build(gated)
    graph, weights = lib.get_graph_json(), list(lib.get_params())
    copied, names = copy_kernels(graph, weights, 3)
    assert {len(n) for n in names.values()} == {3} and set(names) == set(weights)
    rng = np.random.default_rng(2)
    x, skip = rng.standard_normal((4, 8)).astype("float32"), rng.standard_normal((4, 16)).astype("float32")
    expected = graph_executor.GraphModule(lib["default"](tvm.cpu()))
    module = graph_executor.create(copied, lib.get_lib(), tvm.cpu())
    for m in (expected, module):
        m.set_input("x", x)
        m.set_input("skip", skip)
    expected.run()
    for first, all_names in names.items():
        for name in all_names[:-1]:
            module.set_input(name, np.full(lib.get_params()[first].shape, np.nan, "float32"))
        module.set_input(all_names[-1], lib.get_params()[first])
    module.run()
    for i in range(expected.get_num_outputs()):
        np.testing.assert_array_equal(module.get_output(i).numpy(), expected.get_output(i).numpy())


def test_each_copy_has_memory_of_its_own_for_weights_only() -> None:
    lib = build()
    graph, (weight,) = lib.get_graph_json(), lib.get_params()
    copied, names = copy_kernels(graph, [weight], 5)
    document = json.loads(copied)
    kernels = [n for n in document["nodes"] if n["op"] == "tvm_op"]
    assert len(kernels) == 5 and len({n["name"] for n in document["nodes"]}) == len(document["nodes"])
    ids = document["attrs"]["storage_id"][1]
    assert len(set(ids)) == len(set(json.loads(graph)["attrs"]["storage_id"][1])) + 4
    module = create_module(copied, lib.get_lib(), tvm.cpu(), names)
    values = [module.get_input(name).numpy() for name in names[weight]]
    assert all(np.array_equal(v, values[0]) for v in values) and values[0].any()


def test_one_copy_changes_nothing_but_text() -> None:
    graph = build().get_graph_json()
    assert json.loads(copy_kernels(graph, ["p0"], 1)[0]) == json.loads(graph)


def test_bytes_of_weights() -> None:
    lib = build()
    assert count_weight_bytes(lib.get_graph_json(), tuple(lib.get_params())) == 16 * 8 * 4
    assert count_weight_bytes(lib.get_graph_json(), ()) == 0


@pytest.mark.parametrize(
    ("weight_bytes", "once_s", "copies"),
    [
        (0, 1e-3, 1),
        (4, 1e-3, 1),  # does not matter
        (9 << 20, 5e-3, 7),
        (2 << 20, 5e-3, 32),
        (200_000, 1e-4, MOST_COPIES),
        (4 << 20, 4e-2, 7),  # limited by the time
        (2 * COLD_BYTES, 1e-2, 1),
    ],
)
def test_how_many_copies(weight_bytes: int, once_s: float, copies: int) -> None:
    assert count_copies(weight_bytes, once_s) == copies


def test_the_timing_process_runs_copies_of_kernels_but_not_of_networks(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, w = relay.var("x", shape=(1, 512)), relay.const(rng.standard_normal((1024, 512)).astype("float32"))
    lib = relay.build(tvm.IRModule.from_expr(relay.Function([x], relay.nn.dense(x, w))), target="llvm")
    timer = LibraryTimer(TimingDevices(Setting(tvm.cpu().device_type)))
    for name, is_kernel in (("kernel", True), ("network", False)):
        built = export(lib, str(tmp_path / f"{name}.so"), "cpu", is_kernel)
        loaded = timer.load_cold(TimeRequest(built, 3, 1))
        copies, once_s = loaded.copies, min(loaded.waiting.time_once())
        assert (copies, loaded.module.get_num_inputs()) == ((32, 33) if is_kernel else (1, 2))
        (timed,) = timer.time_all([TimeRequest(built, 3, 1)])
        assert timed.best_s < 2 * once_s / copies  # of one kernel, not of all copies
