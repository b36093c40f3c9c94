"""`onnxrich inspect`: the twin of `onnxrich.inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxrich.cli import _common
from onnxrich.errors import printable

if TYPE_CHECKING:
    from onnxrich.pipelines.inspect import Inspection


@click.command(short_help="Show the possible heads of MODEL, and the choice.")
@click.argument("model", type=click.Path(path_type=Path))
@_common.json_option
@click.option("--layers", is_flag=True, help="List the hidden layers that `onnxrich run --layers` takes.")
@_common.worker_options
def inspect(model: Path, as_json: bool, layers: bool, limits: dict[str, Any]) -> None:
    """Show the inputs, outputs and possible heads of MODEL, and why one is chosen.

    \b
    Examples:
      onnxrich inspect model.onnx
      onnxrich inspect model.onnx --layers
      onnxrich inspect model.onnx --json
    """
    import onnxrich

    found = onnxrich.inspect(model, **limits)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
        return
    lines = _lines(found) + (_layers(found) if layers else [])
    click.echo("\n".join(printable(line) for line in lines))


def _lines(found: Inspection) -> list[str]:
    model = found.model
    lines = [
        f"model    {model['path']}",
        f"made by  {model['producer']}, opset {model['opset']}, IR {model['ir_version']}, "
        f"{model['parameters']:,} parameters",
    ]
    for entry in found.inputs:
        shape = "unknown" if entry["shape"] is None else " × ".join(str(size or "?") for size in entry["shape"])
        lines.append(f"input    {entry['name']}  {entry['type']}  {shape or 'scalar'}")
    lines += [f"output   {name}" for name in found.outputs] + [""]
    for head in found.candidates:
        checked = f"verified, residual {head.residual:.1e}" if head.verified else "not verified"
        mark = "→" if head.chosen else " "
        lines += [
            f"{mark} head {head.number}: {head.kind}, p = {head.p} features, C = {head.C} outputs, "
            f"rows are {head.rows or 'unknown'}s, {checked}",
            f"    --features {head.features!r} --outputs {head.outputs!r}",
            f"    {head.reason}",
        ]
    if not found.candidates:
        lines.append("no head: pass --features NAME and --outputs NAME to `onnxrich run`")
    lines += [f"  rejected {entry['tensor']!r}: {entry['reason']}" for entry in found.rejected]
    if found.tail:
        from onnxrich.pipelines.inspect import drawing

        lines += ["", *drawing(found.tail)]
    return lines


def _layers(found: Inspection) -> list[str]:
    """A line for each layer: what `--layers` takes, what makes it, and its module where the file tells it."""
    width = max((len(layer["name"]) for layer in found.layers), default=0)
    listed = [f"  {layer['name']:{width}}  {layer['operator']}  {layer['scope']}".rstrip() for layer in found.layers]
    return ["", f"{len(listed)} hidden layers, for `onnxrich run --layers all|NAME,…`:", *listed]
