"""Placement: explicit copies, one let chain, and the order in which the executor runs the nodes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tvm
from tvm import relay

import tvm_coexec
from tests import models
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.partition import CoExecPartition
from tvm_coexec.relay_passes.extract import extract
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = pytest.mark.llvm

CPU, OPENCL = 1, 4


def node_order(mod: tvm.IRModule, gpu: str = "opencl", opt_level: int = 3) -> list[tuple[str, int]]:
    """Names of the graph JSON's operator nodes and their devices, in execution order; nothing is run."""
    with tvm.transform.PassContext(opt_level=opt_level):
        lib = relay.build(mod, target=tvm_coexec.targets("llvm", gpu))
    graph = json.loads(lib.get_graph_json())
    devices = graph["attrs"]["device_index"][1]
    return [
        (node["name"].replace("tvmgen_default_", ""), device)
        for node, device in zip(graph["nodes"], devices, strict=True)
        if node["op"] != "null"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("opt_level", [2, 3, 4])
def test_order_of_a_row_chain_and_a_channel_chain(opt_level):
    """The GPU has its next share before the CPU waits; level 4 would merge parallel convolutions if it could."""
    mod = models.conv_chain(2)
    made = CoExecPartition(ratio=0.5, axis="oc")(mod)
    assert [s.kernels for s in tvm_coexec.plan_of(made).segments] == [(0,), (1,)]
    order = node_order(made, opt_level=opt_level)
    kernels = [(name.split("_")[1] if "fused" in name else name.strip("_").split("_")[0], d) for name, d in order]
    packed = [k for k in kernels if k[0] != "layout"]  # the CPU's share works in its own layout
    shares = [("copy", OPENCL), ("nn", OPENCL), ("nn", CPU)]
    between = [("copy", OPENCL), ("concatenate", OPENCL), ("nn", OPENCL)]
    join = [("copy", CPU), ("concatenate", CPU)]
    assert packed == [*shares, *between, *join, ("nn", CPU), *join]


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["oc", "h"])
def test_for_tvms_own_runtime_copies_come_before_launches(axis):
    """A copy after a launch would wait for it, so that nothing would overlap."""
    mod = models.conv_chain(3)
    graph = extract(Prepare()(mod))
    segments = tuple(Segment("split", (k,), axis, 4) for k in range(3))
    orders = {}
    for runtime in ("own", "tvm"):
        plan = Plan(graph.fingerprint(), segments, runtime=runtime)
        order = node_order(CoExecPartition(plan=Plan.from_json(plan.to_json()))(mod))
        orders[runtime] = ["copy" if "copy" in n else d for n, d in order if "copy" in n or "conv2d" in n]
    launches = {r: [i for i, what in enumerate(found) if what == OPENCL] for r, found in orders.items()}
    assert all(len(found) == 3 and orders[r].count(CPU) == 3 for r, found in launches.items())
    assert [orders["tvm"][i + 1] for i in launches["tvm"]] == [CPU] * 3
    assert [orders["own"][i + 1] for i in launches["own"]] == [CPU, "copy", "copy"]
    assert sorted(map(str, orders["tvm"])) == sorted(map(str, orders["own"]))


@pytest.mark.slow
@pytest.mark.parametrize("opt_level", [2, 3, 4])
@pytest.mark.parametrize("cut", [3, 8])
def test_order_of_a_chain_along_the_reduction(opt_level, cut):
    """Upload, GPU launches, CPU share, download; then one kernel adds the parts, the bias, and applies the ReLU."""
    mod = models.conv_chain(2)
    graph = extract(Prepare()(mod))
    plan = Plan(graph.fingerprint(), (Segment("split", (0, 1), "ic", cut),))
    order = node_order(CoExecPartition(plan=plan)(mod), opt_level=opt_level)
    kinds = [(next((k for k in ("copy", "conv2d", "layout") if k in name), name), device) for name, device in order]
    cpu = [("conv2d", CPU), ("conv2d", CPU)] if cut < 8 else []
    gpu = [("copy", OPENCL), ("conv2d", OPENCL), ("conv2d", OPENCL)]
    join = "fused_add_add_nn_relu" if cut < 8 else "fused_add_nn_relu"
    assert [k for k in kinds if k[0] != "layout"] == [*gpu, *cpu, ("copy", CPU), (join, CPU)]


def test_sum_without_anything_after_it_is_an_addition():
    x = relay.var("x", shape=(4, 8))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.dense(x, models.weights(np.random.default_rng(0), 6, 8))))
    plan = Plan(extract(Prepare()(mod)).fingerprint(), (Segment("split", (0,), "ic", 3),))
    order = node_order(CoExecPartition(plan=plan)(mod))
    kinds = [(next((k for k in ("copy", "slice", "dense") if k in name), name), device) for name, device in order]
    gpu = [("slice", CPU), ("copy", OPENCL), ("dense", OPENCL)]
    assert kinds == [*gpu, ("slice", CPU), ("dense", CPU), ("copy", CPU), ("fused_add", CPU)]


def test_only_the_halo_slice_travels():
    mod = CoExecPartition(ratio=0.5, axis="h")(models.conv_chain(3, size=28))
    copies = []

    def visit(node):
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name == "device_copy":
            copies.append([int(d) for d in node.checked_type.shape])

    relay.analysis.post_order_visit(mod["main"], visit)
    assert copies == [[1, 8, 17, 28], [1, 8, 14, 28]]  # 14 rows and a halo of 3 go up, 14 rows come down


def test_only_the_rows_that_a_device_lacks_travel_between_chains():
    """Both devices join what they read themselves: of 8 channels in 28 rows, one row goes up, and 14 come down."""
    mod = models.conv_chain(2, size=28)
    graph = extract(Prepare()(mod))
    plan = Plan(graph.fingerprint(), (Segment("split", (0,), "h", 14), Segment("split", (1,), "h", 14)))
    made = CoExecPartition(plan=plan)(mod)
    shapes = {"device_copy": [], "concatenate": []}

    def visit(node):
        if isinstance(node, relay.Call) and isinstance(node.op, tvm.ir.Op) and node.op.name in shapes:
            shapes[node.op.name].append([int(d) for d in node.checked_type.shape])

    relay.analysis.post_order_visit(made["main"], visit)
    assert shapes["device_copy"] == [[1, 8, 15, 28], [1, 8, 1, 28], [1, 8, 14, 28], [1, 8, 14, 28]]
    assert shapes["concatenate"] == [[1, 8, 15, 28], [1, 8, 15, 28], [1, 8, 28, 28]]


@pytest.mark.slow
def test_a_slice_that_the_cpu_needs_is_cut_out_before_the_gpu_begins_its_share():
    """Else the CPU would wait for all of the share."""
    mod = models.conv_chain(2, size=28)
    graph = extract(Prepare()(mod))
    plan = Plan(graph.fingerprint(), (Segment("gpu", (0,)), Segment("split", (1,), "h", 14)))
    order = node_order(CoExecPartition(plan=plan)(mod))
    kinds = [(next((k for k in ("copy", "slice", "conv2d", "concat") if k in name), name), d) for name, d in order]
    of_gpu = [k for k, d in kinds if d == OPENCL]
    assert of_gpu == ["copy", "conv2d", "slice", "slice", "conv2d"]
    first_cpu = next(i for i, (k, d) in enumerate(kinds) if d == CPU)
    assert kinds[first_cpu] == ("copy", CPU)
    assert kinds[first_cpu - 1] == ("conv2d", OPENCL)


@pytest.mark.slow
def test_consecutive_gpu_segments_keep_their_data_there():
    mod = CoExecPartition(ratio=1.0)(models.residual_net())
    order = node_order(mod)
    copies = [i for i, (name, _) in enumerate(order) if "copy" in name]
    assert copies == [0, len(order) - 1]
    assert {d for _, d in order[:-1]} == {OPENCL}


@pytest.mark.slow
def test_all_on_the_cpu_needs_no_copy_and_no_let():
    mod = CoExecPartition(ratio=0.0)(models.residual_net())
    assert "let" not in mod["main"].astext(show_meta_data=False)
    assert {d for _, d in node_order(mod)} == {CPU}


@pytest.mark.slow
def test_whole_gpu_kernels_overlap_with_cpu_kernels_of_another_branch():
    """The download of the GPU's branch is bound where it is first read, after the CPU's branch."""
    mod = models.fire_net()
    graph = tvm_coexec.relay_passes.extract.extractor.extract(tvm_coexec.relay_passes.prepare.Prepare()(mod))
    plan = tvm_coexec.Plan(
        graph.fingerprint(),
        tuple(
            tvm_coexec.core.plan.Segment(device, kernels)
            for device, kernels in (("cpu", (0,)), ("gpu", (1,)), ("cpu", (2,)), ("cpu", (3, 4)))
        ),
    )
    order = node_order(CoExecPartition(plan=plan)(mod))
    names = [("copy" if "copy" in n else n.split("_")[0], d) for n, d in order]
    downloads = [i for i, (n, d) in enumerate(names) if n == "copy" and d == CPU]
    uploads = [i for i, (n, d) in enumerate(names) if n == "copy" and d == OPENCL]
    launch = next(i for i, (n, d) in enumerate(names) if n == "fused" and d == OPENCL)
    assert len(downloads) == len(uploads) == 1
    assert uploads[0] < launch < downloads[0]
    assert any(d == CPU for _, d in names[launch : downloads[0]])
