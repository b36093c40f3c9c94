"""The verbs of the adapter for TensorFlow and Keras."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxrich.errors import AdapterError
from onnxrich.frameworks.exporters import summarize
from onnxrich.frameworks.items import ModelInputs, read_items
from onnxrich.frameworks.registry import Item
from onnxrich.frameworks.weight_inputs import bind_weights
from onnxrich_tensorflow.convert import convert_function
from onnxrich_tensorflow.programs import Program, is_saved_model, to_program
from onnxrich_tensorflow.saved_model import load_saved_model


def is_native(obj: Any) -> bool:
    """Whether an object is a Keras model, except on PyTorch, where it is a module, or a loaded SavedModel."""
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(obj, keras.Model):
        return bool(keras.backend.backend() != "torch")
    return "tensorflow" in sys.modules and is_saved_model(obj)


def load(path: Path) -> Any | None:
    """Load the model of a `.keras` file, or of the folder of a SavedModel."""
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return load_saved_model(path)
    if path.suffix != ".keras":
        return None
    import keras

    try:
        # Safe mode refuses layers that hold Python code.
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise AdapterError(
            f"Keras can't load {path.name}: {summarize(error)}",
            "a Keras model of only Keras' own layers",
            "Build a model with other layers in Python, and pass the object.",
        ) from error


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """Convert the items of a dataset or an iterable; without a loader, make one item of zeros."""
    program = to_program(obj)
    if loader is None:
        return [program.zeros()]

    def convert(name: str, value: Any) -> NDArray[Any]:
        return _to_array(name, value, program.specs.get(name))

    return read_items(_as_iterable(loader), ModelInputs(program.inputs, convert=convert))


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write a model with tf2onnx, the weights of a Keras model as initializers named by their paths."""
    import tensorflow as tf

    program = to_program(obj)
    inputs = [program.specs[name] or _open_spec(name, example[name]) for name in program.inputs]
    weight_specs = [tf.TensorSpec(value.shape, value.dtype, name=name) for name, value in program.weights.items()]

    def call(*values: Any) -> Mapping[str, Any]:
        return program.call(dict(zip(program.inputs, values, strict=False)), values[len(inputs) :])

    outputs = list(program.call(_to_tensors(program, example), ()))
    model = convert_function(call, [*inputs, *weight_specs])
    onnx.save(bind_weights(model, weights(obj), outputs), path)
    return f"tensorflow {tf.__version__}"


def forward(obj: Any, given: Item) -> list[NDArray[Any]]:
    """Compute the outputs of the model in inference mode."""
    program = to_program(obj)
    return [np.asarray(value) for value in program.call(_to_tensors(program, given), ()).values()]


def weights(obj: Any) -> Mapping[str, NDArray[Any]]:
    """The floating-point variables of a Keras model, by the paths that Keras gives them."""
    return {name: np.asarray(value) for name, value in to_program(obj).weights.items()}


def callback(*args: Any, every: int = 1, **options: Any) -> Any:
    """Make a callback for `fit` that calls an `onnxrich.Recorder` before the first step and at the end of epochs.

    Args:
        args: sample and folder, as of `onnxrich.Recorder`.
        every: number of epochs from one measurement to the next.
        options: as of `onnxrich.Recorder`.
    """
    import keras

    import onnxrich

    recorder = onnxrich.Recorder(*args, **options)

    class Richness(keras.callbacks.Callback):  # type: ignore[misc]
        """Measures the model."""

        def on_train_begin(self, logs: Any = None) -> None:
            """Measure the model before the first step."""
            recorder(self.model, self._step())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """Measure the model after an epoch."""
            if (epoch + 1) % every == 0:
                recorder(self.model, self._step())

        def _step(self) -> int:
            return int(self.model.optimizer.iterations.numpy())

    return Richness()


def _as_iterable(loader: Any) -> Any:
    """A PyDataset as an iterable of its batches; anything else unchanged."""
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(loader, keras.utils.PyDataset):
        return loader

    class Batches:
        def __iter__(self) -> Iterator[Any]:
            return (loader[index] for index in range(len(loader)))

    return Batches()


def _to_array(name: str, value: Any, spec: Any) -> NDArray[Any]:
    """Convert a value to NumPy, and to the dtype of the input's TensorSpec where the model declares one."""
    if hasattr(value, "to_tensor"):
        raise AdapterError(
            f"the data hold a ragged or sparse tensor for {name!r}",
            "a dense tensor",
            "Map the dataset with its to_tensor().",
        )
    array = np.asarray(value)
    if spec is None:
        return array
    if array.ndim == spec.shape.rank - 1:
        raise AdapterError(
            f"an item of the data has shape {array.shape} for {name!r}", "rows in batches", "Pass dataset.batch(256)."
        )
    dtype = spec.dtype.as_numpy_dtype
    return array.astype(dtype) if np.can_cast(array.dtype, dtype, "same_kind") else array


def _open_spec(name: str, array: NDArray[Any]) -> Any:
    """The TensorSpec of an array with an open first axis."""
    import tensorflow as tf

    return tf.TensorSpec((None, *array.shape[1:]) if array.ndim else (), array.dtype, name=name)


def _to_tensors(program: Program, item: Item) -> Mapping[str, Any]:
    import tensorflow as tf

    return {name: tf.convert_to_tensor(item[name]) for name in program.inputs}
