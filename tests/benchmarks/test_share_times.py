"""Times of shares next to those that the plan predicts."""

from __future__ import annotations

import pytest

pytest.importorskip("tvm.relay")

import tvm_coexec
from benchmarks import _share_times
from tests.models import input_of, residual_net
from tvm_coexec.executor.create import Creation
from tvm_coexec.tracing import Tracer

pytestmark = [pytest.mark.llvm, pytest.mark.opencl]


def test_every_convolution_finds_its_prediction():
    options = {"ratio": 0.5, "profile": "generic"}
    lib = tvm_coexec.build(residual_net(), **options)
    partition = tvm_coexec.CoExecPartition(**options)
    partition(residual_net())
    report, tracer = partition.report, Tracer()
    module = tracer.create(lib)
    module.set_input(**input_of(residual_net()))
    together, alone = (tracer.record(module.run, 3, 1, one_at_a_time=o).timelines for o in (False, True))
    predicted_s = _share_times.predict_shares(report, tracer.graph, Creation(lib).executor_graph())
    rows = _share_times.measure_shares(tracer.graph, together, alone, predicted_s)
    assert [r.excess_s for r in rows] == sorted((r.excess_s for r in rows), reverse=True)
    checked = 0
    for number, segment in enumerate(report.plan.segments):
        kernels = [k for k in segment.kernels if report.graph.kernels[k].op == "nn.conv2d"]
        checked += len(kernels)
        for device in ("cpu", "gpu") if segment.device == "split" else ():
            found = [r for r in rows if (r.segment, r.device) == (number, device) and "conv2d" in r.name]
            wanted = [report.simulated.totals.kernel_s[k][device] for k in kernels]
            assert sorted(r.predicted_s for r in found if r.predicted_s) == pytest.approx(sorted(wanted))
            assert all(r.co_run_s > 0 and r.alone_s > 0 for r in found)
    assert checked == 4
