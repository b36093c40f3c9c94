"""The verbs of the adapter for PyTorch."""

from __future__ import annotations

import copy
import inspect
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import AdapterError, Notice
from onnxrich.frameworks.exporters import quiet
from onnxrich.frameworks.items import find_labels, is_item, split_item
from onnxrich.frameworks.registry import LABELS, Item, converted, join_rows, mapped
from onnxrich_torch.arrays import has_bfloat16, to_array, to_input, to_tensors
from onnxrich_torch.labels import LabelAlignment
from onnxrich_torch.loaders import own_reader
from onnxrich_torch.programs import check_open_batch, load_program
from onnxrich_torch.state import undisturbed

# Bytes of weights above which they go to a file of their own: a protobuf file holds 2 GiB at most.
MAX_INLINE_BYTES = 2**30

FLOAT32_COPY = Notice(
    "float32_copy",
    "The model has weights in bfloat16, which ONNX Runtime doesn't compute with on a CPU. A copy in float32 was "
    "measured; its outputs are those of the model but for rounding.",
)


def is_native(obj: Any) -> bool:
    """Whether an object is a module or an exported program, and no model of transformers or Keras."""
    torch = sys.modules.get("torch")
    if torch is None or is_pretrained(obj) or any(base.__module__.startswith("keras.") for base in type(obj).__mro__):
        return False
    return isinstance(obj, torch.nn.Module | torch.export.ExportedProgram)


def is_pretrained(obj: Any) -> bool:
    """Whether an object is a model of transformers."""
    models = sys.modules.get("transformers.modeling_utils")
    return models is not None and isinstance(obj, models.PreTrainedModel)


def load(path: Path) -> Any | None:
    """Load the exported program of a `.pt2` file."""
    return load_program(path) if path.suffix.lower() == ".pt2" else None


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """Convert the items of a loader to arrays by the names of the module's inputs.

    Without a loader, the only item is the example that an exported program holds.
    """
    if loader is None:
        return [_stored_example(obj)]
    parameters = _parameters(obj)
    least = sum(is_required for _, is_required in parameters)
    if isinstance(loader, Mapping) or hasattr(loader, "shape") or is_item(loader, least, len(parameters)):
        items: Iterable[Item] = list(join_rows([_bind(loader, parameters)], are_rows=False))
    else:
        items = converted(own_reader(loader), lambda item: _bind(item, parameters))
    alignment = _alignment(obj)
    return items if alignment is None else mapped(items, alignment.align)


def notices(obj: Any, example: Item) -> Sequence[Notice]:
    """What results say of a module: how its labels were aligned, and that a copy in float32 was exported."""
    alignment = _alignment(obj)
    aligned = None if alignment is None else alignment.notice(example)
    copied = FLOAT32_COPY if has_bfloat16(_module(obj)) else None
    return [notice for notice in (aligned, copied) if notice is not None]


def _alignment(obj: Any) -> LabelAlignment | None:
    """The alignment of labels by a module that takes them itself; None for others."""
    import torch

    takes_labels = isinstance(obj, torch.nn.Module) and LABELS in inspect.signature(obj.forward).parameters
    return LabelAlignment(obj) if takes_labels else None


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write a module or a program with PyTorch's dynamo exporter."""
    import torch

    if isinstance(obj, torch.export.ExportedProgram):
        check_open_batch(obj)
    options: dict[str, Any] = {"external_data": _weight_bytes(obj) > MAX_INLINE_BYTES}
    original, obj = obj, _in_float32(obj)
    if isinstance(obj, torch.nn.Module):
        axes = {name: _dynamic_axes(array) for name, array in example.items()}
        options |= {"kwargs": to_tensors(obj, example), "dynamic_shapes": axes}
    names = {"input_names": list(example), "output_names": list(_outputs(original, example))}
    # The exporter reports optional packages and its own plans on every call.
    with undisturbed(_module(obj)), quiet("torch.onnx", logging.ERROR):
        # Without optimisation each weight keeps its name and its values, so that a recorder can swap it. The runtime
        # optimises by itself.
        torch.onnx.export(obj, (), path, dynamo=True, verbose=False, optimize=False, **names, **options)
    return f"torch {torch.__version__.partition('+')[0]}"


def forward(obj: Any, given: Item) -> Sequence[NDArray[np.generic]]:
    """Compute the outputs of the module as arrays."""
    return list(_outputs(obj, given).values())


def weights(obj: Any) -> Mapping[str, NDArray[np.generic]]:
    """Parameters and buffers by their names in the state dict."""
    return {name: to_array(tensor) for name, tensor in _module(obj).state_dict().items()}


def callback(*args: Any, **options: Any) -> Any:
    """Make an `onnxrich.Recorder` for a loop of one's own; Lightning and transformers have callbacks of their own."""
    import onnxrich

    return onnxrich.Recorder(*args, **options)


def _stored_example(obj: Any) -> Item:
    example = getattr(obj, "example_inputs", None)
    if example is None:
        raise AdapterError(
            f"{type(obj).__qualname__} comes without data",
            "rows that show what the model takes",
            "Pass a DataLoader, a tensor, or an item of a loader; on the command line --data FILE.npz.",
        )
    args, kwargs = example
    tensors = dict(zip((name for name, _ in _parameters(obj)), args, strict=False)) | kwargs
    return {name: to_input(value) for name, value in tensors.items()}


def _in_float32(obj: Any) -> Any:
    """A copy in float32 of a module with weights in bfloat16, which ONNX Runtime can't use; else the module itself."""
    import torch

    if not (isinstance(obj, torch.nn.Module) and has_bfloat16(obj)):
        return obj
    with undisturbed(obj):
        duplicate = copy.deepcopy(obj)
    return duplicate._apply(lambda tensor: tensor.float() if tensor.dtype == torch.bfloat16 else tensor)


def _module(obj: Any) -> Any:
    """The module, or the module that runs an exported program."""
    import torch

    return obj.module(check_guards=False) if isinstance(obj, torch.export.ExportedProgram) else obj


def _weight_bytes(obj: Any) -> int:
    return sum(tensor.nbytes for tensor in _module(obj).state_dict().values())


def _parameters(obj: Any) -> list[tuple[str, bool]]:
    """Names of `forward`'s parameters except labels, and whether each is required."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    signature = inspect.signature(_module(obj).forward).parameters.values()
    parameters = [entry for entry in signature if entry.kind in kinds and entry.name != LABELS]
    return [(entry.name, entry.default is inspect.Parameter.empty) for entry in parameters]


def _bind(item: Any, parameters: Sequence[tuple[str, bool]]) -> Item:
    """Convert an item to arrays by parameter name, as `frameworks.items` says; parts behind the inputs are labels."""
    names = [name for name, _ in parameters]
    required = sum(is_required for _, is_required in parameters)
    inputs, labels = _split(item, required, names)
    if not isinstance(inputs, Mapping):
        if not required <= len(inputs) <= len(names):
            raise _wrong_count(item, names)
        inputs = dict(zip(names, inputs, strict=False))
    labels = find_labels(inputs, names) if labels is None else labels
    arrays = {name: to_input(value) for name, value in inputs.items() if name in names}
    return arrays if labels is None else {**arrays, LABELS: to_input(labels)}


def _split(item: Any, required: int, names: Sequence[str]) -> tuple[Any, Any]:
    try:
        return split_item(item, required)
    except AdapterError as error:
        raise _wrong_count(item, names) from error


def _wrong_count(item: Any, names: Sequence[str]) -> AdapterError:
    parts = len(item) if isinstance(item, tuple | list) else 1
    return AdapterError(
        f"an item has {parts} parts for the inputs {', '.join(names) or 'unknown'}",
        "the inputs in this order, followed by the labels",
        "Yield mappings from input name to tensor, labels under the key 'labels'.",
    )


def _dynamic_axes(array: NDArray[Any]) -> dict[int, Any]:
    """The open axes of an input: that of rows, and that of tokens where the model leaves it open."""
    import torch

    if not array.ndim:
        return {}
    tokens = {1: torch.export.Dim.AUTO} if array.ndim == 2 and array.dtype.kind in "iu" else {}
    return {0: torch.export.Dim("batch"), **tokens}


def _outputs(obj: Any, item: Item) -> dict[str, NDArray[Any]]:
    """The outputs of a module by their keys or positions in its result."""
    import torch
    from torch.utils import _pytree

    module = _module(obj)
    # A program takes its arguments only as it was exported: by position or by name.
    positional = 0 if module is obj else len(obj.example_inputs[0])
    tensors = list(to_tensors(module, item).items())
    args = [tensor for _, tensor in tensors[:positional]]
    with undisturbed(module), torch.no_grad():
        leaves = _pytree.tree_flatten_with_path(module(*args, **dict(tensors[positional:])))[0]
    outputs = {_output_name(path): to_array(leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)}
    return {"output": outputs["output_"]} if list(outputs) == ["output_"] else outputs


def _output_name(path: Any) -> str:
    keys = [str(getattr(part, "key", getattr(part, "idx", ""))) for part in path]
    return "_".join(keys) if keys and not keys[0].isdigit() else f"output_{'_'.join(keys)}"
