"""Options of the commands: those of the public functions, and those of the command line alone."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field
from pathlib import Path
from typing import Any, Literal

import click

from onnxrich._utils.validation import KINDS, LEAST, NO_LIMIT
from onnxrich.errors import DataError, DeviceError
from onnxrich.pipelines.options import PREPROCESSING, WorkOptions, described

Command = Callable[..., Any]

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """Report what is wrong with arguments, whatever the files and the machine hold, as wrong usage."""
    try:
        yield
    except (DataError, DeviceError) as error:
        raise click.UsageError(str(error)) from error


class Size(click.ParamType[int | str]):
    """A number of bytes, such as 512M or 4G, or the word `none`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number of bytes, or "none"."""
        if value == NO_LIMIT:
            return NO_LIMIT
        match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
        size = 0 if match is None else int(float(match[1]) * UNITS[match[2].upper()])
        return size or self.fail(f"{value!r} is no size; write 512M or 4G", param, ctx)


class Seconds(click.ParamType[float | str]):
    """A number of seconds above 0, or the word `none`."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Return the number of seconds, or "none"."""
        if value == NO_LIMIT:
            return NO_LIMIT
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        return seconds if 0 < seconds < math.inf else self.fail(f"{value!r} is neither seconds nor `none`", param, ctx)


class Device(click.ParamType[str]):
    """A device, or several of a kind."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the device as it was written."""
        if not re.fullmatch(r"auto|cpu|cuda(:(all|\d{1,4}(,\d{1,4})*))?", str(value)):
            self.fail(f"{value!r} is none of auto, cpu, cuda, cuda:N, cuda:N,M and cuda:all", param, ctx)
        return str(value)


class Provider(click.ParamType[str]):
    """An execution provider of ONNX Runtime, with options."""

    name = "provider"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the provider as it was written, when ONNX Runtime knows its name."""
        from onnxrich.engine.runtime import devices

        with usage():
            devices.parse_provider(str(value))
        return str(value)


class Names(click.ParamType[tuple[str, ...]]):
    """Names separated by commas."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names."""
        names = tuple(name for part in str(value).split(",") if (name := part.strip()))
        return names or self.fail("no name is given", param, ctx)


class Metrics(Names):
    """Names of metrics or of families."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the names, when each is known."""
        from onnxrich.metrics.registry import select

        names = super().convert(value, param, ctx)
        with usage():
            select(names)
        return names


class HeadNumber(click.ParamType[int | Literal["all"]]):
    """The number of a head, or the word `all`."""

    name = "head"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["all"]:
        """Return the number of the head, or "all"."""
        if value == "all":
            return "all"
        if not str(value).isdigit() or int(value) < 1:
            self.fail(f"{value!r} is neither a number from 1 nor `all`", param, ctx)
        return int(value)


# Types of options that their declaration doesn't tell.
TYPES: dict[str, click.ParamType[Any]] = {
    "checkpoint": click.Path(dir_okay=False),
    "color": click.Choice(["rgb", "bgr", "gray"]),
    "device": Device(),
    "evaluation": click.Path(path_type=Path),
    "ignore_label": click.INT,
    "init": click.Path(path_type=Path),
    "layers": Names(),
    "layout": click.Choice(["NCHW", "NHWC"]),
    "max_memory": Size(),
    "metrics": Metrics(),
    "output": click.Path(path_type=Path),
    "provider": Provider(),
    "stall_timeout": Seconds(),
    "resample": click.Choice(["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]),
    "timeout": click.FloatRange(min=0, min_open=True),
    "token": click.INT,
}
# Names of options that differ from those of the keyword arguments.
FLAGS = {"example": "--data", "output": "-o/--output"}

force_option = click.option("--force", is_flag=True, help="Replace existing files, or an earlier report.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")
in_process_option: Callable[[Command], Command] = click.option(
    "--in-process", is_flag=True, help="Work in this process, without protection: for debuggers and profilers."
)


def directory_option(files: str) -> Callable[[Command], Command]:
    """Declare --output of a command that writes such files into a folder."""
    return click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", help=f"Write {files} there.")


def takes(kind: type[WorkOptions], *, own: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Give a command the options of a public function; it gets them as a mapping `options` of keyword arguments.

    Args:
        kind: class of the options.
        own: names of options that the command declares itself, or takes by other means.
    """
    names = [field.name for field in described(kind)]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def parsed(**values: Any) -> Any:
            options = {name: values.pop(name) for name in names if name in values and name not in own}
            options["isolate"] = not values.pop("in_process")
            if "limit" in names:
                _check_rows(options)
            _check_limits(options)
            if options.get("provider") is not None and options["device"] != "auto":
                raise click.UsageError(
                    f"--device {options['device']} and --provider {options['provider']} are two answers: leave one out."
                )
            return command(options=options, **values)

        declared = [
            _option(field) for field in described(kind) if field.name not in own and _is_for_command_line(field)
        ]
        with_options: Command = parsed
        for option in (*declared[::-1], in_process_option):
            with_options = option(with_options)
        return with_options

    return decorate


def _is_for_command_line(field: Field[Any]) -> bool:
    return field.metadata["metavar"] is not None or (field.type == "bool" and field.name not in ("isolate", "verify"))


def _option(field: Field[Any]) -> Callable[[Command], Command]:
    """Declare an option of the command line from a field of an options class."""
    meaning, metavar = field.metadata["meaning"], field.metadata["metavar"]
    flags = FLAGS.get(field.name, f"--{field.name.replace('_', '-')}").split("/")
    if field.type == "bool":
        return click.option(*flags, field.name, is_flag=True, help=meaning)
    whole = field.name in KINDS and field.name in LEAST
    kind = TYPES.get(field.name) or (click.IntRange(min=LEAST[field.name]) if whole else click.STRING)
    metavar = None if isinstance(kind, click.Choice) else metavar
    # A required option has no default, for even None counts as one.
    has_default = {"required": True} if field.default is MISSING else {
        "default": field.default, "show_default": field.default is not None
    }  # fmt: skip
    return click.option(*flags, field.name, type=kind, metavar=metavar, help=meaning, **has_default)


def _check_rows(options: dict[str, Any]) -> None:
    """Refuse options of the rows that are wrong, whatever the files hold."""
    from onnxrich.data.preprocessing.steps import Preprocessing

    if (options["text"] is None) != (options["tokenizer"] is None):
        raise click.UsageError("--text COLUMN and --tokenizer FILE belong together: pass both, or none of them.")
    with usage():
        Preprocessing.of({name: options[name] for name in PREPROCESSING if options[name] is not None})


def _check_limits(options: dict[str, Any]) -> None:
    if options["timeout"] is not None and not math.isfinite(options["timeout"]):
        raise click.UsageError(
            f"--timeout {options['timeout']} is no number of seconds: pass one such as 600, or none."
        )
    if not options["isolate"] and (options["timeout"] or options["stall_timeout"] or options["max_memory"]):
        raise click.UsageError(
            "--timeout, --stall-timeout and --max-memory need the worker process: leave --in-process out."
        )
