"""Matching of a table with a model: which fields feed which input, and their arrays as the runtime takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxrich._utils.formatting import name_list, shape_text
from onnxrich.data.labels import IGNORED, Labels, count_classes, find_classes, to_texts
from onnxrich.data.missing import ONE_FOR_ALL, fill, filled_notices, plan_fillings
from onnxrich.data.preprocessing.declared import DeclaredPreprocessing
from onnxrich.data.preprocessing.steps import IMAGE_STEPS, Layout, Preprocessing, ResolvedPreprocessing, layout_of
from onnxrich.data.selection import Selection, select_rows
from onnxrich.data.source import Batch, Shard, SkippedItems, Source
from onnxrich.data.table import AnyArray, Field, Rows, Table
from onnxrich.errors import DataError, Notice
from onnxrich.model.file import Input
from onnxrich.moments.targets import class_column

if TYPE_CHECKING:
    from onnxrich.data.images.layout import Pixels

# Names that a notice of unused fields lists at most.
_LISTED = 3

# An input, and the fields that feed it.
Match = tuple[Input, tuple[Field, ...]]


@dataclass(frozen=True, eq=False)
class ReadPlan:
    """How a table is read.

    Attributes:
        declared: declared preprocessing.
        selection: which rows.
        seed: seed of random draws.
        skipped: takes items that can't be read.
        ignored_label: label of the rows to leave out, None without any.
        synthetic: whether the rows are random numbers.
    """

    declared: DeclaredPreprocessing
    selection: Selection
    seed: int
    skipped: SkippedItems
    ignored_label: int | None = None
    synthetic: bool = False

    @property
    def choice(self) -> str:
        """The rows that are read and count, in words that are unique to them."""
        ignored = "" if self.ignored_label is None else f" without label {self.ignored_label}"
        return f"{self.selection.choice(self.seed)}{ignored}"


@dataclass(frozen=True, eq=False)
class InputBinding:
    """An input, and what feeds it.

    Attributes:
        entry: the input.
        fields: name of the field, or of several with one number per row, which become its columns.
        constant: whether it is the same for every batch.
        pixels: preprocessing of the rows, None without any.
    """

    entry: Input
    fields: tuple[str, ...]
    constant: bool = False
    pixels: Pixels | None = None

    def load(self, arrays: Mapping[str, AnyArray]) -> AnyArray:
        """Return the input's array of a block of fields.

        Raises:
            DataError: when the fields don't fit.
        """
        first = arrays[self.fields[0]]
        is_stacked = len(self.fields) > 1 or _is_column(self.entry, first.shape)
        array = np.stack([arrays[name] for name in self.fields], axis=1) if is_stacked else first
        remedy = ""
        if self.pixels is not None:
            raw, array = array, self.pixels(array)
            remedy = self.pixels.shape_remedy(raw, array)
        check_array(self.entry, array.dtype, array.shape, constant=self.constant, remedy=remedy)
        return convert_array(self.entry, array)


def source_from_table(table: Table, labels: Labels | None, inputs: tuple[Input, ...], plan: ReadPlan) -> Source:
    """Return the source of a table: each input is fed by the field of its name, a single one by what can only be it.

    Raises:
        DataError: when an input has no field, row counts differ, there are no rows, or a field doesn't fit.
    """
    fillings = plan_fillings(inputs, table.fields)
    filled = {filling.entry.name for filling in fillings}
    matches = _match_fields(table, labels, tuple(entry for entry in inputs if entry.name not in filled))
    n = _count_rows(table, labels, matches, inputs)
    for entry, (field, *_) in matches:
        if field.image and None in field.shape:
            from onnxrich.data.images.layout import check_takes_images

            check_takes_images(table, field, entry)
            plan.skipped.begin_pass()
    bindings = tuple(bind_input(entry, fields, inputs, plan.declared) for entry, fields in matches)
    plan.skipped.open_notices += filled_notices(fillings)
    plan.skipped.open_notices += _notice_unused(table, labels, bindings, plan.selection.text)
    marked_label = None if plan.ignored_label is None else IGNORED
    rows = select_rows(
        n,
        plan.selection,
        plan.seed,
        labels=lambda: None if labels is None else labels.load(),
        ignored_label=marked_label,
    )
    repeated = {binding.fields[0] for binding in bindings if _is_repeated(binding, table, n)}
    names = sorted({name for binding in bindings for name in binding.fields if not binding.constant} - repeated)
    constants = {binding.fields[0]: table.read_field(binding.fields[0]) for binding in bindings if binding.constant}
    single_rows = {name: table.read_field(name) for name in repeated}
    rows_table, rows_labels = (table, labels) if isinstance(rows, range) else _with_random_access(table, labels, names)

    def read(shard: Shard | None, size: int) -> Iterator[Batch]:
        part = rows if shard is None else rows[shard.start : shard.stop]
        for arrays, block_labels, count in _read_blocks(rows_table, names, rows_labels, rows=part, size=size):
            marked = block_labels if labels is None or block_labels is None else labels.mark(block_labels)
            repeats = {name: np.repeat(row, count, axis=0) for name, row in single_rows.items()}
            yield fill(make_batch({**arrays, **constants, **repeats}, marked, bindings, count), fillings)

    classes = count_classes(labels, rows, plan.skipped)
    return Source(
        table.name,
        read,
        len(rows),
        choice=plan.choice,
        classes=classes,
        occurring=find_classes(labels, classes),
        class_names=None if labels is None else labels.field.classes,
        preprocessing=_describe_preprocessing(table, bindings, inputs, plan.declared),
        synthetic=plan.synthetic,
        ignores_labels=plan.ignored_label is not None,
        skipped=plan.skipped,
    )


def _match_fields(table: Table, labels: Labels | None, inputs: tuple[Input, ...]) -> list[Match]:
    """Match inputs with fields: by name, or a single input with what can only be it."""
    fields = dict(table.fields)
    named: list[Match] = [(entry, (fields[entry.name],)) for entry in inputs if entry.name in fields]
    if len(named) == len(inputs):
        return named
    if len(inputs) == 1:
        label = labels.field.name if labels is not None and labels.table is table else None
        candidates = [field for field in fields.values() if field.name != label]
        match = _match_single_input(inputs[0], candidates)
        if match:
            return [(inputs[0], match)]
        fields = {field.name: field for field in candidates}
        _check_column_count(table, inputs[0], candidates)
    raise DataError(
        f"{table.name} holds {name_list(fields)}, and nothing for "
        f"{name_list([entry.name for entry in inputs if entry.name not in fields])}",
        f"arrays named as the model's inputs: {name_list([entry.name for entry in inputs])}",
        "Rename the fields, or save them with numpy.savez(file, NAME=array, …).",
    )


def _match_single_input(entry: Input, candidates: list[Field]) -> tuple[Field, ...]:
    """Return the fields that can only be a single input: the one field, the one of images, or all its columns."""
    if len(candidates) == 1:
        return (candidates[0],)
    if takes_text(entry):
        texts = [field for field in candidates if field.dtype.kind in "OU" and not field.image]
        return tuple(texts) if len(texts) == 1 or (entry.shape or ())[1:] == (len(texts),) else ()
    candidates = [field for field in candidates if field.dtype != np.dtype(object)]
    images = [field for field in candidates if field.image]
    if len(images) == 1:
        return (images[0],)
    columns = _number_columns(candidates)
    return columns if len(entry.shape or ()) == 2 and entry.shape and entry.shape[1] == len(columns) else ()


def _number_columns(fields: list[Field]) -> tuple[Field, ...]:
    """Return the fields with one number per row."""
    return tuple(field for field in fields if len(field.shape) == 1 and field.dtype.kind in "biuf")


def _check_column_count(table: Table, entry: Input, candidates: list[Field]) -> None:
    """Check that a table has as many columns as its input features; most often one too many is the label."""
    columns, shape = _number_columns(candidates), entry.shape or ()
    if len(columns) < 2 or len(shape) != 2 or not isinstance(shape[1], int):
        return
    raise DataError(
        f"{table.name} holds {len(columns)} columns of numbers, {name_list(field.name for field in columns)}",
        f"the {shape[1]} features of input {entry.name!r}",
        "Name the column of the labels with --labels, and leave out what the model doesn't take.",
    )


def _count_rows(table: Table, labels: Labels | None, matches: list[Match], inputs: tuple[Input, ...]) -> int:
    """Return the number of rows, which is the same in all fields and in the labels."""
    varying = [field for entry, fields in matches for field in fields if not is_constant(entry, field.shape, inputs)]
    # Labels may come from another file, and have the name of an input there.
    counts = [(field.name, field.shape[0]) for field in [*varying, *([] if labels is None else [labels.field])]]
    n = next((count for _, count in counts if count != 1), 1) if varying else None
    # One row of positions stands for all samples.
    counts = [(name, count) for name, count in counts if count != 1 or name not in ONE_FOR_ALL]
    if n is None or any(count != n for _, count in counts):
        rows = ", ".join(f"{count} of {key!r}" for key, count in counts)
        listed = f"holds different numbers of rows: {rows}" if varying else "holds no array with rows"
        turned = any(entry.batch_axis for entry, _ in matches)
        remedy = (
            f"Save arrays of the same samples{', with these along the first axis of the labels' if turned else ''}."
        )
        raise DataError(f"{table.name} {listed}", "the same number of rows in each", remedy)
    if n == 0:
        raise DataError(f"{table.name} holds no rows", "at least one row", "Pass data with rows.")
    return n


def _is_repeated(binding: InputBinding, table: Table, n: int) -> bool:
    """Tell whether an input has one row for all samples."""
    is_single = binding.entry.name in ONE_FOR_ALL and table.fields[binding.fields[0]].shape[:1] == (1,)
    return is_single and n > 1 and not binding.constant


def bind_input(
    entry: Input, fields: tuple[Field, ...], inputs: tuple[Input, ...], declared: DeclaredPreprocessing
) -> InputBinding:
    """Bind an input to fields, and check them as far as their types and shapes are known.

    Args:
        entry: the input.
        fields: fields that feed it.
        inputs: all inputs of the model.
        declared: declared preprocessing.

    Raises:
        DataError: when a field doesn't fit, or different preprocessing is declared for models that share the rows.
    """
    field = fields[0]
    names = tuple(field.name for field in fields)
    preprocessing = preprocessing_for(entry, field, inputs, declared)
    layout = layout_of(entry.shape or ()) or layout_of(field.shape)
    for other in declared.others:
        pair = (preprocessing, preprocessing_for(entry, field, inputs, other))
        _check_same_steps(pair, (declared.model, other.model), layout)
    if preprocessing is not None:
        _check_resample(preprocessing.steps)
    if preprocessing is not None or field.image:
        from onnxrich.data.images.layout import Pixels

        steps = Preprocessing() if preprocessing is None else preprocessing.steps
        # Bytes are pixels: somebody has to say how they become floats.
        if field.dtype == np.uint8 and not steps.changes_values:
            check_array(entry, field.dtype, entry.shape or ())
        return InputBinding(entry, names, pixels=Pixels(entry, steps, decoded=field.image and None in field.shape))
    is_stacked = len(fields) > 1 or _is_column(entry, field.shape)
    shape = (*field.shape, len(fields)) if is_stacked else field.shape
    constant = is_constant(entry, shape, inputs)
    dtype = np.result_type(*(field.dtype for field in fields)) if len(fields) > 1 else field.dtype
    check_array(entry, dtype, shape, constant=constant)
    return InputBinding(entry, names, constant)


def preprocessing_for(
    entry: Input, field: Field, inputs: tuple[Input, ...], declared: DeclaredPreprocessing
) -> ResolvedPreprocessing | None:
    """Return the preprocessing of a field, None without any: it applies to images, or to the only input.

    Raises:
        DataError: when the user declares steps that have no effect.
    """
    if not field.image and len(inputs) > 1 and len(entry.shape or ()) != 4:
        return None
    ineffective = _ineffective_steps(entry, field)
    by_user = [name for name in ineffective if name in declared.by_user.origins]
    if by_user:
        raise _no_images(field, by_user, declared.by_user)
    # Declarations in files speak of images in general, and are no mistake where there are none.
    is_pixels = field.image or field.dtype == np.uint8
    preprocessing = (declared.for_bytes if is_pixels else declared.by_user).without(ineffective)
    return preprocessing if preprocessing.steps.declared() else None


def _ineffective_steps(entry: Input, field: Field) -> tuple[str, ...]:
    """Return the steps without effect on a field: those of images where its rows have no height and width.

    Rows of two axes may be gray images, whose layout matters only if the input has channels. A field of unknown shape
    may be anything.
    """
    rank = len(field.shape)
    if field.image or rank in (0, 4):
        return ()
    if rank != 3:
        return IMAGE_STEPS
    return ("layout",) if entry.shape is not None and len(entry.shape) == 3 else ()


def _no_images(field: Field, steps: Sequence[str], by_user: ResolvedPreprocessing) -> DataError:
    names = " and ".join(
        f"--{name}" if by_user.origins[name] == "options" else f"{name} in {by_user.origins[name]}" for name in steps
    )
    rows = " × ".join(map(str, field.shape[1:])) or "one number"
    return DataError(
        f"{names} can't be applied to {field.name!r}, whose rows are {rows}",
        f"images: height × width{', with or without' if len(field.shape) < 3 else ' ×'} channels",
        f"Leave out {names}, or save the rows in the shape of images.",
    )


def _check_resample(steps: Preprocessing) -> None:
    if steps.resample is not None and steps.resize is None:
        raise DataError(
            f"resample {steps.resample!r} is declared without resize",
            "the size that images are brought to",
            "Pass --resize as well, or leave --resample out.",
        )


def _check_same_steps(
    pair: tuple[ResolvedPreprocessing | None, ResolvedPreprocessing | None],
    models: tuple[str, str],
    layout: Layout | None,
) -> None:
    """Check that two models that share rows have preprocessing with the same effect.

    Args:
        pair: preprocessing of each model.
        models: path of each model, for messages.
        layout: layout of the input, or else of the rows, as far as their shapes tell it.

    Raises:
        DataError: when the effects differ.
    """
    first, second = ((Preprocessing() if one is None else one.steps).normal(layout) for one in pair)
    if first == second:
        return
    listed = "; ".join(
        f"{model}: {'nothing' if one is None else one.description}" for model, one in zip(models, pair, strict=True)
    )
    raise DataError(
        f"different preprocessing is declared for the models ({listed})",
        "the same for all models that take the same rows",
        "Pass it as options, such as --scale 1/255, or run each model alone.",
    )


def _describe_preprocessing(
    table: Table, bindings: tuple[InputBinding, ...], inputs: tuple[Input, ...], declared: DeclaredPreprocessing
) -> dict[str, Any] | None:
    """Return the applied steps, their origins, and the columns that were stacked, JSON-able."""
    candidates = (
        preprocessing_for(binding.entry, table.fields[binding.fields[0]], inputs, declared) for binding in bindings
    )
    applied = next((preprocessing.to_dict() for preprocessing in candidates if preprocessing is not None), None)
    if applied is None and declared.by_user.steps.declared():
        raise DataError(
            f"preprocessing is declared for {name_list([entry.name for entry in inputs])}",
            "an input with four axes, or a single one",
            "Leave the preprocessing out: it would not be applied.",
        )
    columns = next((list(binding.fields) for binding in bindings if len(binding.fields) > 1), None)
    return applied if columns is None else {**(applied or {}), "columns": columns}


def _notice_unused(
    table: Table, labels: Labels | None, bindings: tuple[InputBinding, ...], text: str | None
) -> list[Notice]:
    """Name the fields that are neither inputs nor labels: nobody would notice a misspelt one otherwise."""
    used = {name for binding in bindings for name in binding.fields}
    used |= {name for name in (text, None if labels is None else labels.field.name) if name is not None}
    unused = [name for name in table.fields if name not in used]
    if not unused:
        return []
    more = f" and {len(unused) - _LISTED} more" if len(unused) > _LISTED else ""
    remedy = " If one of them holds the labels, pass --labels NAME." if labels is None else ""
    names = ", ".join(map(repr, unused[:_LISTED]))
    message = f"Left out of {table.name}: {names}{more}, neither inputs nor labels of the model.{remedy}"
    return [Notice("unused_columns", message)]


def _with_random_access(table: Table, labels: Labels | None, names: list[str]) -> tuple[Table, Labels | None]:
    """Return table and labels whose rows can be read in any order."""
    if labels is None:
        return table.with_random_access(names), None
    if labels.table is not table:
        labels_table = labels.table.with_random_access([labels.field.name])
        return table.with_random_access(names), replace(labels, table=labels_table)
    both = table.with_random_access(sorted({*names, labels.field.name}))
    return both, replace(labels, table=both)


def _read_blocks(
    table: Table, names: list[str], labels: Labels | None, *, rows: Rows, size: int
) -> Iterator[tuple[Mapping[str, AnyArray], AnyArray | None, int]]:
    """Yield fields, labels and number of rows of each block, without rows that could not be read."""
    if labels is None or labels.table is table:
        key = None if labels is None else labels.field.name
        for block in table.read(names if key is None or key in names else [*names, key], rows, size):
            count = block.rows if block.readable is None else int(block.readable.sum())
            if count:
                yield block.arrays, None if key is None else block.arrays[key], count
        return
    key = labels.field.name
    for block, label_block in zip(table.read(names, rows, size), labels.table.read([key], rows, size), strict=True):
        readable, labelled = block.mask(), label_block.mask()
        count = int((readable & labelled).sum())
        if count:
            # Each block holds the rows that it could read: a batch takes those that both have.
            arrays = {name: array[labelled[readable]] for name, array in block.arrays.items() if array.ndim}
            yield {**block.arrays, **arrays}, label_block.arrays[key][readable[labelled]], count


def make_batch(
    arrays: Mapping[str, AnyArray], labels: AnyArray | None, bindings: tuple[InputBinding, ...], rows: int
) -> Batch:
    """Return the batch of a block of fields.

    Raises:
        DataError: when they don't fit the inputs.
    """
    shared = frozenset(binding.entry.name for binding in bindings if binding.constant)
    inputs = {binding.entry.name: binding.load(arrays) for binding in bindings}
    column = None if labels is None else class_column(labels)
    return Batch(inputs, column, rows, shared, batch_axes(binding.entry for binding in bindings))


def batch_axes(inputs: Iterable[Input]) -> dict[str, int]:
    """Return the axis of samples of each input where it is not the first."""
    return {entry.name: entry.batch_axis for entry in inputs if entry.batch_axis}


def check_batch_size(inputs: tuple[Input, ...]) -> None:
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


def check_array(
    entry: Input,
    dtype: np.dtype[Any],
    shape: tuple[int | str | None, ...],
    *,
    constant: bool = False,
    remedy: str = "",
) -> None:
    """Check that an array fits an input of the model, whatever the number of its rows.

    Args:
        entry: the input.
        dtype: type of the array.
        shape: shape of the array; None fits any size.
        constant: whether the array has no axis of rows.
        remedy: what to do about another shape, by default what helps with arrays.

    Raises:
        DataError: when its type, its rank or a fixed dimension differs.
    """
    _check_type(entry, dtype)
    if entry.shape is None:
        return
    first = 0 if constant else 1
    fits = len(shape) == len(entry.shape) and all(
        not isinstance(needed, int) or size is None or needed == size
        for needed, size in zip(entry.shape[first:], shape[first:], strict=True)
    )
    if not fits:
        raise DataError(
            f"input {entry.name!r} gets data of shape {shape_text(shape)}",
            f"shape {shape_text(entry.shape)}",
            remedy or _reshape_remedy(entry.shape, shape),
        )


def _check_type(entry: Input, dtype: np.dtype[Any]) -> None:
    if entry.dtype is None:
        raise DataError(
            f"input {entry.name!r} is no tensor",
            "inputs of numbers or strings",
            "Export the model without sequences, maps and optional inputs.",
        )
    if takes_text(entry):
        if dtype.kind not in "OU":
            raise DataError(
                f"input {entry.name!r} gets {dtype} data",
                "strings",
                "Convert the array with `.astype(str)` and save it again.",
            )
        return
    # NumPy makes the name anew each time, which takes longer than the rest of this function.
    if entry.dtype.kind == "V" and entry.dtype.name == "bfloat16":
        raise DataError(
            f"input {entry.name!r} has type bfloat16",
            "inputs of a type that NumPy has",
            "Export the model with float32 inputs, and cast them inside.",
        )
    if not (dtype.kind == entry.dtype.kind or (dtype.kind in "biu" and entry.dtype.kind in "iu")):
        raise _not_convertible(entry, dtype, entry.dtype)


def _not_convertible(entry: Input, dtype: np.dtype[Any], needed: np.dtype[Any]) -> DataError:
    convert = f"onvert the array with `.astype({needed.name!r})` and save it again."
    if dtype == np.uint8 and needed.kind == "f":
        remedy = f"Say how bytes are scaled, as in training (--scale 1/255), or c{convert}"
    elif dtype.kind == "f" and needed.kind in "iu":
        remedy = f"Leave out --scale, --mean and --std where they are passed, or c{convert}"
    else:
        remedy = f"C{convert}"
    return DataError(f"input {entry.name!r} gets {dtype} data", f"{needed}", remedy)


def _reshape_remedy(needed: tuple[int | str | None, ...], shape: tuple[int | str | None, ...]) -> str:
    """Say what to do about data of another shape: images may have their channels elsewhere, or no axis for them."""
    for axis in range(1, len(needed)):
        if needed[axis] == 1 and shape[1:] == (*needed[1:axis], *needed[axis + 1 :]):
            layout = {1: "NCHW", 3: "NHWC"}.get(axis) if len(needed) == 4 else None
            option = f"pass --layout {layout}, or " if layout else ""
            return f"An axis of length 1 is missing: {option}save numpy.expand_dims(array, {axis})."
    for layout, axes, where in (("NCHW", (0, 3, 1, 2), "last"), ("NHWC", (0, 2, 3, 1), "first")):
        if layout_of(needed) == layout and layout_of(shape) not in (None, layout):
            return f"The channels come {where}: pass --layout {layout}, or save array.transpose{axes}."
    return "Reshape or transpose the array (first axis: rows) and save it again."


def is_constant(entry: Input, shape: tuple[int | None, ...], inputs: tuple[Input, ...]) -> bool:
    """Tell whether an array is the same for every batch: a scalar, or one of a fixed first axis beside batched ones."""
    if not shape:
        return True
    has_batched = any(other.shape and not isinstance(other.shape[0], int) for other in inputs)
    if not has_batched or not entry.shape or len(entry.shape) != len(shape) or not isinstance(entry.shape[0], int):
        return entry.name in ONE_FOR_ALL and has_batched and shape[:1] == (1,) == (entry.shape or ())[:1]
    return all(size == given for size, given in zip(entry.shape, shape, strict=True) if isinstance(size, int))


def takes_text(entry: Input) -> bool:
    """Tell whether an input takes strings."""
    return entry.dtype is not None and entry.dtype.kind == "O"


def _to_text(entry: Input, array: AnyArray) -> AnyArray:
    """Convert an array of text to an array of Python's strings, as the runtime takes them.

    Raises:
        DataError: when it holds something else.
    """
    values = to_texts(array.reshape(-1), entry.name)
    others = [value for value in values if not isinstance(value, str)]
    if others:
        raise DataError(
            f"input {entry.name!r} gets a value of type {type(others[0]).__name__}",
            "strings",
            "Convert the values with `.astype(str)`, and fill in those that are missing.",
        )
    texts = np.empty(array.size, dtype=object)
    texts[:] = values
    return texts.reshape(array.shape)


def _is_column(entry: Input, shape: tuple[int | None, ...]) -> bool:
    """Tell whether one number per row feeds an input that takes tables of one column."""
    return len(shape) == 1 and entry.shape is not None and len(entry.shape) == 2 and entry.shape[1] == 1


def convert_array(entry: Input, array: AnyArray) -> AnyArray:
    """Convert an array to the input's type, native byte order and C order.

    Raises:
        DataError: when integers don't fit the type.
    """
    assert entry.dtype is not None  # noqa: S101 - `check_array` refused such inputs
    if takes_text(entry):
        return _to_text(entry, array)
    if array.dtype.kind in "iu" and array.size and not np.can_cast(array.dtype, entry.dtype, "safe"):
        limits = np.iinfo(entry.dtype.name)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise DataError(
                f"input {entry.name!r} gets values from {array.min()} to {array.max()}",
                f"values that {entry.dtype} holds",
                "Check the data and their type.",
            )
    # Bytes of booleans in a file may be others than 0 and 1, which the runtime takes for numbers.
    array = array.view(np.uint8) != 0 if array.dtype.kind == "b" else array
    # The runtime misreads foreign byte orders silently. A number too large for the type becomes infinite, and the pass
    # refuses it if it reaches the features.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array, dtype=entry.dtype.newbyteorder("="), order="C")
