"""A recorder measures a model at each step as `onnxrich.run` does, from one export, and keeps records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_plugin import FAKE, install
from oracle import d_lr

import onnxrich
from onnxrich.errors import DataError, OutputError
from onnxrich.frameworks.registry import find_adapter

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((200, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 200)
# float32 through two layers, against the same features in float64: some eps of a number of order one.
THROUGH_FLOAT32 = 1e-6

COUNTED = (
    FAKE + "\nexports = []\nwrite = to_onnx\ndef to_onnx(*given):\n    exports.append(1)\n    return write(*given)\n"
)


@pytest.fixture
def fake(site: Path) -> Iterator[Any]:
    """The fake adapter, which counts its exports."""
    install(site, code=COUNTED)
    import fake  # type: ignore[import-not-found]

    yield fake


def random_model(fake: Any) -> Any:
    return fake.Model(RNG.standard_normal((4, 3)).astype(np.float32), RNG.standard_normal(3).astype(np.float32))


def expected(model: Any) -> float:
    features = np.tanh(ROWS.astype(np.float64))
    return d_lr(features, features @ model.W + model.b)


def sample() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A loader that can be read once."""
    return iter(list(zip(np.split(ROWS, 4), np.split(LABELS, 4), strict=True)))


def test_steps(fake: Any, tmp_path: Path) -> None:
    """Each step has the numbers of its weights, from one export; the records hold them, and the moments."""
    logged: list[tuple[float, int]] = []
    recorder = onnxrich.Recorder(
        sample(), tmp_path / "records", log=lambda values, step: logged.append((values["onnxrich/d_lr"], step))
    )
    model = random_model(fake)
    found = []
    for step in (0, 10, 200):
        model.W, model.b = random_model(fake).W, random_model(fake).b
        analysis = recorder(model, step)
        assert analysis.metrics["d_lr"] == pytest.approx(expected(model), abs=THROUGH_FLOAT32)
        assert (analysis.record.model.path, analysis.record.model.step, analysis.record.data.n) == ("Model", step, 200)
        assert analysis.metrics["accuracy"] is not None
        assert "exported_again" not in [notice.code for notice in analysis.notices]
        found.append(analysis)
    assert len(fake.exports) == 1
    assert logged == [(analysis.metrics["d_lr"], analysis.record.model.step) for analysis in found]
    names = [f"step-{step:08d}.{suffix}" for step in (0, 10, 200) for suffix in ("json", "npz")]
    assert sorted(path.name for path in (tmp_path / "records").iterdir()) == names
    assert json.loads((tmp_path / "records" / "step-00000010.json").read_text()) == found[1].to_dict()
    loaded = onnxrich.Analysis.load(tmp_path / "records" / "step-00000200.npz")
    assert (loaded.metrics, loaded.record.model.step) == (found[2].metrics, 200)


def test_another_object_each_step(fake: Any) -> None:
    """Models that are made anew at each step, as in JAX, are measured as they are."""
    recorder = onnxrich.Recorder(list(sample()))
    for step in range(3):
        model = random_model(fake)
        assert recorder(model, step).metrics["d_lr"] == pytest.approx(expected(model), abs=THROUGH_FLOAT32)
    assert len(fake.exports) == 1


def test_weights_that_can_not_be_swapped(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where swapped weights don't give the framework's outputs, the model is exported again, and the record says so."""
    recorder = onnxrich.Recorder(list(sample()))
    monkeypatch.setattr(fake, "weights", lambda obj: {"other": obj.W + 1})
    recorder(random_model(fake), 0)
    model = random_model(fake)
    analysis = recorder(model, 1)
    assert analysis.metrics["d_lr"] == pytest.approx(expected(model), abs=THROUGH_FLOAT32)
    assert "exported_again" in [notice.code for notice in analysis.notices]
    assert len(fake.exports) == 2


def test_the_folder_is_guarded(fake: Any, tmp_path: Path) -> None:
    """Records of another training are not mixed with new ones unless asked for."""
    onnxrich.Recorder(list(sample()), tmp_path / "records")(random_model(fake), 0)
    with pytest.raises(OutputError, match=r"records is not empty.*force=True"):
        onnxrich.Recorder(list(sample()), tmp_path / "records")
    onnxrich.Recorder(list(sample()), tmp_path / "records", force=True)(random_model(fake), 1)
    assert len(list((tmp_path / "records").glob("*.json"))) == 2


def test_samples(fake: Any) -> None:
    """A sample without rows is an error; labels may be given apart; options go to the run."""
    with pytest.raises(DataError, match="no rows in the sample"):
        onnxrich.Recorder([])(random_model(fake), 0)
    whole = [(ROWS, LABELS)]
    model = random_model(fake)
    analysis = onnxrich.Recorder(whole, features="phi", outputs="logits", device="cpu")(model, 0)
    assert analysis.record.head.features == "phi"
    assert find_adapter(model) is fake


def test_samples_of_unlike_items(fake: Any) -> None:
    """Items that can't be joined are refused in words."""
    model = random_model(fake)
    unlike = [(ROWS[:50], LABELS[:50]), (ROWS[:50], LABELS[:50, None])]
    with pytest.raises(DataError, match=r"a sample with rows of shapes \(\) and \(1,\) in its items for 'labels'; nee"):
        onnxrich.Recorder(unlike)(model, 0)
