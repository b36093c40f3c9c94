"""`export`: a framework's model as an ONNX file, written by its adapter and checked against the framework."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from onnxrich._utils.files import refusal
from onnxrich.data.formats.numpy import read_arrays
from onnxrich.errors import OnnxrichError, OutputError
from onnxrich.frameworks import parity
from onnxrich.frameworks.export import peek, write
from onnxrich.frameworks.registry import Adapter, Item, find_adapter
from onnxrich.frameworks.spec import resolve_spec
from onnxrich.pipelines.options import ExportOptions
from onnxrich.results.export import Export


def export(model: Any, options: ExportOptions) -> Export:
    """Write a framework's model, or what a path or `package.module:function` stands for; the files appear whole."""
    target, example = Path(options.output), options.example
    _check_target(target, options.force)
    if isinstance(model, str | os.PathLike):
        adapter, model, own_example = resolve_spec(os.fspath(model))
        example = own_example if example is None else example
    else:
        adapter = find_adapter(model)
    item = _example(adapter, model, example)
    try:
        with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix=".onnxrich-") as folder:
            exported = write(adapter, model, item, Path(folder) / target.name, step=options.step)
            # The model comes last: it names the others.
            files = sorted(Path(folder).iterdir(), key=lambda file: file.name == target.name)
            for file in files:
                _check_target(target.with_name(file.name), options.force)
            for file in files:
                file.replace(target.with_name(file.name))
    except OnnxrichError:
        raise
    except OSError as error:
        raise refusal(target.parent, error) from error
    return Export(target, exported.inputs, exported.outputs, exported.framework, exported.error, exported.allowed)


def _check_target(path: Path, force: bool) -> None:
    if os.path.isdir(path):  # noqa: PTH112 - unlike pathlib it answers for names that no file can have
        raise OutputError(f"{path} is a folder", "a name for a file", "Pass --output FILE.onnx.")
    if os.path.exists(path) and not force:  # noqa: PTH110 - as above
        raise OutputError(f"{path} is there", "a new file", "Pass another name, or --force to replace it.")


def _example(adapter: Adapter, model: Any, example: Any) -> Item:
    if isinstance(example, str | os.PathLike):
        example = read_arrays(example, rows=parity.MOST)
    elif isinstance(example, tuple | list):
        example = [example]
    return peek(adapter.batches(model, example))[0]
