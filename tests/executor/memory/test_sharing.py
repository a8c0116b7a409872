"""Which tensors share a buffer."""

from __future__ import annotations

import pytest

from tests.executor.memory.graphs import Writer, chains
from tvm_coexec.executor.memory.sharing import share_buffers
from tvm_coexec.executor.memory.steps import classify_nodes, concatenation_offsets


def places(graph, shared=True, alignment=64):
    return share_buffers(graph, classify_nodes(graph), shared, alignment)


def test_copies_in_shared_memory_are_elided():
    w = Writer()
    x = w.input("x", (1, 32))
    up = w.copy(x, "gpu")
    g = w.kernel("gpu", [up])
    down = w.copy(g, "cpu")
    graph = w.graph(down)
    assert places(graph).location == [(x, 0), (x, 0), (g, 0), (g, 0)]
    assert places(graph, shared=False).location == [(e, 0) for e in (x, up, g, down)]


def test_operands_are_in_place_if_both_devices_concatenate():
    graph = chains(2)
    sharing = places(graph)
    joins = [n for n in graph.nodes if "concatenate" in n.function]
    assert sharing.in_place == {n.index for n in joins}
    first, second = joins[0], joins[1]
    root = sharing.location[first.outputs[0]]
    assert sharing.location[second.outputs[0]] == root  # the GPU's join and the CPU's are one
    assert [sharing.location[e] for e in first.inputs] == [root, (root[0], root[1] + 128)]
    assert not places(graph, shared=False).in_place - {joins[-1].index}


def test_dense_blocks_become_one_buffer():
    w = Writer()
    x = w.kernel("cpu", [w.input("x", (1, 32))])
    for _ in range(3):
        x = w.concatenate("cpu", [x, w.kernel("cpu", [x])])
    graph = w.graph(w.kernel("cpu", [x]))
    sharing = places(graph)
    assert len(sharing.in_place) == 3
    assert len({sharing.location[e][0] for e in range(1, 8)}) == 1


@pytest.mark.parametrize(
    ("shape", "axis", "joined"),
    [
        ((1, 16, 3, 3), 1, True),
        ((1, 4, 2), 1, False),  # 32 bytes: the second part would begin where compiled code expects no tensor
        ((2, 16), 1, False),  # the parts' bytes alternate
        ((2, 16), 0, True),
        ((1, 16, 4), 2, False),
        ((1, 1, 16, 5), 2, True),
    ],
)
def test_operands_in_place_are_contiguous_and_aligned(shape, axis, joined):
    w = Writer()
    x = w.input("x", shape)
    parts = [w.kernel("cpu", [x], shape), w.kernel("cpu", [x], shape)]
    y = w.concatenate("cpu", parts, axis)
    graph = w.graph(w.kernel("cpu", [y]))
    assert places(graph).in_place == ({y} if joined else set())


def test_fused_concatenations_are_kept():
    w = Writer()
    x = w.input("x", (1, 32))
    a, b = w.kernel("cpu", [x]), w.kernel("cpu", [x])
    y = w.kernel("cpu", [a, b], (1, 64), "concatenate_nn_relu")
    assert concatenation_offsets(w.graph(y), w.graph(y).nodes[y]) is None
    assert not places(w.graph(y)).in_place


def test_inputs_outputs_and_operands_of_two_results_are_not_in_place():
    w = Writer()
    x = w.input("x", (1, 32))
    a, b, c = (w.kernel("cpu", [x]) for _ in range(3))
    first = w.concatenate("cpu", [a, b])
    second = w.concatenate("cpu", [b, c])
    with_input = w.concatenate("cpu", [x, c])
    graph = w.graph(w.kernel("cpu", [first, second, with_input]), c)
    assert places(graph).in_place == {first}


def test_reshapes_share_their_sources_buffer():
    w = Writer()
    a = w.kernel("cpu", [w.input("x", (1, 32))])
    flat = w.reshape(a, (32,))
    assert places(w.graph(flat), shared=False).location[flat] == (a, 0)


def test_mapped_memory_has_nothing_in_place_and_copied_inputs():
    graph = chains(2)
    sharing = places(graph, alignment=None)
    assert not sharing.in_place
    assert sharing.location[1] == (1, 0)
    downloads = [s for s in classify_nodes(graph) if s.what == "download"]
    assert all(sharing.location[s.reads[0]] == sharing.location[s.writes[0]] for s in downloads)
