"""What users of onnxrich see: public names and how they are called, the command line, and the keys of JSON documents.

    python tests/compatibility/surface.py tests/compatibility/surface.json

writes that of the installed version; `test_surface.py` compares a later one with it. A name that is given up on purpose
is taken out of the file by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import inspect
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

import onnxrich
from onnxrich.cli import cli

FIXTURES = Path(__file__).parent / "0.1.0"
MLP, OTHER, INIT, FLOATS, TOKENS = (
    str(FIXTURES / "models" / f"{name}.onnx") for name in ("mlp", "other", "init", "floats", "tokens")
)
TRAIN, TEST = (str(FIXTURES / "data" / f"{name}.npz") for name in ("train", "test"))
STEPS = [str(FIXTURES / "models" / f"step-{step}.onnx") for step in (9, 30, 100)]
# Few rows in few batches, so that some warnings are there.
FEW = ["--limit", "40", "--batch-size", "5", "--device", "cpu"]

# Keys of these objects say what machine it is, or are whatever a model holds.
FREE = ("nodes",)

DOCUMENTS = {
    "run": ["run", MLP, "--data", TRAIN, "--eval-data", TEST, "--layers", "all", "--metrics", "all", *FEW],
    "run on rows that are scaled": ["run", FLOATS, "--data", TRAIN, "--scale", "1/255", *FEW],
    "compare": ["compare", MLP, OTHER, "--init", INIT, "--data", TRAIN, *FEW],
    "track": ["track", *STEPS, "--init", STEPS[0], "--data", TRAIN, *FEW],
    "inspect": ["inspect", TOKENS],
    "metrics": ["metrics"],
    "doctor": ["doctor"],
}  # fmt: skip

# Command lines that end in some way, in a folder with a model and a report that may come to harm. What they say is for
# people, the code is for scripts.
ENDINGS: dict[str, list[str]] = {
    "version": ["--version"],
    "help": ["-h"],
    "help of a command": ["run", "--help"],
    "no command": [],
    "no such command": ["nothing"],
    "list": ["metrics"],
    "look at a model": ["inspect", MLP],
    "debug behind the command": ["inspect", MLP, "--debug"],
    "run": ["run", MLP, "--data", TRAIN],
    "run without data": ["run", MLP],
    "run without a model": ["run"],
    "run of a missing model": ["run", "missing.onnx"],
    "run of missing data": ["run", MLP, "--data", "missing.npz"],
    "run with data as an argument": ["run", MLP, TRAIN],
    "unknown option": ["run", MLP, "--nothing"],
    "unknown metric": ["run", MLP, "--data", TRAIN, "--metrics", "nothing"],
    "unknown device": ["run", MLP, "--data", TRAIN, "--device", "abacus"],
    "a device that is not there": ["run", MLP, "--data", TRAIN, "--device", "cuda:999"],
    "unknown provider": ["run", MLP, "--data", TRAIN, "--provider", "nothing"],
    "unknown tensor": ["run", MLP, "--data", TRAIN, "--features", "nothing"],
    "unknown head": ["run", MLP, "--data", TRAIN, "--head", "7"],
    "all heads": ["run", MLP, "--data", TRAIN, "--head", "all"],
    "all heads and a tensor": ["run", MLP, "--data", TRAIN, "--head", "all", "--features", "h"],
    "unknown layer": ["run", MLP, "--data", TRAIN, "--layers", "nothing"],
    "a token of no layers": ["run", MLP, "--data", TRAIN, "--token", "0"],
    "labels of no data to evaluate on": ["run", MLP, "--data", TRAIN, "--eval-labels", "y"],
    "no number": ["run", MLP, "--data", TRAIN, "--limit", "many"],
    "no size": ["run", MLP, "--data", TRAIN, "--max-memory", "much"],
    "no scale": ["run", MLP, "--data", TRAIN, "--scale", "large"],
    "text without a tokenizer": ["run", MLP, "--data", TRAIN, "--text", "x"],
    "time is over": ["run", MLP, "--data", TRAIN, "--timeout", "0.001"],
    "limits without a process": ["run", MLP, "--data", TRAIN, "--timeout", "9", "--in-process"],
    "force without an output": ["run", MLP, "--data", TRAIN, "--force"],
    "an output that holds files": ["run", MLP, "--data", TRAIN, "-o", "report"],
    "a checkpoint that is none": ["run", MLP, "--data", TRAIN, "--checkpoint", "model.onnx"],
    "a single model": ["compare", MLP, "--data", TRAIN],
    "compare a missing model": ["compare", MLP, "missing.onnx", "--data", TRAIN],
    "no checkpoints": ["track", "none-*.onnx"],
    "two formats": ["track", *STEPS, "--data", TRAIN, "--json", "--csv"],
    "render": ["render", "report"],
    "render nothing": ["render", "missing.npz"],
    "render the same folder": ["render", "report", "-o", "report", "--force"],
    "expose without an output": ["expose", MLP],
    "expose onto the model": ["expose", "model.onnx", "-o", "model.onnx", "--force"],
    "instrument a missing model": ["instrument", "missing.onnx", "-o", "made.onnx"],
    "export what no adapter takes": ["export", "missing.txt", "-o", "made.onnx"],
}


def parameters(function: Callable[..., Any]) -> list[list[str | None]]:
    """Name, kind and default of each parameter."""
    return [
        [each.name, each.kind.name, None if each.default is inspect.Parameter.empty else _default(each.default)]
        for each in inspect.signature(function).parameters.values()
    ]


def _default(value: Any) -> str:
    # The text of a function holds its address, and its name may be private.
    return f"<{type(value).__name__}>" if callable(value) else repr(value)


def _attributes(thing: Any) -> dict[str, list[list[str | None]] | None]:
    """Public attributes by name: parameters of those that are methods."""
    found = {}
    for name in dir(thing):
        if not name.startswith("_"):
            value = getattr(thing, name)
            found[name] = parameters(value) if inspect.ismethod(value) or inspect.isfunction(value) else None
    return found


def names() -> dict[str, Any]:
    """The public names: constructors and functions with their parameters, errors with what they are."""
    found: dict[str, Any] = {}
    for name in sorted(onnxrich.__all__):
        thing = getattr(onnxrich, name)
        if isinstance(thing, type):
            bases = [base.__name__ for base in thing.__mro__ if base.__module__ == "builtins" or _public(base)]
            found[name] = {"is": "class", "bases": bases, "parameters": parameters(thing)}
        elif callable(thing):
            found[name] = {"is": "function", "parameters": parameters(thing)}
        else:
            found[name] = {"is": type(thing).__name__}
    return found


def _public(kind: type) -> bool:
    return getattr(onnxrich, kind.__name__, None) is kind


def attributes() -> dict[str, Any]:
    """What the objects have that users get, and the parts that these are made of."""
    # An analysis with errors, layers and other data to evaluate on.
    analysis = onnxrich.Analysis.load(FIXTURES / "labelled")
    comparison = onnxrich.compare([FIXTURES / "compared" / name for name in ("mlp", "other")])
    track = onnxrich.track(str(FIXTURES / "training" / "step-*" / "moments.npz"))
    inspection = onnxrich.inspect(MLP)
    rows = np.random.default_rng(0).standard_normal((50, 4))
    error = onnxrich.DataError("found", "needed", "remedy")
    things: dict[str, Any] = {
        "Analysis": analysis,
        "Analysis.record": analysis.record,
        "Analysis.record.model": analysis.record.model,
        "Analysis.record.head": analysis.record.head,
        "Analysis.record.data": analysis.record.data,
        "Analysis.record.runtime": analysis.record.runtime,
        "Analysis.curves": analysis.curves,
        "Analysis.evaluation": analysis.evaluation,
        "Analysis.uncertainty": analysis.uncertainty,
        "Analysis.uncertainty.intervals[]": next(iter(analysis.uncertainty.intervals.values())),
        "Analysis.layers[]": analysis.layers[0],
        "Comparison": comparison,
        "Comparison.results[]": comparison.results[0],
        "Comparison.differences[][]": comparison.differences[1]["d_lr"],
        "Track": track,
        "Track.results[]": track.results[0],
        "Track.changes[][]": track.changes[1]["d_lr"],
        "Track.transitions[]": track.transitions[0],
        "Inspection": inspection,
        "Inspection.candidates[]": inspection.candidates[0],
        "Export": onnxrich.Export(Path("model.onnx"), ("x",), ("y",), "torch", 0.0, 0.0),
        "Moments": analysis.moments,
        "Notice": onnxrich.Notice("code", "message"),
        "Preprocessing": onnxrich.Preprocessing(),
        "Progress": onnxrich.Progress("running"),
        "Reading": onnxrich.Reading(),
        "Recorder": onnxrich.Recorder([]),
        "Richness": onnxrich.richness(rows, rows[:, :2]),
        "OnnxrichError": error,
    }
    found: dict[str, Any] = {name: _attributes(thing) for name, thing in things.items()}
    # How errors are noted, and their traceback, is Python's matter.
    found["OnnxrichError"] = sorted(set(found["OnnxrichError"]) - set(dir(ValueError())))
    found["OnnxrichError"] = dict.fromkeys(found["OnnxrichError"])
    found["Recorder"]["()"] = parameters(onnxrich.Recorder.__call__)
    return found


def commands() -> dict[str, Any]:
    """Each command with its arguments and options; that of no name is `onnxrich` itself."""
    found = {"": _command(cli)}
    for name, command in sorted(cli.commands.items()):
        found[name] = _command(command)
    return found


def _command(command: click.Command) -> dict[str, Any]:
    given = command.get_params(click.Context(command, info_name="onnxrich"))
    arguments = [_parameter(each) for each in given if isinstance(each, click.Argument)]
    options = {max(each.opts, key=len): _parameter(each) for each in given if isinstance(each, click.Option)}
    return {"arguments": arguments, "options": dict(sorted(options.items())), "hidden": command.hidden}


def _parameter(each: click.Parameter) -> dict[str, Any]:
    told: dict[str, Any] = {"required": each.required, "nargs": each.nargs, "multiple": each.multiple}
    told["metavar"] = each.metavar
    # An option without a default has none, or one that says so.
    default = each.to_info_dict()["default"]
    told["default"] = default if isinstance(default, str | int | float) else None
    if isinstance(each, click.Option):
        told |= {"names": sorted([*each.opts, *each.secondary_opts]), "flag": each.is_flag, "hidden": each.hidden}
        told["choices"] = list(each.type.choices) if isinstance(each.type, click.Choice) else None
    else:
        told["name"] = each.name
    return told


def adapters() -> dict[str, Any]:
    """The adapters that are found through entry points, each with the verbs of one and their parameters."""
    verbs = ("is_native", "load", "batches", "to_onnx", "forward", "weights", "callback")
    found: dict[str, Any] = {}
    for entry in sorted(importlib.metadata.entry_points(group="onnxrich.adapters"), key=lambda entry: entry.name):
        if entry.dist is not None and entry.dist.name == "onnxrich":
            module = entry.load()
            found[entry.name] = {
                "module": entry.value,
                "verbs": {verb: parameters(getattr(module, verb)) for verb in verbs if hasattr(module, verb)},
            }
    # It makes a callback for a framework that has an adapter, and is none itself.
    lightning = importlib.import_module("onnxrich_lightning")
    callback = {"callback": parameters(lightning.callback)}
    return found | {"lightning": {"module": "onnxrich_lightning", "verbs": callback}}


def metrics() -> list[dict[str, Any]]:
    """Name, family and default of each metric, as `onnxrich metrics --json` lists them."""
    return [{name: each[name] for name in ("name", "family", "default")} for each in json.loads(says(["metrics"]))]


def documents() -> dict[str, dict[str, list[str]]]:
    """For each command the places in its JSON document, each with the kinds of what stands there."""
    return {name: places(json.loads(says(arguments))) for name, arguments in DOCUMENTS.items()}


def places(document: Any) -> dict[str, list[str]]:
    """Kinds of values by their place, in which [] stands for an item of a list."""
    found: dict[str, set[str]] = {}
    for place, kind in _walk(document, ""):
        found.setdefault(place, set()).add(kind)
    return {place: sorted(kinds) for place, kinds in sorted(found.items())}


def _walk(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        yield place, "object"
        free = place.rpartition(".")[2] in FREE
        for name, each in value.items():
            yield from _walk(each, f"{place}.*" if free else f"{place}.{name}")
    elif isinstance(value, list):
        yield place, "list"
        for each in value:
            yield from _walk(each, f"{place}[]")
    else:
        # A number may be whole by chance.
        kinds = {bool: "truth", int: "number", float: "number", str: "text"}
        yield place, "null" if value is None else kinds[type(value)]


def says(arguments: list[str]) -> str:
    """What a command prints as JSON."""
    done = onnxrich_command([*arguments, "--json"])
    if done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.stderr}")
    return done.stdout


def onnxrich_command(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, and in a folder with copies of a model and of a report."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(MLP, Path(folder, "model.onnx"))
        shutil.copytree(FIXTURES / "labelled", Path(folder, "report"))
        command = [sys.executable, "-m", "onnxrich", *arguments]
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )


def endings() -> dict[str, int]:
    """The exit code of each command line above."""
    return {name: onnxrich_command(arguments).returncode for name, arguments in ENDINGS.items()}


def main() -> None:
    """Write the surface of the installed version."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("file", type=Path)
    given = options.parse_args()
    found = {
        "version": onnxrich.__version__,
        "names": names(),
        "attributes": attributes(),
        "adapters": adapters(),
        "commands": commands(),
        "metrics": metrics(),
        "documents": documents(),
        "endings": endings(),
    }
    given.file.write_text(lines(found) + "\n")


def lines(value: Any, depth: int = 0) -> str:
    """JSON whose lines are neither too long nor too many to edit by hand."""
    flat = json.dumps(value)
    if not isinstance(value, dict | list) or len(flat) + depth <= 110:
        return flat
    with contextlib.suppress(AttributeError):
        value = {json.dumps(name): each for name, each in value.items()}
    inside = (
        [f"{name}: {lines(each, depth + 1)}" for name, each in value.items()]
        if isinstance(value, dict)
        else [lines(each, depth + 1) for each in value]
    )
    pad = " " * (depth + 1)
    start, end = "{}" if isinstance(value, dict) else "[]"
    return f"{start}\n{pad}" + f",\n{pad}".join(inside) + f"\n{' ' * depth}{end}"


if __name__ == "__main__":
    main()
