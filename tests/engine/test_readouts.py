"""What readouts decide is what loops over the rows decide; the pass over the data is a second one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import onnxrich
from onnxrich.errors import DataError
from onnxrich.metrics.base import Sample
from onnxrich.metrics.readouts import least_squares, nearest_mean
from onnxrich.metrics.registry import measure
from onnxrich.moments.matrix import Moments


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, outputs and labels of the demo's lazy model, by the runtime alone."""
    path = tmp_path_factory.mktemp("model") / "exposed.onnx"
    names = onnxrich.expose(onnxrich.demo_file("lazy.onnx"), path)
    with np.load(onnxrich.demo_file("evaluation.npz")) as data:
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        features, outputs = session.run(list(names), {session.get_inputs()[0].name: data["x"]})
        return features.astype(np.float64), outputs, data["labels"]


def expected(features: np.ndarray, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The three shares, by distances to class means and by least squares with an intercept."""
    classes = np.unique(labels)
    distances = [np.sum((features - features[labels == c].mean(axis=0)) ** 2, axis=1) for c in classes]
    nearest = classes[np.argmin(distances, axis=0)]
    design = np.column_stack([features, np.ones(len(features))])
    targets = np.eye(int(labels.max()) + 1)[labels]
    predicted = (design @ np.linalg.lstsq(design, targets, rcond=None)[0]).argmax(axis=1)
    return {
        "nc4": np.mean(nearest != outputs.argmax(axis=1)),
        "nearest_mean_accuracy": np.mean(nearest == labels),
        "probe_accuracy": np.mean(predicted == labels),
    }


def test_shares_are_those_of_loops(exposed: tuple[np.ndarray, ...]) -> None:
    """Counted in the graph, they are exact; batches of any size."""
    data = onnxrich.demo_file("evaluation.npz")
    for size in (128, 700):
        analysis = onnxrich.run(onnxrich.demo_file("lazy.onnx"), data, metrics=["readouts"], batch_size=size)
        for name, value in expected(*exposed).items():
            # A row on the border between two classes may fall to either: one of 2000.
            assert analysis.metrics[name] == pytest.approx(value, abs=1.5 / 2000), name


@pytest.mark.parametrize("size", [60, 125])
def test_errors_are_those_of_blocks_left_out(exposed: tuple[np.ndarray, ...], size: int) -> None:
    """Without a block the share is that of the other rows, its error that of so many draws; none without blocks."""
    features, outputs, labels = exposed
    model, data = onnxrich.demo_file("lazy.onnx"), onnxrich.demo_file("evaluation.npz")
    analysis = onnxrich.run(model, data, metrics=["readouts"], batch_size=size)
    classes = np.unique(labels)
    distances = [np.sum((features - features[labels == c].mean(axis=0)) ** 2, axis=1) for c in classes]
    hits = {
        "nc4": classes[np.argmin(distances, axis=0)] != outputs.argmax(axis=1),
        "nearest_mean_accuracy": classes[np.argmin(distances, axis=0)] == labels,
    }
    assert analysis.uncertainty is not None and analysis.uncertainty.blocks == 16
    block = np.arange(2000) // size // analysis.record.runtime.runs % 16
    for name, hit in hits.items():
        without = [np.mean(hit[block != left]) for left in range(16)]
        # A row on the border between two classes may fall to either: one of at least 1 800.
        assert analysis.uncertainty.replicates[name] == pytest.approx(without, abs=1.5 / 1800), name
        share = analysis.metrics[name]
        assert share is not None
        # The binomial error; one of 16 blocks scatters by 1/√30 = 18 %, three of which are 55 %.
        binomial = np.sqrt(share * (1 - share) / 2000)
        assert analysis.uncertainty.intervals[name].error == pytest.approx(binomial, rel=0.55), name
        assert name not in analysis.uncertainty.convergence
    alone = onnxrich.run(model, data, metrics=["readouts"], batch_size=size, blocks=0)
    assert alone.uncertainty is None
    assert [alone.metrics[name] for name in hits] == pytest.approx([analysis.metrics[name] for name in hits], abs=1e-12)


def test_readouts_decide_alike_in_numpy(exposed: tuple[np.ndarray, ...]) -> None:
    """The scores themselves name the nearest mean and the largest prediction, also when a class has no rows."""
    features, outputs, labels = exposed
    keep = labels != 3
    features, outputs, labels = features[keep], outputs[keep], labels[keep]
    sample = Sample.from_moments(Moments.from_rows(features, outputs, labels))
    for name, make in (("nearest_mean_accuracy", nearest_mean), ("probe_accuracy", least_squares)):
        readout = make(sample)
        assert readout is not None
        decided = (features @ readout.weight.T + readout.bias).argmax(axis=1)
        assert np.mean(decided == labels) == pytest.approx(expected(features, outputs, labels)[name], abs=1e-3)
        assert 3 not in decided or name == "probe_accuracy"


def test_only_on_demand() -> None:
    """They are no default, and null with their reason where there is no second pass."""
    model = onnxrich.demo_file("rich.onnx")
    with np.load(onnxrich.demo_file("evaluation.npz")) as data:
        x, labels = data["x"][:200], data["labels"][:200]
    assert "nc4" not in onnxrich.run(model, x, labels).metrics
    stream = ({"x": x[start : start + 50], "labels": labels[start : start + 50]} for start in range(0, 200, 50))
    once = onnxrich.run(model, stream, metrics=["nc4"])
    assert once.metrics["nc4"] is None
    from onnxrich.report import terminal

    assert "data that can be read twice" in " ".join(terminal.render([once], width=200).split())
    assert onnxrich.run(model, x, metrics=["nc4"]).metrics["nc4"] is None


def test_kept_in_the_record(tmp_path: Path) -> None:
    """What the second pass counted is there again when the moments are loaded."""
    data = onnxrich.demo_file("evaluation.npz")
    analysis = onnxrich.run(onnxrich.demo_file("rich.onnx"), data, metrics=["nc4"])
    analysis.save(tmp_path / "report")
    assert onnxrich.Analysis.load(tmp_path / "report" / "moments.npz").metrics == analysis.metrics
    assert measure(analysis.moments, metrics=["nc4"])[0]["nc4"] is None


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.slow
def test_not_counted_again_from_moments(isolate: bool, tmp_path: Path) -> None:
    """Readouts that are named but were not counted need the model; among all metrics they are null."""
    data = onnxrich.demo_file("evaluation.npz")
    onnxrich.run(onnxrich.demo_file("rich.onnx"), data, metrics=["nc4"]).save(tmp_path / "report")

    def loaded(*metrics: str) -> onnxrich.Analysis:
        return onnxrich.Analysis.load(tmp_path / "report", metrics=metrics, isolate=isolate)

    assert loaded("nc4").metrics["nc4"] is not None
    with pytest.raises(DataError) as caught:
        loaded("default", "readouts")
    assert str(caught.value) == (
        "nearest_mean_accuracy, probe_accuracy of saved moments; needed: the model and its data, which they take a "
        "second pass over. Use `onnxrich run MODEL --data FILE --metrics readouts`."
    )
    assert loaded("all").metrics["probe_accuracy"] is None
    loaded("all").save(tmp_path / "report", force=True)
    with pytest.raises(DataError, match="nearest_mean_accuracy, probe_accuracy of saved moments"):
        loaded("readouts")


@pytest.mark.parametrize("classes", [0, 1])
def test_one_output_for_two_classes(classes: int) -> None:
    """With one output its sign is the model's decision; with rows of one class there is no nearest mean."""
    import onnx
    from onnx import numpy_helper, parser

    rng = np.random.default_rng(0)
    text = """
    <ir_version: 9, opset_import: ["" : 17]>
    net (float[N, 6] x) => (float[N, 1] y) <float[6, 4] a, float[4, 1] w>
    { h = MatMul(x, a)  r = Relu(h)  y = MatMul(r, w) }
    """
    model = parser.parse_model(text)
    values = {"a": rng.standard_normal((6, 4)), "w": rng.standard_normal((4, 1))}
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float32), k) for k, v in values.items())
    onnx.checker.check_model(model)
    x = rng.standard_normal((300, 6)).astype(np.float32)
    features = np.maximum(x @ values["a"].astype(np.float32), 0).astype(np.float64)
    outputs = features @ values["w"]
    labels = (outputs[:, 0] + rng.standard_normal(300) > 0).astype(np.int64) * (1 - classes)
    analysis = onnxrich.run(model, {"x": x}, labels, metrics=["readouts"])
    if classes:
        assert analysis.metrics["nc4"] is None
        return
    both = np.column_stack([np.zeros(300), outputs])
    for name, value in expected(features, both, labels).items():
        assert analysis.metrics[name] == pytest.approx(value, abs=1.5 / 300), name
