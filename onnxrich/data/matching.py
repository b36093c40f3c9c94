"""Fitting data to a model: what feeds which input, and arrays in the form in which the runtime reads them rightly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from onnxrich._utils.formatting import name_list, shape_text
from onnxrich.data.images.layout import Pixels, check_takes_images, layout_of, shape_remedy
from onnxrich.data.labels import Labels
from onnxrich.data.preprocessing.declared import DeclaredPreprocessing
from onnxrich.data.preprocessing.steps import OF_IMAGES, Preprocessing, ResolvedPreprocessing
from onnxrich.data.selection import Selection, chosen
from onnxrich.data.source import Batch, Shard, SkippedItems, Source
from onnxrich.data.table import SCAN, AnyArray, Field, Rows, Table, unpacked, whole
from onnxrich.errors import DataError, Notice, printable
from onnxrich.model.file import Input
from onnxrich.moments.targets import class_column


@dataclass(frozen=True, eq=False)
class ReadPlan:
    """How a table is to be read: what was declared, which rows, by which seed, and where losses are counted."""

    said: DeclaredPreprocessing
    reading: Selection
    seed: int
    ledger: SkippedItems
    synthetic: bool = False


@dataclass(frozen=True, eq=False)
class InputBinding:
    """What feeds one input.

    Attributes:
        entry: the input.
        fields: the field, or several of one number a row each, which become its columns.
        constant: whether it is the same for every batch.
        pixels: what is done to the rows, None for nothing.
    """

    entry: Input
    fields: tuple[str, ...]
    constant: bool = False
    pixels: Pixels | None = None

    def load(self, arrays: Mapping[str, AnyArray]) -> AnyArray:
        """The input's array of a block of fields.

        Raises:
            DataError: when they don't fit.
        """
        first = arrays[self.fields[0]]
        stacked = len(self.fields) > 1 or _is_column(self.entry, first.shape)
        array = np.stack([arrays[name] for name in self.fields], axis=1) if stacked else first
        remedy = ""
        if self.pixels is not None:
            given, array = array, self.pixels(array)
            remedy = shape_remedy(self.pixels, given, array)
        check(self.entry, array.dtype, array.shape, constant=self.constant, remedy=remedy)
        return convert(self.entry, array)


def bind_input(
    entry: Input, fields: tuple[Field, ...], inputs: tuple[Input, ...], said: DeclaredPreprocessing
) -> InputBinding:
    """The slot of an input for some fields, checked as far as the fields say what they hold.

    Raises:
        DataError: when a field doesn't fit.
    """
    field = fields[0]
    names = tuple(field.name for field in fields)
    recipe = recipe_for(entry, field, inputs, said)
    lies = layout_of(entry.shape or ()) or layout_of(field.shape)
    for other in said.others:
        _check_alike(recipe, recipe_for(entry, field, inputs, other), (said.model, other.model), lies)
    if recipe is not None:
        _check_resample(recipe.steps)
    if recipe is not None or field.image:
        steps = Preprocessing() if recipe is None else recipe.steps
        # Bytes are pixels: how they become floats has to be said.
        if field.dtype == np.uint8 and not steps.changes_values:
            check(entry, field.dtype, entry.shape or ())
        return InputBinding(entry, names, pixels=Pixels(entry, steps, decoded=field.image and None in field.shape))
    stacked = len(fields) > 1 or _is_column(entry, field.shape)
    shape = (*field.shape, len(fields)) if stacked else field.shape
    constant = is_constant(entry, shape, inputs)
    dtype = np.result_type(*(field.dtype for field in fields)) if len(fields) > 1 else field.dtype
    check(entry, dtype, shape, constant=constant)
    return InputBinding(entry, names, constant)


def _check_resample(steps: Preprocessing) -> None:
    if steps.resample is not None and steps.resize is None:
        raise DataError(
            f"resample {steps.resample!r} without resize",
            "the size that images are brought to",
            "Pass --resize as well, or leave --resample out.",
        )


def recipe_for(
    entry: Input, field: Field, inputs: tuple[Input, ...], said: DeclaredPreprocessing
) -> ResolvedPreprocessing | None:
    """The preprocessing that holds for a field: that of images, or of the only input. None without any.

    Raises:
        DataError: when the user declares steps that would do nothing.
    """
    if not field.image and len(inputs) > 1 and len(entry.shape or ()) != 4:
        return None
    idle = _idle(entry, field)
    told = [name for name in idle if name in said.by_user.origins]
    if told:
        raise _no_images(field, told, said.by_user)
    # What others declare speaks of images in general, and is no mistake where there are none.
    recipe = (said.for_bytes if field.image or field.dtype == np.uint8 else said.by_user).without(idle)
    return recipe if recipe.steps.declared() else None


def _check_alike(
    recipe: ResolvedPreprocessing | None,
    other: ResolvedPreprocessing | None,
    models: tuple[str, str],
    layout: Literal["NCHW", "NHWC"] | None,
) -> None:
    """Check that the same is done to rows that two models are to share, however it is written.

    Args:
        recipe: of one of them.
        other: of the other.
        models: how messages name them.
        layout: the one of the input, or else of the rows, as far as their shapes say it.

    Raises:
        DataError: when something else is declared for one of them.
    """
    each = [(Preprocessing() if one is None else one.steps).normal(layout) for one in (recipe, other)]
    if each[0] == each[1]:
        return
    told = [
        f"{model}: {'nothing' if one is None else one.told}" for model, one in zip(models, (recipe, other), strict=True)
    ]
    raise DataError(
        f"other preprocessing for each model ({'; '.join(told)})",
        "the same for all models that take the same rows",
        "Pass it as options, such as --scale 1/255, or run each model alone.",
    )


def _idle(entry: Input, field: Field) -> tuple[str, ...]:
    """The steps that do nothing to a field: those of images where its rows have no height and width.

    Rows of two axes may be gray images, which have no channels to be laid out unless the input has. A field of which
    no shape is known may be anything.
    """
    rank = len(field.shape)
    if field.image or rank in (0, 4):
        return ()
    if rank != 3:
        return OF_IMAGES
    return ("layout",) if entry.shape is not None and len(entry.shape) == 3 else ()


def _no_images(field: Field, steps: Sequence[str], by_user: ResolvedPreprocessing) -> DataError:
    told = " and ".join(
        f"--{name}" if by_user.origins[name] == "options" else f"{name} in {by_user.origins[name]}" for name in steps
    )
    rows = " × ".join(map(str, field.shape[1:])) or "one number"
    return DataError(
        f"{told} for {field.name!r}, whose rows are {rows}",
        f"images: height × width{', with or without' if len(field.shape) < 3 else ' ×'} channels",
        f"Leave out {told}, or save the rows in the shape of images.",
    )


def batch(arrays: Mapping[str, AnyArray], labels: AnyArray | None, slots: tuple[InputBinding, ...], rows: int) -> Batch:
    """A batch of a block of fields.

    Raises:
        DataError: when they don't fit the inputs.
    """
    marks = None if labels is None else class_column(labels)
    shared = frozenset(bind_input.entry.name for bind_input in slots if bind_input.constant)
    return Batch({bind_input.entry.name: bind_input.load(arrays) for bind_input in slots}, marks, rows, shared)


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


def check(
    entry: Input,
    dtype: np.dtype[Any],
    shape: tuple[int | str | None, ...],
    *,
    constant: bool = False,
    remedy: str = "",
) -> None:
    """Check that an array fits an input of the model, but for the number of its rows; sizes of None fit any.

    Args:
        entry: the input.
        dtype: of the array.
        shape: of the array.
        constant: whether it has no axis of rows.
        remedy: what to do about another shape; what helps with arrays when left out.

    Raises:
        DataError: when its type, its rank or a fixed dimension differs.
    """
    if entry.dtype is None:
        raise DataError(
            f"input {entry.name!r} is no numeric tensor",
            "inputs of numbers",
            "Export the model without strings or sequences.",
        )
    # NumPy makes the name anew each time, which takes longer than all else here.
    if entry.dtype.kind == "V" and entry.dtype.name == "bfloat16":
        raise DataError(
            f"input {entry.name!r} of type bfloat16",
            "inputs of a type that NumPy has",
            "Export the model with float32 inputs, and cast them inside.",
        )
    if not _convertible(dtype, entry.dtype):
        pixels = dtype == np.uint8 and entry.dtype.kind == "f"
        saved = f"onvert the array with `.astype({entry.dtype.name!r})` and save it again."
        raise DataError(
            f"{dtype} data for input {entry.name!r}",
            f"{entry.dtype}",
            f"Say how bytes are scaled, as in training (--scale 1/255), or c{saved}" if pixels else f"C{saved}",
        )
    if entry.shape is None:
        return
    skip = 0 if constant else 1
    fits = len(shape) == len(entry.shape) and all(
        not isinstance(want, int) or have is None or want == have
        for want, have in zip(entry.shape[skip:], shape[skip:], strict=True)
    )
    if not fits:
        raise DataError(
            f"data of shape {shape_text(shape)} for input {entry.name!r}",
            f"shape {shape_text(entry.shape)}",
            remedy or _reshaping(entry.shape, shape),
        )


def _reshaping(want: tuple[int | str | None, ...], have: tuple[int | str | None, ...]) -> str:
    """What to do about data of another shape than the input's; images may have their channels elsewhere, or none."""
    for axis in range(1, len(want)):
        if want[axis] == 1 and have[1:] == (*want[1:axis], *want[axis + 1 :]):
            said = {1: "pass --layout NCHW, or ", 3: "pass --layout NHWC, or "}.get(axis, "") if len(want) == 4 else ""
            return f"An axis of length 1 is missing: {said}save numpy.expand_dims(array, {axis})."
    for layout, axes, where in (("NCHW", (0, 3, 1, 2), "last"), ("NHWC", (0, 2, 3, 1), "first")):
        if layout_of(want) == layout and layout_of(have) not in (None, layout):
            return f"The channels come {where}: pass --layout {layout}, or save array.transpose{axes}."
    return "Reshape or transpose the array (first axis: rows) and save it again."


def is_constant(entry: Input, shape: tuple[int | None, ...], inputs: tuple[Input, ...]) -> bool:
    """Whether an array is the same for every batch: a scalar, or of an input's fixed shape beside batched inputs."""
    if not shape:
        return True
    others = any(other.shape and not isinstance(other.shape[0], int) for other in inputs)
    return others and entry.shape == shape


def _is_column(entry: Input, shape: tuple[int | None, ...]) -> bool:
    """Whether one number a row feeds an input that takes tables of one column."""
    return len(shape) == 1 and entry.shape is not None and len(entry.shape) == 2 and entry.shape[1] == 1


def convert(entry: Input, array: AnyArray) -> AnyArray:
    """The array in the input's type, native byte order and C order.

    Raises:
        DataError: when integers don't fit the type.
    """
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


def _convertible(have: np.dtype[Any], want: np.dtype[Any]) -> bool:
    return have.kind == want.kind or (have.kind in "biu" and want.kind in "iu")


# Names that a notice of unused fields lists at most.
_NAMED = 3
# An input, and what feeds it.
Match = tuple[Input, tuple[Field, ...]]


def from_table(table: Table, marks: Labels | None, inputs: tuple[Input, ...], wish: ReadPlan) -> Source:
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
    slots = tuple(bind_input(entry, fields, inputs, wish.said) for entry, fields in matched)
    wish.ledger.known += _unused(table, marks, slots, wish.reading.text)
    rows = chosen(n, wish.reading, wish.seed, labels=lambda: None if marks is None else _all(marks, n))
    names = sorted({name for bind_input in slots for name in bind_input.fields if not bind_input.constant})
    constants = {
        bind_input.fields[0]: whole(table, bind_input.fields[0]) for bind_input in slots if bind_input.constant
    }
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


def _unused(table: Table, marks: Labels | None, slots: tuple[InputBinding, ...], text: str | None) -> list[Notice]:
    """Tells fields that are neither fed nor labels: a misspelt one would be missed by nobody."""
    used = {name for bind_input in slots for name in bind_input.fields} | {
        text,
        None if marks is None else marks.field.name,
    }
    left = [name for name in table.fields if name not in used]
    if not left:
        return []
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    remedy = " If one of them holds the labels, pass --labels NAME." if marks is None else ""
    names = ", ".join(map(repr, left[:_NAMED]))
    message = f"Left out of {table.name}: {names}{more}, neither inputs nor labels of the model.{remedy}"
    return [Notice("unused_columns", printable(message))]


def _accessible(table: Table, marks: Labels | None, names: list[str]) -> tuple[Table, Labels | None]:
    """Table and labels, such that their rows can be read in any order."""
    if marks is None:
        return unpacked(table, names), None
    if marks.table is not table:
        return unpacked(table, names), replace(marks, table=unpacked(marks.table, [marks.field.name]))
    both = unpacked(table, sorted({*names, marks.field.name}))
    return both, replace(marks, table=both)


def _blocks(
    table: Table, names: list[str], marks: Labels | None, rows: Rows, size: int
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


def _matched(table: Table, marks: Labels | None, inputs: tuple[Input, ...]) -> list[Match]:
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
        f"{table.name} holds {name_list(fields)}, and nothing for "
        f"{name_list([entry.name for entry in inputs if entry.name not in fields])}",
        f"arrays named as the model's inputs: {name_list([entry.name for entry in inputs])}",
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
        f"{table.name} holds {len(columns)} columns of numbers, {name_list(field.name for field in columns)}",
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


def _count(table: Table, marks: Labels | None, matched: list[Match], inputs: tuple[Input, ...]) -> int:
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


def _all(marks: Labels, n: int) -> AnyArray:
    blocks = list(marks.table.read([marks.field.name], range(n), SCAN))
    if any(block.kept is not None for block in blocks):
        raise DataError(f"{marks.field.name!r} holds rows without a class", "a class in each row", "Fill them in.")
    return np.concatenate([block.arrays[marks.field.name] for block in blocks])


def _scanned(marks: Labels | None, n: int, rows: Rows, ledger: SkippedItems) -> int | None:
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


def _parts(marks: Labels, n: int) -> Iterator[AnyArray]:
    return (block.arrays[marks.field.name] for block in marks.table.read([marks.field.name], range(n), SCAN))


def _highest(parts: Iterator[AnyArray]) -> int:
    return max((int(part.max()) for part in parts if part.size), default=-1)


def _record(
    table: Table, slots: tuple[InputBinding, ...], inputs: tuple[Input, ...], said: DeclaredPreprocessing
) -> dict[str, Any] | None:
    """What is done to the rows, and by whose word."""
    done = [recipe_for(bind_input.entry, table.fields[bind_input.fields[0]], inputs, said) for bind_input in slots]
    applied = next((recipe.record() for recipe in done if recipe is not None), None)
    if applied is None and said.by_user.steps.declared():
        raise DataError(
            f"preprocessing for {name_list([entry.name for entry in inputs])}",
            "an input with four axes, or a single one",
            "Leave the preprocessing out: it would not be applied.",
        )
    stacked = next((list(bind_input.fields) for bind_input in slots if len(bind_input.fields) > 1), None)
    return applied if stacked is None else {**(applied or {}), "columns": stacked}
