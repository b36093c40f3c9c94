"""ONNX graphs and their values, written side by side: each call adds a node and computes in float64 what it gives.

Weights and inputs are rounded to float32 first, so that graph and values differ by the arithmetic alone. Imports no
onnxrich.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray
Shape = Sequence[int | str]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of a graph, and its value for all rows of the data."""

    name: str
    value: Array

    @property
    def width(self) -> int:
        """The size of the last axis."""
        return int(self.value.shape[-1])


class Graph:
    """A graph in the making, with the data of its inputs and a source of weights."""

    def __init__(self, seed: int = 0, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.data: dict[str, Array] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, value: Array, shape: Shape) -> Tensor:
        """Declare an input with its data; floats become float32."""
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" else array
        self.data[name] = array
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return Tensor(name, _exact(array))

    def constant(self, value: Any, *, name: str = "", node: bool = False) -> Tensor:
        """Add a constant as an initializer, or as a Constant node; floats become float32, whole numbers int64."""
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = name or f"constant_{len(self._initializers) + len(self._nodes)}"
        tensor = numpy_helper.from_array(array, name)
        if node:
            self._nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self._initializers.append(tensor)
        return Tensor(name, _exact(array))

    def apply(self, operator: str, *inputs: Any, name: str = "", **attributes: Any) -> Tensor:
        """Add a node with one output; what is no tensor yet becomes a constant, and None an input that is left out."""
        return self.apply_all(operator, *inputs, names=(name,), **attributes)[0]

    def apply_all(self, operator: str, *inputs: Any, names: Sequence[str], **attributes: Any) -> list[Tensor]:
        """Add a node with several outputs; an empty name becomes one of the operator's."""
        given = [each if isinstance(each, Tensor) or each is None else self.constant(each) for each in inputs]
        names = [name or f"{operator.lower()}_{len(self._nodes)}_{k}" for k, name in enumerate(names)]
        read = ["" if each is None else each.name for each in given]
        node_attributes = {key: value for key, value in attributes.items() if value is not None}
        self._nodes.append(helper.make_node(operator, read, names, name=f"/{names[0]}", **node_attributes))
        results = COMPUTE[operator](*(None if each is None else each.value for each in given), **attributes)
        results = results if isinstance(results, tuple) else (results,)
        return [Tensor(name, np.asarray(result)) for name, result in zip(names, results, strict=False)]

    def reduce(self, operator: str, x: Tensor, axis: int, *, keepdims: int = 1, name: str = "") -> Tensor:
        """Add a reduction over one axis: its axes are an attribute before opset 18, except those of ReduceSum."""
        if operator == "ReduceSum" or self.opset >= 18:
            return self.apply(operator, x, np.array([axis]), keepdims=keepdims, name=name)
        return self.apply(operator, x, axes=[axis], keepdims=keepdims, name=name)

    def weight(self, *shape: int, scale: float = 1.0) -> Array:
        """Random weights of variance one over the first size, as layers begin with; float32 in float64."""
        drawn = self.rng.standard_normal(shape) * scale / np.sqrt(shape[0])
        return drawn.astype(np.float32).astype(float)

    def rows(self, *shape: int) -> Array:
        """Random data of mean 0.3."""
        return self.rng.standard_normal(shape) + 0.3

    def linear(self, x: Tensor, width: int) -> Tensor:
        """x W + b over the last axis, with weights of its own."""
        return self.apply("Add", self.apply("MatMul", x, self.weight(x.width, width)), self.weight(width))

    def hidden(self, x: Tensor, width: int, name: str = "") -> Tensor:
        """A linear layer and a ReLU."""
        return self.apply("Relu", self.linear(x, width), name=name)

    def output(self, tensor: Tensor, name: str, shape: Shape | None = None) -> None:
        """Declare an output; without a shape, one that gives the sizes of all axes but the first."""
        renamed = self.apply("Identity", tensor, name=name)
        dtype = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}[renamed.value.dtype.kind]
        sizes = ["N", *tensor.value.shape[1:]] if shape is None else list(shape)
        self._outputs.append(helper.make_tensor_value_info(name, dtype, sizes))

    def model(self) -> onnx.ModelProto:
        """The model, checked."""
        graph = helper.make_graph(self._nodes, "graph", self._inputs, self._outputs, self._initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)
        onnx.checker.check_model(model)
        return model


def _exact(array: Array) -> Array:
    """Floats in double, all else as it is."""
    return array.astype(float) if array.dtype.kind == "f" else array


# The operators, as the ONNX standard defines them


def _gemm(a: Array, b: Array, c: Array | None = None, *, alpha: float = 1, beta: float = 1, transA: int = 0,
          transB: int = 0) -> Array:  # fmt: skip
    product_ = (a.T if transA else a) @ (b.T if transB else b)
    # The attributes are float32 in the file.
    return float(np.float32(alpha)) * product_ + (0 if c is None else float(np.float32(beta)) * c)


def _conv(
    x: Array, w: Array, b: Array | None = None, *, pads: Sequence[int] | None = None, kernel_shape: Any = None
) -> Array:
    """A convolution with stride 1 in any number of dimensions, one offset of the kernel after the other."""
    spatial = w.shape[2:]
    pads = pads or [0] * (2 * len(spatial))
    margins = [(0, 0), (0, 0), *zip(pads[: len(spatial)], pads[len(spatial) :], strict=True)]
    padded = np.pad(x, margins)
    sizes = [padded.shape[2 + k] - size + 1 for k, size in enumerate(spatial)]
    total = 0.0
    for offset in product(*(range(size) for size in spatial)):
        window = padded[(..., *(slice(o, o + size) for o, size in zip(offset, sizes, strict=True)))]
        total = total + np.einsum("oc,nc...->no...", w[(..., *offset)], window)
    return total if b is None else total + b.reshape(-1, *[1] * len(spatial))


def _reshape(x: Array, shape: Array) -> Array:
    return x.reshape([x.shape[k] if size == 0 else int(size) for k, size in enumerate(shape)])


def _softmax(x: Array, *, axis: int = -1) -> Array:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def _reduction(function: Callable[..., Array]) -> Callable[..., Array]:
    """A reduction whose axes are an input or an attribute."""

    def reduce(x: Array, given: Array | None = None, *, axes: Sequence[int] | None = None, keepdims: int = 1) -> Array:
        chosen = tuple(int(axis) for axis in (axes if given is None else given))
        return function(x, axis=chosen, keepdims=bool(keepdims))

    return reduce


def _log_sum_exp(x: Array, axis: Any, keepdims: bool) -> Array:
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def _batch_normalization(x: Array, scale: Array, bias: Array, mean: Array, variance: Array, *, epsilon: float = 1e-5,
                         training_mode: int = 0) -> tuple[Array, ...]:  # fmt: skip
    others = tuple(k for k in range(x.ndim) if k != 1)
    if training_mode:
        mean, variance = x.mean(others), x.var(others)
    shape = (1, -1, *[1] * (x.ndim - 2))
    step = scale / np.sqrt(variance + float(np.float32(epsilon)))
    return ((x - mean.reshape(shape)) * step.reshape(shape) + bias.reshape(shape), mean, variance)


def _layer_normalization(x: Array, scale: Array, bias: Array, *, axis: int = -1) -> Array:
    centred = x - x.mean(axis, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis, keepdims=True) + 1e-5) * scale + bias


def _slice(x: Array, starts: Array, ends: Array, axes: Array) -> Array:
    index = [slice(None)] * x.ndim
    for start, end, axis in zip(starts, ends, axes, strict=True):
        index[axis] = slice(int(start), int(end))
    return x[tuple(index)]


def _scatter(x: Array, index: Array, updates: Array, *, axis: int, reduction: str) -> Array:
    """Sums over rows, the one form that models of graphs need."""
    assert (axis, reduction) == (0, "add")
    result = x.copy()
    np.add.at(result, (index, np.arange(x.shape[1])), updates)
    return result


def _cast(x: Array, *, to: int) -> Array:
    kind = helper.tensor_dtype_to_np_dtype(to).kind
    return x.astype({"f": float, "i": np.int64, "b": bool}[kind])


def _top_k(x: Array, k: Array, *, axis: int = -1) -> tuple[Array, Array]:
    order = np.argsort(-x, axis=axis, kind="stable").take(range(int(k[0])), axis=axis)
    return np.take_along_axis(x, order, axis), order


def _squeeze(x: Array, axes: Array) -> Array:
    return np.squeeze(x, tuple(int(axis) for axis in axes))


def _unsqueeze(x: Array, axes: Array) -> Array:
    return np.expand_dims(x, tuple(int(axis) for axis in axes))


def _split(x: Array, sizes: Array, *, axis: int = 0) -> tuple[Array, ...]:
    return tuple(np.split(x, np.cumsum(sizes)[:-1], axis=axis))


def _rnn(x: Array, w: Array, r: Array, b: Array, *, hidden_size: int) -> tuple[Array, Array]:
    """tanh recurrence over the first axis, one direction."""
    state, states = np.zeros((x.shape[1], hidden_size)), []
    for step in x:
        state = np.tanh(step @ w[0].T + state @ r[0].T + b[0, :hidden_size] + b[0, hidden_size:])
        states.append(state)
    return np.stack(states)[:, None], state[None]


def _fill(shape: Array, *, value: onnx.TensorProto | None = None) -> Array:
    filling = np.zeros(1) if value is None else numpy_helper.to_array(value)
    return np.full([int(size) for size in shape], filling.item())


COMPUTE: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Pow": np.power,
    "Max": lambda *xs: np.max(np.stack(np.broadcast_arrays(*xs)), axis=0),
    "Sum": lambda *xs: sum(xs),
    "Mean": lambda *xs: sum(xs) / len(xs),
    "Not": np.logical_not,
    "Greater": np.greater,
    "Equal": np.equal,
    "Where": np.where,
    "Abs": np.abs,
    "Neg": np.negative,
    "Exp": np.exp,
    "Log": np.log,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
    "Identity": lambda x: x,
    "Relu": lambda x: np.maximum(x, 0),
    "Elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "Tanh": np.tanh,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Softplus": lambda x: np.log1p(np.exp(x)),
    "Softmax": _softmax,
    "LogSoftmax": lambda x, axis=-1: np.log(_softmax(x, axis=axis)),
    "Clip": lambda x, low=None, high=None: np.clip(x, low, high),
    "Cast": _cast,
    "MatMul": np.matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "Einsum": lambda *xs, equation: np.einsum(equation, *xs),
    "Transpose": lambda x, perm=None: np.transpose(x, perm),
    "Reshape": _reshape,
    "Flatten": lambda x, axis=1: x.reshape(int(np.prod(x.shape[:axis])), -1),
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": lambda *xs, axis: np.concatenate(xs, axis=axis),
    "Split": _split,
    "Slice": _slice,
    "Gather": lambda x, index, axis=0: np.take(x, index.astype(np.int64), axis=axis),
    "GatherElements": lambda x, index, axis=0: np.take_along_axis(x, index, axis),
    "ScatterElements": _scatter,
    "GatherND": lambda x, index, batch_dims=0: index,  # its value is given by who calls it
    "Expand": lambda x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(s) for s in shape))),
    "Shape": lambda x, start=0, end=None: np.array(x.shape[start:end], np.int64),
    "ConstantOfShape": _fill,
    "ReduceSum": _reduction(np.sum),
    "ReduceMean": _reduction(np.mean),
    "ReduceMax": _reduction(np.max),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceL2": _reduction(lambda x, axis, keepdims: np.sqrt((x**2).sum(axis=axis, keepdims=keepdims))),
    "GlobalAveragePool": lambda x: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True),
    "CumSum": lambda x, axis: np.cumsum(x, axis=int(axis)),
    "ArgMax": lambda x, axis=0, keepdims=1: np.expand_dims(x.argmax(axis), axis) if keepdims else x.argmax(axis),
    "TopK": _top_k,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "RNN": _rnn,
    # The branch that is taken is known to who builds it, and so is its value.
    "If": lambda condition, then_branch, else_branch: condition,
    # What chance adds or drops has no value to compare with: the value stands for its mean.
    "Dropout": lambda x, ratio=None, training=None, seed=None: x,
    "RandomNormalLike": lambda x, mean=0.0, scale=1.0, seed=None: np.full(x.shape, float(mean)),
    "RandomUniformLike": lambda x, low=0.0, high=1.0, seed=None: np.full(x.shape, (low + high) / 2),
    "Bernoulli": lambda x, seed=None: x,
}


def axes_of(rank: int) -> str:
    """Letters for the axes of an Einsum equation."""
    return string.ascii_lowercase[:rank]
