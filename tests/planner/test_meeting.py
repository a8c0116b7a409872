"""One model of what synchronisation costs, for numbers and arrays, and for each kind of memory."""

from __future__ import annotations

import numpy as np
import pytest

from tests.planner import graphs
from tests.planner.random_graphs import RandomCosts, random_graph
from tvm_coexec import CoExecError
from tvm_coexec.core.devices import MEMORY
from tvm_coexec.core.kernel_graph import REDUCED, SplitAxis, Tensor
from tvm_coexec.core.plan import Plan, Segment
from tvm_coexec.cost_models import Link
from tvm_coexec.cost_models.costs import UnifiedMemory
from tvm_coexec.planner import make_plan
from tvm_coexec.planner.cached_costs import CachedCosts
from tvm_coexec.planner.chain_sweep import inner_cuts
from tvm_coexec.planner.meeting import Meeting
from tvm_coexec.planner.options import check_options
from tvm_coexec.planner.search.outcomes import Outcomes
from tvm_coexec.planner.simulator import Simulator

UP, DOWN, COPY = Link(5e-5, 2e-10), Link(7e-5, 3e-10), Link(1e-6, 1e-10)
SIZE, SYNC_S = 100_000, 2e-5


def meeting(memory: str = "copied") -> Meeting:
    return Meeting(UP, DOWN, COPY, 4e-6, memory, SYNC_S)


@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("on_gpu", [False, True])
def test_arrays_are_as_many_numbers(memory, on_gpu):
    m = meeting(memory)
    cpu, gpu = np.array([0.0, 0.25, 0.6, 1.0, 1.0]), np.array([1.0, 0.75, 0.5, 0.0, 1.0])
    together = [np.broadcast_to(part, cpu.shape) for part in m.scatter_s(SIZE, cpu, gpu, on_gpu)]
    for i, fractions in enumerate(zip(cpu.tolist(), gpu.tolist(), strict=True)):
        alone = m.scatter_s(SIZE, *fractions, on_gpu)
        assert [float(part[i]) for part in together] == list(alone)
        constant_s, per_cpu_s, per_gpu_s = m.scatter_terms(SIZE, on_gpu)
        if 0 < fractions[0] < 1 and 0 < fractions[1] < 1:
            assert sum(alone) == pytest.approx(constant_s + per_cpu_s * fractions[0] + per_gpu_s * fractions[1])
            if not on_gpu and sum(fractions) >= 1:
                assert m.least_scatter_s(SIZE) <= sum(alone)


def test_crossing_costs_by_kind_of_memory():
    copied, mapped, shared = (meeting(m) for m in MEMORY)
    assert copied.to_gpu_s(SIZE) == pytest.approx(UP.seconds(SIZE)) and mapped.to_gpu_s(SIZE) == UP.constant_s
    assert copied.to_cpu_s(SIZE) == pytest.approx(DOWN.seconds(SIZE)) and mapped.to_cpu_s(SIZE) == DOWN.constant_s
    assert shared.to_gpu_s(SIZE) == 0.0 and shared.to_cpu_s(SIZE) == SYNC_S
    for m in (copied, mapped, shared):
        assert m.to_gpu_s(0) == m.to_cpu_s(0) == m.copy_s(0) == m.gpu_slice_s(0) == 0.0
        assert m.wait_s(1.0, 3.0) == 2.0 and m.wait_s(3.0, 1.0) == 0.0


def test_joins_in_place_only_where_parts_are_one_run_of_shared_memory():
    image = Tensor((1, 8, 6, 6), "float32")
    channels, rows = SplitAxis("oc", 1, 8, 1, 1, (None,), True), SplitAxis("h", 2, 6, 1, 1, (None,), False)
    sums = SplitAxis("ic", REDUCED, 16, 1, 1, (None,), True)
    for memory in MEMORY:
        m, is_shared = meeting(memory), memory == "shared"
        assert (m.gather_s(image, channels, 3, 0.0).join_s == 0.0) == is_shared
        assert m.gather_s(image, rows, 3, 0.0).join_s == pytest.approx(COPY.seconds(image.nbytes))
        assert m.gather_s(image, sums, 3, 7e-6).join_s == 7e-6
        by_cut = m.gather_s(image, channels, np.arange(1, 8), 0.0)
        assert float(by_cut.download_s[2]) == m.gather_s(image, channels, 3, 0.0).download_s
    two_images = Tensor((2, 8, 6, 6), "float32")
    assert meeting("shared").gather_s(two_images, channels, 3, 0.0).join_s > 0.0


def test_links_of_the_other_runtime():
    own = graphs.costs(copy_s=1e-5)
    own.upload, own.download, own.sync_s, own.enqueue_s, own.memory = Link(2e-7, 1e-11), DOWN, SYNC_S, 4e-6, "shared"
    estimated = own.on_runtime("tvm")
    assert estimated.runtime == "tvm" and estimated.memory == "copied" and estimated.sync_s == 0.0
    assert (
        estimated.upload.constant_s
        == estimated.download.constant_s
        == pytest.approx(4e-6 + 2 * (DOWN.constant_s + SYNC_S))
    )
    assert estimated.upload.per_byte_s == DOWN.per_byte_s
    own.tvm_links = {"upload": Link(1e-4, 2e-9), "download": Link(2e-4, 3e-9)}
    measured = own.on_runtime("tvm")
    assert (measured.upload, measured.download) == (Link(1e-4, 2e-9), Link(2e-4, 3e-9))
    assert own.runtime == "own" and own.memory == "shared" and own.on_runtime("own") is own
    assert CachedCosts(graphs.straight(2), measured).meeting.blocks
    with pytest.raises(CoExecError, match="runtime 'stock' is unknown; use one of own, tvm"):
        own.on_runtime("stock")


def test_costs_of_unified_memory():
    costs = graphs.costs(copy_s=1e-4)
    costs.sync_s = SYNC_S
    assert costs.on_memory("copied") is costs
    estimated = costs.on_memory("shared")
    assert (estimated.memory, estimated.sync_s, estimated.start_s) == ("shared", costs.download.constant_s + SYNC_S, 0)
    assert estimated.upload.seconds(SIZE) == 0.0 and costs.memory == "copied"
    costs.unified = UnifiedMemory("mapped", 3e-5, 1e-5)
    measured = costs.on_memory("mapped")
    assert (measured.sync_s, measured.start_s) == (3e-5, 1e-5) and measured.on_memory("mapped") is measured
    assert CachedCosts(graphs.straight(2), measured).down_s[0] == pytest.approx(3e-5)
    assert costs.on_memory("copied").unified is None, "what is chosen is not changed later"
    assert costs.on_runtime("tvm").unified is None
    with pytest.raises(CoExecError, match="memory 'paper' is unknown; use one of copied, mapped, shared"):
        costs.on_memory("paper")
    with pytest.raises(CoExecError, match="memory 'shared': TVM's own OpenCL runtime copies every tensor"):
        costs.on_runtime("tvm").on_memory("shared")
    with pytest.raises(CoExecError, match="memory 'shared': TVM's own OpenCL runtime copies every tensor"):
        check_options(runtime="tvm", memory="shared")  # before costs are measured
    assert check_options(runtime="tvm", memory="copied").memory == "copied"
    with pytest.raises(CoExecError, match="memory 'copied': the costs are of mapped memory"):
        measured.on_memory("copied")


def test_plans_are_made_for_the_memory_of_the_devices():
    graph, costs = graphs.residual(), graphs.costs(copy_s=1e-3)
    copied = make_plan(graph, costs, min_gain=0.0)
    costs.unified = UnifiedMemory("shared", 2e-5)
    shared = make_plan(graph, costs, min_gain=0.0)
    assert (copied.memory, shared.memory) == ("copied", "shared") and shared.expected_s < copied.expected_s
    assert make_plan(graph, costs, min_gain=0.0, memory="copied") == copied
    again = Plan.from_json(shared.to_json())
    assert again.memory == "shared" and '"memory"' not in copied.to_json()
    with pytest.raises(CoExecError, match="memory"):
        Plan.from_json(shared.to_json().replace('"shared"', '"paper"'))


def test_unknown_memory_is_refused_by_name():
    with pytest.raises(CoExecError, match="memory 'paper' of the costs is unknown; use one of copied, mapped, shared"):
        meeting("paper")


@pytest.mark.parametrize("memory", MEMORY)
def test_search_and_simulator_agree(memory):
    checked = 0
    for seed in range(4):
        graph, costs = random_graph(seed, 10), RandomCosts(seed, 1.2)
        costs.memory = memory
        tables = CachedCosts(graph, costs)
        for kernel in graph.kernels:
            for axis in kernel.axes:
                chain = graphs.chain_times(tables, (kernel.index,), axis, inner_cuts(axis, None))
                if chain is None or len(chain.outer) != 1:
                    continue
                for place, devices in ((1, {"cpu"}), (2, {"gpu"}), (3, {"cpu", "gpu"})):
                    places = (place,) * (len(chain.outer) + len(chain.after))
                    (best,) = Outcomes(tables).of(chain, places, 0.0)
                    sim = Simulator(graph, tables)
                    sim.where.update({v: set(devices) for v in (*chain.outer, *chain.after)})
                    sim.run(Segment("split", chain.members, chain.axis, best.cut))
                    assert sim.host_s == pytest.approx(best.end_s)
                    checked += 1
    assert checked > 50


def test_cheaper_memory_makes_no_worse_plans():
    graph, expected = graphs.residual(), []
    for memory in MEMORY:
        costs = graphs.costs(copy_s=1e-3)
        costs.memory = memory
        plan = make_plan(graph, costs, min_gain=0.0)
        expected.append(plan.expected_s)
    assert expected == sorted(expected, reverse=True) and expected[2] < expected[0]


def test_costs_of_costs_are_the_same():
    graph, costs = graphs.straight(2), graphs.costs()
    costs.memory, costs.sync_s = "shared", 3e-5
    once = CachedCosts(graph, costs)
    assert CachedCosts(graph, once).meeting == once.meeting and once.down_s[0] == pytest.approx(3e-5)
