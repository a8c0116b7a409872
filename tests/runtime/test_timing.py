"""The timer of time_evaluator and profilers, and the times of individual kernels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tvm
from tvm import relay
from tvm.contrib import graph_executor

from tests.runtime import device_checks, process
from tvm_coexec.opencl import runtime

pytestmark = pytest.mark.opencl


@pytest.fixture
def profiled() -> Iterator[None]:
    runtime.set_profiling(True)
    runtime.kernel_times()
    yield
    runtime.set_profiling(False)


def slow_arguments() -> tuple:
    dev = tvm.opencl(0)
    return tvm.nd.array(np.ones(64, "float32"), dev), tvm.nd.array(np.ones(64, "float32"), dev), 200_000, 1, 64


def test_kernel_times_in_order(profiled: None) -> None:
    a, b, rounds, *grid = slow_arguments()
    device_checks.kernel("slow")(a, b, rounds, *grid)
    device_checks.kernel("add")(a, b, b, 1.0, *grid)
    device_checks.kernel("slow")(a, b, rounds, *grid)
    times = runtime.kernel_times()
    assert [(t.name, t.device) for t in times] == [("slow", 0), ("add", 0), ("slow", 0)]
    for t in times:
        assert t.queued_s <= t.start_s < t.end_s and t.elapsed_s > 0
    assert times[0].end_s <= times[1].start_s and times[1].end_s <= times[2].start_s  # one queue, in order
    assert runtime.kernel_times() == []
    runtime.set_profiling(False)
    device_checks.kernel("add")(a, b, b, 1.0, *grid)
    assert runtime.kernel_times() == []


def test_wall_time_of_a_region_covers_its_kernels(profiled: None) -> None:
    """The evaluator's clock runs until the queue is empty: it can't be less than what the kernels took."""
    mod, params = device_checks.conv_net()
    with tvm.transform.PassContext(opt_level=3):
        lib = relay.build(mod, tvm.target.Target("opencl", host="llvm"), params=params)
    g = graph_executor.GraphModule(lib["default"](tvm.opencl(0)))
    g.run()
    runtime.kernel_times()
    result = g.benchmark(tvm.opencl(0), number=5, repeat=1)
    kernels = runtime.kernel_times()
    per_run = len(kernels) // 6  # benchmark runs once more, to warm up
    measured = sum(k.elapsed_s for k in kernels[per_run:])
    assert result.mean * 5 >= measured > 0


def test_profilers_take_the_timer_without_a_warning() -> None:
    code = """
import logging, tvm, numpy as np
from tvm import relay
from tvm.contrib.debugger import debug_executor
from tvm_coexec.opencl import runtime
from tests.runtime import device_checks
mod, params = device_checks.conv_net()
with tvm.transform.PassContext(opt_level=3):
    lib = relay.build(mod, tvm.target.Target("opencl", host="llvm"), params=params)
g = debug_executor.create(lib.get_graph_json(), lib.get_lib(), tvm.opencl(0))
g.set_input(**lib.get_params())
table = g.profile(x=tvm.nd.array(device_checks.random(1, 8, 14, 14)))
report([len(table.calls), all(c["Duration (us)"].microseconds > 0 for c in table.calls)])
"""
    n_calls, all_positive = process.run(code)
    assert n_calls >= 4 and all_positive


def test_profiling_from_the_environment() -> None:
    code = """
import tvm, numpy as np
from tvm_coexec.opencl import runtime
a = tvm.nd.array(np.ones(64, "float32"), tvm.opencl(0))
f = runtime.source_module("__kernel void k(__global float* a) { a[get_global_id(0)] += 1; }", "k", ["handle"])["k"]
f(a, 1, 64)
report([t.name for t in runtime.kernel_times()])
"""
    assert process.run(code, TVM_COEXEC_OPENCL_PROFILE="1") == ["k"]
