"""Keras models and SavedModels through ONNX say what Keras' own inner layers say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapters._docs import assert_runs
from adapters._parity import assert_parity

import onnxrich

pytestmark = pytest.mark.tensorflow

# TensorFlow and XLA tell of their CPU on stderr.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
N = 600


def case(kind: str) -> Any:
    """A model with its truth."""
    from adapters import _keras_models

    return _keras_models.cases()[kind]()


def marks(n: int = N) -> np.ndarray:
    """Random classes."""
    return np.random.default_rng(1).integers(0, 5, n)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "transformer", "lstm", "subclassed"])
def test_parity(kind: str) -> None:
    """D_LR from a dataset through ONNX equals the oracle's on Keras' own features."""
    import tensorflow as tf

    model = case(kind)
    x, labels = model.rows(N), marks()
    dataset = tf.data.Dataset.from_tensor_slices((x, labels)).batch(250)
    assert_parity(onnxrich.run(model.model, dataset), *model.hook(x), labels)


def test_data() -> None:
    """Datasets, PyDatasets, generators, arrays in memory: the same rows give the same numbers."""
    import keras
    import tensorflow as tf

    model = case("cnn")
    x, labels = model.rows(N), marks()

    class Indexed(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            rows = slice(300 * index, 300 * index + 300)
            return x[rows], labels[rows]

    expected = onnxrich.run(model.model, x, labels).metrics
    assert expected["accuracy"] is not None
    assert onnxrich.run(model.model, tf.constant(x), tf.constant(labels)).metrics == expected
    assert onnxrich.run(model.model, {"image": x, "labels": labels}).metrics == expected
    named = tf.data.Dataset.from_tensor_slices(({"image": x}, labels[:, None], np.ones(N)))
    for loader in (Indexed(), iter(Indexed()[i] for i in range(2)), named.batch(300)):
        metrics = onnxrich.run(model.model, loader, batch_size=300).metrics
        # Sums in another order, of 600 terms in float64.
        assert metrics["d_lr"] == pytest.approx(expected["d_lr"], abs=1e-12)
        assert metrics["accuracy"] == expected["accuracy"]


def test_bytes_are_cast_as_keras_does() -> None:
    """A model with its own rescaling takes images of bytes."""
    import keras
    from adapters._keras_models import P, randomised
    from keras import layers

    stack = [keras.Input((8, 8, 3)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(P), layers.Dense(5)]
    model = randomised(keras.Sequential(stack))
    x = np.random.default_rng(0).integers(0, 256, (N, 8, 8, 3)).astype(np.uint8)
    features = np.asarray(keras.Model(model.inputs[0], model.layers[-2].output)(x))
    outputs = features @ np.asarray(model.layers[-1].kernel) + np.asarray(model.layers[-1].bias)
    assert_parity(onnxrich.run(model, x, marks()), features, outputs, marks())


def test_export(tmp_path: Path) -> None:
    """Weights have Keras' paths for names, a bias of zeros is kept, and the model says where it comes from."""
    import onnx
    import tensorflow as tf
    from adapters._keras_models import cnn

    model = cnn()
    before = [np.asarray(weight) for weight in model.weights]
    export = onnxrich.export(model, tmp_path / "model.onnx", step=7)
    written = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(written, full_check=True)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in written.graph.initializer}
    assert np.array_equal(weights["head/kernel"], model.get_layer("head").kernel)
    assert not weights["head/bias"].any()
    assert {weight.path for weight in model.weights} <= set(weights)
    facts = {entry.key: entry.value for entry in written.metadata_props}
    expected = {"onnxrich.framework": "tensorflow", "onnxrich.framework_version": tf.__version__, "onnxrich.step": "7"}
    assert expected.items() <= facts.items()
    assert (export.inputs, export.outputs) == (("image",), ("output",))
    assert written.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert export.error <= export.allowed
    assert all(np.array_equal(a, b) for a, b in zip(before, model.weights, strict=True))


# Keras' own saving calls NumPy in an old way.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_files(tmp_path: Path) -> None:
    """A `.keras` file and a SavedModel give what the object gives; Python code in a file is refused."""
    import keras

    model = case("transformer")
    x, labels = model.rows(N), marks()
    truth = model.hook(x)
    model.model.save(tmp_path / "model.keras")
    model.model.export(tmp_path / "saved", format="tf_saved_model", verbose=False)
    for name in ("model.keras", "saved"):
        export = onnxrich.export(tmp_path / name, tmp_path / f"{name}.onnx")
        assert_parity(onnxrich.run(export.path, {"ids": x, "labels": labels}), *truth, labels)
    code = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1), keras.layers.Dense(3)])
    code.save(tmp_path / "code.keras")
    with pytest.raises(
        onnxrich.OnnxrichError, match=r"Keras can't load code\.keras: .*a Keras model of only Keras' own layers"
    ):
        onnxrich.export(tmp_path / "code.keras", tmp_path / "code.onnx")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("kind", ["mlp", "cnn", "lstm"])
def test_saved_models_of_all_kinds(kind: str, tmp_path: Path) -> None:
    """What Keras saves of its own layers is taken, with the functions for training that it saves beside."""
    import keras
    import tensorflow as tf

    model = case(kind)
    model.model.export(tmp_path / "exported", format="tf_saved_model", verbose=False)
    inputs = [tf.TensorSpec((None, *entry.shape[1:]), entry.dtype) for entry in model.model.inputs]
    serving = tf.function(lambda x: {"output": model.model(x)}, input_signature=inputs)
    tf.saved_model.save(keras.Sequential([model.model]), str(tmp_path / "saved"), signatures=serving)
    for name in ("exported", "saved"):
        onnxrich.export(tmp_path / name, tmp_path / f"{name}.onnx")


@pytest.mark.parametrize("where", ["called", "inside", "branch"])
def test_saved_models_that_write_files(where: str, tmp_path: Path) -> None:
    """A SavedModel that would write a file as it computes is refused, and writes none."""
    import tensorflow as tf

    def write(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "written"), "")]):
            return tf.identity(x)

    bodies = {
        "called": write,
        "inside": tf.function(write),
        "branch": lambda x: tf.cond(tf.reduce_sum(x) < 1e9, lambda: write(x), lambda: x),
    }
    module = tf.Module()
    module.weight = tf.Variable(tf.ones((4, 3)))
    module.call = tf.function(
        lambda x: {"y": bodies[where](x) @ module.weight}, input_signature=[tf.TensorSpec((None, 4), tf.float32)]
    )
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=module.call)
    (tmp_path / "written").unlink(missing_ok=True)
    with pytest.raises(onnxrich.OnnxrichError, match=r"saved holds the operator WriteFile, and a SavedModel can run"):
        onnxrich.export(tmp_path / "saved", tmp_path / "model.onnx")
    assert not (tmp_path / "written").exists()


def test_folders_that_are_no_saved_models(tmp_path: Path) -> None:
    """What is damaged, and graphs of TensorFlow 1, are refused."""
    from tensorflow.core.protobuf import saved_model_pb2

    old = saved_model_pb2.SavedModel()
    old.meta_graphs.add()
    for content, message in ((b"\xff", "no SavedModel in its"), (old.SerializeToString(), "a graph of TensorFlow 1")):
        (tmp_path / "saved_model.pb").write_bytes(content)
        with pytest.raises(onnxrich.OnnxrichError, match=message):
            onnxrich.export(tmp_path, tmp_path / "model.onnx")


def test_several_inputs_and_outputs() -> None:
    """Inputs go by name, outputs have the names of their layers, and one head is chosen."""
    import keras
    from adapters._keras_models import P, randomised
    from keras import layers

    numbers, kind = keras.Input((6,), name="numbers"), keras.Input((1,), dtype="int32", name="kind")
    joined = layers.Concatenate()([numbers, layers.Flatten()(layers.Embedding(7, 4)(kind))])
    hidden = layers.Dense(P, activation="relu", name="hidden")(joined)
    heads = [layers.Dense(5, name="class", activation="softmax")(hidden), layers.Dense(1, name="value")(hidden)]
    for entry in ([numbers, kind], {"numbers": numbers, "kind": kind}):
        model = randomised(keras.Model(entry, heads))
        rng = np.random.default_rng(0)
        x = {"numbers": rng.normal(size=(N, 6)).astype(np.float32), "kind": rng.integers(0, 7, (N, 1))}
        inputs = list(x.values()) if isinstance(entry, list) else dict(zip(entry, x.values(), strict=True))
        features = np.asarray(keras.Model(entry, hidden)(inputs))
        head = model.get_layer("class")
        outputs = features @ np.asarray(head.kernel) + np.asarray(head.bias)
        analysis = onnxrich.run(model, [(tuple(inputs) if isinstance(inputs, list) else inputs, marks())], head=1)
        assert_parity(analysis, features, outputs, marks())


def test_refusals(tmp_path: Path) -> None:
    """What can't be exported is said with a remedy."""
    import keras
    import tensorflow as tf
    from keras import layers

    def refused(model: Any, data: Any = None) -> tuple[str, str]:
        with pytest.raises(onnxrich.OnnxrichError) as caught:
            onnxrich.run(model, data)
        return caught.value.found, caught.value.needed

    model = case("mlp")
    x = model.rows(8)
    rows = tf.data.Dataset.from_tensor_slices((x, marks(8)))
    batched = ("an item of the data has shape (10,) for 'input'", "rows in batches")
    assert refused(model.model, rows) == batched
    fresh = refused(keras.Sequential([layers.Dense(3)], name="fresh"), x)
    assert fresh == ("the Keras model 'fresh' has no weights yet", "a built model")
    several = ("an item of the data holds labels for 2 outputs", "the labels of one head")
    assert refused(model.model, [(x, (x, x))]) == several
    ragged = tf.data.Dataset.from_tensors(tf.RaggedTensor.from_tensor(x))
    assert refused(model.model, ragged) == ("the data hold a ragged or sparse tensor for 'input'", "a dense tensor")
    open_length = keras.Sequential([keras.Input((None, 8)), layers.LSTM(4), layers.Dense(3)])
    assert refused(open_length) == ("the model declares no shape for input 'input'", "data, or shapes")

    class Odd(layers.Layer):
        def call(self, x: Any) -> Any:
            return tf.math.lgamma(tf.abs(x) + 1.0)

    odd = keras.Sequential([keras.Input((10,)), layers.Dense(8), Odd(), layers.Dense(3)])
    assert refused(odd, x)[0].startswith("tf2onnx has no ONNX operator for Lgamma, at ")
    module = tf.Module()
    module.variable = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "saved"))
    unsigned = refused(tf.saved_model.load(str(tmp_path / "saved")), x)
    assert unsigned == ("the SavedModel has the signatures none", "serving_default")


def test_callback(tmp_path: Path) -> None:
    """A callback of `fit` records D_LR of each epoch from one export, and doesn't disturb the training."""
    import keras
    from adapters._keras_models import Case, cnn

    import onnxrich_tensorflow

    def trained(*callbacks: Any) -> Case:
        keras.utils.set_random_seed(3)
        model = Case(cnn(), (8, 8, 3))
        model.model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        x = model.rows(256)
        truth = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(model.hook(sample)))
        model.model.fit(x, marks(256), batch_size=64, epochs=2, verbose=0, callbacks=[truth, *callbacks])
        return model

    seen: list[Any] = []
    sample, labels = case("cnn").rows(N), marks()
    record = onnxrich_tensorflow.callback(sample, tmp_path / "records", labels=labels)
    with_records = trained(record)
    analyses = [onnxrich.Analysis.load(path) for path in sorted((tmp_path / "records").glob("*.npz"))]
    assert [analysis.record.model.step for analysis in analyses] == [0, 4, 8]
    for analysis, truth in zip(analyses[1:], seen, strict=True):
        assert_parity(analysis, *truth, labels)
        assert "exported_again" not in [notice.code for notice in analysis.notices]
    weights = with_records.model.get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(weights, trained().model.get_weights(), strict=True))


def test_documentation(tmp_path: Path) -> None:
    """What the documentation shows runs."""
    assert_runs("TensorFlow and Keras", tmp_path)
