"""Metrics of many outputs, few rows and classes that hardly occur, against the definitions on the rows themselves."""

from __future__ import annotations

import tracemalloc

import numpy as np
import oracle
import pytest

from onnxrich.metrics.base import Sample
from onnxrich.metrics.curves import compute_curves
from onnxrich.metrics.jackknife import estimate
from onnxrich.metrics.reduction import reduce_features
from onnxrich.metrics.registry import evaluate, select
from onnxrich.moments.matrix import Array, Moments

# Sums in double keep some 1e-13 of the largest product. D_LR and the curves divide products of such sums.
EXACT = 1e-9
BLOCKS = 4


def sample_of(features: Array, weight: Array, bias: Array, labels: Array, *, derived: bool) -> Sample:
    """The sample of some rows, in blocks, with outputs that are summed or that follow from the features."""
    C, p = weight.shape
    outputs, blocks = features @ weight.T + bias, []
    shift = np.concatenate([[0.0], features[0], outputs[0], np.zeros(C)])
    for rows in np.array_split(np.arange(len(features)), BLOCKS):
        dense = Moments.from_rows(features[rows], outputs[rows], labels[rows], shift=shift)
        if derived:
            others = np.r_[: 1 + p, 1 + p + C : len(shift)]
            matrix = dense.matrix[np.ix_(others, others)]
            dense = Moments(matrix, shift, p, C, C, "classes", tallies=dense.tallies, weight=weight)
        blocks.append(dense)
    whole = blocks[0]
    for block in blocks[1:]:
        whole = whole.merge(block)
    return Sample.from_moments(whole, blocks, weight=weight)


def rows_of(n: int, p: int, C: int, *, rank: int | None = None) -> tuple[Array, Array, Array, Array]:
    """Features, W, b and labels; W has a rank, and its last two rows are equal."""
    generator = np.random.default_rng(n * p + C)
    features = np.maximum(generator.normal(size=(n, p)) @ generator.normal(size=(p, p)) / np.sqrt(p), 0) + 0.5
    inner = rank or p
    weight = generator.normal(size=(C, inner)) @ generator.normal(size=(inner, p))
    weight[-1] = weight[-2]
    return features, weight, generator.normal(size=C), generator.integers(0, C, n)


@pytest.mark.parametrize(
    ("n", "p", "C", "rank"),
    [(80, 6, 40, None), (80, 8, 50, 3), (24, 60, 5, None), (24, 60, 90, None), (30, 1, 7, None)],
)
@pytest.mark.parametrize("derived", [False, True])
def test_the_numbers_are_those_of_the_rows(n: int, p: int, C: int, rank: int | None, derived: bool) -> None:
    """D_LR, the share of variance and the curves are those of n × n kernels, for any shapes and ranks."""
    features, weight, bias, labels = rows_of(n, p, C, rank=rank)
    outputs = features @ weight.T + bias
    sample = reduce_features(sample_of(features, weight, bias, labels, derived=derived))
    metrics, _ = evaluate(sample, select(["all"]))
    curves = compute_curves(sample)
    # The span that the sample cuts at 1e-7 has a wide gap.
    assert metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=EXACT)
    assert metrics["d_lr_centered"] == pytest.approx(oracle.d_lr_centered(features, outputs), abs=EXACT)
    assert metrics["utilized_variance"] == pytest.approx(oracle.utilized_variance(features, outputs), abs=EXACT)
    one_hot = np.eye(C)[labels]
    assert metrics["mean_squared_error"] == pytest.approx(np.mean((outputs - one_hot) ** 2), rel=EXACT)
    expected = oracle.curves(features, outputs)
    stop = len(curves.k)
    np.testing.assert_allclose(curves.utilization, expected["span"][:stop], atol=EXACT)
    np.testing.assert_allclose(curves.utilization_variance, expected["variance"][:stop], atol=EXACT)
    quality = oracle.curves(features, one_hot)
    assert curves.quality is not None and curves.quality_variance is not None
    np.testing.assert_allclose(curves.quality, quality["span"][:stop], atol=EXACT)
    np.testing.assert_allclose(curves.quality_variance, quality["variance"][:stop], atol=EXACT)


@pytest.mark.parametrize(("n", "p", "C", "rank"), [(80, 6, 40, None), (24, 60, 90, 3)])
def test_derived_outputs_have_the_same_intervals(n: int, p: int, C: int, rank: int | None) -> None:
    """All metrics and intervals agree whether outputs were summed or follow from the features, rotated or not."""
    features, weight, bias, labels = rows_of(n, p, C, rank=rank)
    rows = features, weight, bias, labels % 4  # with a row a class, NC1 is rounding
    names = select(["all"])
    summed, derived = (sample_of(*rows, derived=derived) for derived in (False, True))
    for sample in (derived, reduce_features(summed), reduce_features(derived)):
        expected, found = evaluate(summed, names)[0], evaluate(sample, names)[0]
        for name in names:
            if name != "rank_gap_below" and expected[name] is not None:
                assert found[name] == pytest.approx(expected[name], rel=1e-8, abs=1e-11), name
        before, after = estimate(summed, names), estimate(sample, names)
        assert before is not None and after is not None and before.intervals.keys() == after.intervals.keys()
        for name, interval in before.intervals.items():
            assert after.intervals[name].half_width == pytest.approx(interval.half_width, rel=1e-6, abs=1e-9), name


def test_many_outputs_take_the_memory_of_their_weight() -> None:
    """50,000 outputs of 16 features need some copies of W, of 6 MB, and no matrix of outputs, of 20 GB."""
    generator = np.random.default_rng(0)
    p, C = 16, 50_000
    weight, features = generator.normal(size=(C, p)), generator.normal(size=(60, p))
    moments = Moments.from_rows(features, features[:, :1])
    matrix = moments.matrix[: 1 + p, : 1 + p]
    moments = Moments(
        matrix, np.concatenate([moments.shift[: 1 + p], weight @ moments.shift[1 : 1 + p]]), p, C, weight=weight
    )
    tracemalloc.start()
    metrics, _ = evaluate(Sample.from_moments(moments, weight=weight), select(["all"]))
    curves = compute_curves(Sample.from_moments(moments))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert metrics["rank_outputs"] == p
    assert len(curves.k) == p
    assert peak < 40 * weight.nbytes
