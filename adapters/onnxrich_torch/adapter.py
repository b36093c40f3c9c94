"""The verbs of the adapter for PyTorch."""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import AdapterError
from onnxrich.frameworks.exporters import quiet
from onnxrich.frameworks.registry import LABELS, Item, converted
from onnxrich_torch.programs import check_open_batch, load_program

# Bytes of weights above which they go to a file of their own: a protobuf file holds 2 GiB at most.
MAX_INLINE_BYTES = 2**30
_END = object()


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
    if isinstance(loader, Mapping) or hasattr(loader, "shape"):
        return [_bind(loader, parameters)]
    isolated = _IsolatedLoader(loader)
    items = iter(isolated) if isinstance(loader, Iterator) else isolated
    return converted(items, lambda item: _bind(item, parameters))


@dataclass(frozen=True, eq=False)
class _IsolatedLoader:
    """A loader with its own stream of random numbers, so that reading it doesn't change a training."""

    loader: Iterable[Any]

    def __iter__(self) -> Iterator[Any]:
        import torch

        own_state, items = torch.get_rng_state(), None
        while True:
            outer_state = torch.get_rng_state()
            torch.set_rng_state(own_state)
            try:
                items = iter(self.loader) if items is None else items
                item = next(items, _END)
            finally:
                own_state = torch.get_rng_state()
                torch.set_rng_state(outer_state)
            if item is _END:
                return
            yield item


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write a module or a program with PyTorch's dynamo exporter."""
    import torch

    if isinstance(obj, torch.export.ExportedProgram):
        check_open_batch(obj)
    options: dict[str, Any] = {"external_data": _weight_bytes(obj) > MAX_INLINE_BYTES}
    if isinstance(obj, torch.nn.Module):
        axes = {name: _dynamic_axes(array) for name, array in example.items()}
        options |= {"kwargs": _tensors(obj, example), "dynamic_shapes": axes}
    names = {"input_names": list(example), "output_names": list(_outputs(obj, example))}
    # The exporter reports optional packages and its own plans on every call.
    with _evaluation_mode(obj), quiet("torch.onnx", logging.ERROR):
        # Without optimisation each weight keeps its name and its values, so that a recorder can swap it. The runtime
        # optimises by itself.
        torch.onnx.export(obj, (), path, dynamo=True, verbose=False, optimize=False, **names, **options)
    return f"torch {torch.__version__.partition('+')[0]}"


def forward(obj: Any, given: Item) -> Sequence[NDArray[np.generic]]:
    """Compute the outputs of the module as arrays."""
    return list(_outputs(obj, given).values())


def weights(obj: Any) -> Mapping[str, NDArray[np.generic]]:
    """Parameters and buffers by their names in the state dict."""
    return {name: _to_array(tensor) for name, tensor in _module(obj).state_dict().items()}


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
    return {name: _to_array(value) for name, value in tensors.items()}


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
    """Convert an item to arrays by parameter name; parts behind the inputs are labels."""
    if isinstance(item, Mapping):
        known = {name for name, _ in parameters} | {LABELS}
        return {name: _to_array(value) for name, value in item.items() if name in known}
    parts = list(item) if isinstance(item, tuple | list) else [item]
    if len(parts) == 2 and isinstance(parts[0], tuple | list):
        parts = [*parts[0], parts[1]]
    required = sum(is_required for _, is_required in parameters)
    count = len(parts) if len(parts) <= max(required, 1) else len(parts) - 1
    if not required <= count <= len(parameters):
        raise AdapterError(
            f"an item has {len(parts)} parts for the inputs {', '.join(name for name, _ in parameters) or 'unknown'}",
            "the inputs in this order, followed by the labels",
            "Yield mappings from input name to tensor, labels under the key 'labels'.",
        )
    arrays = {name: _to_array(part) for (name, _), part in zip(parameters, parts[:count], strict=False)}
    return arrays | ({LABELS: _to_array(parts[-1])} if count < len(parts) else {})


def _to_array(value: Any) -> NDArray[Any]:
    """Convert a tensor or an array-like value to NumPy, which has no bfloat16."""
    if hasattr(value, "detach"):
        tensor = value.detach().cpu()
        tensor = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        return tensor.numpy()  # type: ignore[no-any-return]
    return np.asarray(value)


def _tensors(module: Any, item: Item) -> dict[str, Any]:
    """The arrays of an item as tensors on the module's device."""
    import torch

    device = next((tensor.device for tensor in module.state_dict().values()), torch.device("cpu"))
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in item.items()}


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
    tensors = list(_tensors(module, item).items())
    args = [tensor for _, tensor in tensors[:positional]]
    with _evaluation_mode(module), torch.no_grad():
        leaves = _pytree.tree_flatten_with_path(module(*args, **dict(tensors[positional:])))[0]
    outputs = {_output_name(path): _to_array(leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)}
    return {"output": outputs["output_"]} if list(outputs) == ["output_"] else outputs


def _output_name(path: Any) -> str:
    keys = [str(getattr(part, "key", getattr(part, "idx", ""))) for part in path]
    return "_".join(keys) if keys and not keys[0].isdigit() else f"output_{'_'.join(keys)}"


@contextlib.contextmanager
def _evaluation_mode(obj: Any) -> Iterator[None]:
    """Evaluate a module, and restore modes and random numbers; a program keeps the mode of its export."""
    import torch

    modes = [(module, module.training) for module in _module(obj).modules()]
    for module, _ in modes:
        module.training = False
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for module, training in modes:
            module.training = training
