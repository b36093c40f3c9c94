"""The names of classes that a model tells number the words of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from zoo_text import build, read_all, refused, two_layers

from onnxrich import model
from onnxrich.errors import DataError
from onnxrich.sources import numbered_alike, open_source
from onnxrich.sources.named import class_names

NAMES = ("dog", "ant", "cat")
X = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float32)
TWO = np.array(["cat", "ant"])[np.arange(12) % 2]
ZOO = Path(__file__).parents[1] / "zoo/sklearn"


def saved(folder: Path, *, metadata: str | None = None, config: Any = None) -> model.Model:
    """A model of three outputs whose classes have names in its metadata, or in a file beside it."""
    proto = two_layers()
    if metadata is not None:
        onnx.helper.set_model_props(proto, {"names": metadata})
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    onnx.save(proto, folder / "net.onnx")
    return model.read(folder / "net.onnx")


HUB = {"id2label": dict(enumerate(NAMES))}


@pytest.mark.parametrize("how", [{"metadata": str(dict(enumerate(NAMES)))}, {"config": HUB}], ids=["metadata", "hub"])
def test_words_follow_the_model(how: Any, tmp_path: Path) -> None:
    """Words have the numbers of their outputs, also where some are missing."""
    source = open_source(saved(tmp_path, **how), {"x": X, "labels": TWO})
    np.testing.assert_array_equal(read_all(source, 5)[1], [NAMES.index(word) for word in TWO])
    assert (source.class_names, source.classes) == (NAMES, 3)


def test_names_in_the_graph() -> None:
    """scikit-learn's converters write the words that a classifier gives into the graph."""
    assert class_names(model.read(ZOO / "mlp_zipmap_words.onnx")) == ("class 0", "class 1", "class 2")
    assert class_names(model.read(ZOO / "mlp_arrays.onnx")) is None
    body = 'a = MatMul(x, w1)\n y = MatMul(a, w2)\n z = ai.onnx.ml.ZipMap <classlabels_strings = ["b", "a"]> (y)'
    assert class_names(model.read(build(body))) == ("b", "a")


def test_words_that_the_model_does_not_name(tmp_path: Path) -> None:
    """Where the data name another class, they are numbered in the order of the alphabet."""
    source = open_source(saved(tmp_path, config=HUB), {"x": X, "labels": np.where(TWO == "cat", "bee", TWO)})
    assert source.class_names == ("ant", "bee")


def test_numbers_stay(tmp_path: Path) -> None:
    """Labels that are numbers are those of the outputs already."""
    source = open_source(saved(tmp_path, config=HUB), {"x": X, "labels": np.arange(12) % 2})
    np.testing.assert_array_equal(read_all(source, 5)[1], np.arange(12) % 2)
    assert source.class_names is None


@pytest.mark.parametrize(
    "how",
    [
        {"config": "{"}, {"config": "[1]"}, {"config": {"id2label": {"0": "ant", "2": "cat"}}},
        {"config": {"id2label": {"0": 1}}}, {"config": {"id2label": ["ant"]}}, {"config": {"id2label": {}}},
        {"metadata": "{"}, {"metadata": "__import__('os')"}, {"metadata": "(" * 10**5}, {"metadata": "['ant']"},
    ],
)  # fmt: skip
def test_what_names_nothing(how: Any, tmp_path: Path) -> None:
    """Files and metadata of somebody else are left alone."""
    assert class_names(saved(tmp_path, **how)) is None


def test_numbers_beyond_the_names(tmp_path: Path) -> None:
    """A number that has no name can't be that of another output."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    feature = {"labels": {"_type": "ClassLabel", "names": ["ant", "cat"]}}
    about = {b"huggingface": json.dumps({"info": {"features": feature}}).encode()}
    for wrong in (-1, 2):
        columns = {"x": pa.array(X.tolist(), pa.list_(pa.float32(), 6)), "labels": [0, 1, wrong] * 4}
        parquet.write_table(pa.table(columns).replace_schema_metadata(about), tmp_path / "d.parquet")
        source = open_source(saved(tmp_path, config=HUB), tmp_path / "d.parquet")
        with refused(DataError, f"class {wrong} in d.parquet, which names 2 classes; needed: numbers from 0 to 1."):
            read_all(source, 5)


def test_evaluation_follows_the_model_too(tmp_path: Path) -> None:
    """A second data set with other classes missing has the same numbers."""
    read = saved(tmp_path, config=HUB)
    first = open_source(read, {"x": X, "labels": TWO})
    other = numbered_alike(open_source(read, {"x": X, "labels": np.array(["dog"] * 12)}), first)
    np.testing.assert_array_equal(read_all(other, 5)[1], np.zeros(12))
