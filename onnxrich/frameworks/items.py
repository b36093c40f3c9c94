"""Items of loaders as mappings from input name to array.

An item is what the model takes, a pair of that and the labels, or a triple with sample weights, which are ignored. What
the model takes is one array, a tuple of arrays in the order of the model's inputs, or a mapping by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import AdapterError, DataError
from onnxrich.frameworks.registry import LABELS, Item, converted

# Keys of the labels in a mapping.
LABEL_KEYS = (LABELS, "y")

# Converts a value to an array, given the name of its input or "labels".
Convert = Callable[[str, Any], NDArray[Any]]


def to_array(name: str, value: Any) -> NDArray[Any]:
    """Convert a value of any framework to a NumPy array."""
    return np.asarray(value)


def peek(items: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    """Look at the first item without losing it.

    Returns:
        The first item, and an iterable of all items.

    Raises:
        DataError: when there are no items.
    """
    iterator = iter(items)
    first = next(iterator, None)
    if first is None:
        raise DataError("the data hold no rows", "at least one row", "Pass data with rows.")
    return first, chain([first], iterator) if iterator is items else items


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """The inputs of a model.

    Attributes:
        names: names of the required inputs.
        optional: names of further inputs, bound where a mapping holds them.
        convert: converts values to arrays.
    """

    names: Sequence[str]
    optional: Sequence[str] = ()
    convert: Convert = to_array

    def bind(self, item: Any) -> Item:
        """Convert one item of a loader to arrays by name.

        Raises:
            AdapterError: when an input has no array, or the item holds labels for several outputs.
        """
        x, y = _split(item)
        if not isinstance(x, Mapping):
            arrays = list(x) if isinstance(x, tuple | list) else [x]
            x = dict(zip(self.names, arrays, strict=True)) if len(arrays) == len(self.names) else {}
        if not set(self.names) <= set(x):
            names = ", ".join(map(str, x)) or "another number of arrays than the model takes"
            raise AdapterError(
                f"an item of the data holds {names}",
                f"an array for each of {', '.join(self.names)}",
                "Yield (x, y) where x is one array for each input in this order, or a mapping from their names.",
            )
        if y is None:
            y = next((x[name] for name in LABEL_KEYS if name in x and name not in self.names), None)
        values = {name: x[name] for name in (*self.names, *self.optional) if name in x}
        values |= {} if y is None else {LABELS: _single_labels(y)}
        return {name: self.convert(name, value) for name, value in values.items()}


def read_items(loader: Any, inputs: ModelInputs) -> Iterable[Item]:
    """Convert the items of an iterable; an array or a mapping in memory is one item.

    Raises:
        AdapterError: when the loader is no iterable; while iterating, when an item doesn't match the inputs.
    """
    if isinstance(loader, Mapping) or hasattr(loader, "shape"):
        return [inputs.bind(loader)]
    if not isinstance(loader, Iterable):
        raise AdapterError(
            f"data of type {type(loader).__name__} can't be iterated over",
            "arrays, or an iterable of batches",
            "Pass batches (x, y).",
        )
    return converted(loader, inputs.bind)


def _split(item: Any) -> tuple[Any, Any]:
    """What the model takes, and the labels or None."""
    if not isinstance(item, tuple | list):
        return item, None
    if not 1 <= len(item) <= 3:
        raise AdapterError(
            f"an item of the data has {len(item)} parts",
            "(x,), (x, y) or (x, y, sample weights)",
            "Make x a tuple of the inputs.",
        )
    return item[0], item[1] if len(item) > 1 else None


def _single_labels(y: Any) -> Any:
    """The labels of the only output."""
    labels = list(y.values()) if isinstance(y, Mapping) else list(y) if isinstance(y, tuple) else [y]
    if len(labels) != 1:
        raise AdapterError(
            f"an item of the data holds labels for {len(labels)} outputs",
            "the labels of one head",
            "Yield (x, y) with the labels of the head.",
        )
    return labels[0]
