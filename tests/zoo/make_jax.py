"""Makes the JAX family: flax (nnx and linen), equinox and plain functions through jax2onnx.

The truth comes from hooks on the heads, or from flax's `sow`; see `_jax_models.py`.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version

import jax
import jax.numpy as jnp
import jax2onnx
import numpy as np
import onnx

from _jax_models import (
    Built,
    Function,
    einsum,
    equinox_cnn,
    equinox_mlp,
    headless,
    linen_net,
    local_function,
    nnx_cnn,
    nnx_mlp,
    nnx_transformer,
    nnx_two_heads,
    plain,
)
from _record import Head, Spec, Zoo, rows


@dataclass(frozen=True)
class Case:
    """One model. `shape` is the shape of a row of its input; `pool` the axes to average for rows that are samples."""

    name: str
    build: Callable[[], Built]
    shape: tuple[int, ...] = (10,)
    n: int = 32
    rows: str = "sample"
    opset: int = 21
    pool: tuple[int, ...] = ()
    ids: bool = False
    double: bool = False
    more: dict[str, object] = field(default_factory=dict)


def record(zoo: Zoo, case: Case) -> None:
    """Exports a case and adds the entry."""
    jax.config.update("jax_enable_x64", case.double)
    rng = np.random.default_rng(sum(case.name.encode()))
    shape = (case.n, *case.shape)
    kind = np.float64 if case.double else np.float32
    x = rng.integers(0, 11, shape).astype(np.int32) if case.ids else rng.normal(size=shape).astype(kind)
    model = case.build()
    seen = [_pooled(pair, case.pool) for pair in model.seen(jnp.asarray(x))]
    heads = [Head(rows(np.asarray(features)), rows(np.asarray(logits))) for features, logits in seen]
    outputs = [np.asarray(value) for value in jax.tree.leaves(model.call(jnp.asarray(x)))]
    proto = export(model.call, case)
    expected = {0: "refuse", 1: "head"}.get(len(heads), "several")
    spec = Spec(case.name, f"jax2onnx {version('jax2onnx')}, jax {jax.__version__}", expected=expected, rows=case.rows, **case.more)  # type: ignore[arg-type]
    zoo.add(spec, proto, {proto.graph.input[0].name: x}, heads=heads, outputs=outputs)


def _pooled(pair: tuple[jax.Array, jax.Array], axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    return (pair[0].mean(axes), pair[1].mean(axes)) if axes else pair


def export(call: Function, case: Case) -> onnx.ModelProto:
    """jax2onnx with a symbolic batch; the IR version is lowered to 10, which the opset allows."""
    shape: object = ("B", *case.shape)
    if case.ids:
        batch = jax.export.symbolic_shape("B")[0]
        shape = jax.ShapeDtypeStruct((batch, *case.shape), jnp.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = jax2onnx.to_onnx(call, [shape], opset=case.opset, enable_double_precision=case.double)
    proto.ir_version = min(proto.ir_version, 10)
    return proto


def cases() -> list[Case]:
    """All models of the family."""
    image = {"shape": (8, 8, 3)}
    pixels = {"shape": (4, 4, 3), "n": 3, "rows": "position"}
    tokens = {"shape": (6, 8), "n": 8, "rows": "token"}
    double = {"rtol_features": 1e-12, "rtol_logits": 1e-12, "tolerance": "float64"}
    return [
        Case("plain", plain),
        Case("plain_transposed_weight", lambda: plain(kernel=(5, 16))),
        Case("plain_softmax", lambda: plain(lambda s: jax.nn.softmax(s, -1)), opset=18),
        Case("plain_softmax_by_hand", lambda: plain(lambda s: jnp.exp(s) / jnp.exp(s).sum(-1, keepdims=True))),
        Case("plain_argmax", lambda: plain(lambda s: jnp.argmax(s, -1))),
        Case("plain_top_k", lambda: plain(lambda s: jax.lax.top_k(s, 2))),
        Case("plain_clipped", lambda: plain(lambda s: jnp.clip(s, -1, 1))),
        Case("plain_float64", plain, double=True, more=double),
        Case("einsum_tokens", einsum, **tokens),
        Case("nnx_mlp", nnx_mlp),
        Case("nnx_norm_dropout", lambda: nnx_mlp(norm=True, dropout=True)),
        Case("nnx_bias_free_log_softmax", lambda: nnx_mlp(bias=False, after=jax.nn.log_softmax)),
        Case("nnx_cnn", lambda: nnx_cnn(end="dense"), **image),
        Case("nnx_conv_then_pool", lambda: nnx_cnn(end="pool"), pool=(1, 2), **image),
        Case("nnx_segmentation", lambda: nnx_cnn(end="pixels"), **pixels),
        Case("nnx_first_token", lambda: nnx_transformer(tied=False), shape=(6,), ids=True),
        Case("nnx_language_tied", lambda: nnx_transformer(tied=True), shape=(6,), n=8, ids=True, rows="token"),
        Case("nnx_two_heads", nnx_two_heads),
        Case("linen_mlp", lambda: linen_net((10,))),
        Case("linen_tokens", lambda: linen_net((6, 8)), **tokens),
        Case("equinox_mlp", equinox_mlp),
        Case("equinox_sigmoid", lambda: equinox_mlp(outputs=1, after=jax.nn.sigmoid)),
        Case("equinox_cnn", equinox_cnn, shape=(3, 8, 8)),
        Case("local_function_before", lambda: local_function(whole=False)),
        Case("local_function_around", lambda: local_function(whole=True)),
        Case("convolutions_only", headless, **{**pixels, "rows": "sample"}),
    ]


def main(only: list[str]) -> None:
    """Writes all entries, or tries those named without touching the index."""
    zoo = Zoo("jax")
    for case in cases():
        if not only or case.name in only:
            record(zoo, case)
    if not only:
        zoo.write()


if __name__ == "__main__":
    main(sys.argv[1:])
