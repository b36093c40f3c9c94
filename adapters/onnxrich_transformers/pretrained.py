"""Checks of a folder that `save_pretrained` wrote: nothing may lead out of it, to code, or to pickles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxrich._utils.inside import check_folder
from onnxrich._utils.parsing import parse_json
from onnxrich.errors import AdapterError
from onnxrich.frameworks.untrusted import read_bytes, walk_entries

# The index of the weights of a model of thousands of layers takes some megabytes.
LARGEST_JSON = 2**26
CONFIG, INDEX, LORA = "config.json", "*.safetensors.index.json", "adapter_config.json"


def read_configuration(path: Path) -> Mapping[str, Any] | None:
    """Read the configuration of a folder; None where it holds no model of transformers.

    1. Weights are in safetensors of the folder itself, and none of its files is a link that leads out of it.
    2. No part of the computation is fetched from elsewhere.

    Raises:
        AdapterError: when the folder breaks one of these rules.
    """
    if not (path.is_dir() and (path / CONFIG).is_file()):
        return None
    check_folder(path, AdapterError)
    configuration = _read_json(path / CONFIG)
    if "model_type" not in configuration:
        return None
    if not list(path.glob("*.safetensors")):  # Case 1
        raise AdapterError(
            f"{path} holds no safetensors, and loading weights from a pickle can run any code that its author put "
            "into it",
            "model.safetensors",
            "If you trust the model, save it again: model.save_pretrained(folder, safe_serialization=True).",
        )
    if (path / LORA).exists():
        raise _refusal(path, f"holds a file {LORA}, which names other weights")
    outside = [name for name in _weight_files(path, configuration) if not _is_inside(name)]
    if outside:
        raise _refusal(path, f"names weights in {outside[0]!r}")
    for key, value in walk_entries(configuration):  # Case 2
        if key.endswith("_implementation") and "/" in str(value):
            raise _refusal(path, f"sets {key} = {value!r}")
    return configuration


def _weight_files(path: Path, configuration: Mapping[str, Any]) -> Iterator[Any]:
    """Names of files of weights, as configuration and index state them."""
    if "transformers_weights" in configuration:
        yield configuration["transformers_weights"]
    for index in path.glob(INDEX):
        weight_map = _read_json(index).get("weight_map")
        yield from weight_map.values() if isinstance(weight_map, dict) else [weight_map]


def _is_inside(name: Any) -> bool:
    """Whether a name is that of a safetensors file, or of an index, in the folder itself."""
    return isinstance(name, str) and not {"/", "\\", "\0"} & set(name) and name.endswith((".safetensors", INDEX[1:]))


def _read_json(path: Path) -> Mapping[str, Any]:
    content = read_bytes(path, "a readable file", LARGEST_JSON)
    try:
        document = parse_json(content, is_finite=False)
    except ValueError as error:
        raise AdapterError(f"{path} is no valid JSON", "a whole JSON file", "Save the model again.") from error
    return document if isinstance(document, dict) else {}


def _refusal(path: Path, statement: str) -> AdapterError:
    return AdapterError(
        f"{path} {statement}",
        "only weights of the folder, and code of transformers",
        "If you trust the folder, load the model in Python and pass the object.",
    )
