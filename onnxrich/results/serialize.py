"""Conversion of results to JSON values and back, for files, documents and the pipe of the worker process."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import numpy as np

from onnxrich.metrics.base import Value
from onnxrich.metrics.jackknife import Interval

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

# The most characters of a text in a saved file: no name, path or message has as many.
LONGEST_TEXT = 100_000


def _is_array(kind: Any) -> bool:
    return kind is np.ndarray or get_origin(kind) is np.ndarray


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _has_tuple_keys(kind: Any) -> bool:
    """Tell whether a type is a mapping from tuples, which JSON has no keys for."""
    return get_origin(kind) in (dict, Mapping) and get_origin(get_args(kind)[0]) is tuple


def make_converter(
    unstructure_array: Callable[[Any], Any] = np.ndarray.tolist, structure_array: Callable[[Any], Any] = np.asarray
) -> Converter:
    """Make a converter of dataclasses that reports the first fault as a KeyError, TypeError or ValueError.

    Args:
        unstructure_array: turns an array into a JSON value; a list when left out.
        structure_array: turns that value into an array.
    """
    from cattrs.preconf.json import make_converter as make_json_converter

    converter = make_json_converter(detailed_validation=False)
    converter.register_unstructure_hook(Interval, Interval.to_dict)
    converter.register_structure_hook(Interval, lambda value, _: Interval.from_dict(value))
    converter.register_unstructure_hook_func(_is_array, unstructure_array)
    converter.register_structure_hook_func(_is_array, lambda value, _: structure_array(value))
    converter.register_unstructure_hook_func(
        _has_tuple_keys, lambda mapping: [[list(key), converter.unstructure(value)] for key, value in mapping.items()]
    )
    converter.register_structure_hook_func(
        _has_tuple_keys,
        lambda pairs, kind: {tuple(key): converter.structure(value, get_args(kind)[1]) for key, value in pairs},
    )
    return converter


def _make_strict_converter() -> Converter:
    """Make a converter that structures values of the declared types alone, and casts none: a text is no number."""
    converter = make_converter()
    for kind in (bool, int):
        converter.register_structure_hook(kind, _refuse_others)
    converter.register_structure_hook(str, lambda value, _: _text(value))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    converter.register_structure_hook_func(
        lambda kind: kind == Value, lambda value, _: value if type(value) is int else _optional(value)
    )
    converter.register_structure_hook(
        Interval, lambda value, _: Interval.from_dict({name: _number(number) for name, number in value.items()})
    )
    converter.register_structure_hook_func(
        _is_tuple,
        lambda values, kind: tuple(map(converter.structure, _list(values), _entries(kind, len(values)))),
    )
    return converter


def _refuse_others(value: Any, kind: type[T]) -> T:
    # A truth is a whole number to Python, and to nobody else.
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__}: {type(value).__name__} found")
    return value


def _text(value: Any) -> str:
    text = _refuse_others(value, str)
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"text of {len(text):,} characters")
    return text


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"number: {type(value).__name__} found")
    return float(value)


def _optional(value: Any) -> float | None:
    return None if value is None else _number(value)


def _list(values: Any) -> Sequence[Any]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"list: {type(values).__name__} found")
    return values


def _entries(kind: Any, length: int) -> Sequence[Any]:
    """The type of each entry of a tuple."""
    kinds = get_args(kind)
    if kinds[-1] is Ellipsis:
        return kinds[:1] * length
    if len(kinds) != length:
        raise ValueError(f"list of {len(kinds)}: {length} found")
    return kinds


# One converter for the process: it keeps the functions that it generates for each class.
_converter = functools.cache(_make_strict_converter)


def to_values(result: Any) -> Any:
    """Convert a dataclass to JSON values: dictionaries, lists, text, numbers, None."""
    return _converter().unstructure(result)


def from_values(kind: type[T], values: Mapping[str, Any]) -> T:
    """Convert what `to_values` gave back to a dataclass.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: when the values have another form.
    """
    return _converter().structure(values, kind)


def to_text(document: Any, *, indent: int | None = 2) -> str:
    """Convert a document to JSON text without NaN or infinity, which ends with a newline.

    The text is ASCII, which suits every terminal and encoding: no name in it can steer one, and whoever parses it gets
    each name as it is.
    """
    return json.dumps(document, indent=indent, allow_nan=False) + "\n"
