"""The verbs of the adapter for JAX."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from onnxrich.errors import AdapterError
from onnxrich.frameworks.exporters import explain_errors, quiet
from onnxrich.frameworks.items import ModelInputs, read_items
from onnxrich.frameworks.registry import Item
from onnxrich.frameworks.weight_inputs import BATCH, bind_weights
from onnxrich_jax.programs import is_program, path_name, to_program

OPSET = 21


def is_native(obj: Any) -> bool:
    """Whether an object is a module of flax or equinox, or a pair of a module or function and its parameters."""
    return "jax" in sys.modules and is_program(obj)


def load(path: Path) -> Any | None:
    """Return None: JAX has no files that hold a model without its code."""
    return None


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """Convert the items of an iterable to arrays by the names of the model's inputs."""
    if loader is None:
        raise AdapterError(
            "a JAX model comes without data", "rows to trace it with", "Pass arrays, or an iterable of batches."
        )
    program = to_program(obj)
    return read_items(loader, ModelInputs(program.inputs, program.optional))


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write a model with jax2onnx, its weights as initializers named by their paths."""
    import jax

    program = to_program(obj)
    inputs = list(example)

    def call(*arguments: Any) -> Any:
        return program.forward(arguments[len(inputs) :], dict(zip(inputs, arguments, strict=False)))

    weight_shapes = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in program.weights.values()]
    outputs = _output_names(jax.eval_shape(call, *map(_shape, example.values()), *weight_shapes))
    shapes = [*map(_open_shape, example.values()), *weight_shapes]
    model = _convert(call, shapes, input_names=[*inputs, *program.weights], output_names=outputs)
    onnx.save(bind_weights(model, weights(obj), outputs), path)
    return f"jax {jax.__version__}"


def forward(obj: Any, given: Item) -> list[NDArray[Any]]:
    """Compute the outputs of the model in inference mode."""
    import jax

    program = to_program(obj)
    inputs = {name: jax.numpy.asarray(value) for name, value in given.items()}
    outputs = program.forward(list(program.weights.values()), inputs)
    return [np.asarray(value) for value in jax.tree.leaves(outputs)]


def weights(obj: Any) -> Mapping[str, NDArray[Any]]:
    """The floating-point leaves of the parameters, by their paths."""
    return {name: np.asarray(value) for name, value in to_program(obj).weights.items()}


def callback(*args: Any, **options: Any) -> Any:
    """Make a function record(step, model) for loops that calls an `onnxrich.Recorder` of these arguments.

    The model is an nnx module, or a new equinox module or pair at each step.
    """
    import onnxrich

    recorder = onnxrich.Recorder(*args, **options)

    def record(step: int, model: Any) -> Any:
        return recorder(model, step)

    return record


def _convert(
    call: Callable[..., Any], shapes: Sequence[Any], *, input_names: list[str], output_names: list[str]
) -> ModelProto:
    """Convert a function of arrays with these shapes; jax2onnx takes lists of names."""
    import jax2onnx

    explanation = (
        "jax2onnx can't convert the model",
        "operators that jax2onnx knows, called as it expects",
        "Pass optional arguments by keyword, write recurrent layers with jax.lax.scan, or export it yourself.",
    )
    with explain_errors(*explanation), quiet("jax2onnx", logging.ERROR):
        model: ModelProto = jax2onnx.to_onnx(
            call,
            list(shapes),
            opset=OPSET,
            enable_double_precision=any(shape.dtype == np.float64 for shape in shapes),
            input_names=input_names,
            output_names=output_names,
        )
    return model


def _shape(array: NDArray[Any]) -> Any:
    import jax

    return jax.ShapeDtypeStruct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype))


def _open_shape(array: NDArray[Any]) -> Any:
    """The shape of an array with an open first axis."""
    import jax

    shape = (*jax.export.symbolic_shape(BATCH), *array.shape[1:]) if array.ndim else ()
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(array.dtype))


def _output_names(outputs: Any) -> list[str]:
    import jax

    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(outputs)[0]]
    return ["/".join(["output", *filter(None, [path_name(path)])]) for path in paths]
