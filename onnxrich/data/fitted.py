"""A table and its labels as a source: fields matched with inputs, rows chosen, batches cut."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxrich.data.images.sized import check_takes_images
from onnxrich.data.labels import Marks, listing
from onnxrich.data.ledger import Ledger
from onnxrich.data.matching import Slot, batch, is_constant, recipe_for, slot
from onnxrich.data.preprocessing.declared import Declared
from onnxrich.data.selection import Reading, chosen
from onnxrich.data.source import Batch, Shard, Source
from onnxrich.data.table import SCAN, AnyArray, Field, Rows, Table, unpacked, whole
from onnxrich.errors import DataError, Notice, printable
from onnxrich.model.file import Input


@dataclass(frozen=True, eq=False)
class Wish:
    """How a table is to be read: what was declared, which rows, by which seed, and where losses are counted."""

    said: Declared
    reading: Reading
    seed: int
    ledger: Ledger
    synthetic: bool = False


# Names that a notice of unused fields lists at most.
_NAMED = 3
# An input, and what feeds it.
Match = tuple[Input, tuple[Field, ...]]


def from_table(table: Table, marks: Marks | None, inputs: tuple[Input, ...], wish: Wish) -> Source:
    """A source over a table: fields named as the model's inputs, or what fits a single input alone.

    Raises:
        DataError: when an input has no field, row counts differ, there are no rows, or a field doesn't fit.
    """
    matched = _matched(table, marks, inputs)
    n = _count(table, marks, matched, inputs)
    for entry, (field, *_) in matched:
        if field.image and None in field.shape:
            check_takes_images(table, field, entry)
            wish.ledger.begin()
    slots = tuple(slot(entry, fields, inputs, wish.said) for entry, fields in matched)
    wish.ledger.known += _unused(table, marks, slots, wish.reading.text)
    rows = chosen(n, wish.reading, wish.seed, labels=lambda: None if marks is None else _all(marks, n))
    names = sorted({name for slot in slots for name in slot.fields if not slot.constant})
    constants = {slot.fields[0]: whole(table, slot.fields[0]) for slot in slots if slot.constant}
    fed, told = _accessible(table, marks, names) if not isinstance(rows, range) else (table, marks)

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        part = rows if shard is None else rows[shard.start : shard.stop]
        for arrays, labels, kept in _blocks(fed, names, told, part, size):
            yield batch({**arrays, **constants}, labels, slots, kept)

    return Source(
        table.name,
        read,
        len(rows),
        choice=wish.reading.choice(wish.seed),
        classes=_scanned(marks, n, rows, wish.ledger),
        class_names=None if marks is None else marks.field.classes,
        preprocessing=_record(table, slots, inputs, wish.said),
        synthetic=wish.synthetic,
        ledger=wish.ledger,
    )


def _unused(table: Table, marks: Marks | None, slots: tuple[Slot, ...], text: str | None) -> list[Notice]:
    """Tells fields that are neither fed nor labels: a misspelt one would be missed by nobody."""
    used = {name for slot in slots for name in slot.fields} | {text, None if marks is None else marks.field.name}
    left = [name for name in table.fields if name not in used]
    if not left:
        return []
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    remedy = " If one of them holds the labels, pass --labels NAME." if marks is None else ""
    names = ", ".join(map(repr, left[:_NAMED]))
    message = f"Left out of {table.name}: {names}{more}, neither inputs nor labels of the model.{remedy}"
    return [Notice("unused_columns", printable(message))]


def _accessible(table: Table, marks: Marks | None, names: list[str]) -> tuple[Table, Marks | None]:
    """Table and labels, such that their rows can be read in any order."""
    if marks is None:
        return unpacked(table, names), None
    if marks.table is not table:
        return unpacked(table, names), replace(marks, table=unpacked(marks.table, [marks.field.name]))
    both = unpacked(table, sorted({*names, marks.field.name}))
    return both, replace(marks, table=both)


def _blocks(
    table: Table, names: list[str], marks: Marks | None, rows: Rows, size: int
) -> Iterator[tuple[Mapping[str, AnyArray], AnyArray | None, int]]:
    """Fields, labels and number of rows of each block, without rows that could not be read."""
    if marks is None or marks.table is table:
        key = None if marks is None else marks.field.name
        for block in table.read(names if key is None or key in names else [*names, key], rows, size):
            kept = block.rows if block.kept is None else int(block.kept.sum())
            if kept:
                yield block.arrays, None if key is None else block.arrays[key], kept
        return
    key = marks.field.name
    for block, other in zip(table.read(names, rows, size), marks.table.read([key], rows, size), strict=True):
        there, told = (np.ones(part.rows, bool) if part.kept is None else part.kept for part in (block, other))
        kept = int((there & told).sum())
        if kept:
            # Each holds the rows that it could read: what is left are those that both have.
            arrays = {name: array[told[there]] for name, array in block.arrays.items() if array.ndim}
            yield {**block.arrays, **arrays}, other.arrays[key][there[told]], kept


def _matched(table: Table, marks: Marks | None, inputs: tuple[Input, ...]) -> list[Match]:
    fields = dict(table.fields)
    named: list[Match] = [(entry, (fields[entry.name],)) for entry in inputs if entry.name in fields]
    if len(named) == len(inputs):
        return named
    if len(inputs) == 1:
        own = marks is not None and marks.table is table
        free = [
            field for field in fields.values() if not (own and marks is not None and field.name == marks.field.name)
        ]
        found = _only(inputs[0], free)
        if found:
            return [(inputs[0], found)]
        fields = {field.name: field for field in free}
        _check_columns(table, inputs[0], free)
    raise DataError(
        f"{table.name} holds {listing(fields)}, and nothing for "
        f"{listing([entry.name for entry in inputs if entry.name not in fields])}",
        f"arrays named as the model's inputs: {listing([entry.name for entry in inputs])}",
        "Rename the fields, or save them with numpy.savez(file, NAME=array, …).",
    )


def _check_columns(table: Table, entry: Input, free: list[Field]) -> None:
    """Check that the columns of a table are as many as the features of the input that takes them.

    Raises:
        DataError: when they are not; most often one of them is the label.
    """
    columns, shape = _columns(free), entry.shape or ()
    if len(columns) < 2 or len(shape) != 2 or not isinstance(shape[1], int):
        return
    raise DataError(
        f"{table.name} holds {len(columns)} columns of numbers, {listing(field.name for field in columns)}",
        f"the {shape[1]} features of input {entry.name!r}",
        "Name the column of the labels with --labels, and leave out what the model doesn't take.",
    )


def _only(entry: Input, free: list[Field]) -> tuple[Field, ...]:
    """What a single input can only mean: the one field, the one with images, or its columns one by one."""
    if len(free) == 1:
        return (free[0],)
    free = [field for field in free if field.dtype != np.dtype(object)]
    images = [field for field in free if field.image]
    if len(images) == 1:
        return (images[0],)
    columns = _columns(free)
    return columns if len(entry.shape or ()) == 2 and entry.shape and entry.shape[1] == len(columns) else ()


def _columns(free: list[Field]) -> tuple[Field, ...]:
    """Fields of one number a row."""
    return tuple(field for field in free if len(field.shape) == 1 and field.dtype.kind in "biuf")


def _count(table: Table, marks: Marks | None, matched: list[Match], inputs: tuple[Input, ...]) -> int:
    varying = [field for entry, fields in matched for field in fields if not is_constant(entry, field.shape, inputs)]
    # The labels may come from another file, and bear the name of an input there.
    counts = [(field.name, field.shape[0]) for field in [*varying, *([] if marks is None else [marks.field])]]
    n = counts[0][1] if varying else None
    if n is None or any(count != n for _, count in counts):
        told = ", ".join(f"{key!r} has {count}" for key, count in counts) if varying else "no array with rows"
        raise DataError(f"{table.name}: {told}", "the same number of rows in each", "Save arrays of the same samples.")
    if n == 0:
        raise DataError(f"{table.name} holds no rows", "at least one row", "Pass data with rows.")
    return n


def _all(marks: Marks, n: int) -> AnyArray:
    blocks = list(marks.table.read([marks.field.name], range(n), SCAN))
    if any(block.kept is not None for block in blocks):
        raise DataError(f"{marks.field.name!r} holds rows without a class", "a class in each row", "Fill them in.")
    return np.concatenate([block.arrays[marks.field.name] for block in blocks])


def _scanned(marks: Marks | None, n: int, rows: Rows, ledger: Ledger) -> int | None:
    """The number of classes; rows that are read class by class are told."""
    if marks is None or marks.field.dtype.kind not in "biu" or len(marks.field.shape) != 1:
        return None if marks is None or marks.field.dtype.kind not in "biu" else _highest(_parts(marks, n)) + 1
    highest, changes, last = -1, 0, None
    for part in _parts(marks, n):
        if part.size:
            highest = max(highest, int(part.max()))
            changes += int((part[1:] != part[:-1]).sum()) + int(last is not None and part[0] != last)
            last = part[-1]
    if isinstance(rows, range) and 0 < changes <= highest and n > 2 * (highest + 1):
        message = "The rows lie class by class, and intervals rest on blocks of rows that are alike: pass --shuffle."
        ledger.known.append(Notice("sorted_by_class", message))
    return max(highest + 1, len(marks.field.classes or ()))


def _parts(marks: Marks, n: int) -> Iterator[AnyArray]:
    return (block.arrays[marks.field.name] for block in marks.table.read([marks.field.name], range(n), SCAN))


def _highest(parts: Iterator[AnyArray]) -> int:
    return max((int(part.max()) for part in parts if part.size), default=-1)


def _record(table: Table, slots: tuple[Slot, ...], inputs: tuple[Input, ...], said: Declared) -> dict[str, Any] | None:
    """What is done to the rows, and by whose word."""
    done = [recipe_for(slot.entry, table.fields[slot.fields[0]], inputs, said) for slot in slots]
    applied = next((recipe.record() for recipe in done if recipe is not None), None)
    if applied is None and said.by_user.steps.declared():
        raise DataError(
            f"preprocessing for {listing([entry.name for entry in inputs])}",
            "an input with four axes, or a single one",
            "Leave the preprocessing out: it would not be applied.",
        )
    stacked = next((list(slot.fields) for slot in slots if len(slot.fields) > 1), None)
    return applied if stacked is None else {**(applied or {}), "columns": stacked}
