"""Write patched models: with the penultimate layer as an output, or with moments as accumulators."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from onnxrich._utils import validation as checked
from onnxrich._utils.files import refusal, write_files
from onnxrich.data import open as sources
from onnxrich.engine.prepared import measure_pilot
from onnxrich.engine.runtime import choose_device
from onnxrich.errors import HeadError, ModelError, OutputError
from onnxrich.isolation import supervisor as supervise
from onnxrich.model import file as models
from onnxrich.model.file import Model
from onnxrich.model.head import head as heads
from onnxrich.model.head.head import Head
from onnxrich.model.patch import instrument as rewrite


def expose(
    model: str | os.PathLike[str] | bytes | ModelProto,
    output: str | os.PathLike[str],
    *,
    features: str | None = None,
    outputs: str | None = None,
    head: int | None = None,
    force: bool = False,
    isolate: bool = False,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> tuple[str, str]:
    """Write a model that also yields its penultimate layer and the outputs of its head, as tables of rows.

    Args:
        model: path of an ONNX file, its bytes, or a ModelProto; not changed.
        output: file to write; beside the model when that has external weights, which are not copied.
        features: tensor to take as the penultimate layer, instead of the one that is found.
        outputs: tensor to take the outputs from.
        head: which of several heads.
        force: replace the file when it is there.
        isolate: work in a process of its own, that an untrusted model can crash or hang alone. Needs paths.
        timeout: seconds after which that is ended.
        max_memory: bytes of memory at which that is ended.

    Returns:
        Names of the two outputs, float32 of shape (rows, p) and (rows, C).

    Raises:
        OnnxrichError: when the model has no such head, or the file can't be written.
    """
    checked.check_limits(isolate=isolate, timeout=timeout, max_memory=max_memory)
    chosen = checked.validated(features=features, outputs=outputs, head=head, output=output)
    if isolate:
        limits = {"timeout": timeout, "max_memory": max_memory}
        names = _isolated("expose", model, chosen | {"force": force}, **limits)
        return names[0], names[1]
    read = models.read(model)
    found = _widths_known(read, heads.find(read, features=features, outputs=outputs, number=chosen["head"]))
    patch, made = rewrite.expose(read, found)
    _write(read, patch, Path(chosen["output"]), force)
    return made


def instrument(
    model: str | os.PathLike[str] | bytes | ModelProto,
    output: str | os.PathLike[str],
    data: Any = None,
    *,
    features: str | None = None,
    outputs: str | None = None,
    head: int | None = None,
    force: bool = False,
    isolate: bool = False,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> tuple[str, ...]:
    """Write a model that sums the moments of its head as it runs, in any ONNX runtime and any language.

    It takes accumulators as further inputs, zero at first, and yields their next values. `Moments.from_accumulators`
    turns the last ones into moments. All rows count the same: padding is the caller's to leave out.

    Args:
        model: path of an ONNX file, its bytes, or a ModelProto; not changed.
        output: file to write; beside the model when that has external weights.
        data: of which the first rows give the shift that sums run around, which keeps digits when features have a large
            mean; the moments are right without.
        features: tensor to take as the penultimate layer, instead of the one that is found.
        outputs: tensor to take the outputs from.
        head: which of several heads.
        force: replace the file when it is there.
        isolate: work in a process of its own, that an untrusted model can crash or hang alone. Needs paths.
        timeout: seconds after which that is ended.
        max_memory: bytes of memory at which that is ended.

    Returns:
        Names of the accumulators; the output of each has the same name with `.next` behind.

    Raises:
        OnnxrichError: when the model has no such head or is instrumented already, or the file can't be written.
    """
    checked.check_limits(isolate=isolate, timeout=timeout, max_memory=max_memory)
    chosen = checked.validated(features=features, outputs=outputs, head=head, output=output)
    if isolate:
        given = None if data is None else supervise.path_of(data, "data")
        limits = {"timeout": timeout, "max_memory": max_memory}
        return _isolated("instrument", model, chosen | {"force": force, "data": given}, **limits)
    read = models.read(model)
    rewrite.check_not_instrumented(read)
    found = _widths_known(read, heads.find(read, features=features, outputs=outputs, number=chosen["head"]))
    shift = residual = None
    if data is not None:
        source = sources.open_source(read, data)
        residual, shift = measure_pilot(read, found, source, device=choose_device("cpu"))
    patch = rewrite.portable(read, found, shift, residual)
    _write(read, patch.data, Path(chosen["output"]), force)
    return patch.accumulators


def _isolated(task: str, model: Any, chosen: Mapping[str, Any], **limits: Any) -> tuple[str, ...]:
    request = {"model": supervise.path_of(model), **chosen}
    return tuple(supervise.call(task, request, **limits)[0]["names"])


def _widths_known(model: Model, head: Head) -> Head:
    if head.p is not None:
        return head
    raise HeadError(
        f"tensors {head.features.tensor!r} and {head.outputs.tensor!r} without a linear layer between them",
        "a head whose weight can be read",
        f"Choose one that `onnxrich inspect {model.path}` lists.",
    )


def _write(model: Model, patch: bytes, path: Path, force: bool) -> None:
    if model.folder is not None and path.resolve() == Path(model.path).resolve():
        raise OutputError(
            f"{path} is the model itself", "another file", "Pass another name: the model is never replaced."
        )
    if os.path.exists(path) and not force:  # noqa: PTH110 - unlike pathlib it answers for names that no file can have
        raise OutputError(f"{path} is there", "a new file", "Pass another name, or --force to replace it.")
    external = any(models.is_external(tensor) for tensor in models.tensors(model.proto))
    if external and path.resolve().parent != model.folder:
        raise OutputError(
            f"{model.path} keeps its weights in other files of its folder",
            "an output in the same folder",
            f"Pass --output {Path(model.path).with_name(path.name)}.",
        )
    content = model.data + patch
    try:
        if external:  # the checker looks for the weights beside a file
            with tempfile.NamedTemporaryFile(dir=path.resolve().parent, suffix=".onnx") as file:
                file.write(content)
                file.flush()
                onnx.checker.check_model(file.name)
        else:
            onnx.checker.check_model(ModelProto.FromString(content))
    except OSError as error:
        raise refusal(path.parent, error) from error
    except (onnx.checker.ValidationError, ValueError) as error:
        given = str(error).strip().splitlines()
        raise ModelError(
            f"{model.path}: the checker rejects the patched model: {given[0] if given else error}",
            "a model that is valid before it is patched",
            "Check the model itself with onnx.checker.check_model.",
        ) from error
    write_files({path: content}, path.parent)
