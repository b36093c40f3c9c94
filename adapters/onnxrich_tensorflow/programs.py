"""Models of TensorFlow as functions of inputs by name and weights: Keras' models, and SavedModels."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxrich.errors import AdapterError
from onnxrich.frameworks.registry import Item

SERVING = "serving_default"


@dataclass(frozen=True, eq=False)
class Program:
    """A model as a function.

    Attributes:
        call: from input tensors by name, and tensors for `weights` in this order or none for the present values, to
            outputs by name.
        weights: floating-point variables by path.
        specs: TensorSpec of each input by name; None where the model doesn't declare it.
    """

    call: Callable[[Mapping[str, Any], Sequence[Any]], Mapping[str, Any]]
    weights: Mapping[str, Any]
    specs: Mapping[str, Any]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(self.specs)

    def zeros(self) -> Item:
        """Two rows of zeros.

        Raises:
            AdapterError: when the model doesn't declare the shapes of its inputs.
        """
        for name, entry in self.specs.items():
            if entry is None or entry.shape.rank is None or None in entry.shape[1:]:
                raise AdapterError(
                    f"input {name!r} of no declared shape", "data, or shapes", "Pass arrays or a dataset."
                )
        return {name: np.zeros((2, *entry.shape[1:]), entry.dtype.as_numpy_dtype) for name, entry in self.specs.items()}


def is_saved_model(obj: Any) -> bool:
    """Whether an object is what `tf.saved_model.load` returns."""
    return type(obj).__module__.startswith("tensorflow.") and hasattr(obj, "signatures")


def program(obj: Any) -> Program:
    """A model as a function.

    Raises:
        AdapterError: for a Keras model of another backend or without weights as yet, or a SavedModel without its
            serving signature.
    """
    if is_saved_model(obj):
        return _saved(obj)
    import keras

    if keras.backend.backend() != "tensorflow":
        raise AdapterError(
            f"a Keras model of the {keras.backend.backend()} backend",
            "one of the TensorFlow backend",
            "Set KERAS_BACKEND=tensorflow, and load or train the model there.",
        )
    if not obj.built:
        raise AdapterError(
            f"the Keras model {obj.name!r}, which has no weights as yet", "a built model", "Call it on a batch first."
        )
    return _keras(obj)


def _saved(obj: Any) -> Program:
    if SERVING not in obj.signatures:
        raise AdapterError(
            f"a SavedModel with signatures {', '.join(obj.signatures) or 'none'}",
            SERVING,
            "Save it with model.export(folder), or tf.saved_model.save(…, signatures=…).",
        )
    signature = obj.signatures[SERVING]
    return Program(lambda given, _: signature(**given), {}, dict(signature.structured_input_signature[1]))


def _keras(model: Any) -> Program:
    import keras

    variables: dict[str, Any] = {}
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            # Layers of one name in a model that names them by hand have the same path.
            twins = sum(name.partition("~")[0] == variable.path for name in variables)
            variables[f"{variable.path}~{twins}" if twins else variable.path] = variable
    specs = _inputs(model)

    def call(given: Mapping[str, Any], weights: Sequence[Any]) -> Mapping[str, Any]:
        with keras.StatelessScope(state_mapping=list(zip(variables.values(), weights, strict=False))):
            return _outputs(model, model(*_arguments(model, specs, given), training=False))

    return Program(call, variables, specs)


def _inputs(model: Any) -> Mapping[str, Any]:
    """What a model declares of its inputs: all of functional ones, names at least of others."""
    import tensorflow as tf

    declared = getattr(model, "inputs", None) or []
    if not declared:
        return dict.fromkeys(_parameters(model))
    # Keras makes up such names where the user gave none.
    names = [entry.name for entry in declared]
    made_up = [name.startswith("keras_tensor") for name in names]
    renamed = [f"input_{i}" if len(names) > 1 else "input" for i in range(len(names))]
    names = [new if fake else name for name, new, fake in zip(names, renamed, made_up, strict=True)]
    return {
        name: tf.TensorSpec(entry.shape, entry.dtype, name=name) for name, entry in zip(names, declared, strict=True)
    }


def _parameters(model: Any) -> list[str]:
    """What a subclassed model's `call` needs."""
    found = inspect.signature(model.call).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [entry for entry in found if entry.kind not in kinds and entry.default is inspect.Parameter.empty]
    return [entry.name for entry in named if entry.name not in ("training", "mask")] or ["input"]


def _arguments(model: Any, specs: Mapping[str, Any], given: Mapping[str, Any]) -> list[Any]:
    """The inputs in the structure in which the model takes them."""
    import keras

    values = [given[name] for name in specs]
    if not getattr(model, "inputs", None):
        return values
    structure = getattr(model, "_inputs_struct", None)
    return [values[0] if structure is None else keras.tree.pack_sequence_as(structure, values)]


def _outputs(model: Any, outputs: Any) -> Mapping[str, Any]:
    """Outputs by the names of layers, or of a mapping's keys; "output" where there are none."""
    import keras

    if isinstance(outputs, Mapping):
        return {f"output/{key}": value for key, value in outputs.items()}
    values = keras.tree.flatten(outputs)
    names = getattr(model, "output_names", None) or [f"output_{i}" for i in range(len(values))]
    names = names if len(values) > 1 else ["output"]
    return dict(zip(names, values, strict=True))
