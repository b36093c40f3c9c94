"""The axis of samples in each input: as the user says, or as the names of the dimensions tell; else the first.

The names only propose. Runs of the first batch prove the axis, see `onnxrich.engine.proof`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from onnx import ModelProto, ValueInfoProto

from onnxrich.errors import DataError

# Names that exporters and people give the dimension of samples, and to those of steps in a sequence.
_SAMPLES = re.compile(r"(.*[._ ])?(bs|b|n|num_?samples|samples)", re.IGNORECASE)
_STEPS = re.compile(
    r"(.*[._ ])?(t|s|l|time(_?steps?)?|steps?|frames?|(.*_)?seq(uence)?(_?len(gth)?)?|len(gth)?)", re.IGNORECASE
)

Dims = tuple[str | int | None, ...]
BatchAxis = str | int | Mapping[str, int]


def find_batch_axes(proto: ModelProto, requested: BatchAxis | None = None) -> dict[str, int]:
    """Find the axis of samples of each input where it is not the first.

    Args:
        proto: the model.
        requested: N for all inputs with so many axes, or NAME=N, several separated by commas; None to go by names.

    Raises:
        DataError: when no input has a name or an axis that the user gives.
    """
    initializers = {tensor.name for tensor in proto.graph.initializer}
    inputs = {value.name: _dims(value) for value in proto.graph.input if value.name not in initializers}
    if requested is not None:
        return _requested_axes(inputs, requested)
    symbol = _samples_symbol(inputs, [_dims(value) for value in proto.graph.output])
    if symbol is None:
        return {}
    # An input that has the symbol twice, as a matrix of pairs has, keeps its first axis.
    return {name: dims.index(symbol) for name, dims in inputs.items() if dims.count(symbol) == 1 and dims[0] != symbol}


def _dims(value: ValueInfoProto) -> Dims:
    shape = value.type.tensor_type.shape
    return tuple(dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else None) for dim in shape.dim)


def _samples_symbol(inputs: Mapping[str, Dims], outputs: Sequence[Dims]) -> str | None:
    """The symbolic dimension that names samples; None where the names leave it open.

    It speaks of a batch, or is named like samples in inputs and outputs, or leads the outputs where a sequence leads
    the inputs.
    """
    symbols = {dim for dims in inputs.values() for dim in dims if isinstance(dim, str)}
    named = {symbol for symbol in symbols if "batch" in symbol.lower()}
    symbols &= {dim for dims in outputs for dim in dims if isinstance(dim, str)}
    named = named or {symbol for symbol in symbols if _SAMPLES.fullmatch(symbol)}
    if len(named) == 1:
        return named.pop()
    first = {dims[0] for dims in inputs.values() if dims}
    if not all(isinstance(dim, str) and _STEPS.fullmatch(dim) for dim in first):
        return None
    leading = {dims[0] for dims in outputs if dims} & symbols - first
    return str(leading.pop()) if len(leading) == 1 else None


def _requested_axes(inputs: Mapping[str, Dims], requested: BatchAxis) -> dict[str, int]:
    axes: dict[str, int] = {}
    if not isinstance(requested, Mapping):
        entries = (entry.rpartition("=") for entry in str(requested).split(","))
        requested = {name: int(number) for name, _, number in entries}
    for name, axis in requested.items():
        named = {name: inputs[name]} if name in inputs else inputs if not name else {}
        fitting = [key for key, dims in named.items() if not dims or axis < len(dims)]
        if not fitting:
            listed = ", ".join(f"{key!r} with {len(dims)} axes" for key, dims in list(inputs.items())[:4])
            raise DataError(
                f"--batch-axis {name}={axis} fits no input", f"an axis of {listed}", "Pass NAME=N, axes from 0."
            )
        axes |= dict.fromkeys(fitting, axis)
    return {name: axis for name, axis in axes.items() if axis}
