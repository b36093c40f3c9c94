"""Labels of the rows: where they are found, the numbers of their classes, and how many classes there are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxrich._utils.formatting import name_list
from onnxrich.data.class_names import ClassNames, number_classes
from onnxrich.data.context import OpenContext
from onnxrich.data.formats.registry import NamedData, is_data_file, open_table
from onnxrich.data.paths import DataPath
from onnxrich.data.source import Batch, Shard, SkippedItems, Source
from onnxrich.data.table import SCAN_ROWS, AnyArray, Block, Column, Field, Rows, Table, to_array
from onnxrich.errors import DataError, Notice

# Names of fields that hold labels when the user names none.
KEYS = ("labels", "label", "y")
# The label of rows to leave out.
IGNORED = -1
# Classes that are not looked up one by one: they cost little, whether they occur or not.
FEW_CLASSES = 256


@dataclass(frozen=True, eq=False)
class Labels:
    """A field of labels, and its table, which may be that of the data.

    Attributes:
        table: the table.
        field: the field.
        ignored: label of the rows to leave out, None without any.
    """

    table: Table
    field: Field
    ignored: int | None = None

    @property
    def are_integers(self) -> bool:
        """Whether they are integers or booleans."""
        return self.field.dtype.kind in "biu"

    def scan(self) -> Iterator[AnyArray]:
        """Yield the labels of all readable rows in blocks."""
        return (self.mark(block.arrays[self.field.name]) for block in self._blocks())

    def load(self) -> AnyArray:
        """Read the labels of all rows.

        Raises:
            DataError: when a row has none.
        """
        blocks = list(self._blocks())
        if any(block.readable is not None for block in blocks):
            raise DataError(
                f"{self.field.name!r} holds rows without a label",
                "a label in each row",
                "Fill in or remove the rows.",
            )
        arrays = [self.mark(block.arrays[self.field.name]) for block in blocks]
        return np.concatenate(arrays) if arrays else np.empty(0, self.field.dtype)

    def mark(self, labels: AnyArray) -> AnyArray:
        """Return labels in which those to leave out are `IGNORED`."""
        return mark_ignored(labels, self.ignored, self.field.name)

    def _blocks(self) -> Iterator[Block]:
        return self.table.read([self.field.name], range(self.field.shape[0] or 0), SCAN_ROWS)


def find_labels(
    table: Table,
    inputs: set[str],
    labels: Any,
    context: Callable[[DataPath], OpenContext],
    ignored: int | None = None,
) -> Labels | None:
    """Find the labels of a table's rows.

    Args:
        table: the data.
        inputs: names of the model's inputs.
        labels: array, name of a field, file, or data that were found; None: a field with a usual name that is no input.
        context: returns what a path is opened with.
        ignored: label of the rows to leave out.

    Returns:
        The labels, None where the user passed none and no field has a usual name.

    Raises:
        DataError: when they don't exist, or can't be labels.
    """
    if isinstance(labels, NamedData):
        result = _open_labels(table, labels, context)
    elif isinstance(labels, str | os.PathLike):
        key = os.fspath(labels)
        # Labels may be an input as well: those of an autoencoder are.
        result = Labels(table, table.fields[key]) if key in table.fields else _open_labels(table, key, context)
    elif labels is not None:
        column = Column.from_array("labels", to_array("labels", labels))
        result = Labels(Table.from_columns("labels", {"labels": column}), column.field)
    else:
        key = next((key for key in KEYS if key in table.fields and key not in inputs and len(table.fields) > 1), "")
        if not key:
            check_has_labels(ignored, has_labels=False)
            return None
        result = Labels(table, table.fields[key])
    if result.field.dtype.kind in "OU" and result.field.shape:
        result = _number_words(result)
    check_labels(result.field.name, result.field.dtype, result.field.shape, ignored)
    return replace(result, ignored=ignored)


def _open_labels(table: Table, name: str | NamedData, context: Callable[[DataPath], OpenContext]) -> Labels:
    """Open a file of labels."""
    if isinstance(name, str) and not is_data_file(name):
        raise DataError(
            f"{table.name} has no field {name!r}; it holds {name_list(table.fields)}",
            "the key of the labels, or a data file",
            "Pass --labels KEY or --labels FILE.",
        )
    file = open_table(name, context)
    keys = list(file.fields) if len(file.fields) == 1 else [key for key in file.fields if key in KEYS]
    if len(keys) != 1:
        raise DataError(f"{file.name} holds several arrays", "one of labels", "Name it `labels`, or save it alone.")
    return Labels(file, file.fields[keys[0]])


def _number_words(labels: Labels) -> Labels:
    """Number labels in words by their order; a single word per row may have an axis of its own."""
    name = labels.field.name
    words = labels.load()
    words = words.reshape(-1) if labels.field.shape[1:] == (1,) else words
    texts = to_texts(words, name)
    if not all(isinstance(text, str) for text in texts):
        return labels
    blank = next((row for row, text in enumerate(texts) if not text.strip()), None)
    if blank is not None:
        raise DataError(f"{name!r} holds no label in row {blank}", "a label in each row", "Fill in or remove the row.")
    numbers, classes = number_classes(texts)
    column = Column.from_array(name, numbers, classes=classes)
    return Labels(Table.from_columns(labels.table.name, {name: column}), column.field)


def to_texts(values: AnyArray, name: str) -> list[Any]:
    """Convert an array of text to Python's strings; NumPy's may hold numbers that are no characters."""
    if values.dtype.kind == "U":
        codes = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")).view(np.uint32)
        if np.any((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))):
            raise DataError(f"{name!r} contains invalid Unicode", "text", "Save the labels again.")
    texts: list[Any] = values.tolist()
    return texts


def check_labels(name: str, dtype: np.dtype[Any], shape: tuple[int | None, ...], ignored: int | None = None) -> None:
    """Check that an array can be labels.

    Args:
        name: name of the labels.
        dtype: their type.
        shape: their shape.
        ignored: label of the rows to leave out.

    Raises:
        DataError: when labels can't have its type or its number of axes.
    """
    if dtype.kind not in "biuf" or not shape or 0 in shape[1:] or (len(shape) > 2 and dtype.kind not in "iu"):
        raise DataError(
            f"labels {name!r} have type {dtype} and shape {shape}",
            "integer classes of shape (rows,) or, of tokens and positions, (rows, …); or real values of shape (rows,) "
            "or (rows, K)",
            "Encode the labels as integers from 0.",
        )
    if ignored is not None and dtype.kind not in "iu":
        raise DataError(
            f"labels {name!r} have type {dtype}, and label {ignored} is to be left out",
            "integer classes",
            "Leave out --ignore-label, or pass the labels as integers.",
        )


def check_has_labels(ignored: int | None, *, has_labels: bool) -> None:
    """Check that there are labels where some are to be left out.

    Raises:
        DataError: when there are none.
    """
    if ignored is not None and not has_labels:
        raise DataError(
            f"label {ignored} is to be left out, and the data have no labels", "labels", "Pass --labels NAME as well."
        )


def mark_ignored(labels: AnyArray, ignored: int | None, name: str) -> AnyArray:
    """Return labels in which those to leave out are `IGNORED`.

    Raises:
        DataError: when labels of samples hold other numbers below zero, which are no classes.
    """
    if ignored is None:
        return labels
    marked = np.where(labels == ignored, IGNORED, labels.astype(np.int64))
    if labels.ndim == 1 and (marked < IGNORED).any():
        raise DataError(
            f"labels {name!r} hold {marked.min()}, and label {ignored} is to be left out",
            "no other label below zero",
            "Pass the one that marks samples to leave out to --ignore-label.",
        )
    return marked


def count_classes(labels: Labels | None, rows: Rows, skipped: SkippedItems) -> int | None:
    """Count the classes of all labels, and warn when rows in order lie class by class.

    Args:
        labels: the labels.
        rows: the rows that a pass reads.
        skipped: takes the warning.

    Returns:
        Highest class index + 1, or the number of class names if it is larger; None for labels that are no integers.
    """
    if labels is None or not labels.are_integers:
        return None
    if len(labels.field.shape) != 1:
        return max((int(block.max()) for block in labels.scan() if block.size), default=-1) + 1
    highest, changes, last = -1, 0, None
    for block in labels.scan():
        if block.size:
            highest = max(highest, int(block.max()))
            changes += int((block[1:] != block[:-1]).sum()) + int(last is not None and block[0] != last)
            last = block[-1]
    n = labels.field.shape[0] or 0
    if isinstance(rows, range) and 0 < changes <= highest and n > 2 * (highest + 1):
        message = "The rows lie class by class, and intervals rest on blocks of rows that are alike: pass --shuffle."
        skipped.open_notices.append(Notice("sorted_by_class", message))
    return max(highest + 1, len(labels.field.classes or ()))


def find_classes(labels: Labels | None, count: int | None) -> tuple[int, ...] | None:
    """Find which classes occur, where there can be so many that most do not.

    Args:
        labels: the labels.
        count: number of classes, as `count_classes` returned it.

    Returns:
        Their numbers, ascending; None where each of so few classes counts as occurring.
    """
    if labels is None or count is None or count <= FEW_CLASSES:
        return None
    found = np.empty(0, np.int64)
    for block in labels.scan():
        found = np.union1d(found, block.astype(np.int64, copy=False))
    return tuple(found[found >= 0].tolist())


def align_classes(source: Source, models: Iterable[ClassNames]) -> Source:
    """Renumber the classes of a source as the models number their outputs, where a model names all of them.

    A notice says so where models have class names, and none of them can be used.

    Args:
        source: the source.
        models: class names of each model, in order; not evaluated where the source has no names.

    Raises:
        DataError: when two models have them in different orders.
    """
    names = source.class_names
    if names is None:
        return source
    stated = list(models)
    orders = list(dict.fromkeys(model.names for model in stated if model.names and set(names) <= set(model.names)))
    if len(orders) > 1:
        raise DataError(
            f"words are the labels in {source.name}, and the models name their outputs in different orders",
            "the same numbers of the classes for all models that take the same rows",
            "Run each model alone.",
        )
    if orders:
        return _renumber(source, names, orders[0])
    flaws = [model.flaw or f"those are {name_list(model.names or ())}" for model in stated if model != ClassNames()]
    if flaws:
        message = (
            f"The classes are numbered as the data have them, {name_list(names)}, and not as the model names its "
            f"outputs: {flaws[0]}. If the outputs come in another order, fix the names, or pass the labels as numbers "
            "of the outputs."
        )
        source.skipped.open_notices.append(Notice("names_not_used", message))
    return source


def align_classes_with(source: Source, first: Source) -> Source:
    """Renumber the classes of a source as another source numbers them, where both name them.

    Raises:
        DataError: when the other source has no class of one name.
    """
    names, known = source.class_names, first.class_names
    if names is None or known is None:
        return source
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise DataError(
            f"{source.name} holds class {unknown!r}",
            f"those of {first.name}: {name_list(known)}",
            "Rename or leave it out.",
        )
    return _renumber(source, names, known)


def _renumber(source: Source, names: tuple[str, ...], known: tuple[str, ...]) -> Source:
    """Replace each label, an index into `names`, by the index of the same name in `known`."""
    if names == known:
        return source
    index = {name: number for number, name in enumerate(known)}
    numbers = np.array([index[name] for name in names])

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        for batch in source.read(shard, size):
            if batch.labels is None or batch.labels.dtype.kind not in "iu":
                yield batch
            else:
                yield replace(batch, labels=_look_up(batch.labels, numbers, source))

    occurring = source.occurring and tuple(sorted({int(numbers[number]) for number in source.occurring}))
    return replace(source, read=read, classes=len(known), occurring=occurring, class_names=known)


def _look_up(labels: AnyArray, numbers: AnyArray, source: Source) -> AnyArray:
    ignored = (labels == IGNORED) & source.ignores_labels
    beyond = ((labels < 0) & ~ignored) | (labels >= len(numbers))
    if beyond.any():
        raise DataError(
            f"{source.name} holds class {labels[beyond][0]}, and names {len(numbers)} classes",
            f"numbers from 0 to {len(numbers) - 1}",
            "Fix the labels, or leave out rows without a class.",
        )
    renumbered: AnyArray = np.where(ignored, IGNORED, numbers[labels])
    return renumbered
