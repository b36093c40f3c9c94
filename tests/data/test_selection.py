"""Which rows are read: limits, draws by a seed, balanced classes; shards that give the same rows apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_text import read_all, refused, source_of, two_layers

from onnxrich import Reading
from onnxrich.errors import DataError

X = np.arange(240, dtype=np.float32).reshape(40, 6)
LABELS = np.repeat([0, 1, 2, 7], [20, 10, 6, 4])


def saved(kind: str, folder: Path) -> Any:
    """The rows in some form."""
    if kind == "arrays":
        return {"x": X, "labels": LABELS}
    (np.savez_compressed if kind == "packed" else np.savez)(folder / "d.npz", x=X, labels=LABELS)
    return folder / "d.npz"


def rows(data: Any, seed: int = 0, labels: Any = None, **reading: Any) -> tuple[list[int], list[int]]:
    """Numbers and labels of the rows that are read."""
    arrays, labels = read_all(source_of(two_layers(), data, labels, seed=seed, reading=reading), 7)
    assert labels is not None
    np.testing.assert_array_equal(arrays["x"], X[arrays["x"][:, 0].astype(int) // 6])
    return (arrays["x"][:, 0].astype(int) // 6).tolist(), labels.tolist()


@pytest.mark.parametrize("kind", ["arrays", "npz", "packed"])
def test_limit(kind: str, tmp_path: Path) -> None:
    """The first rows, or all when there are fewer."""
    assert rows(saved(kind, tmp_path), limit=10) == (list(range(10)), [0] * 10)
    assert rows(saved(kind, tmp_path), limit=100)[0] == list(range(40))
    assert source_of(two_layers(), saved(kind, tmp_path), reading={"limit": 10}).n == 10


@pytest.mark.parametrize("kind", ["arrays", "npz", "packed"])
def test_shuffle(kind: str, tmp_path: Path) -> None:
    """Rows are drawn without repetition, by the seed alone; labels stay with their rows."""
    data = saved(kind, tmp_path)
    numbers, labels = rows(data, seed=5, shuffle=True, limit=15)
    assert len(set(numbers)) == 15 and numbers != sorted(numbers)
    assert labels == LABELS[numbers].tolist()
    assert rows(data, seed=5, shuffle=True, limit=15)[0] == numbers
    assert rows(data, seed=6, shuffle=True, limit=15)[0] != numbers
    assert sorted(rows(data, seed=5, shuffle=True)[0]) == list(range(40))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("limit", "per_class"), [(None, 4), (100, 4), (15, 3), (4, 1)])
def test_balanced(shuffle: bool, limit: int | None, per_class: int) -> None:
    """Each class that occurs has the same number of rows: that of the rarest, or as many as the limit allows."""
    numbers, labels = rows({"x": X, "labels": LABELS}, balanced=True, shuffle=shuffle, limit=limit)
    assert np.unique(labels, return_counts=True)[1].tolist() == [per_class] * 4
    assert len(set(numbers)) == 4 * per_class
    assert (numbers == sorted(numbers)) is not (shuffle and per_class > 1)


@pytest.mark.parametrize("shuffle", [False, True])
def test_labels_of_another_file(shuffle: bool, tmp_path: Path) -> None:
    """Labels that are read apart follow the choice of the rows, packed or not."""
    np.savez_compressed(tmp_path / "l.npz", labels=LABELS)
    numbers, labels = rows(X, labels=tmp_path / "l.npz", shuffle=shuffle, limit=30)
    assert labels == LABELS[numbers].tolist()


def test_balanced_without_classes() -> None:
    """Classes that are not there can't be balanced."""
    with refused(
        DataError, "--balanced was passed with no labels; needed: a class for each row. Pass --labels, or leave --bal"
    ):
        source_of(two_layers(), X, reading={"balanced": True})
    with refused(DataError, "--balanced was passed with labels of type float64 and shape (40,)"):
        source_of(two_layers(), X, LABELS.astype(float), reading={"balanced": True})
    with refused(
        DataError,
        "--limit 3 is too small for 4 classes; needed: at least one row of each class. Pass --limit 4 or more.",
    ):
        source_of(two_layers(), X, LABELS, reading={"balanced": True, "limit": 3})


def test_streams() -> None:
    """A stream is cut off at the limit, before the next item is taken; rows can't be drawn from it."""

    def items() -> Iterator[dict[str, np.ndarray]]:
        for start in (0, 6, 12):
            yield {"x": X[start : start + 6], "labels": LABELS[start : start + 6]}
        raise AssertionError("nothing asks for more")

    assert rows(items(), limit=18)[0] == list(range(18))
    for option in ("shuffle", "balanced"):
        with refused(
            DataError,
            f"an iterable can't be read with --{option}; needed: data that can be read from any row, such as a "
            f"file or an array. "
            "Draw the rows where the iterable is made, or save them to a file.",
        ):
            source_of(two_layers(), items(), reading={option: True})
    with refused(
        DataError,
        "an iterable can't be read with --text; needed: data with a column of texts",
        "Turn the texts into the",
    ):
        source_of(two_layers(), items(), reading={"text": "x", "tokenizer": "tokenizer.json"})


@pytest.mark.parametrize("reading", [{}, {"shuffle": True, "limit": 33}, {"balanced": True}])
@pytest.mark.parametrize("kind", ["arrays", "npz", "packed"])
@pytest.mark.parametrize("size", [1, 9, 40, 50])
def test_shards(size: int, kind: str, reading: Any, tmp_path: Path) -> None:
    """Shards read apart, in any order, hold together each row once, in the order of the whole."""
    source = source_of(two_layers(), saved(kind, tmp_path), reading=reading)
    whole, labels = read_all(source, 7)
    parts = {shard: list(source.read(shard, 4)) for shard in reversed(source.shards(size))}
    batches = [batch for shard in source.shards(size) for batch in parts[shard]]
    np.testing.assert_array_equal(np.concatenate([batch.inputs["x"] for batch in batches]), whole["x"])
    np.testing.assert_array_equal(
        np.concatenate([batch.labels for batch in batches if batch.labels is not None]), labels
    )


def test_streams_have_no_shards() -> None:
    """What has no length can't be cut in parts that are read apart."""
    with refused(DataError, "iterable is a stream of unknown length; needed: data that can be read from any row."):
        source_of(two_layers(), iter([X])).shards(10)


@pytest.mark.parametrize(
    ("labels", "reading", "is_warned"),
    [
        (LABELS, {}, True), (LABELS, {"shuffle": True}, False), (LABELS[::-1], {}, True),
        (np.arange(40) % 4, {}, False),
        (np.zeros(40, int), {}, False), (np.arange(40), {}, False),
    ],
)  # fmt: skip
def test_sorted_by_class(labels: np.ndarray, reading: Any, is_warned: bool) -> None:
    """Rows that are read class by class are told: blocks of them are not alike."""
    source = source_of(two_layers(), X, labels, reading=reading)
    read_all(source, 5)
    assert [notice.code for notice in source.skipped.notices()] == ["sorted_by_class"] * is_warned


@pytest.mark.parametrize(
    ("reading", "message"),
    [
        ({"limit": 0}, "limit 0; needed: a whole number from 1. Pass --limit N with N ≥ 1."),
        ({"max_errors": -1}, "max_errors -1; needed: a whole number from 0. Pass --max-errors N with N ≥ 0."),
        (
            {"text": "t"},
            "text is 't', and tokenizer None; needed: both, or none of them. Pass --text COLUMN and --tokeniz",
        ),
        ({"rows": 3}, "reading holds 'rows'; needed: some of limit, shuffle, balanced, max_errors, text, tokenizer."),
        (7, "reading holds 7; needed: some of limit"),
    ],
)
def test_readings_that_are_none(reading: Any, message: str) -> None:
    """What makes no sense is refused with what it may be."""
    with refused(DataError, message):
        Reading.of(reading)
