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

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        """A linear layer over the last axis of a tensor of any rank."""
        return self.add("Add", [self.add("MatMul", [x, self.weight(inputs, outputs)]), self.weight(outputs)])

    def norm(self, x: str, width: int) -> str:
        """A layer normalisation."""
        return self.add("LayerNormalization", [x, self.weight(width)])

    def integers(self, *values: int) -> str:
        """A constant shape."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values), name))
        return name

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
    """ResNet-18 (He et al. 2016, table 1); for small images with a 3×3 stem and no first pooling."""
    build = Builder((3, side, side))
    x, inputs = _stem(build, small=side < 64), 64
    for stage, outputs in enumerate((64, 128, 256, 512)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            inner = build.add("Relu", [build.conv(x, inputs, outputs, stride=stride)])
            x = _joined(build, x, build.conv(inner, outputs, outputs), (inputs, outputs), stride=stride)
            inputs = outputs
    return _classified(build, x, inputs, classes)


def resnet50(side: int = 224, classes: int = 1000) -> ModelProto:
    """ResNet-50 (He et al. 2016, table 1), the stride in the 3×3 convolution."""
    build = Builder((3, side, side))
    x, inputs = _stem(build, small=False), 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = build.add("Relu", [build.conv(x, inputs, width, size=1)])
            inner = build.add("Relu", [build.conv(inner, width, width, stride=stride)])
            x = _joined(build, x, build.conv(inner, width, 4 * width, size=1), (inputs, 4 * width), stride=stride)
            inputs = 4 * width
    return _classified(build, x, inputs, classes)


def vit(side: int = 224, classes: int = 1000, *, width: int = 768, layers: int = 12, heads: int = 12) -> ModelProto:
    """ViT-B/16 (Dosovitskiy et al. 2021, table 1), its tokens averaged in place of a class token."""
    build = Builder((3, side, side))
    patches = build.add("Conv", ["x", build.weight(width, 3, 16, 16)], kernel_shape=[16, 16], strides=[16, 16])
    x = build.add("Reshape", [patches, build.integers(0, width, -1)])
    x = build.add("Transpose", [x], perm=[0, 2, 1])
    for _ in range(layers):
        x = build.add("Add", [x, _attention(build, build.norm(x, width), width, heads)])
        inner = build.linear(build.norm(x, width), width, 4 * width)
        x = build.add("Add", [x, build.linear(build.add("Tanh", [inner]), 4 * width, width)])
    x = build.add("ReduceMean", [build.norm(x, width)], axes=[1], keepdims=0)
    build.gemm(x, width, classes, name="logits")
    return build.model(classes)


def half(model: ModelProto) -> ModelProto:
    """The model with weights and arithmetic in float16; its input and output stay in float."""
    made = ModelProto.FromString(model.SerializeToString())
    graph = made.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for node in graph.node:
        for names, old, new in ((node.input, "x", "x.half"), (node.output, "logits", "logits.half")):
            for i, name in enumerate(names):
                names[i] = new if name == old else name
    graph.node.insert(0, helper.make_node("Cast", ["x"], ["x.half"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["logits.half"], ["logits"], to=TensorProto.FLOAT))
    return made


def _stem(build: Builder, *, small: bool) -> str:
    if small:
        return build.add("Relu", [build.conv("x", 3, 64)])
    x = build.add("Relu", [build.conv("x", 3, 64, size=7, stride=2)])
    return build.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])


def _joined(build: Builder, x: str, inner: str, widths: tuple[int, int], *, stride: int) -> str:
    """The end of a residual block: what goes past it is projected where its shape differs."""
    past = x if stride == 1 and widths[0] == widths[1] else build.conv(x, *widths, size=1, stride=stride)
    return build.add("Relu", [build.add("Add", [inner, past])])


def _classified(build: Builder, x: str, width: int, classes: int) -> ModelProto:
    x = build.add("Flatten", [build.add("GlobalAveragePool", [x])])
    build.gemm(x, width, classes, name="logits")
    return build.model(classes)


def _attention(build: Builder, x: str, width: int, heads: int) -> str:
    apart, together = build.integers(0, 0, heads, -1), build.integers(0, 0, -1)
    q, k, v = (
        build.add("Transpose", [build.add("Reshape", [build.linear(x, width, width), apart])], perm=perm)
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    scores = build.add("Softmax", [build.add("MatMul", [q, k])], axis=-1)
    mixed = build.add("Transpose", [build.add("MatMul", [scores, v])], perm=[0, 2, 1, 3])
    return build.linear(build.add("Reshape", [mixed, together]), width, width)
