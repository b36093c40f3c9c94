"""Parameters of a model: the constants that act as weights. Their number, and their norm ‖θ‖².

An ONNX file does not say which constants were trained. So a constant counts by what is done with it, and not where its
values show that no gradient made them: masks, ranges, tables of positions.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

from onnxrich.errors import ModelError
from onnxrich.model.constants import dequantize
from onnxrich.model.file import Model, read_external
from onnxrich.model.graph import Graph, attribute
from onnxrich.model.traversal import is_external, iter_nodes
from onnxrich.model.validity import refuse_malformed

AnyArray = NDArray[Any]

_FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
# Integers of 32 bits and more are shapes and indices. The values of others are unknown without their scale.
_KNOWN = _FLOATS | {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.STRING}
# Operators on quantised weights: the input of the weight, which its scale and zero point follow.
_QUANTIZED = {"DequantizeLinear": 0, "QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}
# Inputs that are weights, by operator. The running statistics of BatchNormalization and first states are none.
_WEIGHTS = {
    "Gemm": (0, 1, 2), "FusedGemm": (0, 1, 2), "MatMul": (0, 1), "FusedMatMul": (0, 1), "Conv": (1, 2),
    "FusedConv": (1, 2), "ConvTranspose": (1, 2), "DeformConv": (1, 3), "Einsum": tuple(range(8)),
    "LSTM": (1, 2, 3, 7), "GRU": (1, 2, 3), "RNN": (1, 2, 3), "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2), "InstanceNormalization": (1, 2), "GroupNormalization": (1, 2), "GroupNorm": (1, 2),
    "RMSNormalization": (1,), "SimplifiedLayerNormalization": (1,), "SkipLayerNormalization": (2, 3, 4),
    "SkipSimplifiedLayerNormalization": (2, 3), "EmbedLayerNormalization": (2, 3, 4, 5, 6), "PRelu": (1,),
    "Attention": (1, 2), "MultiHeadAttention": (3,), "BiasGelu": (1,), "FastGelu": (1,), "BiasAdd": (1,),
    "BiasSplitGelu": (1,),
}  # fmt: skip
# Operators that add a constant to a computed tensor, multiply it, or put it beside one, as a bias, a scale or a token.
_FACTORS = frozenset({"Add", "Sub", "Mul", "Div", "Concat", "Where", "Expand", "Sum"})
# Operators after which a tensor still holds the model's input, in another unit or layout.
_LAYOUT = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Resize", "Slice", "Squeeze", "Transpose", "Unsqueeze"})
# Operators that compare, or tell a shape.
_DECISIONS = frozenset(
    {"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Shape", "Size", "Xor"}
)
# Operators between a table and the operators that read it, at most.
_MAX_MOVES = 8
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
# Elements squared at a time.
_CHUNK = 1 << 20
# Entries along an axis below which values show no pattern.
_LEAST_PATTERN = 8
# Relative residual of a pattern: tables of float16, and of angles that float32 rounded.
_PATTERN = 2e-3


@refuse_malformed("A parameter")
def squared_norm(model: Model, *, external: bool) -> float | None:
    """Compute Σ θ² over all parameters; None when a value can't be read, NaN when one is NaN.

    Quantised weights count as dequantised. A weight that several operators share counts once. Entries that suppress
    (−∞, the least float, −1e4, −1e9 …) are no parameters.

    Args:
        model: the model.
        external: whether to read all weights outside the file; if not, a model with such weights gives None.
    """
    if not external and any(map(is_external, model.proto.graph.initializer)):
        return None
    try:
        return sum(parameter.sum_of_squares() for parameter in _find_parameters(model))
    except ModelError:  # a damaged constant, one much larger than the file, or a scale that is not constant
        return None


@refuse_malformed("A parameter")
def count_parameters(model: Model) -> int:
    """Count the elements of all parameters. Patterns in weights outside the file are not looked for."""
    return sum(parameter.size for parameter in _find_parameters(model))


@refuse_malformed("A parameter")
def weights_sha256(model: Model) -> str:
    """Compute the SHA-256 of the weights alone, in hexadecimal: the same for another export of the same weights.

    It is that of the sorted, distinct digests of all constants that act as weights, as statistics of batch
    normalisation, or as quantised weights with their scales. Names, order, graph and producer do not matter. The digest
    of a constant is the SHA-256 of the text `TYPE SHAPE\\n`, such as `1 (8, 3)`, and of its values in row order,
    little-endian.

    Raises:
        ModelError: when a weight can't be read.
    """
    graph = Graph(model)
    uses = _Uses(graph, list(iter_nodes(model.proto)))
    names = uses.weights | uses.tables | uses.factors | uses.statistics | uses.scales
    digests = {_digest(graph, tensor) for name, tensor in uses.tensors.items() if name in names}
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _digest(graph: Graph, tensor: _Tensor) -> bytes:
    digest = hashlib.sha256(f"{tensor.data_type} {tensor.dims}\n".encode())
    if tensor.proto is not None and tensor.is_external:
        for part in read_external(graph.model, tensor.proto):
            digest.update(part)
    elif tensor.proto is not None and tensor.proto.HasField("raw_data"):
        digest.update(tensor.proto.raw_data)
    else:
        values = tensor.values(graph)
        digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())
    return digest.digest()


@dataclass(frozen=True)
class _Tensor:
    """A constant tensor: its name, type and shape, and the tensor itself unless it is sparse."""

    name: str
    data_type: int
    dims: tuple[int, ...]
    proto: TensorProto | None = None

    @classmethod
    def of(cls, name: str, tensor: TensorProto) -> _Tensor:
        return cls(name, tensor.data_type, tuple(tensor.dims), tensor)

    @property
    def is_external(self) -> bool:
        return self.proto is not None and is_external(self.proto)

    @property
    def size(self) -> int:
        return math.prod(self.dims)

    def values(self, graph: Graph) -> AnyArray:
        """The values.

        Raises:
            ModelError: when they can't be read.
        """
        # The value of a Constant node needs no evaluator, which takes 0.1 s to import.
        if self.proto is not None and graph.producer(self.name) is not None and not self.is_external:
            return _to_array(self.name, self.proto)
        return graph.constant(self.name)


@dataclass(frozen=True, eq=False)
class _Parameter:
    """A constant that acts as a weight.

    Attributes:
        graph: its graph.
        name: its name.
        tensor: the tensor.
        quantized: operator that dequantises it, and the input that it is; None for floats.
        is_known: whether its values stand for numbers that are known, as those of quantised weights without scale do
            not.
    """

    graph: Graph
    name: str
    tensor: _Tensor
    quantized: tuple[NodeProto, int] | None = None
    is_known: bool = True

    @property
    def size(self) -> int:
        """Number of its elements."""
        return self.tensor.size

    def sum_of_squares(self) -> float:
        """Σ θ² of its elements, without entries that suppress.

        Raises:
            ModelError: when a value is not known.
        """
        if not self.is_known:
            raise _unknown_scale(self.name)
        values = _dequantized(self.graph, *self.quantized) if self.quantized else self.tensor.values(self.graph)
        flat = values.reshape(-1)
        total = 0.0
        for start in range(0, flat.size, _CHUNK):
            chunk = flat[start : start + _CHUNK].astype(np.float64)
            kept = chunk[~_suppresses(chunk)]
            total += float(kept @ kept)
        return total


def _find_parameters(model: Model) -> Iterator[_Parameter]:
    """Yield the parameters of a model, each once."""
    graph = Graph(model)
    uses = _Uses(graph, list(iter_nodes(model.proto)))
    yield from uses.quantized.values()
    for name, tensor in uses.tensors.items():
        if name in uses.scales or name not in uses.names:
            continue
        if tensor.data_type not in _KNOWN:
            yield _Parameter(graph, name, tensor, is_known=False)
        if name in uses.defaults and _is_default(graph, tensor):
            continue
        is_weight = name in uses.weights or name in uses.tables
        if not (is_weight or name in uses.factors) or tensor.data_type not in _FLOATS:
            continue
        # A matrix that multiplies is a weight whatever its values: it need not be read to be counted.
        is_plain = name in uses.weights and sum(length > 1 for length in tensor.dims) > 1
        if is_plain or tensor.is_external or not _is_untrained(graph, tensor, is_factor=not is_weight):
            yield _Parameter(graph, name, tensor)


class _Uses:
    """What is done with the constant tensors of a graph.

    Attributes:
        tensors: initializers, and the values of Constant nodes, by name.
        names: names of all tensors that some node reads.
        weights: names of those that are weights of an operator.
        tables: names of those that an operator looks up in.
        factors: names of those that are added to computed tensors, multiply them, or stand beside them.
        quantized: quantised weights by name.
        scales: names of quantised weights, scales and zero points.
        statistics: names of running means and variances.
        defaults: names of those that an operator needs even where the layer has none.
    """

    def __init__(self, graph: Graph, nodes: list[NodeProto]) -> None:
        self._graph, self._nodes = graph, nodes
        main = graph.model.proto.graph
        self._users: dict[str, list[NodeProto]] = {}
        for node in nodes:
            for name in set(node.input):
                self._users.setdefault(name, []).append(node)
        self._is_decision: dict[str, bool] = {}
        self.names = self._users.keys()
        self.tensors = {tensor.name: _Tensor.of(tensor.name, tensor) for tensor in main.initializer}
        for sparse in main.sparse_initializer:
            self.tensors[sparse.values.name] = _Tensor(sparse.values.name, sparse.values.data_type, tuple(sparse.dims))
        for node in nodes:
            value = attribute(node, "value") if node.op_type == "Constant" else None
            if isinstance(value, TensorProto):
                self.tensors[node.output[0]] = _Tensor.of(node.output[0], value)
        self.quantized: dict[str, _Parameter] = {}
        self.scales: set[str] = set()
        for node in nodes:
            self._add_quantized(node)
        self.weights = self._sources(self._find(_weight_inputs))
        self.defaults = {name for node in nodes if node.op_type == "InstanceNormalization" for name in node.input[1:]}
        normalisations = [node for node in nodes if node.op_type == "BatchNormalization"]
        self.statistics = {name for node in normalisations for name in node.input[3:5]}
        self.tables = self._sources(self._find(self._table_inputs))
        self.factors = self._sources(self._find(self._factor_inputs)) - self.weights - self.tables

    def _add_quantized(self, node: NodeProto) -> None:
        index = _QUANTIZED.get(node.op_type)
        if index is None or len(node.input) <= index:
            return
        name = node.input[index]
        if name in self.tensors and name not in self.quantized:
            self.quantized[name] = _Parameter(self._graph, name, self.tensors[name], (node, index))
        self.scales.update(node.input[index : index + 3])

    def _find(self, inputs_of: Any) -> set[tuple[str, bool]]:
        """Constant inputs of nodes, and whether one element alone may be a parameter there."""
        return {(name, single) for node in self._nodes for name, single in inputs_of(node)
                if name and self._graph.is_constant(name)}  # fmt: skip

    def _sources(self, names: Iterable[tuple[str, bool]]) -> set[str]:
        """Tensors that constants are computed from, without numbers such as epsilons among them."""
        pairs = list(names)
        sources = self._graph.ancestors(*(name for name, _ in pairs)) & self.tensors.keys()
        single = {name for name, single in pairs if single}
        return {name for name in sources if name in single or self.tensors[name].size > 1}

    def _table_inputs(self, node: NodeProto) -> Iterator[tuple[str, bool]]:
        """Tables that are looked up in, unless what is looked up decides alone, as the rows of a mask do."""
        is_lookup = node.op_type == "Gather" and attribute(node, "axis", 0) == 0 and node.input
        if is_lookup and not all(self._decides(name) for name in node.output):
            yield node.input[0], False

    def _decides(self, name: str, depth: int = 0) -> bool:
        """Whether a tensor is only compared with others, or a condition: no gradient passes there."""
        if name not in self._is_decision:
            users = self._users.get(name, ())
            self._is_decision[name] = False  # where operators form a cycle
            self._is_decision[name] = (
                bool(users)
                and depth < _MAX_MOVES
                and all(
                    user.op_type in _DECISIONS
                    or (user.op_type == "Where" and name not in user.input[1:])
                    or (user.op_type in _LAYOUT and all(self._decides(output, depth + 1) for output in user.output))
                    for user in users
                )
            )
        return self._is_decision[name]

    def _factor_inputs(self, node: NodeProto) -> Iterator[tuple[str, bool]]:
        """Constants beside a computed tensor that is not the model's input in another unit or layout."""
        if node.op_type not in _FACTORS:
            return
        computed = [name for name in node.input if name and not self._graph.is_constant(name)]
        if any(name not in self._raw for name in computed):
            single = node.op_type == "Add" and any(self._has_one_channel(name) for name in computed)
            yield from ((name, single) for name in node.input)

    def _has_one_channel(self, name: str) -> bool:
        """Whether a linear operator with a constant weight computes a tensor of one channel, whose bias is a number."""
        node = self._graph.producer(name)
        if node is None or node.op_type not in ("MatMul", "Conv", "Gemm") or len(node.input) < 2:
            return False
        weight = self.tensors.get(node.input[1])
        return weight is not None and 1 in (weight.dims[:1] if node.op_type == "Conv" else weight.dims[-1:])

    @cached_property
    def _raw(self) -> set[str]:
        """Tensors that hold the model's inputs in another unit or layout, as normalised images do."""
        raw = set(self._graph.inputs)
        for node in self._graph.model.proto.graph.node:
            computed = self._graph.computed_inputs(node)
            if node.op_type in _LAYOUT | _ARITHMETIC and computed and all(name in raw for name in computed):
                raw.update(node.output)
        return raw


def _to_array(name: str, tensor: TensorProto) -> AnyArray:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"The values of constant {name!r} don't fit its shape", "a whole tensor", "Export the model again."
        ) from error


def _weight_inputs(node: NodeProto) -> Iterator[tuple[str, bool]]:
    yield from ((node.input[index], True) for index in _WEIGHTS.get(node.op_type, ()) if index < len(node.input))


def _dequantized(graph: Graph, node: NodeProto, index: int) -> AnyArray:
    if not all(graph.is_constant(name) for name in node.input[index : index + 3] if name):
        raise _unknown_scale(node.input[index])
    if node.op_type == "DequantizeLinear":
        return graph.constant(node.output[0])
    values, scale, zero = (graph.constant(name) for name in node.input[index : index + 3])
    # One scale for each output channel, on the first axis of convolutions and transposed weights, else on the last.
    channels_first = node.op_type == "QLinearConv" or attribute(node, "transB", 0)
    return dequantize(values, scale, zero, 0 if channels_first else values.ndim - 1)


def _unknown_scale(name: str) -> ModelError:
    return ModelError(
        f"The scale of the quantised weight {name!r} is not constant", "a constant scale", "Leave out parameter_norm."
    )


def _suppresses(values: AnyArray) -> NDArray[np.bool_]:
    """Which values suppress what they are added to or subtracted from: infinities, ends of a format, 1e4, 1e9 …"""
    size = np.abs(values)
    found: NDArray[np.bool_] = np.isinf(values)
    for largest in (65504.0, 3.3895313892515355e38, float(np.finfo(np.float32).max), float(np.finfo(np.float64).max)):
        found |= size == largest
    candidates = np.flatnonzero(~found & (size >= 1e4))
    powers = np.round(np.log10(size[candidates]))
    found[candidates] = np.abs(size[candidates] / 10.0**powers - 1) < 1e-6
    return found


def _is_default(graph: Graph, tensor: _Tensor) -> bool:
    """Whether a constant is the scale or bias that changes nothing: exporters write group normalisation with such."""
    try:
        values = tensor.values(graph)
    except ModelError:
        return False
    return bool((values == 1).all() or (values == 0).all())


def _is_untrained(graph: Graph, tensor: _Tensor, *, is_factor: bool) -> bool:
    """Whether the values of a constant show that no gradient made them. Those that can't be computed show nothing.

    Args:
        graph: its graph.
        tensor: the constant.
        is_factor: whether it is added to computed tensors or multiplies them, as masks and tables do.
    """
    try:
        values = tensor.values(graph)
    except ModelError:
        return False
    if values.size < 2:
        return False
    lengths = [length for length in values.shape if length > 1]
    if len(lengths) == 1 and _is_progression(values.reshape(-1).astype(np.float64)):
        return True
    if is_factor and _is_mask(values):
        return True
    # A table of positions has a pattern along them: the first axis of a table to look up, any axis of one to add.
    return values.ndim > 1 and len(lengths) > 1 and _is_table_of_waves(values.astype(np.float64, copy=False))


def _is_mask(values: AnyArray) -> bool:
    """Whether values suppress some entries and leave the others alone, or are zeros and ones."""
    flat = values.reshape(-1).astype(np.float64)
    suppressed = _suppresses(flat) | np.isnan(flat)
    kept = np.unique(flat[~suppressed][: 1 << 16])
    return (bool(suppressed.any()) and len(kept) <= 1) or np.array_equal(kept, [0, 1])


def _is_progression(values: NDArray[np.float64]) -> bool:
    """Whether numbers are a range, or frequencies or slopes of which each is the same multiple of the one before."""
    if len(values) < _LEAST_PATTERN or not np.isfinite(values).all() or values[0] == values[-1]:
        return False
    if _is_range(values):
        return True
    return bool((values > 0).all()) and _is_range(np.log(values))


def _is_range(values: NDArray[np.float64]) -> bool:
    steps = np.diff(values)
    return bool(np.abs(steps - steps.mean()).max() <= _PATTERN * abs(steps.mean()))


def _is_table_of_waves(values: NDArray[np.float64]) -> bool:
    """Whether each column of a table is a sine, a cosine or a range of the row's number, and not all are constant."""
    # With v(t) = a·cos(ωt + b) is v(t + 1) + v(t − 1) = 2cos(ω)·v(t), and for ranges the factor is 2. Learned positions
    # are smooth at most.
    for axis in range(values.ndim):
        table = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        # Some columns are enough: a pattern is in all of them.
        table = table[:4096, :: max(1, table.shape[1] // 256)]
        if len(table) < _LEAST_PATTERN or not np.isfinite(table).all() or (np.ptp(table, axis=0) == 0).all():
            continue
        middle, sums = table[1:-1], table[2:] + table[:-2]
        squares = np.sum(middle**2, axis=0)
        factors = np.divide(np.sum(middle * sums, axis=0), squares, out=np.zeros_like(squares), where=squares > 0)
        residual = np.linalg.norm(sums - factors * middle)
        if residual <= _PATTERN * np.linalg.norm(middle) and (np.abs(factors) <= 2 + _PATTERN).all():
            return True
    return False
