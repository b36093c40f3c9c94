"""What every source gives: batches of arrays, named as the model's inputs, with their labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import DataError
from onnxrich.model import Input
from onnxrich.targets import class_column

AnyArray = NDArray[Any]

# Rows that are read at once when a source is only scanned.
SCAN = 65_536


@dataclass(frozen=True, eq=False)
class Batch:
    """Some consecutive rows.

    Attributes:
        inputs: arrays by input name, in the model's dtypes, C order and native byte order.
        labels: array of shape (rows,) or (rows, K), None without labels.
        rows: number of rows.
    """

    inputs: Mapping[str, AnyArray]
    labels: AnyArray | None
    rows: int


@dataclass(frozen=True, eq=False)
class Source:
    """A source of batches.

    Attributes:
        name: as a person would name it.
        batches: gives batches of a size, the last one shorter; each call begins at the first row where `n` is known.
        n: number of rows, None for a stream.
        classes: highest class index + 1, when labels are classes and were looked through.
        synthetic: whether the rows are made up.
    """

    name: str
    batches: Callable[[int], Iterator[Batch]]
    n: int | None = None
    classes: int | None = None
    synthetic: bool = False


@dataclass(frozen=True, eq=False)
class Column:
    """One array of a source, read in blocks of rows from the beginning.

    Attributes:
        name: its name in the source.
        dtype: NumPy dtype.
        shape: (n, …).
        blocks: gives consecutive blocks of a number of rows.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    blocks: Callable[[int], Iterator[AnyArray]]

    @classmethod
    def of(cls, name: str, array: AnyArray) -> Column:
        """A column over an array in memory, or mapped into it; one that has no axes is its only block."""

        def blocks(size: int) -> Iterator[AnyArray]:
            if not array.ndim:
                yield array
                return
            for start in range(0, len(array), size):
                yield array[start : start + size]

        return cls(name, array.dtype, array.shape, blocks)


def from_columns(
    name: str,
    columns: Mapping[str, Column],
    labels: Column | None,
    inputs: tuple[Input, ...],
    *,
    synthetic: bool = False,
) -> Source:
    """A source over columns: those named as the model's inputs, or the only one for a single input.

    Raises:
        DataError: when an input has no column, row counts differ, there are no rows, or a column doesn't fit.
    """
    chosen = _match(name, columns, inputs)
    fixed = {entry.name for entry in inputs if is_constant(entry, chosen[entry.name].shape, inputs)}
    counted = [column for key, column in chosen.items() if key not in fixed]
    # The labels may come from another file, and bear the name of an input there.
    counts = [(column.name, column.shape[0]) for column in [*counted, *([labels] if labels is not None else [])]]
    if not counted or len({count for _, count in counts}) != 1:
        told = ", ".join(f"{key!r} has {count}" for key, count in counts) if counted else "no array with rows"
        raise DataError(f"{name}: {told}", "the same number of rows in each", "Save arrays of the same samples.")
    n = counts[0][1]
    if n == 0:
        raise DataError(f"{name} holds no rows", "at least one row", "Pass data with rows.")
    for entry in inputs:
        check(entry, chosen[entry.name].dtype, chosen[entry.name].shape, constant=entry.name in fixed)

    def batches(size: int) -> Iterator[Batch]:
        constants = {key: _whole(chosen[key]) for key in fixed}
        streams = {key: column.blocks(size) for key, column in chosen.items() if key not in fixed}
        marks = labels.blocks(size) if labels is not None else None
        for start in range(0, n, size):
            arrays = {key: next(stream) for key, stream in streams.items()} | constants
            yield batch(arrays, next(marks) if marks is not None else None, inputs, min(size, n - start))

    return Source(name, batches, n, _classes(labels), synthetic)


def batch(arrays: Mapping[str, AnyArray], labels: AnyArray | None, inputs: tuple[Input, ...], rows: int) -> Batch:
    """A batch, with each array in the form in which the runtime reads it rightly.

    Raises:
        DataError: when integers don't fit the input's type.
    """
    marks = None if labels is None else class_column(labels)
    return Batch({entry.name: _convert(entry, arrays[entry.name]) for entry in inputs}, marks, rows)


def check_batch(inputs: tuple[Input, ...]) -> None:
    """Check that a batch of the model has room for rows.

    Raises:
        DataError: when the model fixes its batch size at 0.
    """
    batched = [entry for entry in inputs if entry.shape]
    if batched and all(entry.shape and entry.shape[0] == 0 for entry in batched):
        raise DataError(
            f"input {batched[0].name!r} takes batches of 0 rows",
            "a batch dimension that is free or positive",
            "Export the model with a dynamic batch axis.",
        )


def check(entry: Input, dtype: np.dtype[Any], shape: tuple[int, ...], *, constant: bool = False) -> None:
    """Check that an array fits an input of the model, but for the number of its rows.

    Raises:
        DataError: when its type, its rank or a fixed dimension differs.
    """
    if entry.dtype is None:
        raise DataError(
            f"input {entry.name!r} is no numeric tensor",
            "inputs of numbers",
            "Export the model without strings or sequences.",
        )
    if entry.dtype.name == "bfloat16":
        raise DataError(
            f"input {entry.name!r} of type bfloat16",
            "inputs of a type that NumPy has",
            "Export the model with float32 inputs, and cast them inside.",
        )
    if not _convertible(dtype, entry.dtype):
        scaled = " (scaled as in training)" if entry.dtype.kind == "f" and dtype.kind in "ui" else ""
        raise DataError(
            f"{dtype} data for input {entry.name!r}",
            f"{entry.dtype}",
            f"Convert the array with `.astype({entry.dtype.name!r})`{scaled} and save it again.",
        )
    if entry.shape is None:
        return
    skip = 0 if constant else 1
    fits = len(shape) == len(entry.shape) and all(
        not isinstance(want, int) or want == have for want, have in zip(entry.shape[skip:], shape[skip:], strict=True)
    )
    if not fits:
        wanted = " × ".join(str(size) if size is not None else "?" for size in entry.shape)
        raise DataError(
            f"data of shape {' × '.join(map(str, shape)) or '()'} for input {entry.name!r}",
            f"shape {wanted or '()'}",
            "Reshape or transpose the array (first axis: rows) and save it again.",
        )


def as_array(name: str, values: Any) -> AnyArray:
    """What the user passed as an array.

    Raises:
        DataError: when it can't be one, such as lists of different lengths.
    """
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{name!r} of type {type(values).__name__}: {str(error).splitlines()[0] if str(error) else 'no array'}",
            "an array of numbers",
            "Convert it with numpy.asarray, rows of equal shape.",
        ) from error


def check_labels(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Check that an array can be labels.

    Raises:
        DataError: when its type or its rank is none that labels have.
    """
    if dtype.kind not in "biuf" or len(shape) not in (1, 2):
        raise DataError(
            f"labels {name!r} of type {dtype} and shape {shape}",
            "integer classes of shape (rows,), or real values of shape (rows,) or (rows, K)",
            "Encode the labels as integers from 0.",
        )


def is_constant(entry: Input, shape: tuple[int, ...], inputs: tuple[Input, ...]) -> bool:
    """Whether an array is the same for every batch: a scalar, or of an input's fixed shape beside batched inputs."""
    if not shape:
        return True
    others = any(other.shape and not isinstance(other.shape[0], int) for other in inputs)
    return others and entry.shape == shape


def not_finite(values: AnyArray) -> int | None:
    """Index of the first row that holds NaN or infinity, None when all are finite. A sum is the quick first look."""
    if values.dtype.kind != "f" or not values.size:
        return None
    with np.errstate(all="ignore"):
        if math.isfinite(float(values.sum())):
            return None
    bad = ~np.isfinite(values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)).all(axis=1)
    return int(bad.argmax()) if bad.any() else None


def _match(name: str, columns: Mapping[str, Column], inputs: tuple[Input, ...]) -> dict[str, Column]:
    missing = [entry.name for entry in inputs if entry.name not in columns]
    if missing and len(inputs) == 1 and len(columns) == 1:
        return {inputs[0].name: next(iter(columns.values()))}
    if missing:
        raise DataError(
            f"{name} holds {_listing(columns)}, and nothing for {_listing(missing)}",
            f"arrays named as the model's inputs: {_listing([entry.name for entry in inputs])}",
            "Save it with numpy.savez(file, NAME=array, …).",
        )
    return {entry.name: columns[entry.name] for entry in inputs}


def _listing(names: Mapping[str, Any] | list[str]) -> str:
    return ", ".join(repr(name) for name in names) or "no arrays"


def _whole(column: Column) -> AnyArray:
    return next(column.blocks(max(1, math.prod(column.shape[:1]))), np.empty(column.shape, column.dtype))


def _classes(labels: Column | None) -> int | None:
    if labels is None or labels.dtype.kind not in "biu":
        return None
    return 1 + max(int(block.max()) for block in labels.blocks(SCAN))


def _convertible(have: np.dtype[Any], want: np.dtype[Any]) -> bool:
    return have.kind == want.kind or (have.kind in "biu" and want.kind in "iu")


def _convert(entry: Input, array: AnyArray) -> AnyArray:
    assert entry.dtype is not None  # noqa: S101 - `check` refused such inputs
    if array.dtype.kind in "iu" and array.size and not np.can_cast(array.dtype, entry.dtype, "safe"):
        limits = np.iinfo(entry.dtype.name)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise DataError(
                f"values from {array.min()} to {array.max()} for input {entry.name!r}",
                f"values that {entry.dtype} holds",
                "Check the data and their type.",
            )
    # The runtime misreads foreign byte orders without a word. A number too large for the type becomes infinite, and is
    # found as such if it reaches the features.
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype=entry.dtype.newbyteorder("="), order="C")
