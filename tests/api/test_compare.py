"""Comparisons: several models in one pass, CKA between them, and the errors of their differences."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracle
import pytest
from zoo_text import build, refused, two_layers

import onnxrich
from onnxrich.errors import DataError, DeviceError, HeadError, ModelError, WorkerError
from onnxrich.moments.matrix import Moments
from onnxrich.results.analysis import Analysis
from onnxrich.results.comparison import Comparison
from onnxrich.results.differences import Similarity

# Both models compute in float32 on whole numbers up to some hundred, which is exact; sums in double of n rows, and the
# n × n oracle, each leave some n·eps of CKA. Shifts and centring take a digit or two of it.
CKA = 1e-12

WIDE = "a = MatMul(x, w1)\n b = Add(a, off)\n h = Relu(b)\n y = MatMul(h, w2)"


def whole(*shape: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float32)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return whole(211, 6, seed=7)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return np.random.default_rng(8).integers(0, 3, 211)


def wide(width: int = 11, *, far: float = 0.0, seed: int = 3, **options: Any) -> onnx.ModelProto:
    """x (6) → h (so many, ReLU) → y (3); features far from zero when asked."""
    weights = {"w1": whole(6, width, seed=seed), "w2": whole(width, 3, seed=seed + 1)}
    return build(WIDE, off=np.full(width, far, dtype=np.float32), **weights, **options)


def features(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """h of either model, by NumPy."""
    given = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return np.maximum(x @ given["w1"] + given.get("off", np.float32(0)), 0).astype(np.float64)


def debiased(a: np.ndarray, b: np.ndarray, analysis: Analysis) -> float:
    """CKA by the unbiased HSIC of blocks of rows as the pass makes them, corrected by the jackknife."""
    runtime = analysis.record.runtime
    numbers = np.arange(len(a)) // runtime.batch_size % 16
    blocks = [np.flatnonzero(numbers == number) for number in range(16) if (numbers == number).any()]

    def ratio(kept: list[np.ndarray]) -> float:
        chosen = np.concatenate(kept)
        owners = np.repeat(np.arange(len(kept)), [len(block) for block in kept])
        one, other = a[chosen], b[chosen]
        both, first, second = (
            oracle.unbiased_squared_covariance(*pair, owners) for pair in ((one, other), (one, one), (other, other))
        )
        return both / np.sqrt(first * second)

    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    shares = np.array([len(block) / len(a) for block in blocks])
    left_out = np.array([ratio(blocks[:number] + blocks[number + 1 :]) for number in range(len(blocks))])
    return len(blocks) * ratio(blocks) - float((1 - shares) @ left_out)


def cka(a: np.ndarray, b: np.ndarray) -> float:
    """Linear CKA by the definition: n × n kernels."""
    return 1 - oracle.cka_distance(a @ a.T, b @ b.T)


def made(n: int, seed: int, *, blocks: int, noise: float = 0.1) -> tuple[list[np.ndarray], Callable[[Any], Analysis]]:
    """Arrays of features and outputs of two alike models, and what makes results of a choice of their rows."""
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((n, 6)) * [3, 2, 1, 1, 0.5, 0.5]
    second = base + noise * rng.standard_normal((n, 6))
    weights = rng.standard_normal((6, 2))
    arrays = [base, base @ weights, second, second @ weights]

    def results(which: int, name: str) -> Analysis:
        phi, f = arrays[2 * which : 2 * which + 2]
        parts = [Moments.from_rows(phi[g::blocks], f[g::blocks]) for g in range(blocks)]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.merge(part)
        return Analysis.from_moments(whole, record(name, n), blocks=parts)

    return arrays, lambda which: results(which, f"{which}.onnx")


def record(name: str, n: int) -> Any:
    from report.conftest import record as recorded

    return replace(recorded(name, 6, 2, n), asked=("d_lr",))


@pytest.mark.parametrize("batch", [None, 16, 211])
def test_cka_is_that_of_the_definition(x: np.ndarray, batch: int | None) -> None:
    """For every pair, whatever the batches, for models of other widths and features far from zero."""
    protos = [two_layers(), wide(), wide(5, far=3e4, seed=9)]
    found = onnxrich.compare(protos, x, batch_size=batch, device="cpu")
    rows = [features(proto, x) for proto in protos]
    assert set(found.cka) == {(0, 1), (0, 2), (1, 2)}
    blocks = found.results[0].record.runtime.blocks
    sums = sum((1 + each.p + each.C) ** 2 for each in (result.moments for result in found.results))
    # Narrow moments are one tile, and each kind of sums has one spare set beside its blocks; of 16 some may be empty.
    assert found.memory == 8 * 17 * (sums + 8 * 11 + 8 * 5 + 11 * 5) and blocks <= 16
    for (a, b), estimate in found.cka.items():
        # Features at 3e4 with a spread of about 5 lose (3e4/5)² · eps = 1e-8 of the oracle's kernels, not of ours.
        assert estimate.value == pytest.approx(cka(rows[a], rows[b]), abs=1e-7 if 2 in (a, b) else CKA)
        centered = [each - each.mean(axis=0) for each in (rows[a], rows[b])]
        assert estimate.value == pytest.approx(cka(*centered), abs=CKA)
        assert (estimate.interval is None) == (batch == 211), "one batch is one block"
        assert (estimate.debiased is None) == (batch == 211)
        if estimate.debiased is not None:
            assert estimate.debiased.value == pytest.approx(debiased(rows[a], rows[b], found.results[a]), abs=1e-7)


def test_each_model_is_measured_as_alone(x: np.ndarray, labels: np.ndarray) -> None:
    """A comparison gives every model the numbers that `run` gives it with the same batches and blocks."""
    protos = [two_layers(), wide()]
    found = onnxrich.compare(protos, x, labels, batch_size=32, blocks=6, device="cpu")
    for proto, result in zip(protos, found.results, strict=True):
        alone = onnxrich.run(proto, x, labels, batch_size=32, blocks=6, device="cpu")
        assert result.metrics == alone.metrics
        assert result.uncertainty == alone.uncertainty
        np.testing.assert_array_equal(result.moments.matrix, alone.moments.matrix)


def test_masked_tokens_are_compared_without_padding() -> None:
    """Rows are tokens; those that the mask leaves out are in no sum."""
    body = "a = MatMul(x, w1)\n h = Relu(a)\n s = Cast<to = 1>(attention_mask)\n t = Unsqueeze(s, ax)\n"
    body += " y = MatMul(h, w2)\n unused = Mul(y, t)"
    inputs = {"x": "float[N,4,6] x, int64[N,4] attention_mask", "y": "float[N,4,3] y"}
    protos = [build(body, **inputs, ax=np.array([-1])), build(body, **inputs, ax=np.array([-1]), w1=whole(6, 5, seed=4),
              w2=whole(5, 3, seed=5))]  # fmt: skip
    mask = np.random.default_rng(0).integers(0, 2, (50, 4))
    x = whole(50, 4, 6, seed=2)
    found = onnxrich.compare(protos, {"x": x, "attention_mask": mask}, batch_size=8, device="cpu")
    rows = [features(proto, x)[mask.astype(bool)] for proto in protos]
    assert found.results[0].record.head.mask == "attention_mask"
    assert found.cka[0, 1].value == pytest.approx(cka(*rows), abs=CKA)


def test_models_of_fixed_batches_are_padded(x: np.ndarray) -> None:
    """A model that fixes its batches beside one that does not: padding is in no sum."""
    body = WIDE.replace("y = MatMul(h, w2)", "z = Reshape(h, five)\n y = MatMul(z, w2)")
    fixed = build(body, x="float[8,6] x", y="float[8,3] y", off=np.zeros(8, np.float32), five=np.array([8, 8]))
    found = onnxrich.compare([two_layers(), fixed, two_layers()], x, device="cpu")
    assert [result.record.data.n for result in found.results] == [211] * 3
    assert found.cka[0, 1].value == pytest.approx(1, abs=CKA)
    assert found.cka[0, 2].value == pytest.approx(1, abs=CKA)


def test_other_rows_have_no_cka() -> None:
    """Tokens of one model and samples of another don't correspond: a notice says so, and the rest is there."""
    tokens = build("a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x="float[N,4,6] x", y="float[N,4,3] y")
    pooled = build(
        "m = ReduceMean<axes = [1], keepdims = 0>(x)\n a = MatMul(m, w1)\n h = Relu(a)\n y = MatMul(h, w2)",
        x="float[N,4,6] x",
    )
    found = onnxrich.compare([tokens, pooled, pooled], whole(60, 4, 6, seed=2), device="cpu")
    assert set(found.cka) == {(1, 2)}
    assert [notice.code for notice in found.notices] == ["rows_differ", "other_data"]


def test_s_init(x: np.ndarray) -> None:
    """It is the CKA with the initial model, which is added when it is none of the models."""
    protos, start = [two_layers(), wide()], wide(7, seed=20)
    found = onnxrich.compare(protos, x, init=start, device="cpu")
    assert found.initial == 2 and len(found.results) == 3
    assert found.s_init is not None
    values = [estimate.value for estimate in found.s_init if estimate is not None]
    expected = [cka(features(proto, x), features(start, x)) for proto in protos]
    assert values == [pytest.approx(each, abs=CKA) for each in expected] + [1.0]
    among = onnxrich.compare(protos, x, init=protos[0], device="cpu")
    assert among.initial == 0 and len(among.results) == 2
    assert onnxrich.compare(protos, x, device="cpu").s_init is None


def test_inputs_by_name_position_or_part(x: np.ndarray) -> None:
    """An input feeds that of its name in the others, or the only one; a model may take fewer than the data hold."""
    other = two_layers()
    for node in other.graph.node:
        node.input[:] = ["pixels" if name == "x" else name for name in node.input]
    other.graph.input[0].name = "pixels"
    found = onnxrich.compare([two_layers(), other], x, device="cpu")
    assert found.cka[0, 1].value == pytest.approx(1, abs=CKA)
    both = build("s = Add(x, z)\n a = MatMul(s, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x="float[N,6] x, float[N,6] z")
    found = onnxrich.compare([two_layers(), both], {"x": x, "z": 0 * x}, device="cpu")
    assert found.cka[0, 1].value == pytest.approx(1, abs=CKA)
    with refused(DataError, "'pixels'", "'x', 'z'", "same input names"):
        onnxrich.compare([both, other], {"x": x, "z": x}, device="cpu")
    with refused(DataError, "shape", "'x'"):
        onnxrich.compare([two_layers(), build("a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x="float[N,9] x",
                                              w1=whole(9, 8, seed=1))], x, device="cpu")  # fmt: skip


def test_paired_errors_are_those_of_a_bootstrap() -> None:
    """The error of a difference is that of resampling the same rows for both models, not that of independent ones."""
    n, draws = 800, 200
    arrays, results = made(n, 5, blocks=50)
    found = Comparison.of([results(0), results(1)]).differences[1]["d_lr"]
    rng = np.random.default_rng(1)
    resampled = []
    for _ in range(draws):
        rows = rng.integers(0, n, n)
        a, b = (onnxrich.richness(arrays[i][rows], arrays[i + 1][rows]).d_lr for i in (0, 2))
        assert a is not None and b is not None
        resampled.append(b - a)
    error = float(np.std(resampled))
    # The jackknife's error scatters by 1/√(2·49) = 10 % of itself, the bootstrap's by 1/√(2·200) = 5 %: three of both.
    assert found.paired and found.interval is not None
    assert found.interval.error == pytest.approx(error, rel=0.34)
    separate = [result.uncertainty.intervals["d_lr"].error for result in (results(0), results(1)) if result.uncertainty]
    assert np.hypot(*separate) > 3 * error, "the pairing matters here"


def test_differences_of_other_rows_are_unpaired() -> None:
    """Analysis on other data get the errors of independent samples, and a notice."""
    _, results = made(900, 5, blocks=8)
    _, others = made(800, 6, blocks=8)
    found = Comparison.of([results(0), others(1)])
    each = found.differences[1]["d_lr"]
    assert not each.paired and each.interval is not None
    errors = [result.uncertainty.intervals["d_lr"].error for result in found.results if result.uncertainty is not None]
    assert each.interval.error == pytest.approx(np.hypot(*errors))
    assert [notice.code for notice in found.notices] == ["other_data"]


def test_saved_moments_in_place_of_models(x: np.ndarray, labels: np.ndarray, tmp_path: Path) -> None:
    """They take no part in the pass; their errors are paired all the same, since the replicates were saved too."""
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    paths = []
    for name, proto in (("a", two_layers()), ("b", wide())):
        (tmp_path / f"{name}.onnx").write_bytes(proto.SerializeToString())
        alone = onnxrich.run(tmp_path / f"{name}.onnx", tmp_path / "data.npz", batch_size=16, device="cpu")
        paths.append(tmp_path / f"{name}.npz")
        alone.moments.save(paths[-1], alone.record.to_dict())
    fresh = onnxrich.compare([tmp_path / "a.onnx", tmp_path / "b.onnx"], tmp_path / "data.npz", batch_size=16)
    how: dict[str, Any] = {"data": tmp_path / "data.npz", "batch_size": 16, "device": "cpu"}
    for given, options in ((paths, {}), ([paths[0], tmp_path / "b.onnx"], how)):
        found = onnxrich.compare(given, **options)
        assert found.differences[1]["d_lr"] == fresh.differences[1]["d_lr"]
        assert found.cka == {}
        assert [notice.code for notice in found.notices] == ["saved_moments"]


def test_saved_moments_say_what_they_do_not_give(x: np.ndarray, labels: np.ndarray, tmp_path: Path) -> None:
    """Metrics that take more than moments are null with a notice, unless they were asked for before."""
    for name, asked in (("a", ["default"]), ("b", ["readouts"])):
        alone = onnxrich.run(two_layers(), x, labels, metrics=asked, batch_size=16, device="cpu")
        alone.moments.save(tmp_path / f"{name}-1.npz", alone.record.to_dict())
    paths = [tmp_path / "a-1.npz", tmp_path / "b-1.npz"]
    each = [onnxrich.track(path, metrics=["readouts"]).results[0] for path in paths]
    for lacking, kept in (onnxrich.compare(paths, metrics=["readouts"]).results, each):
        (notice,) = [notice for notice in lacking.notices if notice.code == "not_saved"]
        said = "Saved moments don't give nc4, nearest_mean_accuracy, probe_accuracy: these take the blocks of rows, "
        assert notice.message.startswith(said)
        assert lacking.metrics["nc4"] is None and kept.metrics["nc4"] is not None
        assert "not_saved" not in [notice.code for notice in kept.notices]
    again = onnxrich.Analysis.load(paths[0], metrics="all")
    assert "nc4" in next(notice.message for notice in again.notices if notice.code == "not_saved")
    again.save(tmp_path / "again")
    for metrics, expected in (("all", 1), (None, 1), ("default", 0)):
        codes = [notice.code for notice in onnxrich.Analysis.load(tmp_path / "again", metrics=metrics).notices]
        assert codes.count("not_saved") == expected


def test_folders_of_reports_in_place_of_models(x: np.ndarray, labels: np.ndarray, tmp_path: Path) -> None:
    """They stand for the moments in them, as for `render` and `track`, whatever other moments they hold."""
    for name, proto in (("a", two_layers()), ("b", wide())):
        alone = onnxrich.run(proto, x, labels, eval_data=x[:64], eval_labels=labels[:64], device="cpu")
        alone.save(tmp_path / name)
    found = onnxrich.compare([tmp_path / "a", tmp_path / "b"])
    files = onnxrich.compare([tmp_path / "a" / "moments.npz", tmp_path / "b" / "moments.npz"])
    assert found.to_dict() == files.to_dict()
    tracked = onnxrich.track([tmp_path / "a", tmp_path / "b"])
    assert [each.metrics["d_lr"] for each in tracked.results] == [each.metrics["d_lr"] for each in found.results]
    with refused(DataError, "--data for saved moments alone"):
        onnxrich.compare([tmp_path / "a", tmp_path / "b"], x)


@pytest.fixture
def folders(x: np.ndarray, tmp_path: Path) -> list[Path]:
    """Two models in folders of their own."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(two_layers().SerializeToString())
    return [tmp_path / "a" / "model.onnx", tmp_path / "b" / "model.onnx"]


def test_other_preprocessing_of_a_model_is_refused(folders: list[Path], x: np.ndarray) -> None:
    """The data are read once: what the first model's folder declares is never done to the rows of another silently."""
    (folders[1].parent / "onnxrich.toml").write_text("[preprocessing]\nscale = 0.5\n")
    told = "b/model.onnx: scale 0.5, declared by onnxrich.toml"
    for given in (folders, folders[::-1]):
        with refused(
            DataError,
            "different preprocessing is declared for the models (",
            told,
            "model.onnx: nothing",
            "such as --scale",
        ):
            onnxrich.compare(given, x)
    with refused(DataError, told):
        onnxrich.compare(folders, iter([{"x": x}]))
    same = onnxrich.compare(folders, x, preprocessing={"scale": 0.5}, device="cpu")
    (folders[0].parent / "onnxrich.toml").write_text("[preprocessing]\nscale = 0.5\n")
    alike = onnxrich.compare(folders, x, device="cpu")
    assert alike.results[1].record.data.fingerprint == same.results[1].record.data.fingerprint
    (folders[1].parent / "onnxrich.toml").write_text("[preprocessing]\nsize = 0.5\n")
    with refused(DataError, "b/model.onnx: [preprocessing] of onnxrich.toml holds 'size'"):
        onnxrich.compare(folders, x)


IMAGES = np.random.default_rng(5).integers(0, 256, (64, 3, 6, 8), np.uint8)


@pytest.fixture
def seeing(tmp_path: Path) -> list[Path]:
    """Two models of images, 3 × 5 × 5, in folders of their own."""
    body = "flat = Flatten(x) mixed = MatMul(flat, w1) h = Relu(mixed) y = MatMul(h, w2)"
    proto = build(body, x="float[N,3,5,5] x", w1=whole(75, 8, seed=4))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.onnx").write_bytes(proto.SerializeToString())
    return [tmp_path / "a" / "model.onnx", tmp_path / "b" / "model.onnx"]


# What both declare, so that the images can be run; what only the second does, or both, each in its own words.
SIZED = {"resize": "[5, 5]", "scale": "0.5"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"resize": "[5, 5]", "std": "1"}, {"resize": "[5, 5]", "scale": "1"}),
        (SIZED, SIZED | {"mean": "0", "std": "[1, 1, 1]"}),
        (SIZED | {"mean": "0.5"}, SIZED | {"mean": "[0.5, 0.5, 0.5]"}),
        (SIZED | {"crop": "5"}, SIZED | {"crop": "'5x5'"}),
        ({"resize": "'5x5'", "scale": "0.5"}, {"resize": "[5, 5]", "scale": "0.5"}),
        (SIZED, SIZED | {"resample": "'bilinear'"}),
        (SIZED, SIZED | {"layout": "'NCHW'"}),
    ],
)
def test_the_same_preprocessing_in_other_words(first: Any, second: Any, seeing: list[Path]) -> None:
    """What does the same to the rows is the same, and gives the numbers that each model has alone."""
    for path, steps in zip(seeing, (first, second), strict=True):
        lines = [f"{name} = {value}" for name, value in steps.items()]
        (path.parent / "onnxrich.toml").write_text("\n".join(["[preprocessing]", *lines]))
    for given in (seeing, seeing[::-1]):
        found = onnxrich.compare(given, IMAGES, device="cpu", metrics=["d_lr"])
        alone = [onnxrich.run(path, IMAGES, device="cpu", metrics=["d_lr"]) for path in given]
        assert [each.record.data.fingerprint for each in found.results] == [
            each.record.data.fingerprint for each in alone
        ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"scale": "1"}, {"scale": "0.5"}),
        ({"mean": "0.5"}, {"mean": "[0.5, 0.5, 0.6]"}),
        ({"std": "1"}, {"std": "2"}),
        ({"crop": "5"}, {"crop": "[5, 4]"}),
        ({"resize": "5"}, {"resize": "[5, 5]"}),
        ({"resize": "5"}, {"resize": "5", "resample": "'nearest'"}),
        ({"layout": "'NCHW'"}, {"layout": "'NHWC'"}),
    ],
)
def test_other_preprocessing_names_both(first: Any, second: Any, seeing: list[Path]) -> None:
    """What does something else is refused, and both models say what was declared for them."""
    for path, steps in zip(seeing, (first, second), strict=True):
        lines = [f"{name} = {value}" for name, value in steps.items()]
        (path.parent / "onnxrich.toml").write_text("\n".join(["[preprocessing]", *lines]))
    name, *_ = first
    with refused(
        DataError,
        f"a/model.onnx: {name} ",
        f"b/model.onnx: {name} ",
        "different preprocessing is declared for the models",
    ):
        onnxrich.compare(seeing, IMAGES)


def test_declarations_for_images_hold_for_bytes_alone(folders: list[Path], x: np.ndarray) -> None:
    """A `preprocessor_config.json` beside one of the models matters where the data are bytes, and not for floats."""
    config = {"do_rescale": True, "rescale_factor": 0.5}
    (folders[1].parent / "preprocessor_config.json").write_text(json.dumps(config))
    assert onnxrich.compare(folders, x, device="cpu").cka[0, 1].value == pytest.approx(1)
    with refused(DataError, "b/model.onnx: scale 0.5, declared by preprocessor_config.json"):
        onnxrich.compare(folders, np.abs(x).astype(np.uint8), device="cpu")


def test_other_data_beside_a_model_are_refused(folders: list[Path], x: np.ndarray) -> None:
    """Where no data are given, those beside one model are taken for all, unless another has others."""
    np.savez(folders[0].parent / "model.npz", x=x)
    for models in (folders, folders[::-1]):
        assert onnxrich.compare(models, device="cpu").results[1].record.data.source == "model.npz"
    np.savez(folders[1].parent / "model.npz", x=x + 1)
    with refused(DataError, "b/model.npz lies beside", "needed: the same data for all models", "Pass them by --data."):
        onnxrich.compare(folders)


ANY = np.ones((2, 2))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"data": ANY}, "--data"), ({"labels": ANY}, "--labels"), ({"features": "h"}, "--features"),
        ({"outputs": "y"}, "--outputs"), ({"head": 1}, "--head"), ({"mask": "m"}, "--mask"),
        ({"batch_size": 3}, "--batch-size"), ({"blocks": 0}, "--blocks"), ({"device": "cpu"}, "--device"),
        ({"provider": "openvino"}, "--provider"), ({"seed": 1}, "--seed"), ({"preprocessing": {"scale": 2}}, "--scale"),
        ({"reading": {"limit": 5, "shuffle": True}, "mask": "m"}, "--mask, --limit, --shuffle"),
    ],
)  # fmt: skip
def test_saved_moments_have_no_use_for_options_of_a_run(options: Any, told: str, tmp_path: Path) -> None:
    """What would change nothing is refused by name, in a comparison and in a training; metrics may be asked for."""
    paths = [tmp_path / "step-1.npz", tmp_path / "step-2.npz"]
    for path in paths:
        alone = onnxrich.run(two_layers(), ANY.repeat(3, 1).repeat(8, 0).astype(np.float32))
        alone.moments.save(path, alone.record.to_dict())
    for function in (onnxrich.compare, onnxrich.track):
        with refused(DataError, f"{told} for saved moments alone; needed: a model to run. Leave out what they "):
            function(paths, **options)
        assert list(function(paths, metrics=["d_lr"]).results[1].metrics) == ["d_lr"]
    with refused(DataError, "--init for saved moments alone"):
        onnxrich.track(paths, init=paths[0])
    with refused(DataError, "--head for saved moments alone"):
        onnxrich.compare(paths, head=1, isolate=True)


def test_pairs_need_the_same_blocks_and_no_name(x: np.ndarray, labels: np.ndarray) -> None:
    """Rows in another order lie in other blocks, so errors are not paired; what the data are called is no matter."""
    turned = np.random.default_rng(0).permutation(len(x))
    options: dict[str, Any] = {"batch_size": 16, "device": "cpu"}
    first = onnxrich.run(two_layers(), x, labels, **options)
    other = onnxrich.run(wide(), x[turned], labels[turned], **options)
    assert first.record.data.fingerprint == other.record.data.fingerprint
    found = Comparison.of([first, other])
    assert not found.differences[1]["d_lr"].paired
    assert [notice.code for notice in found.notices] == ["other_data"]
    same = onnxrich.run(wide(), x, labels, **options)
    renamed = replace(same, record=replace(same.record, data=replace(same.record.data, source="of another name")))
    found = Comparison.of([first, renamed])
    assert found.differences[1]["d_lr"].paired and not found.notices


def test_document(x: np.ndarray, labels: np.ndarray, tmp_path: Path) -> None:
    """JSON without NaN, the same from a worker process, and whole again from it."""
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path, proto in zip(paths, (two_layers(), wide()), strict=True):
        path.write_bytes(proto.SerializeToString())
    here = onnxrich.compare(paths, tmp_path / "data.npz", init=paths[0], device="cpu")
    apart = onnxrich.compare(paths, tmp_path / "data.npz", init=paths[0], device="cpu", isolate=True)
    document = json.loads(here.to_json())
    assert document["schema"] == "onnxrich.comparison/1"
    assert document["metrics"]["d_lr"] == [result.metrics["d_lr"] for result in here.results]
    assert document["cka"][0][1] == document["cka"][1][0] == here.cka[0, 1].to_dict()
    assert document["s_init"][1] == document["cka"][0][1]
    assert apart.differences == here.differences and apart.cka == here.cka and apart.initial == here.initial
    assert [result.metrics for result in apart.results] == [result.metrics for result in here.results]


def test_errors_name_the_model(x: np.ndarray, tmp_path: Path) -> None:
    """Whatever is wrong with one of the models, the message says with which."""
    good, headless, broken = (tmp_path / f"{name}.onnx" for name in ("good", "headless", "broken"))
    good.write_bytes(two_layers().SerializeToString())
    headless.write_bytes(build("y = Relu(x)", y="float[N,6] y").SerializeToString())
    broken.write_bytes(good.read_bytes()[:40])
    overflow = build("b = Mul(x, big)\n a = MatMul(b, w1)\n h = Relu(a)\n y = MatMul(h, w2)", big=np.float32(1e38))
    (tmp_path / "overflow.onnx").write_bytes(overflow.SerializeToString())
    with refused(HeadError, "headless.onnx"):
        onnxrich.compare([good, headless], x)
    with refused(ModelError, "broken.onnx"):
        onnxrich.compare([good, broken], x)
    with refused(DataError, "overflow.onnx", "hold NaN or infinity"):
        onnxrich.compare([good, tmp_path / "overflow.onnx"], x, device="cpu")
    (tmp_path / "moments.npz").write_bytes(b"no")
    with refused(DataError, "moments.npz"):
        onnxrich.compare([good, tmp_path / "moments.npz"], x)


def test_steps_of_images_are_refused_for_other_rows(x: np.ndarray) -> None:
    """As in a run of one model."""
    with refused(DataError, "--resize can't be applied to 'array', whose rows are 6; needed: images"):
        onnxrich.compare([two_layers(), wide()], x, preprocessing={"resize": 4}, device="cpu")


def test_arguments_are_checked(x: np.ndarray) -> None:
    """Nothing begins with arguments that can't be meant."""
    for few in ([], [two_layers()]):
        with refused(DataError, "; needed: two or more to compare"):
            onnxrich.compare(few, x)
    only = two_layers()
    with refused(DataError, "1 model; needed: two or more to compare"):
        onnxrich.compare([only], x, init=only)
    with refused(DataError, "a single model; needed: a list of models. Pass [model, other_model]."):
        onnxrich.compare("a.onnx", "b.onnx")
    with refused(DataError, "head 'all'; needed: a whole number from 1"):
        onnxrich.compare([two_layers()] * 2, x, head="all")  # type: ignore[arg-type]
    with refused(DataError, "a model of type dict", "onnxrich.export"):
        onnxrich.compare([two_layers(), {}], x)  # type: ignore[list-item]
    with refused(DataError, "no metric is called 'd_rl'"):
        onnxrich.compare([two_layers()] * 2, x, metrics=["d_rl"])
    with refused(WorkerError, "isolate=True"):
        onnxrich.compare([two_layers()] * 2, x, timeout=3)
    with refused(DataError, "batch_size 0"):
        onnxrich.compare([two_layers()] * 2, x, batch_size=0)
    with refused(DataError, "the path of a file"):
        onnxrich.compare([two_layers()] * 2, x, isolate=True)


def test_several_devices_are_refused(x: np.ndarray) -> None:
    """Products of features need them on one device."""
    from onnxrich.data.open import open_source
    from onnxrich.engine.joint_pass import measure_jointly
    from onnxrich.engine.runtime import Device
    from onnxrich.model import file as model
    from onnxrich.model.head import head

    read = model.read_model(two_layers())
    pair = [(read, head.find_head(read))] * 2
    with refused(DeviceError, "2 devices", "--device cuda:N"):
        measure_jointly(pair, open_source(read, x), read, device=Device("cuda", "", numbers=(0, 1)))


def test_products_without_blocks_where_memory_is_short(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """CKA is there, without errors, and a notice says why."""
    from onnxrich.engine import joint_pass

    monkeypatch.setattr(joint_pass, "BLOCK_BYTES", 8 * 8 * 11 * 3)
    found = onnxrich.compare([two_layers(), wide()], x, batch_size=16, device="cpu")
    assert found.cka[0, 1] == Similarity(pytest.approx(cka(features(two_layers(), x), features(wide(), x)), abs=CKA))
    assert [notice.code for notice in found.notices] == ["cka_without_errors"]


def test_more_blocks_than_memory_holds_are_refused(x: np.ndarray) -> None:
    """As in a run of one model: before the first batch, with the numbers."""
    # 8d² of d = 1 + 11 + 3 are 1,800 bytes: (10⁸ + 1) + (10⁸ + 4) of them.
    with refused(ModelError, "the moments in 100000000 blocks take 335 GiB of memory"):
        onnxrich.compare([wide(seed=5), wide()], x, blocks=10**8, device="cpu")


def test_constant_features_have_no_cka(x: np.ndarray) -> None:
    """CKA with features that don't vary is undefined, and stands as null."""
    still = build("z = Mul(x, nought)\n a = MatMul(z, w1)\n b = Add(a, one)\n h = Relu(b)\n y = MatMul(h, w2)",
                  nought=np.float32(0), one=np.full(8, 0.3, np.float32))  # fmt: skip
    found = onnxrich.compare([two_layers(), still], x, device="cpu")
    assert found.cka == {} and found.to_dict()["cka"][0][1] is None
