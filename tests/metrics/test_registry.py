"""Metrics besides richness: equal to their definitions, chosen by name, null where undefined."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from zoo_text import two_layers

import onnxrich
from onnxrich.errors import DataError
from onnxrich.metrics.registry import FAMILIES, METRICS, measure, select
from onnxrich.moments.matrix import Moments
from onnxrich.report.terminal import render

# Double arithmetic on some hundred rows of size one, with room for conditioning.
EXACT = 1e-9


def sample(seed: int = 0, n: int = 400, p: int = 30, C: int = 5) -> tuple[np.ndarray, ...]:
    """Features of uneven variances around class means, the head's W, its outputs, and uneven classes."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(C, n, p=np.arange(1, C + 1) / np.arange(1, C + 1).sum())
    features = rng.standard_normal((C, p))[labels] + rng.standard_normal((n, p)) * rng.gamma(2.0, size=p) + 0.4
    weight = rng.standard_normal((C, p))
    return features, weight, features @ weight.T + rng.standard_normal(C), labels


@pytest.mark.parametrize("seed", range(4))
def test_collapse_equals_its_definitions(seed: int) -> None:
    """NC1 to NC3 with their variants are what loops over classes give, also for classes of uneven size."""
    features, weight, outputs, labels = sample(seed)
    got, notices = measure(Moments.from_rows(features, outputs, labels), metrics=["collapse"], weight=weight)
    for name, value in oracle.collapse(features, labels, weight).items():
        assert got[name] == pytest.approx(value, rel=1e-8), name
    assert "imbalanced_classes" in {notice.code for notice in notices}


def test_collapse_of_a_simplex_is_zero() -> None:
    """Classes on the corners of a simplex, and a head whose rows are these, have NC1 = NC2 = NC3 = 0."""
    labels = np.repeat(np.arange(4), 25)
    corners = (np.eye(4) - 1 / 4) @ np.linalg.qr(np.random.default_rng(0).standard_normal((9, 4)))[0].T
    features = 3 * corners[labels] + 0.7
    moments = Moments.from_rows(features, features @ corners.T, labels)
    got, notices = measure(moments, metrics=["collapse"], weight=2 * corners)
    for name in (name for name in got if name.startswith("nc")):
        assert got[name] == pytest.approx(0, abs=1e-7), name
    assert "imbalanced_classes" not in {notice.code for notice in notices}


@pytest.mark.parametrize("kind", ["classes", "values"])
def test_alignment_and_probe_equal_their_definitions(kind: str) -> None:
    """Kernel-target alignment, CKA with the outputs and probe R² are those of n × n kernels and of least squares."""
    features, _, outputs, labels = sample(1)
    values = np.tanh(features[:, :3]) + 0.3 * np.random.default_rng(0).standard_normal((len(features), 3))
    targets = np.eye(5)[labels] if kind == "classes" else values
    moments = Moments.from_rows(features, outputs, labels if kind == "classes" else values)
    got, _ = measure(moments, metrics=["alignment", "probe"])
    assert got["kernel_target_alignment"] == pytest.approx(oracle.cka(features, targets), abs=EXACT)
    assert got["cka_outputs"] == pytest.approx(oracle.cka(features, outputs), abs=EXACT)
    r2 = oracle.r_squared(features, targets)
    assert got["probe_r2"] == pytest.approx(r2, abs=EXACT)
    assert got["probe_r2_adjusted"] == pytest.approx(1 - (1 - r2) * 399 / 369, abs=EXACT)


def test_probe_of_dead_and_repeated_features() -> None:
    """Features that are constant, or copies of others, leave the probe as it is without them."""
    features, _, outputs, labels = sample(2)
    more = np.column_stack([features, features[:, :4], np.full((len(features), 3), 0.7)])
    expected = measure(Moments.from_rows(features, outputs, labels), metrics=["probe_r2"])[0]["probe_r2"]
    got = measure(Moments.from_rows(more, outputs, labels), metrics=["probe_r2"])[0]["probe_r2"]
    # The ridge of 8 eps·tr C moves a direction of relative variance 1e-3 by 1e-11 of its share.
    assert got == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("mean", [0.0, 0.4, 50.0])
def test_spectra_equal_their_definitions(mean: float) -> None:
    """RankMe takes the mean for a direction, effective rank does not; entropy and decay are those of the covariance."""
    features = sample(3)[0] - 0.4 + mean
    got, _ = measure(Moments.from_rows(features, sample(3)[2]), metrics=["spectrum"])
    assert got["rankme"] == pytest.approx(oracle.rankme(features), rel=1e-9)
    assert got["effective_rank"] == pytest.approx(oracle.rankme(features - features.mean(axis=0)), rel=1e-9)
    assert got["alpha_req"] == pytest.approx(oracle.alpha_req(features), rel=1e-9)
    share = np.linalg.eigvalsh(np.cov(features.T))
    share = share / share.sum()
    assert got["spectrum_entropy"] == pytest.approx(-np.sum(share * np.log(share)), rel=1e-9)


def test_alpha_needs_directions() -> None:
    """With fewer than 21 directions there is no power law to fit."""
    features = np.random.default_rng(0).standard_normal((200, 20))
    assert measure(Moments.from_rows(features, features[:, :2]), metrics=["alpha_req"])[0]["alpha_req"] is None


def test_performance_equals_its_definitions() -> None:
    """Accuracy, cross-entropy and mean squared error are means over the rows."""
    features, _, outputs, labels = sample(4)
    outputs = outputs / 10
    got, _ = measure(Moments.from_rows(features, outputs, labels), metrics=["performance"])
    log_softmax = outputs - np.log(np.exp(outputs).sum(axis=1, keepdims=True))
    assert got["accuracy"] == np.mean(outputs.argmax(axis=1) == labels)
    assert got["cross_entropy"] == pytest.approx(-np.mean(log_softmax[np.arange(400), labels]), rel=1e-12)
    assert got["mean_squared_error"] == pytest.approx(np.mean((outputs - np.eye(5)[labels]) ** 2), rel=1e-9)


def test_regression() -> None:
    """Real targets: mean squared error is defined, what needs classes is None, and nothing warns of classes."""
    features, _, outputs, _ = sample(5)
    targets = outputs + 0.1 * np.random.default_rng(0).standard_normal(outputs.shape)
    got, notices = measure(Moments.from_rows(features, outputs, targets))
    assert got["mean_squared_error"] == pytest.approx(np.mean((outputs - targets) ** 2), rel=1e-9)
    assert got["accuracy"] is got["cross_entropy"] is got["nc1"] is got["nc3"] is None
    assert notices == []


def test_weights_are_given() -> None:
    """Norms need the weights; NC3 needs a head with one row a class."""
    features, weight, outputs, labels = sample(6)
    moments = Moments.from_rows(features, outputs, labels)
    got, _ = measure(moments, metrics=["weights", "nc3"], weight=weight, parameter_norm=7.0)
    assert (got["head_norm"], got["parameter_norm"]) == (pytest.approx(np.linalg.norm(weight)), 7.0)
    assert got["nc3"] is not None
    without, _ = measure(moments, metrics=["weights", "nc3"])
    assert without["head_norm"] is without["parameter_norm"] is without["nc3"] is None
    assert measure(moments, metrics=["nc3"], weight=weight[:3])[0]["nc3"] is None


def test_nothing_varies() -> None:
    """With constant features, constant targets, one class or one row every metric is None or finite, never NaN."""
    features, weight, outputs, labels = sample(7)
    constant = np.full_like(features, 0.1)
    for rows in (
        (constant, outputs, labels), (features, outputs, np.zeros(400, int)), (features, outputs, np.full(400, 0.3)),
        (features[:1], outputs[:1], labels[:1]), (0 * features, 0 * outputs, labels),
    ):  # fmt: skip
        got, _ = measure(Moments.from_rows(*rows), metrics=["all"], weight=weight)
        assert all(value is None or np.isfinite(value) for value in got.values())
    got, _ = measure(Moments.from_rows(constant, outputs, labels), metrics=["all"], weight=weight)
    for name in ("nc1", "nc2_equinorm", "nc3", "probe_r2", "kernel_target_alignment", "cka_outputs", "rankme"):
        assert got[name] is None or name == "rankme", name


def test_select() -> None:
    """Names and families choose, D_LR is always there, in the order of the list; an unknown name says what is near."""
    assert select(["nc3", "nc1"]) == ("d_lr", "nc1", "nc3")
    assert select(["alignment"]) == ("d_lr", "kernel_target_alignment", "cka_outputs")
    assert select(["all"]) == tuple(METRICS)
    assert select("nc1") == ("d_lr", "nc1")
    assert select(["default", "rankme"]) == tuple(
        name for name in METRICS if METRICS[name].is_default or name == "rankme"
    )
    assert set(select()) == {name for name, metric in METRICS.items() if metric.is_default}
    with pytest.raises(DataError, match=r"no metric is called 'efective_rank'.*Did you mean effective_rank"):
        select(["efective_rank"])


def test_only_what_is_asked_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an eigendecomposition nor a linear solve runs for metrics that need none."""
    features, _, outputs, labels = sample(8)
    moments = Moments.from_rows(features, outputs, labels)
    before = {"eigh": np.linalg.eigh, "solve": np.linalg.solve}
    shapes: list[tuple[int, ...]] = []
    for name, function in before.items():
        monkeypatch.setattr(np.linalg, name, lambda a, *b, f=function: (shapes.append(a.shape), f(a, *b))[1])
    measure(moments, metrics=["nc1", "accuracy"])
    assert (30, 30) not in shapes
    measure(moments, metrics=["effective_rank", "rankme", "alpha_req"])
    assert shapes.count((30, 30)) == 1  # the one decomposition, for all of them


def test_metric_list() -> None:
    """The public list names every metric with its family and a meaning of one line."""
    listed = onnxrich.metric_list()
    assert [entry["name"] for entry in listed] == list(METRICS)
    for entry in listed:
        assert entry["family"] in FAMILIES
        assert len(str(entry["meaning"])) <= 100 and "\n" not in str(entry["meaning"])


def test_numbers_of_classes_that_may_be_wrong() -> None:
    """What changes when classes are renumbered is null where words may be numbered wrongly, and all else stays."""
    rng = np.random.default_rng(0)
    x, classes = rng.standard_normal((600, 6)).astype(np.float32), rng.integers(0, 2, 600)
    model = two_layers().SerializeToString()
    numbered, renumbered, named = (
        onnxrich.run(model, {"x": x, "labels": labels}, metrics=["all"])
        for labels in (classes, 2 - classes, np.array(["cat", "dog"])[classes])
    )
    found = {name: (value, renumbered.metrics[name]) for name, value in numbered.metrics.items() if value is not None}
    # Sums in another order differ in the last bits, some 1e-15.
    same = {name for name, (one, other) in found.items() if one == pytest.approx(other, rel=1e-9)}
    assert {"accuracy", "cross_entropy", "mean_squared_error", "nc3", "nc4"} <= found.keys() - same
    assert {"nc1", "kernel_target_alignment", "probe_r2", "nearest_mean_accuracy"} <= same
    assert "fewer_classes" in {notice.code for notice in named.notices}
    assert {name for name in found if named.metrics[name] is None} == found.keys() - same
    assert {name: named.metrics[name] for name in same} == {name: numbered.metrics[name] for name in same}
    assert named.uncertainty is not None and not named.uncertainty.intervals.keys() - same
    assert "which is no richness (-: the classes may have other numbers than the outputs)" in render([named], width=160)
