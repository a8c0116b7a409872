"""The checker accepts planned storage layouts and finds the hazards of wrong ones."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tests.executor.memory.graphs import Writer, chains
from tvm_coexec.executor.graph_json import Graph
from tvm_coexec.executor.memory.check import find_hazards
from tvm_coexec.executor.memory.rewrite import MAP, Rewriter, Storage
from tvm_coexec.executor.memory.storage import plan_storage

MODES = {
    "fine": {"shared": True},
    "mapped": {"shared": True, "mapped": True},
    "copied": {"shared": False},
    "fetched": {"shared": False, "fetch": True},
}


def written(graph: Graph, mode: str, inputs=("x",)) -> tuple[str, list[Storage]]:
    options = MODES[mode]
    layout = plan_storage(graph, inputs, alignment=64, **options)
    rewriter = Rewriter(layout, mapped="mapped" in options, flags=mode == "fine", fetch="fetch" in options)
    return rewriter.rewrite(), rewriter.storages


def independent_branches() -> Graph:
    """The CPU goes on while the GPU is still busy with tensors whose memory looks free to the host."""
    w = Writer()
    x = w.input("x", (1, 32))
    up = w.copy(x, "gpu")
    g1 = w.kernel("gpu", [up])
    g2 = w.kernel("gpu", [g1])
    g3 = w.kernel("gpu", [g2])
    c = x
    for _ in range(4):
        c = w.kernel("cpu", [c])
    return w.graph(w.kernel("cpu", [c, w.copy(g3, "cpu")]))


def without_elements() -> Graph:
    """Tensors without elements at the ends of concatenations, copied, reshaped and returned."""
    w = Writer()
    x, e = w.input("x", (1, 32)), w.input("e", (1, 0))
    g, made = (w.kernel("gpu", [w.copy(v, "gpu")], w.shapes[v]) for v in (x, e))
    first = w.concatenate("gpu", [made, g])
    down = [w.copy(v, "cpu") for v in (first, made, g)]
    joined = w.concatenate("cpu", [w.kernel("cpu", [down[0]]), w.kernel("cpu", [down[1]], (1, 0)), down[1]])
    flat = w.reshape(w.kernel("cpu", [down[2], joined], (1, 0)), (0, 3))
    return w.graph(joined, flat, down[1])


GRAPHS = {
    "chains": chains,
    "unaligned": lambda: chains(3, (1, 4, 2)),
    "branches": independent_branches,
    "without elements": without_elements,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", GRAPHS)
def test_layouts_have_no_hazard(name, mode):
    text, storages = written(GRAPHS[name](), mode)
    assert find_hazards(text, storages, {"x", "e"}, mode == "mapped") == []


@pytest.mark.parametrize("mode", MODES)
def test_empty_tensors_have_valid_addresses(mode):
    layout = plan_storage(without_elements(), {"x", "e"}, **MODES[mode])
    assert all(0 <= offset < layout.blocks[block].nbytes for block, offset in layout.of.values())


@pytest.mark.parametrize("name", GRAPHS)
def test_overlapping_storages_are_found_or_harmless(name):
    """Put one tensor where another one is: either the checker objects, or both are never in use at once.

    Never in use at once is decided here by hand, for one interleaving: the GPU late, its kernels run when waited for.
    """
    text, storages = written(GRAPHS[name](), "fine")
    harmless = objected = 0
    for i, one in enumerate(storages):
        for j, other in enumerate(storages):
            if i == j or (one.block, one.offset) == (other.block, other.offset):
                continue
            there = dataclasses.replace(one, block=other.block, offset=other.offset)
            moved = [there if s is one else s for s in storages]
            if _copies(text, moved) != _copies(text, storages):
                continue  # what was one tensor are two now, and are copied
            try:
                found = find_hazards(text, moved, {"x", "e"})
            except ValueError:
                continue  # a node that does nothing has lost its operand
            wrong = any(_late(text, moved, late) for late in (False, True))
            assert bool(found) or not wrong
            objected += bool(found)
            harmless += not found
    assert objected and (harmless or name != "branches")


def _copies(text: str, storages: list[Storage]) -> list[bool]:
    """Of each copy: whether it moves bytes."""
    graph = Graph(text)
    ends = [(n.inputs[0], n.outputs[0]) for n in graph.nodes if n.function == "__copy"]
    places = [[storages[graph.entries[e].storage] for e in pair] for pair in ends]
    return [(a.block, a.offset) != (b.block, b.offset) for a, b in places]


def _late(text: str, storages: list[Storage], late: bool) -> bool:
    """Return whether a run on tokens is wrong; GPU kernels run at once, or as late as the host waits for them."""
    graph, memory, expected = Graph(text), {}, {}
    queue: list = []

    def key(entry):
        s = storages[graph.entries[entry].storage]
        return [(s.block, b) for b in range(s.offset, s.offset + graph.entries[entry].nbytes, 32)]

    def run(node):
        for e in node.inputs:
            if [memory.get(k) for k in key(e)] != expected[e]:
                wrong.append(node.name)
        for e in node.outputs:
            memory.update(zip(key(e), expected[e], strict=True))

    wrong: list[str] = []
    for node in graph.nodes:
        out = node.outputs[0]
        if node.function in ("__nop", "__copy", "coexec_join"):
            expected[out] = [t for e in node.inputs for t in expected[e]]
            if node.function == "__copy" and graph.entries[out].on_cpu:
                while queue:
                    run(queue.pop(0))
        elif node.function.startswith("coexec"):
            expected[out] = expected[node.inputs[0]]
        else:
            expected[out] = [(node.name, k) for k in range(len(key(out)))]
            if graph.entries[out].on_cpu or not late or not node.function:
                run(node)
            else:
                queue.append(node)
    for e in graph.outputs:
        if [memory.get(k) for k in key(e)] != expected[e]:
            wrong.append("result")
    return bool(wrong)


def test_tvms_own_plan_is_wrong_for_shared_memory():
    """A plan that knows one order: the host's. The CPU's tensors get memory that the GPU has not let go of."""
    graph = independent_branches()
    free_at_once = {3: 0, 6: 0, 7: 0}  # the CPU's first tensors in the place of the GPU's second one
    storages = [Storage(e.device, e.index, 0, e.nbytes) for e in graph.entries]
    assert find_hazards(json.dumps(graph.document), storages, {"x"}) == []
    for entry in free_at_once:
        storages[entry] = dataclasses.replace(storages[entry], block=3)
    found = find_hazards(json.dumps(graph.document), storages, {"x"})
    assert any("may overwrite" in text for text in found)


def test_a_missing_wait_is_found():
    text, storages = written(chains(3), "fine")
    document = json.loads(text)
    copies = [n for n in document["nodes"] if n["op"] != "null" and n["attrs"]["func_name"] == "__copy"]
    copies[1]["attrs"]["func_name"] = "__nop"
    found = find_hazards(json.dumps(document), storages, {"x"})
    assert any("before" in text for text in found)


def test_unmapped_memory_is_found():
    text, storages = written(chains(2), "mapped")
    document = json.loads(text)
    for node in document["nodes"]:
        if node["op"] != "null" and node["attrs"]["func_name"] == MAP:
            node["attrs"]["func_name"] = "coexec_signal"
    assert any("not mapped" in text for text in find_hazards(json.dumps(document), storages, {"x"}, mapped=True))


def test_an_early_download_to_memory_in_use_is_found():
    graph = chains(3)
    text, storages = written(graph, "fetched")
    assert "coexec_fetch" in text
    document = json.loads(text)
    fetched = [n for n in document["nodes"] if n["op"] != "null" and n["attrs"]["func_name"] == "coexec_fetch"]
    rows, ids = document["node_row_ptr"], document["attrs"]["storage_id"][1]
    targets = [ids[rows[document["nodes"].index(n)]] for n in fetched]
    first, second = (storages[t] for t in targets[:2])
    moved = [dataclasses.replace(first, nbytes=s.nbytes) if s is second else s for s in storages]
    assert find_hazards(text, moved, {"x"})
