"""Constant folding: values of tensors that don't depend on the input, such as transposed or dequantised weights.

The file is untrusted. So only operators that can't loop are evaluated, each value is computed once, and no value may be
much larger than the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx.checker
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, external_data_helper, helper, numpy_helper

from onnxrich.errors import ModelError
from onnxrich.model.file import Model
from onnxrich.model.validity import STANDARD

AnyArray = NDArray[Any]

FOLDABLE = frozenset(
    {"Abs", "Add", "Cast", "CastLike", "Clip", "Concat", "ConstantOfShape", "DequantizeLinear", "Div", "Exp", "Expand",
     "Flatten", "Gather", "Identity", "LpNormalization", "MatMul", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal",
     "ReduceL2", "ReduceMax", "ReduceSum", "ReduceSumSquare", "Reshape", "Shape", "Slice", "Split", "Sqrt", "Squeeze",
     "Sub", "Transpose", "Unsqueeze"}
)  # fmt: skip
# Operators between a constant and the initializers it is computed from, at most.
MAX_DEPTH = 32
# Elements that a value may have when the file holds fewer, and that a remembered value may have.
LARGEST = 2**24
# Errors of NumPy, and of ONNX's reference operators, for values that don't fit together.
_FAILURES = (
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    MemoryError,
    onnx.checker.ValidationError,
)


class Constants:
    """The constant tensors of a graph, and their values.

    Args:
        model: its external data and operator sets.
        initializers: dense initializers by name.
        producers: the node that computes a tensor, by name.
    """

    def __init__(
        self, model: Model, initializers: Mapping[str, TensorProto], producers: Mapping[str, NodeProto]
    ) -> None:
        self._model, self._initializers, self._producers = model, initializers, producers
        self._sparse = {tensor.values.name: tensor for tensor in model.proto.graph.sparse_initializer}
        self._is_constant: dict[str, bool] = {}
        self._values: dict[str, AnyArray] = {}
        self._largest = max(LARGEST, 2 * sum(_count(tensor.dims) for tensor in initializers.values()))

    def has(self, name: str, depth: int = 0) -> bool:
        """Whether a tensor is an initializer, a Constant, or computed from these by a few foldable operators."""
        if name not in self._is_constant:
            self._is_constant[name] = self._decide(name, depth)
        return self._is_constant[name]

    def _decide(self, name: str, depth: int) -> bool:
        if not name or name in self._initializers or name in self._sparse:
            return bool(name)
        node = self._producers.get(name)
        if node is None or depth > MAX_DEPTH or node.domain not in STANDARD:
            return False
        if node.op_type == "Constant":
            return True
        return node.op_type in FOLDABLE and all(self.has(source, depth + 1) for source in node.input if source)

    def value(self, name: str) -> AnyArray:
        """Compute the value of a tensor for which `has` holds.

        Raises:
            ModelError: when it can't be computed, or would be much larger than the file.
        """
        if name in self._values:
            return self._values[name]
        try:
            with np.errstate(all="ignore"):  # whoever uses a value that is not finite finds it
                value = self._compute(name)
        except _FAILURES as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"Constant {name!r} can't be computed ({type(error).__name__})",
                "weights and shapes that fit together",
                "Check the model with onnx.checker.check_model(model, full_check=True).",
            ) from error
        if value.size <= LARGEST:  # a large weight is read once, and not remembered
            self._values[name] = value
        return value

    def _compute(self, name: str) -> AnyArray:
        if name in self._initializers:
            return self._load(self._initializers[name])
        if name in self._sparse:
            self._check_size(name, _count(self._sparse[name].dims))
            return _to_dense(self._sparse[name])
        node = self._producers[name]
        inputs = {str(source): self.value(source) for source in node.input if source}
        arrays = [inputs[source] for source in node.input if source]
        self._check_size(name, _SIZES.get(node.op_type, _broadcast_size)(arrays))
        if node.op_type == "DequantizeLinear":
            zero = arrays[2] if len(arrays) > 2 else np.zeros(())
            axis = next((int(entry.i) for entry in node.attribute if entry.name == "axis"), 1)
            return dequantize(arrays[0], arrays[1], zero, axis)
        return _evaluate(node, name, inputs, self._model)

    def _check_size(self, name: str, size: float) -> None:
        if not size <= self._largest:
            raise ModelError(
                f"Constant {name!r} would have {size:.2g} elements",
                f"at most {self._largest:,}, twice as many as the file holds",
                "Do not run this model: a small file that expands so much may be an attack.",
            )

    def _load(self, tensor: TensorProto) -> AnyArray:
        if tensor.data_location == TensorProto.EXTERNAL:
            loaded = TensorProto()
            loaded.CopyFrom(tensor)
            external_data_helper.load_external_data_for_tensor(loaded, str(self._model.folder))
            tensor = loaded
        return numpy_helper.to_array(tensor)


def dequantize(integers: AnyArray, scale: AnyArray, zero: AnyArray, axis: int) -> AnyArray:
    """Compute (integers − zero)·scale in double, then in the type of the scale.

    Args:
        integers: the quantised values.
        scale: one number for all, one a slice along the axis, or one a block of the axis.
        zero: the zero points, likewise.
        axis: of the slices or blocks.
    """
    wide = integers.astype(np.float64)
    wide_zero, wide_scale = (
        _along(np.asarray(factor).astype(np.float64), wide.shape, axis) for factor in (zero, scale)
    )
    result: AnyArray = ((wide - wide_zero) * wide_scale).astype(np.asarray(scale).dtype)
    return result


def _along(factor: AnyArray, shape: tuple[int, ...], axis: int) -> AnyArray:
    """Bring a scale or zero point into a shape that broadcasts against integers of this shape."""
    if factor.size == 1:
        return factor.reshape(())
    if factor.ndim == 1:
        return factor.reshape([-1 if index == axis % len(shape) else 1 for index in range(len(shape))])
    if factor.shape == shape:
        return factor
    block = -(-shape[axis] // factor.shape[axis])
    return np.take(np.repeat(factor, block, axis=axis), range(shape[axis]), axis=axis)


def _evaluate(node: NodeProto, name: str, inputs: Mapping[str, AnyArray], model: Model) -> AnyArray:
    """Evaluate a node by ONNX's reference implementation."""
    from onnx.reference import ReferenceEvaluator  # 0.1 s and 11 MiB, which few models need

    graph = helper.make_graph(
        [node],
        "constant",
        [helper.make_value_info(source, onnx.TypeProto()) for source in inputs],
        [helper.make_value_info(output, onnx.TypeProto()) for output in node.output],
    )
    single = helper.make_model(graph, opset_imports=list(model.proto.opset_import))
    results: Any = ReferenceEvaluator(single).run([name], dict(inputs))
    return np.asarray(results[0])


def _to_dense(tensor: onnx.SparseTensorProto) -> AnyArray:
    values, indices = numpy_helper.to_array(tensor.values), numpy_helper.to_array(tensor.indices)
    dense = np.zeros(tuple(tensor.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense


def _count(dims: Any) -> int:
    return math.prod(dims)


def _total_size(inputs: list[AnyArray]) -> float:
    return float(sum(array.size for array in inputs))


def _broadcast_size(inputs: list[AnyArray]) -> float:
    """Bound the elements that an element-wise operator gives; other operators give at most the sum of their inputs."""
    try:
        shape: tuple[int, ...] = np.broadcast_shapes(*(array.shape for array in inputs))
    except ValueError:
        return _total_size(inputs)
    return max(float(np.prod(shape, dtype=np.float64)), _total_size(inputs))


def _matmul_size(inputs: list[AnyArray]) -> float:
    left, right = inputs
    size: float = left.size / max(left.shape[-1], 1) * (right.size / max(right.shape[-2:][0], 1))
    return size


# Elements that an operator gives, when they are more than `_broadcast_size` says or need no such bound.
_SIZES: dict[str, Callable[[list[AnyArray]], float]] = {
    "Expand": lambda inputs: max(float(np.prod(inputs[1], dtype=np.float64)), inputs[0].size),
    "ConstantOfShape": lambda inputs: float(np.prod(inputs[0], dtype=np.float64)),
    "Gather": lambda inputs: float(inputs[0].size) * inputs[1].size,
    "MatMul": _matmul_size,
    "Reshape": lambda inputs: float(inputs[0].size),
    "Concat": _total_size,
}
