"""`onnxrich doctor`: what this machine offers, and what to do about what is missing."""

from __future__ import annotations

import json

import click

from onnxrich.cli import _common


@click.command(short_help="Say what is installed, and how to mend what is wrong.")
@_common.json_option
def doctor(as_json: bool) -> None:
    """Say what runtime, execution providers and versions are here, and how to mend what is wrong.

    \b
    Example:
      onnxrich doctor
    """
    from onnxrich.pipelines.environment import examine

    found = examine()
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
        return
    width = max(len(name) for name in found.facts)
    for name, value in found.facts.items():
        click.echo(f"{name.ljust(width)}  {value}")
    for problem in found.problems:
        click.echo(f"\n! {problem.message}")
    click.echo("\n" + ("No problem was found." if not found.problems else ""), nl=not found.problems)
