"""Where labels are found: a field of the data, another file, or an array."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxrich._utils.formatting import name_list
from onnxrich.data.class_names import ClassNames
from onnxrich.data.context import OpenContext
from onnxrich.data.formats.image_folder import numbered
from onnxrich.data.formats.registry import is_data_file, open_table
from onnxrich.data.paths import DataPath
from onnxrich.data.source import Batch, Shard, Source
from onnxrich.data.table import SCAN, AnyArray, Column, Field, Table, of_array, of_columns
from onnxrich.errors import DataError, Notice, printable

KEYS = ("labels", "label", "y")


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels: a field of a table, which may be that of the data."""

    table: Table
    field: Field


def find(table: Table, inputs: set[str], labels: Any, request: Callable[[DataPath], OpenContext]) -> Labels | None:
    """The labels of a table's rows.

    Args:
        table: the data.
        inputs: names of the model's inputs.
        labels: array, key or file; None: a field with a usual name that is no input.
        request: opens a place.

    Raises:
        DataError: when they are not there, or can't be labels.
    """
    if isinstance(labels, str | os.PathLike):
        key = os.fspath(labels)
        # Targets may be an input as well: those of an autoencoder are.
        marks = Labels(table, table.fields[key]) if key in table.fields else _file(table, key, request)
    elif labels is not None:
        column = of_array("labels", as_array("labels", labels))
        marks = Labels(of_columns("labels", {"labels": column}), column.field)
    else:
        usual = next((key for key in KEYS if key in table.fields and key not in inputs and len(table.fields) > 1), None)
        if usual is None:
            return None
        marks = Labels(table, table.fields[usual])
    if marks.field.dtype.kind in "OU" and marks.field.shape:
        marks = _named(marks)
    check_labels(marks.field.name, marks.field.dtype, marks.field.shape)
    return marks


def _named(marks: Labels) -> Labels:
    """Texts as classes, numbered in the order of the names; a single one a row may have an axis of its own."""
    name, n = marks.field.name, marks.field.shape[0] or 0
    blocks = list(marks.table.read([name], range(n), SCAN))
    if any(block.kept is not None for block in blocks):
        raise DataError(f"{name!r} holds rows without a label", "a label in each row", "Leave these rows out.")
    single = marks.field.shape[1:] == (1,)
    arrays = [block.arrays[name].reshape(-1) if single else block.arrays[name] for block in blocks]
    texts = [text for array in arrays for text in _texts(array, name)]
    if not all(isinstance(text, str) for text in texts):
        return marks
    blank = next((row for row, text in enumerate(texts) if not text.strip()), None)
    if blank is not None:
        raise DataError(f"{name!r} holds no label in row {blank}", "a label in each row", "Leave these rows out.")
    values, classes = numbered(texts)
    field = Field(name, values.dtype, (n,), classes=classes)
    return Labels(of_columns(marks.table.name, {name: Column.of(field, values)}), field)


def align_classes_with(source: Source, first: Source) -> Source:
    """A source whose classes have the numbers that they have in another one, where both name them.

    Raises:
        DataError: when it names a class that the other one has not.
    """
    names, known = source.class_names, first.class_names
    if names is None or known is None:
        return source
    strange = next((name for name in names if name not in known), None)
    if strange is not None:
        raise DataError(
            f"class {strange!r} in {source.name}",
            f"those of {first.name}: {name_list(known)}",
            "Rename or leave it out.",
        )
    return _renumbered(source, names, known)


def align_classes(source: Source, models: Iterable[ClassNames]) -> Source:
    """A source whose classes have the numbers of the models' outputs, where a model names all of them.

    Where models tell names and none of them can be used, a notice says so.

    Args:
        source: the source.
        models: what each model tells, in order; not looked at where the source has no names.

    Raises:
        DataError: when two models have them in another order.
    """
    names = source.class_names
    if names is None:
        return source
    told = list(models)
    orders = list(dict.fromkeys(each.names for each in told if each.names and set(names) <= set(each.names)))
    if len(orders) > 1:
        raise DataError(
            f"words as labels in {source.name}, and models that name their outputs in different orders",
            "the same numbers of the classes for all models that take the same rows",
            "Run each model alone.",
        )
    if orders:
        return _renumbered(source, names, orders[0])
    flaws = [each.flaw or f"those are {name_list(each.names or ())}" for each in told if each != ClassNames()]
    source.ledger.known += [Notice("names_not_used", _not_used(names, flaws[0]))] if flaws else []
    return source


def _not_used(names: tuple[str, ...], flaw: str) -> str:
    return printable(
        f"The classes are numbered as the data have them, {name_list(names)}, and not as the model names its outputs: "
        f"{flaw}. If the outputs come in another order, mend the names, or pass the labels as numbers of the outputs."
    )


def _renumbered(source: Source, names: tuple[str, ...], known: tuple[str, ...]) -> Source:
    if names == known:
        return source
    place = np.array([known.index(name) for name in names])

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        for batch in source.read(shard, size):
            if batch.labels is None or batch.labels.dtype.kind not in "iu":
                yield batch
            else:
                yield replace(batch, labels=_placed(batch.labels, place, source.name))

    return replace(source, read=read, classes=len(known), class_names=known)


def _placed(labels: AnyArray, place: AnyArray, name: str) -> AnyArray:
    wrong = (labels < 0) | (labels >= len(place))
    if wrong.any():
        raise DataError(
            f"class {labels[wrong][0]} in {name}, which names {len(place)} classes",
            f"numbers from 0 to {len(place) - 1}",
            "Mend the labels, or leave out rows without a class.",
        )
    placed: AnyArray = place[labels]
    return placed


def _texts(values: AnyArray, name: str) -> list[Any]:
    """Texts as Python has them; NumPy's arrays of text may hold numbers that are no characters."""
    if values.dtype.kind == "U":
        codes = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")).view(np.uint32)
        if np.any((codes > sys.maxunicode) | ((codes >= 0xD800) & (codes < 0xE000))):
            raise DataError(f"{name!r} holds characters that there are not", "text", "Save the labels again.")
    texts: list[Any] = values.tolist()
    return texts


def _file(table: Table, key: str, request: Callable[[DataPath], OpenContext]) -> Labels:
    if not is_data_file(key):
        raise DataError(
            f"no array {key!r} in {table.name}, which holds {name_list(table.fields)}",
            "the key of the labels, or a data file",
            "Pass --labels KEY or --labels FILE.",
        )
    found = open_table(key, request)
    names = list(found.fields) if len(found.fields) == 1 else [name for name in found.fields if name in KEYS]
    if len(names) != 1:
        raise DataError(f"{found.name} holds several arrays", "one of labels", "Name it `labels`, or save it alone.")
    return Labels(found, found.fields[names[0]])


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


def check_labels(name: str, dtype: np.dtype[Any], shape: tuple[int | None, ...]) -> None:
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
