"""Attention as one chain: heads on both devices, projections column- and row-parallel, one addition at the end."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relay

from tvm_coexec.core.chains import chain_shares
from tvm_coexec.core.errors import CoExecError
from tvm_coexec.core.kernel_graph import KernelGraph

pytestmark = [pytest.mark.llvm, pytest.mark.slow]


def const(*shape: int, scale: float = 1.0):
    return relay.const((scale * np.random.standard_normal(shape)).astype("float32"))


def dense(x, taken: int, made: int):
    """A projection of two-dimensional values, with a bias."""
    return relay.nn.bias_add(relay.nn.dense(x, const(made, taken, scale=taken**-0.5)), const(made))


def merged(tokens: int, heads: int, size: int, batch: int = 1, mask: str = ""):
    """As it is written with three-dimensional products: batch and heads are one dimension."""
    hidden = heads * size
    x = relay.var("x", shape=(batch * tokens, hidden))

    def to_heads(t):
        t = relay.reshape(t, (batch, tokens, heads, size))
        return relay.reshape(relay.transpose(t, (0, 2, 1, 3)), (batch * heads, tokens, size))

    q, k, v = (to_heads(dense(x, hidden, hidden)) for _ in range(3))
    scores = relay.nn.batch_matmul(q * relay.const(size**-0.5), k)
    if mask == "causal":
        scores = scores + relay.const(np.triu(np.full((1, tokens, tokens), -1e4, "float32"), 1))
    elif mask == "tokens":
        scores = scores + relay.var("mask", shape=(1, 1, tokens))
    out = relay.nn.batch_matmul(relay.nn.softmax(scores), v, transpose_b=False)
    out = relay.transpose(relay.reshape(out, (batch, heads, tokens, size)), (0, 2, 1, 3))
    return dense(relay.reshape(out, (batch * tokens, hidden)), hidden, hidden) + x


def from_onnx(tokens: int, heads: int, size: int, batch: int = 1, mask: str = ""):
    """As TVM's importer writes four-dimensional products."""
    hidden = heads * size
    x = relay.var("x", shape=(batch, tokens, hidden))

    def product(t, made: int):
        flat = relay.nn.dense(relay.reshape(t, (-1, hidden)), const(made, hidden, scale=hidden**-0.5))
        return relay.add(relay.reshape(flat, (batch, tokens, made)), const(made))

    def to_heads(t, order):
        return relay.transpose(relay.reshape(product(t, hidden), (batch, tokens, heads, size)), order)

    def product_of_heads(a, b, rows: int, columns: int, depth: int):
        a, b = relay.reshape(a, (-1, rows, depth)), relay.reshape(b, (-1, depth, columns))
        out = relay.nn.batch_matmul(a, relay.transpose(b, (0, 2, 1)))
        return relay.reshape(out, (batch, heads, rows, columns))

    q, k = to_heads(x, (0, 2, 1, 3)), to_heads(x, (0, 2, 3, 1))
    scores = product_of_heads(q, k, tokens, tokens, size) / relay.const(size**0.5)
    if mask == "causal":
        scores = relay.where(relay.const(np.tri(tokens, dtype="bool")[None, None]), scores, relay.const(-1e4))
    elif mask == "tokens":
        scores = scores + relay.var("mask", shape=(batch, 1, 1, tokens))
    out = product_of_heads(relay.nn.softmax(scores), to_heads(x, (0, 2, 1, 3)), tokens, size, tokens)
    out = relay.reshape(relay.transpose(out, (0, 2, 1, 3)), (batch, tokens, hidden))
    return product(out, hidden) + x


def heads_chain(graph: KernelGraph) -> list[int]:
    """From the first projection to the last, without a reshape of the input before them."""
    products = [k.index for k in graph.kernels if k.op == "nn.dense"]
    return list(range(products[0], products[-1] + 1))


@pytest.mark.parametrize("mask", ["", "causal", "tokens"])
@pytest.mark.parametrize("write", [merged, from_onnx])
def test_heads_are_one_chain(splits, write, mask):
    """Any cut of the last projection's input: a head that it goes through is computed on both devices."""
    value = write(tokens=5, heads=3, size=4, mask=mask)
    _, graph = splits.prepare(value)
    members = heads_chain(graph)
    seen = splits.check(value, members=members, axes={"ic"}, expect={"ic"}, cuts=lambda a: list(range(a.extent + 1)))
    shares = chain_shares(seen.graph, members, "ic", 6)
    products = [k for k in members if seen.graph.kernels[k].op == "nn.batch_matmul"]
    assert [(shares.gpu[k], shares.cpu[k]) for k in products] == [((0, 2), (1, 3))] * 2
    projections = [k for k in members if seen.graph.kernels[k].op == "nn.dense"]
    assert [(shares.gpu[k], shares.cpu[k]) for k in projections] == [((0, 8), (4, 12))] * 3 + [((0, 6), (6, 12))]
    outer = {v for k in members for v in seen.graph.kernels[k].inputs if v not in members}
    assert len(outer - {-2}) == 1 and set(shares.cuts) == {members[-1]}  # one value goes in (and a mask), one comes out


@pytest.mark.parametrize("write", [merged, from_onnx])
def test_batches_are_divided_by_rows_not_by_heads(splits, write):
    """With more than one input, the heads of all of them lie side by side: a range of them is whole inputs."""
    value = write(tokens=4, heads=2, size=3, batch=2)
    _, graph = splits.prepare(value)
    with pytest.raises(CoExecError):
        chain_shares(graph, heads_chain(graph), "ic", 3)
    last = heads_chain(graph)[-1]
    splits.check(value, members=[last], axes={"ic", "m"}, expect={"ic", "m"})


def test_keys_of_an_earlier_value(splits):
    """Cross attention: two inputs go in whole."""
    x, memory = relay.var("x", shape=(4, 6)), relay.var("memory", shape=(7, 6))

    def heads(t, tokens):
        return relay.transpose(relay.reshape(dense(t, 6, 6), (tokens, 2, 3)), (1, 0, 2))

    scores = relay.nn.softmax(relay.nn.batch_matmul(heads(x, 4), heads(memory, 7)))
    out = relay.nn.batch_matmul(scores, heads(memory, 7), transpose_b=False)
    out = relay.reshape(relay.transpose(out, (1, 0, 2)), (4, 6))
    splits.check(dense(out, 6, 5), axes={"ic"}, expect={"ic"}, cuts=lambda a: list(range(1, 6)))


def test_queries_keys_and_values_of_one_product(splits):
    """A device needs columns from its first query to its last value, so both compute most of the product."""
    x = relay.var("x", shape=(4, 6))
    parts = relay.split(dense(x, 6, 18), 3, axis=1)
    q, k, v = (relay.transpose(relay.reshape(part, (4, 3, 2)), (1, 0, 2)) for part in parts)
    out = relay.nn.batch_matmul(relay.nn.softmax(relay.nn.batch_matmul(q, k)), v, transpose_b=False)
    value = dense(relay.reshape(relay.transpose(out, (1, 0, 2)), (4, 6)), 6, 5)
    _, graph = splits.prepare(value)
    rest = list(range(1, len(graph.kernels)))
    splits.check(value, members=rest, axes={"ic"}, expect={"ic"}, cuts=lambda a: list(range(1, 6)))
    seen = splits.check(value, axes={"ic"}, expect={"ic"}, cuts=lambda a: list(range(1, 6)))
    assert chain_shares(seen.graph, [0, *rest], "ic", 2).gpu[0] == (0, 14)
