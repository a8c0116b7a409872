"""The makespan: what waits for what."""

from __future__ import annotations

import pytest

from tests.planner import graphs
from tvm_coexec.plan import Segment
from tvm_coexec.planner.timeline import Simulator, simulate


def test_single_device_is_the_sum():
    g, c = graphs.straight(3), graphs.costs()
    assert simulate(g, c, [Segment("cpu", (0, 1, 2))]) == pytest.approx(3 * 1e8 / 1e10)


def test_gpu_adds_upload_and_download():
    g, c = graphs.straight(3), graphs.costs(gpu_gflops=20.0)
    nbytes = g.kernels[0].out_bytes
    want = 3 * 1e8 / 2e10 + c.upload.seconds(nbytes) + c.download.seconds(nbytes)
    assert simulate(g, c, [Segment("gpu", (0, 1, 2))]) == pytest.approx(want)


def test_chain_takes_the_larger_sum_and_both_meetings():
    g, c = graphs.straight(1), graphs.costs()
    parts = Simulator(g, c).run(Segment("split", (0,), "oc", 8))
    assert parts["gpu"] == pytest.approx(0.25e8 / 1e10)
    assert parts["cpu"] == pytest.approx(0.75e8 / 1e10)
    assert parts["share_out"] > 0 and parts["join"] > 0
    assert parts["total"] == pytest.approx(parts["cpu"] + parts["share_out"] + parts["join"])


def test_cpu_segment_runs_while_the_gpu_works():
    """Branches on both devices: nothing waits until somebody reads across."""
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (-1,)), graphs.add_kernel(2, (0, 1)))
    c = graphs.costs(copy_s=0.0)
    both = simulate(g, c, [Segment("gpu", (0,)), Segment("cpu", (1,)), Segment("cpu", (2,))])
    assert both < 1.05 * 1e8 / 1e10


def test_value_is_uploaded_once():
    g = graphs.graph(graphs.conv_kernel(0, (-1,)), graphs.conv_kernel(1, (0,)), graphs.conv_kernel(2, (0,)))
    sim = Simulator(g, graphs.costs())
    first = sim.run(Segment("gpu", (0,)))
    again = sim.run(Segment("gpu", (1,)))
    assert first["share_out"] > 0 and again["share_out"] == 0
