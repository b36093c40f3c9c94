"""Makes the TensorFlow family: Keras' own export (which is tf2onnx inside) and tf2onnx on plain functions.

The truth comes from hooks on the head layer: what its `call` gets, and what reaches its activation.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from _record import Array, Head, Spec, Zoo, rows

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
# Keras looks for other backends, and the families' folders beside this script bear their names: jax, torch.
sys.path.remove(str(Path(__file__).resolve().parent))

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from keras import layers

P, CLASSES = 16, 5


@dataclass(frozen=True)
class Case:
    """A Keras model, its inputs, the names of its head layers, and how its rows are read."""

    name: str
    build: Callable[[], keras.Model]
    inputs: Callable[[np.random.Generator], list[Array]]
    heads: Sequence[str] = ("head",)
    read: str = "sample"
    opset: int = 18
    batch: int | None = None
    function: bool = False
    more: dict[str, object] = field(default_factory=dict)


@contextmanager
def hooked(layer: keras.Layer, seen: list[Array]) -> Iterator[None]:
    """Notes what the layer is called with and what its activation gets (or what it returns, without one)."""
    call, activation = layer.call, getattr(layer, "activation", None)

    def noted(x: tf.Tensor, **options: object) -> tf.Tensor:
        seen.append(np.asarray(x))
        out = call(x, **options)
        if activation is None:
            seen.append(np.asarray(out))
        return out

    def activate(x: tf.Tensor) -> tf.Tensor:
        seen.append(np.asarray(x))
        return activation(x)

    layer.call = noted
    if activation is not None:
        layer.activation = activate
    yield
    layer.call = call
    if activation is not None:
        layer.activation = activation


def observe(model: keras.Model, inputs: list[Array], names: Sequence[str], *, read: str) -> tuple[list[Head], list[Array]]:
    """Runs the model once for each head; the truth about the heads, and the model's outputs."""
    heads, out = [], model(_packed(inputs), training=False)
    for name in names:
        layer, seen = model.get_layer(name), []
        with hooked(layer, seen):
            model(_packed(inputs), training=False)
        heads.append(_head(layer, *seen, read=read))
    return heads, [np.asarray(value) for value in keras.tree.flatten(out)]


def _head(layer: keras.Layer, features: Array, logits: Array, *, read: str) -> Head:
    if read == "pooled":
        features, logits = features.mean((1, 2)), logits.mean((1, 2))
    kernel = np.asarray(layer.kernel, np.float64)
    bias = getattr(layer, "bias", None)
    return Head(rows(features), rows(logits), kernel.reshape(-1, kernel.shape[-1]), None if bias is None else np.asarray(bias, np.float64))


def _packed(inputs: list[Array]) -> object:
    return inputs if len(inputs) > 1 else inputs[0]


def randomised(model: keras.Model, rng: np.random.Generator) -> keras.Model:
    """Gives every weight random values: no zero bias, no neutral norm."""
    for weight in model.weights:
        kind = weight.path.rsplit("/", 1)[-1]
        if not keras.backend.is_float_dtype(weight.dtype):
            continue
        if kind in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, weight.shape)
        elif len(weight.shape) < 2:
            value = rng.normal(0, 0.3, weight.shape)
        else:
            value = rng.normal(0, 1.3 / np.sqrt(np.prod(weight.shape[:-1])), weight.shape)
        weight.assign(value.astype(weight.dtype))
    return model


def export(model: keras.Model, inputs: list[Array], case: Case) -> onnx.ModelProto:
    """Keras' export, or tf2onnx on a function."""
    if case.function:
        signature = [tf.TensorSpec((case.batch, *a.shape[1:]), tf.as_dtype(a.dtype), name=f"x{i}") for i, a in enumerate(inputs)]

        def call(*args: tf.Tensor) -> object:
            return model(_packed(list(args)), training=False)

        return tf2onnx.convert.from_function(tf.function(call), input_signature=signature, opset=case.opset)[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.export(str(path), format="onnx", opset_version=case.opset, verbose=False)
        return onnx.load(path)


def record(zoo: Zoo, case: Case) -> None:
    """Exports a case and adds the entry."""
    rng = np.random.default_rng(sum(case.name.encode()))
    keras.utils.set_random_seed(7)
    model = case.build()
    inputs = case.inputs(rng)
    model(_packed(inputs), training=False)
    model = randomised(model, rng)
    heads, outputs = observe(model, inputs, case.heads, read=case.read)
    proto = export(model, inputs, case)
    kind = case.read if case.read in ("token", "position") else "sample"
    expected = {0: "refuse", 1: "head"}.get(len(heads), "several")
    exporter = f"tf2onnx {tf2onnx.__version__}" + ("" if case.function else f" through keras {keras.__version__}")
    spec = Spec(case.name, exporter, expected=expected, rows=kind, batch=case.batch, **case.more)  # type: ignore[arg-type]
    names = [value.name for value in proto.graph.input]
    zoo.add(spec, proto, dict(zip(names, inputs, strict=True)), heads=heads, outputs=outputs)


def chain(*stack: keras.Layer) -> Callable[[], keras.Model]:
    """A builder for a sequential model; configurations are copied so that each build is fresh."""
    return lambda: keras.Sequential([type(layer).from_config(layer.get_config()) for layer in stack])


class Tied(keras.Model):
    """A language model: embedding, a recurrent layer, the embedding's weights as head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell, self.head = layers.Embedding(11, P), layers.GRU(P, return_sequences=True), TiedHead(name="head")

    def call(self, ids: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Scores of the next token at every token."""
        x = self.cell(self.embedding(ids))
        self.head.table = self.embedding.embeddings
        return self.head(x)


class TiedHead(keras.Layer):
    """A product with the transposed embedding."""

    table = None

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """The scores."""
        return tf.matmul(x, self.table, transpose_b=True)

    @property
    def kernel(self) -> Array:
        """The weights as a dense layer would hold them."""
        return np.asarray(self.table).T


class Plain(keras.Model):
    """A subclassed model with a function behind its head."""

    def __init__(self, after: Callable[[tf.Tensor], object]) -> None:
        super().__init__()
        self.hidden, self.head, self.after = layers.Dense(P, activation="tanh"), layers.Dense(CLASSES, name="head"), after

    def call(self, x: tf.Tensor, training: bool = False) -> object:
        """Whatever stands behind the scores."""
        return self.after(self.head(self.hidden(x)))


def attention() -> keras.Model:
    """A transformer block with multi-head attention; the mean token is classified."""
    x = entry = keras.Input((6, 8))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(entry, layers.Dense(CLASSES, name="head", activation="softmax")(x))


def several(*, shared: bool) -> keras.Model:
    """Two heads, on the same features or each on its own."""
    entry = keras.Input((10,))
    left = layers.Dense(P, activation="relu")(entry)
    right = left if shared else layers.Dense(12, activation="tanh")(entry)
    return keras.Model(entry, [layers.Dense(4, activation="softmax", name="kind")(left), layers.Dense(1, name="value")(right)])


def residual() -> keras.Model:
    """Convolutions with a shortcut, NHWC, global pooling."""
    x = entry = keras.Input((8, 8, 3))
    for width in (8, 16):
        y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(x))
        x = layers.Activation("relu")(y + layers.Conv2D(width, 1)(x))
    return keras.Model(entry, layers.Dense(CLASSES, name="head")(layers.GlobalAveragePooling2D()(x)))


def two_inputs() -> keras.Model:
    """Numbers and a category."""
    numbers, category = keras.Input((6,)), keras.Input((1,), dtype="int32")
    x = layers.Concatenate()([numbers, layers.Flatten()(layers.Embedding(7, 4)(category))])
    return keras.Model([numbers, category], layers.Dense(3, name="head")(layers.Dense(P, activation="relu")(x)))


def cases() -> list[Case]:
    """All models of the family."""
    table = lambda rng: [rng.normal(size=(32, 10)).astype(np.float32)]
    images = lambda rng: [(rng.normal(size=(32, 8, 8, 3)) + 2 * rng.normal(size=(32, 1, 1, 3))).astype(np.float32)]
    small = lambda rng: [a[:3, :4, :4] for a in images(rng)]
    series = lambda rng: [rng.normal(size=(8, 6, 8)).astype(np.float32)]
    many = lambda rng: [rng.normal(size=(32, 6, 8)).astype(np.float32)]
    ids = lambda rng: [rng.integers(0, 11, (8, 6)).astype(np.int32)]
    hidden, soft = layers.Dense(P, activation="relu"), layers.Dense(CLASSES, name="head", activation="softmax")
    linear, conv = layers.Dense(CLASSES, name="head"), layers.Conv2D(12, 3, activation="relu", padding="same")
    point, pool = layers.Conv2D(CLASSES, 1, name="head"), layers.GlobalAveragePooling2D()
    bare = layers.Dense(CLASSES, name="head", use_bias=False)
    keep = layers.GlobalAveragePooling2D(keepdims=True)
    half = {"rtol_features": 5e-3, "rtol_logits": 5e-3, "tolerance": "float16: 5 eps"}
    return [
        Case("mlp_softmax", chain(hidden, soft), table),
        Case("mlp_old_opset", chain(hidden, linear), table, opset=13),
        Case("mlp_bias_free", chain(hidden, bare), table),
        Case("mlp_norm_dropout", chain(hidden, layers.LayerNormalization(), layers.Dropout(0.5), linear), table),
        Case("mlp_batch_norm", chain(hidden, layers.BatchNormalization(), layers.Activation("relu"), soft), table),
        Case("mlp_fixed_batch", chain(hidden, soft), table, function=True, batch=8),
        Case("regression", chain(hidden, layers.Dense(1, name="head")), table),
        Case("sigmoid", chain(hidden, layers.Dense(1, name="head", activation="sigmoid")), table),
        Case("cnn", chain(conv, layers.MaxPooling2D(), layers.Flatten(), hidden, soft), images),
        Case("cnn_pooled", chain(conv, pool, linear), images, opset=15),
        Case("resnet", residual, images),
        Case("conv_then_pool", chain(conv, point, pool), images, read="pooled"),
        Case("conv_relu_pool", chain(conv, point, layers.Activation("relu"), pool), small, read="position"),
        Case("pool_then_conv", chain(conv, keep, point, layers.Flatten(), layers.Softmax()), images, read="pooled"),
        Case("segmentation", chain(conv, point, layers.Softmax()), small, read="position"),
        Case("dense_per_token", chain(layers.LSTM(P, return_sequences=True), linear), series, read="token"),
        Case("einsum_dense", chain(layers.Dense(P, activation="tanh"), layers.EinsumDense("abc,cd->abd", (None, CLASSES), bias_axes="d", name="head")),
             series, read="token"),
        Case("lstm", chain(layers.LSTM(P), soft), many),
        Case("gru", chain(layers.Bidirectional(layers.GRU(8)), linear), many),
        Case("attention", attention, many),
        Case("language_tied", Tied, ids, read="token", function=True),
        Case("two_heads_shared", lambda: several(shared=True), table, heads=("kind", "value")),
        Case("two_tasks", lambda: several(shared=False), table, heads=("kind", "value")),
        Case("two_inputs", two_inputs, lambda rng: [rng.normal(size=(32, 6)).astype(np.float32), rng.integers(0, 7, (32, 1)).astype(np.int32)]),
        Case("softmax_by_hand", lambda: Plain(by_hand), table, function=True, more={"notes": "Softmax written as Max, Sub, Exp, Sum, Div."}),
        Case("softmax_first_axis", lambda: Plain(lambda s: tf.transpose(tf.nn.softmax(tf.transpose(s), axis=0))), table, function=True),
        Case("log_softmax", lambda: Plain(tf.nn.log_softmax), table, function=True),
        Case("argmax", lambda: Plain(lambda s: tf.argmax(s, -1)), table, function=True),
        Case("top_k", lambda: Plain(lambda s: tuple(tf.math.top_k(tf.nn.softmax(s), 2))), table, function=True),
        Case("temperature_clip", lambda: Plain(lambda s: tf.clip_by_value(s / 4.0, -0.5, 0.5)), table, function=True, more={"scale_after": 0.25}),
        Case("float16", lambda: Half(), table, function=True, more=half),
        Case("image_to_image", chain(conv, layers.Conv2D(3, 3, padding="same")), small, heads=(), more={"notes": "Ends in a 3×3 convolution."}),
    ]


class Half(keras.Model):
    """Float16 between casts."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = layers.Dense(P, activation="relu", dtype="float16"), layers.Dense(CLASSES, name="head", dtype="float16")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Scores as float32."""
        return tf.cast(self.head(self.hidden(tf.cast(x, tf.float16))), tf.float32)


def by_hand(scores: tf.Tensor) -> tf.Tensor:
    """Softmax in elementary operations."""
    exponentials = tf.exp(scores - tf.reduce_max(scores, -1, keepdims=True))
    return exponentials / tf.reduce_sum(exponentials, -1, keepdims=True)


def main(only: list[str]) -> None:
    """Writes all entries, or tries those named without touching the index."""
    zoo = Zoo("tensorflow")
    for case in cases():
        if not only or case.name in only:
            record(zoo, case)
    if not only:
        zoo.write()


if __name__ == "__main__":
    main(sys.argv[1:])
