"""Options and results as JSON lines and bytes, for the pipes between the supervisor and the worker.

Nothing is pickled: options and results are dataclasses of plain values, and arrays travel as `.npy` content.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib import import_module
from typing import Any

import numpy as np

from onnxrich.errors import DataError
from onnxrich.pipelines import options as option_classes
from onnxrich.pipelines.options import WorkOptions
from onnxrich.results.serialize import make_converter

# Options of a worker process that stand for files.
PATHS = ("data", "labels", "eval_data", "eval_labels", "example", "init", "evaluation", "output", "checkpoint")
# The module of each class that a verb may return.
RESULTS = {
    "Analysis": "onnxrich.results.analysis",
    "Comparison": "onnxrich.results.comparison",
    "Track": "onnxrich.results.track",
    "Inspection": "onnxrich.results.inspection",
    "Export": "onnxrich.results.export",
    "tuple": "builtins",
}


def encode_request(verb: str, subject: Any, options: WorkOptions) -> dict[str, Any]:
    """Convert a call to JSON values.

    Raises:
        DataError: when the subject or an option is no path where a worker process needs one.
    """
    here = {"progress", "isolate", "timeout", "stall_timeout"}
    values = {name: _plain(name, value) for name, value in options.given().items() if name not in here}
    return {"verb": verb, "subject": _subject(subject), "kind": type(options).__name__, "options": values}


def decode_request(request: Mapping[str, Any]) -> tuple[str, Any, WorkOptions]:
    """Convert JSON values back to a verb, its subject and its options."""
    kind: type[WorkOptions] = getattr(option_classes, request["kind"])
    # A limit of memory needs a worker process: this is one.
    return request["verb"], request["subject"], kind(**request["options"], isolate=True)


def encode_result(result: Any) -> tuple[dict[str, Any], list[bytes]]:
    """Convert a result to JSON values, and its arrays to bytes."""
    arrays: list[bytes] = []

    def keep(array: np.ndarray[Any, Any]) -> int:
        content = io.BytesIO()
        np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
        arrays.append(content.getvalue())
        return len(arrays) - 1

    values = make_converter(unstructure_array=keep).unstructure(result)
    return {"kind": type(result).__name__, "values": values}, arrays


def decode_result(document: Mapping[str, Any], arrays: Sequence[bytes]) -> Any:
    """Convert what `encode_result` gave back to a result."""

    def find(index: int) -> Any:
        return np.lib.format.read_array(io.BytesIO(arrays[index]), allow_pickle=False)

    kind = getattr(import_module(RESULTS[document["kind"]]), document["kind"])
    return make_converter(structure_array=find).structure(document["values"], kind)


def _subject(subject: Any) -> str | list[str]:
    if isinstance(subject, list | tuple):
        return [_path("model", each) for each in subject]
    return _path("model", subject)


def _path(name: str, value: Any) -> str:
    """A path as text: a worker process gets paths, never objects."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise DataError(
            f"{name} of type {type(value).__name__} for an isolated run",
            "the path of a file",
            "Save it to a file and pass its path, or pass isolate=False.",
        )
    return path


def _plain(name: str, value: Any) -> Any:
    """An option as a JSON value: paths as text, dataclasses as mappings, NumPy's numbers and arrays as Python's."""
    if name in PATHS or isinstance(value, os.PathLike):
        return _path(name, value)
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain("", entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain("", entry) for entry in value]
    if hasattr(value, "tolist"):
        return value.tolist()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise DataError(
        f"an option of type {type(value).__name__} for an isolated run",
        "numbers, text, and lists of these",
        "Pass it as one of these, or pass isolate=False.",
    )
