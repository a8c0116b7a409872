"""The bar of a build counts passes; where none would be seen, no pass is slowed down for it."""

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
