"""Values of tensors that don't depend on the input: weights behind Transpose, Cast, DequantizeLinear and the like.

The file is untrusted, so only operators that can't loop are followed, each value is computed once, and none is made
that is much larger than what the file itself holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, external_data_helper, helper, numpy_helper

from onnxrich.errors import ModelError
from onnxrich.model.file import Model

STANDARD = ("", "ai.onnx")

AnyArray = NDArray[Any]

FOLDABLE = frozenset(
    {"Abs", "Add", "Cast", "CastLike", "Clip", "Concat", "ConstantOfShape", "DequantizeLinear", "Div", "Exp", "Expand",
     "Flatten", "Gather", "Identity", "LpNormalization", "MatMul", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal",
     "ReduceL2", "ReduceMax", "ReduceSum", "ReduceSumSquare", "Reshape", "Shape", "Slice", "Split", "Sqrt", "Squeeze",
     "Sub", "Transpose", "Unsqueeze"}
)  # fmt: skip
DEEPEST = 32
# Elements that a value may have where the file holds fewer.
LARGEST = 2**24
# What NumPy, and ONNX's reference operators, raise on values that don't fit.
_FAILURES = (ValueError, TypeError, IndexError, KeyError, AttributeError, RuntimeError, ArithmeticError, MemoryError)


class Constants:
    """Which tensors of a graph are constant, and their values.

    Args:
        model: where external data and operator sets are.
        initializers: dense initializers by name.
        producers: the node that makes a tensor, by name.
    """

    def __init__(
        self, model: Model, initializers: Mapping[str, TensorProto], producers: Mapping[str, NodeProto]
    ) -> None:
        self._model, self._initializers, self._producers = model, initializers, producers
        self._sparse = {tensor.values.name: tensor for tensor in model.proto.graph.sparse_initializer}
        self._known: dict[str, bool] = {}
        self._values: dict[str, AnyArray] = {}
        held = sum(_elements(tensor.dims) for tensor in initializers.values())
        self._largest = max(LARGEST, 2 * held)

    def has(self, name: str, depth: int = 0) -> bool:
        """Whether a tensor is an initializer, a Constant, or made from such by a few foldable operators."""
        if name not in self._known:
            self._known[name] = self._decide(name, depth)
        return self._known[name]

    def _decide(self, name: str, depth: int) -> bool:
        if not name or name in self._initializers or name in self._sparse:
            return bool(name)
        node = self._producers.get(name)
        if node is None or depth > DEEPEST or node.domain not in STANDARD:
            return False
        if node.op_type == "Constant":
            return True
        return node.op_type in FOLDABLE and all(self.has(source, depth + 1) for source in node.input if source)

    def value(self, name: str) -> AnyArray:
        """The value of a tensor for which `has` holds.

        Raises:
            ModelError: when it can't be computed, or would be much larger than the file.
        """
        if name in self._values:
            return self._values[name]
        try:
            value = self._compute(name)
        except _FAILURES as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"constant {name!r} can't be computed ({type(error).__name__})",
                "weights and shapes that fit together",
                "Check the model with onnx.checker.check_model(model, full_check=True).",
            ) from error
        if value.size <= LARGEST:  # a large weight is asked for once, and not kept
            self._values[name] = value
        return value

    def _compute(self, name: str) -> AnyArray:
        if name in self._initializers:
            return self._load(self._initializers[name])
        if name in self._sparse:
            self._check_size(name, _elements(self._sparse[name].dims))
            return _dense(self._sparse[name])
        node = self._producers[name]
        inputs = {str(source): self.value(source) for source in node.input if source}
        given = [inputs[source] for source in node.input if source]
        self._check_size(name, _SIZES.get(node.op_type, _broadcast)(given))
        if node.op_type == "DequantizeLinear":
            zero = given[2] if len(given) > 2 else np.zeros(())
            return dequantize(given[0], given[1], zero, _axis(node))
        return _reference(node, name, inputs, self._model)

    def _check_size(self, name: str, size: float) -> None:
        if not size <= self._largest:
            raise ModelError(
                f"constant {name!r} of {size:.2g} elements",
                f"at most {self._largest:,}, twice what the file holds",
                "Don't run this model: it makes much of little.",
            )

    def _load(self, tensor: TensorProto) -> AnyArray:
        if tensor.data_location == TensorProto.EXTERNAL:
            loaded = TensorProto()
            loaded.CopyFrom(tensor)
            external_data_helper.load_external_data_for_tensor(loaded, str(self._model.folder))
            tensor = loaded
        return numpy_helper.to_array(tensor)


def dequantize(values: AnyArray, scale: AnyArray, zero: AnyArray, axis: int) -> AnyArray:
    """(values − zero)·scale, with one scale for all, one a slice along an axis, or one a block of it."""
    wide = values.astype(np.float64)
    factors = []
    for factor in (zero, scale):
        table = np.asarray(factor).astype(np.float64)
        if table.size == 1:
            table = table.reshape(())
        elif table.ndim == 1:
            table = table.reshape([-1 if at == axis % wide.ndim else 1 for at in range(wide.ndim)])
        elif table.shape != wide.shape:
            block = -(-wide.shape[axis] // table.shape[axis])
            table = np.take(np.repeat(table, block, axis=axis), range(wide.shape[axis]), axis=axis)
        factors.append(table)
    result: AnyArray = ((wide - factors[0]) * factors[1]).astype(np.asarray(scale).dtype)
    return result


def _reference(node: NodeProto, name: str, inputs: Mapping[str, AnyArray], model: Model) -> AnyArray:
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


def _axis(node: NodeProto) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == "axis"), 1)


def _elements(dims: Any) -> int:
    return int(np.prod(list(dims), dtype=np.float64))


def _broadcast(given: list[AnyArray]) -> float:
    """Elements of what an element-wise operator makes; for the others of the list, at most the sum of its inputs."""
    try:
        shape: tuple[int, ...] = np.broadcast_shapes(*(array.shape for array in given))
    except ValueError:
        return float(sum(array.size for array in given))
    return max(float(np.prod(shape, dtype=np.float64)), float(sum(array.size for array in given)))


def _matmul(given: list[AnyArray]) -> float:
    left, right = given
    size: float = left.size / max(left.shape[-1], 1) * (right.size / max(right.shape[-2:][0], 1))
    return size


# How many elements an operator makes, where that is not what broadcasting makes of its inputs.
_SIZES: dict[str, Callable[[list[AnyArray]], float]] = {
    "Expand": lambda given: max(float(np.prod(given[1], dtype=np.float64)), given[0].size),
    "ConstantOfShape": lambda given: float(np.prod(given[0], dtype=np.float64)),
    "Gather": lambda given: float(given[0].size) * given[1].size,
    "MatMul": _matmul,
    "Reshape": lambda given: float(given[0].size),
    "Concat": lambda given: float(sum(array.size for array in given)),
}


def _dense(tensor: onnx.SparseTensorProto) -> AnyArray:
    values, indices = numpy_helper.to_array(tensor.values), numpy_helper.to_array(tensor.indices)
    table = np.zeros(tuple(tensor.dims), values.dtype)
    if indices.ndim == 1:
        table.reshape(-1)[indices] = values
    else:
        table[tuple(indices.T)] = values
    return table
