"""The names of its classes that a model tells, in the order of its outputs."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from onnx import numpy_helper

from onnxrich.head.graph import attribute
from onnxrich.model import Model
from onnxrich.sources.places import Place

CONFIG = "config.json"
LARGEST_CONFIG = 2**20


def class_names(model: Model) -> tuple[str, ...] | None:
    """The names of the first of these that has any: the graph's own, its metadata, `config.json` beside the model."""
    return _in_graph(model) or _in_order(_metadata(model)) or _in_order(_config(model).get("id2label"))


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
        return ast.literal_eval(said[:LARGEST_CONFIG])
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _config(model: Model) -> Mapping[str, Any]:
    """What Hugging Face's libraries write beside a model; a file of that name may be of anybody else, too."""
    place = None if model.folder is None else Place(str(model.folder)).child(CONFIG)
    if place is None or not place.is_file():
        return {}
    with place.open("a readable JSON file") as file:
        content = file.read(LARGEST_CONFIG)
    try:
        config = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, Mapping) else {}


def _in_order(names: Any) -> tuple[str, ...] | None:
    """The names of a mapping from 0, 1, …, which may be texts; None where it is another one."""
    if not isinstance(names, Mapping) or not all(isinstance(name, str) for name in names.values()):
        return None
    if len(set(names.values())) < len(names):
        return None  # one word would have two numbers
    by_number = {str(number): name for number, name in names.items()}
    order = [str(number) for number in range(len(names))]
    return tuple(by_number[number] for number in order) if set(by_number) == set(order) and order else None
