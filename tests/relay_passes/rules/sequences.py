"""Random small networks on matrices: products, attention heads, normalisation, gating."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from tvm import relay

from tests.relay_passes.rules.networks import Network


def dense(net: Network, x, shape):
    if len(shape) == 2:
        units = net.pick(2, 4, 6, 8)
        y = relay.nn.dense(x, net.const(units, shape[1]), units=net.pick(None, units))
        net.add(relay.nn.bias_add(y, net.const(units)) if net.draw(st.booleans()) else y, (shape[0], units))
    else:
        units = net.pick(2, 3, 6)
        transpose_b, batch = net.draw(st.booleans()), net.pick(1, shape[0])
        weight = net.const(batch, units, shape[2]) if transpose_b else net.const(batch, shape[2], units)
        y = relay.nn.batch_matmul(x, weight, transpose_b=transpose_b)
        net.add(y, (shape[0], shape[1], units))


def matmul(net: Network, x, shape):
    if len(shape) == 2:
        a, b, n = net.draw(st.booleans()), net.draw(st.booleans()), net.pick(3, 4, 8)
        inner = shape[0] if a else shape[1]
        weight = net.const(n, inner) if b else net.const(inner, n)
        net.add(relay.nn.matmul(x, weight, transpose_a=a, transpose_b=b), (shape[1] if a else shape[0], n))


def attend(net: Network, x, shape):
    """Scores against any value of as many features, then values of as many rows."""
    if len(shape) == 3:
        keys = [(v, s) for v, s in net.values if len(s) == 3 and s[0] in (1, shape[0]) and s[2] == shape[2]]
        key, key_shape = net.draw(st.sampled_from(keys))
        scores = relay.nn.softmax(relay.nn.batch_matmul(x, key) * relay.const(0.3))
        net.add(relay.nn.batch_matmul(scores, key, transpose_b=False), (shape[0], shape[1], key_shape[2]))


def heads(net: Network, x, shape):
    if len(shape) == 2:
        for n in (4, 3, 2):
            if shape[1] % n == 0:
                y = relay.reshape(x, (shape[0], n, shape[1] // n))
                net.add(relay.transpose(y, (1, 0, 2)), (n, shape[0], shape[1] // n))
                return
    else:
        y = relay.transpose(x, (1, 0, 2))
        net.add(relay.reshape(y, (shape[1], shape[0] * shape[2])), (shape[1], shape[0] * shape[2]))


def fold(net: Network, x, shape):
    """Rows of all batches below each other, and back."""
    if len(shape) == 3:
        net.add(relay.reshape(x, (shape[0] * shape[1], shape[2])), (shape[0] * shape[1], shape[2]))
    elif shape[0] % 2 == 0:
        net.add(relay.reshape(x, (2, shape[0] // 2, shape[1])), (2, shape[0] // 2, shape[1]))


def transpose(net: Network, x, shape):
    axes = net.draw(st.permutations(range(len(shape))))
    net.add(relay.transpose(x, axes), tuple(shape[a] for a in axes))


def normalise(net: Network, x, shape):
    axis = net.draw(st.integers(0, len(shape) - 1))
    kind = net.pick("softmax", "layer", "center", "max")
    y = {
        "softmax": lambda: relay.nn.softmax(x, axis=axis),
        "layer": lambda: relay.nn.layer_norm(x, net.const(shape[axis]), net.const(shape[axis]), axis=axis),
        "center": lambda: x - relay.mean(x, axis=axis, keepdims=True),
        "max": lambda: x - relay.max(x, axis=axis, keepdims=True),
    }[kind]()
    net.add(y, shape)


def reduce(net: Network, x, shape):
    if len(shape) == 3:
        axis = net.draw(st.integers(0, 2))
        op = net.draw(st.sampled_from([relay.sum, relay.max, relay.mean]))
        net.add(op(x, axis=axis), tuple(d for i, d in enumerate(shape) if i != axis))


def activate(net: Network, x, shape):
    half, one = relay.const(0.5), relay.const(1.0)
    kind = net.pick("gelu", "swish", "row", "column")
    y = {
        "gelu": lambda: half * x * (one + relay.erf(x * relay.const(0.7071))),
        "swish": lambda: x * relay.sigmoid(x),
        "row": lambda: relay.maximum(x, net.const(shape[-1])),
        "column": lambda: relay.multiply(x, net.const(shape[-2], 1)),
    }[kind]()
    net.add(y, shape)


def gate(net: Network, x, shape):
    axis = net.draw(st.integers(0, len(shape) - 1))
    if shape[axis] % 2 == 0:
        a, b = relay.split(x, 2, axis=axis)
        net.add(a * relay.sigmoid(b), tuple(d // 2 if i == axis else d for i, d in enumerate(shape)))


def residual(net: Network, x, shape):
    net.add(relay.add(x, net.draw(st.sampled_from([v for v, s in net.values if s == shape]))), shape)


def join(net: Network, x, shape):
    axis = net.draw(st.integers(0, len(shape) - 1))
    fits = [
        (v, s)
        for v, s in net.values
        if len(s) == len(shape) and all(i == axis or s[i] == d for i, d in enumerate(shape))
    ]
    other, other_shape = net.draw(st.sampled_from(fits))
    made = tuple(d + other_shape[axis] if i == axis else d for i, d in enumerate(shape))
    if max(made) <= 24:
        net.add(relay.concatenate([x, other], axis=axis), made)


def pick_rows(net: Network, x, shape):
    axis = net.draw(st.integers(0, len(shape) - 1))
    rows = net.rng.integers(0, shape[axis], net.pick(1, 3, 5)).astype("int32")
    made = tuple(len(rows) if i == axis else d for i, d in enumerate(shape))
    net.add(relay.take(x, relay.const(rows), axis=axis, mode="clip"), made)


LAYERS = [
    dense, dense, matmul, attend, heads, heads, fold, transpose, normalise, reduce, activate, gate, residual, join,
    pick_rows,
]  # fmt: skip


@st.composite
def sequences(draw, most: int = 7) -> relay.Function:
    """A function of one matrix or batch of matrices."""
    net = Network(draw, np.random.default_rng(draw(st.integers(0, 2**16))))
    shape = tuple(draw(st.lists(st.sampled_from([2, 4, 5, 6, 8]), min_size=2, max_size=3)))
    x = relay.var("x", shape=shape)
    net.add(x, shape)
    for _ in range(draw(st.integers(3, most))):
        at = -1 if draw(st.integers(0, 3)) else draw(st.integers(0, len(net.values) - 1))
        draw(st.sampled_from(LAYERS))(net, *net.values[at])
    result = net.values[-1][0]
    if draw(st.integers(0, 4)) == 0:
        result = relay.Tuple([result, draw(st.sampled_from(net.values))[0]])
    return relay.Function([x], result)
