"""Columns of Arrow as NumPy arrays; rows with missing values, or with text where numbers are needed, are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.images.pool import Item, decoded
from onnxrich.data.paths import DataPath
from onnxrich.data.table import MOST_UNPACKED, AnyArray, Block, Field, Rows, Table, cut
from onnxrich.errors import DataError

# The column that lets ragged lists be padded: a model leaves out where it is 0.
MASK = "attention_mask"


@dataclass(frozen=True, eq=False)
class Rowset:
    """Data that Arrow reads.

    Attributes:
        name: as a person would name them.
        schema: of Arrow.
        n: number of rows.
        read: gives Arrow tables of `size` rows of some columns: `read(names, rows, size)`.
        random: whether it takes row numbers in any order.
        classes: names of the classes that a column of integers numbers.
        numbers: columns of text that hold numbers, with their NumPy type.
        line: what to call a row in messages.
    """

    name: str
    schema: Any
    n: int
    read: Callable[[Sequence[str], Rows, int], Iterator[Any]]
    random: bool
    classes: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, np.dtype[Any]]
    line: Callable[[int], str]


def arrow() -> Any:
    """The package pyarrow."""
    import_optional("pyarrow.compute", "parquet", "a table")
    return import_optional("pyarrow", "parquet", "a table")


def table_of(rowset: Rowset, request: OpenContext) -> Table:
    """The table of a rowset: numbers, lists of numbers of equal length, texts, and images as files in bytes.

    Columns of other types are left out.
    """
    fields = {field.name: made for field in rowset.schema if (made := _field(field, rowset)) is not None}
    pictures = {name for name, field in fields.items() if field.image}

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        blocks = zip(rowset.read(names, rows, size), cut(rows, size), strict=True)
        image = next((name for name in names if name in pictures), None)
        if image is None:
            for block, part in blocks:
                yield _block({}, block, part, names, rowset, request)
            return
        parts = ((_items(block.column(image), part, rowset), (block, part)) for block, part in blocks)
        for images, kept, (block, part) in decoded(parts, request, name=rowset.name, rows=len(rows)):
            others = [name for name in names if name != image]
            yield _block({image: images}, block, part, others, rowset, request, kept)

    return Table(rowset.name, fields, read, rowset.random)


def _field(field: Any, rowset: Rowset) -> Field | None:
    pa = arrow()
    kind = _storage(field.type)
    if field.name in rowset.numbers:
        return Field(field.name, rowset.numbers[field.name], (rowset.n,))
    names = rowset.classes.get(field.name)
    if pa.types.is_struct(kind) and any(kind.field(at).name == "bytes" for at in range(kind.num_fields)):
        return Field(field.name, np.dtype(np.uint8), (rowset.n, None, None, None), image=True)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return Field(field.name, np.dtype(np.uint8), (rowset.n, None, None, None), image=True)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return Field(field.name, np.dtype(object), (rowset.n,))
    shape: tuple[int | None, ...] = (rowset.n,)
    while _is_list(kind):
        shape += (kind.list_size if pa.types.is_fixed_size_list(kind) else None,)
        kind = kind.value_type
    if isinstance(field.type, pa.FixedShapeTensorType):
        shape = (rowset.n, *field.type.shape)
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return Field(field.name, np.dtype(kind.to_pandas_dtype()), shape, classes=names) if numeric else None


def _block(
    arrays: dict[str, AnyArray],
    block: Any,
    part: Rows,
    names: Sequence[str],
    rowset: Rowset,
    request: OpenContext,
    kept: AnyArray | None = None,
) -> Block:
    """A block of columns without the rows in which a value is missing or can't be one."""
    good = np.ones(len(part), dtype=bool) if kept is None else kept.copy()
    for name in names:
        bad, why = _bad(block.column(name), name, rowset)
        for at in np.flatnonzero(bad & good):
            request.ledger.skip(f"{rowset.name}, {rowset.line(int(part[at]))}", why(int(at)))
        good &= ~bad
    if not good.all():
        block = block.filter(arrow().array(good))
    arrays = {name: array if kept is None else array[good[kept]] for name, array in arrays.items()}
    arrays |= {name: _numpy(block.column(name), name, rowset) for name in names}
    return Block(arrays, len(part), None if good.all() else good)


def _bad(column: Any, name: str, rowset: Rowset) -> tuple[AnyArray, Callable[[int], str]]:
    """Which rows hold no value of the column's type, and why."""
    pa = arrow()
    missing = np.asarray(column.is_null().to_numpy())
    if name not in rowset.numbers:
        nested = missing | _has_null_inside(column)
        return nested, lambda at: f"no value in column {name!r}"
    number = pa.compute.match_substring_regex(column, INTEGER if rowset.numbers[name].kind == "i" else NUMBER)
    return missing | ~np.asarray(number.fill_null(False).to_numpy()), lambda at: (
        f"no value in column {name!r}" if missing[at] or not column[at].as_py() else
        f"{column[at].as_py()!r} in column {name!r}, which is no number"
    )  # fmt: skip


# Numbers as they stand in text files.
INTEGER = r"^\s*[+-]?\d{1,18}\s*$"
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:nan|inf|infinity)\s*$"


def _has_null_inside(column: Any) -> AnyArray:
    kind = _storage(column.type)
    if not _is_list(kind):
        return np.zeros(len(column), dtype=bool)
    lists = _stored(column)
    values, parents = lists.flatten(), np.asarray(arrow().compute.list_parent_indices(lists).to_numpy())
    inside = np.asarray(values.is_null().to_numpy(zero_copy_only=False)) | _has_null_inside(values)
    found = np.zeros(len(column), dtype=bool)
    found[parents[inside]] = True
    return found


def _numpy(column: Any, name: str, rowset: Rowset) -> AnyArray:
    pa = arrow()
    if name in rowset.numbers:
        trimmed = pa.compute.utf8_trim_whitespace(column)
        target = pa.int64() if rowset.numbers[name].kind == "i" else pa.float64()
        return np.asarray(pa.compute.cast(_unsigned(trimmed), target).to_numpy())
    kind = _storage(column.type)
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(column.to_pylist(), dtype=object)
    if isinstance(column.type, pa.FixedShapeTensorType):
        return np.asarray(column.combine_chunks().to_numpy_ndarray())
    if not _is_list(kind):
        return np.asarray(column.to_numpy())
    return _lists(_stored(column), name, pad=MASK in rowset.schema.names)


def _unsigned(texts: Any) -> Any:
    """Numbers without a plus sign, which Arrow doesn't read."""
    return arrow().compute.replace_substring_regex(texts, r"^\+", "")


def _lists(lists: Any, name: str, *, pad: bool) -> AnyArray:
    """Lists of lists … of numbers as an array."""
    values = lists.flatten()
    lengths = np.asarray(arrow().compute.list_value_length(lists).to_numpy(zero_copy_only=False), dtype=np.int64)
    inner = (
        _lists(values, name, pad=pad) if _is_list(values.type) else np.asarray(values.to_numpy(zero_copy_only=False))
    )
    if not len(lengths):
        return np.empty((0, 0, *inner.shape[1:]), inner.dtype)
    longest = int(lengths.max())
    if (lengths == longest).all():
        return inner.reshape(len(lengths), longest, *inner.shape[1:])
    if not pad or inner.ndim > 1:
        raise DataError(
            f"column {name!r} with lists of {int(lengths.min())} and of {longest} numbers",
            f"rows of one shape within a batch, or a column {MASK!r} that marks what is padding",
            "Pad them to the same length, or pass --batch-size 1.",
        )
    padded = np.zeros((len(lengths), longest), inner.dtype)
    padded[np.arange(longest) < lengths[:, None]] = inner
    return padded


def _items(column: Any, part: Rows, rowset: Rowset) -> list[Item]:
    """Images as they lie in a column: bytes, or bytes and a path; a path alone is not followed."""
    items = []
    for at, value in zip(part, column.to_pylist(), strict=True):
        content = value.get("bytes") if isinstance(value, dict) else value
        items.append(Item(content or b"", f"{rowset.name}, {rowset.line(int(at))}"))
    return items


def _storage(kind: Any) -> Any:
    return kind.storage_type if isinstance(kind, arrow().BaseExtensionType) else kind


def _stored(column: Any) -> Any:
    """One array of the storage type."""
    whole = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if hasattr(whole, "chunks"):
        whole = whole.chunk(0) if whole.num_chunks else arrow().array([], whole.type)
    return whole.storage if isinstance(whole.type, arrow().BaseExtensionType) else whole


def _is_list(kind: Any) -> bool:
    types = arrow().types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def of_memory(name: str, table: Any, **about: Any) -> Rowset:
    """The rowset of an Arrow table in memory, or mapped into it."""

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Any]:
        chosen = table.select(list(names))
        for part in cut(rows, size):
            yield chosen.slice(part.start, len(part)) if isinstance(part, range) else chosen.take(part)

    given: dict[str, Any] = {"classes": {}, "numbers": {}, "line": lambda row: f"row {row}"} | about
    return Rowset(name, table.schema, table.num_rows, read, random=True, **given)


def recut(tables: Iterable[Any], rows: range, size: int) -> Iterator[Any]:
    """Arrow tables of consecutive rows from `rows.start` on, cut and joined to a size."""
    pa = arrow()
    held: list[Any] = []
    count, left = 0, len(rows)
    for table in tables:
        held.append(table)
        count += table.num_rows
        while count >= size or (count and count >= left):
            joined = pa.concat_tables(held)
            step = min(size, left)
            yield joined.slice(0, step)
            left -= step
            held, count = [joined.slice(step)], count - step
            if not left:
                return
    raise DataError("fewer rows than the file says", "a whole file", "Save or copy it again.")


def check_size(place: DataPath, file: Any) -> None:
    """Refuse a file of text that is larger than memory is trusted with."""
    size = file.seek(0, 2)
    file.seek(0)
    if size > MOST_UNPACKED:
        raise DataError(
            f"{place.name} has {size:,} bytes of text",
            f"at most {MOST_UNPACKED:,}, which are read into memory",
            "Save it as Parquet, which is read as it is used.",
        )


def _check_names(schema: Any) -> None:
    """Names of columns must be text: pyarrow decodes them only when they are asked for, and raises then."""
    for field in schema:
        _ = field.name


@contextmanager
def reading(place: DataPath, kind: str) -> Iterator[None]:
    """Turns what pyarrow raises for damaged files into a DataError."""
    pa = arrow()
    try:
        yield
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise DataError(
            f"{place.name} is damaged or no {kind} file ({reason})", f"a whole {kind} file", "Save or copy it again."
        ) from error


def parts_of(folder: DataPath, ending: str) -> list[DataPath]:
    """The files of an ending below a folder, in the order of their names.

    Raises:
        DataError: when there are none.
    """
    names = [name for name in folder.walk() if name.lower().endswith(ending)]
    if not names:
        raise DataError(f"{folder.name} holds no {ending} files", "at least one", "Pass the folder that holds them.")
    return [folder.child(name) for name in names]


def hub_classes(schema: Any) -> dict[str, tuple[str, ...]]:
    """Names of classes, as Hugging Face's libraries write them into the schema of Parquet and Arrow files."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return classes_in(info["info"]["features"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def classes_in(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Names of classes by column, from the features of a data set of Hugging Face."""
    named = {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    return {
        name: tuple(map(str, feature["names"]))
        for name, feature in named.items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }
