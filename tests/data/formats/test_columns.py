"""Tables: which columns become which inputs, what is told of bad values, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.formats.files import KINDS, NAMES, WORDS, X, save, scalars
from zoo_text import build, read_all, refused, source_of, two_layers

from onnxrich.errors import DataError


def test_columns_that_are_used_for_nothing(tmp_path: Path) -> None:
    """They are named, three at most, with what to do where there are no labels; names must not steer a terminal."""
    words = [WORDS[at % 3] for at in range(23)]

    def messages(labels: str | None = None, **others: Any) -> list[str]:
        source = source_of(two_layers(), save("csv", tmp_path, scalars(**others)), labels)
        notices = source.skipped.notices()
        assert {notice.code for notice in notices} <= {"unused_columns"}
        return [notice.message for notice in notices]

    hint = " If one of them holds the labels, pass --labels NAME."
    assert messages(species=words) == [f"Left out of d.csv: 'species', neither inputs nor labels of the model.{hint}"]
    assert messages("species", species=words) == []
    assert messages(label=words) == []
    four = {"a\x1b[2J": words, "when": words, "where": words, "who": words}
    assert messages(label=words, **four) == [
        "Left out of d.csv: 'a\\x1b[2J', 'when', 'where' and 1 more, neither inputs nor labels of the model."
    ]
    arrays = {"x": X, "labels": np.arange(23) % 3, "id": np.arange(23)}
    (notice,) = source_of(two_layers(), arrays).skipped.notices()
    assert (notice.code, "Left out of arrays: 'id'," in notice.message) == ("unused_columns", True)


@pytest.mark.parametrize("size", [1, 7, 23, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_columns_one_by_one(kind: str, size: int, tmp_path: Path) -> None:
    """As many columns of numbers as a single input has features become its columns, in order; words are classes."""
    path = save(kind, tmp_path, {"label": [WORDS[at % 3] for at in range(23)], **scalars()})
    source = source_of(two_layers(), path)
    rows, labels = read_all(source, size)
    np.testing.assert_array_equal(rows["x"], X)
    assert source.class_names == ("ant", "cat", "dog")
    assert labels is not None and [source.class_names[label] for label in labels] == [WORDS[at % 3] for at in range(23)]
    assert source.preprocessing == {"columns": NAMES}


@pytest.mark.parametrize("kind", KINDS)
def test_other_numbers_of_columns(kind: str, tmp_path: Path) -> None:
    """A column too many is most often the label, and the message says so; of many columns it lists some."""
    path = save(kind, tmp_path, scalars(species=np.arange(23)))
    remedy = "Name the column of the labels with --labels, and leave out what the model doesn't take."
    with refused(DataError, "holds 7 columns of numbers, 'f0', ", f"; needed: the 6 features of input 'x'. {remedy}"):
        source_of(two_layers(), path)
    many = save(kind, tmp_path, {f"c{at}": np.arange(3.0) for at in range(40)})
    with refused(DataError, "'c5', … (28 more), 'c34', "):
        source_of(two_layers(), many)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl"])
def test_lists(kind: str, tmp_path: Path) -> None:
    """A column of lists is an input of its name; others are passed over."""
    columns = {"x": X.tolist(), "id": list(range(23)), "note": ["a"] * 23, "y": np.arange(23) % 5}
    source = source_of(two_layers(), save(kind, tmp_path, columns))
    rows, labels = read_all(source, 4)
    np.testing.assert_array_equal(rows["x"], X)
    np.testing.assert_array_equal(labels, np.arange(23) % 5)


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_and_in_shards(kind: str, tmp_path: Path) -> None:
    """Rows are drawn from every kind, and shards hold the rows of the whole."""
    path = save(kind, tmp_path, scalars(y=np.arange(23)))
    order = np.random.default_rng(4).permutation(23)[:9]
    rows, labels = read_all(source_of(two_layers(), path, reading={"shuffle": True, "limit": 9}, seed=4), 4)
    np.testing.assert_array_equal(rows["x"], X[order])
    np.testing.assert_array_equal(labels, order)
    source = source_of(two_layers(), path)
    for shard in reversed(source.shards(6)):
        found = np.concatenate([batch.inputs["x"] for batch in source.read(shard, 4)])
        np.testing.assert_array_equal(found, X[shard.start : shard.stop])


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl"])
@pytest.mark.parametrize("where", ["row", "inside"])
def test_missing_values(kind: str, where: str, tmp_path: Path) -> None:
    """A missing value, also inside a list, is told with its row; it never becomes NaN or 0."""
    rows: list[Any] = X.tolist()
    if where == "row":
        rows[8] = None
    else:
        rows[8][3] = None
    path = save(kind, tmp_path, {"x": rows})
    line = "object 9" if kind == "jsonl" else "row 8"
    with refused(DataError, f"d.{kind}, {line}: no value in column 'x'; needed: items that can be read."):
        read_all(source_of(two_layers(), path), 5)
    found = source_of(two_layers(), path, reading={"max_errors": 1})
    kept = np.concatenate([batch.inputs["x"] for batch in found.batches(5)])
    np.testing.assert_array_equal(kept, np.delete(X, 8, axis=0))


TOKENS = build(
    "e = Gather(table, input_ids)\n m = ReduceMean<axes = [1], keepdims = 0>(e)\n h = Relu(m)\n y = MatMul(h, w2)",
    x="int64[N,T] input_ids, int64[N,T] attention_mask", table=np.eye(20, 8, dtype=np.float32),
)  # fmt: skip


def test_lists_of_different_lengths(tmp_path: Path) -> None:
    """Ragged lists are padded where a column `attention_mask` says what is padding; else they are refused."""
    ids = [[1, 2, 3], [4], [5, 6]]
    path = save("parquet", tmp_path, {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]})
    rows, _ = read_all(source_of(TOKENS, path), 3)
    assert rows["input_ids"].tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    assert rows["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    path = save("parquet", tmp_path, {"x": ids})
    with refused(
        DataError, "column 'x' holds lists of 1 and of 3 numbers; needed: rows of one shape within a batch, or a"
    ):
        read_all(source_of(build("f = Cast<to = 1>(x)\n h = Relu(f)", x="int64[N,T] x", y="float[N,T] h"), path), 3)


def test_several_inputs(tmp_path: Path) -> None:
    """Columns named as the inputs feed them; a missing one is told."""
    proto = build("s = Add(x, b)\n a = MatMul(s, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x="float[N,6] x, float[N,6] b")
    path = save("parquet", tmp_path, {"b": (X * 2).tolist(), "x": X.tolist()})
    rows, _ = read_all(source_of(proto, path), 4)
    np.testing.assert_array_equal(rows["b"], X * 2)
    path = save("parquet", tmp_path, {"x": X.tolist()})
    with refused(
        DataError, "d.parquet holds 'x', and nothing for 'b'; needed: arrays named as the model's inputs: 'x', 'b'"
    ):
        source_of(proto, path)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged(kind: str, tmp_path: Path) -> None:
    """Bytes changed at random give rows or a DataError, never another exception."""
    path = save(kind, tmp_path, scalars(y=np.arange(23)))
    whole, chance = path.read_bytes(), random.Random(0)
    for _ in range(30):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        path.write_bytes(content[: chance.choice([len(content), chance.randrange(len(content))])])
        try:
            for _ in source_of(two_layers(), path, reading={"max_errors": 23}).batches(5):
                pass
        except DataError as error:
            assert str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_no_table(kind: str, tmp_path: Path) -> None:
    """An empty file, another file and a missing one are refused."""
    for content in (b"", b"\x00\x01\x02\x03" * 100):
        (tmp_path / f"d.{kind}").write_bytes(content)
        with refused(DataError, f"d.{kind}"):
            read_all(source_of(two_layers(), tmp_path / f"d.{kind}"), 5)
    with refused(DataError, f"none.{kind}: No such file or directory"):
        source_of(two_layers(), tmp_path / f"none.{kind}")


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_two_columns_of_a_name(kind: str, tmp_path: Path) -> None:
    """Only one of them could be read."""
    table = pa.Table.from_arrays([pa.array(X[:, 0]), pa.array(X[:, 1])], ["x", "x"])
    if kind == "parquet":
        pq.write_table(table, tmp_path / "d.parquet")
    else:
        with pa.ipc.new_file(tmp_path / "d.arrow", table.schema) as file:
            file.write_table(table)
    with refused(DataError, f"d.{kind} has two columns 'x'; needed: a name for each column."):
        source_of(two_layers(), tmp_path / f"d.{kind}")


@pytest.mark.parametrize("value", [1, "text", [1]])
def test_structures_that_are_no_images(value: Any, tmp_path: Path) -> None:
    """A structure is an image where its field `bytes` holds bytes."""
    pq.write_table(pa.table({"x": [{"bytes": value}] * 3}), tmp_path / "d.parquet")
    with refused(DataError, "d.parquet holds no arrays, and nothing for 'x'"):
        source_of(two_layers(), tmp_path / "d.parquet")


def test_tensors_in_another_order(tmp_path: Path) -> None:
    """Tensors that are stored columns first come as their type says, as pyarrow makes arrays of them."""
    kind = pa.fixed_shape_tensor(pa.float32(), (3, 2), permutation=[1, 0])
    stored = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), 6)
    pq.write_table(pa.table({"x": pa.ExtensionArray.from_storage(kind, stored)}), tmp_path / "d.parquet")
    proto = build("h = Relu(x)", x="float[N,2,3] x", y="float[N,2,3] h")
    rows, _ = read_all(source_of(proto, tmp_path / "d.parquet"), 5)
    np.testing.assert_array_equal(rows["x"], X.reshape(-1, 3, 2).transpose(0, 2, 1))


def test_one_long_list_among_short_ones(tmp_path: Path) -> None:
    """Padding that would take far more than the lists is refused before anything is set aside for it."""
    lists = pa.array([[1]] * 99 + [[1] * 2_000_000], pa.list_(pa.int64()))
    pq.write_table(pa.table({"x": lists, "attention_mask": lists}), tmp_path / "d.parquet")
    proto = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="int64[N,L] x", y="float[N,L] h")
    with refused(DataError, "holds a list of 2,000,000 numbers among 100 short ones"):
        read_all(source_of(proto, tmp_path / "d.parquet"), 100)
