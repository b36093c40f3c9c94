"""What a folder that `save_pretrained` wrote may say: nothing that leads out of it, to code, or to pickles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxrich._utils.files import open_regular
from onnxrich.errors import AdapterError

CONFIG, INDEX, LORA = "config.json", "*.safetensors.index.json", "adapter_config.json"


def configuration(path: Path) -> Mapping[str, Any] | None:
    """The configuration of a folder whose weights may be read, None where it is no model of transformers.

    1. Weights are in safetensors of the folder itself.
    2. No part of the computation is to be fetched from elsewhere.

    Raises:
        AdapterError: when it asks for something else.
    """
    if not (path.is_dir() and (path / CONFIG).is_file()):
        return None
    config = _read(path / CONFIG)
    if "model_type" not in config:
        return None
    if not list(path.glob("*.safetensors")):  # Case 1
        raise AdapterError(
            f"{path} holds no safetensors: weights in pickles run whatever code somebody put into them",
            "model.safetensors",
            "Save the model again where you trust it: model.save_pretrained(folder, safe_serialization=True).",
        )
    if (path / LORA).exists():
        raise _refused(path, f"a file {LORA}, which names other weights")
    outside = [name for name in _weights(path, config) if not _plain(name)]
    if outside:
        raise _refused(path, f"weights in {outside[0]!r}")
    for key, value in _walk(config):  # Case 2
        if key.endswith("_implementation") and "/" in str(value):
            raise _refused(path, f"{key} = {value!r}")
    return config


def _weights(path: Path, config: Mapping[str, Any]) -> Iterator[Any]:
    if "transformers_weights" in config:
        yield config["transformers_weights"]
    for index in path.glob(INDEX):
        named = _read(index).get("weight_map")
        yield from named.values() if isinstance(named, dict) else [named]


def _plain(name: Any) -> bool:
    return isinstance(name, str) and not {"/", "\\", "\0"} & set(name) and name.endswith((".safetensors", INDEX[1:]))


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys of a document with their values."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            yield from part.items()
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _read(path: Path) -> Mapping[str, Any]:
    with open_regular(path, AdapterError, "a readable file") as file:
        content = file.read()
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise AdapterError(f"{path} is no JSON", "a whole JSON file", "Save the model again.") from error
    return found if isinstance(found, dict) else {}


def _refused(path: Path, what: str) -> AdapterError:
    return AdapterError(
        f"{path} says {what}", "weights and code of the folder and of transformers alone", "Load it where you trust it."
    )
