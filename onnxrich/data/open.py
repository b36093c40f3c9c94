"""Opening of data: what the user passed becomes a source of batches that fit a model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from onnxrich._utils.formatting import shape_text
from onnxrich.data.checks import check_index_range, warn_on_pixel_scale
from onnxrich.data.class_names import read_class_names
from onnxrich.data.context import ImageSpec, OpenContext
from onnxrich.data.discovery import find_data
from onnxrich.data.formats.registry import open_table, split_format
from onnxrich.data.labels import Labels, align_classes, align_classes_with, find_labels
from onnxrich.data.matching import ReadPlan, check_batch_size, source_from_table
from onnxrich.data.paths import DataPath
from onnxrich.data.preprocessing.declared import find_declared
from onnxrich.data.preprocessing.steps import Preprocessing, channels_of
from onnxrich.data.selection import Selection
from onnxrich.data.source import SkippedItems, Source
from onnxrich.data.table import Column, Field, Table, to_array
from onnxrich.errors import DataError, Notice
from onnxrich.model.file import Input, Model

__all__ = ["Preprocessing", "Selection", "Source", "align_classes_with", "open_source"]


def open_source(
    model: Model,
    data: Any,
    labels: Any = None,
    *,
    ignored_label: int | None = None,
    others: Sequence[Model] = (),
    widths: Sequence[int | None] = (),
    seed: int = 0,
    reading: Any = None,
    preprocessing: Any = None,
) -> Source:
    """Open the source of some data for a model.

    Args:
        model: the model.
        data: path or URL of a file or folder, with its format and a colon before it where the ending doesn't tell it;
            one array; a mapping from input name to array; an iterable of such mappings; or None: the data beside the
            model (`onnxrich.toml`, or a file with the model's name), or else synthetic rows.
        labels: array, path of a file, or name of a field of the data; None: the field `labels`, `label` or `y`, when
            it exists and is no input.
        ignored_label: label of the rows to leave out.
        others: further models that take the same rows.
        widths: number of outputs of the model and of the others, None where it is unknown; empty: all are.
        seed: seed of synthetic rows, and of rows drawn at random.
        reading: a `Selection`, or a mapping of its attributes.
        preprocessing: a `Preprocessing`, or a mapping of its attributes.

    Raises:
        DataError: when the data can't be read or don't fit, or different data or different preprocessing is declared
            for one of the other models.
    """
    check_batch_size(model.inputs)
    selection, steps = Selection.of(reading), Preprocessing.of(preprocessing)
    if data is None:
        data, labels = find_data(model, labels, others)
    if data is None:
        return _synthesize(model, labels, (selection, steps), seed, ignored_label)
    path = split_format(os.fspath(data))[1] if isinstance(data, str | os.PathLike) else None
    declared = find_declared(model, others, path, steps)
    plan = ReadPlan(declared, selection, seed, SkippedItems(selection.max_errors), ignored_label)
    names = (read_class_names(entry, width) for entry, width in zip_longest((model, *others), widths))
    source = align_classes(_open(model, data, labels, plan), names)
    return check_index_range(warn_on_pixel_scale(source, model), model)


def _synthesize(
    model: Model, labels: Any, options: tuple[Selection, Preprocessing], seed: int, ignored_label: int | None
) -> Source:
    """Return random rows; refuse options that would be ignored."""
    from onnxrich.data.synthetic import synthesize

    if labels is not None or ignored_label is not None:
        raise DataError("labels were passed without data", "the data that they belong to", "Pass --data FILE as well.")
    if options != (Selection(), Preprocessing()):
        raise DataError("options of reading were passed without data", "the data to read", "Pass --data FILE as well.")
    return synthesize(model, seed)


def _open(model: Model, data: Any, labels: Any, plan: ReadPlan) -> Source:
    def context(path: DataPath) -> OpenContext:
        return OpenContext(path, _image_spec(model, plan), plan.skipped)

    if isinstance(data, str | os.PathLike):
        table = open_table(os.fspath(data), context)
    elif isinstance(data, Mapping):
        columns = {str(name): Column.from_array(str(name), to_array(str(name), data[name])) for name in data}
        table = Table.from_columns("arrays", columns)
    elif isinstance(data, np.ndarray):
        table = Table.from_columns("array", {"array": Column.from_array("array", data)})
    elif isinstance(data, Iterable):
        return _open_iterable(model, data, labels, plan)
    else:
        raise DataError(
            f"the data are of type {type(data).__name__}",
            "a path, an array, a mapping or an iterable",
            "Pass one of these.",
        )
    names = {entry.name for entry in model.inputs}
    inputs = _place_samples(table, model, find_labels(table, names, labels, context, plan.ignored_label), plan)
    table = _with_rows_first(table, inputs)
    if plan.selection.text is not None and plan.selection.tokenizer is not None:
        from onnxrich.data.text import tokenize

        table = tokenize(table, plan.selection.text, plan.selection.tokenizer, model.inputs)
    return source_from_table(table, find_labels(table, names, labels, context, plan.ignored_label), inputs, plan)


def _place_samples(table: Table, model: Model, labels: Labels | None, plan: ReadPlan) -> tuple[Input, ...]:
    """Return the inputs with the axis that has as many entries as there are samples, where the first has not.

    The labels count the samples, or else the inputs whose first axis is open. Runs of the first batch prove the axis.
    """
    fields = {entry.name: field for entry in model.inputs if (field := _field_of(entry, table, model.inputs))}
    batched = (entry.name for entry in model.inputs if _is_open(entry, 0))
    first = {fields[name].shape[0] for name in batched if name in fields and fields[name].shape}
    counts = first if labels is None else {labels.field.shape[0]}
    if model.batch_axes or len(counts) != 1:
        return model.inputs
    (n,) = counts
    axes: dict[str, int] = {}
    for entry in model.inputs:
        shape = fields[entry.name].shape if entry.name in fields else ()
        fitting = [axis for axis in range(1, len(shape)) if shape[axis] == n and _is_open(entry, axis)]
        if len(shape) == len(entry.shape or ()) and shape[:1] != (n,) and len(fitting) == 1:
            axes[entry.name] = fitting[0]
    if axes:
        listed = ", ".join(f"axis {axis} of {name!r} ({shape_text(fields[name].shape)})" for name, axis in axes.items())
        message = f"By their number, {n}, samples lie along {listed}. Pass --batch-axis N where they don't."
        plan.skipped.open_notices.append(Notice("batch_axis", message))
    return tuple(entry.with_batch_axis(axes.get(entry.name, 0)) for entry in model.inputs)


def _field_of(entry: Input, table: Table, inputs: Sequence[Input]) -> Field | None:
    """Return the field that feeds an input: that of its name, or for a single input the one with as many axes."""
    if entry.name in table.fields or len(inputs) > 1:
        return table.fields.get(entry.name)
    fitting = [field for field in table.fields.values() if len(field.shape) == len(entry.shape or ()) > 0]
    return fitting[0] if len(fitting) == 1 else None


def _is_open(entry: Input, axis: int) -> bool:
    return entry.shape is not None and axis < len(entry.shape) and not isinstance(entry.shape[axis], int)


def _with_rows_first(table: Table, inputs: Sequence[Input]) -> Table:
    """Return a table with the samples of each field along its first axis. Fields come as the model takes them."""
    axes = {
        field.name: entry.batch_axis
        for entry in inputs
        if entry.batch_axis and (field := _field_of(entry, table, inputs)) and entry.batch_axis < len(field.shape)
    }
    return table.with_rows_first(axes)


def _open_iterable(model: Model, data: Iterable[Any], labels: Any, plan: ReadPlan) -> Source:
    from onnxrich.data.iterables import check_no_pair, source_from_iterable

    check_no_pair(data, model.inputs)
    if labels is not None and not isinstance(labels, str):
        raise DataError("labels were passed beside an iterable", "labels inside its items", "Yield them under a key.")
    return source_from_iterable(data, model.inputs, labels, plan)


def _image_spec(model: Model, plan: ReadPlan) -> ImageSpec:
    """Return size and colours of images for the input with four axes, or for the only one."""
    steps = plan.declared.for_bytes.steps
    images = [entry for entry in model.inputs if len(model.inputs) == 1 or len(entry.shape or ()) == 4]
    return ImageSpec(steps, channels_of(images[0].shape or (), steps) if images else None)
