"""Tables: which columns become which inputs, what is told of bad values, and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from zoo_text import blocks_of, build, read_all, refused, source_of, table_of, two_layers

from onnxrich.data.formats import parquet
from onnxrich.errors import DataError

X = np.random.default_rng(0).standard_normal((23, 6)).astype(np.float32)
NAMES = [f"f{at}" for at in range(6)]
WORDS = ["cat", "dog", "ant"]


def save(kind: str, folder: Path, columns: dict[str, Any]) -> Path:
    """Columns in a file of some kind."""
    path, table = folder / f"d.{kind}", pa.table(columns)
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=5)
    elif kind == "arrow":
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, 4)
    elif kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        rows = [list(columns), *zip(*(column.to_pylist() for column in table.columns), strict=True)]
        path.write_text("\n".join(mark.join("" if value is None else str(value) for value in row) for row in rows))
    else:
        rows = table.to_pylist()
        path.write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)))
    return path


KINDS = ["parquet", "arrow", "csv", "tsv", "json", "jsonl"]


def scalars(**others: Any) -> dict[str, Any]:
    """The features as columns of one number each."""
    return {name: X[:, at].astype(np.float64) for at, name in enumerate(NAMES)} | others


def test_columns_that_are_used_for_nothing(tmp_path: Path) -> None:
    """They are named, three at most, with what to do where there are no labels; names must not steer a terminal."""
    words = [WORDS[at % 3] for at in range(23)]

    def told(labels: str | None = None, **others: Any) -> list[str]:
        source = source_of(two_layers(), save("csv", tmp_path, scalars(**others)), labels)
        notices = source.skipped.notices()
        assert {notice.code for notice in notices} <= {"unused_columns"}
        return [notice.message for notice in notices]

    hint = " If one of them holds the labels, pass --labels NAME."
    assert told(species=words) == [f"Left out of d.csv: 'species', neither inputs nor labels of the model.{hint}"]
    assert told("species", species=words) == []
    assert told(label=words) == []
    four = {"a\x1b[2J": words, "when": words, "where": words, "who": words}
    assert told(label=words, **four) == [
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


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value in column 'f2'"), ("x", "'x' in column 'f2', which is no number"),
        ("1,5", "'1,5' in column 'f2', which is no number"), ("1 2", "'1 2' in column 'f2', which is no number"),
    ],
)  # fmt: skip
def test_bad_numbers_in_text(value: Any, reason: str, tmp_path: Path) -> None:
    """A value that is no number stops the run with its line, or is left out and counted: it never becomes NaN."""
    columns = scalars(y=np.arange(23))
    texts: list[Any] = [str(number) for number in columns["f2"]]
    texts[17] = value
    path = save("tsv", tmp_path, columns | {"f2": pa.array(texts, pa.string())})
    with refused(DataError, f"d.tsv, line 19: {reason}; needed: items that can be read."):
        read_all(source_of(two_layers(), path), 5)
    source = source_of(two_layers(), path, reading={"max_errors": 1})
    batches = list(source.batches(5))
    np.testing.assert_array_equal(np.concatenate([batch.inputs["x"] for batch in batches]), np.delete(X, 17, axis=0))
    assert np.concatenate([batch.labels for batch in batches if batch.labels is not None]).tolist() == [
        *range(17), *range(18, 23)
    ]  # fmt: skip
    (notice,) = source.skipped.notices()
    assert notice.message == "1 items could not be read and were left out: d.tsv, line 19."


@pytest.mark.parametrize("text", ["1", "-2", "+3", " 4 ", "5.5", "-.5", "6e3", "7.", "nan", "-Infinity", "1E-3"])
def test_numbers_in_text(text: str, tmp_path: Path) -> None:
    """Whatever is a number is read as one, also beside others that are none."""
    (tmp_path / "d.csv").write_text(f"a,b\n0.5,1\n{text},2\nbad,3\n")
    table = table_of(tmp_path / "d.csv", max_errors=1)
    (block,) = table.read(["a"], range(3), 10)
    np.testing.assert_array_equal(block.arrays["a"], [0.5, float(text)])
    assert block.readable is not None and block.readable.tolist() == [True, True, False]


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


def test_columns_of_one_name(tmp_path: Path) -> None:
    """Two columns of a name are refused."""
    (tmp_path / "d.csv").write_text("a,b,a\n1,2,3\n")
    with refused(DataError, "d.csv has two columns 'a'; needed: a name for each column. Rename one of them."):
        table_of(tmp_path / "d.csv")


@pytest.mark.parametrize("first", ["0,1,2", "1,2,3", ",0,1,2", "0", "1"])
def test_numbers_of_columns_are_names(first: str, tmp_path: Path) -> None:
    """Many programs name columns by their numbers; an index before them has no name."""
    count = len(first.split(","))
    (tmp_path / "d.csv").write_text(f"{first}\n{','.join('7' * count)}\n")
    assert list(table_of(tmp_path / "d.csv").fields) == first.split(",")


@pytest.mark.parametrize(
    "first",
    [
        "5.1,3.5,1", "2,1,0", " 1 ,-2e-3,1", "1,,1", "nan,1,inf", "1,2,4,8,16", "0.1,0.2,0.4,0.7,0.9", "2,4,6,8",
        "9.1,7.5,4.2,2.1,0.3", "7", "1,2,inf,inf,inf", "1,1,1,1,1", "0.1,0.2,0.3,0.4,0.5", "2024,2023,2022,2021,2020",
        "1100.5,1102.5,1104.5,1106.5,1108.5", "0,1,2,4", "0.0,1.0,2.0",
    ],
)  # fmt: skip
def test_rows_without_names(first: str, tmp_path: Path) -> None:
    """A first line of numbers alone is a row, which must not be lost."""
    path = tmp_path / "d.csv"
    path.write_text(f"{first}\n{','.join('7' * len(first.split(',')))}\n")
    shown = ", ".join(first.split(",")[:3]) + (", …" if first.count(",") > 2 else "")
    with refused(
        DataError,
        f"d.csv: the first line holds numbers alone ({shown}), and would be lost as names; needed: a first line with "
        "the names of the columns. Write one before the rows, such as f1,f2,label.",
    ):
        table_of(path)


@pytest.mark.parametrize(
    "first",
    [
        "country,1990,1991,1992", ",0,1,2,label", "label,1,2,5", "a,b,1.5", "1,,label", "0,1,2,name",
        "1100.5,1102.5,1104.5,label", "country,1992,1991,1990", "0.25,0.5,0.75,y", "0.05,0.25,0.5,0.75,0.95,label",
        "339.78,340.18,340.59,340.99,341.4,y", "9,7,2,setosa", " 2 ,\t1,a", "nan,1,a",
    ],
)  # fmt: skip
def test_names_with_numbers(first: str, tmp_path: Path) -> None:
    """A single word makes the first line one of names: years and wavelengths stand beside the name of a label."""
    count = len(first.split(","))
    (tmp_path / "d.csv").write_text(f"{first}\n{','.join('7' * count)}\n")
    assert list(table_of(tmp_path / "d.csv").fields) == first.split(",")


def test_lines_of_different_length(tmp_path: Path) -> None:
    """A line with another number of values is refused with its place."""
    (tmp_path / "d.csv").write_text("a,b\n1,2\n3\n")
    with refused(DataError, "d.csv is damaged or no CSV file (CSV parse error: Expected 2 columns, got 1: 3)"):
        table_of(tmp_path / "d.csv")


def test_a_parquet_that_expands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of some kilobytes that stands for many rows is read in blocks, and refused where it must be unpacked."""
    monkeypatch.setattr(parquet, "MAX_LOADED_BYTES", 2**22)
    pq.write_table(pa.table({"x": np.zeros(2**20)}), tmp_path / "d.parquet", compression="zstd")
    assert (tmp_path / "d.parquet").stat().st_size < 2**13
    model = build(
        "a = MatMul(x, w)\n h = Relu(a)\n y = MatMul(h, v)", x="double[N,1] x", y="double[N,2] y",
        w=np.ones((1, 3)), v=np.ones((3, 2)),
    )  # fmt: skip
    table = table_of(tmp_path / "d.parquet")
    assert table.fields["x"].shape == (2**20,)
    assert len(next(blocks_of(table, "x", 512))) == 512
    with refused(
        DataError, "d.parquet unpacks to more than 4,194,304 bytes; needed: less, to draw rows from at random."
    ):
        next(source_of(model, tmp_path / "d.parquet", reading={"shuffle": True}).batches(5))


def test_parquets_with_other_columns(tmp_path: Path) -> None:
    """A folder of files that don't belong together is refused."""
    for name, column in (("a", "x"), ("b", "z")):
        pq.write_table(pa.table({column: X.tolist()}), tmp_path / f"{name}.parquet")
    with refused(DataError, "b.parquet has other columns than a.parquet; needed: the same columns. Pass one file."):
        source_of(two_layers(), tmp_path)


def test_paths_in_a_table_are_not_followed(tmp_path: Path) -> None:
    """An image that is a path alone is no image: nothing is read because a file names it."""
    (tmp_path / "secret.png").write_bytes(b"secret")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": str(tmp_path / "secret.png")}], kind)
    pq.write_table(pa.table({"image": rows}), tmp_path / "d.parquet")
    model = build("h = Relu(x)", x="float[N,1,H,W] x", y="float[N,1,H,W] h")
    with refused(DataError, "d.parquet, row 0: no image"):
        read_all(source_of(model, tmp_path / "d.parquet", preprocessing={"scale": 1.0}), 1)


def test_json_that_is_no_table(tmp_path: Path) -> None:
    """An array of numbers is no table."""
    (tmp_path / "d.json").write_text("[1, 2, 3]")
    with refused(DataError, "d.json is damaged or no JSON file (an array of something else than objects); needed"):
        source_of(two_layers(), tmp_path / "d.json")


def test_json_keys_of_later_objects(tmp_path: Path) -> None:
    """A key that the first object lacks is a column, and the first row lacks a value there."""
    rows = [{"x": X[row].tolist()} | ({"label": row} if row else {}) for row in range(3)]
    (tmp_path / "d.json").write_text(json.dumps(rows))
    with refused(DataError, "d.json, object 1: no value in column 'label'"):
        read_all(source_of(build("h = Cast<to = 1>(x)", x="double[N,6] x", y="float[N,6] h"), tmp_path / "d.json"), 4)
