"""Analyses as text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from onnxrich.errors import Notice
from onnxrich.metrics.jackknife import Interval
from onnxrich.metrics.registry import FAMILIES, MEANINGS, METRICS
from onnxrich.report import terminal
from onnxrich.results.analysis import Analysis


def test_single_model_says_the_number_on_a_scale_and_what_it_means(lazy: Analysis) -> None:
    """The first line has the name, D_LR and a marker at its place between `rich 0` and `lazy 1`."""
    text = terminal.render([lazy], width=100)
    first = text.splitlines()[0]
    d_lr = lazy.metrics["d_lr"]
    assert d_lr is not None
    match = re.fullmatch(r"lazy\.onnx  D_LR (\d\.\d{4})  rich 0 ├([─┼]*)●([─┼]*)┤ lazy 1", first)
    assert match is not None
    assert float(match[1]) == pytest.approx(d_lr, abs=5e-5)
    cells = len(match[2]) + len(match[3]) + 3
    # The marker sits on the nearest cell: half a cell at most from the value.
    assert (len(match[2]) + 1) / (cells - 1) == pytest.approx(d_lr, abs=0.51 / (cells - 1))
    # So does the mark of unshaped features: 24 of them, and 5 outputs.
    place = first[first.index("├") :].index("┼")
    assert place / (cells - 1) == pytest.approx(1 - (5 / 24) ** 0.5, abs=0.51 / (cells - 1))
    assert "┼ unshaped features of this width: about 0.54" in text
    assert "says nothing about accuracy" in text
    assert "verified by running" in text
    assert "n = 400, n/p = 16.67, one a sample; 5 classes" in text
    assert "320 rows/s" in text


def test_every_metric_has_a_row_with_its_meaning(lazy: Analysis) -> None:
    """The table lists all metrics, with the meanings that the package states elsewhere."""
    text = terminal.render([lazy], width=400)
    listed = [name for name in lazy.metrics if METRICS[name].family != "weights"]
    assert len(listed) > 20
    for name in listed:
        assert re.search(rf"^{name} .*{re.escape(MEANINGS[name])}", text, re.MULTILINE), name
    for family in {METRICS[name].family for name in lazy.metrics}:
        assert re.search(rf"^{family} .*{re.escape(FAMILIES[family])}", text, re.MULTILINE), family


def test_intervals_stand_beside_the_values(certain: Analysis, lazy: Analysis) -> None:
    """A metric with an interval shows half of it, and a sentence says whether there are enough rows."""
    text = terminal.render([certain], width=120)
    assert certain.uncertainty is not None
    for name in ("d_lr", "d_lr_debiased", "nc1", "effective_rank", "probe_r2"):
        half = certain.uncertainty.intervals[name].half_width
        assert re.search(rf"^{name} +[\d.,]+ ± {half:.2g} ", text, re.MULTILINE), name
    assert re.search(r"^rank_outputs +5 ", text, re.MULTILINE)
    assert re.sub(r"\s+", " ", certain.uncertainty.summary) in re.sub(r"\s+", " ", text)
    without = terminal.render([lazy], width=120)
    assert "±" not in without
    assert "No error bars: they need the sums of at least four blocks of rows (--blocks), and there is one." in without
    assert "+/-" in terminal.render([certain], width=120, ascii_only=True)


def test_no_width_is_no_certainty(certain: Analysis) -> None:
    """Where all blocks say 1 nothing is known of other rows, and no "± 0" is claimed."""
    known = certain.uncertainty
    assert known is not None
    intervals = {**known.intervals, "accuracy": Interval(0.0, 1.0, 1.0)}
    record = replace(certain.record, uncertainty=replace(known, intervals=intervals))
    perfect = replace(certain, record=record, metrics={**certain.metrics, "accuracy": 1.0})
    assert re.search(r"accuracy +1  ", terminal.render([perfect]))


def test_a_family_that_is_undefined_takes_one_line(unlabelled: Analysis) -> None:
    """Without labels, the family of neural collapse is one line with the reason, not one a metric."""
    text = terminal.render([unlabelled], width=160)
    assert re.search(r"^collapse +.*\(-: it needs class labels\)", text, re.MULTILINE)
    assert not re.search(r"^nc", text, re.MULTILINE)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_width(rich: Analysis, lazy: Analysis, hostile: Analysis, width: int) -> None:
    """No line is wider than the terminal, for one model or three."""
    for results in ([lazy], [rich, lazy], [rich, lazy, hostile]):
        assert max(map(len, terminal.render(results, width=width).splitlines())) <= width


def test_models_stand_side_by_side(rich: Analysis, lazy: Analysis) -> None:
    """Several models share one table: a column each."""
    text = terminal.render([rich, lazy], width=120)
    assert re.search(r"^metric +rich\.onnx +lazy\.onnx +meaning$", text, re.MULTILINE)
    assert re.search(r"^d_lr +0\.\d{4} +0\.\d{4} ", text, re.MULTILINE)


def test_names_steer_nothing(hostile: Analysis) -> None:
    """Names from files are neither markup nor control sequences, and ASCII is ASCII."""
    text = terminal.render([hostile], width=200)
    assert "[red]x[/red]\\x1b[31m\\u202e$x_1$\\udcff.onnx" in text
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)
    assert terminal.render([hostile], ascii_only=True, width=80).isascii()
    noticed = replace(hostile, notices=(Notice("code", "a tensor \x1b[2J[bold]x[/bold]"),))
    assert "a tensor \\x1b[2J[bold]x[/bold]" in terminal.render([noticed], width=200)


def test_color_only_when_asked(hostile: Analysis) -> None:
    """Escape sequences are ours: colours when they are asked for, none of the model's."""
    assert "\x1b[" not in terminal.render([hostile])
    colored = terminal.render([hostile], color=True, width=200)
    assert "\x1b[1" in colored
    assert "\x1b[31m\u202e" not in colored


def test_synthetic_data_are_loud(synthetic: Analysis, lazy: Analysis) -> None:
    """Made-up inputs are the first and the last thing that the text says."""
    lines = terminal.render([synthetic]).splitlines()
    assert "SYNTHETIC DATA" in lines[0]
    assert "SYNTHETIC DATA" in lines[-1]
    assert "SYNTHETIC" not in terminal.render([lazy])


def test_speed_is_that_of_this_run(lazy: Analysis) -> None:
    """Samples that a checkpoint brought took no time of this run: 3 tokens a sample, 60 of 100 samples in 2 s."""
    record = lazy.record
    data, runtime = replace(record.data, n=300, samples=100), replace(record.runtime, seconds=2.0, resumed=40)
    text = terminal.render([replace(lazy, record=replace(record, data=data, runtime=runtime))], width=160)
    assert "2 s, 90 rows/s; 40 of 100 samples were in the checkpoint" in text


def test_null_is_a_dash_with_its_reason(undefined: Analysis, unlabelled: Analysis) -> None:
    """An undefined number is "-", never nan or a guess, and the text says why."""
    text = terminal.render([undefined], width=300)
    assert "D_LR -" in text
    assert "●" not in text
    assert re.search(r"^d_lr +- +.*\(-: the features are the same for every row", text, re.MULTILINE)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    without = terminal.render([unlabelled], width=160)
    assert re.search(r"^kernel_target_alignment +- +.*\(-: it needs labels\)", without, re.MULTILINE)


def test_warnings_come_with_the_name_of_their_model(lazy: Analysis, maker: Callable[..., Analysis]) -> None:
    """Each notice is a warning at the end, told apart by model when there are several."""
    few = maker("few.onnx", n=40)
    assert re.search(r"^warning +n/p = 1\.7 rows a feature", terminal.render([few], width=160), re.MULTILINE)
    assert re.search(r"^warning +few\.onnx: n/p = 1\.7", terminal.render([lazy, few], width=160), re.MULTILINE)


def test_unverified_head_is_said(lazy: Analysis) -> None:
    """A head that the user chose is not called verified."""
    head = replace(lazy.record.head, verified=False, residual=None)
    chosen = replace(lazy, record=replace(lazy.record, head=head))
    text = terminal.render([chosen])
    assert "chosen by the user, not verified" in text
    assert "verified by running" not in text


def test_same_names_are_told_apart(maker: Callable[..., Analysis]) -> None:
    """Two files of one name show their paths; the same path twice is numbered."""
    a, b = maker("a/model.onnx"), maker("b/model.onnx")
    assert re.search(r"a/model\.onnx +b/model\.onnx", terminal.render([a, b], width=120))
    assert "a/model.onnx (2)" in terminal.render([a, a], width=120)


def test_terminal_has_a_line_a_layer(deep: Analysis, lazy: Analysis) -> None:
    """Each layer's number, name, width, D_LR with half its interval, and a marker at its place."""
    text = terminal.render([deep], width=120)
    assert re.search(r"^1 +first +64 +0\.7500 ± 0\.02 +2\.5 +2\.5 +2\.5 +├────────●──┤$", text, re.MULTILINE)
    assert re.search(r"^3 +third +64 +- +2\.5 +2\.5 +2\.5 +├───────────┤$", text, re.MULTILINE)
    assert re.search(r"^5 +last +64 +0\.1250 ", text, re.MULTILINE)
    caption = "Layers of lazy.onnx, against the outputs of its head. Rows: mean over positions (1, 3–4); token 0 (2); "
    assert caption + "as the head's (5)." in re.sub(r"\s+", " ", text)
    assert "\x1b" not in text
    assert "(1, 3-4)" in terminal.render([deep], ascii_only=True)
    assert "Layers of" not in terminal.render([lazy], width=120)
