"""The names of classes that a model tells number the words of the data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from repository import ZOO
from zoo_text import build, read_all, refused, two_layers

import onnxrich
from onnxrich.data.class_names import LARGEST_CONFIG, ClassNames, number_classes, read_class_names
from onnxrich.data.labels import align_classes_with
from onnxrich.data.open import open_source
from onnxrich.data.paths import DataPath
from onnxrich.data.source import Source
from onnxrich.errors import DataError
from onnxrich.model.file import Model, read_model

NAMES = ("dog", "ant", "cat")
X = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float32)
TWO = np.array(["cat", "ant"])[np.arange(12) % 2]
SKLEARN = ZOO / "sklearn"


def saved(folder: Path, *, metadata: str | None = None, config: Any = None) -> Model:
    """A model of three outputs whose classes have names in its metadata, or in a file beside it."""
    proto = two_layers()
    if metadata is not None:
        onnx.helper.set_model_props(proto, {"names": metadata})
    if config is not None:
        (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    onnx.save(proto, folder / "net.onnx")
    return read_model(folder / "net.onnx")


HUB = {"id2label": dict(enumerate(NAMES))}


def not_used(source: Source) -> str:
    """The notice that names were not used."""
    (notice,) = source.skipped.notices()
    assert notice.code == "names_not_used"
    return notice.message


@pytest.mark.parametrize(
    "declaration", [{"metadata": str(dict(enumerate(NAMES)))}, {"config": HUB}], ids=["metadata", "hub"]
)
def test_words_follow_the_model(declaration: Any, tmp_path: Path) -> None:
    """Words have the numbers of their outputs, also where some are missing."""
    source = open_source(saved(tmp_path, **declaration), {"x": X, "labels": TWO})
    np.testing.assert_array_equal(read_all(source, 5)[1], [NAMES.index(word) for word in TWO])
    assert (source.class_names, source.classes) == (NAMES, 3)


def test_models_that_name_their_outputs_in_different_orders(tmp_path: Path) -> None:
    """Rows that two models share have one number a class; a model that tells no names takes those of the other."""
    (tmp_path / "other").mkdir()
    first = saved(tmp_path, config=HUB)
    other = saved(tmp_path / "other", config={"id2label": dict(enumerate(sorted(NAMES)))})
    data, silent = {"x": X, "labels": TWO}, read_model(two_layers())
    with refused(DataError, "and the models name their outputs in different orders"):
        open_source(first, data, others=[other])
    for source in (open_source(first, data, others=[silent, first]), open_source(silent, data, others=[first])):
        assert source.class_names == NAMES
    open_source(first, {"x": X, "labels": np.arange(12) % 3}, others=[other])


def test_names_in_the_graph() -> None:
    """scikit-learn's converters write the words that a classifier gives into the graph."""
    assert read_class_names(read_model(SKLEARN / "mlp_zipmap_words.onnx"), 3) == ClassNames(
        ("class 0", "class 1", "class 2")
    )
    assert read_class_names(read_model(SKLEARN / "mlp_arrays.onnx"), 3) == ClassNames()
    body = 'a = MatMul(x, w1)\n y = MatMul(a, w2)\n z = ai.onnx.ml.ZipMap <classlabels_strings = ["b", "a"]> (y)'
    for outputs in (1, 2, None):  # a single output decides between two classes
        assert read_class_names(read_model(build(body)), outputs) == ClassNames(("b", "a"))


def test_words_that_the_model_does_not_name(tmp_path: Path) -> None:
    """Where the data name another class, they are numbered in the order of the alphabet."""
    source = open_source(saved(tmp_path, config=HUB), {"x": X, "labels": np.where(TWO == "cat", "bee", TWO)})
    assert source.class_names == ("ant", "bee")
    assert not_used(source) == (
        "The classes are numbered as the data have them, 'ant', 'bee', and not as the model names its outputs: those "
        "are 'dog', 'ant', 'cat'. If the outputs come in another order, fix the names, or pass the labels as "
        "numbers of the outputs."
    )


@pytest.mark.parametrize("names", [("dog", "ant"), ("dog", "ant", "bee", "cat")])
def test_other_names_than_outputs(names: tuple[str, ...], tmp_path: Path) -> None:
    """Names that are not as many as the outputs number none of them: words are numbered as without, and a notice says
    so; with fewer words than outputs there is no accuracy."""
    config = {"id2label": dict(enumerate(names))}
    words = np.array(["ant", "dog"])[np.arange(12) % 2]
    saved(tmp_path, config=config)
    analysis = onnxrich.run(tmp_path / "net.onnx", {"x": X, "labels": words})
    assert (analysis.record.data.class_names, analysis.metrics["accuracy"]) == (("ant", "dog"), None)
    messages = {notice.code: notice.message for notice in analysis.notices}
    assert f"net.onnx names {len(names)} classes, and its outputs are 3. If" in messages["names_not_used"]
    assert "more_classes" not in messages
    compared = onnxrich.compare([tmp_path / "net.onnx", tmp_path / "net.onnx"], {"x": X, "labels": words})
    assert compared.results[0].record.data.class_names == ("ant", "dog")


def test_numbers_stay(tmp_path: Path) -> None:
    """Labels that are numbers are those of the outputs already."""
    source = open_source(saved(tmp_path, config=HUB), {"x": X, "labels": np.arange(12) % 2})
    np.testing.assert_array_equal(read_all(source, 5)[1], np.arange(12) % 2)
    assert source.class_names is None


@pytest.mark.parametrize(
    "declaration",
    [
        {"config": "[1]"}, {"config": {"size": 7}}, {"config": {"id2label": None}},
        {"metadata": "{"}, {"metadata": "__import__('os')"}, {"metadata": "(" * 10**5}, {"metadata": "['ant']"},
    ],
)  # fmt: skip
def test_what_names_nothing(declaration: Any, tmp_path: Path) -> None:
    """Files and metadata of somebody else are left alone."""
    source = open_source(saved(tmp_path, **declaration), {"x": X, "labels": TWO})
    assert (source.class_names, source.skipped.notices()) == (("ant", "cat"), [])


@pytest.mark.parametrize(
    ("config", "flaw"),
    [
        ("{", "is no whole JSON file (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        (json.dumps(HUB)[:-9], "is no whole JSON file (Expecting ':' delimiter: line 1 column 42 (char 41))"),
        ('{"id2label": {"0": "a", "0": "b"}}', "is no whole JSON file (the key '0' twice)"),
        (json.dumps(HUB) + " " * LARGEST_CONFIG, "has 16,777,266 bytes, and may have at most 16,777,216"),
        *((json.dumps({"id2label": names}), "doesn't give each number from 0 on a name of its own") for names in (
            {"0": "ant", "2": "cat"}, {"0": 1}, ["ant"], {}, {"0": "ant", "1": "ant"})),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_used(config: str, flaw: str, tmp_path: Path) -> None:
    """It is told where words need it; numbers need none."""
    read = saved(tmp_path, config=config)
    assert f"beside {read.path} {flaw}. If" in not_used(open_source(read, {"x": X, "labels": TWO}))
    assert open_source(read, {"x": X, "labels": np.arange(12) % 2}).skipped.notices() == []


def test_a_large_config(tmp_path: Path) -> None:
    """Names fill megabytes where there are thousands of classes."""
    read = saved(tmp_path, config=json.dumps(HUB | {"label2id": "x" * 2**21}))
    assert open_source(read, {"x": X, "labels": TWO}).class_names == NAMES


def test_a_config_is_opened_for_words_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can't be read stops no run that has no use for it."""
    read = saved(tmp_path, config=HUB)

    def deny(*_: Any) -> Any:
        raise DataError("config.json: Permission denied", "a readable JSON file", "Check it.")

    monkeypatch.setattr(DataPath, "open", deny)
    open_source(read, {"x": X})
    open_source(read, {"x": X, "labels": np.arange(12) % 2})
    with refused(DataError, "config.json: Permission denied"):
        open_source(read, {"x": X, "labels": TWO})


def test_numbers_beyond_the_names(tmp_path: Path) -> None:
    """A number that has no name can't be that of another output."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    feature = {"labels": {"_type": "ClassLabel", "names": ["ant", "cat"]}}
    metadata = {b"huggingface": json.dumps({"info": {"features": feature}}).encode()}
    for wrong in (-1, 2):
        columns = {"x": pa.array(X.tolist(), pa.list_(pa.float32(), 6)), "labels": [0, 1, wrong] * 4}
        parquet.write_table(pa.table(columns).replace_schema_metadata(metadata), tmp_path / "d.parquet")
        source = open_source(saved(tmp_path, config=HUB), tmp_path / "d.parquet")
        with refused(DataError, f"d.parquet holds class {wrong}, and names 2 classes; needed: numbers from 0 to 1."):
            read_all(source, 5)


def test_evaluation_follows_the_model_too(tmp_path: Path) -> None:
    """A second data set with other classes missing has the same numbers."""
    read = saved(tmp_path, config=HUB)
    first = open_source(read, {"x": X, "labels": TWO})
    other = align_classes_with(open_source(read, {"x": X, "labels": np.array(["dog"] * 12)}), first)
    np.testing.assert_array_equal(read_all(other, 5)[1], np.zeros(12))


@pytest.mark.parametrize(
    ("labels", "values", "names"),
    [
        (["3", "0"], [3, 0], None), (["3", "x"], [0, 1], ("3", "x")), (["-1", "0"], [0, 1], ("-1", "0")),
        (["1.0", "0"], [1, 0], ("0", "1.0")), (["99999999999", "0"], [1, 0], ("0", "99999999999")),
        (["²", "1"], [1, 0], ("1", "²")),
    ],
)  # fmt: skip
def test_number_classes(labels: list[str], values: list[int], names: Any) -> None:
    """Whole numbers are classes as they are; anything else is a name."""
    numbers, classes = number_classes(labels)
    assert (numbers.tolist(), classes) == (values, names)
