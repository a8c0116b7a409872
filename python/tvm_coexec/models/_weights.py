"""Seeded random weights that keep a deep network's activations, and its answer, alive.

Plain He-scaled weights [1]_ are not suitable for tests: after 50 to 121 layers the output is saturated or nearly the
same for every input, so an error in one layer would be invisible. The weights are therefore He-uniform and, as in
layer-sequential unit-variance initialisation [2]_, each layer is fitted on a few seeded images, in topological order:

* batch norm gets mean and variance of its actual input, per channel, times a random factor, and random scale and shift,
  as after training;
* a convolution or dense layer without batch norm is scaled to unit variance, and its bias cancels the channel's mean;
* the random shift is about one standard deviation upwards, so that most units are active. Around zero, each ReLU layer
  would amplify small differences by 1.21 (the square root of pi / (pi - 1)), and 50 layers by 10,000;
  one standard deviation higher the factor is 1.06;
* the last weighted layer is scaled so that the input of softmax has a standard deviation of `LOGIT_STD`.

Fitted numbers are rounded to ten bits, and random ones come from ``numpy.random.RandomState.random_sample``, whose
stream is frozen, so the weights are bit-identical on every machine.

References
----------
.. [1] He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", 2015.
.. [2] Mishkin, Matas, "All You Need is a Good Init", 2016.
"""

from __future__ import annotations

import zlib

import numpy as np
import onnx
from onnx import numpy_helper

from . import _forward

RECIPE_VERSION = 4  # increase it with every change of the weights: it is part of the cache's file names
LOGIT_STD = 1.0
CALIBRATION_IMAGES = 4
SHIFT = (0.5, 1.5)
_VIEWS = ("Reshape", "Unsqueeze")
_CHUNK = 1 << 22


def uniform(key: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Draw float32 numbers in [low, high) that depend on `key` alone."""
    state = np.random.RandomState(zlib.crc32(key.encode()))
    out = np.empty(int(np.prod(shape)), np.float32)
    for start in range(0, out.size, _CHUNK):  # a float64 copy of 100 million weights would need 0.8 GB
        part = out[start : start + _CHUNK]
        part[:] = low + (high - low) * state.random_sample(part.size)
    return out.reshape(shape)


def round_to_ten_bits(values: np.ndarray | np.floating | float) -> np.ndarray:
    """Round to ten binary digits, so that a machine's last bits have no effect; exact in float32."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    return np.ldexp(np.round(np.ldexp(mantissa, 10)), exponent - 10)


class Randomizer:
    """Replaces the constant weights of one graph while running it node by node.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph; it is changed in place by `run`.
    key : str
        Seed of the random numbers, together with each weight's name.
    images : list of numpy.ndarray
        Calibration images, each of the shape of the graph's one data input.
    """

    def __init__(self, model: onnx.ModelProto, key: str, images: list[np.ndarray]):
        self.graph = model.graph
        self.key = key
        self.shapes: dict[str, tuple[int, ...]] = {}  # of weights, by each of their names
        self.base: dict[str, str] = {}  # the name of a reshaped weight -> the weight
        self.weights: dict[str, np.ndarray] = {}
        self.shape_inputs: dict[str, np.ndarray] = {}
        self.values: dict[str, list[np.ndarray]] = {data_input(model).name: [x.astype(np.float64) for x in images]}
        self._collect()

    def run(self) -> None:
        """Set all weights, write them back as initialisers, and remove the nodes that defined them."""
        nodes = [n for n in self.graph.node if n.op_type != "ConstantOfShape" and n.output[0] not in self.shapes]
        normalized = {node.input[0] for node in nodes if node.op_type == "BatchNormalization"}
        last_reader = {name: index for index, node in enumerate(nodes) for name in node.input}
        last_weighted: onnx.NodeProto | None = None
        logits: list[np.ndarray] | None = None
        for index, node in enumerate(nodes):
            if node.op_type in ("Conv", "Gemm"):
                self._weighted(node, normalized=node.output[0] in normalized)
                last_weighted = node
            elif node.op_type == "BatchNormalization":
                self._batch_norm(node)
            elif node.op_type in ("Mul", "Add") and node.input[1] in self.shapes:
                self._draw(node.input[1], *((0.8, 1.2) if node.op_type == "Mul" else SHIFT))
            outputs = self._evaluate(node)
            if node.op_type != "Softmax":
                logits = outputs
            self.values[node.output[0]] = outputs
            for name in node.input:
                if last_reader[name] == index:
                    self.values.pop(name, None)
        assert last_weighted is not None and logits is not None, "the graph has no weighted layer"
        spread = np.std(np.stack(logits))
        for name in last_weighted.input[1:]:
            self._set(name, self._get(name) * np.float32(round_to_ten_bits(LOGIT_STD / spread)))
        self._write_back()

    def _collect(self) -> None:
        made = {n.output[0]: n for n in self.graph.node if n.op_type == "ConstantOfShape"}
        initial = {i.name: i for i in self.graph.initializer}
        for name, tensor in initial.items():
            if tensor.data_type == onnx.TensorProto.FLOAT:
                self.shapes[name] = tuple(tensor.dims)
            else:
                self.shape_inputs[name] = numpy_helper.to_array(tensor)
        for name, node in made.items():
            self.shapes[name] = tuple(int(size) for size in numpy_helper.to_array(initial[node.input[0]]))
        for node in self.graph.node:
            if node.op_type in _VIEWS and node.input[0] in self.shapes:
                dummy = np.broadcast_to(np.float32(0), self.shapes[node.input[0]])
                shape = [self.shape_inputs[name] for name in node.input[1:]]
                self.shapes[node.output[0]] = _forward.evaluate(node, [dummy, *shape]).shape
                self.base[node.output[0]] = self.base.get(node.input[0], node.input[0])

    def _get(self, name: str) -> np.ndarray:
        return self.weights[self.base.get(name, name)].reshape(self.shapes[name])

    def _set(self, name: str, value: np.ndarray) -> None:
        base = self.base.get(name, name)
        self.weights[base] = value.astype(np.float32).reshape(self.shapes[base])

    def _draw(self, name: str, low: float, high: float) -> np.ndarray:
        self._set(name, uniform(f"{self.key}/{self.base.get(name, name)}", self.shapes[name], low, high))
        return self._get(name)

    def _evaluate(self, node: onnx.NodeProto) -> list[np.ndarray]:
        constants = {n: self._get(n).astype(np.float64) for n in node.input if n in self.shapes} | self.shape_inputs
        return [
            _forward.evaluate(node, [constants[n] if n in constants else self.values[n][i] for n in node.input])
            for i in range(len(next(iter(self.values.values()))))
        ]

    def _weighted(self, node: onnx.NodeProto, normalized: bool) -> None:
        weight = node.input[1]
        shape = self.shapes[weight]
        transposed = node.op_type == "Gemm" and not _forward.attributes(node).get("transB")
        fan_in = shape[0] if transposed else int(np.prod(shape[1:]))
        bound = float(np.sqrt(6.0 / fan_in))
        self._draw(weight, -bound, bound)
        bias = node.input[2] if len(node.input) > 2 else None
        if bias is not None:
            self._set(bias, np.zeros(self.shapes[bias]))
        if not normalized:
            mean, variance = channel_moments(self._evaluate(node))
            factor = round_to_ten_bits(1.0 / np.sqrt(variance.mean()))
            self._set(weight, self._get(weight) * np.float32(factor))
            if bias is not None:
                self._set(bias, self._draw(bias, *SHIFT) - round_to_ten_bits(mean * factor))
        elif bias is not None:
            self._draw(bias, *SHIFT)

    def _batch_norm(self, node: onnx.NodeProto) -> None:
        scale, bias, mean, var = node.input[1:5]
        self._draw(scale, 0.8, 1.2)
        self._draw(bias, *SHIFT)
        measured_mean, measured_var = channel_moments(self.values[node.input[0]])
        floor = 1e-3 * measured_var.mean()  # for channels without activity on these images
        self._set(mean, round_to_ten_bits(measured_mean))
        self._set(var, round_to_ten_bits(np.maximum(measured_var, floor)) * self._draw(var, 0.8, 1.2))

    def _write_back(self) -> None:
        graph = self.graph
        nodes = [node for node in graph.node if node.op_type != "ConstantOfShape"]
        used = {name for node in nodes for name in node.input}
        initializers = [
            tensor for tensor in graph.initializer if tensor.name in used and tensor.name not in self.weights
        ]
        inputs = [entry for entry in graph.input if entry.name in used and entry.name not in self.shape_inputs
                  and entry.name not in self.weights]  # fmt: skip
        del graph.node[:], graph.initializer[:], graph.input[:]
        graph.node.extend(nodes)
        graph.input.extend(inputs)
        graph.initializer.extend(initializers)
        for name, value in self.weights.items():
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))


def data_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """Return the one graph input that a node reads and that is not a weight."""
    weights = {tensor.name for tensor in model.graph.initializer}
    read = {name for node in model.graph.node for name in node.input}
    (found,) = (entry for entry in model.graph.input if entry.name not in weights and entry.name in read)
    return found


def channel_moments(values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance per channel (axis 1) over all images and positions."""
    flat = np.concatenate([v.reshape(v.shape[1], -1) if v.ndim == 4 else v.T for v in values], axis=1)
    return flat.mean(axis=1), flat.var(axis=1)
