"""What annotate and split write, kept as text: a change in it must be meant.

Run with ``TVM_COEXEC_UPDATE_GOLDEN=1`` to rewrite the files, then read the difference.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import numpy as np
import pytest

tvm = pytest.importorskip("tvm")
relay = pytest.importorskip("tvm.relay")

from tests.relay_passes.ir_text import ir_text  # noqa: E402
from tvm_coexec.core.plan import Plan, Segment  # noqa: E402
from tvm_coexec.relay_passes.extract import extract  # noqa: E402
from tvm_coexec.relay_passes.outline import OutlineSegments  # noqa: E402
from tvm_coexec.relay_passes.prepare import Prepare  # noqa: E402
from tvm_coexec.relay_passes.split import SplitChains  # noqa: E402

GOLDEN = Path(__file__).parent / "golden"


def const(*shape: int):
    return relay.const(np.linspace(-1, 1, int(np.prod(shape))).reshape(shape).astype("float32"))


def conv(x, channels: int, out: int, kernel: int = 3, **attrs):
    attrs = {"padding": (kernel // 2, kernel // 2)} | attrs
    y = relay.nn.conv2d(x, const(out, channels, kernel, kernel), **attrs)
    return relay.nn.relu(relay.nn.bias_add(y, const(out)))


def straight():
    """Convolution, pooling, convolution."""
    x = relay.var("x", shape=(1, 3, 17, 12))
    y = relay.nn.max_pool2d(conv(x, 3, 8, 5, strides=(2, 1)), (3, 3), (2, 2), padding=(1, 1, 1, 1))
    return relay.Function([x], conv(y, 8, 16))


def residual():
    """A block whose shortcut reads the same rows as its first convolution."""
    x = relay.var("x", shape=(1, 8, 12, 12))
    y = conv(conv(x, 8, 8), 8, 8)
    return relay.Function([x], relay.nn.relu(relay.add(y, x)))


def fire():
    """SqueezeNet's module: squeeze, two expansions side by side, concatenation."""
    x = relay.var("x", shape=(1, 16, 10, 10))
    squeezed = conv(x, 16, 4, 1)
    return relay.Function([x], relay.concatenate([conv(squeezed, 4, 8, 1), conv(squeezed, 4, 8, 3)], axis=1))


def bottleneck():
    """Channels reduced, then expanded again and added to what they came from; the expansion sums over the few."""
    x = relay.var("x", shape=(1, 8, 6, 5))
    y = relay.nn.conv2d(conv(x, 8, 6, 1), const(8, 6, 3, 3), strides=(1, 1), padding=(1, 1))
    return relay.Function([x], relay.nn.relu(relay.add(relay.nn.bias_add(y, const(8)), x)))


def products():
    """Two matrix products, whose middle is read by a third as well; nothing is fused to the second."""
    x = relay.var("x", shape=(3, 8))
    y = relay.nn.relu(relay.nn.dense(x, const(10, 8)))
    return relay.Function([x], relay.Tuple([relay.nn.dense(y, const(4, 10)), relay.nn.dense(y, const(2, 10))]))


CASES = {
    "straight_h": (straight, lambda n: [Segment("split", tuple(range(n)), "h", 2)]),
    "straight_oc": (
        straight,
        lambda n: [Segment("split", (0, 1), "oc", 4), Segment("split", tuple(range(2, n)), "oc", 8)],
    ),
    "residual_h": (residual, lambda n: [Segment("split", tuple(range(n)), "h", 6)]),
    "residual_oc": (
        residual,
        lambda n: [Segment("cpu", (0,)), Segment("split", tuple(range(1, n)), "oc", 2)],
    ),
    "fire_h": (fire, lambda n: [Segment("split", tuple(range(n)), "h", 4)]),
    "fire_oc": (fire, lambda n: [Segment("gpu", (0,)), Segment("split", tuple(range(1, n)), "oc", 10)]),
    "bottleneck_ic": (bottleneck, lambda n: [Segment("split", tuple(range(n)), "ic", 4)]),
    "products_ic": (products, lambda n: [Segment("split", (0, 1), "ic", 3), Segment("gpu", (2,))]),
}


def check(name: str, text: str) -> None:
    """Compare with the golden file, or write it when asked to."""
    path = GOLDEN / name
    if os.environ.get("TVM_COEXEC_UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    want = path.read_text(encoding="utf-8")
    diff = "\n".join(difflib.unified_diff(want.splitlines(), text.splitlines(), f"golden/{name}", "now", lineterm=""))
    assert text == want, f"\n{diff}"


def prepared(function):
    return Prepare()(tvm.IRModule.from_expr(function()))


@pytest.mark.llvm
@pytest.mark.parametrize("name", CASES)
def test_annotated_and_split_text(name):
    function, segments = CASES[name]
    mod = prepared(function)
    graph = extract(mod)
    plan = Plan(graph.fingerprint(), tuple(segments(len(graph.kernels))))
    annotated = OutlineSegments(plan)(mod)
    check(f"{name}.annotated.txt", ir_text(annotated))
    check(f"{name}.split.txt", ir_text(SplitChains()(annotated)))
    check(f"{name}.plan.json", plan.to_json())


@pytest.mark.llvm
@pytest.mark.parametrize("function", [straight, residual, fire, bottleneck])
def test_kernel_graph_json(function):
    check(f"{function.__name__}.graph.json", extract(prepared(function)).to_json())


@pytest.mark.llvm
def test_decisions_are_in_tvm_s_own_text():
    """Whoever prints the annotated module reads the plan in it."""
    mod = prepared(straight)
    graph = extract(mod)
    text = OutlineSegments(Plan(graph.fingerprint(), (Segment("split", (0, 1, 2), "h", 2),)))(mod).astext(
        show_meta_data=False
    )
    for part in ("coexec_0_split", 'coexec.device="split"', 'coexec.axis="h"', "coexec.kernels=[0"):
        assert part in text, text


@pytest.mark.llvm
def test_passes_leave_their_input_alone():
    mod = prepared(residual)
    before = ir_text(mod)
    graph = extract(mod)
    annotated = OutlineSegments(
        Plan(graph.fingerprint(), (Segment("split", tuple(range(len(graph.kernels))), "h", 6),))
    )(mod)
    kept = ir_text(annotated)
    SplitChains()(annotated)
    assert ir_text(mod) == before
    assert ir_text(annotated) == kept
