"""What several commands share: options, and how results are shown."""

from __future__ import annotations

import contextlib
import functools
import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxrich.cli.progress import bottleneck
from onnxrich.errors import DataError, DeviceError, printable

if TYPE_CHECKING:
    from onnxrich.results.analysis import Results

output_option = click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="DIR",
    help="Write analysis.json, moments.npz, report.html, figure.png and figure.svg there.",
)  # fmt: skip
force_option = click.option("--force", is_flag=True, help="Replace what is there: these files, or an earlier report.")


def check_output(output: Path | None, *, force: bool) -> None:
    """Refuse a folder that results can't go to, before any work is done, and --force where nothing is written.

    Raises:
        OutputError: when the folder is not empty, and not to be replaced.
    """
    if output is not None:
        from onnxrich.report import files

        files.check(output, force=force)
    elif force:
        raise click.UsageError("--force is of the files of --output: pass -o DIR as well, or leave --force out.")


@contextlib.contextmanager
def usage() -> Iterator[None]:
    """Turn what is wrong with arguments, whatever the files and the machine hold, into wrong usage."""
    try:
        yield
    except (DataError, DeviceError) as error:
        raise click.UsageError(str(error)) from error


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of the table.")

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Size(click.ParamType[int]):
    """A number of bytes, such as 512M or 4G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)([KMGT]?)(?:i?B)?", str(value).strip(), re.IGNORECASE)
        size = 0 if match is None else int(float(match[1]) * UNITS[match[2].upper()])
        return size or self.fail(f"{value!r} is no size; write 512M or 4G", param, ctx)


class Device(click.ParamType[str]):
    """A device, or several of a kind."""

    name = "device"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The device as it was written."""
        if not re.fullmatch(r"auto|cpu|cuda(:(all|\d{1,4}(,\d{1,4})*))?", str(value)):
            self.fail(f"{value!r} is none of auto, cpu, cuda, cuda:N, cuda:N,M and cuda:all", param, ctx)
        return str(value)


class Provider(click.ParamType[str]):
    """An execution provider of ONNX Runtime, with options."""

    name = "provider"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The provider as it was written, of which ONNX Runtime knows the name."""
        from onnxrich.engine.runtime import devices

        with usage():
            devices.written(str(value))
        return str(value)


def worker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--timeout, --max-memory and --in-process, given to a command as one mapping `limits` of keyword arguments."""

    @functools.wraps(command)
    def limited(*, timeout: float | None, max_memory: int | None, in_process: bool, **options: Any) -> Any:
        if timeout is not None and not math.isfinite(timeout):
            raise click.UsageError(f"--timeout {timeout} is no number of seconds: pass one such as 600, or none.")
        if in_process and (timeout or max_memory):
            raise click.UsageError("--timeout and --max-memory need the worker process: leave --in-process out.")
        limits = {"isolate": not in_process, "timeout": timeout, "max_memory": max_memory}
        return command(limits=limits, **options)

    for option in (
        click.option(
            "--in-process", is_flag=True, help="Work in this process, without protection: for debuggers and profilers."
        ),
        click.option(
            "--max-memory",
            type=Size(),
            metavar="SIZE",
            help="End the work when it has more memory of its own than that, such as 4G; measured every 0.05 s. Mapped "
            "files don't count; libraries take some 45M.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="End the work after this time.",
        ),
    ):
        limited = option(limited)
    return limited


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--device and --provider, of which one is given."""

    @functools.wraps(command)
    def placed(*, device: str, provider: str | None, **options: Any) -> Any:
        if provider is not None and device != "auto":
            raise click.UsageError(f"--device {device} and --provider {provider} are two answers: leave one out.")
        return command(device=device, provider=provider, **options)

    for option in (
        click.option(
            "--provider",
            type=Provider(),
            metavar="NAME[:KEY=VALUE,…]",
            help="Another execution provider of ONNX Runtime, such as tensorrt or openvino:device_type=CPU.",
        ),
        click.option(
            "--device",
            type=Device(),
            metavar="DEVICE",
            default="auto",
            show_default=True,
            help="cpu, cuda, cuda:N, cuda:0,1 or cuda:all for several; auto takes CUDA where it is there.",
        ),
    ):
        placed = option(placed)
    return placed


class Names(click.ParamType[tuple[str, ...]]):
    """Names with commas between them."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names."""
        names = tuple(name for part in str(value).split(",") if (name := part.strip()))
        return names or self.fail("no name is given", param, ctx)


class Metrics(Names):
    """Names of metrics or of families."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The names, each of which there is."""
        from onnxrich.metrics.registry import select

        names = super().convert(value, param, ctx)
        with usage():
            select(names)
        return names


metrics_option = click.option(
    "--metrics", type=Metrics(), metavar="NAMES",
    help="Metrics, or families of them, with commas; `default`, `all`; `onnxrich metrics` lists them.",
)  # fmt: skip


def show_profile(results: Results) -> None:
    """Where the time went, on standard error: seconds and share of each stage."""
    seconds = results.record.runtime.profile
    total = sum(seconds.values()) or 1.0
    click.echo(f"profile of {printable(results.record.model.path)}", err=True)
    for stage, spent in seconds.items():
        click.echo(f"  {stage:<30} {spent:9.3f} s  {spent / total:4.0%}", err=True)
    if results.record.runtime.resumed < results.record.data.samples:
        reading, running = (seconds.get(stage, 0.0) for stage in ("reading", "running"))
        click.echo(f"  reading against running: {bottleneck(reading / (reading + running or 1.0))}", err=True)


def show(results: Sequence[Results], *, as_json: bool) -> None:
    """Results on standard output: the table for people, or one JSON document (a list of them for several)."""
    from onnxrich.report import terminal

    documents = [result.to_dict() for result in results]
    document = documents[0] if len(documents) == 1 else documents
    show_document(document, functools.partial(terminal.render, results), as_json=as_json)


def show_document(document: Any, render: Callable[..., str], *, as_json: bool) -> None:
    """A document on standard output, or what `render` makes of it for people."""
    if as_json:
        # ASCII alone suits every terminal and encoding.
        click.echo(json.dumps(document, indent=2, allow_nan=False))
        return
    terminal_width = shutil.get_terminal_size((100, 24)).columns
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    text = render(
        width=min(terminal_width, 120),
        color=sys.stdout is not None and sys.stdout.isatty(),
        ascii_only=not encoding.lower().startswith("utf"),
    )
    click.echo(text, nl=not text.endswith("\n"))


def wrote(paths: Sequence[Path]) -> None:
    """Say on standard error what was written; the page that people want to open comes last."""
    for path in sorted(paths, key=lambda path: path.name == "report.html"):
        click.echo(f"wrote {printable(str(path))}", err=True)
