"""Models of JAX through ONNX say what the frameworks' own intermediate values say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapters._docs import assert_runs
from adapters._parity import assert_parity

import onnxrich

pytestmark = pytest.mark.jax

KINDS = [
    f"{library}-{model}"
    for library in ("nnx", "linen", "equinox", "function")
    for model in ("mlp", "cnn", "transformer")
]
N = 600


def case(kind: str) -> Any:
    """A model with its truth."""
    from adapters import _jax_models

    return _jax_models.cases()[kind]()


def marks(n: int = N) -> np.ndarray:
    """Random classes."""
    return np.random.default_rng(1).integers(0, 5, n)


@pytest.mark.parametrize("kind", KINDS)
def test_parity(kind: str) -> None:
    """D_LR from batches through ONNX equals the oracle's on the framework's own features."""
    model = case(kind)
    x, labels = model.rows(N), marks()
    features, outputs = map(np.asarray, model.hook(x))
    batches = [(x[:250], labels[:250]), (x[250:], labels[250:])]
    assert_parity(onnxrich.run(model.model, batches), features, outputs, labels)


def test_data() -> None:
    """Arrays of JAX, mappings, generators with sample weights: the same rows give the same numbers."""
    import jax.numpy as jnp

    model = case("nnx-mlp")
    x, labels = model.rows(N), marks()
    expected = onnxrich.run(model.model, x, labels).metrics
    halves = [(x[:300], labels[:300]), (x[300:], labels[300:])]
    assert expected["accuracy"] is not None
    assert onnxrich.run(model.model, jnp.asarray(x), jnp.asarray(labels)).metrics == expected
    assert onnxrich.run(model.model, {"x": x, "y": labels, "more": x}).metrics == expected
    for loader in (
        ({"x": a, "labels": b} for a, b in halves),
        (((a,), b, np.ones(len(b))) for a, b in halves),
    ):
        metrics = onnxrich.run(model.model, loader, batch_size=300).metrics
        # Sums in another order, of 600 terms in float64.
        assert metrics["d_lr"] == pytest.approx(expected["d_lr"], abs=1e-12)


def test_export(tmp_path: Path) -> None:
    """Weights have their paths for names, a bias of zeros is kept, and the model says where it comes from."""
    import jax
    import onnx
    from flax import nnx

    model = nnx.Sequential(nnx.Linear(10, 16, rngs=nnx.Rngs(0)), jax.nn.relu, nnx.Linear(16, 5, rngs=nnx.Rngs(1)))
    export = onnxrich.export(model, tmp_path / "model.onnx", np.ones((3, 10), np.float32), step=7)
    written = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(written, full_check=True)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in written.graph.initializer}
    assert np.array_equal(weights["layers/2/kernel"], model.layers[2].kernel[...])
    assert not weights["layers/2/bias"].any()
    marks = {entry.key: entry.value for entry in written.metadata_props}
    expected = {"onnxrich.framework": "jax", "onnxrich.framework_version": jax.__version__, "onnxrich.step": "7"}
    assert expected.items() <= marks.items()
    assert (export.inputs, export.outputs) == (("x",), ("output",))
    assert written.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert export.error <= export.allowed


def test_float64(tmp_path: Path) -> None:
    """With 64 bits enabled a model is exported in them."""
    import jax

    with jax.enable_x64(True):
        model = case("function-mlp")
        scores, parameters = model.model
        double = {name: np.asarray(value, np.float64) for name, value in parameters.items()}
        export = onnxrich.export((scores, double), tmp_path / "model.onnx", model.rows(4).astype(np.float64))
    # Ten terms and a hyperbolic tangent in float64.
    assert export.error < 1e-14


def test_training_mode_is_kept() -> None:
    """A module of nnx in training mode is measured in evaluation mode, and left in training mode."""
    model = case("nnx-mlp")
    x, labels = model.rows(N), marks()
    model.model.train()
    assert_parity(onnxrich.run(model.model, x, labels), *map(np.asarray, model.hook(x)), labels)
    assert not model.model.drop.deterministic


def test_equinox_conventions() -> None:
    """A module in a pair with a function takes batches; one with state is run on it; dropout is off in both."""
    import equinox as eqx
    import jax

    class Stateful(eqx.Module):
        body: eqx.nn.Linear
        norm: eqx.nn.BatchNorm
        head: eqx.nn.Linear

        def __call__(self, x: Any, state: Any) -> Any:
            x, state = self.norm(self.body(x), state)
            return self.head(jax.nn.relu(x)), state

    mlp = case("equinox-mlp")
    x, labels = mlp.rows(N), marks()
    truth = [np.asarray(part) for part in mlp.hook(x)]
    assert_parity(onnxrich.run((lambda model, x: jax.vmap(model)(x), mlp.model), x, labels), *truth, labels)

    keys = jax.random.split(jax.random.key(0))
    parts = (eqx.nn.Linear(10, 16, key=keys[0]), eqx.nn.BatchNorm(16, "batch", mode="ema"))
    model, state = eqx.nn.make_with_state(lambda: Stateful(*parts, eqx.nn.Linear(16, 5, key=keys[1])))()
    _, state = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)
    mean, variance = state.get(model.norm.ema_state_index)
    hidden = (np.asarray(jax.vmap(model.body)(x)) - mean) / np.sqrt(variance + model.norm.eps)
    features = np.maximum(hidden, 0)
    outputs = features @ np.asarray(model.head.weight).T + np.asarray(model.head.bias)
    assert_parity(onnxrich.run((model, state), x, labels), features, outputs, labels)


def test_refusals() -> None:
    """What can't be exported is said with a remedy."""
    import jax.numpy as jnp
    from flax import linen

    class Pooled(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            return linen.Dense(5)(linen.max_pool(x, (2, 2)).mean((1, 2)))

    def refused(model: Any, data: Any = None) -> tuple[str, str]:
        with pytest.raises(onnxrich.OnnxrichError) as caught:
            onnxrich.run(model, data)
        return caught.value.found, caught.value.needed

    import jax

    model = case("nnx-mlp")
    module, variables = case("linen-mlp").model
    images = jnp.ones((4, 8, 8, 3))
    pooled = Pooled()
    assert refused(model.model) == ("a JAX model comes without data", "rows to trace it with")
    assert refused(module, images) == ("the linen module Net comes without its variables", "a pair of both")
    named = refused(model.model, {"image": images})
    assert named == ("an item of the data holds image", "an array for each of x")
    parts = ("an item of the data has 4 parts", "(x,), (x, y) or (x, y, sample weights)")
    assert refused(model.model, [(images,) * 4]) == parts
    scalar = ("data of type int can't be iterated over", "arrays, or an iterable of batches")
    assert refused(model.model, 3) == scalar
    parameters = pooled.init(jax.random.key(0), images)
    assert refused((pooled, parameters), images)[0].startswith("jax2onnx can't convert the model: TypeError: ")
    assert onnxrich.run(module.bind(variables), case("linen-mlp").rows(64)).record.head.p == 16


@pytest.mark.parametrize("kind", ["nnx-mlp", "linen-cnn", "equinox-transformer", "function-mlp"])
def test_record(kind: str, tmp_path: Path) -> None:
    """A loop records D_LR of each step's own weights from one export."""
    import onnxrich_jax
    from adapters import _jax_models

    model, labels = case(kind), marks()
    x = model.rows(N)
    record = onnxrich_jax.callback(x, tmp_path / "records", labels=labels)
    for step in (0, 10):
        analysis = record(step, model.model)
        assert_parity(analysis, *map(np.asarray, model.hook(x)), labels)
        assert "exported_again" not in [notice.code for notice in analysis.notices]
        assert analysis.record.model.step == step
        model = _jax_models.trained(model)
    assert [path.name for path in sorted((tmp_path / "records").glob("*.json"))] == [
        "step-00000000.json",
        "step-00000010.json",
    ]


def test_documentation(tmp_path: Path) -> None:
    """What the documentation shows runs."""
    assert_runs("JAX", tmp_path)
