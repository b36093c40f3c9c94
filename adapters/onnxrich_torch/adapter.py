"""PyTorch for onnxrich: modules and exported programs, data loaders, tensors.

- Inputs of the ONNX model have the names of `forward`'s parameters.
- Items of a loader are (inputs…, labels), (inputs…), a tensor, or a mapping by parameter name.
- Modules are exported in evaluation mode, and left as they were, as are PyTorch's random numbers.
- Imports no PyTorch before it is given something of PyTorch.
"""

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

import onnxrich
from onnxrich.errors import AdapterError
from onnxrich.frameworks.registry import LABELS, Item, converted, quiet

# Bytes of weights above which they go to a file of their own: one protobuf file holds 2 GiB.
LARGEST_IN_FILE = 2**30
_END = object()


def is_native(obj: Any) -> bool:
    """Whether an object is a module or an exported program; those of transformers and Keras have adapters of theirs."""
    torch = sys.modules.get("torch")
    if torch is None or is_pretrained(obj) or any(part.__module__.startswith("keras.") for part in type(obj).__mro__):
        return False
    return isinstance(obj, torch.nn.Module | torch.export.ExportedProgram)


def is_pretrained(obj: Any) -> bool:
    """Whether an object is a model of transformers."""
    models = sys.modules.get("transformers.modeling_utils")
    return models is not None and isinstance(obj, models.PreTrainedModel)


def load(path: Path) -> Any | None:
    """The exported program of a `.pt2` file."""
    if path.suffix.lower() != ".pt2":
        return None
    from onnxrich_torch import programs

    return programs.load(path)


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """The items of a loader by the names of the module's inputs; a program has an example of its own."""
    if loader is None:
        return [_own_example(obj)]
    names = _parameters(obj)
    if isinstance(loader, Mapping) or hasattr(loader, "shape"):
        return [_named(loader, names)]
    apart = _Apart(loader)
    return converted(iter(apart) if isinstance(loader, Iterator) else apart, lambda item: _named(item, names))


@dataclass(frozen=True, eq=False)
class _Apart:
    """A loader that draws its random numbers apart: a training goes on as if nobody had looked at the data."""

    loader: Iterable[Any]

    def __iter__(self) -> Iterator[Any]:
        import torch

        own, items = torch.get_rng_state(), None
        while True:
            outside = torch.get_rng_state()
            torch.set_rng_state(own)
            try:
                items = iter(self.loader) if items is None else items
                item = next(items, _END)
            finally:
                own = torch.get_rng_state()
                torch.set_rng_state(outside)
            if item is _END:
                return
            yield item


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write a module or a program by PyTorch's dynamo exporter."""
    import torch

    options: dict[str, Any] = {"external_data": sum(_sizes(obj)) > LARGEST_IN_FILE}
    if isinstance(obj, torch.nn.Module):
        axes = {name: _axes(array) for name, array in example.items()}
        options |= {"kwargs": _tensors(obj, example), "dynamic_shapes": axes}
    names = {"input_names": list(example), "output_names": list(_outputs(obj, example))}
    # It tells about optional packages and about its own plans on every call.
    with _evaluating(obj), quiet("torch.onnx", logging.ERROR):
        # Not optimised: so each weight keeps its name and its values, and a training can swap them; the runtime
        # optimises by itself.
        torch.onnx.export(obj, (), path, dynamo=True, verbose=False, optimize=False, **names, **options)
    return f"torch {torch.__version__.partition('+')[0]}"


def forward(obj: Any, given: Item) -> Sequence[NDArray[np.generic]]:
    """What the module computes, as arrays."""
    return list(_outputs(obj, given).values())


def weights(obj: Any) -> Mapping[str, NDArray[np.generic]]:
    """Parameters and buffers by their names in the state dict."""
    return {name: _array(tensor) for name, tensor in _module(obj).state_dict().items()}


def callback(*args: Any, **options: Any) -> Any:
    """An `onnxrich.Recorder`, for loops of one's own; Lightning and the Trainer of transformers have theirs."""
    return onnxrich.Recorder(*args, **options)


def _own_example(obj: Any) -> Item:
    example = getattr(obj, "example_inputs", None)
    if example is None:
        raise AdapterError(
            f"{type(obj).__qualname__} without data",
            "rows that show what it takes",
            "Pass a DataLoader, a tensor, or an item of a loader; on the command line --data FILE.npz.",
        )
    args, kwargs = example
    named = dict(zip((name for name, _ in _parameters(obj)), args, strict=False)) | kwargs
    return {name: _array(value) for name, value in named.items()}


def _module(obj: Any) -> Any:
    """The module, or what runs an exported program as one."""
    import torch

    return obj.module(check_guards=False) if isinstance(obj, torch.export.ExportedProgram) else obj


def _sizes(obj: Any) -> list[int]:
    return [tensor.nbytes for tensor in _module(obj).state_dict().values()]


def _parameters(obj: Any) -> list[tuple[str, bool]]:
    """Names of what `forward` takes, and whether it must be given."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(_module(obj).forward).parameters.values()
    taken = [entry for entry in found if entry.kind in kinds and entry.name != LABELS]
    return [(entry.name, entry.default is inspect.Parameter.empty) for entry in taken]


def _named(item: Any, names: Sequence[tuple[str, bool]]) -> Item:
    if isinstance(item, Mapping):
        known = {name for name, _ in names} | {LABELS}
        return {name: _array(value) for name, value in item.items() if name in known}
    parts = list(item) if isinstance(item, tuple | list) else [item]
    if len(parts) == 2 and isinstance(parts[0], tuple | list):
        parts = [*parts[0], parts[1]]
    needed = sum(required for _, required in names)
    given = len(parts) if len(parts) <= max(needed, 1) else len(parts) - 1
    if not needed <= given <= len(names):
        raise AdapterError(
            f"an item of {len(parts)} parts for inputs {', '.join(name for name, _ in names) or 'unknown'}",
            "the inputs in this order, and the labels behind them",
            "Yield mappings from input name to tensor, labels under the key 'labels'.",
        )
    named = {name: _array(part) for (name, _), part in zip(names, parts[:given], strict=False)}
    return named | ({LABELS: _array(parts[-1])} if given < len(parts) else {})


def _array(value: Any) -> NDArray[Any]:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return value.numpy()  # type: ignore[no-any-return]
    return np.asarray(value)


def _tensors(obj: Any, given: Item) -> dict[str, Any]:
    import torch

    device = next((tensor.device for tensor in obj.state_dict().values()), torch.device("cpu"))
    return {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in given.items()}


def _axes(array: NDArray[Any]) -> dict[int, Any]:
    """Which axes of an input are open: that of rows, and that of tokens where the model leaves it open."""
    import torch

    if not array.ndim:
        return {}
    tokens = {1: torch.export.Dim.AUTO} if array.ndim == 2 and array.dtype.kind in "iu" else {}
    return {0: torch.export.Dim("batch"), **tokens}


def _outputs(obj: Any, given: Item) -> dict[str, NDArray[Any]]:
    """What the module gives, by the place in its result: keys of mappings, else numbers."""
    import torch
    from torch.utils import _pytree

    module = _module(obj)
    # A program insists on the arguments that it was exported with.
    positional = 0 if module is obj else len(obj.example_inputs[0])
    named = list(_tensors(module, given).items())
    values = [tensor for _, tensor in named[:positional]]
    with _evaluating(module), torch.no_grad():
        leaves = _pytree.tree_flatten_with_path(module(*values, **dict(named[positional:])))[0]
    found = {_place(path): _array(leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)}
    return {"output": found["output_"]} if list(found) == ["output_"] else found


def _place(path: Any) -> str:
    keys = [str(getattr(part, "key", getattr(part, "idx", ""))) for part in path]
    return "_".join(keys) if keys and not keys[0].isdigit() else f"output_{'_'.join(keys)}"


@contextlib.contextmanager
def _evaluating(obj: Any) -> Iterator[None]:
    """Evaluation mode, and afterwards modes and random numbers as before; a program is what it was exported as."""
    import torch

    modes = [(part, part.training) for part in _module(obj).modules()]
    for part, _ in modes:
        part.training = False
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        for part, training in modes:
            part.training = training
