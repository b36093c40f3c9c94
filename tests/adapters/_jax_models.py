"""Models of flax, equinox and plain JAX with what their own hooks say of the penultimate layer.

Each case is a model as `onnxrich.run` takes it, the shape of a row, and `hook(x) -> (features, outputs)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

P, CLASSES, TOKENS = 16, 5, 11
IMAGE, ROW = (8, 8, 3), (10,)
Pair = tuple[Any, Any]


@dataclass(frozen=True)
class Case:
    """A model and its truth."""

    model: Any
    shape: tuple[int, ...]
    hook: Callable[[Any], Pair]
    tokens: bool = False
    renewed: Any = None  # from other parameters to a case, where these are apart from the model

    def rows(self, n: int) -> np.ndarray:
        """Random rows that differ from each other."""
        rng = np.random.default_rng(0)
        if self.tokens:
            return rng.integers(0, TOKENS, (n, *self.shape)).astype(np.int32)
        return (rng.normal(size=(n, *self.shape)) + rng.normal(size=(n, *[1] * len(self.shape)))).astype(np.float32)


def shaken(tree: Any) -> Any:
    """Parameters with noise, so that no bias is zero, no scale and no variance one."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [
        leaf + jax.random.uniform(key, leaf.shape, leaf.dtype, 0, 0.3) if eqx.is_inexact_array(leaf) else leaf
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, noisy)


class NnxMLP(nnx.Module):
    """Dense layers with dropout, which is off in evaluation."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.head = nnx.Linear(*ROW, P, rngs=rngs), nnx.Linear(P, CLASSES, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores."""
        return self.head(self.drop(jax.nn.relu(self.first(x))))


class NnxCNN(nnx.Module):
    """A convolution, batch norm on running averages, pooling."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv, self.norm = nnx.Conv(3, P, (3, 3), rngs=rngs), nnx.BatchNorm(P, rngs=rngs)
        self.head = nnx.Linear(P, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Probabilities."""
        return jax.nn.softmax(self.head(jax.nn.relu(self.norm(self.conv(x))).mean((1, 2))))


class NnxTransformer(nnx.Module):
    """Embedding, attention, a gated block; the mean token is classified."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.table, self.norm = nnx.Embed(TOKENS, 8, rngs=rngs), nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.up, self.head = nnx.Linear(8, P, rngs=rngs), nnx.Linear(P, CLASSES, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Scores."""
        x = self.table(ids)
        x = self.norm(x + self.attention(x))
        return self.head(jax.nn.gelu(self.up(x)).mean(1))


def of_nnx(kind: type, shape: tuple[int, ...], *, tokens: bool = False) -> Case:
    """An nnx module; a head that notes what passes through it is put in for the hook."""
    model = kind(nnx.Rngs(0))
    nnx.update(model, shaken(nnx.state(model)))

    def hook(x: Any) -> Pair:
        copy, seen = nnx.clone(model), []
        copy.eval()
        head = copy.head
        copy.head = nnx.static(lambda features: seen.append((features, head(features))) or seen[0][1])
        copy(jnp.asarray(x))
        return seen[0]

    return Case(model, shape, hook, tokens)


class Net(linen.Module):
    """A linen model of one of three kinds, with dropout and batch norm behind a `train` switch."""

    kind: str

    @linen.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Scores."""
        if self.kind == "transformer":
            x = linen.Embed(TOKENS, 8)(x)
            x = linen.LayerNorm()(x + linen.MultiHeadDotProductAttention(2)(x, x))
            x = linen.gelu(linen.Dense(P)(x)).mean(1)
        elif self.kind == "cnn":
            x = linen.relu(linen.Conv(P, (3, 3))(x))
            x = linen.max_pool(x, window_shape=(2, 2), strides=(2, 2)).mean((1, 2))
        else:
            x = linen.relu(linen.BatchNorm(use_running_average=not train)(linen.Dense(P)(x)))
        return linen.Dense(CLASSES)(linen.Dropout(0.5, deterministic=not train)(x))


def of_linen(kind: str, shape: tuple[int, ...], *, tokens: bool = False, variables: Any = None) -> Case:
    """A linen module with its variables; flax's own record of what each module returned is the hook."""
    module = Net(kind)
    if variables is None:
        start = jnp.zeros((1, *shape), jnp.int32 if tokens else jnp.float32)
        variables = shaken(module.init(jax.random.key(0), start, train=False))

    def hook(x: Any) -> Pair:
        outputs, captured = module.apply(
            variables, jnp.asarray(x), train=False, capture_intermediates=True, mutable=["intermediates"]
        )
        return captured["intermediates"]["Dropout_0"]["__call__"][0], outputs

    return Case(
        (module, variables), shape, hook, tokens, lambda new: of_linen(kind, shape, tokens=tokens, variables=new)
    )


class Eqx(eqx.Module):
    """An equinox model: a body that makes features of one row, and a head."""

    body: Any
    head: eqx.nn.Linear

    def __call__(self, x: jax.Array, key: Any = None) -> jax.Array:
        """Scores of one row."""
        return self.head(self.body(x))


class EqxCNN(eqx.Module):
    """A convolution of (channels, height, width), and pooling."""

    conv: eqx.nn.Conv2d

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features of one image."""
        return jax.nn.relu(self.conv(x)).mean((1, 2))


class EqxTransformer(eqx.Module):
    """Embedding and attention; the mean token."""

    table: eqx.nn.Embedding
    attention: eqx.nn.MultiheadAttention
    norm: eqx.nn.LayerNorm

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Features of one sequence."""
        x = jax.vmap(self.table)(ids)
        return jax.vmap(self.norm)(x + self.attention(x, x, x)).mean(0)


def of_equinox(body: Any, shape: tuple[int, ...], *, width: int = P, tokens: bool = False) -> Case:
    """An equinox module, whose parts are functions: the body is the hook."""
    model = shaken(Eqx(body, eqx.nn.Linear(width, CLASSES, key=jax.random.key(2))))

    def hook(x: Any) -> Pair:
        features = jax.vmap(model.body)(jnp.asarray(x))
        return features, jax.vmap(model.head)(features)

    return Case(model, shape, hook, tokens)


def of_function(features: Callable[[Any, Any], Any], parameters: Any, shape: tuple[int, ...]) -> Case:
    """A plain function with its parameters; the head is `h` and `c`."""

    def scores(parameters: Any, x: Any) -> Any:
        return features(parameters, x) @ parameters["h"] + parameters["c"]

    def hook(x: Any) -> Pair:
        return features(parameters, jnp.asarray(x)), scores(parameters, jnp.asarray(x))

    return Case((scores, parameters), shape, hook, renewed=lambda new: of_function(features, new, shape))


def arrays(**shapes: tuple[int, ...]) -> dict[str, jax.Array]:
    """Random parameters, and those of a head."""
    rng = np.random.default_rng(3)
    return {
        name: jnp.asarray(rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape), jnp.float32)
        for name, shape in (shapes | {"h": (P, CLASSES), "c": (CLASSES,)}).items()
    }


def attend(p: Any, x: Any) -> Any:
    """One attention head over (batch, tokens, width), a norm by hand, a wider layer, the mean token."""
    scores = jnp.einsum("btd,bsd->bts", x @ p["q"], x @ p["k"]) / jnp.sqrt(8.0)
    x = x + jax.nn.softmax(scores, -1) @ (x @ p["v"])
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return jax.nn.gelu(x @ p["u"]).mean(1)


def convolve(p: Any, x: Any) -> Any:
    """A convolution in XLA's own words."""
    out = jax.lax.conv_general_dilated(x, p["k"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jax.nn.relu(out).mean((1, 2))


def trained(case: Case) -> Case:
    """The case with other weights: what a training makes of a model, in a new object where the library has it so."""
    if isinstance(case.model, nnx.Module):
        nnx.update(case.model, shaken(nnx.state(case.model)))
        return case
    if isinstance(case.model, eqx.Module):
        return of_equinox(case.model.body, case.shape, width=case.model.head.in_features, tokens=case.tokens)
    return case.renewed(shaken(case.model[1]))


def cases() -> dict[str, Callable[[], Case]]:
    """An MLP, a CNN and a transformer of each kind."""
    key = jax.random.key(4)
    square = {"q": (8, 8), "k": (8, 8), "v": (8, 8), "u": (8, P)}
    return {
        "nnx-mlp": lambda: of_nnx(NnxMLP, ROW),
        "nnx-cnn": lambda: of_nnx(NnxCNN, IMAGE),
        "nnx-transformer": lambda: of_nnx(NnxTransformer, (6,), tokens=True),
        "linen-mlp": lambda: of_linen("mlp", ROW),
        "linen-cnn": lambda: of_linen("cnn", IMAGE),
        "linen-transformer": lambda: of_linen("transformer", (6,), tokens=True),
        "equinox-mlp": lambda: of_equinox(eqx.nn.MLP(*ROW, P, 12, 1, final_activation=jax.nn.silu, key=key), ROW),
        "equinox-cnn": lambda: of_equinox(EqxCNN(eqx.nn.Conv2d(3, P, 3, key=key)), (3, 8, 8)),
        "equinox-transformer": lambda: of_equinox(
            EqxTransformer(
                eqx.nn.Embedding(TOKENS, 8, key=key),
                eqx.nn.MultiheadAttention(2, 8, key=key),
                eqx.nn.LayerNorm(8),
            ),
            (6,),
            width=8,
            tokens=True,
        ),
        "function-mlp": lambda: of_function(lambda p, x: jnp.tanh(x @ p["w"]), arrays(w=(*ROW, P)), ROW),
        "function-cnn": lambda: of_function(convolve, arrays(k=(3, 3, 3, P)), IMAGE),
        "function-transformer": lambda: of_function(attend, arrays(**square), (6, 8)),
    }
