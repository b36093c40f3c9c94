"""`expose` and `instrument`: patched models with features as an output, or with moments as accumulators."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import onnx
from onnx import ModelProto

from onnxrich._utils.files import refusal, write_files
from onnxrich.data.open import open_source
from onnxrich.engine.prepared import measure_pilot
from onnxrich.engine.runtime import choose_device
from onnxrich.errors import HeadError, ModelError, OutputError
from onnxrich.model.file import Model, read_model
from onnxrich.model.graph import Graph
from onnxrich.model.head.head import Head, find_head, measure_head
from onnxrich.model.patch import instrument as patches
from onnxrich.model.traversal import is_external, iter_tensors
from onnxrich.pipelines.options import ExposeOptions, HeadOptions, InstrumentOptions

ModelLike = str | os.PathLike[str] | bytes | ModelProto


def expose(model: ModelLike, options: ExposeOptions) -> tuple[str, str]:
    """Write a model that also yields features and outputs, and return the names of the two outputs."""
    loaded = read_model(model)
    patch, names = patches.expose_rows(loaded, _find_head(loaded, options))
    _write(loaded, patch, Path(options.output), options.force)
    return names


def instrument(model: ModelLike, options: InstrumentOptions) -> tuple[str, ...]:
    """Write a model that sums its moments, and return the names of the accumulators."""
    loaded = read_model(model)
    patches.check_not_instrumented(loaded)
    head = _find_head(loaded, options)
    shift = residual = None
    if options.data is not None:
        residual, shift = measure_pilot(loaded, head, open_source(loaded, options.data), device=choose_device("cpu"))
    patch = patches.instrument_portable(loaded, head, shift, residual)
    _write(loaded, patch.data, Path(options.output), options.force)
    return patch.accumulators


def _find_head(model: Model, options: HeadOptions) -> Head:
    head = find_head(model, features=options.features, outputs=options.outputs, number=options.head)
    if isinstance(head, Head):
        return head
    # The tensors that the user named are taken as they are. Their widths must stand in the file: nothing is run.
    graph = Graph(model)
    shapes = [graph.shape(view.tensor) for view in (head.features, head.outputs)]
    measured = measure_head(head, *(tuple(size or 0 for size in shape) for shape in shapes))
    if measured.p and measured.C:
        return measured
    raise HeadError(
        f"tensors {head.features.tensor!r} and {head.outputs.tensor!r} whose widths the file doesn't state",
        "tensors of known width, or a linear layer between them",
        f"Choose a head that `onnxrich inspect {model.path}` lists.",
    )


def _beside_weights(model: Model) -> Path:
    """The folder of the external weights, as the user wrote it where that is the model's own."""
    beside = Path(model.path).parent
    return beside if model.folder is None or beside.resolve() == model.folder else model.folder


def _write(model: Model, patch: bytes, path: Path, force: bool) -> None:
    if model.folder is not None and path.resolve() == Path(model.path).resolve():
        raise OutputError(
            f"{path} is the model itself", "another file", "Pass another name: the model is never replaced."
        )
    if os.path.exists(path) and not force:  # noqa: PTH110 - unlike pathlib it answers for names that no file can have
        raise OutputError(f"{path} is there", "a new file", "Pass another name, or --force to replace it.")
    external = any(is_external(tensor) for tensor in iter_tensors(model.proto))
    if external and path.resolve().parent != model.folder:
        raise OutputError(
            f"{model.path} keeps its weights in other files of its folder",
            "an output in the same folder",
            f"Pass --output {_beside_weights(model) / path.name}.",
        )
    content = model.data + patch
    try:
        proto = ModelProto.FromString(content)
        if external:
            _check_beside_weights(proto)
        else:
            onnx.checker.check_model(proto)
    except OSError as error:
        raise refusal(path.parent, error) from error
    except (onnx.checker.ValidationError, ValueError) as error:
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"{model.path}: the checker rejects the patched model: {lines[0] if lines else error}",
            "a model that is valid before it is patched",
            "Check the model itself with onnx.checker.check_model.",
        ) from error
    write_files({path: content}, path.parent)


def _check_beside_weights(proto: ModelProto) -> None:
    """Check a model with external data, whose files were checked when it was read, beside an empty file for them.

    The checker would refuse files with several hard links or behind links, which onnxrich reads.
    """
    for tensor in filter(is_external, iter_tensors(proto)):
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "weights"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "weights").touch()
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        onnx.checker.check_model(folder / "model.onnx")
