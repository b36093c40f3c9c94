"""TensorFlow and Keras for onnxrich: Keras models of the TensorFlow backend, loaded SavedModels, datasets.

- Inputs of the ONNX model have the names of the Keras inputs, or of the parameter of `call`; "input" where Keras made
  the name up. Outputs have the names of their layers.
- Weights are initializers with the paths that Keras gives them, such as head/kernel. Those of a SavedModel are folded.
- Arrays are cast to the dtype that a functional model declares, as Keras does.
- Data are a batched tf.data.Dataset, a keras.utils.PyDataset, any iterable of (x, y), or arrays. Sample weights are
  left out.
- tf2onnx has no complementary error function, which the exact GELU needs: it is written as 1 − erf here.
- Imports no TensorFlow before it is given something of TensorFlow.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onnxrich
from onnxrich.errors import AdapterError
from onnxrich.frameworks.items import Inputs, items
from onnxrich.frameworks.registry import Item
from onnxrich.frameworks.weight_inputs import bound
from onnxrich_tensorflow import programs
from onnxrich_tensorflow.convert import convert


def is_native(obj: Any) -> bool:
    """Whether an object is a Keras model, or a SavedModel that TensorFlow loaded; on PyTorch Keras makes modules."""
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(obj, keras.Model):
        return bool(keras.backend.backend() != "torch")
    return "tensorflow" in sys.modules and programs.is_saved_model(obj)


def load(path: Path) -> Any | None:
    """The model of a `.keras` file, or of the folder of a SavedModel."""
    if path.is_dir() and (path / "saved_model.pb").is_file():
        from onnxrich_tensorflow import saved_model

        return saved_model.load(path)
    if path.suffix != ".keras":
        return None
    import keras

    try:
        # Safe mode refuses layers that hold Python code.
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        raise AdapterError(
            f"{path.name}: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}",
            "a Keras model of Keras' own layers",
            "Build models with layers of your own in Python, and pass the object.",
        ) from error


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """The items of a dataset or an iterable by the names of the model's inputs; rows of zeros without one."""
    program = programs.program(obj)
    if loader is None:
        return [program.zeros()]

    def array(name: str, value: Any) -> NDArray[Any]:
        return _array(name, value, program.specs.get(name))

    return items(_iterable(loader), Inputs(program.inputs, convert=array))


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write a model by tf2onnx, with the weights of a Keras model as initializers named by their paths."""
    import onnx
    import tensorflow as tf

    program = programs.program(obj)
    inputs = [program.specs[name] or _open(name, example[name]) for name in program.inputs]
    arguments = [tf.TensorSpec(value.shape, value.dtype, name=name) for name, value in program.weights.items()]

    def call(*values: Any) -> Mapping[str, Any]:
        return program.call(dict(zip(program.inputs, values, strict=False)), values[len(inputs) :])

    outputs = list(program.call(_tensors(program, example), ()))
    onnx.save(bound(convert(call, [*inputs, *arguments]), weights(obj), outputs), path)
    return f"tensorflow {tf.__version__}"


def forward(obj: Any, given: Item) -> list[NDArray[Any]]:
    """What the model computes in inference mode."""
    program = programs.program(obj)
    return [np.asarray(value) for value in program.call(_tensors(program, given), ()).values()]


def weights(obj: Any) -> Mapping[str, NDArray[Any]]:
    """The floating-point variables of a Keras model, by the paths that Keras gives them."""
    return {name: np.asarray(value) for name, value in programs.program(obj).weights.items()}


def callback(*args: Any, every: int = 1, **options: Any) -> Any:
    """A callback for `fit` that calls an `onnxrich.Recorder` before the first step and at the end of epochs.

    Args:
        args: sample and folder, as of `onnxrich.Recorder`.
        every: epochs from one measurement to the next.
        options: as of `onnxrich.Recorder`.
    """
    import keras

    recorder = onnxrich.Recorder(*args, **options)

    class Richness(keras.callbacks.Callback):  # type: ignore[misc]
        """Measures the model."""

        def on_train_begin(self, logs: Any = None) -> None:
            """Measure what the training begins with."""
            recorder(self.model, self._steps())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """Measure what an epoch has made of it."""
            if (epoch + 1) % every == 0:
                recorder(self.model, self._steps())

        def _steps(self) -> int:
            return int(self.model.optimizer.iterations.numpy())

    return Richness()


def _iterable(loader: Any) -> Any:
    """A PyDataset as an iterable; anything else as it is."""
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(loader, keras.utils.PyDataset):
        return loader

    class Indexed:
        def __iter__(self) -> Iterator[Any]:
            return (loader[i] for i in range(len(loader)))

    return Indexed()


def _array(name: str, value: Any, spec: Any) -> NDArray[Any]:
    if hasattr(value, "to_tensor"):
        raise AdapterError(
            f"a ragged or sparse tensor for {name!r}", "a dense one", "Map the dataset with its to_tensor()."
        )
    array = np.asarray(value)
    if spec is None:
        return array
    if array.ndim == spec.shape.rank - 1:
        raise AdapterError(
            f"an item of shape {array.shape} for {name!r}", "rows in batches", "Pass dataset.batch(256)."
        )
    kind = spec.dtype.as_numpy_dtype
    return array.astype(kind) if np.can_cast(array.dtype, kind, "same_kind") else array


def _open(name: str, array: NDArray[Any]) -> Any:
    """The TensorSpec of an array with an open first axis."""
    import tensorflow as tf

    return tf.TensorSpec((None, *array.shape[1:]) if array.ndim else (), array.dtype, name=name)


def _tensors(program: programs.Program, rows: Item) -> Mapping[str, Any]:
    import tensorflow as tf

    return {name: tf.convert_to_tensor(rows[name]) for name in program.inputs}
