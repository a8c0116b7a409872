"""A transformer encoder as an ONNX model, made of the operators that exporters write.

Products are ``MatMul`` of a three-dimensional value with a matrix, heads a ``Reshape`` and a ``Transpose``, scores a
``MatMul`` of four-dimensional values divided by a constant; GELU is written with ``Erf`` and layer normalisation with
means [1]_ (normalisation after each block, as in BERT [2]_). The input is a sequence of embedded tokens.

Weights are uniform with the variance that preserves a value's variance (one over the number of summed inputs), with two
exceptions. Queries are twice as large, so that scores have a standard deviation near two and softmax is neither flat
nor saturated. A block's contribution is a third as large as its input: if it were larger, 24 blocks with normalisation
would remove the first layer's input, and all inputs and tokens would have the same output.

References
----------
.. [1] Vaswani et al., "Attention Is All You Need", 2017.
.. [2] Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", 2018.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from ._graph import GraphWriter
from ._weights import uniform

RECIPE_VERSION = 2  # increase it with every change of a model: it is part of the cache's file names
EPSILON = 1e-5
QUERY_GAIN, BLOCK_GAIN = 2.0, 1 / 3


@dataclass(frozen=True)
class Encoder:
    """Shape of an encoder; BERT-base by default.

    Attributes
    ----------
    layers, hidden, heads, ffn : int
        Layers, features per token, attention heads, and features inside the feed-forward block.
    sequence, batch : int
        Tokens per input, and inputs per batch.
    masked : bool
        Whether there is a second input ``mask`` of shape (batch, 1, 1, sequence) that is added to the
        scores.
    """

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    ffn: int = 3072
    sequence: int = 128
    batch: int = 1
    masked: bool = False

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise ValueError(f"{self.hidden} features cannot be divided among {self.heads} heads; use a multiple")

    def model(self, seed: int = 0) -> onnx.ModelProto:
        """Build the model: input ``x`` and output ``y`` of shape (batch, sequence, hidden), float32.

        Parameters
        ----------
        seed : int
            Seed of the weights, which are the same on every machine.

        Returns
        -------
        onnx.ModelProto
        """
        return _Writer(self, seed).model()


class _Writer:
    def __init__(self, shape: Encoder, seed: int):
        self.shape, self.seed = shape, seed
        self.graph = GraphWriter()

    def model(self) -> onnx.ModelProto:
        s = self.shape
        x = "x"
        for layer in range(s.layers):
            name = f"layer{layer}"
            x = self._normalise(f"{name}.attention.norm", self._add(x, self._attention(f"{name}.attention", x)))
            x = self._normalise(f"{name}.ffn.norm", self._add(x, self._feed_forward(f"{name}.ffn", x)))
        self.graph.node("Identity", x, name="y")
        ends = (s.batch, s.sequence, s.hidden)
        inputs = {"x": ends} | ({"mask": (s.batch, 1, 1, s.sequence)} if s.masked else {})
        return self.graph.model(inputs, {"y": ends}, opset=13, ir_version=7)

    def _add(self, a: str, b: str) -> str:
        return self.graph.node("Add", a, b)

    def _scalar(self, name: str, value: float) -> str:
        return self.graph.constant(name, np.array(value, np.float32))

    def _draw(self, name: str, shape: tuple[int, ...], low: float, high: float) -> str:
        return self.graph.constant(name, uniform(f"encoder/{self.seed}/{name}", shape, low, high))

    def _dense(self, name: str, x: str, taken: int, made: int, gain: float = 1.0) -> str:
        bound, shift = gain * float(np.sqrt(3.0 / taken)), 0.2 * gain
        product = self.graph.node("MatMul", x, self._draw(f"{name}.weight", (taken, made), -bound, bound))
        return self._add(product, self._draw(f"{name}.bias", (made,), -shift, shift))

    def _reshape(self, x: str, name: str, *shape: int) -> str:
        return self.graph.node("Reshape", x, self.graph.constant(name, np.array(shape, np.int64)))

    def _attention(self, name: str, x: str) -> str:
        s = self.shape
        size = s.hidden // s.heads

        def heads(part: str, order: list[int]) -> str:
            y = self._dense(f"{name}.{part}", x, s.hidden, s.hidden, QUERY_GAIN if part == "query" else 1.0)
            y = self._reshape(y, "shape.heads", s.batch, s.sequence, s.heads, size)
            return self.graph.node("Transpose", y, perm=order)

        query, key = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1])
        value = heads("value", [0, 2, 1, 3])
        scores = self.graph.node("Div", self.graph.node("MatMul", query, key), self._scalar("scale", size**0.5))
        if s.masked:
            scores = self._add(scores, "mask")
        y = self.graph.node("MatMul", self.graph.node("Softmax", scores, axis=-1), value)
        y = self.graph.node("Transpose", y, perm=[0, 2, 1, 3])
        y = self._reshape(y, "shape.hidden", s.batch, s.sequence, s.hidden)
        return self._dense(f"{name}.output", y, s.hidden, s.hidden, BLOCK_GAIN)

    def _feed_forward(self, name: str, x: str) -> str:
        s, graph = self.shape, self.graph
        y = self._dense(f"{name}.up", x, s.hidden, s.ffn)
        bent = graph.node("Erf", graph.node("Div", y, self._scalar("sqrt2", 2.0**0.5)))
        y = graph.node("Mul", y, self._add(bent, self._scalar("one", 1.0)))
        y = graph.node("Mul", y, self._scalar("half", 0.5))
        return self._dense(f"{name}.down", y, s.ffn, s.hidden, BLOCK_GAIN)

    def _normalise(self, name: str, x: str) -> str:
        graph, features = self.graph, (self.shape.hidden,)
        centred = graph.node("Sub", x, graph.node("ReduceMean", x, axes=[-1]))
        variance = graph.node("ReduceMean", graph.node("Mul", centred, centred), axes=[-1])
        deviation = graph.node("Sqrt", self._add(variance, self._scalar("epsilon", EPSILON)))
        y = graph.node("Mul", graph.node("Div", centred, deviation), self._draw(f"{name}.scale", features, 0.8, 1.2))
        return self._add(y, self._draw(f"{name}.shift", features, -0.2, 0.2))
