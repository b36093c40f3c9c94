"""The model argument of `onnxrich export` as text: a framework's file or folder, or a function that builds a model."""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from onnxrich.errors import AdapterError, prefix_errors
from onnxrich.frameworks.registry import Adapter, find_adapter, load_adapters, load_model
from onnxrich.frameworks.untrusted import refuse_pickle


def resolve_spec(spec: str) -> tuple[Adapter, Any, Any]:
    """Find the model that a text names.

    1. An existing path is read by the adapter that knows its format; pickles are refused.
    2. `package.module:name` is imported, also from the current folder, and called where it is a function.

    Returns:
        Adapter, model, and the example that came with it or None.

    Raises:
        AdapterError: when the text is neither, or names no model.
    """
    path = Path(spec)
    if os.path.exists(path):  # noqa: PTH110 - Case 1; unlike pathlib it answers for names that no file can have
        refuse_pickle(path)
        return *load_model(path), None
    match = re.fullmatch(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)", spec)
    if match is None:
        raise AdapterError(
            f"{spec}: no such file", "a model's file or folder, or package.module:function", "Check the path."
        )
    return _build(spec, _import_name(spec, match[1], match[2]))  # Case 2


def _import_name(spec: str, module: str, name: str) -> Any:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise AdapterError(
            f"{spec} can't be imported: {error}",
            "a function that can be imported from the current folder",
            "Check the name and the current folder.",
        ) from error
    finally:
        sys.path.pop(0)


def _build(spec: str, target: Any) -> tuple[Adapter, Any, Any]:
    """The model is the target itself or its return value; a function may be a model itself, as in JAX."""
    model = target if not callable(target) or _is_native(target) else target()
    example = None
    if isinstance(model, tuple) and len(model) == 2 and not _is_native(model):
        model, example = model
    with prefix_errors(spec):
        return find_adapter(model), model, example


def _is_native(obj: Any) -> bool:
    return any(adapter.is_native(obj) for adapter in load_adapters().values())
