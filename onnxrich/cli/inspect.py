"""`onnxrich inspect`: the twin of `onnxrich.inspect`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxrich.cli.options import json_option, takes
from onnxrich.errors import printable
from onnxrich.pipelines.options import InspectOptions

if TYPE_CHECKING:
    from onnxrich.results.inspection import Inspection


@click.command(short_help="Show the possible heads of MODEL, and the choice.")
@click.argument("model", type=click.Path(path_type=Path))
@takes(InspectOptions)
@json_option
@click.option("--layers", is_flag=True, help="List the hidden layers that `onnxrich run --layers` takes.")
def inspect(model: Path, options: dict[str, Any], as_json: bool, layers: bool) -> None:
    """Show the inputs, outputs and possible heads of MODEL, and why one is chosen.

    \b
    Examples:
      onnxrich inspect model.onnx
      onnxrich inspect model.onnx --layers
      onnxrich inspect model.onnx --json
    """
    import onnxrich
    from onnxrich.results.serialize import to_ascii

    inspection = onnxrich.inspect(model, **options)
    if as_json:
        click.echo(to_ascii(inspection.to_dict()))
        return
    lines = _lines(inspection) + (_layers(inspection) if layers else [])
    click.echo("\n".join(printable(line) for line in lines))


def _lines(inspection: Inspection) -> list[str]:
    model = inspection.model
    lines = [
        f"model    {model['path']}",
        f"made by  {model['producer']}, opset {model['opset']}, IR {model['ir_version']}, "
        f"{model['parameters']:,} parameters",
    ]
    for entry in inspection.inputs:
        shape = "unknown" if entry["shape"] is None else " × ".join(str(size or "?") for size in entry["shape"])
        lines.append(f"input    {entry['name']}  {entry['type']}  {shape or 'scalar'}")
    lines += [f"output   {name}" for name in inspection.outputs] + [""]
    for head in inspection.candidates:
        checked = f"verified, residual {head.residual:.1e}" if head.verified else "not verified"
        mark = "→" if head.chosen else " "
        lines += [
            f"{mark} head {head.number}: {head.kind}, p = {head.p} features, C = {head.C} outputs, "
            f"rows are {head.rows or 'unknown'}s, {checked}",
            f"    --features {head.features!r} --outputs {head.outputs!r}",
            f"    {head.reason}",
        ]
    if not inspection.candidates:
        lines.append("no head: pass --features NAME and --outputs NAME to `onnxrich run`")
    lines += [f"  rejected {entry['tensor']!r}: {entry['reason']}" for entry in inspection.rejected]
    if inspection.tail:
        lines += ["", *_drawing(inspection.tail)]
    return lines


def _layers(inspection: Inspection) -> list[str]:
    """A line for each layer: what `--layers` takes, what makes it, and its module where the file tells it."""
    width = max((len(layer["name"]) for layer in inspection.layers), default=0)
    listed = [
        f"  {layer['name']:{width}}  {layer['operator']}  {layer['scope']}".rstrip() for layer in inspection.layers
    ]
    return ["", f"{len(listed)} hidden layers, for `onnxrich run --layers all|NAME,…`:", *listed]


def _drawing(tail: Sequence[tuple[str, str]]) -> list[str]:
    """Lines that show the tail of a graph: tensors, and the operators between them."""
    lines = []
    for operator, tensor in tail:
        if operator not in ("features", "output"):
            lines.append(f"   ↓ {operator}")
        lines.append(f"  {tensor}")
    return lines
