"""Adapters: what onnxrich has to know of a framework, found through entry points of the group `onnxrich.adapters`.

Requirements of an adapter, which is a module, or any object with the same verbs:

- Importing it imports no framework: `is_native` looks at what the caller has imported, all the rest imports inside.
- It converts at the edge, to NumPy arrays and to ONNX; how exports are checked and measured is the core's matter.
- It never unpickles.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import AdapterError

GROUP = "onnxrich.adapters"
# The distribution whose adapters need no word on where they come from.
OWN = "onnxrich"

# Key of the labels in an item; an input of this name is what a model computes its loss from, and left out.
LABELS = "labels"
# Arrays by name: the model's inputs, and `labels` where there are any; the first axis is that of rows.
Item = Mapping[str, NDArray[np.generic]]


class Adapter(Protocol):
    """The verbs of an adapter."""

    def is_native(self, obj: Any) -> bool:
        """Whether an object is a model of this framework; false for a more special adapter's."""

    def load(self, path: Path) -> Any | None:
        """The model that a file or folder holds, None where it is none of this framework's."""

    def batches(self, obj: Any, loader: Any) -> Iterable[Item]:
        """The items of a loader by the names of the model's inputs, as `converted` gives them.

        Args:
            obj: the model that they are for.
            loader: what the framework's users iterate over; an array, or a mapping of arrays, is one item. None asks
                for one item of any values, in the shapes that the model itself declares.

        Raises:
            AdapterError: when items can't be told apart, or None is given and the model declares no shapes.
        """

    def to_onnx(self, obj: Any, example: Item, path: Path) -> str:
        """Write the model to a file, in evaluation mode and with a symbolic first axis of the inputs.

        Weights should keep their names and values, or be transposed: then a training can swap them.

        Args:
            obj: the model; as it was afterwards.
            example: two or more rows, without labels; the inputs of the ONNX model get these names.
            path: file to write; larger weights may go beside it.

        Returns:
            Name and version of the framework, such as "torch 2.13.0".
        """

    def forward(self, obj: Any, given: Item) -> Sequence[NDArray[np.generic]]:
        """The framework's own computation, in evaluation mode: outputs in the order of the ONNX model's.

        Exports are checked against it.
        """

    def weights(self, obj: Any) -> Mapping[str, NDArray[np.generic]]:
        """All parameters and buffers as they are now, by the framework's names."""

    def callback(self, *args: Any, **options: Any) -> Any:
        """What the framework's own trainer takes to call an `onnxrich.Recorder`, whose arguments these are."""


@dataclass(frozen=True, eq=False)
class _Converted:
    loader: Iterable[Any]
    convert: Callable[[Any], Item]

    def __iter__(self) -> Iterator[Item]:
        return map(self.convert, self.loader)


def converted(loader: Iterable[Any], convert: Callable[[Any], Item]) -> Iterable[Item]:
    """The items of a loader, each converted: iterable again where the loader is, an iterator where it is one."""
    items = _Converted(loader, convert)
    return iter(items) if isinstance(loader, Iterator) else items


def in_memory(data: Any) -> bool:
    """Whether data are one item: an array or a table of any framework, or a mapping of arrays.

    A shape alone says nothing: data sets that are iterated over have one too.
    """
    return any(hasattr(data, name) for name in ("dtype", "dtypes", "keys"))


def join_labels(data: Any, labels: Any) -> tuple[Any, Any]:
    """A loader of one item for data in memory with labels apart, and the labels that are still apart.

    So the adapter gets both: it knows what labels mean to its framework, such as classes that are words.
    """
    if labels is None or isinstance(labels, str | os.PathLike) or not in_memory(data):
        return data, labels
    return [{**data, LABELS: labels} if isinstance(data, Mapping) else (data, labels)], None


def model_title(obj: Any) -> str:
    """What a person calls a model: its class, or the function's name; of a pair, as in JAX, that of the first."""
    if isinstance(obj, tuple):
        return model_title(obj[0])
    return str(getattr(obj, "__name__", type(obj).__qualname__))


@functools.cache
def adapters() -> Mapping[str, Adapter]:
    """All installed adapters, by "name of the entry point (distribution)"; those of onnxrich by the name alone.

    Raises:
        AdapterError: when one can't be imported.
    """
    found: dict[str, Adapter] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        owner = entry.dist.name if entry.dist is not None else "unknown"
        name = entry.name if owner == OWN else f"{entry.name} ({owner})"
        try:
            found[name] = entry.load()
        except (ImportError, AttributeError) as error:
            raise AdapterError(
                f"adapter {entry.name} of {owner} can't be imported: {error}",
                "an adapter that imports without its framework",
                f"Update or remove {owner}.",
            ) from error
    return found


def find_adapter(obj: Any) -> Adapter:
    """The adapter for a model.

    Raises:
        AdapterError: when there is none, or more than one.
    """
    what = f"a model of type {type(obj).__module__}.{type(obj).__qualname__}"
    return _only(what, {name: adapter for name, adapter in adapters().items() if adapter.is_native(obj)})


def load_model(path: Path) -> tuple[Adapter, Any]:
    """The model that a file or folder of a framework holds, and its adapter.

    Raises:
        AdapterError: when no adapter reads it, or more than one.
    """
    models = {name: model for name, adapter in adapters().items() if (model := _loaded(adapter, path)) is not None}
    adapter = _only(str(path), {name: adapters()[name] for name in models})
    return adapter, next(iter(models.values()))


def _loaded(adapter: Adapter, path: Path) -> Any | None:
    try:
        return adapter.load(path)
    except ModuleNotFoundError as error:
        raise missing_package(error, f"to read {path}") from error


def missing_package(error: ModuleNotFoundError, why: str) -> AdapterError:
    """The error that says which package a framework lacks, and how to get it."""
    package = (error.name or "").partition(".")[0]
    return AdapterError(f"no package {package}", f"it, {why}", f"Install it: pip install {package}.")


def _only(what: str, matches: Mapping[str, Adapter]) -> Adapter:
    if len(matches) == 1:
        return next(iter(matches.values()))
    if matches:
        raise AdapterError(
            f"{what}, which {' and '.join(sorted(matches))} both take",
            "one adapter",
            "Remove one of these distributions, or export the model to ONNX yourself.",
        )
    raise AdapterError(
        what,
        f"an ONNX model, or one of {', '.join(sorted(adapters())) or 'an adapter; none is installed'}",
        "Export it to ONNX, or install an adapter for it (pip install 'onnxrich[torch]').",
    )


@contextlib.contextmanager
def quiet(logger: str, level: int) -> Iterator[None]:
    """For an exporter that talks: no warnings, and of its logger nothing below a level of `logging`."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
