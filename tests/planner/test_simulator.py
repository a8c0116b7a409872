"""The makespan: what waits for what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planner import graphs
from tests.planner.random_graphs import RandomCosts, random_graph
from tvm_coexec.core.plan import Segment
from tvm_coexec.planner import make_plan
from tvm_coexec.planner.cached_costs import CachedCosts
from tvm_coexec.planner.chain_reads import inner_slices
from tvm_coexec.planner.simulator import Simulator, makespan_s
from tvm_coexec.planner.sync_points import count_sync_points


def test_single_device_is_the_sum():
    g, c = graphs.straight(3), graphs.costs()
    assert makespan_s(g, CachedCosts(g, c), [Segment("cpu", (0, 1, 2))]) == pytest.approx(3 * 1e8 / 1e10)


def test_gpu_adds_upload_and_download():
    g, c = graphs.straight(3), graphs.costs(gpu_gflops=20.0)
    nbytes = g.kernels[0].out_bytes
    want = 3 * 1e8 / 2e10 + c.upload.seconds(nbytes) + c.download.seconds(nbytes)
    assert makespan_s(g, CachedCosts(g, c), [Segment("gpu", (0, 1, 2))]) == pytest.approx(want)


def test_chain_takes_the_larger_sum_and_both_meetings():
    g, c = graphs.straight(1), graphs.costs()
    parts = Simulator(g, CachedCosts(g, c)).run(Segment("split", (0,), "oc", 8))
    assert parts["gpu"] == pytest.approx(0.25e8 / 1e10)
    assert parts["cpu"] == pytest.approx(0.75e8 / 1e10)
    assert parts["share_out"] > 0 and parts["join"] > 0
    assert parts["total"] == pytest.approx(parts["cpu"] + parts["share_out"] + parts["join"])


def test_enqueuing_takes_the_host_a_moment():
    g, c = graphs.straight(3), graphs.costs(copy_s=0.0)
    segments = [Segment("gpu", (0,)), Segment("cpu", (1, 2))]
    without = makespan_s(g, CachedCosts(g, c), segments)
    c.enqueue_s = 1e-3
    assert makespan_s(g, CachedCosts(g, c), segments) == pytest.approx(without + 1e-3)
    parts = Simulator(graphs.straight(1), CachedCosts(graphs.straight(1), c)).run(Segment("split", (0,), "oc", 8))
    assert parts["enqueue"] == 1e-3 and parts["cpu"] == pytest.approx(0.75e8 / 1e10)
    assert parts["total"] == pytest.approx(parts["cpu"] + 1e-3 + parts["share_out"] + parts["join"])


def test_cpu_segment_runs_while_the_gpu_works():
    """Branches on both devices: nothing waits until a kernel reads the other device's value."""
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (-1,)), graphs.add_kernel(2, (0, 1)))
    c = graphs.costs(copy_s=0.0)
    both = makespan_s(g, CachedCosts(g, c), [Segment("gpu", (0,)), Segment("cpu", (1,)), Segment("cpu", (2,))])
    assert both < 1.05 * 1e8 / 1e10


def test_with_tvms_own_runtime_an_upload_waits_for_the_queue():
    g = graphs.graph(
        graphs.conv_kernel(0, (-1,)),
        graphs.conv_kernel(1, (-1,)),
        graphs.conv_kernel(2, (1,)),
        graphs.add_kernel(3, (0, 2)),
    )
    segments = [Segment("gpu", (0,)), Segment("cpu", (1,)), Segment("gpu", (2,)), Segment("cpu", (3,))]
    ends = {}
    for runtime in ("own", "tvm"):
        tables = CachedCosts(g, graphs.costs(copy_s=1e-6).on_runtime(runtime))
        sim = Simulator(g, tables)
        for segment in segments[:2]:
            sim.run(segment)
        sim.gpu_s = sim.host_s + 5e-3  # the queue is busy for so long after the CPU is done
        sim.run(segments[2])
        ends[runtime] = sim.host_s, sim.gpu_s
        work_s = tables.whole_s("gpu", g.kernels[2])
        upload_s = tables.up_s[1]
        assert sim.totals.meetings_s >= upload_s
        assert sim.gpu_s == pytest.approx(
            sim.host_s + work_s if runtime == "tvm" else max(sim.host_s, sim.gpu_s - work_s) + work_s
        )
    assert ends["tvm"][0] > ends["own"][0] + 4.9e-3


def test_halo_that_only_one_reader_needs_is_cropped_for_the_other():
    """A convolution and an addition read the same rows of kernel 0; the convolution's halo is no part of the sum."""
    c = graphs.costs()
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (0,)), graphs.add_kernel(2, (0, 1)))
    segment = Segment("split", (0, 1, 2), "h", 16)
    shares = segment.shares(g)
    assert (shares.gpu[0], shares.cpu[0]) == ((0, 17), (15, 32))
    row_bytes = g.kernels[0].out_bytes / 32
    assert inner_slices(g, segment, shares) == ([16 * row_bytes], [16 * row_bytes])
    c.enqueue_s = 1e-4  # three kernels and the part
    assert Simulator(g, CachedCosts(g, c)).run(segment)["enqueue"] == pytest.approx(4e-4)


def test_value_is_uploaded_once():
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (0,)), graphs.conv_kernel(2, (0,)))
    sim = Simulator(g, CachedCosts(g, graphs.costs()))
    first = sim.run(Segment("gpu", (0,)))
    again = sim.run(Segment("gpu", (1,)))
    assert first["share_out"] > 0 and again["share_out"] == 0


def test_sync_points_are_counted_without_costs():
    """Two for a chain, one for a segment that needs the other device's values, one for outputs that the GPU has."""
    g = graphs.straight(4)
    plans = {
        (Segment("cpu", (0, 1, 2, 3)),): 0,
        (Segment("gpu", (0, 1, 2, 3)),): 2,
        (Segment("gpu", (0, 1)), Segment("cpu", (2, 3))): 2,
        (Segment("split", (0, 1), "h", 16), Segment("gpu", (2,)), Segment("cpu", (3,))): 4,
        (Segment("gpu", (0,)), Segment("split", (1, 2), "h", 8), Segment("split", (3,), "oc", 4)): 5,
    }
    for segments, count in plans.items():
        assert count_sync_points(g, segments) == count
        for costs in (graphs.costs(copy_s=0.0), graphs.costs()):
            sim = Simulator(g, CachedCosts(g, costs))
            for s in segments:
                sim.run(s)
            assert sim.sync_points == count


def test_values_without_elements_are_no_sync_point():
    g = graphs.straight(2)
    empty = replace(g.kernels[0].outputs[0], shape=(0, 32, 32, 32))
    first = replace(g.kernels[0], outputs=(empty,))
    second = replace(g.kernels[1], in_tensors=(empty,))
    g = replace(g, kernels=(first, second))
    assert count_sync_points(g, [Segment("gpu", (0,)), Segment("cpu", (1,))]) == 1


@pytest.mark.parametrize("seed", range(12))
def test_sync_points_are_where_the_simulator_copies(seed):
    """Counted by the simulator's copies: segments that copy anything, and two for a chain."""
    g, c = random_graph(seed, 12), RandomCosts(seed)
    for strategy in ("coexec", "mulayer", "layerwise"):
        segments = make_plan(g, c, strategy=strategy, min_gain=0.0).segments
        sim = Simulator(g, CachedCosts(g, c))
        for s in segments:
            sim.run(s)
        sim.finish()
        copying = {e.segment for e in sim.events if e.what in ("upload", "download")}
        chains = {n for n, s in enumerate(segments) if s.device == "split"}
        assert sim.sync_points == 2 * len(chains) + len(copying - chains)
