"""Spans of copies, kernels, and functions of a traced module."""

from __future__ import annotations

import time

import numpy as np
import pytest
import tvm
from tvm import te, topi

from tests.runtime import device_checks
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.opencl import runtime
from tvm_coexec.tracing.spans import Span, Spans, parse_spans

pytestmark = pytest.mark.opencl

GRID = (1, 64)


def recorded(run, one_at_a_time: bool = False) -> tuple[Spans, int, int]:
    """The spans of a call, and the host's clock around it."""
    runtime.trace_start(one_at_a_time)
    try:
        begin = time.monotonic_ns()
        run()
        end = time.monotonic_ns()
    finally:
        taken = runtime.trace_take()
    return parse_spans(taken), begin, end


def of_kind(spans: Spans, *kinds: str) -> list[Span]:
    return [s for s in spans.spans if s.kind in kinds]


def arrays(*values: float) -> list[tvm.nd.NDArray]:
    return [tvm.nd.array(np.full(64, v, "float32"), tvm.opencl(0)) for v in values]


def test_kernels_and_copies_in_their_order():
    a, b = arrays(1, 2)
    host = tvm.nd.array(np.zeros(64, "float32"))
    slow = device_checks.kernel("slow")
    slow(a, b, 1, *GRID)  # compiled before

    def run() -> None:
        host.copyto(a)
        slow(a, b, 200_000, *GRID)
        b.copyto(host)

    spans, begin, end = recorded(run)
    (up,), (launch,), down = of_kind(spans, "upload"), of_kind(spans, "launch"), of_kind(spans, "download", "wait")
    assert up.nbytes == 256 and sum(s.nbytes for s in down) == 256 and launch.name == "slow"
    off = spans.uncertainty_ns[0]
    assert 0 <= off < 10_000_000
    for s in spans.spans:
        assert begin <= s.begin_ns <= s.end_ns <= end
    # the launch comes before the kernel, and the wait for it ends after it
    assert up.end_ns <= launch.begin_ns <= launch.device_begin_ns + off
    assert launch.device_begin_ns < launch.device_end_ns
    waits = of_kind(spans, "wait")
    assert waits and launch.device_end_ns <= max(s.end_ns for s in waits) + off
    last = [s for s in of_kind(spans, "download") if s.nbytes][-1]
    assert max(s.end_ns for s in waits) <= last.begin_ns <= end


def test_an_elided_copy_moves_nothing():
    (a,) = arrays(1)
    try:
        view = runtime.host_view(a)
    except CoExecError:
        pytest.skip("the device's memory is its own")
    spans, _, _ = recorded(lambda: (view.copyto(a), a.copyto(view)))
    assert [s.nbytes for s in of_kind(spans, "elided copy") if s.nbytes] == [256, 256]
    assert not of_kind(spans, "upload", "download", "device copy")


def test_a_copy_within_the_device():
    a, b = arrays(1, 2)
    spans, _, _ = recorded(lambda: a.copyto(b))
    (copy,) = of_kind(spans, "device copy")
    assert copy.nbytes == 256 and copy.device_begin_ns < copy.device_end_ns


def test_one_at_a_time_the_host_waits_where_it_launches():
    a, b = arrays(1, 2)
    host = tvm.nd.array(np.ones(64, "float32"))
    slow = device_checks.kernel("slow")
    slow(a, b, 1, *GRID)

    def run() -> None:
        slow(a, b, 200_000, *GRID)
        a.copyto(b)
        slow(b, a, 200_000, *GRID)
        host.copyto(b)  # would be staged while the kernel reads the array

    spans, _, _ = recorded(run, one_at_a_time=True)
    found = spans.spans
    assert [s.kind for s in found[:6]] == ["launch", "wait", "device copy", "wait", "launch", "wait"]
    assert {s.kind for s in found[6:]} <= {"upload", "wait"} and found[6:]
    for command, wait in zip(found[:6:2], found[1:6:2], strict=True):
        assert command.end_ns <= wait.begin_ns
        assert command.device_begin_ns < command.device_end_ns <= wait.end_ns + spans.uncertainty_ns[0]
    spans, _, _ = recorded(run)  # the next recording is a usual one
    assert [s.kind for s in spans.spans[:3]] == ["launch", "device copy", "launch"]


def test_one_at_a_time_a_command_that_fails_is_named_where_it_was_launched():
    a, b = arrays(1, 2)
    slow = device_checks.kernel("slow")
    slow(a, b, 1, *GRID)

    def run() -> None:
        runtime.inject_fault("event")
        with pytest.raises(tvm.TVMError, match="kernel 'slow'"):
            slow(a, b, 1, *GRID)

    try:
        recorded(run, one_at_a_time=True)
    finally:
        runtime.clear_faults()
    slow(a, b, 1, *GRID)
    tvm.opencl(0).sync()


def test_nothing_is_recorded_before_and_after():
    a, b = arrays(1, 2)
    device_checks.kernel("slow")(a, b, 1, *GRID)
    spans, _, _ = recorded(lambda: None)
    assert spans.spans == () and spans.dropped == 0
    device_checks.kernel("slow")(a, b, 1, *GRID)
    assert runtime.kernel_times() == []  # profiling is off again
    spans, _, _ = recorded(lambda: None)
    assert spans.spans == ()


def test_profiling_stays_on_where_it_was():
    a, b = arrays(1, 2)
    runtime.set_profiling(True)
    try:
        recorded(lambda: device_checks.kernel("slow")(a, b, 1, *GRID))
        assert runtime.kernel_times() == []  # the trace has it
        device_checks.kernel("slow")(a, b, 1, *GRID)
        assert [t.name for t in runtime.kernel_times()] == ["slow"]
    finally:
        runtime.set_profiling(False)


def test_one_trace_at_a_time():
    runtime.trace_start()
    try:
        with pytest.raises(CoExecError, match="already being recorded"):
            runtime.trace_start()
    finally:
        runtime.trace_take()


@pytest.fixture(scope="module")
def functions() -> tvm.runtime.Module:
    """Two functions for the CPU."""
    x = te.placeholder((4,), name="x")
    made = {}
    for name, k in (("one", 1.0), ("two", 2.0)):
        y = topi.add(x, tvm.tir.const(k, "float32"))
        made[name] = te.create_prim_func([x, y]).with_attr("global_symbol", name)
    return tvm.build(tvm.IRModule(made), target="llvm")


def test_functions_are_numbered_as_they_are_asked_for(functions):
    traced = runtime.trace_module(functions, ["two", "one", "two"])
    assert traced.type_key == "coexec.traced"
    got = [traced[n] for n in ("two", "one", "two")]
    x, y = (tvm.nd.array(np.zeros(4, "float32")) for _ in range(2))
    spans, begin, end = recorded(lambda: [f(x, y) for f in (got[1], got[2], got[0])])
    assert [(s.name, s.call) for s in spans.spans] == [("one", 1), ("two", 2), ("two", 0)]
    np.testing.assert_array_equal(y.numpy(), np.full(4, 2.0))
    ends = [begin, *(t for s in spans.spans for t in (s.begin_ns, s.end_ns)), end]
    assert ends == sorted(ends)
    again = [traced[n] for n in ("two", "one")]  # another executor
    spans, _, _ = recorded(lambda: [f(x, y) for f in again])
    assert [s.call for s in spans.spans] == [0, 1]


def test_other_functions_come_as_they_are(functions):
    traced = runtime.trace_module(functions, ["two"])
    x, y = (tvm.nd.array(np.zeros(4, "float32")) for _ in range(2))
    spans, _, _ = recorded(lambda: traced["one"](x, y))
    assert spans.spans == () and y.numpy()[0] == 1.0
    with pytest.raises(AttributeError):
        traced["three"]
    assert traced.implements_function("one") and not traced.implements_function("three")


@pytest.mark.parametrize("on", [False, True])
def test_a_function_that_fails_says_why(functions, on):
    traced = runtime.trace_module(functions, ["one"])["one"]
    wrong = tvm.nd.array(np.zeros(5, "float32"))
    if on:
        runtime.trace_start()
    try:
        with pytest.raises(tvm.TVMError, match="one"):
            traced(wrong, wrong)
    finally:
        if on:
            taken = runtime.trace_take()
    assert not on or [s.name for s in parse_spans(taken).spans] == ["one"]


def test_a_traced_module_is_not_to_be_saved(functions, tmp_path):
    with pytest.raises(tvm.TVMError, match="save the module"):
        runtime.trace_module(functions, ["one"]).save(str(tmp_path / "m.o"))
