"""Features of graphs: what is in which column, for kernel graphs, single kernels and cells."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cost_models.kernels import conv, many
from tests.planner import graphs
from tvm_coexec import CoExecError
from tvm_coexec.core.op_kinds import OpKind
from tvm_coexec.cost_models import DeviceParameters, describe, describe_graph, describe_workloads
from tvm_coexec.cost_models.features.graphs import (
    DEVICE_COLUMNS,
    EDGE_COLUMNS,
    NETWORK_COLUMNS,
    NODE_COLUMNS,
    longest_path,
)
from tvm_coexec.cost_models.features.nasbench201 import describe_nasbench201
from tvm_coexec.cost_models.features.operators import OPERATOR_COLUMNS
from tvm_coexec.cost_models.features.workload import stack

GPU = DeviceParameters("gpu", 1e12, 2e10, 4, 6e8, 32768, 1 << 20)


def column(table, names, name):
    return np.expm1(np.asarray(table)[..., names.index(name)])


def test_a_kernel_graph():
    graph = graphs.residual()
    found = describe_graph(graph, "gpu", GPU)
    workloads = [describe(k, "gpu") for k in graph.kernels]
    n = len(workloads)
    assert found.nodes.shape == (n, len(NODE_COLUMNS)) and found.edge_values.shape[1] == len(EDGE_COLUMNS)
    assert [tuple(e) for e in found.edges] == [(v, k.index) for k in graph.kernels for v in k.inputs if v >= 0]
    np.testing.assert_allclose(column(found.edge_values, EDGE_COLUMNS, "log.bytes"), graph.tensor(0).nbytes)
    np.testing.assert_allclose(column(found.nodes, NODE_COLUMNS, "log.flops"), [w.flops for w in workloads])
    np.testing.assert_allclose(found.nodes[:, NODE_COLUMNS.index("kind.conv")], [w.kind == "conv" for w in workloads])
    totals = {"kernels": n, "edges": len(found.edges), "depth": 5, "flops": sum(w.flops for w in workloads)}
    for name, value in totals.items():
        assert column(found.network, NETWORK_COLUMNS, f"log.{name}") == pytest.approx(value)
    assert column(found.device, DEVICE_COLUMNS, "log.bandwidth_bytes_per_s") == pytest.approx(2e10)
    assert found.device[DEVICE_COLUMNS.index("kind.gpu")] == 1.0
    unknown = describe_graph(graph, "cpu").device
    assert unknown[DEVICE_COLUMNS.index("kind.cpu")] == 1.0 and unknown.sum() == 1.0


def test_operators_of_a_kernel_have_their_kinds():
    found = describe_graph(graphs.residual(), "cpu")
    inside = found.operators[0]  # a convolution and a ReLU
    kinds = [OPERATOR_COLUMNS[i].removeprefix("kind.") for i in inside.nodes[2:, 2 : 2 + len(OpKind)].argmax(1) + 2]
    assert kinds == ["conv", "elementwise"]
    assert [tuple(e) for e in inside.edges] == [(0, 2), (1, 2), (2, 3)]
    flops = column(inside.nodes, OPERATOR_COLUMNS, "log.flops")
    assert flops.sum() == pytest.approx(found.workloads[0].flops)
    weights = column(inside.nodes[1], OPERATOR_COLUMNS, "log.out_bytes")
    assert weights == pytest.approx(found.workloads[0].weight_bytes)


def test_single_kernels_are_networks_of_one_node():
    kernels = many()
    found = describe_workloads(kernels)
    assert [g.workloads[0] for g in found] == kernels
    assert all(g.nodes.shape == (1, len(NODE_COLUMNS)) and not len(g.edges) for g in found)
    convs = [k for k in kernels if k.key == kernels[0].key]
    together = describe_workloads([stack(convs), kernels[-1]])
    assert [g.fingerprint for g in together] == [g.fingerprint for g in describe_workloads([*convs, kernels[-1]])]
    fused = describe_workloads(conv(fused=3))[0].operators[0]
    assert fused.nodes.shape == (2 + 4, len(OPERATOR_COLUMNS))


def test_fingerprints_tell_networks_apart():
    chain, residual = (describe_graph(g, "cpu") for g in (graphs.straight(3), graphs.residual()))
    assert chain.fingerprint != residual.fingerprint
    assert chain.fingerprint == describe_graph(graphs.straight(3), "cpu", DeviceParameters("cpu", cores=8)).fingerprint


def test_cells_of_nasbench201():
    arch = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    whole, small = describe_nasbench201(arch), describe_nasbench201(arch, cells=1)
    kinds = [w.kind for w in small.workloads]
    # a cell has a 3x3 and a 1x1 convolution, a pooling and the sum of the last node's two inputs
    assert kinds.count("conv") == 1 + 2 * 3 + 3 * 2 and kinds.count("dense") == 1
    assert kinds.count("injective") == 3 + 2 and len(whole.nodes) > len(small.nodes)
    assert all(a < b for a, b in whole.edges)
    fixed = 16 * 32 * 32 * 27 * 2
    flops = column(
        describe_nasbench201("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|").network, NETWORK_COLUMNS, "log.flops"
    )
    assert column(whole.network, NETWORK_COLUMNS, "log.flops") > flops > fixed
    skips = describe_nasbench201("|skip_connect~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|", cells=1)
    assert len(skips.nodes) == 1 + 2 * 5 + 2
    for wrong in ("nothing", "|none~0|+|none~0|", "|none~1|", "|swish~0|"):
        with pytest.raises(CoExecError, match="not a cell"):
            describe_nasbench201(wrong)


def test_depth():
    assert longest_path(4, np.array([[0, 1], [1, 3], [0, 2]])) == 3 and longest_path(2, np.empty((0, 2), int)) == 1
