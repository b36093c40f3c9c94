"""JAX for onnxrich: flax (nnx and linen), equinox, and plain functions with their parameters.

- A model is an nnx module, an equinox module, or a pair: (linen module, variables) or (function, parameters), where
  the function is called as function(parameters, x).
- equinox modules take one row, as their library has it, and are mapped over the batch; so does a pair of an equinox
  module and its state. Write a module that takes batches as a pair (lambda model, x: model(x), model).
- Everything runs in inference mode: nnx by `eval()`, equinox by `inference_mode`; parameters of a linen module's
  `__call__` named train or training are False, deterministic is True.
- Inputs of the ONNX model have the names of the function's parameters; weights have their path, such as conv/kernel.
- Nothing says what shapes a JAX model takes: data are needed.
- Imports no JAX before it is given something of JAX.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onnxrich
from onnxrich.errors import AdapterError
from onnxrich.frameworks.items import Inputs, items
from onnxrich.frameworks.registry import Item
from onnxrich.frameworks.weight_inputs import BATCH, bound
from onnxrich_jax import programs

OPSET = 21


def is_native(obj: Any) -> bool:
    """Whether an object is a module of flax or equinox, or a pair of one, or of a function, and its parameters."""
    return "jax" in sys.modules and programs.is_program(obj)


def load(path: Path) -> Any | None:
    """None: JAX has no files that hold a model without its code."""
    return None


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """The items of an iterable by the names of the model's inputs."""
    if loader is None:
        raise AdapterError(
            "a JAX model without data", "rows to trace it with", "Pass arrays, or an iterable of batches."
        )
    program = programs.program(obj)
    return items(loader, Inputs(program.inputs, program.optional))


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write a model by jax2onnx, with its weights as initializers named by their paths."""
    import jax
    import onnx

    program = programs.program(obj)
    given, names = list(example), list(program.weights)

    def call(*arguments: Any) -> Any:
        return program.forward(arguments[len(given) :], dict(zip(given, arguments, strict=False)))

    leaves = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in program.weights.values()]
    outputs = _output_names(jax.eval_shape(call, *map(_canonical, example.values()), *leaves))
    model = _converted(call, [*map(_open, example.values()), *leaves], given + names, outputs)
    onnx.save(bound(model, weights(obj), outputs), path)
    return f"jax {jax.__version__}"


def forward(obj: Any, given: Item) -> list[NDArray[Any]]:
    """What the model computes in inference mode."""
    import jax

    program = programs.program(obj)
    arrays = {name: jax.numpy.asarray(value) for name, value in given.items()}
    return [np.asarray(value) for value in jax.tree.leaves(program.forward(list(program.weights.values()), arrays))]


def weights(obj: Any) -> Mapping[str, NDArray[Any]]:
    """The floating-point leaves of the parameters, by their paths."""
    return {name: np.asarray(value) for name, value in programs.program(obj).weights.items()}


def callback(*args: Any, **options: Any) -> Any:
    """A function record(step, model) for loops: it calls an `onnxrich.Recorder`, whose arguments these are.

    The model is an nnx module, or a new equinox module or pair at each step.
    """
    recorder = onnxrich.Recorder(*args, **options)

    def record(step: int, model: Any) -> Any:
        return recorder(model, step)

    return record


def _converted(call: Callable[..., Any], shapes: list[Any], inputs: list[str], outputs: list[str]) -> Any:
    import jax2onnx

    double = any(entry.dtype == np.float64 for entry in shapes)
    logger = logging.getLogger("jax2onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return jax2onnx.to_onnx(
                call, shapes, opset=OPSET, enable_double_precision=double, input_names=inputs, output_names=outputs
            )
    except Exception as error:
        raise AdapterError(
            f"jax2onnx can't convert the model: {type(error).__name__}: {str(error).splitlines()[0]}",
            "operators that jax2onnx knows, called as it expects",
            "Pass optional arguments by keyword, write recurrent layers with jax.lax.scan, or export it yourself.",
        ) from error
    finally:
        logger.setLevel(level)


def _canonical(array: NDArray[Any]) -> Any:
    import jax

    return jax.ShapeDtypeStruct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype))


def _open(array: NDArray[Any]) -> Any:
    """The shape of an array with an open first axis."""
    import jax

    shape = (*jax.export.symbolic_shape(BATCH), *array.shape[1:]) if array.ndim else ()
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(array.dtype))


def _output_names(outputs: Any) -> list[str]:
    import jax

    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(outputs)[0]]
    return ["/".join(["output", *filter(None, [programs.path_name(path)])]) for path in paths]
