"""`onnxrich doctor`: what this machine offers, and what to do about what is missing."""

from __future__ import annotations

import json

import click

from onnxrich.cli.options import json_option
from onnxrich.cli.output import write


@click.command(short_help="Say what is installed, and how to mend what is wrong.")
@json_option
def doctor(as_json: bool) -> None:
    """Say what runtime, execution providers and versions are here, and how to mend what is wrong.

    \b
    Example:
      onnxrich doctor
    """
    from onnxrich.pipelines.environment import examine

    findings = examine()
    if as_json:
        click.echo(json.dumps(findings.to_dict(), indent=2, allow_nan=False))
        return
    width = max(len(name) for name in findings.facts)
    for name, value in findings.facts.items():
        write(f"{name.ljust(width)}  {value}")
    for problem in findings.problems:
        write(f"\n! {problem.message}")
    if not findings.problems:
        write("\nNo problem was found.")
