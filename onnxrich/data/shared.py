"""One source for several models: the batches of one model as another takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnxrich._utils.formatting import name_list
from onnxrich.data.matching import batch_axes, check_array, convert_array, is_constant
from onnxrich.data.source import Batch, Source
from onnxrich.errors import DataError
from onnxrich.model.file import Model


def choose_leader(models: Sequence[Model]) -> Model:
    """Return the model whose inputs the source is matched with: the first of those with the most inputs."""
    return max(models, key=lambda model: len(model.inputs))


def match_inputs(model: Model, leader: Model) -> dict[str, str]:
    """Match a model's inputs with the leader's: by name, or the only input of both.

    Returns:
        Name of the leader's input by name of the model's.

    Raises:
        DataError: when neither fits.
    """
    names, leader_names = ([entry.name for entry in one.inputs] for one in (model, leader))
    if set(names) <= set(leader_names):
        return {name: name for name in names}
    if len(names) == len(leader_names) == 1:
        return {names[0]: leader_names[0]}
    raise DataError(
        f"{model.path} takes {name_list(names)}, and {leader.path} takes {name_list(leader_names)}",
        "models whose inputs have the same names, or a single input each",
        "Export them with the same input names.",
    )


def adapt_source(model: Model, source: Source, leader: Model) -> Source:
    """Return the leader's source as a model takes it."""
    names = match_inputs(model, leader)
    return replace(source, read=lambda shard, size: (adapt_batch(b, model, names) for b in source.read(shard, size)))


def adapt_batch(batch: Batch, model: Model, names: dict[str, str]) -> Batch:
    """Return a batch as a model takes it.

    Args:
        batch: batch with the leader's inputs.
        model: the model.
        names: name of the leader's input by name of the model's, from `match_inputs`.

    Raises:
        DataError: when an array doesn't fit the model's input.
    """
    arrays = {entry.name: batch.inputs[names[entry.name]] for entry in model.inputs}
    for entry in model.inputs:
        array = arrays[entry.name]
        check_array(entry, array.dtype, array.shape, constant=is_constant(entry, array.shape, model.inputs))
    inputs = {entry.name: convert_array(entry, arrays[entry.name]) for entry in model.inputs}
    axes = {name: batch.axes[names[name]] for name in inputs if names[name] in batch.axes} | batch_axes(model.inputs)
    shared = frozenset(name for name in inputs if names[name] in batch.shared)
    return replace(batch, inputs=inputs, shared=shared, axes=axes)
