"""D_LR without bias is that of the population, and null without independent blocks."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from samples import UNEQUAL, Rows, clustered_rows, cut_into_blocks

from onnxrich.metrics.base import Sample
from onnxrich.metrics.debiased import d_lr_debiased, expected_bias
from onnxrich.metrics.jackknife import estimate
from onnxrich.metrics.registry import evaluate
from onnxrich.metrics.richness import compute_richness
from onnxrich.moments.matrix import Moments


def isotropic(n: int, p: int, C: int, seed: int) -> Rows:
    """Gaussian features of one size, of which the outputs are C directions: D_LR of the population is 1 − √(C/p)."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p))
    return features, features[:, :C], rng.integers(0, C, n)


@pytest.mark.parametrize(("n", "p"), [(64, 512), (128, 256), (512, 128)])
def test_debiased_is_the_population_s(n: int, p: int) -> None:
    """Where plain D_LR is off by up to 0.3, the debiased is right on average; its bias is foretold at other n."""
    truth = 1 - np.sqrt(10 / p)
    samples = [cut_into_blocks(isotropic(n, p, 10, seed), np.ones(16)) for seed in range(10)]
    plain = np.mean([compute_richness(sample).d_lr for sample in samples])
    values = np.array([d_lr_debiased(sample) for sample in samples], dtype=float)
    # Three standard errors of the mean of ten.
    tolerance = 3 * values.std() / np.sqrt(10) + 1e-3
    assert abs(values.mean() - truth) < tolerance
    assert truth - plain > 2 * abs(values.mean() - truth)
    predicted_bias = np.mean([expected_bias(sample, 2 * n) or 0 for sample in samples])
    larger = [Sample(Moments.from_rows(*isotropic(2 * n, p, 10, seed)[:2])) for seed in range(10)]
    twice = np.mean([compute_richness(sample).d_lr for sample in larger])
    assert predicted_bias == pytest.approx(twice - truth, abs=0.02)


def test_debiased_of_classes() -> None:
    """Where the outputs are many for the rows, what pairs of blocks leave of the bias is removed as well."""
    import intervals as study

    case = study.CASES[3]
    drawn = [case.draw(np.random.default_rng(seed), 250) for seed in range(12)]
    values = np.array([d_lr_debiased(cut_into_blocks(data, UNEQUAL)) for data in drawn], dtype=float)
    # Three standard errors of the mean of twelve, 0.012; pairs alone are off by C/n of 0.93, 0.03.
    assert abs(values.mean() - case.d_lr) < 3 * values.std() / np.sqrt(12)
    assert values.std() / np.sqrt(12) < 0.006


def test_debiased_needs_blocks() -> None:
    """Four blocks leave three without one, too few for products of four; an order of the rows leaves none at all."""
    data = clustered_rows(400)
    sample = cut_into_blocks(data, np.ones(5))
    assert d_lr_debiased(sample) is not None
    assert d_lr_debiased(cut_into_blocks(data, np.ones(4))) is None
    assert d_lr_debiased(replace(sample, is_ordered=True)) is None


@pytest.mark.parametrize("length", [10, 50])
def test_debiased_of_rows_that_depend_on_each_other(length: int) -> None:
    """Clips of rows that are alike: whole clips in a block are as good as independent rows."""
    spectrum, C = np.arange(1, 65) ** -1.0, 5
    values = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        clips, rest = rng.standard_normal((32, 1, 64)), rng.standard_normal((32, length, 64))
        features = ((np.sqrt(0.8) * clips + np.sqrt(0.2) * rest) * np.sqrt(spectrum)).reshape(-1, 64)
        data = features, features[:, :C], np.arange(len(features)) % C
        values.append(d_lr_debiased(cut_into_blocks(data, np.ones(16))))
    estimates = np.array(values, dtype=float)
    # Outputs that are features themselves: ‖Cov(φ, g)‖² = Σ λ² / λ over the first C, and ‖Cov(g, g)‖ = √C.
    truth = 1 - spectrum[:C].sum() / np.linalg.norm(spectrum) / np.sqrt(C)
    # Three standard errors of the mean of twelve; within the blocks alone the bias is above 0.1.
    assert abs(estimates.mean() - truth) < 3 * estimates.std() / np.sqrt(12)
    assert estimates.std() / np.sqrt(12) < 0.03


def test_debiased_of_outputs_that_go_along_with_no_feature() -> None:
    """The outputs x² of the feature x in −2, −1, 1, 2: there is nothing to correct, and nothing to divide by."""
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    parts = [Moments.from_rows(x, x**2) for _ in range(4)]
    values, _ = evaluate(Sample.from_moments(reduce(Moments.merge, parts), parts), ["d_lr", "d_lr_debiased"])
    assert values == {"d_lr": 1.0, "d_lr_debiased": None}


def test_units_and_constants_of_outputs() -> None:
    """Units of the outputs, and the bias of an output that is constant, change neither estimate nor errors."""
    features, outputs, labels = clustered_rows(400)
    outputs[:, -1] = 1
    units = np.append(10.0 ** np.linspace(-6, 6, outputs.shape[1] - 1), -1e9)
    got, expected = (cut_into_blocks((features, table, labels), np.ones(8)) for table in (outputs * units, outputs))
    assert d_lr_debiased(got) == pytest.approx(d_lr_debiased(expected), abs=1e-9)
    ends, expected_ends = (estimate(sample, ["d_lr", "d_lr_debiased"]) for sample in (got, expected))
    assert ends is not None
    assert expected_ends is not None
    for name, interval in expected_ends.intervals.items():
        assert ends.intervals[name].error == pytest.approx(interval.error, abs=1e-9), name
