"""Arguments are checked before anything is read, in words and not by a traceback from deep inside."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from zoo_text import refused, two_layers

import onnxrich
from onnxrich.cli import cli
from onnxrich.errors import AdapterError, DataError, ModelError, OnnxrichError, WorkerError
from onnxrich.pipelines.options import RunOptions, SeriesOptions
from onnxrich.report import files

MODEL, DATA = onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "run": partial(onnxrich.run, MODEL, DATA),
    "compare": partial(onnxrich.compare, [MODEL, MODEL], DATA),
    "track": partial(onnxrich.track, [MODEL], DATA),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("head", "all", "a whole number from 1. Pass --head N with N ≥ 1"),
        ("head", 0, "a whole number from 1"),
        ("batch_size", 2.5, "a whole number from 1. Pass --batch-size N with N ≥ 1"),
        ("batch_size", 0, "a whole number from 1"),
        ("blocks", "4", "a whole number from 0"),
        ("blocks", -1, "a whole number from 0"),
        ("seed", -1, "a whole number from 0. Pass --seed N with N ≥ 0"),
        ("seed", None, "a whole number from 0. Pass --seed N with N ≥ 0"),
        ("head", True, "a whole number from 1"),
        ("device", 3, "text. Pass --device NAME."),
        ("device", None, "text. Pass --device NAME."),
        ("provider", b"cpu", "text. Pass --provider NAME."),
        ("features", 3, "text. Pass --features NAME."),
        ("outputs", ["y"], "text. Pass --outputs NAME."),
        ("mask", 3, "text. Pass --mask NAME."),
        ("metrics", 3, "a name, or a list of names. Pass --metrics NAME,NAME."),
        ("metrics", ["d_lr", 3], "a name, or a list of names"),
        ("metrics", {"d_lr": 1}, "a name, or a list of names"),
        ("progress", 3, "a function that takes an onnxrich.Progress. Pass progress=print, or leave it out."),
        ("timeout", "x", "a number of seconds above 0. Pass --timeout SECONDS."),
        ("timeout", 0, "a number of seconds above 0"),
        ("timeout", float("nan"), "a number of seconds above 0"),
        ("max_memory", "4G", "a whole number from 1. Pass --max-memory N with N ≥ 1."),
    ],
)
@pytest.mark.parametrize("isolate", [False, True])
def test_types(function: str, name: str, value: Any, needed: str, isolate: bool) -> None:
    """What is of another type than its name promises, or too small, is refused by its name."""
    with refused(DataError, f"{name} {value!r}; needed: {needed}"):
        FUNCTIONS[function](isolate=isolate, **{name: value})


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("labels", object(), "labels 'labels' have type object and shape (); needed: integer classes of shape (rows,)"),
        ("labels", 3, "labels 'labels' have type int64 and shape ()"),
        ("data", 3, "the data are of type int; needed: a path, an array, a mapping or an iterable"),
        ("reading", {"limit": 2.5}, "limit 2.5; needed: a whole number from 1. Pass --limit N with N ≥ 1."),
        ("reading", {"max_errors": None}, "max_errors None; needed: a whole number from 0"),
        ("reading", {"shuffle": "no"}, "shuffle 'no'; needed: True or False. Pass --shuffle, or leave it out."),
        ("reading", {"balanced": np.array([True, False])}, "balanced array([ True, False]); needed: True or False"),
        ("reading", {"text": 3, "tokenizer": "t"}, "text 3; needed: text. Pass --text NAME."),
        ("reading", {"text": "t", "tokenizer": 4}, "tokenizer 4; needed: the path of a file. Pass it as text or"),
    ],
)
def test_types_of_data(function: str, name: str, value: Any, text: str) -> None:
    """The same for data, and for how they are read."""
    given = {"run": MODEL, "compare": [MODEL, MODEL], "track": [MODEL]}[function]
    with refused(DataError, text):
        getattr(onnxrich, function)(given, **{"data": DATA, name: value})


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"layers": 3}, "layers 3; needed: a name, or a list of names. Pass --layers NAME,NAME."),
        ({"layers": ["h1", 3]}, "layers ['h1', 3]; needed: a name, or a list of names"),
        ({"checkpoint": 3}, "checkpoint 3; needed: the path of a file. Pass it as text or as a pathlib.Path."),
    ],
)
def test_types_of_run(options: Any, text: str, isolate: bool) -> None:
    """The same for what `run` alone takes."""
    with refused(DataError, text):
        onnxrich.run(MODEL, DATA, isolate=isolate, **options)


@pytest.mark.parametrize("models", [3, None, onnx.ModelProto()])
def test_models_that_are_no_list(models: Any) -> None:
    """A single thing is no list of models."""
    with refused(DataError, "a single model; needed: a list of models. Pass [model, other_model]."):
        onnxrich.compare(models, DATA)


def test_models_of_a_generator() -> None:
    """Models may come one by one."""
    assert len(onnxrich.compare(iter([MODEL, MODEL]), DATA, device="cpu").results) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("checkpoints", [3, None, [MODEL, 3]])
def test_checkpoints_that_are_no_paths(checkpoints: Any) -> None:
    """Checkpoints are paths, in a process of their own or not."""
    wrong = checkpoints[-1] if isinstance(checkpoints, list) else checkpoints
    with refused(DataError, f"checkpoints {wrong!r}; needed: the path of a file. Pass it as text"):
        onnxrich.track(checkpoints, DATA)
    with refused(DataError, "init 3; needed: the path of a file"):
        onnxrich.track([MODEL], DATA, init=3)  # type: ignore[arg-type]


def test_no_model() -> None:
    """What is no model is refused by its type, with what is one."""
    with refused(
        AdapterError, "a model of type builtins.int is taken by no adapter; needed: an ONNX model", " sklearn, "
    ):
        onnxrich.run(3, DATA)
    for function in (onnxrich.inspect, partial(onnxrich.expose, output="e.onnx")):
        with refused(
            ModelError, "The model is of type int; needed: the path of an ONNX file, its bytes or a ModelProto"
        ):
            function(3)  # type: ignore[operator]


OTHERS: dict[str, Callable[..., Any]] = {
    "inspect": partial(onnxrich.inspect, MODEL),
    "expose": partial(onnxrich.expose, MODEL, "e.onnx"),
    "instrument": partial(onnxrich.instrument, MODEL, "i.onnx"),
    "export": partial(onnxrich.export, "package.module:build", "x.onnx"),
    "load": partial(onnxrich.Analysis.load, "moments.npz"),
}


@pytest.mark.parametrize("function", OTHERS)
def test_limits_of_others(function: str) -> None:
    """Limits of the other functions are checked alike."""
    with refused(WorkerError, "a time or memory limit for work in this process", "isolate=True"):
        OTHERS[function](timeout=3)
    with refused(DataError, "timeout 'x'; needed: a number of seconds above 0"):
        OTHERS[function](timeout="x", isolate=True)


@pytest.mark.parametrize("isolate", [False, True])
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda **how: onnxrich.expose(MODEL, 3, **how), "output 3; needed: the path of a file"),  # type: ignore[arg-type]
        (lambda **how: onnxrich.expose(MODEL, "e.onnx", head="x", **how), "head 'x'; needed: a whole number from 1"),  # type: ignore[arg-type]
        (lambda **how: onnxrich.instrument(MODEL, "i.onnx", features=3, **how), "features 3; needed: text"),  # type: ignore[arg-type]
        (lambda **how: onnxrich.export("package:build", None, **how), "output None; needed: the path of a file"),  # type: ignore[arg-type]
        (lambda **how: onnxrich.export("package:build", "x.onnx", step="x", **how), "step 'x'; needed: a whole number"),  # type: ignore[arg-type]
        (lambda **how: onnxrich.Analysis.load(3, **how), "path 3; needed: the path of a file"),  # type: ignore[arg-type]
        (lambda **how: onnxrich.Analysis.load("m.npz", metrics=3, **how), "metrics 3; needed: a name, or a list"),  # type: ignore[arg-type]
        (lambda **how: onnxrich.Analysis.load("m.npz", evaluation=3, **how), "evaluation 3; needed: the path of"),  # type: ignore[arg-type]
    ],
)
def test_types_of_others(call: Callable[..., Any], text: str, isolate: bool) -> None:
    """And so are the types of what they take."""
    with refused(DataError, text):
        call(isolate=isolate)


@pytest.mark.parametrize("values", ["x", object(), [[1], [1, 2]], [[1j]]])
def test_arrays_that_are_none(values: Any) -> None:
    """Features and outputs that can't become numbers are refused by their name."""
    good = np.ones((4, 2))
    for name, pair in (("features", (values, good)), ("outputs", (good, values))):
        with refused(
            DataError,
            f"the {name} of type {type(values).__name__} are no real numbers: ",
            "; needed: a table of real numbers",
        ):
            onnxrich.richness(*pair)


@pytest.mark.parametrize("token", ["first", 1.0])
def test_token(token: Any) -> None:
    """A token is a whole number, from either end."""
    with refused(DataError, f"token {token!r}", "a whole number. Pass --token N."):
        onnxrich.run(MODEL, DATA, layers="all", token=token)


@pytest.mark.parametrize("isolate", [False, True])
def test_whole_numbers_of_numpy(isolate: bool) -> None:
    """NumPy's integers are as good as Python's, in a worker process too."""
    numbers = {"batch_size": np.int64(200), "blocks": np.int32(3), "seed": np.uint8(1), "head": np.int16(1)}
    found = onnxrich.run(MODEL, DATA, device="cpu", isolate=isolate, **numbers)
    assert (found.record.runtime.batch_size, found.record.runtime.blocks) == (200, 3)


@pytest.mark.parametrize("layers", [[], [""], ["h1", ""]])
def test_layers_without_a_name(layers: Any) -> None:
    """No name is no wish for all layers, nor for none."""
    with refused(DataError, f"layers {layers!r}", '"all", or names'):
        onnxrich.run(MODEL, DATA, layers=layers)


@pytest.mark.parametrize("isolate", [False, True])
def test_options_of_numpy(isolate: bool, tmp_path: Path) -> None:
    """NumPy's numbers and arrays among the options of data are as good as Python's, in a worker process too."""
    steps = {"scale": np.float32(0.5), "mean": np.zeros(1)}
    (tmp_path / "m.onnx").write_bytes(two_layers().SerializeToString())
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32))
    found = onnxrich.run(
        tmp_path / "m.onnx", tmp_path / "x.npy", device="cpu", isolate=isolate, reading={"limit": np.int64(30)},
        preprocessing=steps,
    )  # fmt: skip
    assert found.record.data.n == 30
    applied = found.record.data.preprocessing
    assert applied is not None and (applied["scale"], *applied["mean"]) == (0.5, 0.0)


ROWS: dict[str, tuple[str, Any]] = {
    "limit": ("reading", 100), "shuffle": ("reading", True), "balanced": ("reading", True),
    "max_errors": ("reading", 2),
    "color": ("preprocessing", "gray"), "resize": ("preprocessing", 28), "resample": ("preprocessing", "box"),
    "crop": ("preprocessing", "8x9"), "scale": ("preprocessing", "1/255"), "mean": ("preprocessing", [0.5]),
    "std": ("preprocessing", np.ones(1)), "layout": ("preprocessing", "NCHW"),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows_by_their_own_words(name: str) -> None:
    """An option of the rows is the field of that name in `reading` or `preprocessing`, as on the command line."""
    whole, value = ROWS[name]
    for kind in (RunOptions, SeriesOptions):
        options = kind(**{name: value})
        given = getattr(options, whole)
        assert list(given) == [name] and given[name] is value
        # Copies with other fields stay as they are.
        assert getattr(replace(options, seed=1), whole) == given


def test_words_of_the_command_line_are_those_of_python() -> None:
    """Each option of `run`, `compare` and `track` that is no matter of output is a keyword with the same default."""
    of_output = {"output", "force", "as_json", "as_csv", "profile", "in_process", "help"}
    for name in FUNCTIONS:
        keywords = inspect.signature(getattr(onnxrich, name)).parameters
        values = cli.commands[name].make_context(name, ["a.onnx", "b.onnx"][: 1 + (name != "run")]).params
        for option in values.keys() - of_output - {"model", "models", "checkpoints"}:
            assert option in keywords, option
            assert (values[option] or None) == (keywords[option].default or None), option


def test_rows_limited_and_drawn() -> None:
    """`limit=` and `shuffle=` do what `reading=` does, in a worker process too; both at once are refused."""
    found = onnxrich.run(MODEL, DATA, device="cpu", limit=300, shuffle=True, seed=3)
    again = onnxrich.run(MODEL, DATA, device="cpu", limit=300, shuffle=True, seed=3, isolate=True)
    whole = onnxrich.run(MODEL, DATA, device="cpu", reading={"limit": 300, "shuffle": True}, seed=3)
    assert found.record.data.n == 300
    assert found.metrics == again.metrics == whole.metrics
    with refused(DataError, "limit beside reading; needed: one of the two"):
        onnxrich.run(MODEL, DATA, limit=300, reading={"shuffle": True})
    with refused(DataError, "limit 0; needed: a whole number from 1. Pass --limit N with N ≥ 1."):
        onnxrich.run(MODEL, DATA, limit=0)


def test_options_that_no_worker_can_take() -> None:
    """What can't be told to another process is refused in words."""
    with refused(DataError, "an option of type object for an isolated run; needed: numbers, text, and lists of these"):
        onnxrich.run(MODEL, DATA, isolate=True, preprocessing={"scale": object()})


@pytest.mark.parametrize("limit", ["timeout", "max_memory"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_limits_need_a_process(function: str, limit: str) -> None:
    """A limit that nothing could keep is not taken silently."""
    with refused(WorkerError, "a time or memory limit for work in this process", "isolate=True"):
        FUNCTIONS[function](**{limit: 1 << 30})


LONG = "x" * 5000


@pytest.mark.parametrize(
    "call",
    {
        "run": lambda: onnxrich.run(LONG, DATA),
        "data": lambda: onnxrich.run(MODEL, LONG),
        "labels": lambda: onnxrich.run(MODEL, DATA, LONG),
        "checkpoint": lambda: onnxrich.run(MODEL, DATA, checkpoint=LONG),
        "compare": lambda: onnxrich.compare([MODEL, LONG], DATA),
        "track": lambda: onnxrich.track(LONG, DATA),
        "init": lambda: onnxrich.track(MODEL, DATA, init=LONG),
        "load": lambda: onnxrich.Analysis.load(LONG),
        "inspect": lambda: onnxrich.inspect(LONG),
        "expose": lambda: onnxrich.expose(MODEL, LONG),
        "instrument": lambda: onnxrich.instrument(MODEL, LONG),
        "export": lambda: onnxrich.export(LONG, "model.onnx"),
        "target": lambda: onnxrich.export(MODEL, LONG),
        "output": lambda: files.check(LONG),
    }.items(),
    ids=lambda item: item[0],
)
def test_names_that_no_file_can_have(call: tuple[str, Callable[[], Any]]) -> None:
    """A text that somebody gave in place of a path is refused in words, wherever it stands."""
    with pytest.raises(OnnxrichError, match="; needed: "):
        call[1]()


def test_options_of_a_worker_are_not_for_a_recorder() -> None:
    """A recorder works where the training runs: a limit that it could not keep is refused, before the training."""
    for options in ({"isolate": True}, {"timeout": 1}, {"max_memory": 10}):
        with refused(DataError, f"{next(iter(options))} for a recorder", "Leave it out"):
            onnxrich.Recorder(np.ones((2, 3)), **options)  # type: ignore[arg-type]


def test_names_of_functions_stand_in_errors_of_arguments() -> None:
    """As in any Python function."""
    with pytest.raises(TypeError, match=r"run\(\) got an unexpected keyword argument 'foo'"):
        onnxrich.run(MODEL, foo=1)  # type: ignore[call-arg]


@pytest.mark.parametrize(("part", "name"), [("model", "opset"), ("runtime", "seconds")])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_records_hold_no_nan(part: str, name: str, number: float, tmp_path: Path) -> None:
    """A saved record with NaN or infinity, which JSON lacks, is refused in words."""
    analysis = onnxrich.run(MODEL, DATA, device="cpu", metrics=["d_lr"])
    record = analysis.record.to_dict()
    record[part][name] = number
    analysis.moments.save(tmp_path / "moments.npz", record)
    with refused(DataError, "cannot be read: it has another format or is damaged", "Pass the moments.npz"):
        onnxrich.Analysis.load(tmp_path)
