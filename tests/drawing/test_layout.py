"""Layers and lanes: nothing on top of another, branches side by side, lines from layer to layer."""

from __future__ import annotations

import numpy as np
import pytest

from tests.planner import graphs
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.drawing.node_layout import assign_slots


def random_graph(seed: int) -> KernelGraph:
    """Up to 24 kernels that read one or two earlier values."""
    rng = np.random.default_rng(seed)
    kernels = []
    for i in range(int(rng.integers(1, 25))):
        values = sorted({int(v) for v in rng.integers(-1, i, int(rng.integers(1, 3)))}) if i else [-1]
        make = graphs.conv_kernel if len(values) == 1 else graphs.add_kernel
        kernels.append(make(i, tuple(values)))
    return graphs.graph(*kernels)


@pytest.mark.parametrize("seed", range(30))
def test_slots_are_used_once_and_lines_go_from_each_layer_to_the_next(seed):
    g = random_graph(seed)
    made = assign_slots(g)
    slots = [*made.slots.values(), *(s for slots in made.passing.values() for s in slots)]
    assert len(set(slots)) == len(slots)
    assert set(made.slots) == {-1, *range(len(g.kernels))} and max(layer for layer, _ in slots) == made.layers - 1
    for k in g.kernels:
        layer = made.slots[k.index][0]
        assert layer == 1 + max((made.slots[v][0] for v in k.inputs if v >= 0), default=0)
        for v in k.inputs:
            assert made.before(v, layer)[0] == layer - 1


def test_a_straight_run_is_straight():
    made = assign_slots(graphs.straight(5))
    assert [made.slots[k] for k in range(-1, 5)] == [(i, 0) for i in range(6)]


def test_a_residual_block_keeps_its_first_branch_straight():
    made = assign_slots(graphs.residual())
    assert [made.slots[k] for k in range(5)] == [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0)]
    assert made.passing == {0: [(2, 1), (3, 1)]}


def test_branches_are_side_by_side():
    g = graphs.graph(*(graphs.conv_kernel(i, (-1,)) for i in range(4)), graphs.add_kernel(4, (0, 1, 2, 3)))
    made = assign_slots(g)
    assert [made.slots[k] for k in range(5)] == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
