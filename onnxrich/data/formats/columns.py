"""Columns of Arrow tables as NumPy arrays: numbers, lists, texts and images; rows with missing values are skipped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxrich._utils.optional import import_optional
from onnxrich.data.context import OpenContext
from onnxrich.data.paths import DataPath, refuse_damaged
from onnxrich.data.table import MAX_LOADED_BYTES, AnyArray, Block, Field, Rows, Table, split_rows
from onnxrich.errors import DataError

# The column that lets lists of different lengths be padded: it is 0 where a model ignores padding.
MASK = "attention_mask"

# Numbers of a block of padded lists, and how many times the numbers of the lists they may be where they are more.
_MOST_PADDED, _MOST_PADDING = 2**26, 64

# Numbers in text files.
INTEGER = r"^\s*[+-]?\d{1,18}\s*$"
NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$|^\s*[+-]?(?i:nan|inf|infinity)\s*$"


def pyarrow() -> Any:
    """Import the package pyarrow.

    Raises:
        DataError: when it is not installed.
    """
    import_optional("pyarrow.compute", "parquet", "a table")
    return import_optional("pyarrow", "parquet", "a table")


def _name_row(row: int) -> str:
    return f"row {row}"


@dataclass(frozen=True, eq=False)
class ArrowData:
    """Data that pyarrow reads.

    Attributes:
        name: name of the data for people.
        schema: Arrow schema.
        n: number of rows.
        read: `read(names, rows, size)` yields Arrow tables of `size` rows of some columns.
        classes: names of the classes that a column of integers indexes, by column.
        numbers: NumPy types of columns of text that hold numbers, by column.
        name_row: returns the name of a row for messages.
    """

    name: str
    schema: Any
    n: int
    read: Callable[[Sequence[str], Rows, int], Iterator[Any]]
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    numbers: Mapping[str, np.dtype[Any]] = field(default_factory=dict)
    name_row: Callable[[int], str] = _name_row

    @classmethod
    def from_table(cls, name: str, table: Any, **attributes: Any) -> ArrowData:
        """Return the data of an Arrow table in memory, or mapped into it."""

        def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Any]:
            selected = table.select(list(names))
            for part in split_rows(rows, size):
                yield selected.slice(part.start, len(part)) if isinstance(part, range) else selected.take(part)

        return cls(name, table.schema, table.num_rows, read, **attributes)

    def to_table(self, context: OpenContext) -> Table:
        """Return the table of numbers, lists of numbers, texts, and image files in bytes.

        Columns of other types are left out.
        """
        fields = {entry.name: column for entry in self.schema if (column := self._field(entry)) is not None}
        images = {name for name, column in fields.items() if column.image}

        def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
            image = next((name for name in names if name in images), None)
            blocks = zip(self.read(names, rows, size), split_rows(rows, size), strict=True)
            if image is None:
                for block, part in blocks:
                    yield self._to_block(block, part, names, context)
            else:
                yield from self._decode(blocks, image, [name for name in names if name != image], context)

        return Table(self.name, fields, read, random=True)

    def _decode(
        self, blocks: Iterable[tuple[Any, Rows]], image: str, names: Sequence[str], context: OpenContext
    ) -> Iterator[Block]:
        """Decode the images of blocks, and add the other columns."""
        from onnxrich.data.images.pool import ImageItem, decode_blocks

        def items(block: Any, part: Rows) -> list[ImageItem]:
            # Images are bytes, or bytes and a path; a path alone is not followed.
            contents = [
                value.get("bytes") if isinstance(value, dict) else value for value in block.column(image).to_pylist()
            ]
            labelled = zip(contents, part, strict=True)
            return [ImageItem(content or b"", f"{self.name}, {self.name_row(int(row))}") for content, row in labelled]

        tagged = ((items(block, part), (block, part)) for block, part in blocks)
        for pixels, readable, (block, part) in decode_blocks(tagged, context, self.name):
            rest = self._to_block(block, part, names, context, readable)
            mask = rest.mask() if readable is None else rest.mask()[readable]
            yield Block({image: pixels[mask], **rest.arrays}, rest.rows, rest.readable)

    def _field(self, entry: Any) -> Field | None:
        """Return the field of a column, None for a type that is not read."""
        types = pyarrow().types
        storage = _storage_type(entry.type)
        if entry.name in self.numbers:
            return Field(entry.name, self.numbers[entry.name], (self.n,))
        image = _bytes_of(storage)
        if types.is_binary(image) or types.is_large_binary(image):
            return Field.of_images(entry.name, self.n)
        if types.is_dictionary(storage):
            storage = storage.value_type
        if types.is_string(storage) or types.is_large_string(storage):
            return Field(entry.name, np.dtype(object), (self.n,))
        shape: tuple[int | None, ...] = (self.n,)
        while _is_list(storage):
            shape += (storage.list_size if types.is_fixed_size_list(storage) else None,)
            storage = storage.value_type
        if isinstance(entry.type, pyarrow().FixedShapeTensorType):
            sizes = entry.type.shape
            shape = (self.n, *(sizes[axis] for axis in entry.type.permutation or range(len(sizes))))
        if not (types.is_integer(storage) or types.is_floating(storage) or types.is_boolean(storage)):
            return None
        return Field(entry.name, np.dtype(storage.to_pandas_dtype()), shape, classes=self.classes.get(entry.name))

    def _to_block(
        self, block: Any, part: Rows, names: Sequence[str], context: OpenContext, readable: AnyArray | None = None
    ) -> Block:
        """Return a block of columns without the rows in which a value is missing or invalid.

        Args:
            block: Arrow table of the block.
            part: its row numbers.
            names: columns to convert.
            context: where to report skipped rows.
            readable: which rows could be read so far, None for all.
        """
        valid = np.ones(len(part), dtype=bool) if readable is None else readable.copy()
        for name in names:
            invalid, reason = self._find_invalid(block.column(name), name)
            for at in np.flatnonzero(invalid & valid):
                context.skipped.skip(f"{self.name}, {self.name_row(int(part[at]))}", reason(int(at)))
            valid &= ~invalid
        if not valid.all():
            block = block.filter(pyarrow().array(valid))
        arrays = {name: self._to_numpy(block.column(name), name) for name in names}
        return Block(arrays, len(part), None if valid.all() else valid)

    def _find_invalid(self, column: Any, name: str) -> tuple[AnyArray, Callable[[int], str]]:
        """Find the rows without a value of the column's type.

        Returns:
            Booleans of shape (n,), and a function that returns the reason for a row.
        """
        missing = np.asarray(column.is_null().to_numpy())
        if name not in self.numbers:
            return missing | _has_null_inside(column), lambda row: f"no value in column {name!r}"
        pattern = INTEGER if self.numbers[name].kind == "i" else NUMBER
        is_number = np.asarray(pyarrow().compute.match_substring_regex(column, pattern).fill_null(False).to_numpy())

        def reason(row: int) -> str:
            if missing[row] or not column[row].as_py():
                return f"no value in column {name!r}"
            return f"{column[row].as_py()!r} in column {name!r}, which is no number"

        return missing | ~is_number, reason

    def _to_numpy(self, column: Any, name: str) -> AnyArray:
        pa = pyarrow()
        if name in self.numbers:
            # Arrow doesn't parse a plus sign.
            texts = pa.compute.replace_substring_regex(pa.compute.utf8_trim_whitespace(column), r"^\+", "")
            target = pa.int64() if self.numbers[name].kind == "i" else pa.float64()
            return np.asarray(pa.compute.cast(texts, target).to_numpy())
        storage = _storage_type(column.type)
        if pa.types.is_dictionary(storage):
            column, storage = column.cast(storage.value_type), storage.value_type
        if pa.types.is_string(storage) or pa.types.is_large_string(storage):
            return np.array(column.to_pylist(), dtype=object)
        if isinstance(column.type, pa.FixedShapeTensorType):
            return np.asarray(column.combine_chunks().to_numpy_ndarray())
        if not _is_list(storage):
            return np.asarray(column.to_numpy())
        return _lists_to_numpy(_storage_array(column), name, pad=MASK in self.schema.names)


def _bytes_of(storage: Any) -> Any:
    """Return the type of the field `bytes` of a structure, which images of Hugging Face have; other types unchanged."""
    index = storage.get_field_index("bytes") if pyarrow().types.is_struct(storage) else -1
    return storage if index < 0 else storage.field(index).type


def _has_null_inside(column: Any) -> AnyArray:
    """Tell for each row whether a list, or a list in it, has a missing value."""
    if not _is_list(_storage_type(column.type)):
        return np.zeros(len(column), dtype=bool)
    lists = _storage_array(column)
    values, parents = lists.flatten(), np.asarray(pyarrow().compute.list_parent_indices(lists).to_numpy())
    missing = np.asarray(values.is_null().to_numpy(zero_copy_only=False)) | _has_null_inside(values)
    has_null = np.zeros(len(column), dtype=bool)
    has_null[parents[missing]] = True
    return has_null


def _lists_to_numpy(lists: Any, name: str, *, pad: bool) -> AnyArray:
    """Convert lists of numbers, of any depth, to an array."""
    values = lists.flatten()
    lengths = np.asarray(pyarrow().compute.list_value_length(lists).to_numpy(zero_copy_only=False), dtype=np.int64)
    if _is_list(values.type):
        inner = _lists_to_numpy(values, name, pad=pad)
    else:
        inner = np.asarray(values.to_numpy(zero_copy_only=False))
    if not len(lengths):
        return np.empty((0, 0, *inner.shape[1:]), inner.dtype)
    longest = int(lengths.max())
    if (lengths == longest).all():
        return inner.reshape(len(lengths), longest, *inner.shape[1:])
    if not pad or inner.ndim > 1:
        raise DataError(
            f"column {name!r} holds lists of {int(lengths.min())} and of {longest} numbers",
            f"rows of one shape within a batch, or a column {MASK!r} that marks what is padding",
            "Pad them to the same length, or pass --batch-size 1.",
        )
    if longest * len(lengths) > max(_MOST_PADDED, _MOST_PADDING * len(inner)):
        raise DataError(
            f"column {name!r} holds a list of {longest:,} numbers among {len(lengths):,} short ones",
            "lists of similar lengths, which are padded to the longest",
            "Cut that list, or pass --batch-size 1.",
        )
    padded = np.zeros((len(lengths), longest), inner.dtype)
    padded[np.arange(longest) < lengths[:, None]] = inner
    return padded


def _storage_type(arrow_type: Any) -> Any:
    return arrow_type.storage_type if isinstance(arrow_type, pyarrow().BaseExtensionType) else arrow_type


def _storage_array(column: Any) -> Any:
    """Return a column as one array of its storage type."""
    array = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if hasattr(array, "chunks"):
        array = array.chunk(0) if array.num_chunks else pyarrow().array([], array.type)
    return array.storage if isinstance(array.type, pyarrow().BaseExtensionType) else array


def _is_list(arrow_type: Any) -> bool:
    types = pyarrow().types
    return bool(types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type))


def cut_and_join(tables: Iterable[Any], rows: range, size: int) -> Iterator[Any]:
    """Cut and join Arrow tables of consecutive rows from `rows.start` on to tables of `size` rows.

    Raises:
        DataError: when the tables have fewer rows.
    """
    pending: list[Any] = []
    count, left = 0, len(rows)
    for table in tables:
        pending.append(table)
        count += table.num_rows
        while count >= size or (count and count >= left):
            joined = pyarrow().concat_tables(pending)
            step = min(size, left)
            yield joined.slice(0, step)
            left -= step
            pending, count = [joined.slice(step)], count - step
            if not left:
                return
    raise DataError("the file has fewer rows than it says", "a whole file", "Save or copy it again.")


def check_text_size(path: DataPath, file: Any) -> None:
    """Refuse a file of text that is too large to be read into memory.

    Raises:
        DataError: when it has more than `MAX_LOADED_BYTES`.
    """
    size = file.seek(0, 2)
    file.seek(0)
    if size > MAX_LOADED_BYTES:
        raise DataError(
            f"{path.name} has {size:,} bytes of text",
            f"at most {MAX_LOADED_BYTES:,}, which are read into memory",
            "Save it as Parquet, which is read as it is used.",
        )


def find_duplicate(names: Iterable[str]) -> str | None:
    """Return a name that occurs more than once, None without any."""
    counts = Counter(names).most_common(1)
    return counts[0][0] if counts and counts[0][1] > 1 else None


def check_names(path: DataPath, names: Iterable[str]) -> None:
    """Check that each column has a name of its own.

    Args:
        path: the file.
        names: names of the columns. Those of a damaged file may raise errors of pyarrow when they are taken.

    Raises:
        DataError: when two columns have the same name: only one of them could be read.
    """
    duplicate = find_duplicate(names)
    if duplicate is not None:
        raise DataError(f"{path.name} has two columns {duplicate!r}", "a name for each column", "Rename one of them.")


def refuse_damaged_by_pyarrow(path: DataPath, kind: str) -> AbstractContextManager[None]:
    """Turn pyarrow's errors for damaged files into a DataError.

    Args:
        path: the file.
        kind: what it should be, such as "Parquet file".
    """
    raised = (
        pyarrow().ArrowException, OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError,
        MemoryError,
    )  # fmt: skip
    return refuse_damaged(path.name, kind, raised)


def find_parts(folder: DataPath, ending: str) -> list[DataPath]:
    """Find the files with an ending below a folder, sorted by name.

    Raises:
        DataError: when there are none.
    """
    names = [name for name in folder.walk() if name.lower().endswith(ending)]
    if not names:
        raise DataError(f"{folder.name} holds no {ending} files", "at least one", "Pass the folder that holds them.")
    return [folder.child(name) for name in names]


def read_classes(schema: Any) -> dict[str, tuple[str, ...]]:
    """Read class names by column, as Hugging Face's libraries write them into the schema of Parquet and Arrow files."""
    try:
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return classes_of_features(info["info"]["features"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def classes_of_features(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return class names by column, from the features of a data set of Hugging Face."""
    descriptions = {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    return {
        name: tuple(map(str, feature["names"]))
        for name, feature in descriptions.items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
    }
