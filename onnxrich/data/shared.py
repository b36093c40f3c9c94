"""One source for several models: the batches of one, as another takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnxrich.data.matching import check, convert, is_constant
from onnxrich.data.source import Batch, Source
from onnxrich.errors import DataError
from onnxrich.model.file import Model


def leading(models: Sequence[Model]) -> Model:
    """The model whose inputs the source is fitted to: the first of those with the most."""
    return max(models, key=lambda model: len(model.inputs))


def renamed(model: Model, leader: Model) -> dict[str, str]:
    """Which input of the leader feeds each input of a model: that of its name, or the only one of both.

    Raises:
        DataError: when neither can be.
    """
    names, given = ([entry.name for entry in each.inputs] for each in (model, leader))
    if set(names) <= set(given):
        return {name: name for name in names}
    if len(names) == len(given) == 1:
        return {names[0]: given[0]}
    raise DataError(
        f"{model.path} takes {_listing(names)}, and {leader.path} takes {_listing(given)}",
        "models whose inputs have the same names, or a single input each",
        "Export them with the same input names.",
    )


def source_for(model: Model, source: Source, leader: Model) -> Source:
    """The source of the leader, as a model takes it."""
    names = renamed(model, leader)
    return replace(source, read=lambda shard, size: (fitted(b, model, names) for b in source.read(shard, size)))


def fitted(batch: Batch, model: Model, names: dict[str, str]) -> Batch:
    """A batch as a model takes it.

    Args:
        batch: with the inputs of another model.
        model: the model.
        names: what `renamed` gave.

    Raises:
        DataError: when an array doesn't fit the model's input.
    """
    arrays = {entry.name: batch.inputs[names[entry.name]] for entry in model.inputs}
    for entry in model.inputs:
        array = arrays[entry.name]
        check(entry, array.dtype, array.shape, constant=is_constant(entry, array.shape, model.inputs))
    inputs = {entry.name: convert(entry, arrays[entry.name]) for entry in model.inputs}
    shared = frozenset(name for name in inputs if names[name] in batch.shared)
    return replace(batch, inputs=inputs, shared=shared)


def _listing(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names)) or "nothing"
