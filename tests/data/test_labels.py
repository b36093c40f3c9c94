"""Labels: where they are looked for, what they may be, and that they stay with their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_text import build, read_all, refused, source_of, two_layers

from onnxrich.errors import DataError

ROWS = 11
X = np.random.default_rng(0).standard_normal((ROWS, 6)).astype(np.float32)
LABELS = np.arange(ROWS) % 4


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


@pytest.mark.parametrize("key", ["labels", "y"])
@pytest.mark.parametrize("kind", ["npz", "mapping", "iterable"])
def test_usual_keys(key: str, kind: str, tmp_path: Path) -> None:
    """Labels under `labels` or `y` are taken by themselves."""
    arrays = {"x": X, key: LABELS}
    data: Any = {"npz": saved(tmp_path, **arrays), "mapping": arrays, "iterable": [arrays]}[kind]
    np.testing.assert_array_equal(read_all(source_of(two_layers(), data), 4)[1], LABELS)


@pytest.mark.parametrize("kind", ["npz", "mapping", "iterable"])
def test_labels_come_before_y(kind: str, tmp_path: Path) -> None:
    """Where both usual keys are there, `labels` are the labels."""
    arrays = {"y": LABELS + 1, "x": X, "labels": LABELS}
    data: Any = {"npz": saved(tmp_path, **arrays), "mapping": arrays, "iterable": [arrays]}[kind]
    np.testing.assert_array_equal(read_all(source_of(two_layers(), data), 4)[1], LABELS)


@pytest.mark.parametrize("kind", ["npz", "mapping", "iterable"])
def test_asked_for_key(kind: str, tmp_path: Path) -> None:
    """A key that is asked for goes before the usual ones."""
    arrays = {"x": X, "labels": LABELS + 1, "digit": LABELS}
    data: Any = {"npz": saved(tmp_path, **arrays), "mapping": arrays, "iterable": [arrays]}[kind]
    np.testing.assert_array_equal(read_all(source_of(two_layers(), data, "digit"), 4)[1], LABELS)


def input_named_labels() -> Any:
    body = "a = MatMul(labels, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    return build(body, x="float[N,6] labels")


@pytest.mark.parametrize("iterable", [False, True])
def test_an_input_is_no_label(iterable: bool) -> None:
    """An array that is an input of the model is not taken for labels unasked."""
    data: Any = {"labels": X}
    rows, labels = read_all(source_of(input_named_labels(), [data] if iterable else data), 4)
    assert labels is None
    np.testing.assert_array_equal(rows["labels"], X)


def test_labels_beside_an_input_of_that_name() -> None:
    """Where one usual key is an input, the other one is looked for."""
    rows, labels = read_all(source_of(input_named_labels(), {"labels": X, "y": LABELS}), 4)
    np.testing.assert_array_equal(rows["labels"], X)
    np.testing.assert_array_equal(labels, LABELS)


def test_an_input_as_targets() -> None:
    """An input can be named as the targets too, as for an autoencoder."""
    rows, labels = read_all(source_of(two_layers(), {"x": X}, "x"), 4)
    np.testing.assert_array_equal(labels, X)
    np.testing.assert_array_equal(rows["x"], X)


def test_one_array_named_labels_is_the_input() -> None:
    """A single array is the data, whatever its name."""
    rows, labels = read_all(source_of(two_layers(), {"y": X}), 4)
    np.testing.assert_array_equal(rows["x"], X)
    assert labels is None


@pytest.mark.parametrize("files", [("l.npy", None), ("l.npz", "anything"), ("l.npz", "labels"), ("l.npz", "y")])
@pytest.mark.parametrize("as_path", [False, True])
def test_file(files: tuple[str, str | None], as_path: bool, tmp_path: Path) -> None:
    """Labels come from a file of their own: its only array, or the one under a usual key."""
    name, key = files
    path = tmp_path / name
    if key is None:
        np.save(path, LABELS)
    else:
        np.savez(path, **({key: LABELS} if key == "anything" else {key: LABELS, "other": X}))
    source = source_of(two_layers(), X, path if as_path else str(path))
    np.testing.assert_array_equal(read_all(source, 4)[1], LABELS)


def test_file_with_the_name_of_the_data(tmp_path: Path) -> None:
    """Labels in a file whose name is that of the data are counted for themselves: too few are an error."""
    for folder, array in (("a", X), ("b", LABELS), ("c", LABELS[:-1])):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", array)
    source = source_of(two_layers(), tmp_path / "a/x.npy", tmp_path / "b/x.npy")
    np.testing.assert_array_equal(read_all(source, 4)[1], LABELS)
    with refused(
        DataError,
        "x.npy holds different numbers of rows: 11 of 'x', 10 of 'x'; needed: the same number of rows in each.",
    ):
        source_of(two_layers(), tmp_path / "a/x.npy", tmp_path / "c/x.npy")


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (LABELS, 4), (LABELS.astype(np.uint8), 4), (LABELS.astype(">i2"), 4), (LABELS > 1, 2), (LABELS * 0, 1),
        (LABELS.astype(np.float32), None), (np.eye(4)[LABELS], None), (np.eye(4, dtype=">f8")[LABELS], None),
    ],
    ids=["int", "uint8", "big-endian", "bool", "one-class", "float", "table", "table-big-endian"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["npz", "mapping", "array"])
def test_kinds(labels: np.ndarray, classes: int | None, kind: str, tmp_path: Path) -> None:
    """Integers are classes, counted ahead; floats of one or two axes are real targets."""
    arrays = {"x": X, "labels": labels}
    data: Any = {"npz": saved(tmp_path, **arrays), "mapping": arrays, "array": X}[kind]
    source = source_of(two_layers(), data, labels if kind == "array" else None)
    assert source.classes == classes
    np.testing.assert_array_equal(read_all(source, 4)[1], labels)


@pytest.mark.parametrize(
    "labels", [np.array([b"a"] * ROWS), np.zeros(ROWS, complex), np.zeros((ROWS, 2, 2)), np.array(3),
               np.array([None] * ROWS), np.zeros(ROWS, "M8[s]")],
    ids=["bytes", "complex", "cube", "scalar", "object", "date"],
)  # fmt: skip
@pytest.mark.parametrize("iterable", [False, True])
def test_no_labels(labels: np.ndarray, iterable: bool) -> None:
    """What is neither classes nor real targets is refused with its type and shape."""
    message = f"labels 'labels' have type {labels.dtype} and shape {labels.shape}; needed: integer classes of shape"
    data: Any = {"x": X, "labels": labels}
    with refused(DataError, message, "Encode the labels as integers from 0."):
        read_all(source_of(two_layers(), [data] if iterable else data), 4)


def test_ragged_labels() -> None:
    """Lists of different lengths are no labels."""
    with refused(DataError, "'labels' of type list can't be converted: setting an array element with a sequence"):
        source_of(two_layers(), X, [[1], [2, 3]])


@pytest.mark.parametrize("count", [ROWS - 1, ROWS + 1, 0])
def test_wrong_number(count: int) -> None:
    """Fewer or more labels than rows are an error with both numbers."""
    with refused(
        DataError,
        f"array holds different numbers of rows: 11 of 'array', {count} of 'labels'; needed: the same number of "
        f"rows in each. "
        "Save arrays of the same samples.",
    ):
        source_of(two_layers(), X, np.zeros(count, int))


@pytest.mark.parametrize("data", [{"x": X, "z": LABELS}, [{"x": X, "z": LABELS}]], ids=["mapping", "iterable"])
def test_unknown_key(data: Any) -> None:
    """A key that is not there is an error that says what is."""
    text = "arrays has no field 'digits'; it holds 'x', 'z'; needed: the key of the labels, or a data file."
    if isinstance(data, list):
        text = "the iterable yields an item with 'x', 'z'; needed: 'digits'. Yield dicts from input name to array."
    with refused(DataError, text):
        read_all(source_of(two_layers(), data, "digits"), 4)


def test_file_with_several_arrays(tmp_path: Path) -> None:
    """A file of labels with several arrays and no usual key is an error, not a guess."""
    np.savez(tmp_path / "l.npz", a=LABELS, b=LABELS)
    with refused(DataError, "l.npz holds several arrays; needed: one of labels. Name it `labels`, or save it alone."):
        source_of(two_layers(), X, tmp_path / "l.npz")


def test_missing_file(tmp_path: Path) -> None:
    """A file of labels that is not there is an error with its path."""
    with refused(DataError, "none.npy: No such file or directory; needed: a readable .npy file. Check the path."):
        source_of(two_layers(), X, tmp_path / "none.npy")


def test_without_data() -> None:
    """Labels without the data that they belong to are refused: made-up rows have none."""
    with refused(
        DataError, "labels were passed without data; needed: the data that they belong to. Pass --data FILE as well."
    ):
        source_of(two_layers(), None, LABELS)


def test_apart_from_an_iterable() -> None:
    """An iterable carries its labels inside its items."""
    with refused(
        DataError, "labels were passed beside an iterable; needed: labels inside its items. Yield them under a key."
    ):
        source_of(two_layers(), [{"x": X}], LABELS)


def joined(source: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and labels of batches of any size, each with as many labels as rows."""
    batches = list(source.batches(size))
    assert all(len(batch.labels) == len(batch.inputs["x"]) == batch.rows for batch in batches)
    return tuple(np.concatenate(parts) for parts in zip(*((b.inputs["x"], b.labels) for b in batches), strict=True))


def test_rows_that_labels_lack(tmp_path: Path) -> None:
    """A label that can't be read takes its row with it, and no row gets the label of another."""
    lines = ["" if row in (2, 9) else str(label) for row, label in enumerate(LABELS)]
    (tmp_path / "marks.csv").write_text("labels,other\n" + "".join(f"{line},1\n" for line in lines))
    source = source_of(two_layers(), saved(tmp_path, x=X), str(tmp_path / "marks.csv"), reading={"max_errors": 2})
    whole = [row for row in range(ROWS) if row not in (2, 9)]
    for size in (1, 4, ROWS):
        rows, labels = joined(source, size)
        np.testing.assert_array_equal(rows, X[whole])
        np.testing.assert_array_equal(labels, LABELS[whole])
    assert [name for name, _ in source.skipped.items] == ["marks.csv, line 4", "marks.csv, line 11"]


def test_rows_that_data_and_labels_lack(tmp_path: Path) -> None:
    """Rows that the data lack, and others that the labels lack, leave those that both have."""
    header, table = "a,b,c,d,e,f\n", np.arange(ROWS * 6, dtype=np.float64).reshape(ROWS, 6) + 0.5
    lines = [",".join(map(str, row)) for row in table]
    lines[1], texts = lines[1].replace("6.5", "none"), [str(label) for label in LABELS]
    texts[2] = ""
    (tmp_path / "x.csv").write_text(header + "\n".join(lines) + "\n")
    (tmp_path / "marks.csv").write_text("labels,other\n" + "".join(f"{mark},1\n" for mark in texts))
    model = build("h = Cast<to = 1>(x)", x="double[N,6] x", y="float[N,6] h")
    data, labels_file = tmp_path / "x.csv", str(tmp_path / "marks.csv")
    rows, labels = joined(source_of(model, data, labels_file, reading={"max_errors": 2}), 4)
    whole = [0, *range(3, ROWS)]
    np.testing.assert_array_equal(rows, table[whole])
    np.testing.assert_array_equal(labels, LABELS[whole])


def test_a_text_without_a_word(tmp_path: Path) -> None:
    """An empty cell is no class: it would be the first in the alphabet, and move all others."""
    words = ["cat", "", *["dog"] * (ROWS - 2)]
    (tmp_path / "marks.csv").write_text("labels,other\n" + "".join(f"{word},1\n" for word in words))
    with refused(
        DataError, "'labels' holds no label in row 1; needed: a label in each row. Fill in or remove the row."
    ):
        source_of(two_layers(), saved(tmp_path, x=X), str(tmp_path / "marks.csv"))


@pytest.mark.parametrize("kind", ["array", "list", "npy", "npz", "swapped"])
def test_words(kind: str, tmp_path: Path) -> None:
    """Words are classes in the order of the alphabet, in whatever form they come."""
    words = np.array(["dog", "cat", "ant"])[LABELS % 3]
    labels: Any = {"array": words, "list": words.tolist(), "swapped": words.astype(words.dtype.newbyteorder())}.get(
        kind
    )
    data: Any = X
    if kind == "npy":
        np.save(tmp_path / "words.npy", words)
        labels = tmp_path / "words.npy"
    elif kind == "npz":
        np.savez(tmp_path / "d.npz", x=X, labels=words)
        data = tmp_path / "d.npz"
    source = source_of(two_layers(), data, labels)
    np.testing.assert_array_equal(joined(source, 4)[1], 2 - LABELS % 3)
    assert source.class_names == ("ant", "cat", "dog")


@pytest.mark.parametrize("kind", ["array", "list", "npz"])
def test_words_with_an_axis_of_their_own(kind: str, tmp_path: Path) -> None:
    """Words of shape (rows, 1) are classes, as integers of that shape are; those of more columns are refused."""
    words = np.array(["dog", "cat", "ant"])[LABELS % 3][:, None]
    np.savez(tmp_path / "d.npz", x=X, labels=words)
    data, labels = (tmp_path / "d.npz", None) if kind == "npz" else (X, words.tolist() if kind == "list" else words)
    source = source_of(two_layers(), data, labels)
    np.testing.assert_array_equal(joined(source, 4)[1], 2 - LABELS % 3)
    assert source.class_names == ("ant", "cat", "dog")
    with refused(DataError, "labels 'labels' have type <U3 and shape (11, 2); needed: integer classes"):
        source_of(two_layers(), X, np.hstack([words, words]))


@pytest.mark.parametrize("labels", [np.array(["cat"] * ROWS), np.array(["cat"] * ROWS, object), ["cat"] * ROWS])
def test_words_in_an_iterable(labels: Any) -> None:
    """The number of a word follows from all words, which a stream doesn't know."""
    with refused(
        DataError,
        "the iterable yields words as labels, such as 'cat'; needed: the number of each class, in the order of "
        "the model's "
        "outputs. Yield NAMES.index(word), or pass the data as one mapping or file, where words are numbered.",
    ):
        read_all(source_of(two_layers(), [{"x": X, "labels": labels}]), 4)


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
def test_words_of_no_characters(code: int, tmp_path: Path) -> None:
    """Numbers that are no characters are refused, wherever they stand."""
    codes = np.full(ROWS, ord("a"), np.uint32)
    codes[-1] = code
    np.save(tmp_path / "words.npy", codes.view("<U1"))
    with refused(DataError, "'words' contains invalid Unicode; needed: text. Save the labels again."):
        source_of(two_layers(), X, tmp_path / "words.npy")


def test_labels_without_columns(tmp_path: Path) -> None:
    """Labels of shape (rows, 0) say nothing about the rows."""
    path = saved(tmp_path, x=X, y=np.zeros((ROWS, 0), np.int64))
    with refused(DataError, f"labels 'y' have type int64 and shape ({ROWS}, 0)"):
        source_of(two_layers(), path)
