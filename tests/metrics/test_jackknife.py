"""Errors and intervals from blocks: the formulas, the bootstrap, coverage, convergence, and too few blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from samples import UNEQUAL, clustered_rows, cut_into_blocks
from zoo_text import two_layers

import onnxrich
from onnxrich.metrics.base import Sample
from onnxrich.metrics.jackknife import (
    Uncertainty,
    estimate,
    jackknife_error,
    jackknife_interval,
    leave_out_each,
    student_t_quantile,
)
from onnxrich.metrics.registry import METRICS, evaluate, select
from onnxrich.metrics.richness import compute_richness
from onnxrich.moments.matrix import Moments
from onnxrich.results.analysis import Analysis


def test_jackknife_of_a_mean_is_the_standard_error() -> None:
    """For the mean over blocks of any sizes it is the weighted standard error, to rounding."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 60, 12).astype(float)
    means = rng.standard_normal(12)
    shares = sizes / sizes.sum()
    mean = shares @ means
    left_out = (mean - shares * means) / (1 - shares)
    # θ_j = mean_j exactly, the centre is the mean, and 1/(h_j − 1) = m_j/(n − m_j).
    expected = np.sqrt(np.mean((means - mean) ** 2 * sizes / (sizes.sum() - sizes)))
    assert jackknife_error(mean, left_out, shares) == pytest.approx(expected, rel=1e-12)
    equal = np.full(12, 1 / 12)
    left_out = (means.mean() - means / 12) / (11 / 12)
    assert jackknife_error(means.mean(), left_out, equal) == pytest.approx(means.std(ddof=1) / np.sqrt(12), rel=1e-12)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (7, 2.3646), (15, 2.1314), (30, 2.0423)]
)
def test_student_t(freedom: int, quantile: float) -> None:
    """By default they are the 97.5 % quantiles of tables."""
    assert student_t_quantile(freedom) == pytest.approx(quantile, abs=5e-5)


@pytest.mark.parametrize(("level", "quantile"), [(0.8, 1.3406), (0.99, 2.9467), (0.999, 4.0728)])
def test_student_t_levels(level: float, quantile: float) -> None:
    """The level is that of both sides together."""
    assert student_t_quantile(15, level) == pytest.approx(quantile, abs=5e-5)


def test_intervals_stay_in_range() -> None:
    """A share has its interval in 0 … 1 and a positive number above 0, however uncertain; others are symmetric."""
    shares = np.full(8, 1 / 8)
    left_out = 0.97 + 0.02 * np.linspace(-1, 1, 8)
    wide = jackknife_interval(0.97, left_out, shares, scale="share")
    assert 0 < wide.low < 0.97 < wide.high < 1
    assert jackknife_interval(0.97, np.clip(left_out, 0, 1) * 0 + 1, shares, scale="share").high <= 1
    positive = jackknife_interval(0.05, 0.05 + 0.04 * np.linspace(-1, 1, 8), shares, scale="positive")
    assert 0 < positive.low < 0.05 < positive.high
    real = jackknife_interval(0.97, left_out, shares, scale="real")
    assert real.high - 0.97 == pytest.approx(0.97 - real.low)
    assert real.half_width == pytest.approx(student_t_quantile(7) * real.error)


def test_first_order_agrees_with_leaving_out() -> None:
    """Stand-ins of costly metrics follow the metric itself when a block is left out, up to an offset."""
    sample = cut_into_blocks(clustered_rows(), UNEQUAL)
    for name, metric in METRICS.items():
        if metric.first_order is None or name == "d_lr_debiased":
            continue
        stand_in, value = metric.first_order(sample), metric.compute(sample)
        assert stand_in(sample) == pytest.approx(value, rel=1e-10), name
        others = list(leave_out_each(sample))
        exact = np.array([metric.compute(other) for other in others], dtype=float)
        near = np.array([stand_in(other) for other in others])
        # What they don't see is second order: mostly one offset for all blocks, the bias of fewer rows, which is no
        # scatter. Of the scatter they miss the product of a block's and all rows' errors: 1/√16 of it for equal ones.
        assert (near - exact).std() < 0.25 * exact.std(), name


def test_agrees_with_the_bootstrap() -> None:
    """Jackknife errors are those of a brute-force bootstrap over rows, within the scatter of both."""
    data = clustered_rows(1600, 20)
    names = select(["all"])
    sample = cut_into_blocks(data, UNEQUAL)
    uncertainty = estimate(sample, names)
    assert uncertainty is not None
    rng = np.random.default_rng(1)
    drawn: dict[str, list[float]] = {name: [] for name in uncertainty.intervals}
    for _ in range(120):
        index = rng.integers(0, 1600, 1600)
        again = Sample.from_moments(Moments.from_rows(*(column[index] for column in data)), weight=sample.weight)
        for name, values in drawn.items():
            if name != "d_lr_debiased":
                values.append(float(METRICS[name].compute(again) or 0))
    # An error from 16 blocks scatters by 1/√30 = 18 %, one from 120 draws by 6 %: ±60 % is three of both.
    ratios = {name: uncertainty.intervals[name].error / np.std(values) for name, values in drawn.items() if values}
    assert len(ratios) > 18
    assert {name: ratio for name, ratio in ratios.items() if not 0.45 < ratio < 1.75} == {}
    assert 0.8 < np.median(list(ratios.values())) < 1.2


def test_which_metrics_have_intervals() -> None:
    """All that can err, but for facts and for what is undefined; none without blocks."""
    sample = cut_into_blocks(clustered_rows(), UNEQUAL)
    names = select(["all"])
    uncertainty = estimate(sample, names)
    assert uncertainty is not None
    assert uncertainty.blocks == 16
    expected = {name for name in names if METRICS[name].scale != "fact" and METRICS[name].compute(sample) is not None}
    assert set(uncertainty.intervals) == expected
    for name, ends in uncertainty.intervals.items():
        value = METRICS[name].compute(sample)
        assert value is not None and ends.low <= value <= ends.high and ends.error >= 0, name
    assert estimate(Sample.from_moments(sample.moments), names) is None
    assert Uncertainty.from_dict(uncertainty.to_dict()) == uncertainty
    damaged = uncertainty.to_dict() | {"rows": ["many"]}
    with pytest.raises(ValueError, match="many"):
        Uncertainty.from_dict(damaged)


def test_a_class_of_one_row() -> None:
    """Without the block of that row the targets don't vary, and the probe is undefined: it has a value, no interval."""
    features, outputs, labels = clustered_rows(C=2)
    labels[:], labels[700] = 0, 1
    sample = cut_into_blocks((features, outputs, labels), UNEQUAL)
    uncertainty = estimate(sample, select(["all"]))
    assert uncertainty is not None and "d_lr" in uncertainty.intervals
    assert evaluate(sample, ["probe_r2"])[0]["probe_r2"] > 0
    assert not {"probe_r2", "probe_r2_adjusted"} & set(uncertainty.intervals)


def test_convergence_ends_with_the_value() -> None:
    """The curve is the metric of the first blocks, and of all rows at its end."""
    sample = cut_into_blocks(clustered_rows(), UNEQUAL)
    names = select(["richness", "nc1"])
    uncertainty = estimate(sample, names)
    assert uncertainty is not None
    values, _ = evaluate(sample, names)
    assert uncertainty.rows[-1] == 1600
    assert list(uncertainty.rows) == sorted(uncertainty.rows)
    for name in names:
        assert uncertainty.convergence[name][-1] == pytest.approx(values[name], rel=1e-12)
    half = int(uncertainty.rows[3])
    some = Moments.from_rows(*(column[:half] for column in clustered_rows()))
    assert uncertainty.convergence["d_lr"][3] == pytest.approx(compute_richness(Sample(some)).d_lr, rel=1e-9)


def test_enough_rows_or_how_many_more() -> None:
    """Few rows ask for more, many don't, and the number asked for is about enough."""
    few = estimate(cut_into_blocks(clustered_rows(200), np.ones(16)), select())
    assert few is not None and few.needed is not None
    assert few.needed > 200
    assert f"About {few.needed:,} rows" in few.summary
    many = estimate(cut_into_blocks(clustered_rows(3 * few.needed), np.ones(16)), select())
    assert many is not None
    assert many.needed == 3 * few.needed
    assert many.summary.startswith("Enough rows: ")


@pytest.mark.parametrize(("batch_size", "filled"), [(1000, 1), (200, 3), (150, 4), (None, 16)])
def test_batches_that_fill_too_few_blocks(batch_size: int | None, filled: int) -> None:
    """They are told with the batch size that helps, and it does; not so where no blocks were asked for."""
    data = {"x": np.random.default_rng(0).standard_normal((600, 6)).astype(np.float32)}
    analysis = onnxrich.run(two_layers().SerializeToString(), data, batch_size=batch_size)
    messages = [notice.message for notice in analysis.notices if notice.code == "few_blocks"]
    is_undefined = analysis.metrics["d_lr_debiased"] is None
    assert (analysis.uncertainty is None) == bool(messages) == (filled < 4)
    assert is_undefined == (filled < 5)
    for message in messages:
        assert message == (
            f"600 samples in batches of {batch_size:,} fill {filled} of the blocks of rows (--blocks): error bars "
            "need 4, d_lr_debiased 5. Pass more rows, or a --batch-size of at most 150 where the model does not fix it."
        )
    for blocks in (0, 1):
        without = onnxrich.run(two_layers().SerializeToString(), data, batch_size=batch_size, blocks=blocks)
        assert without.uncertainty is None and "few_blocks" not in {notice.code for notice in without.notices}


def test_too_few_blocks_asked_for() -> None:
    """Where it is --blocks that leaves too few, and not the size of the batches, the remedy is of those."""
    data = {"x": np.random.default_rng(0).standard_normal((600, 6)).astype(np.float32)}
    analysis = onnxrich.run(two_layers().SerializeToString(), data, batch_size=10, blocks=3)
    (message,) = [notice.message for notice in analysis.notices if notice.code == "few_blocks"]
    assert message.endswith("fill 3 of the blocks of rows (--blocks): error bars need 4, d_lr_debiased 5. "
                         "Pass --blocks 4 or more, or leave it out.")  # fmt: skip
    sizes = replace(analysis.record, runtime=replace(analysis.record.runtime, batch_size=0), notices=())
    assert Analysis.from_moments(analysis.moments, sizes).notices == ()


def test_too_few_rows_for_blocks() -> None:
    """A batch size that helps is named only where there is one; saved results keep the warning, once."""
    data = {"x": np.eye(3, 6, dtype=np.float32)}
    analysis = onnxrich.run(two_layers().SerializeToString(), data)
    for results in (analysis, Analysis.from_moments(analysis.moments, analysis.record)):
        (message,) = [notice.message for notice in results.notices if notice.code == "few_blocks"]
        assert message.endswith("d_lr_debiased 5. Pass more rows.")


@pytest.mark.extensive
@pytest.mark.parametrize("case", [0, 1, 3, 4])
def test_intervals_cover(case: int) -> None:
    """95 % intervals hold the expected value in 92 to 98 % of 200 samples, pooled over the metrics of a family."""
    import intervals as study

    names = (
        "d_lr",
        "d_lr_centered",
        "utilized_variance",
        "d_lr_debiased",
        "participation_ratio",
        "cka_outputs",
        "accuracy",
    )
    table = study.study(study.CASES[case], 200, names)
    covers = {name: row[-1] for name, row in table.items()}
    # One metric alone scatters by √(0.95·0.05/200) = 1.5 %; three sigmas are 4.6 %.
    assert {name: share for name, share in covers.items() if not share > 0.90} == {}
    assert 0.92 <= np.mean(list(covers.values())) <= 0.98
