"""Models for benchmarks, built from random weights: what they compute doesn't matter, what it costs does."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper


class Builder:
    """Collects nodes and random weights of a graph with one input `x` and one output `logits`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.nodes: list[NodeProto] = []
        self.weights: list[TensorProto] = []
        self.generator = np.random.default_rng(0)

    def add(self, operator: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        """A node; gives the name of its output."""
        made = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [made], **attributes))
        return made

    def weight(self, *shape: int) -> str:
        """A random weight with the scale of He's initialisation; gives its name."""
        scale = np.sqrt(2 / max(1, np.prod(shape[1:])))
        name = f"w{len(self.weights)}"
        values = (scale * self.generator.standard_normal(shape)).astype(np.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def gemm(self, x: str, inputs: int, outputs: int, name: str = "") -> str:
        """A linear layer."""
        return self.add("Gemm", [x, self.weight(outputs, inputs), self.weight(outputs)], name, transB=1)

    def conv(self, x: str, inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> str:
        """A convolution with its bias, as it is left when batch normalisation is folded."""
        w = [self.weight(outputs, inputs, size, size), self.weight(outputs)]
        pads = [size // 2] * 4
        return self.add("Conv", [x, *w], kernel_shape=[size, size], strides=[stride, stride], pads=pads)

    def model(self, classes: int) -> ModelProto:
        """The finished model, opset 17, batch dimension symbolic."""
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *self.shape])
        y = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])
        graph = helper.make_graph(self.nodes, "benchmark", [x], [y], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def mlp(widths: tuple[int, ...] = (784, 1024, 1024, 1024, 10)) -> ModelProto:
    """A multilayer perceptron with ReLU between the layers."""
    build = Builder(widths[:1])
    x = "x"
    for inputs, outputs in pairwise(widths[:-1]):
        x = build.add("Relu", [build.gemm(x, inputs, outputs)])
    build.gemm(x, *widths[-2:], name="logits")
    return build.model(widths[-1])


def resnet18(side: int = 32, classes: int = 10) -> ModelProto:
    """ResNet-18 (He et al. 2016) in the form used for small images: a 3×3 stem and no first pooling."""
    build = Builder((3, side, side))
    x, inputs = build.add("Relu", [build.conv("x", 3, 64)]), 64
    for stage, outputs in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            inner = build.add("Relu", [build.conv(x, inputs, outputs, stride=stride)])
            inner = build.conv(inner, outputs, outputs)
            if stride != 1 or inputs != outputs:
                x = build.conv(x, inputs, outputs, size=1, stride=stride)
            x, inputs = build.add("Relu", [build.add("Add", [inner, x])]), outputs
    x = build.add("Flatten", [build.add("GlobalAveragePool", [x])])
    build.gemm(x, 512, classes, name="logits")
    return build.model(classes)
