"""Data to evaluate on: metrics as of a run of their own, curves over the first data's eigenfunctions."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from zoo_text import build, refused

import onnxrich
from onnxrich._utils.threads import single_threaded_blas
from onnxrich.errors import DataError
from onnxrich.metrics.base import Sample
from onnxrich.metrics.curves import compute_curves_on
from onnxrich.moments.matrix import Moments
from onnxrich.report import terminal

MODEL = onnxrich.demo_file("lazy.onnx")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two parts of the demo's data, `train.npz` and `test.npz`."""
    folder = tmp_path_factory.mktemp("data")
    with np.load(onnxrich.demo_file("evaluation.npz")) as data:
        for name, rows in (("train", slice(0, 1200)), ("test", slice(1200, 2000))):
            np.savez(folder / f"{name}.npz", **{key: value[rows] for key, value in data.items()})
    return folder / "train.npz", folder / "test.npz"


@pytest.fixture(scope="module")
def analysis(files: tuple[Path, Path]) -> onnxrich.Analysis:
    return onnxrich.run(MODEL, files[0], eval_data=files[1], metrics=["d_lr", "nc3", "accuracy"])


def test_metrics_are_those_of_a_run_of_their_own(analysis: onnxrich.Analysis, files: tuple[Path, Path]) -> None:
    """Both parts have the numbers and intervals that each has alone."""
    assert analysis.evaluation is not None
    for found, data in ((analysis, files[0]), (analysis.evaluation, files[1])):
        alone = onnxrich.run(MODEL, data, metrics=["d_lr", "nc3", "accuracy"])
        assert found.metrics == alone.metrics
        assert found.uncertainty == alone.uncertainty
        assert found.record.data == alone.record.data


def test_curves_are_over_the_first_data_s_functions(analysis: onnxrich.Analysis) -> None:
    """They are no curves of the other data alone."""
    assert analysis.evaluation is not None
    other = analysis.evaluation
    with single_threaded_blas(0):  # the same order of additions as in a run
        expected = compute_curves_on(Sample(analysis.moments), Sample(other.moments))
    np.testing.assert_array_equal(other.curves.quality, expected.quality)
    own = onnxrich.Analysis.from_moments(other.moments, other.record).curves
    assert np.abs(other.curves.utilization[:20] - own.utilization[:20]).max() > 1e-3


def test_saved_and_loaded(analysis: onnxrich.Analysis, tmp_path: Path) -> None:
    """The folder has the moments of both, from which the same document follows again, in a worker too."""
    written = analysis.save(tmp_path / "report")
    assert [path.name for path in written][-1] == "analysis.json"
    paths = tmp_path / "report" / "moments.npz", tmp_path / "report" / "evaluation.npz"
    again = onnxrich.Analysis.load(paths[0], evaluation=paths[1])
    assert again.to_dict() == analysis.to_dict()
    isolated = onnxrich.Analysis.load(paths[0], evaluation=paths[1], isolate=True)
    assert isolated.to_dict() == analysis.to_dict()
    assert onnxrich.Analysis.load(paths[0]).evaluation is None


def test_evaluation_of_another_model(analysis: onnxrich.Analysis, tmp_path: Path) -> None:
    """Moments of two models, or of other tensors of one, are told apart, in a worker too."""
    first, other = tmp_path / "moments.npz", tmp_path / "other.npz"
    analysis.moments.save(first, analysis.record.to_dict())
    narrow = Moments.from_rows(np.eye(9)[:, :4], np.eye(9)[:, :2])
    record = replace(analysis.record, model=replace(analysis.record.model, path="m.onnx", sha256="ab" * 32))
    analysis.moments.save(other, record.to_dict())
    sha = analysis.record.model.sha256[:12]
    said = (
        f"lazy.onnx (sha256 {sha}), and others of m.onnx (sha256 abababababab) to evaluate on; needed: both of the "
        "same model and head. Pass the moments.npz and the evaluation.npz that one `onnxrich run --eval-data"
    )
    for isolate in (False, True):
        with pytest.raises(DataError, match=re.escape(said)):
            onnxrich.Analysis.load(first, evaluation=other, isolate=isolate)
    narrow.save(other, analysis.record.to_dict())
    with pytest.raises(DataError, match=r"a head of 160 features and 10 outputs, and moments of 4 and 2"):
        onnxrich.Analysis.load(first, evaluation=other)


def test_isolated_run_is_the_same(analysis: onnxrich.Analysis, files: tuple[Path, Path]) -> None:
    """A worker process gives both parts, with what can't be computed from their moments."""
    names = ["d_lr", "nc3", "accuracy"]
    found = onnxrich.run(MODEL, files[0], eval_data=files[1], metrics=names, isolate=True)
    assert found.evaluation is not None and analysis.evaluation is not None
    assert found.metrics == analysis.metrics
    assert found.evaluation.metrics == analysis.evaluation.metrics
    assert found.evaluation.record.beyond == analysis.evaluation.record.beyond


def test_both_are_shown(analysis: onnxrich.Analysis) -> None:
    """Each part has its column, named after its data."""
    text = terminal.render([analysis], width=140)
    assert "lazy.onnx on train.npz" in text
    assert "lazy.onnx on test.npz" in text


def test_labels_need_data(files: tuple[Path, Path]) -> None:
    """Labels to evaluate on without data are refused."""
    with pytest.raises(DataError, match="--eval-data"):
        onnxrich.run(MODEL, files[0], eval_labels=np.zeros(3, int))


@pytest.mark.parametrize("absent", ["bee", "cat"])
def test_classes_have_the_numbers_of_the_first_data(absent: str) -> None:
    """Words are numbered once: a class that the other data lack moves none of those behind it."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 3)).astype(np.float32)
    model = build("h = Relu(x)\n y = MatMul(h, v)", v=weight)
    x = rng.standard_normal((300, 6)).astype(np.float32)
    words = np.array(["ant", "bee", "cat"])[(np.maximum(x, 0) @ weight).argmax(axis=1)]
    kept = words != absent
    given = {"x": x, "labels": words}, {"x": x[kept], "labels": words[kept]}
    found = onnxrich.run(model, given[0], eval_data=given[1], device="cpu")
    assert found.evaluation is not None
    assert (found.metrics["accuracy"], found.evaluation.metrics["accuracy"]) == (1.0, 1.0)
    assert found.evaluation.record.data.class_names == ("ant", "bee", "cat")
    with refused(DataError, f"arrays holds class {absent!r}; needed: those of arrays: "):
        onnxrich.run(model, given[1], eval_data=given[0], device="cpu")


def test_the_folder_holds_both(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A report's folder gives the evaluation again as well."""
    saved = onnxrich.run(MODEL, files[0], eval_data=files[1], device="cpu")
    saved.save(tmp_path / "report")
    again = onnxrich.Analysis.load(tmp_path / "report")
    assert again.evaluation is not None and saved.evaluation is not None
    assert again.evaluation.metrics["d_lr"] == saved.evaluation.metrics["d_lr"]
    apart = onnxrich.Analysis.load(tmp_path / "report/moments.npz", evaluation=tmp_path / "report")
    assert apart.evaluation is not None


def test_metrics_of_a_generator(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Names of metrics may come from whatever can be gone through once."""
    onnxrich.run(MODEL, files[0], device="cpu").save(tmp_path / "report")
    found = onnxrich.Analysis.load(tmp_path / "report", metrics=(name for name in ["spectrum"]))
    assert len(found.metrics) > 5
