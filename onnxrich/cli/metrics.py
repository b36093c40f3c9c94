"""`onnxrich metrics`: which metrics there are, the twin of `onnxrich.metric_list`."""

from __future__ import annotations

import click


@click.command(short_help="List all metrics, with their meanings.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the list.")
def metrics(as_json: bool) -> None:
    """List all metrics, family by family, with their meanings; `*` marks those that `onnxrich run` computes by itself.

    \b
    Examples:
      onnxrich metrics
      onnxrich run model.onnx --data test.npz --metrics collapse,alpha_req
      onnxrich run model.onnx --data test.npz --metrics default,readouts
      onnxrich run model.onnx --data test.npz --metrics all
    """
    import onnxrich
    from onnxrich.metrics.registry import FAMILIES
    from onnxrich.results.serialize import to_text

    listed = onnxrich.metric_list()
    if as_json:
        click.echo(to_text(listed), nl=False)
        return
    width = max(len(str(entry["name"])) for entry in listed)
    for family, meaning in FAMILIES.items():
        click.echo(f"{family}: {meaning}")
        for entry in listed:
            if entry["family"] == family:
                mark = "*" if entry["default"] else " "
                click.echo(f"  {mark} {entry['name']:{width}}  {entry['meaning']}")
