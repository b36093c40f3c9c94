"""Analysis to render, computed from random rows: no model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest

from onnxrich.errors import Notice
from onnxrich.metrics.jackknife import Interval
from onnxrich.moments.matrix import Moments
from onnxrich.results.analysis import Analysis
from onnxrich.results.comparison import Comparison
from onnxrich.results.differences import Estimate, Similarity
from onnxrich.results.layer import Layer
from onnxrich.results.provenance import DataInfo, HeadInfo, ModelInfo, Provenance, RuntimeInfo
from onnxrich.results.track import Track

STEPS = (0, 10, 100, 1000)
HOSTILE_LAYER = "</script><img src=x>\x1b[31m" + "x" * 60
HOSTILE = "models/</script><img src=x onerror=alert(1)>[red]x[/red]\x1b[31m\u202e$x_1$\udcff.onnx"


def record(name: str, p: int, C: int, n: int, *, synthetic: bool = False) -> Provenance:
    """A record of a model of that name; names of tensors and of the source are as hostile as the model's."""
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
    slices = [slice(start, None, blocks) for start in range(blocks)]
    parts = [Moments.from_rows(features[s], outputs[s], targets if targets is None else targets[s]) for s in slices]
    if parts:
        moments = reduce(Moments.merge, parts)
    return Analysis.from_moments(moments, record(name, p, C, n, synthetic=synthetic), blocks=parts)


def layer(name: str, d_lr: float | None, *, rows: str = "mean over positions", certain: bool = True) -> Layer:
    """A hidden layer of that name and D_LR, with an interval of ± 0.02 where it is certain."""
    metrics = dict.fromkeys(("utilized_variance", "effective_rank", "participation_ratio"), 2.5) | {"d_lr": d_lr}
    intervals = {"d_lr": Interval(0.01, d_lr - 0.02, d_lr + 0.02)} if certain and d_lr is not None else {}
    return Layer(name, "", "Conv+Relu", rows, 64, metrics, intervals, (0.7, 0.3))


@pytest.fixture(scope="session")
def rich() -> Analysis:
    return make("rich.onnx", rich=True)


@pytest.fixture(scope="session")
def lazy() -> Analysis:
    return make("lazy.onnx")


@pytest.fixture(scope="session")
def certain() -> Analysis:
    """Analysis with the blocks that intervals and convergence come from."""
    return make("certain.onnx", blocks=8)


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


@pytest.fixture(scope="session")
def deep(lazy: Analysis) -> Analysis:
    """Analysis with five layers, of which the third has no D_LR and the last no interval."""
    layers = (
        layer("first", 0.75), layer(HOSTILE_LAYER, 0.5, rows="token 0"), layer("third", None), layer("fourth", 0.375),
        layer("last", 0.125, rows="as the head's", certain=False),
    )  # fmt: skip
    return replace(lazy, record=replace(lazy.record, layers=layers))


@pytest.fixture(scope="session")
def comparison(hostile: Analysis) -> Comparison:
    """Three models, one with a hostile name, and all that a comparison can say."""
    cka = {
        (0, 1): Similarity(
            0.75, Interval(0.01, 0.73, 0.77), paired=True, debiased=Estimate(0.71, Interval(0.01, 0.69, 0.73))
        ),
        (1, 2): Similarity(0.25),
    }
    results = [make("first.onnx", blocks=8), make("second.onnx", rich=True, blocks=8), hostile]
    return Comparison.of(results, initial=0, cka=cka, notices=[Notice("rows_differ", "Rows <differ>.")])


@pytest.fixture(scope="session")
def track() -> Track:
    """Four checkpoints that become rich at the end, and that note an accuracy."""
    results = []
    for step in STEPS:
        result = make(f"m-{step}.onnx", rich=step > 100, blocks=8)
        model = replace(result.record.model, noted={"train_accuracy": 0.5 + step / 4000})
        results.append(replace(result, record=replace(result.record, model=model)))
    return Track.of(STEPS, results, s_init=[Similarity(1.0), Similarity(0.9), None, Similarity(0.1)])


@pytest.fixture(scope="session")
def nameless_track(track: Track) -> Track:
    """The same checkpoints without steps, in files with long names."""
    results = []
    for number, result in enumerate(track.results):
        model = replace(result.record.model, path=f"run/{'long-' * 9}{number}.onnx")
        results.append(replace(result, record=replace(result.record, model=model)))
    return Track.of(range(4), results, origin="position")
