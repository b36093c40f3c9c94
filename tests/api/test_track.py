"""Trainings followed over their checkpoints: order, changes with paired errors, transitions."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracle
import pytest
from zoo_text import build, refused, two_layers

import onnxrich
from onnxrich.errors import DataError, ModelError
from onnxrich.metrics.jackknife import student_t_quantile
from onnxrich.moments.matrix import Moments
from onnxrich.pipelines import checkpoints as series
from onnxrich.report import steps
from onnxrich.results.analysis import Analysis
from onnxrich.results.track import Track

X = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)


def checkpoint(folder: Path, name: str, mix: float, **metadata: str) -> Path:
    """A checkpoint whose first layer is a mixture of a full and a single direction: rich with 1."""
    rng = np.random.default_rng(1)
    full, single = rng.standard_normal((6, 8)), np.outer(rng.standard_normal(6), rng.standard_normal(8))
    w1 = ((1 - mix) * full + mix * single).astype(np.float32)
    proto = two_layers(w1=w1, w2=rng.standard_normal((8, 3)).astype(np.float32))
    for key, value in metadata.items():
        proto.metadata_props.add(key=f"onnxrich.{key}", value=value)
    path = folder / f"{name}.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four checkpoints, of which the third differs much from the second."""
    folder = tmp_path_factory.mktemp("training")
    for step, mix in ((100, 0.0), (9, 0.02), (2000, 0.95), (30, 0.03)):
        checkpoint(folder, f"run-2-step-{step}", mix)
    return folder


def features(path: Path) -> np.ndarray:
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    return np.maximum(X.astype(np.float64) @ weights["w1"].astype(np.float64), 0)


def falling(values: list[float], *, blocks: int = 8, noise: float = 1e-4) -> list[Analysis]:
    """Analysis whose D_LR, and its replicates, are given: the replicates scatter by some noise of each one's own."""
    from report.conftest import make

    base, rng = make("m.onnx", blocks=blocks, n=160), np.random.default_rng(3)
    assert base.uncertainty is not None
    found = []
    for value in values:
        each = {**base.uncertainty.replicates, "d_lr": tuple(value + noise * rng.standard_normal(blocks))}
        sure = replace(base.uncertainty, replicates=each)
        record = replace(base.record, uncertainty=sure)
        found.append(replace(base, record=record, metrics=dict(base.metrics) | {"d_lr": value}))
    return found


def test_natural_order() -> None:
    """Numbers in names count as numbers."""
    names = ["step-10.onnx", "step-9.onnx", "step-9b.onnx", "a/step-100.onnx", "a/step-20.onnx"]
    ordered = sorted(map(Path, names), key=series.natural)
    assert list(map(str, ordered)) == [
        "a/step-20.onnx",
        "a/step-100.onnx",
        "step-9.onnx",
        "step-9b.onnx",
        "step-10.onnx",
    ]


def test_files_of_paths_patterns_and_folders(tmp_path: Path) -> None:
    """A folder stands for its ONNX files, else its records; a pattern for what it matches; each file counts once."""
    for name in ("b-10.onnx", "b-9.onnx", "data.npz", "notes.txt", "odd[1].onnx"):
        (tmp_path / name).touch()
    (tmp_path / "records").mkdir()
    for name in ("step-00000010.npz", "step-00000009.npz", "step-00000009.json"):
        (tmp_path / "records" / name).touch()
    assert [path.name for path in series.checkpoint_files([tmp_path])] == ["b-9.onnx", "b-10.onnx", "odd[1].onnx"]
    assert [path.name for path in series.checkpoint_files([tmp_path / "records"])] == [
        "step-00000009.npz",
        "step-00000010.npz",
    ]
    both = series.checkpoint_files([tmp_path / "odd[1].onnx", str(tmp_path / "b-*.onnx"), tmp_path / "b-9.onnx"])
    assert [path.name for path in both] == ["odd[1].onnx", "b-9.onnx", "b-10.onnx"]
    with refused(DataError, "c-*.onnx", "no such file, folder or pattern"):
        series.checkpoint_files([tmp_path / "c-*.onnx"])
    (tmp_path / "empty").mkdir()
    with refused(DataError, "empty", "without .onnx or .npz files"):
        series.checkpoint_files([tmp_path / "empty"])
    with refused(DataError, "no checkpoints"):
        series.checkpoint_files([])


def test_steps() -> None:
    """From all files, else from all names, else from the order; the same step twice is refused."""
    assert series.checkpoint_steps(["a-1", "a-2"], [5, 7]) == ((5, 7), "metadata")
    assert series.checkpoint_steps(["run3-step-1.onnx", "run3-step-20.onnx"], [5, None]) == ((1, 20), "name")
    assert series.checkpoint_steps(["first", "last-3"], [None, None]) == ((0, 1), "position")
    assert series.checkpoint_steps(["a-1/m-2.onnx", "a-2/m-2.onnx"], [None, None]) == ((0, 1), "position")
    for names, expected in (
        (["step100-epoch2", "step200-epoch2"], (100, 200)),
        (["step100-epoch1", "step200-epoch1", "step300-epoch2"], (100, 200, 300)),
        (["epoch1-step20", "epoch2-step10"], (20, 10)),
        (["Step_7-step_9-epoch-1", "Step_7-step_8-epoch-1"], (9, 8)),
        (["epoch2-run5", "epoch2-run6"], (5, 6)),
        (["step1", "epoch2"], (1, 2)),
    ):
        assert series.checkpoint_steps([f"{name}.onnx" for name in names], [None] * len(names)) == (expected, "name")
        reports = [f"runs-3/{name}/moments.npz" for name in names]
        assert series.checkpoint_steps(reports, [None] * len(names)) == (expected, "name")
    with refused(DataError, "step 5 in a and b"):
        series.checkpoint_steps(["a", "b", "c"], [5, 5, 6])


def test_checkpoints_in_order_with_paired_changes(training: Path) -> None:
    """Metrics are those of `run`; changes are to the checkpoint before, with the error of the pair."""
    found = onnxrich.track(training, X, device="cpu")
    assert found.steps == (9, 30, 100, 2000) and found.origin == "name"
    alone = [onnxrich.run(training / f"run-2-step-{step}.onnx", X, device="cpu") for step in found.steps]
    assert [result.metrics for result in found.results] == [each.metrics for each in alone]
    assert found.changes[0] == {}
    for number in (1, 2, 3):
        change = found.changes[number]["d_lr"]
        assert change.paired and change.value == alone[number].metrics["d_lr"] - alone[number - 1].metrics["d_lr"]
    assert [(each.start, each.stop) for each in found.transitions] == [(2, 3)]


def test_s_init_is_that_of_the_definition(training: Path) -> None:
    """Of every checkpoint, against the declared start."""
    start = training / "run-2-step-9.onnx"
    found = onnxrich.track(training, X, init=start, device="cpu")
    assert found.s_init is not None
    rows = [features(training / f"run-2-step-{step}.onnx") for step in found.steps]
    expected = [1 - oracle.cka_distance(each @ each.T, rows[0] @ rows[0].T) for each in rows]
    # The models compute in float32: some √p·eps(float32) of each feature, which CKA averages.
    assert [each.value for each in found.s_init if each is not None] == pytest.approx(expected, abs=1e-6)


def test_metadata_and_what_is_noted(tmp_path: Path) -> None:
    """Steps and numbers that the files say themselves; words are no numbers."""
    for step, name in ((7, "a"), (3, "b")):
        checkpoint(tmp_path, name, 0.1 * step, step=str(step), train_accuracy=f"0.{step}", note="nan", loss="1e-3")
    found = onnxrich.track(tmp_path, X, device="cpu")
    assert found.steps == (3, 7) and found.origin == "metadata"
    assert found.noted == {"train_accuracy": (0.3, 0.7), "loss": (1e-3, 1e-3)}


def test_records_of_a_training(training: Path, tmp_path: Path) -> None:
    """Saved moments give the same course, without models and data, and the same paired errors."""
    for step in (9, 100, 2000):
        each = onnxrich.run(training / f"run-2-step-{step}.onnx", X, device="cpu")
        each.moments.save(tmp_path / f"step-{step:08d}.npz", each.record.to_dict())
    found = onnxrich.track(tmp_path)
    models = onnxrich.track([training / f"run-2-step-{step}.onnx" for step in (9, 100, 2000)], X, device="cpu")
    assert found.steps == models.steps
    assert [change.get("d_lr") for change in found.changes] == [change.get("d_lr") for change in models.changes]
    assert len(found.transitions) == 1


def test_transitions_are_falls_beyond_chance() -> None:
    """The largest fall and its equals are marked, neighbours joined; small ones, rises and noise are not."""
    marked = lambda values, **options: [  # noqa: E731 - one line that is read with the cases below
        (each.start, each.stop) for each in Track.of(range(len(values)), falling(values, **options)).transitions
    ]
    assert marked([0.9, 0.9, 0.5, 0.1, 0.1]) == [(1, 3)]
    assert marked([0.9, 0.6, 0.65, 0.3]) == [(0, 1), (2, 3)]
    assert marked([0.9, 0.2, 0.19, 0.1]) == [(0, 1)]
    assert marked([0.1, 0.5, 0.9]) == []
    assert marked([0.5, 0.45, 0.52], noise=0.1) == []
    assert marked([0.5]) == []
    assert marked([0.5, 0.495, 0.494], noise=1e-6) == [], "clear, but of no account"


def test_false_alarms_are_rare() -> None:
    """In a training without change, marks come no more often than promised."""
    rng, n, alarms, tries = np.random.default_rng(11), 240, 0, 60
    for _ in range(tries):
        results = []
        for _ in range(4):
            phi = rng.standard_normal((n, 3))
            f = phi @ np.ones((3, 1))
            parts = [Moments.from_rows(phi[g::8], f[g::8]) for g in range(8)]
            total = parts[0]
            for part in parts[1:]:
                total = total.merge(part)
            results.append(Analysis.from_moments(total, only_d_lr(n), blocks=parts))
        alarms += bool(Track.of(range(4), results).transitions)
    # With a probability of 5 % for each at most, more than eight of 60 have one of 0.4 %.
    assert alarms <= 8


def only_d_lr(n: int) -> Any:
    from report.conftest import record

    return replace(record("m.onnx", 3, 1, n), asked=("d_lr",))


def test_student_t() -> None:
    """Quantiles of the tables: Abramowitz & Stegun 1964, table 26.10."""
    for freedom, level, t in ((7, 0.95, 2.365), (15, 0.99, 2.947), (3, 0.998, 10.215), (1, 0.95, 12.706)):
        assert student_t_quantile(freedom, level) == pytest.approx(t, abs=6e-4)


def test_one_broken_checkpoint(training: Path, tmp_path: Path) -> None:
    """The error names it, and nothing is given."""
    good = checkpoint(tmp_path, "step-1", 0.0)
    (tmp_path / "step-2.onnx").write_bytes(good.read_bytes()[:50])
    with refused(ModelError, "step-2.onnx"):
        onnxrich.track(tmp_path, X, device="cpu")
    other = build(
        "a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x="float[N,9] x", w1=np.ones((9, 8), np.float32)
    )
    (tmp_path / "step-2.onnx").write_bytes(other.SerializeToString())
    with refused(DataError, "step-2.onnx", "shape"):
        onnxrich.track(tmp_path, X, device="cpu")


def test_data_are_read_anew(training: Path) -> None:
    """What can be read once only is refused before anything is run."""
    with refused(DataError, "generator", "read once"):
        onnxrich.track(training, ({"x": X} for _ in range(1)))


def test_document_and_csv(training: Path, tmp_path: Path) -> None:
    """JSON without NaN, the same from a worker process; CSV with a line a checkpoint."""
    np.save(tmp_path / "x.npy", X)
    start = training / "run-2-step-9.onnx"
    here = onnxrich.track(training, tmp_path / "x.npy", init=start, device="cpu")
    apart = onnxrich.track(training, tmp_path / "x.npy", init=start, device="cpu", isolate=True)
    document = json.loads(here.to_json())
    assert document["schema"] == "onnxrich.track/1" and document["steps"] == [9, 30, 100, 2000]
    assert document["transitions"] == [{"from": 100, "to": 2000, "change": here.transitions[0].change.to_dict()}]
    assert (apart.steps, apart.origin, apart.s_init) == (here.steps, here.origin, here.s_init)
    assert apart.changes == here.changes and apart.transitions == here.transitions
    rows = list(csv.DictReader(io.StringIO(here.to_csv())))
    assert [int(row["step"]) for row in rows] == list(here.steps)
    for row, result in zip(rows, here.results, strict=True):
        assert float(row["d_lr"]) == result.metrics["d_lr"] and row["accuracy"] == ""
        assert result.uncertainty is not None
        assert float(row["d_lr_error"]) == result.uncertainty.intervals["d_lr"].error


def test_unknown_steps_are_said(tmp_path: Path) -> None:
    """Where neither files nor names say the steps, a notice does."""
    for name in ("first", "second"):
        checkpoint(tmp_path, name, 0.1)
    found = onnxrich.track(tmp_path, X, device="cpu")
    assert found.origin == "position" and found.steps == (0, 1)
    assert [notice.code for notice in found.notices] == ["steps_unknown"]
    assert onnxrich.track(tmp_path / "first.onnx", X, device="cpu").notices == ()


def test_given_order_where_steps_are_unknown(tmp_path: Path) -> None:
    """Checkpoints keep the order in which they were given, and a transition is told from one file to the next."""
    lazy, rich = checkpoint(tmp_path, "start", 0.0), checkpoint(tmp_path, "end", 0.95)
    found = onnxrich.track([lazy, rich], X, device="cpu")
    assert [Path(result.record.model.path).name for result in found.results] == ["start.onnx", "end.onnx"]
    assert "from checkpoint 0 (start.onnx) to checkpoint 1 (end.onnx)" in steps.summary(found)
    assert "no transition" in steps.summary(onnxrich.track([rich, lazy], X, device="cpu"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["epoch_1_loss_0.52", "epoch_2_loss_0.31"], (1, 2)),
        (["epoch=1-step=100", "epoch=2-step=50"], (100, 50)),
        (["ckpt.100", "ckpt.20"], (100, 20)),
        (["model3", "model10"], (3, 10)),
        (["v1-10k", "v2-2k"], (1, 2)),
        (["step=1e3", "step=2e2"], None),
        (["mnist28x28-a", "mnist32x32-b"], None),
        (["loss_0.5", "loss_0.25"], None),
    ],
)
def test_steps_in_names(names: list[str], expected: tuple[int, ...] | None) -> None:
    """The number behind a word for it, else the last whole one: no loss, no size, nothing with a letter behind it."""
    found, origin = series.checkpoint_steps([f"{name}.onnx" for name in names], [None] * len(names))
    assert (found, origin) == ((expected, "name") if expected else ((0, 1), "position"))
