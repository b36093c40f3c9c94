"""Whatever rows come from, they come whole, in their order, and cut to the size that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from zoo_text import build, read_all, refused, source_of, two_layers

from onnxrich.errors import DataError

ROWS = 23
X = np.random.default_rng(0).standard_normal((ROWS, 6)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, ROWS)
SIZES = [1, 4, 7, ROWS - 1, ROWS, ROWS + 1, 1000]


def npz(folder: Path) -> Path:
    np.savez(folder / "data.npz", labels=LABELS, x=X)
    return folder / "data.npz"


def npz_compressed(folder: Path) -> Path:
    np.savez_compressed(folder / "data.NPZ", x=X, labels=LABELS)
    (folder / "data.NPZ.npz").rename(folder / "data.NPZ")
    return folder / "data.NPZ"


def npz_by_columns(folder: Path) -> str:
    np.savez(folder / "data.npz", x=np.asfortranarray(X), labels=LABELS)
    return str(folder / "data.npz")


def npz_nameless(folder: Path) -> Path:
    np.savez(folder / "data.npz", X, labels=LABELS)
    return folder / "data.npz"


def npz_big_endian(folder: Path) -> Path:
    np.savez(folder / "data.npz", x=X.astype(">f4"), labels=LABELS.astype(">i8"))
    return folder / "data.npz"


def mapping(_: Path) -> dict[str, Any]:
    return {"x": X, "labels": LABELS}


def mapping_of_lists(_: Path) -> dict[str, Any]:
    return {"x": X.tolist(), "labels": LABELS.tolist()}


def mapping_of_views(_: Path) -> dict[str, Any]:
    return {"x": np.repeat(X, 2, axis=0)[::2], "labels": LABELS[::-1][::-1]}


def one_array(_: Path) -> np.ndarray:
    return X


def npy(folder: Path) -> Path:
    np.save(folder / "data.npy", X)
    return folder / "data.npy"


def npy_by_columns(folder: Path) -> Path:
    np.save(folder / "data.npy", np.asfortranarray(X))
    return folder / "data.npy"


def npy_big_endian(folder: Path) -> Path:
    np.save(folder / "data.npy", X.astype(">f4"))
    return folder / "data.npy"


def in_items(cuts: list[int]) -> Callable[[Path], Any]:
    def items(_: Path) -> Any:
        return ({"x": X[a:b], "labels": LABELS[a:b]} for a, b in zip([0, *cuts], [*cuts, ROWS], strict=True))

    items.__name__ = f"items_cut_at_{'_'.join(map(str, cuts))}"
    return items


def bare_items(_: Path) -> list[np.ndarray]:
    return [X[:5], X[5:20], X[20:]]


WITH_LABELS = [
    npz, npz_compressed, npz_by_columns, npz_nameless, npz_big_endian, mapping, mapping_of_lists, mapping_of_views,
    in_items([]), in_items([1, 2, 3, 4]), in_items([5, 5, 17]), in_items([0, 22]), in_items(list(range(1, ROWS))),
]  # fmt: skip
WITHOUT = [one_array, npy, npy_by_columns, npy_big_endian, bare_items]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [*WITH_LABELS, *WITHOUT], ids=lambda make: make.__name__)
def test_rows_are_the_same(make: Callable[[Path], Any], size: int, tmp_path: Path) -> None:
    """Every kind of source gives the same rows and labels in the same order, in batches of the size asked for."""
    labels = None if make in WITH_LABELS else LABELS
    if make is bare_items:
        rows, marks = read_all(source_of(two_layers(), make(tmp_path)), size)
        assert marks is None
    else:
        rows, marks = read_all(source_of(two_layers(), make(tmp_path), labels), size)
        assert marks is not None
        np.testing.assert_array_equal(marks, LABELS)
    np.testing.assert_array_equal(rows["x"], X)
    assert rows["x"].dtype == np.dtype("=f4")


@pytest.mark.parametrize("make", [*WITH_LABELS, *WITHOUT], ids=lambda make: make.__name__)
def test_arrays_are_as_the_runtime_reads_them(make: Callable[[Path], Any], tmp_path: Path) -> None:
    """Every batch is in native byte order and C order, in the model's type."""
    for batch in source_of(two_layers(), make(tmp_path)).batches(7):
        assert batch.inputs["x"].dtype.isnative
        assert batch.inputs["x"].flags.c_contiguous
        assert batch.inputs["x"].dtype == np.float32


@pytest.mark.parametrize("make", [npz, npy, mapping, one_array], ids=lambda make: make.__name__)
def test_sources_begin_anew(make: Callable[[Path], Any], tmp_path: Path) -> None:
    """Where the number of rows is known, each call of `batches` begins at the first row."""
    source = source_of(two_layers(), make(tmp_path))
    assert source.n == ROWS
    next(source.batches(4))
    np.testing.assert_array_equal(read_all(source, 5)[0]["x"], read_all(source, 9)[0]["x"])


@pytest.mark.parametrize(
    ("make", "name"), [(npz, "data.npz"), (npy, "data.npy"), (mapping, "arrays"), (one_array, "array"),
                       (bare_items, "iterable")]
)  # fmt: skip
def test_source_names_itself(make: Callable[[Path], Any], name: str, tmp_path: Path) -> None:
    """A source is named as a person would name it: the file without its folder, or the kind of object."""
    source = source_of(two_layers(), make(tmp_path))
    assert source.name == name
    assert not source.synthetic


TWO_INPUTS = build(
    "c = MatMul(b, wb)\n d = MatMul(x, w1)\n e = Add(c, d)\n h = Relu(e)\n y = MatMul(h, w2)",
    x="float[N,6] x, float[N,4] b",
    wb=np.ones((4, 8), np.float32),
)
B = np.arange(4 * ROWS, dtype=np.float32).reshape(ROWS, 4)


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("kind", ["npz", "mapping", "iterable"])
def test_several_inputs(kind: str, size: int, tmp_path: Path) -> None:
    """Several inputs are matched by name and stay row by row together; arrays that are no input are left aside."""
    arrays = {"unused": np.zeros(3), "b": B, "x": X}
    np.savez(tmp_path / "data.npz", **arrays)
    items = [{name: array[a : a + 5] for name, array in arrays.items()} for a in range(0, ROWS, 5)]
    data: Any = {"npz": tmp_path / "data.npz", "mapping": arrays, "iterable": items}[kind]
    rows, labels = read_all(source_of(TWO_INPUTS, data), size)
    np.testing.assert_array_equal(rows["x"], X)
    np.testing.assert_array_equal(rows["b"], B)
    assert rows.keys() == {"x", "b"}
    assert labels is None


def scalar_model() -> onnx.ModelProto:
    body = "b = Mul(x, t)\n a = MatMul(b, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    return build(body, x="float[N,6] x, float t")


def fixed_model() -> onnx.ModelProto:
    body = "b = MatMul(x, t)\n a = MatMul(b, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    return build(body, x="float[N,6] x, float[6,6] t")


@pytest.mark.parametrize("value", [np.float64(2.5), np.eye(6)], ids=["scalar", "fixed"])
@pytest.mark.parametrize("kind", ["npz", "mapping", "iterable"])
def test_inputs_without_rows(kind: str, value: Any, tmp_path: Path) -> None:
    """A scalar, or an array of the input's fixed shape beside batched inputs, is the same in every batch."""
    proto = fixed_model() if value.ndim else scalar_model()
    np.savez(tmp_path / "data.npz", x=X, t=value)
    items = [{"x": X[:9], "t": value}, {"x": X[9:], "t": value}]
    data: Any = {"npz": tmp_path / "data.npz", "mapping": {"x": X, "t": value}, "iterable": items}[kind]
    seen = 0
    for batch in source_of(proto, data).batches(4):
        np.testing.assert_array_equal(batch.inputs["t"], value)
        assert batch.inputs["t"].shape == value.shape
        assert batch.inputs["t"].dtype == np.float32
        np.testing.assert_array_equal(batch.inputs["x"], X[seen : seen + batch.rows])
        seen += batch.rows
    assert seen == ROWS


def test_only_scalars() -> None:
    """Data in which nothing has rows are refused."""
    with refused(DataError, "arrays holds no array with rows; needed: the same number of rows in each."):
        source_of(scalar_model(), {"x": np.float32(1), "t": np.float32(1)})


def test_object_that_is_no_data() -> None:
    """What is neither path, array, mapping nor iterable is refused by its type."""
    with refused(
        DataError, "the data are of type int; needed: a path, an array, a mapping or an iterable. Pass one of these."
    ):
        source_of(two_layers(), 5)
