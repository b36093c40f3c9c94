"""The names of its classes that a model tells, in the order of its outputs."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnx import numpy_helper

from onnxrich.data.paths import DataPath
from onnxrich.model.file import Model
from onnxrich.model.graph import attribute

CONFIG = "config.json"
# The 21,841 names of ImageNet-21k, given both ways round, fill more than a megabyte.
LARGEST_CONFIG = 2**24
LARGEST_METADATA = 2**20


@dataclass(frozen=True)
class ClassNames:
    """What a model tells about its classes.

    Attributes:
        names: in the order of its outputs; None where it tells none that can be used.
        flaw: why those that it seems to tell can't be used, a sentence without its full stop; empty without any.
    """

    names: tuple[str, ...] | None = None
    flaw: str = ""


def class_names(model: Model, outputs: int | None) -> ClassNames:
    """The names of the first of these that has any: the graph's own, its metadata, `config.json` beside the model.

    Args:
        model: the model.
        outputs: their number, which that of the names has to be; None where it is not known.

    Raises:
        DataError: when there is a `config.json` that can't be opened.
    """
    names, flaw = _in_graph(model) or _in_order(_metadata(model)), ""
    if names is None:
        config, flaw = _config(model)
        names = _in_order(config)
        if config is not None and names is None:
            flaw = f"id2label in {CONFIG} beside {model.path} doesn't give each number from 0 on a name of its own"
    # A single output decides between two classes.
    if names is not None and outputs is not None and len(names) != max(outputs, 2):
        return ClassNames(flaw=f"{model.path} names {len(names)} classes, and its outputs are {outputs}")
    return ClassNames(names, flaw)


def _in_graph(model: Model) -> tuple[str, ...] | None:
    """What scikit-learn's converters write: words that the largest output picks, or by which outputs are keyed."""
    graph = model.proto.graph
    tables = {tensor.name: tensor for tensor in graph.initializer if tensor.string_data}
    for node in graph.node:
        words = list(attribute(node, "classlabels_strings", ())) if node.op_type == "ZipMap" else []
        if node.op_type == "ArrayFeatureExtractor" and node.input[0] in tables:
            words = numpy_helper.to_array(tables[node.input[0]]).reshape(-1).tolist()
        if words:
            return tuple(word.decode(errors="replace") if isinstance(word, bytes) else word for word in words)
    return None


def _metadata(model: Model) -> Any:
    """What Ultralytics writes under `names`: a dictionary in Python's words, from index to name."""
    said = next((entry.value for entry in model.proto.metadata_props if entry.key == "names"), "")
    try:
        return ast.literal_eval(said[:LARGEST_METADATA])
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _config(model: Model) -> tuple[Any, str]:
    """What Hugging Face's libraries write beside a model under `id2label`, and why it can't be read.

    A file of that name may be of anybody else, too.
    """
    place = None if model.folder is None else DataPath(str(model.folder)).child(CONFIG)
    if place is None or not place.is_file():
        return None, ""
    with place.open("a readable JSON file") as file:
        content = file.read(LARGEST_CONFIG + 1)
    if len(content) > LARGEST_CONFIG:
        return None, f"{CONFIG} beside {model.path} is larger than {LARGEST_CONFIG:,} bytes"
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        return None, f"{CONFIG} beside {model.path} is no whole JSON file"
    return config.get("id2label") if isinstance(config, Mapping) else None, ""


def _in_order(names: Any) -> tuple[str, ...] | None:
    """The names of a mapping from 0, 1, …, which may be texts; None where it is another one."""
    if not isinstance(names, Mapping) or not all(isinstance(name, str) for name in names.values()):
        return None
    if len(set(names.values())) < len(names):
        return None  # one word would have two numbers
    by_number = {str(number): name for number, name in names.items()}
    order = [str(number) for number in range(len(names))]
    return tuple(by_number[number] for number in order) if set(by_number) == set(order) and order else None
