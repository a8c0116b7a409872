"""Contexts that count passes for a bar, and that lower no further than asked."""

from __future__ import annotations

import io
import sys

import pytest

pytestmark = pytest.mark.llvm


@pytest.mark.parametrize("is_terminal", [True, False])
def test_passes_are_counted_on_a_terminal(is_terminal, monkeypatch):
    import tvm
    from tvm import relay

    from tvm_coexec.core import progress
    from tvm_coexec.pass_context import show_passes

    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    x = relay.var("x", shape=(2, 3))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.nn.relu(x + relay.const(1.0))))
    with show_passes("compiling") as bars, tvm.transform.PassContext(opt_level=3, instruments=bars):
        relay.build(mod, target="llvm")
        counts = [bar.bar.n for bar in bars]
    assert (len(counts), "compiling" in stream.getvalue()) == (int(is_terminal), is_terminal)
    assert all(n > 20 for n in counts)


@pytest.mark.parametrize("phase", [0, 2])
def test_lowering_ends_after_a_phase(phase):
    """What comes before the end sees the loops, what comes after it sees none; without it all see them."""
    import tvm
    from tvm import te

    from tvm_coexec.pass_context import stop_lowering

    x = te.placeholder((4, 6), name="x")
    y = te.compute(x.shape, lambda i, j: x[i, j] * 2.0, name="y")
    schedule = te.create_schedule(y.op)
    schedule[y].vectorize(y.op.axis[1])
    seen = []

    def look(name):
        @tvm.tir.transform.prim_func_pass(opt_level=0)
        def see(func, _mod, _ctx):
            stores = []
            tvm.tir.stmt_functor.post_order_visit(
                func.body,
                lambda n: stores.append(n) if isinstance(n, (tvm.tir.BufferStore, tvm.tir.ProducerStore)) else None,
            )
            seen.append((name, len(stores)))
            return func

        return see

    for end in ([stop_lowering(phase)], []):
        passes = [(phase, look("before")), *end, (phase, look("after")), (3, look("last"))]
        with tvm.transform.PassContext(config={"tir.add_lower_pass": passes}):
            lowered = tvm.lower(schedule, [x, y])
        assert isinstance(lowered["main"].body, tvm.tir.Evaluate) == bool(end)
    assert seen == [("before", 1), ("after", 0), ("last", 0), ("before", 1), ("after", 1), ("last", 1)]


def test_a_schedule_that_is_refused_is_still_refused():
    import tvm
    from tvm import te

    from tvm_coexec.pass_context import stop_lowering

    x = te.placeholder((8,), name="x")
    y = te.compute((8,), lambda i: x[i] + 1.0, name="y")
    z = te.compute((8,), lambda i: y[i] * 2.0, name="z")
    schedule = te.create_schedule(z.op)
    schedule[y].compute_at(schedule[z], z.op.axis[0])
    schedule[z].compute_at(schedule[y], y.op.axis[0])
    with tvm.transform.PassContext(config={"tir.add_lower_pass": [stop_lowering(0)]}), pytest.raises(tvm.TVMError):
        tvm.lower(schedule, [x, z])
