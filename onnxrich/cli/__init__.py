"""The command line: each command parses, calls one public function, and renders."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from onnxrich import __version__
from onnxrich.cli.compare import compare
from onnxrich.cli.demo import demo
from onnxrich.cli.doctor import doctor
from onnxrich.cli.export import export
from onnxrich.cli.inspect import inspect
from onnxrich.cli.metrics import metrics
from onnxrich.cli.output import write
from onnxrich.cli.patch import expose, instrument
from onnxrich.cli.render import render
from onnxrich.cli.run import run
from onnxrich.cli.track import track
from onnxrich.errors import OnnxrichError, OutputError

INTERRUPTED = 130


class _ReaderLeftError(Exception):
    """The reader of our output has seen enough (`| head`)."""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            # Click would take it for a failure.
            raise _ReaderLeftError from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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

    Exit codes: 0 done; 1 it could not be done, and one line says why; 2 wrong usage: the command line is wrong,
    whatever the files hold; 130 interrupted.
    """


for command in (run, compare, track, inspect, export, expose, instrument, render, metrics, demo, doctor):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: the one place where expected failures become exit codes and one line on standard error."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    # --debug is understood before and behind the command's name.
    given = ["--debug"] * debug + [argument for argument in given if argument != "--debug"]
    try:
        code = cli.main(given, prog_name="onnxrich", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        # Click has turned one into the other; what it was raised with says what is not lost.
        kept = " ".join(map(str, (error.__cause__ or error).args))
        write(f"onnxrich: interrupted; no result was written. {kept}".rstrip(), err=True)
        sys.exit(INTERRUPTED)
    except (BrokenPipeError, _ReaderLeftError):
        _discard_stdout()
        sys.exit(0)
    except (OnnxrichError, OSError) as error:
        if debug:
            write(traceback.format_exc(), err=True)
        if not isinstance(error, OnnxrichError):
            _discard_stdout()
            error = _refused(error)
        write(f"onnxrich: {error}", err=True)
        sys.exit(1)


def _refused(error: OSError) -> OnnxrichError:
    where = "standard output" if error.filename is None else str(error.filename)
    reason = error.strerror or type(error).__name__
    return OutputError(f"{where}: {reason}", "room and permission to write", "Free some space, or write elsewhere.")


def _discard_stdout() -> None:
    """What Python still holds back goes nowhere, rather than into a second error at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(error: click.ClickException) -> None:
    text = io.StringIO()
    error.show(file=text)
    write(text.getvalue(), err=True)
