"""Where rows come from: one file per kind of data, all giving the same `Batch`es."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from onnxrich.data import labels as marks
from onnxrich.data.checks import doubting
from onnxrich.data.class_names import class_names
from onnxrich.data.context import Request
from onnxrich.data.discovery import beside
from onnxrich.data.fitted import Wish, from_table
from onnxrich.data.formats.registry import kind_and_place, open_table
from onnxrich.data.images.decode import Look
from onnxrich.data.images.layout import channels_of
from onnxrich.data.iterables import check_pairs, from_iterable
from onnxrich.data.labels import numbered_alike as numbered_alike
from onnxrich.data.labels import numbered_by
from onnxrich.data.ledger import Ledger
from onnxrich.data.lookup import looked_up
from onnxrich.data.matching import check_batch
from onnxrich.data.paths import Place
from onnxrich.data.preprocessing.declared import declared
from onnxrich.data.preprocessing.steps import Preprocessing
from onnxrich.data.selection import Reading
from onnxrich.data.source import Batch, Shard, Source
from onnxrich.data.synthetic import synthesize
from onnxrich.data.table import of_array, of_columns
from onnxrich.data.text import tokenized
from onnxrich.errors import DataError
from onnxrich.model.file import Model

__all__ = ["Batch", "Preprocessing", "Reading", "Shard", "Source", "numbered_alike", "open_source"]


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
    wanted, steps = Reading.of(reading), Preprocessing.of(preprocessing)
    if data is None:
        data, labels = beside(model, labels, others)
    if data is None and labels is not None:
        raise DataError("labels without data", "the data that they belong to", "Pass --data FILE as well.")
    if data is None:
        if (wanted, steps) != (Reading(), Preprocessing()):
            raise DataError("how to read data without data", "the data that are meant", "Pass --data FILE as well.")
        return synthesize(model, seed)
    place = kind_and_place(os.fspath(data))[1] if isinstance(data, str | os.PathLike) else None
    wish = Wish(declared(model, others, place, steps), wanted, seed, Ledger(wanted.max_errors))
    told = (class_names(each, width) for each, width in zip_longest((model, *others), widths))
    opened = numbered_by(_opened(model, data, labels, wish), told)
    return looked_up(doubting(opened, model), model)


def _opened(model: Model, data: Any, labels: Any, wish: Wish) -> Source:
    def request(place: Place) -> Request:
        return Request(place, _look(model, wish), wish.ledger)

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


def _look(model: Model, wish: Wish) -> Look:
    """Size and colours of images: those of the input with four axes, or of the only one."""
    steps = wish.said.for_bytes.steps
    entries = [entry for entry in model.inputs if len(model.inputs) == 1 or len(entry.shape or ()) == 4]
    return Look(steps, channels_of(entries[0], steps) if entries else None)
