"""Adapters stand apart from each other, use little of onnxrich, and load no framework before they need it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

ADAPTERS = ROOT / "adapters"
FILES = sorted(ADAPTERS.rglob("*.py"))
PACKAGES = {folder.name for folder in ADAPTERS.iterdir() if (folder / "__init__.py").exists()}
# Models of transformers are modules of PyTorch.
BUILDS_ON = {"onnxrich_transformers": {"onnxrich_torch"}}
ROOMS = {"frameworks", "errors", "_utils"}
# Callbacks make a recorder, and log where it would.
ROOMS_INSIDE_FUNCTIONS = {"api"}
LIGHT = {"numpy", "onnx"}


def imports(node: ast.AST, *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Dotted names that a module imports, each with whether that happens inside of a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative import"
            yield from ((f"{child.module}.{alias.name}", inside) for alias in child.names)
        else:
            yield from imports(child, inside=inside or isinstance(child, ast.FunctionDef))


def label(file: Path) -> str:
    return str(file.relative_to(ADAPTERS).with_suffix(""))


def test_folder_holds_only_packages() -> None:
    """There is one package a framework, and nothing beside."""
    entries = {path.name for path in ADAPTERS.iterdir() if path.name != "__pycache__"}
    assert entries == PACKAGES
    assert all(name.startswith("onnxrich_") for name in PACKAGES)


@pytest.mark.parametrize("file", FILES, ids=label)
def test_imports(file: Path) -> None:
    """An adapter imports no other adapter, of onnxrich only some rooms, and everything heavy inside of functions."""
    own = file.relative_to(ADAPTERS).parts[0]
    for name, inside in imports(ast.parse(file.read_text())):
        package, _, rest = name.partition(".")
        if package == "onnxrich":
            allowed = ROOMS | (ROOMS_INSIDE_FUNCTIONS | {""} if inside else set())
            assert rest.partition(".")[0] in allowed, name
        elif package in PACKAGES:
            assert package in {own} | BUILDS_ON.get(own, set()), name
        elif not inside:
            assert package in LIGHT | sys.stdlib_module_names, name
