"""Every metric equals its definition, keeps its invariances, and is null where it is undefined."""

from __future__ import annotations

import json

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo_text import refused

from onnxrich.errors import DataError
from onnxrich.metrics.registry import measure
from onnxrich.metrics.richness import richness
from onnxrich.moments.matrix import Moments

# Double arithmetic on some hundred rows of size one: products of 1e3 terms of 1e-16 each, with room for conditioning.
EXACT = 1e-9

LAWS = settings(max_examples=40, deadline=None, derandomize=True)


def sample(seed: int = 0, n: int = 300, p: int = 12, C: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of uneven variances and a mean, outputs affine in them, and classes."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, p)) * rng.gamma(1.0, size=p) + rng.standard_normal(p)
    outputs = features @ rng.standard_normal((p, C)) + rng.standard_normal(C)
    return features, outputs, rng.integers(0, C, n)


def metrics_of(features: np.ndarray, outputs: np.ndarray, labels: np.ndarray | None = None) -> dict:
    return measure(Moments.from_rows(features, outputs, labels))[0]


def codes_of(features: np.ndarray, outputs: np.ndarray, labels: np.ndarray | None = None) -> set[str]:
    return {notice.code for notice in measure(Moments.from_rows(features, outputs, labels))[1]}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(300, 12, 4), (40, 60, 3), (200, 1, 1), (150, 5, 9)])
def test_equal_the_oracle(seed: int, shape: tuple[int, int, int]) -> None:
    """Richness, spectrum and collapse are what n × n matrices and loops give."""
    features, outputs, labels = sample(seed, *shape)
    got = metrics_of(features, outputs, labels)
    assert got["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=EXACT)
    assert got["d_lr_centered"] == pytest.approx(oracle.d_lr_centered(features, outputs), abs=EXACT)
    assert got["utilized_variance"] == pytest.approx(oracle.utilized_variance(features, outputs), abs=EXACT)
    assert got["rank_outputs"] == np.linalg.matrix_rank(outputs, rtol=1e-6)
    for name, value in oracle.spectrum(features).items():
        assert got[name] == pytest.approx(value, rel=1e-6), name
    if shape[1] < shape[0] and shape[2] > 1:
        assert got["nc1"] == pytest.approx(oracle.nc1(features, labels), rel=1e-7)
    assert got["accuracy"] == pytest.approx(np.mean(outputs.argmax(axis=1) == labels)) or shape[2] == 1


def test_splits_into_two_parts() -> None:
    """1 − D_LR (centred) = u·√(PR/r)."""
    got = metrics_of(*sample(3)[:2])
    product = got["utilized_variance"] * np.sqrt(got["participation_ratio"] / got["rank_outputs_centered"])
    assert 1 - got["d_lr_centered"] == pytest.approx(product, abs=EXACT)


def test_two_forms_agree_with_a_constant_output() -> None:
    """D_LR and its centred form agree when the constant is in the span of the outputs, and differ in general."""
    features, outputs, _ = sample(1)
    with_one = np.concatenate([outputs - outputs.mean(axis=0), np.ones((len(outputs), 1))], axis=1)
    got = metrics_of(features, with_one)
    assert got["d_lr"] == pytest.approx(got["d_lr_centered"], abs=EXACT)
    orthogonal = metrics_of(features, outputs - outputs.mean(axis=0))
    assert orthogonal["d_lr"] == pytest.approx(orthogonal["d_lr_centered"], abs=EXACT)
    other = metrics_of(features, outputs)
    assert abs(other["d_lr"] - other["d_lr_centered"]) > 1e-3


@LAWS
@given(st.integers(0, 10_000), st.floats(1e-6, 1e6))
def test_invariant_to_rotation_and_scale_of_features(seed: int, scale: float) -> None:
    """An orthogonal map and a scaling of the features change nothing."""
    features, outputs, _ = sample(seed % 7)
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((12, 12)))[0]
    expected = metrics_of(features, outputs)["d_lr"]
    assert metrics_of(scale * features @ rotation, outputs)["d_lr"] == pytest.approx(expected, abs=EXACT)


@LAWS
@given(st.integers(0, 10_000))
def test_invariant_to_linear_maps_of_outputs(seed: int) -> None:
    """An invertible linear map of the outputs changes nothing; a bias does not change the centred form."""
    features, outputs, _ = sample(seed % 7)
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0] @ np.diag(rng.uniform(0.5, 2, 4))
    expected = metrics_of(features, outputs)
    assert metrics_of(features, outputs @ turn)["d_lr"] == pytest.approx(expected["d_lr"], abs=EXACT)
    moved = metrics_of(features, outputs + rng.standard_normal(4))
    assert moved["d_lr_centered"] == pytest.approx(expected["d_lr_centered"], abs=EXACT)


def test_invariant_to_duplicates_and_order() -> None:
    """Each row twice, or the rows in another order: the same numbers."""
    features, outputs, labels = sample(2)
    expected = metrics_of(features, outputs, labels)
    order = np.random.default_rng(0).permutation(len(features))
    for index in (np.tile(np.arange(len(features)), 2), order):
        got = metrics_of(features[index], outputs[index], labels[index])
        for name in ("d_lr", "d_lr_centered", "effective_rank", "nc1", "accuracy"):
            assert got[name] == pytest.approx(expected[name], rel=1e-7), name


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("C", [2, 10])
def test_collapse_is_the_rich_end(C: int, dtype: type) -> None:
    """Balanced collapse has D_LR = 0 and NC1 = 0: logits that sum to a constant have a direction of noise, left out."""
    rng = np.random.default_rng(C)
    etf = np.eye(C) - 1 / C
    labels = np.repeat(np.arange(C), 60)
    basis = np.linalg.qr(rng.standard_normal((32, C)))[0]
    features = (etf[labels] @ basis.T).astype(dtype)
    outputs = (features @ (5 * basis @ etf).astype(dtype)).astype(dtype)
    got = metrics_of(features, outputs, labels)
    assert got["rank_outputs"] == C - 1
    # Float32 rounding of the features leaves variances of (6e-8)² beside those of one.
    assert got["d_lr"] == pytest.approx(0, abs=1e-12 if dtype is np.float64 else 1e-6)
    assert got["nc1"] == pytest.approx(0, abs=1e-12)
    assert got["accuracy"] == 1


def test_counting_noise_would_cost() -> None:
    """The rank decision matters: with the noise direction counted, collapse at C = 10 would not be 0 but about 0.05."""
    C, labels = 10, np.repeat(np.arange(10), 60)
    etf = np.eye(C) - 1 / C
    noise = 1e-8 * np.random.default_rng(0).standard_normal((600, C))
    assert oracle.d_lr(etf[labels], etf[labels] + noise, tolerance=1e-12) == pytest.approx(0.051, abs=0.01)
    assert metrics_of(etf[labels].astype(np.float32), (etf[labels] + noise).astype(np.float32))["d_lr"] < 1e-6


def test_minimum_projection_means_collapse() -> None:
    """Proposition 1: features whose kernel is an MP operator of one-hot targets have Σ_W Σ_B⁺ = 0."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(5), 40)
    targets = np.eye(5)[labels]
    # T_MP = a₁11ᵀ/n + a₂P: features [√a₁·1/√n, √a₂·orthonormal basis of the targets], in any rotation.
    basis = targets / np.sqrt(targets.sum(axis=0))
    features = np.concatenate([np.full((200, 1), 0.3), 1.7 * basis], axis=1) @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    got = metrics_of(features, targets @ rng.standard_normal((5, 5)), labels)
    assert got["nc1"] == pytest.approx(0, abs=1e-12)
    assert got["d_lr"] == pytest.approx(0, abs=1e-12)


def test_large_mean() -> None:
    """Features with |mean|/std = 1e6 agree to 1e-6 with the definition on the same features without their mean."""
    rng = np.random.default_rng(0)
    plain = np.round(rng.standard_normal((500, 8)) * 2**20) / 2**20  # exact also after the mean is added
    outputs = plain @ rng.standard_normal((8, 3))
    got = metrics_of(plain + 2.0**20, outputs)
    assert got["d_lr"] == pytest.approx(oracle.d_lr(plain, outputs), abs=1e-6)
    assert got["effective_rank"] == pytest.approx(oracle.spectrum(plain)["effective_rank"], rel=1e-6)


@pytest.mark.parametrize("scale", [1e-20, 1e20])
def test_scale_does_not_matter(scale: float) -> None:
    """Very small and very large features and outputs are no special case."""
    features, outputs, labels = sample(0)
    expected, got = metrics_of(features, outputs, labels), metrics_of(scale * features, scale * outputs, labels)
    for name in ("d_lr", "d_lr_centered", "utilized_variance", "effective_rank", "nc1", "rank_outputs"):
        assert got[name] == pytest.approx(expected[name], rel=1e-8), name


CONSTANT = np.full((50, 4), 0.1)


@pytest.mark.parametrize(
    ("features", "outputs", "code"),
    [
        (CONSTANT, sample(0, 50)[1], "constant_features"),
        (CONSTANT.astype(np.float32), sample(0, 50)[1].astype(np.float32), "constant_features"),
        (sample(0, 50)[0], CONSTANT, "constant_outputs"),
        (sample(0, 50)[0], np.zeros((50, 3)), "constant_outputs"),
        (sample(0, 1)[0], sample(0, 1)[1], "too_few_rows"),
        (np.zeros((50, 4)), np.zeros((50, 2)), "constant_features"),
    ],
)
def test_undefined_is_null_and_said(features: np.ndarray, outputs: np.ndarray, code: str) -> None:
    """Where nothing varies D_LR is None, a notice says why, and nothing is NaN."""
    got = metrics_of(features, outputs)
    assert got["d_lr"] is None
    assert code in codes_of(features, outputs)
    json.dumps(got, allow_nan=False)


def test_few_rows_are_warned_about() -> None:
    """Below ten rows a feature there is a notice, above there is none; n < p works."""
    assert "few_rows" in codes_of(*sample(0, n=100, p=12)[:2])
    assert "few_rows" not in codes_of(*sample(0, n=130, p=12)[:2])
    assert 0 <= metrics_of(*sample(0, n=10, p=50)[:2])["d_lr"] <= 1


def test_narrow_gap_is_warned_about() -> None:
    """An output direction just above the tolerance is a close call, and said to be one."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 6))
    base = np.linalg.qr(features)[0][:, :3]
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]  # so that all outputs are of one size
    outputs = base * [1.0, 3e-6, 4e-7] @ turn
    moments = Moments.from_rows(features, outputs)
    as_float32 = Moments(moments.matrix, moments.shift, 6, 3, dtype="float32")
    metrics, notices = measure(as_float32)
    assert metrics["rank_outputs"] == 2
    assert "narrow_rank_gap" in {notice.code for notice in notices}


def test_richness_of_arrays() -> None:
    """`richness` is the same measurement, with what it rests on."""
    features, outputs, _ = sample(0)
    got = richness(features, outputs)
    assert got.d_lr == metrics_of(features, outputs)["d_lr"]
    assert (got.n, got.p, got.rank) == (300, 12, 4)
    with pytest.raises(DataError, match="needed: a table of shape"):
        richness(features[:, 0], outputs)
    with pytest.raises(DataError, match="299 of outputs"):
        richness(features, outputs[1:])


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.nan, "the features contain NaN or infinity in row 5; needed: finite numbers. Fix"),
        (0, np.inf, "the features contain NaN or infinity in row 5; needed: finite numbers. Fix"),
        (1, np.nan, "the outputs contain NaN or infinity in row 5; needed: finite numbers. Fix"),
        (1, 1j, "the outputs of type ndarray are no real numbers: complex numbers; needed: a table of real numbers"),
    ],
)
def test_richness_of_other_numbers(place: int, value: complex, message: str) -> None:
    """Arrays with a number that is none, or not a real one, are refused; so are those without rows."""
    arrays = [np.random.default_rng(0).standard_normal((20, width)).astype(type(value)) for width in (4, 2)]
    arrays[1 - place] = arrays[1 - place].real
    arrays[place][5, 1] = value
    with refused(DataError, message):
        richness(*arrays)
    with refused(DataError, "no rows; needed: at least one row"):
        richness(np.zeros((0, 4)), np.zeros((0, 2)))


def rectified(seed: int = 9, n: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Features behind a ReLU, and logits that are affine in them, as float32 computes them from double."""
    rng = np.random.default_rng(seed)
    features = np.maximum(rng.standard_normal((n, 10)) @ rng.standard_normal((10, 24)) / 3 + rng.standard_normal(24), 0)
    return features, features @ rng.standard_normal((24, 5)) / 5 + rng.standard_normal(5)


UNITS = {
    "a price and a rate": np.array([2e5, 0.01, 1.0, 1.0, 1.0]),
    "twelve orders of magnitude": np.array([1e-6, 1e-3, 1.0, 1e3, 1e6]),
    "small and large": np.array([1e-12, 1.0, 1.0, 1e12, 1.0]),
    "signs": np.array([-1.0, 1e4, -1e-4, 1.0, 1.0]),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("units", UNITS)
def test_units_of_outputs_do_not_matter(units: str, dtype: type) -> None:
    """Outputs in any units have the rank and the richness of the same outputs in one unit."""
    features, outputs = rectified()
    got = metrics_of(features, (outputs * UNITS[units]).astype(dtype))
    assert got["rank_outputs"] == got["rank_outputs_centered"] == 5
    # Float32 rounds each output to 6e-8 of itself.
    assert got["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=1e-12 if dtype is np.float64 else 1e-7)
    assert got["d_lr_centered"] == pytest.approx(oracle.d_lr_centered(features, outputs), abs=1e-7)


@LAWS
@given(st.lists(st.floats(-6, 6), min_size=4, max_size=4), st.permutations(range(4)), st.integers(0, 6))
def test_invariant_to_scales_and_order_of_outputs(exponents: list[float], order: list[int], seed: int) -> None:
    """Each output times its own number, over twelve orders of magnitude, in any order: the same numbers."""
    features, outputs, _ = sample(seed)
    expected = metrics_of(features, outputs)
    got = metrics_of(features, (outputs * 10.0 ** np.array(exponents))[:, order])
    for name in ("d_lr", "d_lr_centered", "utilized_variance", "rank_outputs", "rank_gap_above"):
        assert got[name] == pytest.approx(expected[name], abs=1e-10), name


@LAWS
@given(st.lists(st.floats(-6, 6), min_size=10, max_size=10), st.integers(0, 100))
def test_noise_stays_noise_in_any_units(exponents: list[float], seed: int) -> None:
    """Logits that sum to zero have rank C − 1 in float32, whatever the units of each."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((300, 10))
    logits = (logits - logits.mean(axis=1, keepdims=True)) * 10.0 ** np.array(exponents)
    assert metrics_of(rng.standard_normal((300, 12)), logits.astype(np.float32))["rank_outputs"] == 9


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("bias", [-30.0, -1e4, -65504.0, -1e9, float(np.finfo(np.float32).min), 1e9])
def test_unused_classes_are_one_constant_function(bias: float, dtype: type) -> None:
    """Outputs that never vary count as the constant function, whatever their bias, and a notice names them."""
    features, outputs = rectified()
    unused = np.concatenate([outputs[:, :2], np.full((600, 3), bias), outputs[:, 2:]], axis=1).astype(dtype)
    got, notices = measure(Moments.from_rows(features, unused))
    expected = oracle.d_lr(features, np.concatenate([outputs, np.ones((600, 1))], axis=1))
    assert (got["rank_outputs"], got["rank_outputs_centered"]) == (6, 5)
    assert got["d_lr"] == pytest.approx(expected, abs=1e-7)
    assert got["d_lr_centered"] == pytest.approx(oracle.d_lr_centered(features, outputs), abs=1e-7)
    (notice,) = [notice for notice in notices if notice.code == "constant_columns"]
    assert notice.message.startswith("Outputs 2, 3, 4 (counted from 0) are constant in float")
    assert len(notice.message) < 300


def with_contrasts(features: np.ndarray, outputs: np.ndarray, moved: list[int]) -> float:
    """D_LR of outputs with a very large common offset in some: their differences, and the constant for one of them."""
    plain = outputs - outputs.mean(axis=0)
    differences = plain[:, moved[1:]] - plain[:, moved[:1]]
    rest = np.delete(outputs, moved, axis=1)
    return oracle.d_lr(features, np.concatenate([differences, rest, np.ones((len(plain), 1))], axis=1), 1e-12)


@pytest.mark.parametrize("moved", [[0], [1, 3], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize(("offset", "dtype"), [(2e6, np.float64), (1e9, np.float64), (1e4, np.float32)])
def test_offsets_hide_nothing_that_is_resolved(moved: list[int], offset: float, dtype: type) -> None:
    """Beside a large offset the span keeps all its directions: differences of outputs, and about the constant."""
    features, outputs = rectified()
    shifted = outputs.copy()
    shifted[:, moved] += offset
    got = metrics_of(features, shifted.astype(dtype))
    assert got["rank_outputs"] == 5
    # One direction is the constant to about 1/offset; float32 rounds 1e4 to 1e-3, a three-hundredth of the variation.
    assert got["d_lr"] == pytest.approx(with_contrasts(features, outputs, moved), abs=1e-3 if offset == 1e4 else 1e-5)
    assert got["d_lr_centered"] == pytest.approx(oracle.d_lr_centered(features, outputs), abs=1e-3)


def test_offset_that_rounds_the_outputs_is_said() -> None:
    """Float32 beside 2e6 rounds to 0.12: a notice names the outputs. Beside 1e9 nothing is left, and D_LR is None."""
    features, outputs = rectified()
    shifted = (outputs + np.array([0, 2e6, 0, 0, 2e6])).astype(np.float32)
    got, notices = measure(Moments.from_rows(features, shifted))
    messages = {notice.code: notice.message for notice in notices}
    assert messages["coarse_columns"].startswith("Outputs 1, 4 (counted from 0) are rounded: float32 resolves 2e+06 to")
    assert len(messages["coarse_columns"]) < 300
    # Rounding with a standard deviation of 0.06 beside a variation of about 0.6 is one per cent of the variance.
    assert got["d_lr"] == pytest.approx(with_contrasts(features, outputs, [1, 4]), abs=0.01)
    nothing = metrics_of(features, (outputs + 1e9).astype(np.float32))
    assert (nothing["d_lr"], nothing["rank_outputs"]) == (None, 1)


def test_one_output_with_an_offset() -> None:
    """D_LR of a single output does not depend on its offset or unit."""
    features, outputs = rectified()
    expected = oracle.d_lr_centered(features, outputs[:, :1])
    for offset, unit in ((0, 1e-9), (1e3, 1.0), (2e6, 1.0), (1e9, 1e3)):
        got = metrics_of(features, unit * (outputs[:, :1] + offset))
        assert got["d_lr"] == pytest.approx(expected, abs=1e-6), offset
        assert got["d_lr_centered"] == pytest.approx(expected, abs=1e-6), offset


@LAWS
@given(st.lists(st.floats(-1e5, 1e5), min_size=4, max_size=4), st.integers(0, 6))
def test_centered_form_is_blind_to_biases(biases: list[float], seed: int) -> None:
    """Any biases leave the centred form alone, up to what double resolves beside them."""
    features, outputs, _ = sample(seed)
    expected, got = metrics_of(features, outputs), metrics_of(features, outputs + biases)
    assert got["d_lr_centered"] == pytest.approx(expected["d_lr_centered"], abs=1e-8)
    assert got["rank_outputs_centered"] == expected["rank_outputs_centered"]


def test_zero_outputs_are_no_functions() -> None:
    """Outputs that are zero for every row change nothing."""
    features, outputs = rectified()
    got, notices = measure(Moments.from_rows(features, np.concatenate([outputs, np.zeros((600, 2))], axis=1)))
    assert got["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=1e-12)
    assert not notices


def test_sum_that_overflows_is_null_and_said() -> None:
    """A number that double does not hold is null, never infinite."""
    metrics, notices = measure(Moments.from_rows(*rectified()), parameter_norm=float("inf"))
    assert metrics["parameter_norm"] is None
    (notice,) = notices
    assert notice.message == "No finite numbers, and therefore null: parameter_norm."


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_many_constants_beside_dependent_outputs(dtype: type) -> None:
    """Hundreds of constants at any size add one direction to a span of rank 5, and no rounding of theirs."""
    features, outputs = rectified()
    dependent = outputs @ np.random.default_rng(0).standard_normal((5, 60))
    constants = np.tile(-(10.0 ** np.arange(2, 32, 0.1)), (600, 1))
    got = metrics_of(features, np.concatenate([constants, dependent], axis=1).astype(dtype))
    assert (got["rank_outputs"], got["rank_outputs_centered"]) == (6, 5)
    expected = oracle.d_lr(features, np.concatenate([outputs, np.ones((600, 1))], axis=1))
    assert got["d_lr"] == pytest.approx(expected, abs=1e-6)
