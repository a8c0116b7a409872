"""MobileNet v2 [1]_, width 1.0, 224 x 224, as an ONNX graph; `_weights` fills in its weights.

References
----------
.. [1] Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018.
"""

from __future__ import annotations

import numpy as np
import onnx

from ._graph import GraphWriter

RECIPE_VERSION = 1  # increase it with every change of the graph: it is part of the cache's file names

# Table 2 of the paper: expansion, channels, blocks, stride of the first block.
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
CLASSES = 1000


def graph() -> onnx.ModelProto:
    """Build the graph with weights of zero: input ``x`` (1, 3, 224, 224), output ``y`` (1, 1000), float32."""
    writer = _Writer()
    x = writer.conv("stem", "x", 3, 32, 3, stride=2)
    channels, count = 32, 0
    for expansion, out, blocks, stride in BLOCKS:
        for block in range(blocks):
            x = writer.block(f"block{count}", x, channels, out, expansion, stride if block == 0 else 1)
            channels, count = out, count + 1
    x = writer.node("GlobalAveragePool", writer.conv("head", x, channels, 1280, 1))
    x = writer.node("Reshape", x, writer.constant("flat", np.array([1, -1], np.int64)))
    weight, bias = writer.zeros("classifier.weight", CLASSES, 1280), writer.zeros("classifier.bias", CLASSES)
    writer.node("Softmax", writer.node("Gemm", x, weight, bias, transB=1), name="y", axis=1)
    return writer.model({"x": (1, 3, 224, 224)}, {"y": (1, CLASSES)}, opset=9, ir_version=4)


class _Writer(GraphWriter):
    def zeros(self, name: str, *shape: int) -> str:
        return self.constant(name, np.zeros(shape, np.float32))

    def conv(
        self, name: str, x: str, taken: int, made: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True
    ) -> str:
        """Add a convolution, batch norm and, if `relu`, ReLU6."""
        weight = self.zeros(f"{name}.weight", made, taken // groups, kernel, kernel)
        y = self.node(
            "Conv", x, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4, group=groups
        )
        parts = [self.zeros(f"{name}.norm.{part}", made) for part in ("scale", "bias", "mean", "var")]
        y = self.node("BatchNormalization", y, *parts, epsilon=1e-5)
        return self.node("Clip", y, min=0.0, max=6.0) if relu else y

    def block(self, name: str, x: str, taken: int, made: int, expansion: int, stride: int) -> str:
        """Add an inverted residual block and return its output."""
        wide = taken * expansion
        y = self.conv(f"{name}.expand", x, taken, wide, 1) if expansion > 1 else x
        y = self.conv(f"{name}.depthwise", y, wide, wide, 3, stride, wide)
        y = self.conv(f"{name}.project", y, wide, made, 1, relu=False)
        return self.node("Add", x, y) if stride == 1 and taken == made else y
