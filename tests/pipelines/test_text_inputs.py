"""Models that take strings: the text comes from any format, and the numbers are those of the definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import oracle
import pyarrow
import pytest
from onnx import helper
from pyarrow import parquet
from zoo_text import build, refused, whole

import onnxrich
from onnxrich.errors import DataError

N = 90
WORDS = ["red", "grün", "", "a\0b"]
COLORS = np.array(WORDS, dtype=object)[np.random.default_rng(2).integers(0, 3, N)]
SIZES = whole(N, 1, seed=5)
LABELS = np.random.default_rng(3).integers(0, 3, N)
W1, W2 = whole(5, 8, seed=1).astype(float), whole(8, 3, seed=2).astype(float)


def model() -> onnx.ModelProto:
    """color, one-hot among four words, and size → h (8, ReLU) → y (3), as scikit-learn's converter writes it."""
    proto = build(
        "encoded = Identity(color)\n flat = Reshape(encoded, four)\n c = Concat<axis=1>(flat, size)\n"
        " a = MatMul(c, w1)\n h = Relu(a)\n y = MatMul(h, w2)",
        x="string[N,1] color, float[N,1] size", w1=W1.astype(np.float32), w2=W2.astype(np.float32),
        four=np.array([-1, 4]),
    )  # fmt: skip
    encoder = helper.make_node(
        "OneHotEncoder", ["color"], ["encoded"], domain="ai.onnx.ml", cats_strings=WORDS, zeros=1
    )
    proto.graph.node[0].CopyFrom(encoder)
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return proto


def expected() -> tuple[np.ndarray, np.ndarray]:
    one_hot = np.array([[float(color == word) for word in WORDS] for color in COLORS])
    features = np.maximum(np.concatenate([one_hot, SIZES], axis=1) @ W1, 0)
    return features, features @ W2


def sources(folder: Path) -> dict[str, Any]:
    fields = {"color": COLORS.astype(str), "size": SIZES[:, 0], "labels": LABELS}
    np.savez(folder / "a.npz", **fields)
    np.savez_compressed(folder / "wide.npz", **{**fields, "color": COLORS.astype("U40")[:, None]})
    table = pyarrow.table({"color": list(COLORS), "size": SIZES[:, 0], "labels": LABELS})
    parquet.write_table(table, folder / "a.parquet")
    return {
        "objects": {**fields, "color": COLORS},
        "mapping": fields,
        "npz": folder / "a.npz",
        "wide": folder / "wide.npz",
        "parquet": folder / "a.parquet",
        "iterable": [{name: array[i : i + 11] for name, array in fields.items()} for i in range(0, N, 11)],
    }


@pytest.mark.parametrize("kind", ["objects", "mapping", "npz", "wide", "parquet", "iterable"])
def test_text_of_any_format(kind: str, tmp_path: Path) -> None:
    """The numbers are those of one-hot words, to the rounding of sums in double, and so is the fingerprint the same."""
    data = sources(tmp_path)
    analysis = onnxrich.run(model(), data[kind], device="cpu", batch_size=16)
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(*expected()), abs=1e-12)
    first = onnxrich.run(model(), data["objects"], device="cpu")
    assert analysis.record.data.fingerprint == first.record.data.fingerprint


def test_text_of_a_csv_file(tmp_path: Path) -> None:
    """An empty cell is a missing value there, and no text."""
    kept = COLORS != ""
    lines = [f"{c},{s},{y}" for c, s, y in zip(COLORS[kept], SIZES[kept, 0], LABELS[kept], strict=True)]
    (tmp_path / "a.csv").write_text("color,size,labels\n" + "\n".join(lines))
    analysis = onnxrich.run(model(), tmp_path / "a.csv", device="cpu")
    features, outputs = (table[kept] for table in expected())
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=1e-12)


def test_all_that_follows_a_pass_works_on_text(tmp_path: Path) -> None:
    """Products of several batches, hidden layers, readouts, a checkpoint and a comparison."""
    data = {"color": COLORS, "size": SIZES}
    options: dict[str, Any] = {"device": "cpu", "batch_size": 4}
    plain = onnxrich.run(model(), data, LABELS, **options)
    full = onnxrich.run(
        model(), data, LABELS, metrics=("default", "readouts"), layers="all", checkpoint=tmp_path / "c", **options
    )
    np.testing.assert_array_equal(full.moments.matrix, plain.moments.matrix)
    resumed = onnxrich.run(model(), data, LABELS, layers="all", checkpoint=tmp_path / "c", **options)
    assert resumed.record.runtime.resumed == N
    np.testing.assert_array_equal(resumed.moments.matrix, plain.moments.matrix)
    comparison = onnxrich.compare([model(), model()], data, LABELS, **options)
    assert comparison.similarity(0, 1).value == pytest.approx(1, abs=1e-12)


def test_other_text_has_another_fingerprint() -> None:
    """The lengths of the words count: joined, both lists would have the same letters."""
    prints = set()
    for words in (["ab", "c"], ["a", "bc"], ["abc", ""]):
        proto = build(
            "s = Identity(text)\n a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)",
            x="float[N,6] x, string[N,2] text",
        )
        data = {"x": whole(8, 6), "text": np.array([words] * 8)}
        prints.add(onnxrich.run(proto, data, device="cpu").record.data.fingerprint)
    assert len(prints) == 3


def test_a_single_input_of_text_takes_the_only_column_of_text() -> None:
    proto = build(
        "n = Identity(text)\n c = Cast<to=1>(n)\n a = MatMul(c, w1)\n h = Relu(a)\n y = MatMul(h, w2)",
        x="string[N,6] text",
    )
    numbers = whole(40, 6, seed=9)
    texts = numbers.astype(int).astype(str)
    features = np.maximum(numbers.astype(float) @ whole(6, 8, seed=1), 0)
    expected = oracle.d_lr(features, features @ whole(8, 3, seed=2))
    columns = {f"column {j}": texts[:, j] for j in range(6)} | {"other": np.arange(40)}
    for data in (texts, {"text": texts}, {"words": texts, "other": np.arange(40)}, columns):
        analysis = onnxrich.run(proto, data, device="cpu")
        assert analysis.metrics["d_lr"] == pytest.approx(expected, abs=1e-12)


def test_values_that_are_no_text_are_refused() -> None:
    with refused(DataError, "input 'color' gets int64 data", "strings", "`.astype(str)`"):
        onnxrich.run(model(), {"color": LABELS, "size": SIZES}, device="cpu")
    holes = COLORS.copy()
    holes[7] = None
    with refused(DataError, "input 'color' gets a value of type NoneType", "fill in those that are missing"):
        onnxrich.run(model(), {"color": holes, "size": SIZES}, device="cpu")
    with refused(DataError, "input 'size' gets object data", "float32"):
        onnxrich.run(model(), {"color": COLORS, "size": COLORS}, device="cpu")
