"""Export of a framework's model to ONNX: written by an adapter, checked against the framework, marked with metadata."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from onnxrich._utils.files import refusal
from onnxrich.data.formats.numpy import read_arrays
from onnxrich.errors import AdapterError, ModelError, OnnxrichError, OutputError
from onnxrich.frameworks.exporters import summarize
from onnxrich.frameworks.items import peek
from onnxrich.frameworks.parity import (
    MAX_ROWS,
    Deviation,
    check_batch_axis,
    example_rows,
    float_formats,
    measure_deviation,
)
from onnxrich.frameworks.registry import Adapter, Item, find_adapter, missing_package, model_title
from onnxrich.frameworks.spec import resolve_spec
from onnxrich.model.file import Model, read_model


@dataclass(frozen=True)
class ExportedModel:
    """An exported model, and its deviation from the framework's own computation.

    Attributes:
        path: the ONNX file.
        inputs: names of its inputs.
        outputs: names of its outputs.
        framework: name and version of the framework.
        deviation: deviation of the outputs.
    """

    path: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    framework: str
    deviation: Deviation


def export_to_file(
    model: Any, target: Path, example: Any = None, *, force: bool = False, step: int | None = None
) -> ExportedModel:
    """Export a model in this process; the file appears whole or not at all.

    Args:
        model: a framework's model, or the path or `package.module:function` that stands for one.
        target: file to write.
        example: rows to export with, an item of the framework's loader, a loader, or the path of an `.npz` file.
        force: replace existing files.
        step: step of the training, for the metadata.

    Raises:
        AdapterError: when no adapter takes the model, or its export doesn't compute what the framework computes.
        DataError: when the example holds no rows.
        OutputError: when a file exists, or can't be written.
    """
    _check_target(target, force=force)
    if isinstance(model, str | os.PathLike):
        adapter, model, own_example = resolve_spec(os.fspath(model))
        example = own_example if example is None else example
    else:
        adapter = find_adapter(model)
    item = _first_item(adapter, model, example)
    try:
        with tempfile.TemporaryDirectory(dir=target.resolve().parent, prefix=".onnxrich-") as folder:
            result = write_export(adapter, model, item, path=Path(folder) / target.name, step=step)
            _move_files(Path(folder), target, force=force)
    except OnnxrichError:
        raise
    except OSError as error:
        raise refusal(target.parent, error) from error
    return replace(result, path=target)


def write_export(adapter: Adapter, model: Any, example: Item, *, path: Path, step: int | None = None) -> ExportedModel:
    """Export a model to a file in a temporary folder, and check it.

    Args:
        adapter: adapter of the model's framework.
        model: the model.
        example: an item of `Adapter.batches`.
        path: file to write.
        step: step of the training, for the metadata.

    Raises:
        AdapterError: when the exporter fails, the batch axis is fixed, or the outputs are not the framework's.
    """
    rows = example_rows(example)
    framework = _call_exporter(partial(adapter.to_onnx, model, rows, path), model)
    exported = replace(read_model(path), path=model_title(model))
    check_batch_axis(exported, rows)
    types = {array.dtype for array in adapter.weights(model).values()}
    with _explain_bfloat16(exported):
        deviation = measure_deviation(exported, partial(adapter.forward, model), rows, types=types)
    if not deviation.is_rounding:
        raise AdapterError(
            f"the ONNX model of {exported.path} differs from {framework} by {deviation.error:.1e}",
            f"at most {deviation.allowed:.1e} of the largest output, which rounding explains",
            "Look for randomness, data-dependent branches or state in its forward pass, or export it yourself.",
        )
    with path.open("ab") as file:
        # Joined messages of protobuf merge.
        file.write(_metadata(framework, step).SerializeToString())
    return ExportedModel(
        path,
        inputs=tuple(entry.name for entry in exported.inputs),
        outputs=tuple(value.name for value in exported.proto.graph.output),
        framework=framework,
        deviation=deviation,
    )


def _call_exporter(to_onnx: Callable[[], str], model: Any) -> str:
    """Call an adapter's exporter, and put its errors into words."""
    try:
        return to_onnx()
    except OnnxrichError:
        raise
    except ModuleNotFoundError as error:
        raise missing_package(error, f"to export {model_title(model)}") from error
    except Exception as error:
        raise AdapterError(
            f"{model_title(model)} can't be exported: {summarize(_root_cause(error))}",
            "a model that its framework's exporter takes, and rows that fit it",
            "Look at the cause of this error (--debug), or export it yourself.",
        ) from error


@contextlib.contextmanager
def _explain_bfloat16(exported: Model) -> Iterator[None]:
    """Say what helps where the runtime refuses a model that computes in bfloat16: few of its operators know it."""
    try:
        yield
    except ModelError as error:
        if "bfloat16" not in float_formats(exported.proto):
            raise
        raise AdapterError(
            f"{exported.path} computes in bfloat16, and ONNX Runtime has no such operators on a CPU",
            "a model that computes in float32",
            "Convert its weights to float32, and leave out autocast and casts to bfloat16.",
        ) from error


def _root_cause(error: BaseException) -> BaseException:
    """The first error of a chain: exporters wrap it in reports of their own progress."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _metadata(framework: str, step: int | None) -> ModelProto:
    """A model of nothing but metadata: name and version of the framework, and the step of the training."""
    name, _, version = framework.partition(" ")
    entries = {"framework": name, "framework_version": version} | ({} if step is None else {"step": str(step)})
    patch = ModelProto()
    onnx.helper.set_model_props(patch, {f"onnxrich.{key}": value for key, value in entries.items()})
    return patch


def _move_files(folder: Path, target: Path, *, force: bool) -> None:
    """Move all files of a folder beside the target, and the model last, because it names the others."""
    files = sorted(folder.iterdir(), key=lambda file: file.name == target.name)
    for file in files:
        _check_target(target.with_name(file.name), force=force)
    for file in files:
        file.replace(target.with_name(file.name))


def _check_target(path: Path, *, force: bool) -> None:
    if os.path.isdir(path):  # noqa: PTH112 - unlike pathlib it answers for names that no file can have
        raise OutputError(f"{path} is a folder", "the name of a file", "Pass --output FILE.onnx.")
    if os.path.exists(path) and not force:  # noqa: PTH110 - as above
        raise OutputError(f"{path} already exists", "a new file", "Pass another name, or --force to replace it.")


def _first_item(adapter: Adapter, model: Any, example: Any) -> Item:
    if isinstance(example, str | os.PathLike):
        example = read_arrays(example, rows=MAX_ROWS)
    elif isinstance(example, tuple | list):
        example = [example]
    item: Item = peek(adapter.batches(model, example))[0]
    return item
