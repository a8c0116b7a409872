"""Unrolled recurrent networks: hundreds of kernels in one block."""

from __future__ import annotations

import numpy as np
import pytest

from tests.planner.graphs import chain_times
from tests.planner.random_graphs import RandomCosts, random_graph
from tests.planner.recurrent_graphs import lstm_graph
from tvm_coexec.core.kernel_graph import KernelGraph
from tvm_coexec.planner import make_plan
from tvm_coexec.planner.cached_costs import CachedCosts
from tvm_coexec.planner.chain_sweep import inner_cuts
from tvm_coexec.planner.search.blocks import bits
from tvm_coexec.planner.search.candidates import Candidates
from tvm_coexec.planner.search.outcomes import Outcomes
from tvm_coexec.planner.search.search import Search
from tvm_coexec.planner.strategies import STRATEGIES


def searched(graph: KernelGraph, seed: int = 3) -> Search:
    """A search that has run."""
    costs = CachedCosts(graph, RandomCosts(seed, 1.2, 1e-9))
    search = Search(graph, costs, Candidates(costs, Outcomes(costs)))
    search.run()
    return search


@pytest.mark.parametrize("options", [{"bidirectional": True}, {"layers": 2, "batch": 3}, {"layers": 2}])
def test_work_grows_with_the_number_of_kernels(options):
    """Counted is what is worked out, not the time: twice the steps are about twice the work."""
    short, long = (searched(lstm_graph(steps, hidden=16, inputs=8, **options)) for steps in (8, 16))
    assert long.candidates.sweeps > 10 and long.labels > 1000
    growth = len(long.graph.kernels) / len(short.graph.kernels)
    assert long.labels <= 1.25 * growth * short.labels
    if "batch" not in options:  # rows can be divided through all steps, so there are chains between any two
        assert long.candidates.sweeps <= 1.25 * growth * short.candidates.sweeps


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("options", [{}, {"axis": "n"}, {"ratio": 0.5}])
def test_axes_that_nothing_divides_carry_no_chain(strategy, options):
    graph = lstm_graph(2, hidden=1, inputs=4)
    assert any(a.extent <= a.tile for k in graph.kernels for a in k.axes)
    plan = make_plan(graph, RandomCosts(3, 1.2, 1e-9), strategy=strategy, **options)
    assert sorted(k for s in plan.segments for k in s.kernels) == list(range(len(graph.kernels)))


def states(candidates: Candidates, many: int):
    """Some states of a graph: what has run, and what may run next."""
    found, n = {0: None}, len(candidates.producers)
    dice = np.random.default_rng(5)
    for _ in range(many):
        done = 0
        for _ in range(int(dice.integers(0, n))):
            ready = [k for k in range(n) if not done >> k & 1 and not candidates.producers[k] & ~done]
            done |= 1 << int(dice.choice(ready))
        found[done] = None
    for done in found:
        yield done, sum(1 << k for k in range(n) if not done >> k & 1 and not candidates.producers[k] & ~done)


def listed(candidates: Candidates, costs: CachedCosts, done: int, ready: int, stop: int, inside: int) -> set:
    """Chains along branches and of all that is left of a block, each set swept on its own, however it ends."""
    graph, sets = costs.graph, [inside & ~done]
    for k in bits(ready):
        path = 1 << k
        while True:
            sets.append(path)
            readers = [c for c in graph.consumers.get(k, ()) if c < stop]
            free = [c for c in readers if not candidates.producers[c] & ~(done | path)]
            if len(free) != 1:
                break
            k = free[0]
            path |= 1 << k
    found = set()
    for mask in sets:
        members = tuple(bits(mask))
        if not any(graph.kernels[m].is_heavy for m in members):
            continue
        for axis in candidates.axes(members[-1]):
            times = chain_times(costs, members, axis, inner_cuts(axis, None))
            if times is None or not len(times.cuts):
                continue
            least = (np.maximum(times.gpu_s, times.cpu_s) + times.join_s).min()
            cpu, gpu = (sum(costs.whole[d][m] for m in members) for d in ("cpu", "gpu"))
            if least < cpu and least < gpu + costs.down_s[members[-1]]:
                found.add((members, axis.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("graph", "s_per_flop"),
    [
        (lstm_graph(7, bidirectional=True, hidden=16, inputs=8), 1e-6),
        (lstm_graph(6, layers=2, batch=4, hidden=16, inputs=8), 1e-6),
        (random_graph(71, 40), 1e-9),
        (random_graph(18, 48), 1e-9),
    ],
    ids=["bidirectional", "batch", "branches", "more branches"],
)
def test_no_chain_is_lost_where_states_share_their_sets(graph, s_per_flop):
    costs = CachedCosts(graph, RandomCosts(7, 1.2, s_per_flop))
    candidates = Candidates(costs, Outcomes(costs))
    seen = 0
    for done, ready in states(candidates, 60):
        first = next(k for k in range(len(graph.kernels)) if not done >> k & 1)
        block = candidates.block_of[first]
        if block.states is not None:
            continue
        inside = (1 << block.stop) - (1 << block.start)
        want = listed(candidates, costs, done, ready, block.stop, inside)
        chains = candidates.starting_at(done, ready, block)
        if done == (1 << first) - 1:  # consecutive kernels from there on are listed by another rule
            runs = {tuple(range(first, last + 1)) for last in range(first, len(graph.kernels))}
            want = {c for c in want if c[0] not in runs}
            chains = [c for c in chains if c.members not in runs]
        assert len(chains) == len({(c.members, c.axis) for c in chains})
        assert {(c.members, c.axis) for c in chains} == want
        seen += len(want)
    assert seen > 20


@pytest.mark.slow
def test_plans_of_a_long_network_are_made_and_hold_together():
    graph = lstm_graph(10, layers=2, bidirectional=True, hidden=32)
    costs = RandomCosts(3, 1.2, 3e-9)
    plan = make_plan(graph, costs, min_gain=0.0)
    plan.check(graph)
    single = make_plan(graph, costs, strategy="single")
    assert 0 < plan.expected_s <= single.expected_s


@pytest.mark.slow
@pytest.mark.llvm
@pytest.mark.parametrize(("layers", "batch"), [(2, 3)])
def test_graphs_are_as_relay_fuses_them(layers, batch):
    onnx = pytest.importorskip("onnx")
    from tvm import relay

    from tvm_coexec.pass_context import change_context
    from tvm_coexec.relay_passes.extract import extract_with_calls
    from tvm_coexec.relay_passes.prepare import Prepare

    steps, hidden, inputs = 4, 16, 8
    dice, nodes, weights, value, size = np.random.default_rng(0), [], [], "x", inputs
    for layer in range(layers):
        shapes = {"W": (1, 4 * hidden, size), "R": (1, 4 * hidden, hidden), "B": (1, 8 * hidden)}
        names = [f"{name}{layer}" for name in shapes]
        for name, shape in zip(names, shapes.values(), strict=True):
            weights.append(onnx.numpy_helper.from_array(dice.standard_normal(shape).astype("float32"), name))
        nodes.append(onnx.helper.make_node("LSTM", [value, *names], [f"y{layer}"], hidden_size=hidden))
        axes = onnx.numpy_helper.from_array(np.array([1]), f"axes{layer}")
        weights.append(axes)
        nodes.append(onnx.helper.make_node("Squeeze", [f"y{layer}", axes.name], [f"z{layer}"]))
        value, size = f"z{layer}", hidden
    kind = onnx.TensorProto.FLOAT
    ends = [
        onnx.helper.make_tensor_value_info(name, kind, (steps, batch, n))
        for name, n in (("x", inputs), (value, hidden))
    ]
    proto = onnx.helper.make_graph(nodes, "lstm", ends[:1], ends[1:], weights)
    model = onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", 14)])
    mod, params = relay.frontend.from_onnx(model, {"x": (steps, batch, inputs)})
    with change_context(3):
        real = extract_with_calls(Prepare(params)(mod)).graph

    def outline(graph: KernelGraph):
        return [
            (k.inputs, k.outputs[0].shape, k.kind, [(a.name, a.dim, a.extent, a.needs) for a in k.axes])
            for k in graph.kernels
        ]

    assert outline(lstm_graph(steps, layers, hidden=hidden, inputs=inputs, batch=batch)) == outline(real)
