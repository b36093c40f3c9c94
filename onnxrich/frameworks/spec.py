"""What `onnxrich export` is given as text: a file or folder of a framework, or a function that builds a model."""

from __future__ import annotations

import importlib
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

from onnxrich._utils.files import open_regular
from onnxrich.errors import AdapterError
from onnxrich.frameworks import registry as plugins
from onnxrich.frameworks.registry import Adapter

PICKLED = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".bin")


def resolve_spec(spec: str) -> tuple[Adapter, Any, Any]:
    """Adapter, model, and the example that came with it or None.

    1. A path that is there is read by the adapter that knows its format; pickles are refused.
    2. `package.module:name` is imported, from the current folder too, and called when it can be.

    Raises:
        AdapterError: when it is neither, or holds no model.
    """
    path = Path(spec)
    if os.path.exists(path):  # noqa: PTH110 - Case 1; unlike pathlib it answers for names that no file can have
        _refuse_pickle(path)
        return *plugins.load_model(path), None
    match = re.fullmatch(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", spec)
    if match is None:
        raise AdapterError(
            f"{spec}: no such file", "a model's file or folder, or package.module:function", "Check the path."
        )
    return _called(spec, _imported(spec, match[1], match[2]))  # Case 2


def _imported(spec: str, module: str, name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise AdapterError(
            f"{spec}: {error}", "a function that can be imported from here", "Check the name, and the current folder."
        ) from error
    finally:
        sys.path.pop(0)


def _called(spec: str, found: Any) -> tuple[Adapter, Any, Any]:
    """The model is what was named, or what that function gives; a function may be a model itself, as in JAX."""
    made = found if not callable(found) or _is_native(found) else found()
    if isinstance(made, tuple) and len(made) == 2 and not _is_native(made):
        return plugins.find_adapter(made[0]), *made
    try:
        return plugins.find_adapter(made), made, None
    except AdapterError as error:
        raise AdapterError(f"{spec} gives {error.found}", error.needed, error.remedy) from error


def _is_native(obj: Any) -> bool:
    return any(adapter.is_native(obj) for adapter in plugins.adapters().values())


def _refuse_pickle(path: Path) -> None:
    if path.is_dir():
        return
    with open_regular(path, AdapterError, "a model's file") as file:
        start = file.read(2)
    if path.suffix.lower() in PICKLED or start[:1] == b"\x80" or (start == b"PK" and _holds_pickle(path)):
        raise AdapterError(
            f"{path} is a pickle: to load it is to run whatever code somebody put into it",
            "a format that holds data alone, or a function that builds the model",
            "Write build() that makes the model and loads its weights (torch.load(…, weights_only=True)), and pass "
            "package.module:build; or save it by torch.export.save, as .keras or as a SavedModel.",
        )


def _holds_pickle(path: Path) -> bool:
    """Whether a zip archive is what `torch.save` writes."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") or name == "data.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
