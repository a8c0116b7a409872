"""``profile="measure"``: what is measured, kept, reused, and how failures and noise are treated."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import tvm

import tvm_coexec
from tests import models
from tests.measuring.meters import MadeUp, mark_deadly, quick, serve_deadly
from tvm_coexec.core.kernel_graph import Kernel, KernelGraph
from tvm_coexec.core.plan import Plan
from tvm_coexec.cost_models import MeasuredCosts
from tvm_coexec.cost_models.measured import WHOLE
from tvm_coexec.measuring.device_worker import DeviceWorker, local_setting
from tvm_coexec.measuring.kernel_meter import KernelMeter, Timing
from tvm_coexec.measuring.on_the_spot import Effort, measure
from tvm_coexec.measuring.pieces import KernelBuilder, Piece
from tvm_coexec.measuring.protocol import Timed
from tvm_coexec.planner import make_plan
from tvm_coexec.relay_passes.extract import extract, extract_with_calls
from tvm_coexec.relay_passes.prepare import Prepare

pytestmark = [pytest.mark.llvm, pytest.mark.opencl, pytest.mark.slow]


def never(builder: KernelBuilder) -> KernelMeter:
    """A meter that must not be used."""

    class Never(MadeUp):
        def time_pieces(self, pieces):
            pytest.fail("measured again")

        time_network = time_reference = measure_links = time_pieces

    return Never(builder)


def test_kernels_and_networks_are_measured_once_and_kept(cache):
    """A plan must beat the network itself: kernels one by one pack and unpack what neighbours hand on as it is."""
    prepared = Prepare()(models.conv_chain(2))
    both, graph = tvm_coexec.targets(), extract(prepared)
    costs = measure(prepared, *both, make_meter=quick)
    for kernel in graph.kernels:
        for device in ("cpu", "gpu"):
            assert costs.has(device, kernel.signature(), WHOLE, 0)
            assert 0 < costs.whole_s(device, kernel) < 10
    assert not costs.unmeasured and all(0 < costs.alone_s(d, graph) < 10 for d in ("cpu", "gpu"))
    assert costs.enqueue_s > 0 and costs.upload.seconds(1 << 20) > 0 and set(costs.references) == {"cpu", "gpu"}
    again = measure(prepared, *both, effort=Effort(rounds=0), make_meter=never)
    assert (again.table, again.networks, again.references) == (costs.table, costs.networks, costs.references)
    (file,) = cache.glob("*.json")
    split = tvm_coexec.partition_for_coexec(models.conv_chain(2), profile=str(file))
    assert tvm_coexec.plan_of(split).costs == costs.description and costs.description.startswith("measured here")
    again.networks = dict.fromkeys(again.networks, 1e-9)
    assert not make_plan(graph, again).chains, "nothing is faster than the network alone"


def measured_rows(costs: MeasuredCosts, kernel: Kernel, device: str, dim: int) -> set[int]:
    return set(costs.table.get((device, kernel.signature(), dim), {}))


def shares_of(plan: Plan, graph: KernelGraph) -> Iterator[tuple[str, Kernel, int, int]]:
    """Device, kernel, dimension and rows of every share of a plan."""
    for segment in plan.chains:
        shares = segment.shares(graph)
        for k in segment.kernels:
            for device, ranges in (("gpu", shares.gpu), ("cpu", shares.cpu)):
                yield device, graph.kernels[k], shares.dims[k], ranges[k][1] - ranges[k][0]


def test_the_shares_of_the_best_plan_are_measured():
    """Not only what lies on lines between measured ones; here a share takes less than its part of the whole."""
    prepared = Prepare()(models.conv_chain(2))
    effort = Effort(rounds=50, worth_gain=0.0)
    costs = measure(prepared, *tvm_coexec.targets(), effort=effort, make_meter=MadeUp)
    graph = extract(prepared)
    shares = list(shares_of(make_plan(graph, costs, min_gain=0.0), graph))
    assert shares
    for device, kernel, dim, rows in shares:
        assert rows in measured_rows(costs, kernel, device, dim)


def test_along_one_axis_only_its_shares_are_measured():
    prepared = Prepare()(models.conv_chain(2))
    costs = measure(prepared, *tvm_coexec.targets(), "h", effort=Effort(rounds=2), make_meter=MadeUp)
    assert {dim for _, _, dim in costs.table} == {WHOLE, 2}


@pytest.mark.parametrize(("gpu_s", "again"), [(0.5, False), (0.1, True)])
def test_the_plan_is_made_again_only_if_it_promises_a_gain(gpu_s, again):
    """Halves take 0.5 s, as was expected; if the GPU's takes less, the next plan gives it more."""
    rounds = []

    class Halves(MadeUp):
        def time_pieces(self, pieces):
            pieces = list(pieces)
            rounds.append([p for p in pieces if p.rows is not None])
            for piece in pieces:
                seconds = 1.0 if piece.rows is None else {"cpu": 0.5, "gpu": gpu_s}[piece.device]
                yield piece, Timed((seconds,), 1.0, 0.0, 0.0)

    measure(Prepare()(models.conv_chain(1, 32)), *tvm_coexec.targets(), "oc", make_meter=Halves)
    first, *others = [pieces for pieces in rounds if pieces]
    assert {p.rows for p in first} == {(0, 16), (16, 32)}
    assert bool(others) == again


def test_a_kernel_that_fails_is_named_and_not_kept(cache, caplog):
    class FailsOnGpu(KernelMeter):
        def build(self, piece):
            if piece.device == "gpu":
                raise tvm.TVMError("Traceback:\n  File x.cc\nTVMError: no such instruction")
            return super().build(piece)

    def make(builder):
        return FailsOnGpu(builder, Timing(2, 1, 0.0, 0.0))

    prepared = Prepare()(models.conv_chain(1))
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        costs = measure(prepared, *tvm_coexec.targets(), make_meter=make)
    assert "can't run on the gpu: no such instruction" in caplog.text
    costs.networks.clear()
    assert [s.device for s in make_plan(extract(prepared), costs).segments] == ["cpu"]
    (file,) = cache.glob("*.json")
    assert {d for d, _, _ in MeasuredCosts.load(str(file)).table} == {"cpu"}


def test_a_process_that_dies_costs_one_kernel_only(caplog):
    class Dies(KernelMeter):
        built = 0

        def __init__(self, builder):
            super().__init__(builder, Timing(2, 1, 0.0, 0.0))
            self.worker = DeviceWorker(local_setting(builder.gpu), serve_deadly)

        def build(self, piece):
            built = super().build(piece)
            if piece.device == "gpu" and not self.built:
                mark_deadly(built)
                self.built += 1
            return built

    prepared = Prepare()(models.conv_chain(2))
    with caplog.at_level(logging.WARNING, "tvm_coexec"):
        costs = measure(prepared, *tvm_coexec.targets(), "h", make_meter=Dies)
    assert caplog.text.count("can't run on the gpu") == 1 and "SIGKILL" in caplog.text
    kernels = {k.signature(): k for k in extract(prepared).kernels}.values()
    assert all(costs.whole_s("cpu", k) < 10 for k in kernels)


def test_what_was_disturbed_is_timed_again_and_the_shorter_counts():
    prepared = Prepare()(models.conv_chain(1))
    times = iter([Timed((2.0, 9.0), 1.0, 0.0, 0.0), Timed((3.0,), 1.0, 0.0, 0.0), Timed((1.0,), 1.0, 0.0, 0.0)])

    class Noisy(KernelMeter):
        def build(self, piece):
            return piece

        def _time_batch(self, built):
            return [next(times) for _ in built]

    meter = Noisy(KernelBuilder(prepared, extract_with_calls(prepared), *tvm_coexec.targets()))
    try:
        found = {p.device: t.best_s for p, t in meter.time_pieces([Piece("cpu", 0), Piece("gpu", 0)])}
    finally:
        meter.close()
    assert found == {"gpu": 3.0, "cpu": 1.0}


def test_drift_and_load_are_logged(cache, caplog, monkeypatch):
    monkeypatch.setattr("tvm_coexec.measuring.reference.PAUSE_S", 0.0)

    class Slower(MadeUp):
        reference_s, loads = 2e-3, 0.9

    both = tvm_coexec.targets()
    measure(Prepare()(models.conv_chain(1)), *both, make_meter=MadeUp)
    assert not caplog.text
    measure(Prepare()(models.conv_chain(1, channels=24)), *both, make_meter=Slower)
    assert "the cpu takes 2.00 times as long for the reference kernel" in caplog.text
    assert "other processes used 0.9 cores while kernels were measured" in caplog.text


def test_cache_can_be_off(monkeypatch, tmp_path):
    monkeypatch.setenv("TVM_COEXEC_CACHE_DIR", "off")
    monkeypatch.chdir(tmp_path)
    measure(Prepare()(models.conv_chain(1)), *tvm_coexec.targets(), make_meter=MadeUp)
    assert list(tmp_path.iterdir()) == []
