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

from onnxrich.errors import AdapterError

GROUP = "onnxrich.adapters"
# Messages name the distribution of an adapter, except for this one.
OWN_DISTRIBUTION = "onnxrich"

# Key of the labels in an item. A model's input of this name serves to compute a loss, and is left out.
LABELS = "labels"
# Arrays by name: the model's inputs, and `labels` where they exist. The first axis counts rows.
Item = Mapping[str, NDArray[np.generic]]


class Adapter(Protocol):
    """The verbs of an adapter."""

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
        return map(self.convert, self.loader)


def converted(loader: Iterable[Any], convert: Callable[[Any], Item]) -> Iterable[Item]:
    """The converted items of a loader: an iterator where the loader is one, else iterable any number of times."""
    items = _Converted(loader, convert)
    return iter(items) if isinstance(loader, Iterator) else items


def is_in_memory(data: Any) -> bool:
    """Whether data are one item: an array or a table of any framework, or a mapping of arrays.

    A `shape` is no criterion: data sets that are iterated over have one too.
    """
    return any(hasattr(data, name) for name in ("dtype", "dtypes", "keys"))


def join_labels(data: Any, labels: Any) -> tuple[Any, Any]:
    """Join data in memory and their labels into a loader of one item.

    The adapter then converts both, and knows what labels mean in its framework, such as classes that are words.

    Returns:
        The data, and the labels that could not be joined or None.
    """
    if labels is None or isinstance(labels, str | os.PathLike) or not is_in_memory(data):
        return data, labels
    return [{**data, LABELS: labels} if isinstance(data, Mapping) else (data, labels)], None


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
