"""`onnxrich inspect`: the twin of `onnxrich.inspect`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxrich.cli.options import json_option, takes
from onnxrich.cli.output import write
from onnxrich.pipelines.options import InspectOptions

if TYPE_CHECKING:
    from onnxrich.results.inspection import Candidate, Inspection

T = TypeVar("T")

# Inputs, outputs, heads and tensors without a head that are listed, and layers.
MOST_LISTED, MOST_LAYERS = 100, 1000
# Characters of a column of names.
WIDEST = 80


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
    from onnxrich.results.inspection import Inspection
    from onnxrich.results.serialize import to_text

    inspection = onnxrich.inspect(model, **options)
    if as_json:
        click.echo(to_text(inspection.to_dict()), nl=False)
        return
    # The names of the document, which are cut to what people read.
    shown = Inspection.from_dict(inspection.to_dict())
    write("\n".join(_lines(shown, inspection) + (_layers(shown, len(inspection.layers)) if layers else [])))


def _listed(entries: Sequence[T], line: Callable[[T], list[str]], *, count: int, most: int = MOST_LISTED) -> list[str]:
    """Lines of the first entries, and how many more there are.

    Args:
        entries: the first of them at least.
        line: gives the lines of an entry.
        count: their number.
        most: entries to list.
    """
    lines = [text for entry in entries[:most] for text in line(entry)]
    more = count - len(entries[:most])
    return [*lines, f"… and {more:,} more"] if more else lines


def _lines(inspection: Inspection, whole: Inspection) -> list[str]:
    """Lines of an inspection, of which the whole one may have more entries."""
    model = inspection.model
    lines = [
        f"model    {model['path']}",
        f"made by  {model['producer']}, opset {model['opset']}, IR {model['ir_version']}, "
        f"{model['parameters']:,} parameters",
    ]
    lines += _listed(inspection.inputs, _input, count=len(whole.inputs))
    lines += _listed(inspection.outputs, lambda name: [f"output   {name}"], count=len(whole.outputs))
    lines += ["", *_listed(inspection.candidates, _head, count=len(whole.candidates))]
    if not inspection.candidates:
        lines.append("no head: pass --features NAME and --outputs NAME to `onnxrich run`")
    lines += _listed(
        inspection.rejected,
        lambda entry: [f"  rejected {entry['tensor']!r}: {entry['reason']}"],
        count=len(whole.rejected),
    )
    if inspection.tail:
        lines += ["", *_drawing(inspection.tail)]
    return lines


def _input(entry: Mapping[str, Any]) -> list[str]:
    shape = "unknown" if entry["shape"] is None else " × ".join(str(size or "?") for size in entry["shape"])
    return [f"input    {entry['name']}  {entry['type']}  {shape or 'scalar'}"]


def _head(head: Candidate) -> list[str]:
    checked = f"verified, residual {head.residual:.1e}" if head.verified else "not verified"
    return [
        f"{'→' if head.chosen else ' '} head {head.number}: {head.kind}, p = {head.p} features, C = {head.C} outputs, "
        f"rows are {head.rows or 'unknown'}s, {checked}",
        f"    --features {head.features!r} --outputs {head.outputs!r}",
        f"    {head.reason}",
    ]


def _layers(inspection: Inspection, count: int) -> list[str]:
    """A line for each layer: what `--layers` takes, what makes it, and its module where the file tells it."""
    width = max((len(layer["name"]) for layer in inspection.layers), default=0)
    listed = _listed(
        inspection.layers,
        lambda layer: [f"  {layer['name']:{min(width, WIDEST)}}  {layer['operator']}  {layer['scope']}".rstrip()],
        count=count,
        most=MOST_LAYERS,
    )
    return ["", f"{count} hidden layers, for `onnxrich run --layers all|NAME,…`:", *listed]


def _drawing(tail: Sequence[tuple[str, str]]) -> list[str]:
    """Lines that show the tail of a graph: tensors, and the operators between them."""
    lines = []
    for operator, tensor in tail:
        if operator not in ("features", "output"):
            lines.append(f"   ↓ {operator}")
        lines.append(f"  {tensor}")
    return lines
