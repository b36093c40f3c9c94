"""Models of JAX: plain functions, flax (nnx and linen) and equinox, each with a hook on its head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import jax2onnx
from flax import linen, nnx

P, CLASSES = 16, 5
Function = Callable[[jax.Array], object]


@dataclass(frozen=True)
class Built:
    """A model as functions: what is exported, and what a hook saw: one (features, logits) for each head."""

    call: Function
    seen: Callable[[jax.Array], list[tuple[jax.Array, jax.Array]]]


class Hook:
    """A head that notes what passes through it, as nothing in JAX has forward hooks."""

    def __init__(self, layer: Function) -> None:
        self.layer, self.seen, self.on = layer, [], False

    def __call__(self, x: jax.Array) -> jax.Array:
        """The layer's output, noted with its input while `on`."""
        out = self.layer(x)
        if self.on:
            self.seen.append((x, out))
        return out


def built(call: Function, *hooks: Hook, view: Function | None = None) -> Built:
    """A model around hooked heads; `view` runs it on a batch without transformations, so that hooks see arrays."""

    def seen(x: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        for hook in hooks:
            hook.seen.clear()
            hook.on = True
        (view or call)(x)
        for hook in hooks:
            hook.on = False
        stack = lambda pairs: pairs[0] if len(pairs) == 1 else tuple(jnp.stack(part) for part in zip(*pairs, strict=True))
        return [stack(hook.seen) for hook in hooks]

    return Built(call, seen)


def jiggled(tree: object, seed: int = 0) -> object:
    """The same parameters with noise, so that no bias is zero and no scale is one."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    noisy = [
        leaf + 0.3 * jax.random.uniform(key, leaf.shape, leaf.dtype) if eqx.is_inexact_array(leaf) else leaf
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, noisy)


def noisy(module: nnx.Module) -> nnx.Module:
    """An nnx module with noise on its parameters."""
    nnx.update(module, jiggled(nnx.state(module, nnx.Param)))
    return module


def plain(after: Function = lambda s: s, *, kernel: tuple[int, int] = (P, CLASSES)) -> Built:
    """Matrix products and nothing else; `kernel` (C, p) makes the product contract the second axis."""
    keys = jax.random.split(jax.random.key(1), 4)
    w1, b1 = jax.random.normal(keys[0], (10, P)) / 3, jax.random.normal(keys[1], (P,))
    w2, b2 = jax.random.normal(keys[2], kernel) / 4, jax.random.normal(keys[3], (CLASSES,))
    axis = kernel.index(P)
    head = Hook(lambda x: jax.lax.dot_general(x, w2.astype(x.dtype), (((1,), (axis,)), ((), ()))) + b2.astype(x.dtype))
    return built(lambda x: after(head(jnp.tanh(x @ w1.astype(x.dtype) + b1.astype(x.dtype)))), head)


def einsum() -> Built:
    """A multi-head style einsum over tokens."""
    keys = jax.random.split(jax.random.key(2), 3)
    w1, w2 = jax.random.normal(keys[0], (8, P)) / 3, jax.random.normal(keys[1], (P, CLASSES)) / 4
    offset = jax.random.normal(keys[2], (CLASSES,))
    head = Hook(lambda x: jnp.einsum("btp,pc->btc", x, w2) + offset)
    return built(lambda x: head(jax.nn.gelu(x @ w1)), head)


def nnx_mlp(*, norm: bool = False, dropout: bool = False, after: Function = lambda s: s, bias: bool = True) -> Built:
    """flax.nnx layers; dropout is deterministic."""
    rngs = nnx.Rngs(0)
    first, scale = noisy(nnx.Linear(10, P, rngs=rngs)), noisy(nnx.LayerNorm(P, rngs=rngs))
    drop, head = nnx.Dropout(0.5, deterministic=True, rngs=rngs), Hook(noisy(nnx.Linear(P, CLASSES, use_bias=bias, rngs=rngs)))

    def call(x: jax.Array) -> object:
        x = jax.nn.relu(first(x))
        x = scale(x) if norm else x
        return after(head(drop(x) if dropout else x))

    return built(call, head)


def nnx_cnn(*, end: str) -> Built:
    """flax.nnx convolutions, NHWC: pooled before a dense head, or a 1×1 convolution before pooling or at every pixel."""
    rngs = nnx.Rngs(0)
    conv, norm = noisy(nnx.Conv(3, P, (3, 3), rngs=rngs)), noisy(nnx.BatchNorm(P, use_running_average=True, rngs=rngs))
    layer = nnx.Linear(P, CLASSES, rngs=rngs) if end == "dense" else nnx.Conv(P, CLASSES, (1, 1), rngs=rngs)
    head = Hook(noisy(layer))

    def call(x: jax.Array) -> jax.Array:
        x = jax.nn.relu(norm(conv(x)))
        if end == "dense":
            return head(x.mean((1, 2)))
        return head(x).mean((1, 2)) if end == "pool" else jax.nn.softmax(head(x))

    return built(call, head)


def nnx_transformer(*, tied: bool) -> Built:
    """Embedding, attention, and either the first token's class or the tied embedding's scores at every token."""
    rngs = nnx.Rngs(0)
    table, norm = noisy(nnx.Embed(11, P, rngs=rngs)), noisy(nnx.LayerNorm(P, rngs=rngs))
    attention = noisy(nnx.MultiHeadAttention(2, P, decode=False, rngs=rngs))
    head = Hook(table.attend if tied else noisy(nnx.Linear(P, CLASSES, rngs=rngs)))

    def call(ids: jax.Array) -> jax.Array:
        x = table(ids)
        x = norm(x + attention(x))
        return head(x if tied else x[:, 0])

    return built(call, head)


def nnx_two_heads() -> Built:
    """Two heads with the same features."""
    rngs = nnx.Rngs(0)
    first = noisy(nnx.Linear(10, P, rngs=rngs))
    kind, value = Hook(noisy(nnx.Linear(P, CLASSES, rngs=rngs))), Hook(noisy(nnx.Linear(P, 2, rngs=rngs)))

    def call(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = jax.nn.relu(first(x))
        return jax.nn.softmax(kind(x)), value(x)

    return built(call, kind, value)


class LinenNet(linen.Module):
    """A linen model; what it sows is the truth."""

    tokens: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The scores."""
        x = linen.LayerNorm()(linen.gelu(linen.Dense(P)(x)))
        self.sow("intermediates", "features", x)
        out = linen.Dense(CLASSES)(x)
        self.sow("intermediates", "logits", out)
        return linen.log_softmax(out)


def linen_net(shape: tuple[int, ...]) -> Built:
    """A linen model with its parameters bound."""
    model = LinenNet()
    parameters = {"params": jiggled(model.init(jax.random.key(0), jnp.ones((1, *shape)))["params"])}

    def seen(x: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        kept = model.apply(parameters, x, mutable=["intermediates"])[1]["intermediates"]
        return [(kept["features"][0], kept["logits"][0])]

    return Built(lambda x: model.apply(parameters, x), seen)


def equinox_mlp(*, outputs: int = CLASSES, after: Function = lambda s: s) -> Built:
    """equinox layers, mapped over the batch; the hook is seen without vmap, row by row."""
    keys = jax.random.split(jax.random.key(3))
    first, last = jiggled(eqx.nn.Linear(10, P, key=keys[0])), jiggled(eqx.nn.Linear(P, outputs, key=keys[1]))
    head = Hook(last)

    def one(x: jax.Array) -> jax.Array:
        return head(jax.nn.silu(first(x)))

    return built(lambda x: after(jax.vmap(one)(x)), head, view=lambda x: [one(row) for row in x])


def equinox_cnn() -> Built:
    """equinox convolutions, CHW, mapped over the batch, with average pooling."""
    keys = jax.random.split(jax.random.key(4))
    conv, last = jiggled(eqx.nn.Conv2d(3, P, 3, key=keys[0])), jiggled(eqx.nn.Linear(P, CLASSES, key=keys[1]))
    head = Hook(last)

    def one(x: jax.Array) -> jax.Array:
        return head(jax.nn.relu(conv(x)).mean((1, 2)))

    return built(jax.vmap(one), head, view=lambda x: [one(row) for row in x])


@jax2onnx.onnx_function
class Block(nnx.Module):
    """A layer with an activation, which jax2onnx writes as a local function; with a head behind it where one is passed."""

    def __init__(self, head: Hook | None = None) -> None:
        self.layer, self.head = noisy(nnx.Linear(10, P, rngs=nnx.Rngs(0))), nnx.data(head) if head else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """The activations, or the head's scores."""
        x = jax.nn.relu(self.layer(x))
        return x if self.head is None else self.head(x)


def local_function(*, whole: bool) -> Built:
    """A local function before the head, or one that holds the head too."""
    head = Hook(noisy(nnx.Linear(P, CLASSES, rngs=nnx.Rngs(1))))
    block = Block(head if whole else None)
    return built(lambda x: jax.nn.softmax(block(x) if whole else head(block(x))), head)


def headless() -> Built:
    """Convolutions only."""
    conv = noisy(nnx.Conv(3, 3, (3, 3), rngs=nnx.Rngs(0)))
    return built(lambda x: jax.nn.sigmoid(conv(x)))
