"""Matrix products: every transposition, broadcast batches, shares of rows, columns and heads."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relay

pytestmark = pytest.mark.llvm


def const(*shape: int):
    return relay.const(np.random.standard_normal(shape).astype("float32"))


@pytest.mark.parametrize("units", [None, 7])
def test_dense(splits, units):
    x = relay.var("x", shape=(5, 6))
    y = relay.nn.bias_add(relay.nn.dense(x, const(7, 6), units=units), const(7))
    splits.check(relay.nn.relu(y), expect={"m", "n"})


def test_classifier(splits):
    x = relay.var("x", shape=(1, 24))
    splits.check(relay.nn.dense(x, const(10, 24)), expect={"n"})


def test_weight_computed_at_run_time(splits):
    x, w = relay.var("x", shape=(4, 6)), relay.var("w", shape=(9, 6))
    splits.check(relay.nn.dense(x, w), expect={"m", "n"})


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul(splits, transpose_a, transpose_b):
    a = relay.var("a", shape=(6, 5) if transpose_a else (5, 6))
    b = relay.var("b", shape=(7, 6) if transpose_b else (6, 7))
    y = relay.nn.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    splits.check(y, expect={"m", "n"})


@pytest.mark.parametrize("batch_a,batch_b", [(3, 3), (1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("transpose_a,transpose_b", [(False, True), (True, False)])
def test_batch_matmul(splits, batch_a, batch_b, transpose_a, transpose_b):
    a = relay.var("a", shape=(batch_a, 6, 5) if transpose_a else (batch_a, 5, 6))
    b = relay.var("b", shape=(batch_b, 7, 6) if transpose_b else (batch_b, 6, 7))
    y = relay.nn.batch_matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    splits.check(y, expect={"m", "n"} | ({"batch"} if max(batch_a, batch_b) > 1 else set()))


def test_heads(splits):
    """Self-attention: scores, softmax and values of different heads know nothing of each other."""
    q, k, v = (relay.var(n, shape=(4, 5, 6)) for n in "qkv")
    scores = relay.nn.softmax(relay.nn.batch_matmul(q, k) * relay.const(0.4), axis=-1)
    y = relay.nn.batch_matmul(scores, v, transpose_b=False)
    splits.check(y, expect={"batch", "m"})


@pytest.mark.slow
def test_feed_forward(splits):
    """Rows go through a whole feed-forward block; columns through its last product alone."""
    x = relay.var("x", shape=(6, 8))
    h = relay.nn.bias_add(relay.nn.dense(x, const(16, 8)), const(16))
    h = h * relay.const(0.5) * (relay.const(1.0) + relay.erf(h * relay.const(2**-0.5)))
    y = relay.nn.dense(h, const(8, 16)) + x
    seen = splits.check(y, expect={"m"})
    assert "needs all of kernel" in seen.refused["n"]
