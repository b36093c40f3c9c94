"""The protocol of adapters, and the registry that finds them through the entry points `onnxrich.adapters`.

Requirements of an adapter, which is a module or any object with the same verbs:

- Importing it imports no framework: `is_native` looks only at modules that the caller has imported, and all other verbs
  import the framework inside of the function.
- It converts at the edge, to NumPy arrays and to ONNX. The core checks the exports and measures them.
- It never unpickles.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxrich.data.formats.registry import is_data_file
from onnxrich.errors import AdapterError, DataError, Notice
from onnxrich.frameworks.randomness import is_indexed, isolated

GROUP = "onnxrich.adapters"
# Messages name the distribution of an adapter, except for this one.
OWN_DISTRIBUTION = "onnxrich"

# Key of the labels in an item. A model's input of this name serves to compute a loss, and is left out.
LABELS = "labels"
# The input of token numbers, by the name that models of transformers give it: its shape is (texts, tokens).
TOKENS = "input_ids"
# Rows that are joined to a batch.
ROWS_PER_BATCH = 256
# Arrays by name: the model's inputs, and `labels` where they exist. The first axis counts rows.
Item = Mapping[str, NDArray[np.generic]]


class Adapter(Protocol):
    """The verbs of an adapter.

    One more is optional: `notices(obj, example)` returns what results must say of a model, given an item with labels.
    """

    def is_native(self, obj: Any) -> bool:
        """Whether an object is a model of this framework, and of no more specialised adapter."""

    def load(self, path: Path) -> Any | None:
        """Load the model that a file or folder holds; None where the path is of another framework."""

    def batches(self, obj: Any, loader: Any) -> Iterable[Item]:
        """Convert the items of a loader to arrays by the names of the model's inputs, as `converted` does.

        Args:
            obj: the model that takes them.
            loader: what the framework's users iterate over. An array or a mapping of arrays is one item. None asks for
                one item of arbitrary values, in the shapes that the model itself declares.

        Raises:
            AdapterError: when an item doesn't match the inputs, or the loader is None and the model declares no shapes.
        """

    def to_onnx(self, obj: Any, example: Item, path: Path) -> str:
        """Write the model to a file, in evaluation mode and with a symbolic first axis of the inputs.

        Weights should keep their names and values, or be transposed: then a recorder can swap them.

        Args:
            obj: the model, which is left unchanged.
            example: two or more rows, without labels. The inputs of the ONNX model get these names.
            path: file to write. Large weights may go to files beside it.

        Returns:
            Name and version of the framework, such as "torch 2.13.0".
        """

    def forward(self, obj: Any, given: Item) -> Sequence[NDArray[np.generic]]:
        """Compute the outputs with the framework itself, in evaluation mode and in the order of the ONNX model.

        The export is checked against these outputs.
        """

    def weights(self, obj: Any) -> Mapping[str, NDArray[np.generic]]:
        """The present values of all parameters and buffers, by the framework's names."""

    def callback(self, *args: Any, **options: Any) -> Any:
        """Make a callback for the framework's trainer that calls an `onnxrich.Recorder` of these arguments."""


@dataclass(frozen=True, eq=False)
class _Converted:
    loader: Iterable[Any]
    convert: Callable[[Any], Item]

    def __iter__(self) -> Iterator[Item]:
        return join_rows(map(self.convert, isolated(self.loader)), are_rows=is_indexed(self.loader))


def converted(loader: Iterable[Any], convert: Callable[[Any], Item]) -> Iterable[Item]:
    """The converted items of a loader: an iterator where the loader is one, else iterable any number of times.

    Single rows are joined to batches. Reading changes no random state that a training draws from.
    """
    items = _Converted(loader, convert)
    return iter(items) if isinstance(loader, Iterator) else items


@dataclass(frozen=True, eq=False)
class _Mapped:
    items: Iterable[Item]
    function: Callable[[Item], Item]

    def __iter__(self) -> Iterator[Item]:
        return map(self.function, self.items)


def mapped(items: Iterable[Item], function: Callable[[Item], Item]) -> Iterable[Item]:
    """A function of each item: an iterator where the items are one, else iterable any number of times."""
    results = _Mapped(items, function)
    return iter(results) if isinstance(items, Iterator) else results


def join_rows(items: Iterable[Item], *, are_rows: bool) -> Iterator[Item]:
    """Join rows without an axis of rows to batches; batches pass.

    Args:
        items: rows or batches.
        are_rows: whether all are rows; else those with a single number as the label, or with one text as tokens.

    Raises:
        DataError: when rows have other names or shapes than their neighbours.
    """
    rows: list[Item] = []
    for item in items:
        is_row = are_rows or np.ndim(item.get(LABELS, ())) == 0 or np.ndim(item.get(TOKENS, ((),))) == 1
        if rows and (len(rows) == ROWS_PER_BATCH or not is_row):
            yield _stack(rows)
            rows = []
        if is_row:
            rows.append(item)
        else:
            yield item
    if rows:
        yield _stack(rows)


def _stack(rows: Sequence[Item]) -> Item:
    names = set(rows[0])
    if any(set(row) != names for row in rows):
        raise DataError("rows of the data hold different names", "the same in all", "Check the data.")
    for name in rows[0]:
        shapes = sorted({np.shape(row[name]) for row in rows})
        if len(shapes) > 1:
            raise DataError(
                f"rows of the data have shapes {shapes[0]} and {shapes[1]} for {name!r}",
                "rows of one shape",
                "Pad them, or pass a loader that does.",
            )
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def is_in_memory(data: Any) -> bool:
    """Whether data are one item: an array or a table of any framework, or a mapping of arrays.

    A `shape` is no criterion: data sets that are iterated over have one too.
    """
    return any(hasattr(data, name) for name in ("dtype", "dtypes", "keys"))


def model_notices(adapter: Adapter, model: Any, example: Item) -> tuple[Notice, ...]:
    """What results of a model must say, by the optional verb `notices(obj, example)` of its adapter.

    Args:
        adapter: adapter of the model's framework.
        model: the model.
        example: an item of `Adapter.batches`, with its labels.
    """
    verb = getattr(adapter, "notices", None)
    return () if verb is None else tuple(verb(model, example))


def join_labels(data: Any, labels: Any) -> tuple[Any, Any]:
    """Join data and their labels into a loader.

    The adapter then converts both, and knows what labels mean in its framework, such as classes that are words.

    Args:
        data: what the user passed: arrays, a mapping, or a loader.
        labels: an array, the key under which items hold the labels, or a file.

    Returns:
        The data, and the labels that could not be joined or None.

    Raises:
        DataError: when no item has the key.
    """
    if labels is None:
        return data, None
    if isinstance(labels, str | os.PathLike):
        return _name_labels(data, labels)
    if isinstance(data, tuple | list) and len(data) > 1 and all(map(is_in_memory, data)):
        return [(tuple(data), labels)], None
    if not is_in_memory(data):
        return data, labels
    return [{**data, LABELS: labels} if isinstance(data, Mapping) else (data, labels)], None


def _name_labels(data: Any, labels: str | os.PathLike[str]) -> tuple[Any, Any]:
    """Put the labels under a key of the data where adapters look for them."""
    is_file = not isinstance(labels, str) or is_data_file(labels)
    if isinstance(data, Mapping):
        if is_file and labels not in data:
            return data, labels
        return _named_labels(data, str(labels)), None
    if is_file or data is None or is_in_memory(data):
        return data, labels
    if is_indexed(data):
        return _RelabelledRows(data, str(labels)), None
    return mapped(data, lambda item: _named_labels(item, str(labels))), None


@dataclass(frozen=True, eq=False)
class _RelabelledRows:
    """Rows by index, with the labels under the key where adapters look for them."""

    rows: Any
    key: str

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return _named_labels(self.rows[index], self.key)


def _named_labels(item: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(item, Mapping):
        raise DataError(
            f"labels={key!r} was passed, and the data yield items of type {type(item).__name__}",
            "mappings with this key",
            "Leave labels out where they are the last part of an item.",
        )
    if key not in item:
        raise DataError(
            f"an item of the data holds {', '.join(map(repr, item))}, and no {key!r}",
            "the key of the labels",
            "Pass one of these keys as labels.",
        )
    return {**item, LABELS: item[key]}


def model_title(obj: Any) -> str:
    """Name of a model for people: its class or function, for a pair, as in JAX, that of the first element."""
    if isinstance(obj, tuple):
        return model_title(obj[0])
    return str(getattr(obj, "__name__", type(obj).__qualname__))


@functools.cache
def load_adapters() -> Mapping[str, Adapter]:
    """Load all installed adapters, once in a process.

    Returns:
        Adapters by "name of the entry point (distribution)", those of onnxrich by the name alone.

    Raises:
        AdapterError: when an adapter can't be imported.
    """
    adapters: dict[str, Adapter] = {}
    for entry in importlib.metadata.entry_points(group=GROUP):
        distribution = entry.dist.name if entry.dist is not None else "unknown"
        name = entry.name if distribution == OWN_DISTRIBUTION else f"{entry.name} ({distribution})"
        try:
            adapters[name] = entry.load()
        except (ImportError, AttributeError) as error:
            raise AdapterError(
                f"the adapter {entry.name} of {distribution} can't be imported: {error}",
                "an adapter that imports without its framework",
                f"Update or remove {distribution}.",
            ) from error
    return adapters


def find_adapter(obj: Any) -> Adapter:
    """Find the adapter that takes a model.

    Raises:
        AdapterError: when no adapter takes it, or more than one.
    """
    candidates = {name: adapter for name, adapter in load_adapters().items() if adapter.is_native(obj)}
    return _select_one(candidates, f"a model of type {type(obj).__module__}.{type(obj).__qualname__} is taken by")


def load_model(path: Path) -> tuple[Adapter, Any]:
    """Load the model of a framework's file or folder, with its adapter.

    Raises:
        AdapterError: when no adapter reads it, or more than one.
    """
    models = {name: _load(adapter, path) for name, adapter in load_adapters().items()}
    candidates = {name: load_adapters()[name] for name, model in models.items() if model is not None}
    adapter = _select_one(candidates, f"{path} is read by")
    return adapter, models[next(iter(candidates))]


def _load(adapter: Adapter, path: Path) -> Any | None:
    try:
        return adapter.load(path)
    except ModuleNotFoundError as error:
        raise missing_package(error, f"to read {path}") from error


def missing_package(error: ModuleNotFoundError, purpose: str) -> AdapterError:
    """The error that names the missing package of a framework, its purpose, and how to install it."""
    package = (error.name or "").partition(".")[0]
    found = f"the package {package} is needed {purpose} and is not installed"
    return AdapterError(found, "", f"Install it: pip install {package}.")


def _select_one(candidates: Mapping[str, Adapter], subject: str) -> Adapter:
    """The only candidate; `subject` begins a sentence that ends with adapters."""
    if len(candidates) == 1:
        return next(iter(candidates.values()))
    if candidates:
        raise AdapterError(
            f"{subject} {len(candidates)} adapters, {' and '.join(sorted(candidates))}",
            "exactly one adapter",
            "Remove one of these distributions, or export the model to ONNX yourself.",
        )
    frameworks = ", ".join(sorted(load_adapters()))
    raise AdapterError(
        f"{subject} no adapter",
        f"an ONNX model, or a model of {frameworks}" if frameworks else "an ONNX model: no adapter is installed",
        "Export it to ONNX, or install an adapter for it (pip install 'onnxrich[torch]').",
    )
