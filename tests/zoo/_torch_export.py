"""Exports PyTorch modules with either exporter, and records what a forward hook on the head saw."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from _record import Array, Head, Spec, Zoo, rows

Inputs = dict[str, Tensor]
CHANNEL_AXIS = {"sample": -1, "token_pooled": 1, "token": -1, "position": 1, "pooled": 1, "full_extent": 1}


@dataclass(frozen=True)
class Case:
    """One architecture and how to export it.

    Attributes:
        name: name in the zoo; the exporter is appended where both are used.
        build: makes the module.
        inputs: makes seeded inputs, in the order of `forward`'s parameters.
        heads: dotted names of the modules whose inputs and outputs are the truth; none for a negative.
        read: how the hooked tensors become rows: sample, token, position, pooled and token_pooled (mean over
            the positions or tokens of a head with nothing behind it but pooling) or full_extent (a kernel that covers the whole map).
        exporters: "dynamo" and "legacy", each with the opset to ask for.
        batch: fixed batch size, or None for a symbolic one.
        lengths: other dynamic axes as (input, axis, name).
        dtype: what to convert the module to.
        time_first: whether the hooked tensors are (T, N, ·), to be recorded in the order (N, T).
        mask: makes the row mask from the inputs.
        chosen: takes the rows that reach the output from a hooked tensor, where a choice follows the head.
        external: whether the weights go into a file of their own.
        more: further fields of the index line.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    heads: tuple[str, ...] = ("head",)
    read: str = "sample"
    exporters: dict[str, int] = field(default_factory=lambda: {"dynamo": 20})
    batch: int | None = None
    lengths: tuple[tuple[str, int, str], ...] = ()
    dtype: torch.dtype | None = None
    time_first: bool = False
    mask: Callable[[Inputs], Array] | None = None
    chosen: Callable[[Inputs, Tensor], Tensor] | None = None
    external: bool = False
    more: dict[str, object] = field(default_factory=dict)


def record(zoo: Zoo, case: Case) -> None:
    """Exports a case with each of its exporters and adds the entries."""
    torch.manual_seed(sum(case.name.encode()))
    module = initialised(case.build().eval())
    if case.dtype is not None:
        module = module.to(case.dtype)
    inputs = case.inputs()
    seen, outputs = observe(module, inputs, case.heads)
    heads = [_head(module.get_submodule(name), *seen[name], case=case) for name in case.heads]
    mask = case.mask(inputs) if case.mask else None
    chosen = None
    if case.chosen:
        (seen_features, seen_logits), pick = seen[case.heads[0]], case.chosen
        chosen = Head(_array(pick(inputs, seen_features)), _array(pick(inputs, seen_logits)))
    for exporter, opset in case.exporters.items():
        name = f"{case.name}_{exporter}" if len(case.exporters) > 1 else case.name
        model = export(module, inputs, case, exporter=exporter, opset=opset, external=zoo.folder / f"{name}.onnx.data")
        zoo.add(
            spec(case, name, exporter=exporter),
            model,
            {key: _array(value) for key, value in inputs.items()},
            heads=heads,
            outputs=[_array(out) for out in outputs],
            mask=mask,
            chosen=chosen,
        )


def spec(case: Case, name: str, *, exporter: str) -> Spec:
    """The index line of a case."""
    kind = case.read if case.read in ("token", "position") else "sample"
    expected = {0: "refuse", 1: "head"}.get(len(case.heads), "several")
    fields: dict[str, object] = {"expected": expected, "rows": kind, "batch": case.batch} | case.more
    return Spec(name, f"torch {torch.__version__.split('+')[0]} {exporter}", **fields)  # type: ignore[arg-type]


def observe(module: nn.Module, inputs: Inputs, names: Sequence[str]) -> tuple[dict[str, tuple[Tensor, Tensor]], list[Tensor]]:
    """Runs a module once; what went into and came out of each named submodule, and the flat list of its outputs."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
            seen[name] = (args[0].detach(), out.detach())

        return keep

    handles = [module.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    with torch.no_grad():
        out = module(*inputs.values())
    for handle in handles:
        handle.remove()
    return seen, [out] if isinstance(out, Tensor) else list(out)


def initialised(module: nn.Module) -> nn.Module:
    """Gives every parameter random values, so that no bias is zero, no norm is neutral and signals neither die nor grow."""
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point() or name.endswith("constant"):
                continue
            if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
                value.uniform_(0.5, 1.5)
            elif value.ndim < 2:
                value.normal_(0.0, 0.3)
            else:
                value.normal_(0.0, 1.3 / math.sqrt(max(value[0].numel(), 1)))
    return module


def export(
    module: nn.Module, inputs: Inputs, case: Case, *, exporter: str, opset: int, external: Path | None = None
) -> onnx.ModelProto:
    """Exports with a symbolic first axis unless the case fixes the batch."""
    args = tuple(value[: case.batch] if case.batch else value for value in inputs.values())
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / (external.name.removesuffix(".data") if external else "model.onnx")
        options = {"input_names": list(inputs), "opset_version": opset}
        if exporter == "dynamo":
            _dynamo(module, args, path, case=case, options=options)
        else:
            axes: dict[str, dict[int, str]] = {} if case.batch else {name: {0: "N"} for name in inputs}
            for name, axis, label in case.lengths:
                axes.setdefault(name, {})[axis] = label
            torch.backends.mha.set_fastpath_enabled(False)
            torch.onnx.export(module, args, str(path), dynamo=False, dynamic_axes=axes, **options)
        if case.external and external is not None:
            external.write_bytes((Path(folder) / external.name).read_bytes())
        return onnx.load(path, load_external_data=False)


def _dynamo(module: nn.Module, args: tuple[Tensor, ...], path: Path, *, case: Case, options: dict[str, object]) -> None:
    """The new exporter; dynamic axes as torch.export dimensions."""
    dims = {name: torch.export.Dim(name) for _, _, name in case.lengths} | {"N": torch.export.Dim("N")}
    shapes: list[dict[int, object]] = []
    for key in options["input_names"]:  # type: ignore[attr-defined]
        shape: dict[int, object] = {} if case.batch else {0: dims["N"]}
        shapes.append(shape | {axis: dims[name] for owner, axis, name in case.lengths if owner == key})
    torch.onnx.export(
        module, args, str(path), dynamo=True, dynamic_shapes=tuple(shapes), external_data=case.external, verbose=False, **options
    )


def _head(layer: nn.Module, features: Tensor, logits: Tensor, *, case: Case) -> Head:
    """Hooked tensors as rows, with the layer's own weights in double where it has such."""
    axis = CHANNEL_AXIS[case.read]
    if case.time_first:
        features, logits = features.transpose(0, 1), logits.transpose(0, 1)
    if case.read == "pooled":
        features, logits = features.mean((2, 3)), logits.mean((2, 3))
    if case.read == "token_pooled":
        features, logits = features.mean(1), logits.mean(1)
    if case.read == "full_extent":
        features, logits = features.flatten(1), logits.flatten(1)
    weight, bias = _weights(layer)
    return Head(rows(_array(features), channel=axis), rows(_array(logits), channel=axis), weight, bias)


def _weights(layer: nn.Module) -> tuple[Array | None, Array | None]:
    """Weight (p, C) and bias of a linear layer or a convolution that acts as one."""
    if hasattr(layer, "affine"):
        weight, bias = layer.affine()
        return weight.detach().double().numpy(), None if bias is None else bias.detach().double().numpy()
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) or weight is None:
        return None, None
    double = weight.detach().double().flatten(1).T.numpy()
    return double, None if bias is None else bias.detach().double().numpy()


def _array(value: Tensor) -> Array:
    value = value.detach()
    array = value.float().numpy() if value.dtype == torch.bfloat16 else value.numpy()
    return np.ascontiguousarray(array)
