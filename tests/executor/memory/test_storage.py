"""Storage layouts of random graphs: without hazards under every interleaving, and no larger than necessary."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.executor.memory.graphs import Writer, chains
from tests.executor.memory.test_check import MODES, written
from tvm_coexec.executor.graph_json import Graph, element_bytes, planned_bytes
from tvm_coexec.executor.memory.check import find_hazards
from tvm_coexec.executor.memory.lifetimes import NEVER, Buffer
from tvm_coexec.executor.memory.packing import pack_blocks, pack_offsets
from tvm_coexec.executor.memory.storage import plan_storage

OTHER = {"cpu": "gpu", "gpu": "cpu"}


@st.composite
def programs(draw: st.DrawFn) -> Graph:
    """Kernels, copies, concatenations and reshapes on both devices, results on the CPU."""
    w = Writer()
    on: dict[str, list[int]] = {
        "cpu": [w.input("x", (1, 32)), w.input("p0", (1, 32)), w.input("p2", (1, 0))],
        "gpu": [w.input("p1", (1, 64), "gpu")],
    }
    for _ in range(draw(st.integers(2, 18))):
        device = draw(st.sampled_from(["cpu", "gpu"]))
        what = draw(st.sampled_from(["kernel", "kernel", "copy", "join", "reshape"]))
        have = on[device]
        if what == "copy":
            made, device = w.copy(draw(st.sampled_from(have)), OTHER[device]), OTHER[device]
        elif what == "reshape":
            source = draw(st.sampled_from(have))
            made = w.reshape(source, w.shapes[source])
        elif what == "join" and len(have) > 1:
            parts = draw(st.lists(st.sampled_from(have), min_size=2, max_size=3, unique=True))
            made = w.concatenate(device, parts)
        else:
            read = draw(st.lists(st.sampled_from(have), min_size=1, max_size=3, unique=True))
            made = w.kernel(device, read, (1, draw(st.sampled_from([0, 8, 16, 32, 64]))))
        on[device].append(made)
    outputs = draw(st.lists(st.sampled_from(on["cpu"][1:] + [on["cpu"][-1]]), min_size=1, max_size=2, unique=True))
    last = w.copy(w.kernel("gpu", on["gpu"][-1:]), "cpu")  # the GPU's last result is read, too
    return w.graph(last, *outputs)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(programs(), st.sampled_from(sorted(MODES)))
def test_random_graphs_have_no_hazard(graph, mode):
    text, storages = written(graph, mode)
    assert find_hazards(text, storages, {"x"}, mode == "mapped") == []


def test_a_missing_wait_for_a_kernel_is_found():
    """It may still read the input when the caller writes the next one: such a graph is not laid out."""
    w = Writer()
    x = w.input("x", (1, 32))
    w.kernel("gpu", [w.copy(x, "gpu")])
    text, storages = written(w.graph(w.kernel("cpu", [x])), "fine")
    assert any("the caller's write of x" in text for text in find_hazards(text, storages, {"x"}))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(programs(), st.sampled_from(sorted(MODES)))
def test_live_buffers_do_not_overlap(graph, mode):
    layout = plan_storage(graph, ["x"], alignment=64, **MODES[mode])
    for block in layout.blocks:
        places = list(zip(block.buffers, block.offsets, strict=True))
        assert all(at % 128 == 0 and at + b.nbytes <= block.nbytes for b, at in places)
        for (a, a_at), (b, b_at) in itertools.combinations(places, 2):
            apart = a_at + a.nbytes <= b_at or b_at + b.nbytes <= a_at
            assert apart or a.may_share_memory(b)


def buffer(nbytes: int, first: float, last: float, devices: str = "cpu", waited: float | None = None) -> Buffer:
    free = {"cpu": last if waited is None else waited, "gpu": last}
    return Buffer(
        int(first), nbytes, devices=set(devices.split()), first=dict.fromkeys(devices.split(), first), free_for=free
    )


def test_the_gpu_reuses_memory_earlier_than_the_cpu():
    used = buffer(100, 0, 3, "gpu", waited=9)
    assert used.precedes(buffer(100, 4, 6, "gpu"))
    assert not used.precedes(buffer(100, 4, 6, "cpu"))
    assert used.precedes(buffer(100, 10, 12, "cpu"))
    assert not used.precedes(buffer(100, 4, 12, "cpu gpu"))
    assert not buffer(100, 0, 3, "gpu", waited=NEVER).precedes(buffer(1, 1e6, 1e6, "cpu"))


def test_gaps_are_used():
    """Two small ones where a large one was."""
    buffers = [buffer(256, 0, 1), buffer(128, 2, 4), buffer(128, 3, 5), buffer(128, 0, 5)]
    size, offsets = pack_offsets(buffers, 128)
    assert size == 384
    assert sorted(offsets[1:3]) != [offsets[1]] * 2
    assert sum(k[0].nbytes for k in pack_blocks(buffers)) == 512
    assert pack_offsets([], 128) == (0, [])


def test_weights_and_inputs_keep_their_memory():
    layout = plan_storage(chains(3), ["x"], shared=True, alignment=64)
    weights = [b for b in layout.blocks if b.weight]
    assert sorted(b.kind for b in weights) == ["cpu", "gpu"] and all(len(b.buffers) == 1 for b in weights)
    (block,) = [b for b in layout.blocks if not b.weight]
    at = block.offsets[[b.root for b in block.buffers].index(0)]
    others = [(o, b) for b, o in zip(block.buffers, block.offsets, strict=True) if b.root != 0]
    assert all(o + b.nbytes <= at or o >= at + 256 for o, b in others)


def test_sharing_takes_less_than_copies():
    graph = chains(4)
    shared, copied = (plan_storage(graph, ["x"], shared=s, alignment=64).nbytes for s in (True, False))
    assert shared == 3 * 256  # the input, and two results by turns
    assert copied > 1.5 * shared


def test_the_same_graph_has_the_same_layout():
    first, second = (written(chains(4), "fine") for _ in range(2))
    assert first == second


def test_bytes_of_an_element():
    """As TVM's executor counts: whole bytes for each element."""
    known = {"float32": 4, "int8": 1, "float16x4": 8, "bool": 1, "uint1": 1, "int4": 1, "bfloat16": 2, "e4m3_float8": 1}
    known |= {"uint8": 1, "int64": 8, "int1x33": 5, "handle": 8}
    assert {dtype: element_bytes(dtype) for dtype in known} == known


def test_planned_bytes_are_those_of_tensors_alone():
    assert planned_bytes(chains(2), {"x"}) == sum(e.nbytes for e in chains(2).entries) - 2 * 256
