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
        call: computes outputs by name from input tensors by name and from tensors for `weights` in this order. No
            tensors for weights stand for the present values.
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
        for name, spec in self.specs.items():
            if spec is None or spec.shape.rank is None or None in spec.shape[1:]:
                raise AdapterError(
                    f"the model declares no shape for input {name!r}", "data, or shapes", "Pass arrays or a dataset."
                )
        return {name: np.zeros((2, *spec.shape[1:]), spec.dtype.as_numpy_dtype) for name, spec in self.specs.items()}


def is_saved_model(obj: Any) -> bool:
    """Whether an object is what `tf.saved_model.load` returns."""
    return type(obj).__module__.startswith("tensorflow.") and hasattr(obj, "signatures")


def to_program(obj: Any) -> Program:
    """Convert a model to a function.

    Raises:
        AdapterError: for a Keras model of another backend or without weights, or a SavedModel without its serving
            signature.
    """
    if is_saved_model(obj):
        return _from_saved_model(obj)
    import keras

    if keras.backend.backend() != "tensorflow":
        raise AdapterError(
            f"the Keras model is of the {keras.backend.backend()} backend",
            "a model of the TensorFlow backend",
            "Set KERAS_BACKEND=tensorflow, and load or train the model there.",
        )
    if not obj.built:
        raise AdapterError(
            f"the Keras model {obj.name!r} has no weights yet", "a built model", "Call it on a batch first."
        )
    return _from_keras(obj)


def _from_saved_model(obj: Any) -> Program:
    if SERVING not in obj.signatures:
        raise AdapterError(
            f"the SavedModel has the signatures {', '.join(obj.signatures) or 'none'}",
            SERVING,
            "Save it with model.export(folder), or tf.saved_model.save(…, signatures=…).",
        )
    signature = obj.signatures[SERVING]
    return Program(lambda inputs, _: signature(**inputs), {}, dict(signature.structured_input_signature[1]))


def _from_keras(model: Any) -> Program:
    import keras

    variables: dict[str, Any] = {}
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            # Layers that a user gave the same name have the same path.
            namesakes = sum(name.partition("~")[0] == variable.path for name in variables)
            variables[f"{variable.path}~{namesakes}" if namesakes else variable.path] = variable
    specs = _input_specs(model)

    def call(inputs: Mapping[str, Any], weights: Sequence[Any]) -> Mapping[str, Any]:
        with keras.StatelessScope(state_mapping=list(zip(variables.values(), weights, strict=False))):
            return _named_outputs(model, model(*_arguments(model, specs, inputs), training=False))

    return Program(call, variables, specs)


def _input_specs(model: Any) -> Mapping[str, Any]:
    """TensorSpecs of a functional model's inputs by name; None for those of a subclassed model."""
    import tensorflow as tf

    tensors = getattr(model, "inputs", None) or []
    if not tensors:
        return dict.fromkeys(_call_parameters(model))
    names = [f"input_{index}" for index in range(len(tensors))] if len(tensors) > 1 else ["input"]
    # Keras generates such names where the user gave none.
    names = [
        name if tensor.name.startswith("keras_tensor") else tensor.name
        for name, tensor in zip(names, tensors, strict=True)
    ]
    return {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in zip(names, tensors, strict=True)
    }


def _call_parameters(model: Any) -> list[str]:
    """Names of the required parameters of a subclassed model's `call`."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(model.call).parameters.values()
    required = [
        entry.name for entry in parameters if entry.kind not in kinds and entry.default is inspect.Parameter.empty
    ]
    return [name for name in required if name not in ("training", "mask")] or ["input"]


def _arguments(model: Any, specs: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[Any]:
    """The inputs in the structure that the model takes."""
    import keras

    values = [inputs[name] for name in specs]
    if not getattr(model, "inputs", None):
        return values
    structure = getattr(model, "_inputs_struct", None)
    return [values[0] if structure is None else keras.tree.pack_sequence_as(structure, values)]


def _named_outputs(model: Any, outputs: Any) -> Mapping[str, Any]:
    """Outputs by the keys of a mapping or the names of layers; a single output is "output"."""
    import keras

    if isinstance(outputs, Mapping):
        return {f"output/{key}": value for key, value in outputs.items()}
    values = keras.tree.flatten(outputs)
    names = getattr(model, "output_names", None) or [f"output_{index}" for index in range(len(values))]
    return dict(zip(names if len(values) > 1 else ["output"], values, strict=True))
