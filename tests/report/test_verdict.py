"""The verdict on a model follows from the share that the outputs use, the evenness, the anchors and the intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import oracle
import pytest

from onnxrich.metrics.jackknife import Interval
from onnxrich.moments.matrix import Array, Moments
from onnxrich.report import html, terminal
from onnxrich.report.verdict import scale_note, ticks, verdict
from onnxrich.results.analysis import Analysis
from onnxrich.results.anchors import Initial, unshaped_d_lr

Make = Callable[..., Analysis]


def analysed(make: Make, features: Array, outputs: Array, *, blocks: int = 1) -> Analysis:
    """Analysis of these features and outputs, in that many blocks."""
    parts = [Moments.from_rows(features[start::blocks], outputs[start::blocks]) for start in range(blocks)]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.merge(part)
    return Analysis.from_moments(whole, make("model.onnx").record, blocks=parts if blocks > 1 else ())


def orthogonal(n: int, p: int) -> Array:
    """Centred features, exactly uncorrelated and of one variance."""
    rows = np.random.default_rng(3).standard_normal((n, p))
    q: Array = np.linalg.qr(rows - rows.mean(axis=0))[0]
    return q * np.sqrt(n)


def test_uneven_outputs_are_used_as_a_whole(maker: Make) -> None:
    """Features equal to the outputs, of uneven sizes: nothing lies unused, and nothing says so."""
    sizes = np.array([1, 0.4, 0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    features = orthogonal(800, 10) * sizes
    analysis = analysed(maker, features, features)
    d_lr = oracle.d_lr(features, features, 1e-6)
    variances = sizes**2
    # u = 1, so D_LR = 1 − √(PR/r).
    directions = variances.sum() ** 2 / np.sum(variances**2)
    assert d_lr == pytest.approx(1 - np.sqrt(directions / 10), abs=1e-9)
    assert d_lr > 0.5
    said = verdict(analysis)
    assert "all of the features' variance (100 %)" in said.meaning
    assert (
        f"their directions differ in size: effectively {directions:.3g} directions, where the outputs" in said.meaning
    )
    assert "unused" not in said.place + said.meaning and "more" not in said.place


def test_even_outputs_of_wide_features_are_rich(maker: Make) -> None:
    """Ten even directions of 160 that the outputs use, and noise of a thousandth of the size elsewhere."""
    features = orthogonal(2000, 160) * np.repeat([1.0, 1e-3], [10, 150])
    said = verdict(analysed(maker, features, features[:, :10]))
    assert said.place == "near the rich end"
    assert "> 99.9 %" in said.meaning or "100 %" in said.meaning
    assert "spread evenly: effectively 10 directions, where the outputs have 10." in said.meaning
    assert "Features of this width that nothing shaped have about 0.75." in said.meaning


@pytest.mark.parametrize(("p", "d_lr"), [(16, 0.21), (64, 0.60), (256, 0.80), (1024, 0.90)])
def test_unshaped_features(p: int, d_lr: float, maker: Make) -> None:
    """Uncorrelated features of one variance have D_LR = 1 − √(r/p), and are told to be no richer than that."""
    features = orthogonal(1200, p)
    outputs = features @ np.random.default_rng(0).standard_normal((p, 10))
    assert unshaped_d_lr(p, 10) == pytest.approx(d_lr, abs=0.005)
    assert oracle.d_lr(features, outputs, 1e-6) == pytest.approx(unshaped_d_lr(p, 10), abs=1e-9)
    analysis = analysed(maker, features, outputs)
    assert analysis.anchors is not None and analysis.anchors.unshaped == unshaped_d_lr(p, 10)
    said = verdict(analysis)
    assert said.place == "no richer than unshaped features"
    assert f"not clearly richer than features of this width that nothing shaped: about {d_lr:.2f}" in said.meaning
    assert "spreads over more directions" in said.meaning
    assert [(tick.kind, tick.label) for tick in ticks(analysis)] == [
        ("unshaped", f"unshaped features of this width: about {d_lr:.2f}")
    ]


def test_few_features_can_tell_nothing(maker: Make) -> None:
    """As many outputs as features: D_LR is 0 whatever the training, and that is no rich training."""
    features = orthogonal(500, 5)
    said = verdict(analysed(maker, features, features))
    assert said.place == "no richer than unshaped features"
    assert "D_LR can't tell rich training from lazy" in said.meaning


def test_share_in_words(maker: Make) -> None:
    """The share of the variance is named in words and per cent, and what lies unused is no part of it."""
    features = orthogonal(900, 40)
    for share, words in ((0.7, "most of"), (0.5, "about half of"), (0.2, "a part of"), (0.05, "little of")):
        sizes = np.sqrt(np.repeat([share / 4, (1 - share) / 36], [4, 36]))
        said = verdict(analysed(maker, features * sizes, features[:, :4]))
        assert f"The outputs use {words} the features' variance ({100 * share:.3g} %)" in said.meaning


def initial(d_lr: float, change: float, half_width: float) -> Initial:
    """A network before its training, with an interval of the change."""
    interval = Interval(half_width / 2, change - half_width, change + half_width)
    return Initial("start.onnx", "cd" * 32, d_lr, Interval(0.01, d_lr - 0.02, d_lr + 0.02), 24, 5, change, interval)


@pytest.mark.parametrize(
    ("change", "half_width", "words"),
    [
        (-0.3, 0.1, "Its untrained network has 0.9000: training made it richer, by 0.3 ± 0.1."),
        (0.3, 0.1, "Its untrained network has 0.9000: training made it lazier, by 0.3 ± 0.1."),
        (-0.3, 0.4, "Its untrained network has 0.9000, from which it can't be told apart (-0.3 ± 0.4)."),
    ],
)
def test_untrained_network(lazy: Analysis, change: float, half_width: float, words: str) -> None:
    """The network before its training is a second mark, in words, text, page and document, saved and read again."""
    record = replace(lazy.record, initial=initial(0.9, change, half_width))
    analysis = Analysis.from_moments(lazy.moments, type(record).from_dict(record.to_dict()))
    assert words in verdict(analysis).meaning
    assert ticks(analysis)[1].label == "its untrained network: 0.9000 ± 0.02"
    assert words in " ".join(terminal.render(analysis, width=100).split())
    assert "○ its untrained network: 0.9000 ± 0.02" in terminal.render(analysis, width=100)
    assert '<g class="mark initial"><title>its untrained network: 0.9000 ± 0.02</title>' in html.render(analysis)
    document = analysis.to_dict()["anchors"]
    assert document["unshaped"] == pytest.approx(1 - np.sqrt(5 / 24))
    assert document["initial"]["d_lr"] == {
        "value": 0.9, "standard_error": 0.01, "half_width": pytest.approx(0.02), "low": 0.88, "high": 0.92,
    }  # fmt: skip
    assert document["initial"]["change"]["value"] == change


def test_made_up_inputs_are_not_judged(synthetic: Analysis) -> None:
    """A smoke test has no verdict, no anchors and no word on rows, in any format."""
    analysis = replace(synthetic, record=replace(synthetic.record, initial=initial(0.9, -0.3, 0.1)))
    assert verdict(analysis).place == "smoke test"
    assert analysis.anchors is None and ticks(analysis) == [] and analysis.to_dict()["anchors"] is None
    for text in (terminal.render(analysis, width=200), html.render(analysis)):
        assert "smoke test" in text.lower()
        assert not any(words in text for words in ("unshaped", "untrained", "rich end", "Enough rows", "No error bars"))


def test_models_of_different_width(maker: Make) -> None:
    """The scale is said not to be the same, and each model has its own mark; models of one width share one."""
    narrow, wide = maker("narrow.onnx", p=12), maker("wide.onnx", p=80, n=1600)
    note = (
        "The scale is not the same for these models (12 features and 5 outputs, 80 features and 5 outputs): unshaped "
        "features have 0.35 and 0.75. Read each model against its own mark."
    )
    assert scale_note([narrow, wide]) == note
    assert note in " ".join(terminal.render([narrow, wide], width=120).split())
    page = html.render([narrow, wide])
    assert note in page
    assert page.count('<g class="mark unshaped s') == 2
    assert scale_note([narrow, narrow]) == ""
    assert html.render([narrow, narrow]).count('<g class="mark unshaped"') == 1


def test_raw_outputs_with_large_means(maker: Make) -> None:
    """Where the means of the outputs make d_lr another number than its parts, that is said."""
    features = orthogonal(600, 4)
    outputs = features[:, :2] + np.array([5.0, 0.0])
    analysis = analysed(maker, features, outputs)
    assert abs((analysis.metrics["d_lr"] or 0) - (analysis.metrics["d_lr_centered"] or 0)) > 0.1
    assert "the outputs' means make d_lr another" in verdict(analysis).meaning


def test_one_voice_on_rows(maker: Make) -> None:
    """What warns of few rows and what says that they suffice rest on one decision."""
    for n, p in ((60, 24), (200, 24), (2000, 240), (400, 24)):
        analysis = maker("model.onnx", p=p, n=n, blocks=8, rich=True)
        warnings = [notice.message for notice in analysis.notices if notice.code == "few_rows"]
        assert analysis.uncertainty is not None
        summary = analysis.uncertainty.summary
        assert not (warnings and summary.startswith("Enough rows"))
        assert all(message.endswith(summary) for message in warnings)
        assert ("But there are few rows" in verdict(analysis).meaning) == bool(warnings)
