"""Data and models at the edge of what has a meaning: a number, null with a warning that says why, or a clear error."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import pytest
from zoo_text import TWO_LAYERS, build, refused, two_layers, whole

import onnxrich
from onnxrich import Analysis
from onnxrich.errors import DataError, HeadError, OnnxrichError
from onnxrich.report import terminal

# Whole numbers pass through the models unrounded in whatever order they are summed, so features are identical however
# rows are batched. What is left is rounding in double, 1e-16 a term, of sums of some hundred terms of one size.
SAME = 1e-9

ROWS = 203
X = whole(ROWS, 6)
LABELS = np.random.default_rng(3).integers(0, 3, ROWS)


def run(model: Any, data: Any = X, labels: Any = None, **options: Any) -> Analysis:
    """The analysis on the CPU; its document must be JSON without NaN."""
    analysis = onnxrich.run(model, data, labels, device="cpu", **options)
    document = json.loads(analysis.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert document["metrics"]["d_lr"] == analysis.metrics["d_lr"]
    return analysis


def codes(analysis: Analysis) -> dict[str, str]:
    return {notice.code: notice.message for notice in analysis.notices}


def assert_same(got: Analysis, expected: Analysis) -> None:
    """All metrics and curves agree to rounding in double."""
    assert got.record.data.n == expected.record.data.n
    assert got.metrics.keys() == expected.metrics.keys()
    for name, value in expected.metrics.items():
        # Rounding noise itself; an estimate from blocks, which are made of batches; all weights, those elsewhere too.
        if name in ("rank_gap_below", "d_lr_debiased", "parameter_norm"):
            continue
        assert (got.metrics[name] is None) == (value is None), name
        if value is not None:
            assert got.metrics[name] == pytest.approx(value, rel=SAME, abs=SAME), name
    for name in ("utilization", "intensity", "utilization_variance"):
        np.testing.assert_allclose(getattr(got.curves, name), getattr(expected.curves, name), atol=SAME, err_msg=name)


# Rows and batches


@pytest.mark.parametrize("size", [1, 7, ROWS - 1, ROWS, ROWS + 1, 100_000])
def test_batch_sizes(size: int) -> None:
    """Any batch size, also one larger than the data, gives the same numbers."""
    assert_same(run(two_layers(), X, LABELS, batch_size=size), run(two_layers(), X, LABELS))


@pytest.mark.parametrize("batch", [1, 8, ROWS, 500])
def test_batch_that_is_fixed_in_name(batch: int) -> None:
    """A model whose inputs fix the batch size gives the numbers of the one that leaves it free."""
    assert_same(run(two_layers(batch), X, LABELS), run(two_layers(), X, LABELS))


def held(batch: int) -> onnx.ModelProto:
    """The two layers behind a Reshape that no other batch size passes."""
    body = f"x = Reshape(z, shape)\n {TWO_LAYERS}"
    return build(body, x=f"float[{batch},6] z", y=f"float[{batch},3] y", shape=np.array([batch, 6]))


@pytest.mark.parametrize("asked", [None, 5])
@pytest.mark.parametrize("batch", [1, 8, ROWS, 500])
def test_batch_that_is_fixed_inside(batch: int, asked: int | None) -> None:
    """A model that takes one batch size only gets the last rows padded, and the padding counts for nothing."""
    fixed = run(held(batch), X, LABELS, batch_size=asked)
    assert_same(fixed, run(two_layers(), X, LABELS))
    assert fixed.record.runtime.batch_size == batch
    expected = f"The model fixes its batch size at {batch}; --batch-size 5 was not used."
    assert codes(fixed).get("fixed_batch") == (None if asked is None else expected)


def test_negative_batch_is_free() -> None:
    """A batch dimension of −1, as some exporters write it, is a free one."""
    proto = two_layers()
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = -1
    assert_same(run(proto, X, LABELS), run(two_layers(), X, LABELS))


@pytest.mark.parametrize("kind", ["mapping", "iterable", "npz"])
def test_scalar_input(kind: str, tmp_path: Any) -> None:
    """An input without rows reaches the model as it is, from every kind of source."""
    scaled = build(f"b = Mul(z, t)\n {TWO_LAYERS.replace('x', 'b')}", x="float[N,6] z, float t")
    np.savez(tmp_path / "d.npz", z=X / 2, t=np.float32(2))
    items = [{"z": X[:50] / 2, "t": np.float32(2)}, {"z": X[50:] / 2, "t": np.float32(2)}]
    data: Any = {"mapping": {"z": X / 2, "t": np.float32(2)}, "iterable": items, "npz": tmp_path / "d.npz"}[kind]
    assert_same(run(scaled, data), run(two_layers()))


@pytest.mark.parametrize("size", [0, -3])
def test_batch_size_without_meaning(size: int) -> None:
    """A batch of no rows is refused."""
    with refused(DataError, f"batch_size {size}; needed: a whole number from 1. Pass --batch-size N with N ≥ 1."):
        run(two_layers(), batch_size=size)


@pytest.mark.parametrize("batch", ["N", 1, 8])
def test_one_row(batch: int | str) -> None:
    """A single row has no variance: D_LR is null, and the warning says so."""
    analysis = run(two_layers(batch), X[:1], LABELS[:1])
    assert analysis.record.data.n == 1
    for name in ("d_lr", "d_lr_centered", "utilized_variance", "participation_ratio", "effective_rank", "nc1"):
        assert analysis.metrics[name] is None, name
    assert codes(analysis)["too_few_rows"] == "A single row has no variance: D_LR is undefined. Pass more data."
    assert analysis.metrics["accuracy"] in (0, 1)


@pytest.mark.parametrize("n", [2, 5, 8, 79])
def test_few_rows(n: int) -> None:
    """With less than ten rows a feature there is a number, and a warning how far it can be trusted."""
    analysis = run(two_layers(), whole(n, 6, seed=7))
    assert 0 <= analysis.metrics["d_lr"] <= 1
    rule = (
        "D_LR is biased: towards rich (0) where the features are even in size, towards lazy (1) where few of many are "
        "large, or the outputs are many. As a rule of thumb, use 80 rows or more."
    )
    # From four blocks on, what they tell of the number of rows stands in place of the rule.
    told = rule if analysis.uncertainty is None else analysis.uncertainty.summary
    assert codes(analysis)["few_rows"] == f"n/p = {n / 8:.2g} rows a feature are few. {told}"
    assert (told == rule) == (n < 79)
    assert analysis.curves.k[-1] <= min(n, 8)


def test_enough_rows() -> None:
    """With ten rows a feature the warning is gone."""
    assert "few_rows" not in codes(run(two_layers(), X[:80]))


@pytest.mark.parametrize(
    "data",
    [X[:0], {"x": X[:0]}, [], [X[:0]], iter(())],
    ids=["array", "mapping", "no items", "empty item", "iterator"],
)
def test_no_rows(data: Any) -> None:
    """Data without rows are refused."""
    with refused(DataError, "no rows", "needed: at least one row. Pass data with rows."):
        run(two_layers(), data)


# Features and outputs that don't vary


@pytest.mark.parametrize("scale", [1.0, 1e6, 0.0])
def test_constant_features(scale: float) -> None:
    """Features that are the same in every row have no D_LR: null, with a warning."""
    analysis = run(two_layers(w1=whole(6, 8) * np.float32(scale)), np.tile(X[:1], (100, 1)), LABELS[:100])
    assert analysis.metrics["d_lr"] is None
    assert analysis.metrics["effective_rank"] is None
    assert analysis.metrics["nc1"] is None
    assert codes(analysis)["constant_features"] == "The features are the same for every row: D_LR is undefined."
    assert "nc1_undefined" in codes(analysis)


@pytest.mark.parametrize("bias", [0.0, 3.0])
def test_constant_outputs(bias: float) -> None:
    """Outputs that are the same in every row have no D_LR either, whether zero or not."""
    body = f"{TWO_LAYERS.replace('y =', 'z =')}\n y = Add(z, b)"
    proto = build(body, w2=np.zeros((8, 3), np.float32), b=np.full(3, bias, np.float32))
    analysis = run(proto)
    assert analysis.metrics["d_lr"] is None
    assert analysis.metrics["rank_outputs"] == (1 if bias else 0)
    assert analysis.metrics["rank_outputs_centered"] == 0
    assert codes(analysis)["constant_outputs"] == "The outputs are the same for every row: D_LR is undefined."
    assert analysis.metrics["effective_rank"] > 1


def test_dead_features() -> None:
    """Features that are zero in every row change nothing but their number."""
    w1, w2 = whole(6, 8, seed=1), whole(8, 3, seed=2)
    wider = two_layers(w1=np.hstack([w1, 0 * w1]), w2=np.vstack([w2, w2]))
    got, expected = run(wider), run(two_layers())
    assert got.metrics["d_lr"] == pytest.approx(expected.metrics["d_lr"], abs=SAME)
    assert got.record.head.p == 16
    assert got.curves.stops_at == len(got.curves.k) <= 8
    assert not codes(got).keys() & {"curves_stop"}


def test_one_feature_and_one_output() -> None:
    """The smallest head, of one feature and one output, is perfectly rich: its kernel is the function's."""
    proto = build(TWO_LAYERS, y="float[N,1] y", w1=np.ones((6, 1), np.float32), w2=np.ones((1, 1), np.float32))
    analysis = run(proto, X, LABELS > 1)
    assert analysis.metrics["d_lr_centered"] == pytest.approx(0, abs=SAME)
    assert analysis.metrics["rank_outputs"] == 1
    assert analysis.record.data.classes == 2


# Labels


def test_one_class() -> None:
    """With one class there is a D_LR, and NC1 is null with a warning."""
    analysis = run(two_layers(), X, np.ones(ROWS, int))
    assert analysis.metrics["d_lr"] == run(two_layers()).metrics["d_lr"]
    assert analysis.metrics["nc1"] is None
    assert codes(analysis)["nc1_undefined"] == "NC1 needs at least two classes whose mean features differ."


def test_classes_without_rows() -> None:
    """Classes that don't occur, and more of them than outputs, are allowed."""
    analysis = run(two_layers(), X, LABELS * 3)
    assert analysis.record.data.classes == 7
    assert f"; {len(set(LABELS))} of 7 classes" in terminal.render([analysis], width=140)
    assert analysis.metrics["nc1"] == pytest.approx(run(two_layers(), X, LABELS).metrics["nc1"], rel=SAME)


@pytest.mark.parametrize("at", [0, ROWS - 1])
def test_negative_labels(at: int) -> None:
    """A negative class index is refused, in whatever batch it comes."""
    labels = LABELS.copy()
    labels[at] = -1
    with refused(
        DataError, "the class labels go from -1 to ", "Renumber the classes from 0, and leave out rows without a class."
    ):
        run(two_layers(), X, labels, batch_size=16)


def test_classes_beyond_the_outputs_of_a_stream() -> None:
    """A stream can't be looked through first: its classes are those of the outputs, and others are refused."""
    items = ({"x": X[a : a + 20], "y": np.full(20, a // 20)} for a in range(0, 200, 20))
    with refused(
        DataError, "class labels go from 3 to 3; needed: class indices from 0 to 2. Renumber the classes from 0"
    ):
        run(two_layers(), items, batch_size=20)


@pytest.mark.parametrize("highest", [2**31, 2**62])
def test_far_too_many_classes(highest: int) -> None:
    """Class indices that no table can hold, as of identifiers, are refused: memory is not tried."""
    labels = LABELS.copy()
    labels[5] = highest
    with refused(DataError, str(highest)):
        run(two_layers(), X, labels)


@pytest.mark.parametrize("count", [0, ROWS - 1, ROWS + 1])
def test_wrong_number_of_labels(count: int) -> None:
    """Labels of another length than the data are refused with both lengths."""
    with refused(DataError, f"{ROWS} of 'array', {count} of 'labels'; needed: the same number of rows in each."):
        run(two_layers(), X, np.zeros(count, int))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_targets_that_are_not_finite(bad: float) -> None:
    """Real targets that are not finite are refused with the row."""
    targets = np.zeros((ROWS, 2))
    targets[177, 1] = bad
    with refused(DataError, "the label of row 177 is not finite"):
        run(two_layers(), X, targets, batch_size=50)


# Numbers that are not finite


@pytest.mark.parametrize("batch", ["N", 4])
@pytest.mark.parametrize("row", [0, 15, 16, ROWS - 1])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite(bad: float, row: int, batch: int | str) -> None:
    """NaN or infinity in an input is refused with the input and the first such row, in whatever batch."""
    x = X.copy()
    x[row, 2] = x[-1, 1] = bad
    with refused(
        DataError,
        f"input 'x' is not finite in row {row}, so the features are not finite; needed: finite numbers. "
        "Fix or leave out these rows.",
    ):
        run(two_layers(batch), x, batch_size=16)


@pytest.mark.parametrize("kind", ["mapping", "iterable", "fixed batch"])
def test_row_is_counted_from_the_beginning(kind: str) -> None:
    """The row named is that of the data, not of a batch or an item; the input named is the one that is bad."""
    sum_of_two = build(f"x = Add(p, q)\n {TWO_LAYERS}", x="float[N,6] p, float[N,6] q")
    q = X.copy()
    q[123] = np.nan
    items = [{"p": X[a : a + 9], "q": q[a : a + 9]} for a in range(0, ROWS, 9)]
    with refused(DataError, "input 'q' is not finite in row 123"):
        if kind == "fixed batch":
            eight = build(f"x = Add(p, q)\n {TWO_LAYERS}", x="float[8,6] p, float[8,6] q", y="float[8,3] y")
            run(eight, {"p": X, "q": q})
        else:
            run(sum_of_two, items if kind == "iterable" else {"p": X, "q": q}, batch_size=16)


def test_inputs_that_do_not_matter() -> None:
    """An infinite input that the model keeps from its features, as a mask is, is no error."""
    x = X.copy()
    x[5, 0] = -np.inf
    bounded = build(f"x = Clip(z, low, high)\n {TWO_LAYERS}", x="float[N,6] z", low=np.float32(-2), high=np.float32(2))
    assert run(bounded, x).metrics["d_lr"] is not None


@pytest.mark.parametrize("row", [0, 100])
def test_features_that_overflow(row: int) -> None:
    """Finite inputs on which the model overflows are told apart from inputs that are not finite."""
    x = X.copy()
    x[row] = 3e38
    with refused(
        DataError,
        "the features hold NaN or infinity, though the inputs and the weights are finite; needed: finite numbers. "
        "The model overflows on these data: check their scale",
    ):
        run(two_layers(w1=np.full((6, 8), 2, np.float32)), x, batch_size=16)


def test_outputs_that_overflow() -> None:
    """Finite features with outputs beyond float32 are refused by the name of the outputs."""
    with refused(DataError, "the outputs hold NaN or infinity, though the inputs and the weights are finite"):
        run(two_layers(w2=np.full((8, 3), 3e38, np.float32)))


def test_large_numbers_that_do_not_overflow() -> None:
    """Features near the end of float32 have squares that double holds: D_LR doesn't depend on the scale."""
    large = two_layers(w1=whole(6, 8, seed=1) * np.float32(2**100), w2=whole(8, 3, seed=2) * np.float32(2**-100))
    assert run(large).metrics["d_lr"] == pytest.approx(run(two_layers()).metrics["d_lr"], abs=SAME)


def test_small_numbers() -> None:
    """Features near the beginning of float32 neither."""
    small = two_layers(w1=whole(6, 8, seed=1) * np.float32(2**-100), w2=whole(8, 3, seed=2) * np.float32(2**100))
    assert run(small).metrics["d_lr"] == pytest.approx(run(two_layers()).metrics["d_lr"], abs=SAME)


# Data that don't fit


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X.astype(np.uint8), "input 'x' gets uint8 data; needed: float32."),
        (X[:, :5], "input 'x' gets data of shape 203 × 5; needed: shape N × 6."),
        (X[0], "input 'x' gets data of shape 6; needed: shape N × 6."),
        ({"a": X, "b": X}, "arrays holds 'a', 'b', and nothing for 'x'; needed: arrays named as the model's inputs: '"),
        ("none.npz", "none.npz: No such file or directory; needed: a readable .npz file. Check the path."),
    ],
    ids=["type", "width", "rank", "names", "missing"],
)  # fmt: skip
def test_data_that_do_not_fit(data: Any, message: str) -> None:
    """Data of another type, shape or name are refused before the model runs."""
    with refused(DataError, message):
        run(two_layers(), data)


def test_inputs_of_strings_are_not_made_up() -> None:
    """Without data, a model with an input of strings is refused by the input's name."""
    proto = build(TWO_LAYERS, x="float[N,6] x, string[N] s")
    with refused(DataError, "input 's' takes text, or has an unknown type or shape; needed: data", "Pass --data FILE."):
        run(proto, None)


# Heads


def deep(**options: Any) -> onnx.ModelProto:
    """Three layers, the last with names of its own."""
    body = "a = MatMul(x, w1)\n hidden = Relu(a)\n b = MatMul(hidden, w2)\n late = Relu(b)\n scores = MatMul(late, w3)"
    return build(body, y="float[N,2] scores", w3=whole(3, 2, seed=5), **options)


def test_no_head() -> None:
    """Without a linear layer behind the outputs the error says where it looked, and lists the layers that there are."""
    proto = build("a = MatMul(x, w1)\n h = Relu(a)\n z = MatMul(h, w2)\n y = CumSum(z, axis)", axis=np.int64(1))
    with refused(
        HeadError,
        "No head was found: at 'y', operator CumSum is not known to follow a head; needed: ",
        "Pass --features NAME and --outputs NAME to choose the tensors yourself.",
        "MatMul: --features 'h' --outputs 'z'",
        "MatMul: --features 'x' --outputs 'a'",
    ):
        run(proto)


def test_no_linear_layer() -> None:
    """A model without any linear layer has no candidates to list."""
    with refused(HeadError, "No head was found: at 'x', the model's input is reached without a linear layer"):
        run(build("y = Relu(x)", y="float[N,6] y"))


TWO_HEADS = "a = MatMul(x, w1)\n h = Relu(a)\n one = MatMul(h, w2)\n two = MatMul(h, w3)"


def two_heads() -> onnx.ModelProto:
    return build(TWO_HEADS, y="float[N,3] one, float[N,2] two", w3=whole(8, 2, seed=4))


def test_two_heads() -> None:
    """Of two heads none is guessed: the error lists both with the words to choose one."""
    with refused(
        HeadError,
        "The model has 2 possible heads; needed: one head. Pass --head K, or --head all, or names:",
        "--features 'h' --outputs 'one', p = 8, C = 3",
        "--features 'h' --outputs 'two', p = 8, C = 2",
    ):
        run(two_heads())


@pytest.mark.parametrize(("outputs", "C"), [("one", 3), ("two", 2)])
def test_choosing_one_of_two_heads(outputs: str, C: int) -> None:
    """The name of its outputs chooses a head, which is verified as if it were the only one."""
    analysis = run(two_heads(), outputs=outputs)
    assert (analysis.record.head.outputs, analysis.record.head.C) == (outputs, C)
    assert analysis.record.head.verified
    if outputs == "one":
        assert_same(analysis, run(two_layers()))


def test_features_of_both_heads_choose_none() -> None:
    """Features that belong to both heads leave the choice open."""
    with refused(
        HeadError,
        "The model has 2 possible heads; needed: one head. Pass --head K, or --head all, or names:",
        "'one'",
        "'two'",
    ):
        run(two_heads(), features="h")


def test_choosing_what_is_found_anyway() -> None:
    """Naming the head's own tensors changes nothing."""
    expected = run(deep())
    assert (expected.record.head.features, expected.record.head.outputs) == ("late", "scores")
    for options in ({"features": "late"}, {"outputs": "scores"}, {"features": "late", "outputs": "scores"}):
        analysis = run(deep(), **options)
        assert analysis.record.head.verified
        assert_same(analysis, expected)


def test_choosing_other_features() -> None:
    """Features of another layer can be chosen with the outputs that are there; no head verifies that, which it says."""
    analysis = run(deep(), features="hidden", outputs="scores")
    assert (analysis.record.head.p, analysis.record.head.C) == (8, 2)
    assert not analysis.record.head.verified
    assert analysis.record.head.residual is None
    h = np.maximum(X @ whole(6, 8, seed=1), 0).astype(float)
    f = np.maximum(h @ whole(8, 3, seed=2), 0) @ whole(3, 2, seed=5)
    assert analysis.metrics["d_lr"] == pytest.approx(onnxrich.richness(h, f).d_lr, abs=SAME)


def test_choosing_an_inner_head() -> None:
    """Naming tensors of an inner layer measures that layer."""
    assert_same(run(deep(), features="hidden", outputs="b"), run(two_layers()))


@pytest.mark.parametrize(
    ("options", "name", "near"),
    [
        ({"features": "hiden"}, "hiden", "['hidden'"),
        ({"outputs": "score"}, "score", "['scores'"),
        ({"features": "qqq"}, "qqq", "['scores'"),
        ({"features": ""}, "", "['scores'"),
        ({"features": "late", "outputs": "scoers"}, "scoers", "['scores'"),
    ],
)
def test_unknown_names(options: dict[str, str], name: str, near: str) -> None:
    """A name that is not there is refused with those that are near, or else the outputs."""
    with refused(
        HeadError, f"The model has no tensor {name!r}; needed: the name of a tensor. Did you mean one of {near}"
    ):
        run(deep(), **options)


@pytest.mark.parametrize("options", [{"features": "w1", "outputs": "scores"}, {"features": "w3", "outputs": "late"}])
def test_choosing_what_has_no_rows(options: dict[str, str]) -> None:
    """Weights have no row for each sample: choosing them is an expected failure."""
    with pytest.raises(OnnxrichError):
        run(deep(), **options)


def test_choosing_a_vector() -> None:
    """A tensor with one number a row is no table of features."""
    body = f"{TWO_LAYERS}\n norm = ReduceSum<keepdims = 0>(h, axis)"
    proto = build(body, y="float[N,3] y, float[N] norm", axis=np.array([1]))
    with refused(HeadError, "Tensor 'norm' has shape (203,); needed: a tensor of shape (rows, width)"):
        run(proto, features="norm", outputs="y", batch_size=203)
