"""Analysis to render: made from random rows, no model is run."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import pytest

from onnxrich.errors import Notice
from onnxrich.moments.matrix import Moments
from onnxrich.pipelines.evaluate import evaluate_moments
from onnxrich.results.analysis import Analysis
from onnxrich.results.provenance import DataInfo, HeadInfo, ModelInfo, Provenance, RuntimeInfo

HOSTILE = "models/</script><img src=x onerror=alert(1)>[red]x[/red]\x1b[31m\u202e$x_1$\udcff.onnx"


def record(name: str, p: int, C: int, n: int, *, synthetic: bool = False) -> Provenance:
    """A record of a model of that name; tensor and source names are as hostile as the model's."""
    notices = (Notice("synthetic_data", "No data were given: the inputs are random."),) if synthetic else ()
    return Provenance(
        ModelInfo(name, "ab" * 32, "pytorch 2.13.0", 18, 118_282),
        HeadInfo(f"relu {name}", "logits", "Gemm", "sample", p, C, True, 2.1e-7),
        DataInfo("evaluation.npz", n, None, synthetic, n, "0" * 64),
        RuntimeInfo("cpu", ("CPUExecutionProvider",), "1.31.1", 256, 1.25),
        notices,
    )


def make(
    name: str = "model.onnx", *, rich: bool = False, labels: bool = True, synthetic: bool = False, p: int = 24,
    constant: float | None = None, n: int = 400, blocks: int = 0,
) -> Analysis:  # fmt: skip
    """Analysis of a rich model, whose features sit near their class means, or of a lazy one."""
    rng, C = np.random.default_rng(0), 5
    classes = rng.integers(0, C, n)
    means = rng.normal(size=(C, p))
    noise = rng.normal(size=(n, p)) * rng.gamma(0.5, size=p)
    features = means[classes] + 0.05 * noise if rich else 0.3 * means[classes] + noise
    if constant is not None:
        features = np.full((n, p), constant)
    weights = np.linalg.lstsq(features, np.eye(C)[classes], rcond=None)[0]
    outputs = (features @ weights + 0.1).astype(np.float32)
    targets = classes if labels else None
    moments = Moments.from_rows(features, outputs, targets)
    each = [slice(start, None, blocks) for start in range(blocks)]
    parts = [Moments.from_rows(features[s], outputs[s], targets if targets is None else targets[s]) for s in each]
    if parts:
        moments = reduce(Moments.merge, parts)
    return evaluate_moments(moments, record(name, p, C, n, synthetic=synthetic), blocks=parts)


@pytest.fixture(scope="session")
def rich() -> Analysis:
    return make("rich.onnx", rich=True)


@pytest.fixture(scope="session")
def lazy() -> Analysis:
    return make("lazy.onnx")


@pytest.fixture(scope="session")
def sure() -> Analysis:
    """Analysis with the blocks that intervals and convergence come from."""
    return make("sure.onnx", blocks=8)


@pytest.fixture(scope="session")
def hostile() -> Analysis:
    return make(HOSTILE)


@pytest.fixture(scope="session")
def unlabelled() -> Analysis:
    return make("unlabelled.onnx", labels=False)


@pytest.fixture(scope="session")
def synthetic() -> Analysis:
    return make("synthetic.onnx", labels=False, synthetic=True)


@pytest.fixture(scope="session", params=[2.5, 0.0], ids=["constant", "zero"])
def undefined(request: pytest.FixtureRequest) -> Analysis:
    """Constant features, of which D_LR is null; with zeros there are no curves either."""
    return make("constant.onnx", constant=request.param)


@pytest.fixture(scope="session")
def single() -> Analysis:
    """One feature: every curve is a single point."""
    return make("single.onnx", p=1)


@pytest.fixture(scope="session")
def maker() -> Callable[..., Analysis]:
    return make
