"""Conversion of results to JSON values and back, for files, documents and the pipe of the worker process."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

import numpy as np

from onnxrich.metrics.jackknife import Interval

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")


def _is_array(kind: Any) -> bool:
    return kind is np.ndarray or get_origin(kind) is np.ndarray


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


# One converter for the process: it keeps the functions that it generates for each class.
_converter = functools.cache(make_converter)


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
