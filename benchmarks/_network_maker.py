"""The parts of random networks: convolutions, dense layers, attention and activations with random weights.

Nominal rates of one core say how long a part takes, so that no network has to be timed to be of a wanted length.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tvm import relay

SHORTEST_MS, LONGEST_MS = 4.0, 32.0
# Multiplications, or elements that are read and written, of a millisecond on one core.
MACS, DEPTHWISE_MACS, ELEMENTS = 15e6, 4e6, 1e6

Shape = tuple[int, ...]


class TooLong(Exception):
    """A block would take more than what is left of the network's time."""


class Maker:
    """A network under construction.

    Parameters
    ----------
    seed : int

    Attributes
    ----------
    left_ms : float
        What is left of the network's time.
    """

    def __init__(self, seed: int) -> None:
        self.dice = np.random.default_rng(seed)
        self.total_ms = math.exp(self.dice.uniform(math.log(SHORTEST_MS), math.log(LONGEST_MS)))
        self.left_ms = self.total_ms

    def pick(self, *choices: Any) -> Any:
        """One of the choices, equally likely."""
        return choices[int(self.dice.integers(len(choices)))]

    def chance(self, probability: float) -> bool:
        """Whether a throw of the dice has that probability."""
        return bool(self.dice.random() < probability)

    def spend(self, work: float, rate: float) -> None:
        """Take the time of so many units of work; called before weights are drawn."""
        if work / rate > 1.1 * self.left_ms:
            raise TooLong
        self.left_ms -= work / rate

    def weight(self, *shape: int, fan_in: int) -> relay.Expr:
        """Random weights with which the variance of activations stays about the same."""
        from tvm import relay

        values = self.dice.standard_normal(shape, "float32") * np.float32(math.sqrt(1.5 / fan_in))
        return relay.const(values)

    def act(self, x: relay.Expr, shape: Shape) -> relay.Expr:
        """One of the usual activations."""
        from tvm import relay

        self.spend(math.prod(shape), ELEMENTS)
        return self.pick(
            relay.nn.relu,
            relay.nn.relu,
            relay.nn.relu,
            lambda v: relay.clip(v, 0.0, 6.0),
            lambda v: relay.nn.leaky_relu(v, 0.1),
            relay.sigmoid,
            relay.tanh,
            lambda v: v * relay.sigmoid(v),
            lambda v: v * relay.clip(v + relay.const(3.0), 0.0, 6.0) * relay.const(1 / 6),
        )(x)

    def conv(
        self,
        x: relay.Expr,
        shape: Shape,
        out: int,
        kernel: tuple[int, int] = (1, 1),
        stride: int = 1,
        groups: int = 1,
        activation: bool = True,
    ) -> tuple[relay.Expr, Shape]:
        """A convolution that keeps the size, or divides it by the stride, with bias and perhaps an activation."""
        from tvm import relay

        c, h, w = shape
        made = (out, -(-h // stride), -(-w // stride))
        fan_in = c // groups * math.prod(kernel)
        self.spend(math.prod(made) * fan_in, DEPTHWISE_MACS if groups == c else MACS)
        pads = [k // 2 for k in kernel]
        y = relay.nn.conv2d(
            x,
            self.weight(out, c // groups, *kernel, fan_in=fan_in),
            strides=(stride, stride),
            padding=(*pads, *pads),
            groups=groups,
            channels=out,
            kernel_size=kernel,
        )
        if self.chance(0.9):
            y = relay.nn.bias_add(y, self.weight(out, fan_in=16))
        return (self.act(y, made) if activation else y), made

    def dense(self, x: relay.Expr, shape: Shape, units: int) -> tuple[relay.Expr, Shape]:
        """A dense layer with bias."""
        from tvm import relay

        self.spend(math.prod(shape) * units, MACS)
        y = relay.nn.dense(x, self.weight(units, shape[1], fan_in=shape[1]), units=units)
        return relay.nn.bias_add(y, self.weight(units, fan_in=16)), (shape[0], units)

    def attend(self, x: relay.Expr, shape: Shape) -> relay.Expr:
        """Attention of several heads over tokens, with its projection."""
        from tvm import relay

        n, d = shape
        heads = self.pick(*(k for k in (1, 2, 4, 8) if d % k == 0))
        self.spend(2 * n * n * d, MACS)
        self.spend(4 * heads * n * n, ELEMENTS)

        def split(v: relay.Expr) -> relay.Expr:
            return relay.transpose(relay.reshape(v, (n, heads, d // heads)), (1, 0, 2))

        q, k, v = (split(self.dense(x, shape, d)[0]) for _ in range(3))
        scores = relay.nn.softmax(relay.nn.batch_matmul(q, k) * relay.const(float(math.sqrt(heads / d))), -1)
        mixed = relay.nn.batch_matmul(scores, relay.transpose(v, (0, 2, 1)))
        joined = relay.reshape(relay.transpose(mixed, (1, 0, 2)), (n, d))
        return self.dense(joined, shape, d)[0]

    def normalise(self, x: relay.Expr, shape: Shape) -> relay.Expr:
        """Layer normalisation over features."""
        from tvm import relay

        self.spend(4 * math.prod(shape), ELEMENTS)
        gamma, beta = (self.weight(shape[1], fan_in=4) for _ in range(2))
        return relay.nn.layer_norm(x, gamma, beta)
