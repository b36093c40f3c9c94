"""What loaders of Keras and JAX yield, as mappings from input name to array.

An item is what the model takes, or a tuple of that and the labels, and of sample weights, which are left out. What the
model takes is one array, a tuple of them in the order of the model's inputs, or a mapping by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import AdapterError
from onnxrich.frameworks.registry import LABELS, Item, converted

# Keys of the labels in a mapping.
MARKS = (LABELS, "y")

# Turns a value into an array, given the name of the input or "labels".
Convert = Callable[[str, Any], NDArray[Any]]


def as_array(name: str, value: Any) -> NDArray[Any]:
    """A value of any framework as a NumPy array."""
    return np.asarray(value)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a model takes.

    Attributes:
        names: of its inputs.
        optional: names of what the model takes besides, if a mapping has it.
        convert: makes arrays.
    """

    names: Sequence[str]
    optional: Sequence[str] = ()
    convert: Convert = as_array

    def named(self, item: Any) -> Item:
        """One item by name.

        Raises:
            AdapterError: when an input has no array, or there are labels for several outputs.
        """
        x, y = _parts(item)
        if not isinstance(x, Mapping):
            arrays = list(x) if isinstance(x, tuple | list) else [x]
            x = dict(zip(self.names, arrays, strict=True)) if len(arrays) == len(self.names) else {}
        if not set(self.names) <= set(x):
            raise AdapterError(
                f"an item with {', '.join(map(str, x)) or 'another number of arrays'}",
                f"an array for each of {', '.join(self.names)}",
                "Yield (x, y) where x is one array for each input in this order, or a mapping from their names.",
            )
        y = next((x[name] for name in MARKS if name in x and name not in self.names), None) if y is None else y
        given = {name: x[name] for name in (*self.names, *self.optional) if name in x}
        given |= {} if y is None else {LABELS: _one(y)}
        return {name: self.convert(name, value) for name, value in given.items()}


def items(loader: Any, inputs: Inputs) -> Iterable[Item]:
    """The items of an iterable; an array or a mapping in memory is one item.

    Raises:
        AdapterError: when nothing can be iterated over; while iterating, when an item doesn't fit the inputs.
    """
    if isinstance(loader, Mapping) or hasattr(loader, "shape"):
        return [inputs.named(loader)]
    if not isinstance(loader, Iterable):
        raise AdapterError(
            f"data of type {type(loader).__name__}", "arrays, or an iterable of batches", "Pass batches (x, y)."
        )
    return converted(loader, inputs.named)


def _parts(item: Any) -> tuple[Any, Any]:
    """What the model takes, and the labels or None."""
    if not isinstance(item, tuple | list):
        return item, None
    if not 1 <= len(item) <= 3:
        raise AdapterError(
            f"an item of {len(item)} parts", "(x,), (x, y) or (x, y, sample weights)", "Make x a tuple of the inputs."
        )
    return item[0], item[1] if len(item) > 1 else None


def _one(y: Any) -> Any:
    several = list(y.values()) if isinstance(y, Mapping) else list(y) if isinstance(y, tuple) else [y]
    if len(several) != 1:
        raise AdapterError(
            f"labels for {len(several)} outputs", "those of one head", "Yield (x, y) with the labels of the head."
        )
    return several[0]
