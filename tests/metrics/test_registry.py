"""Metrics are chosen by name, computed on demand, and null where undefined."""

from __future__ import annotations

import numpy as np
import pytest
from samples import class_rows
from zoo_text import two_layers

import onnxrich
from onnxrich.errors import DataError
from onnxrich.metrics.registry import FAMILIES, MEANINGS, METRICS, measure, select
from onnxrich.moments.matrix import Moments
from onnxrich.report.terminal import render


def test_nothing_varies() -> None:
    """With constant features, constant targets, one class or one row every metric is None or finite, never NaN."""
    features, weight, outputs, labels = class_rows(7)
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
    defaults = [name for name, metric in METRICS.items() if metric.is_default]
    assert select(["default", "rankme"]) == tuple(name for name in METRICS if name in defaults or name == "rankme")
    assert set(select()) == set(defaults)
    with pytest.raises(DataError, match=r"no metric is called 'efective_rank'.*Did you mean effective_rank"):
        select(["efective_rank"])


def test_only_what_is_asked_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an eigendecomposition nor a linear solve runs for metrics that need none."""
    features, _, outputs, labels = class_rows(8)
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


def test_every_metric_has_a_meaning() -> None:
    """`MEANINGS` lists exactly what `measure` gives when all are asked for."""
    features, _, outputs, labels = class_rows()
    assert list(MEANINGS) == list(measure(Moments.from_rows(features, outputs, labels), metrics=["all"])[0])
