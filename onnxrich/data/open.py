"""Where rows come from: one file per kind of data, all giving the same `Batch`es."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from onnxrich.data import labels as marks
from onnxrich.data.checks import check_index_range, warn_on_pixel_scale
from onnxrich.data.class_names import class_names
from onnxrich.data.context import OpenContext
from onnxrich.data.discovery import find_data
from onnxrich.data.formats.registry import kind_and_path, open_table
from onnxrich.data.images.decode import ImageSpec
from onnxrich.data.images.layout import channels_of
from onnxrich.data.iterables import check_pairs, from_iterable
from onnxrich.data.labels import align_classes
from onnxrich.data.labels import align_classes_with as align_classes_with
from onnxrich.data.matching import ReadPlan, check_batch, from_table
from onnxrich.data.paths import DataPath
from onnxrich.data.preprocessing.declared import find_declared
from onnxrich.data.preprocessing.steps import Preprocessing
from onnxrich.data.selection import Selection
from onnxrich.data.source import Batch, Shard, SkippedItems, Source
from onnxrich.data.synthetic import synthesize
from onnxrich.data.table import of_array, of_columns
from onnxrich.data.text import tokenized
from onnxrich.errors import DataError
from onnxrich.model.file import Model

__all__ = ["Batch", "Preprocessing", "Selection", "Shard", "Source", "align_classes_with", "open_source"]


def open_source(
    model: Model,
    data: Any,
    labels: Any = None,
    *,
    others: Sequence[Model] = (),
    widths: Sequence[int | None] = (),
    seed: int = 0,
    reading: Any = None,
    preprocessing: Any = None,
) -> Source:
    """The source of some data, fitted to a model's inputs.

    Args:
        model: the model that the data are for.
        data: path or URL of a file or folder, with its kind and a colon before it where that is not plain; one array, a
            mapping from input name to array, an iterable of such mappings; or None: then what lies beside the model
            (`onnxrich.toml`, or a file of the model's name), else synthetic rows.
        labels: array, path of a file, or name of the labels in the data; None: the field `labels`, `label` or `y`, when
            it is there and is no input.
        others: further models that are to take the same rows.
        widths: number of outputs of the model and of the others, None where it is not known; left out, it is of none.
        seed: of synthetic rows, and of rows drawn at random.
        reading: a `Reading`, or a mapping of its fields.
        preprocessing: a `Preprocessing`, or a mapping of its fields.

    Raises:
        DataError: when the data can't be read or don't fit, or other data or other preprocessing is declared for one of
            the other models.
    """
    check_batch(model.inputs)
    wanted, steps = Selection.of(reading), Preprocessing.of(preprocessing)
    if data is None:
        data, labels = find_data(model, labels, others)
    if data is None and labels is not None:
        raise DataError("labels without data", "the data that they belong to", "Pass --data FILE as well.")
    if data is None:
        if (wanted, steps) != (Selection(), Preprocessing()):
            raise DataError("how to read data without data", "the data that are meant", "Pass --data FILE as well.")
        return synthesize(model, seed)
    place = kind_and_path(os.fspath(data))[1] if isinstance(data, str | os.PathLike) else None
    wish = ReadPlan(find_declared(model, others, place, steps), wanted, seed, SkippedItems(wanted.max_errors))
    told = (class_names(each, width) for each, width in zip_longest((model, *others), widths))
    opened = align_classes(_opened(model, data, labels, wish), told)
    return check_index_range(warn_on_pixel_scale(opened, model), model)


def _opened(model: Model, data: Any, labels: Any, wish: ReadPlan) -> Source:
    def request(place: DataPath) -> OpenContext:
        return OpenContext(place, _look(model, wish), wish.ledger)

    if isinstance(data, str | os.PathLike):
        table = open_table(os.fspath(data), request)
    elif isinstance(data, Mapping):
        arrays = {str(name): marks.as_array(str(name), array) for name, array in data.items()}
        table = of_columns("arrays", {name: of_array(name, array) for name, array in arrays.items()})
    elif isinstance(data, np.ndarray):
        table = of_columns("array", {"array": of_array("array", data)})
    elif isinstance(data, Iterable):
        check_pairs(data, model.inputs)
        if labels is not None and not isinstance(labels, str):
            raise DataError("an iterable with separate labels", "labels inside its items", "Yield them under a key.")
        return from_iterable(data, model.inputs, labels, wish)
    else:
        raise DataError(
            f"data of type {type(data).__name__}", "a path, an array, a mapping or an iterable", "Pass one of these."
        )
    table = tokenized(table, wish.reading, model.inputs)
    found = marks.find(table, {entry.name for entry in model.inputs}, labels, request)
    return from_table(table, found, model.inputs, wish)


def _look(model: Model, wish: ReadPlan) -> ImageSpec:
    """Size and colours of images: those of the input with four axes, or of the only one."""
    steps = wish.said.for_bytes.steps
    entries = [entry for entry in model.inputs if len(model.inputs) == 1 or len(entry.shape or ()) == 4]
    return ImageSpec(steps, channels_of(entries[0], steps) if entries else None)
