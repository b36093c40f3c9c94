"""Names of classes: those that a model states for its outputs, and the integers of labels in words."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import numpy_helper

from onnxrich._utils.files import read_limited
from onnxrich._utils.parsing import parse_json
from onnxrich.data.paths import DataPath, first_line
from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError
from onnxrich.model.file import Model
from onnxrich.model.graph import attribute

CONFIG = "config.json"
# The 21,841 names of ImageNet-21k, from number to name and from name to number, take more than a megabyte.
LARGEST_CONFIG = 2**24
LARGEST_METADATA = 2**20


@dataclass(frozen=True)
class ClassNames:
    """The class names of a model.

    Attributes:
        names: in the order of the model's outputs; None without usable names.
        flaw: why the names that the model states can't be used, a sentence without its full stop; empty without any.
    """

    names: tuple[str, ...] | None = None
    flaw: str = ""


def read_class_names(model: Model, outputs: int | None) -> ClassNames:
    """Read the class names from the first that has any: the graph, its metadata, `config.json` beside the model.

    Args:
        model: the model.
        outputs: number of the model's outputs, which the number of names must match; None where it is unknown.

    Raises:
        DataError: when `config.json` exists, and can't be opened.
    """
    names, flaw = _names_in_graph(model) or _sort_by_number(_read_metadata(model)), ""
    if names is None:
        mapping, flaw = _read_config(model)
        names = _sort_by_number(mapping)
        if mapping is not None and names is None:
            flaw = f"id2label in {CONFIG} beside {model.path} doesn't give each number from 0 on a name of its own"
    # A single output decides between two classes.
    if names is not None and outputs is not None and len(names) != max(outputs, 2):
        return ClassNames(flaw=f"{model.path} names {len(names)} classes, and its outputs are {outputs}")
    return ClassNames(names, flaw)


def _names_in_graph(model: Model) -> tuple[str, ...] | None:
    """Read the words of scikit-learn's converters: keys of outputs, or words that the largest output picks."""
    graph = model.proto.graph
    tables = {tensor.name: tensor for tensor in graph.initializer if tensor.string_data}
    for node in graph.node:
        words = list(attribute(node, "classlabels_strings", ())) if node.op_type == "ZipMap" else []
        if node.op_type == "ArrayFeatureExtractor" and node.input[0] in tables:
            words = numpy_helper.to_array(tables[node.input[0]]).reshape(-1).tolist()
        if words:
            return tuple(word.decode(errors="replace") if isinstance(word, bytes) else word for word in words)
    return None


def _read_metadata(model: Model) -> Any:
    """Read the metadata `names` of Ultralytics: a Python literal, a dictionary from index to name."""
    text = next((entry.value for entry in model.proto.metadata_props if entry.key == "names"), "")
    try:
        return ast.literal_eval(text[:LARGEST_METADATA])
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _read_config(model: Model) -> tuple[Any, str]:
    """Read `id2label` of Hugging Face's `config.json` beside a model, and say why it can't be read.

    Other programs write files of that name too, so a file without `id2label` has no flaw.
    """
    path = None if model.home is None else DataPath(str(model.home)).child(CONFIG)
    if path is None or not path.is_file():
        return None, ""
    name = f"{CONFIG} beside {model.path}"
    with path.open("a readable JSON file") as file:
        try:
            config = parse_json(read_limited(file, LARGEST_CONFIG, DataError, name), is_finite=False)
        except DataError as error:
            return None, f"{error.found}, and may have {error.needed}"
        except ValueError as error:
            return None, f"{name} is no whole JSON file ({first_line(error)})"
    return config.get("id2label") if isinstance(config, Mapping) else None, ""


def _sort_by_number(names: Any) -> tuple[str, ...] | None:
    """Return the names of a mapping from 0, 1, …, as integers or texts; None for any other value."""
    if not isinstance(names, Mapping) or not all(isinstance(name, str) for name in names.values()):
        return None
    if len(set(names.values())) < len(names):
        return None  # one word would have two numbers
    by_number = {str(number): name for number, name in names.items()}
    order = [str(number) for number in range(len(names))]
    return tuple(by_number[number] for number in order) if set(by_number) == set(order) and order else None


def number_classes(labels: Sequence[str]) -> tuple[AnyArray, tuple[str, ...] | None]:
    """Convert labels in text to integers: whole numbers to themselves, words to their index in the sorted words.

    Returns:
        The integers, int64 of shape (n,), and the words in their order, None for numbers.
    """
    unique = sorted(set(labels))
    if all(word.isascii() and word.isdigit() and (word == "0" or word[0] != "0") and len(word) < 10 for word in unique):
        return np.array([int(label) for label in labels], dtype=np.int64), None
    index = {word: number for number, word in enumerate(unique)}
    return np.array([index[label] for label in labels], dtype=np.int64), tuple(unique)
