"""The command line: each command parses, calls one public function, and renders."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import click

from onnxrich import __version__
from onnxrich.cli.demo import demo
from onnxrich.cli.doctor import doctor
from onnxrich.cli.render import render
from onnxrich.cli.run import run
from onnxrich.errors import OnnxrichError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="onnxrich")
@click.option("--debug", is_flag=True, help="Show tracebacks, and what native code printed.")
def cli(debug: bool) -> None:
    """Measure how a neural network learned, rich or lazy, from nothing but its exported ONNX file.

    \b
    Examples:
      onnxrich demo                                   two embedded models, one rich and one lazy
      onnxrich run model.onnx --data test.npz         D_LR, curves and a table
      onnxrich run model.onnx --data test.npz --json  the same for a pipeline
      onnxrich doctor                                 what runtime and devices are there
    """


for command in (run, render, demo, doctor):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: the one place where expected failures become exit codes and one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    # --debug is understood before and behind the command's name.
    given = ["--debug"] * debug + [argument for argument in given if argument != "--debug"]
    try:
        code = cli.main(given, prog_name="onnxrich", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("onnxrich: interrupted; nothing was written", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has seen enough (`| head`): what Python still holds back goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OnnxrichError as error:
        if debug:
            traceback.print_exc()
        click.echo(f"onnxrich: {error}", err=True)
        sys.exit(1)
