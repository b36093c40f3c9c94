"""Items of loaders as mappings from input name to array.

The number of the model's inputs decides what the parts of a tuple or a list are, in all frameworks alike:

1. A mapping holds inputs by name, and labels under one of their usual names.
2. A part that is itself a tuple, a list or a mapping holds the inputs; what follows are the labels.
3. As many arrays as the model has inputs are these inputs. One more array than that are the labels, of whatever shape:
   (x, target) of an autoencoder is one input and its target.
4. Data that are a tuple of arrays are one item. A list of arrays holds items, each an array, unless its arrays make
   an item and can't be items themselves; where they could be both, it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import AdapterError, DataError
from onnxrich.frameworks.randomness import is_indexed
from onnxrich.frameworks.registry import LABELS, Item, converted

# Keys of the labels in a mapping; the last two are those of data sets of transformers.
LABEL_KEYS = (LABELS, "label", "y", "label_ids")

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
        x, y = split_item(item, len(self.names), has_sample_weights=True)
        if not isinstance(x, Mapping):
            x = dict(zip(self.names, x, strict=True)) if len(x) == len(self.names) else {}
        if not set(self.names) <= set(x):
            names = ", ".join(map(str, x)) or "another number of arrays than the model takes"
            raise AdapterError(
                f"an item of the data holds {names}",
                f"an array for each of {', '.join(self.names)}",
                "Yield (x, y) where x is one array for each input in this order, or a mapping from their names.",
            )
        if y is None:
            y = find_labels(x, (*self.names, *self.optional))
        values = {name: x[name] for name in (*self.names, *self.optional) if name in x}
        values |= {} if y is None else {LABELS: _single_labels(y)}
        return {name: self.convert(name, value) for name, value in values.items()}


def read_items(loader: Any, inputs: ModelInputs) -> Iterable[Item]:
    """Convert the items of an iterable; an array, a mapping or a tuple of arrays in memory is one item.

    Raises:
        AdapterError: when the loader is no iterable; while iterating, when an item doesn't match the inputs.
    """
    if isinstance(loader, Mapping) or hasattr(loader, "shape") or is_item(loader, len(inputs.names)):
        return [inputs.bind(loader)]
    if not (isinstance(loader, Iterable) or is_indexed(loader)):
        raise AdapterError(
            f"data of type {type(loader).__name__} can't be iterated over",
            "arrays, or an iterable of batches",
            "Pass batches (x, y).",
        )
    return converted(loader, inputs.bind)


def is_item(data: Any, least: int, most: int | None = None) -> bool:
    """Whether data that are a tuple or a list of arrays are one item, and no collection of items (case 4).

    Args:
        data: what the user passed.
        least: number of the model's required inputs.
        most: number of all its inputs; None: that of the required ones.

    Raises:
        AdapterError: when a list may be one item or several.
    """
    if not isinstance(data, tuple | list) or len(data) < 2 or not all(map(_is_array, data[1:])):
        return False
    if _is_nested(data[0]):
        return len(data) == 2
    least = max(least, 1)
    if not _is_array(data[0]) or not least <= len(data) <= max(most or least, 1) + 1:
        return False
    if isinstance(data, tuple):
        return True
    if len({int(array.shape[0]) for array in data}) > 1:
        return False  # batches of different sizes
    if least > 1 or len({tuple(array.shape) for array in data}) > 1:
        return True
    raise AdapterError(
        f"the data are a list of {len(data)} arrays of one shape, which may be batches, or inputs and targets",
        "data that are one of the two",
        "Pass the tuple (x, target), or batches as [(x1,), (x2,)].",
    )


def split_item(item: Any, least: int, *, has_sample_weights: bool = False) -> tuple[Any, Any]:
    """Split an item into what the model takes and the labels.

    Args:
        item: one item of a loader.
        least: number of the model's required inputs.
        has_sample_weights: whether sample weights, which are ignored, may follow the labels of a single input.

    Returns:
        A mapping or a list of the inputs, and the labels or None.

    Raises:
        AdapterError: when the item has no parts, or parts behind the labels.
    """
    if isinstance(item, Mapping) or not isinstance(item, tuple | list):
        return item if isinstance(item, Mapping) else [item], None
    inputs: Any = None
    if item and _is_nested(item[0]):  # Case 2
        inputs, rest = item[0] if isinstance(item[0], Mapping) else list(item[0]), item[1:]
    else:
        labels = 2 if has_sample_weights and least <= 1 and len(item) > 2 else 1
        count = len(item) if len(item) <= max(least, 1) else max(len(item) - labels, 1)  # Case 3
        inputs, rest = list(item[:count]), item[count:]
    if not item or len(rest) > 1 + has_sample_weights or (has_sample_weights and least <= 1 < len(inputs)):
        raise AdapterError(
            f"an item of the data has {len(item)} parts",
            "(x,), (x, y) or (x, y, sample weights)" if has_sample_weights else "(x,) or (x, y)",
            "Make x a tuple of the inputs.",
        )
    return inputs, rest[0] if rest else None


def find_labels(item: Mapping[str, Any], inputs: Iterable[str]) -> Any:
    """The labels in a mapping, under one of their usual names that is no input; None without any."""
    return next((item[name] for name in LABEL_KEYS if name in item and name not in inputs), None)


def _is_nested(part: Any) -> bool:
    """Whether a part of an item holds the inputs: a mapping or arrays, and no numbers."""
    return isinstance(part, Mapping) or (
        isinstance(part, tuple | list) and not any(isinstance(entry, int | float | str) for entry in part)
    )


def _is_array(value: Any) -> bool:
    """Whether a value is an array or a table of any framework, with an axis of rows."""
    return any(hasattr(value, name) for name in ("dtype", "dtypes")) and len(getattr(value, "shape", ())) > 0


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
