"""Hostile side files, saved files, names and surroundings: environment, streams, folders and limits."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hostile.case import RUN, Case, X


def _beside(name: str, content: str | bytes) -> Callable[[Path], Any]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def _settings(text: str | bytes) -> Callable[[Path], Any]:
    """`onnxrich.toml` beside the model, and no data of the model's name."""

    def make(folder: Path) -> None:
        _beside("onnxrich.toml", text)(folder)
        (folder.parent / "outside.npz").write_bytes((folder / "data.npz").read_bytes())

    return make


def _link_to_settings(folder: Path) -> None:
    (folder.parent / "outside.toml").write_text('data = "data.npz"')
    (folder / "onnxrich.toml").symlink_to(folder.parent / "outside.toml")


BARE = ("run", "model.onnx", "--json")
SETTINGS: dict[str, tuple[Callable[[Path], Any], str | None]] = {
    "honest": (_settings('data = "data.npz"\nlabels = "y"\n'), None),
    "no-toml": (_settings("no = = toml"), "onnxrich.toml"),
    "bytes": (_settings(b"\xff\xfe\0\1" * 9), "onnxrich.toml"),
    "unknown-key": (_settings('data = "data.npz"\nrun = "rm -rf /"'), "unknown keys: run"),
    "parent": (_settings('data = "../outside.npz"'), "inside the model's folder"),
    "absolute": (_settings('data = "/etc/passwd"'), "inside the model's folder"),
    "prefixed-parent": (_settings('data = "npz:../outside.npz"'), "inside the model's folder"),
    "url": (_settings('data = "https://example.org/x.npz"'), "onnxrich|npz"),
    "number": (_settings("data = 7"), "data = 7"),
    "nul": (_settings('data = "a\\u0000.npz"'), "onnxrich"),
    "deep": (_settings("data = " + "[" * 20_000), "onnxrich.toml"),
    "of-megabytes": (_settings("#" * 80_000_000 + '\ndata = "data.npz"'), "onnxrich.toml"),
    "missing-data": (_settings('data = "nothing.npz"'), "nothing.npz"),
    "terminal-codes": (_settings('"\\u001b[31mx\\u202e" = 1'), "unknown keys"),
    "unknown-step": (_settings('data = "data.npz"\n[preprocessing]\nevil = 1'), "evil"),
    "endless-scale": (_settings('data = "data.npz"\n[preprocessing]\nscale = inf'), "scale"),
    "huge-size": (_settings('data = "data.npz"\n[preprocessing]\nresize = 99999999999'), "resize"),
}


def _named(config: Any, name: str = "preprocessor_config.json") -> Callable[[Path], Any]:
    return _beside(name, config if isinstance(config, str) else json.dumps(config))


LABELLED = {"id2label": {"0": "\x1b[31mred", "1": "</script>", "2": "c"}}
SIDE: dict[str, Callable[[Path], Any]] = {
    "preprocessor-no-json": _named("no json"),
    "preprocessor-deep": _named("[" * 50_000),
    "config-no-json": _named("{", "config.json"),
    "config-deep": _named("[" * 50_000, "config.json"),
    "config-of-names": _named(LABELLED, "config.json"),
    "config-of-wrong-types": _named({"id2label": [1, {"a": None}]}, "config.json"),
    "config-fifo": lambda folder: os.mkfifo(folder / "config.json"),
}


def _saved(files: dict[str, bytes | str]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "saved").mkdir()
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / "saved" / name).write_bytes(data)

    return make


def _zip_of_text(folder: Path) -> None:
    (folder / "saved").mkdir()
    with zipfile.ZipFile(folder / "saved" / "moments.npz", "w") as file:
        file.writestr("moments.npy", "no array")
    (folder / "saved" / "analysis.json").write_text("{}")


def _other_arrays(folder: Path) -> None:
    (folder / "saved").mkdir()
    np.savez(folder / "saved" / "moments.npz", matrix=np.full((4, 4), np.nan))
    (folder / "saved" / "analysis.json").write_text('{"schema": "onnxrich/analysis/1", "metrics": {"d_lr": NaN}}')


SAVED: dict[str, Callable[[Path], Any]] = {
    "empty-folder": lambda folder: (folder / "saved").mkdir(),
    "empty-files": _saved({"analysis.json": "", "moments.npz": b""}),
    "deep-document": _saved({"analysis.json": "[" * 100_000, "moments.npz": b"PK"}),
    "wrong-types": _saved({"analysis.json": json.dumps({"schema": 7, "metrics": [1]}), "moments.npz": b"PK"}),
    "text-in-the-archive": _zip_of_text,
    "not-a-number": _other_arrays,
}


def _shadow(folder: Path) -> None:
    """Modules of the names of those that onnxrich imports: the folder of the data is no place of modules."""
    for name in ("numpy", "onnx", "onnxruntime", "json", "random", "onnxrich", "sitecustomize", "click"):
        (folder / f"{name}.py").write_text("open('owned', 'w').close()\nraise SystemExit(7)\n")


def _text_out(folder: Path) -> None:
    (folder / "out").write_text("a file")


def _dangling_out(folder: Path) -> None:
    (folder / "out").symlink_to(folder.parent / "elsewhere" / "nowhere")


def _full_out(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "mine.txt").write_text("mine")


def _hostile_name(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        (folder / "model.onnx").rename(folder / name)

    return make


NAMES = {
    "spaces": "a model .onnx",
    "dashes": "--help.onnx",
    "terminal-codes": "\x1b[31m\u202emodel.onnx",
    "line-feed": "a\nb.onnx",
    "no-ending": "model",
    "script": "<script>alert(1)<\\script>.onnx",
    "percent": "%s%n{0}.onnx",
    "no-utf-8": os.fsdecode(b"m\xff\xfe.onnx"),
    "url-like": "s3:model.onnx",
}

OUT = ("run", "model.onnx", "--data", "data.npz", "-o", "out")
CLOSE = "import os; os.close({})"
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_{0}, ({1}, {1}))"
ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "no-home": {"HOME": None},
    "missing-home": {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", "MPLCONFIGDIR": "/nonexistent"},
    "plain-locale": {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "ascii": {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"},
    "unknown-locale": {"LANG": "xx_YY.nothing", "LC_ALL": "xx_YY.nothing"},
    "warnings-are-errors": {"PYTHONWARNINGS": "error"},
    "warnings-always": {"PYTHONWARNINGS": "always"},
    "optimised": {"PYTHONOPTIMIZE": "2"},
    "developer": {"PYTHONDEVMODE": "1"},
    "tracing": {"PYTHONTRACEMALLOC": "1", "PYTHONVERBOSE": None},
    "hash-seed": {"PYTHONHASHSEED": "0"},
    "runtime-variables": {
        "ORT_LOG_LEVEL": "0", "ORT_DISABLE_TELEMETRY": "0", "ORT_DEFAULT_MAX_VLOG_LEVEL": "9",
    },
    "threads": {"OMP_NUM_THREADS": "0", "OPENBLAS_NUM_THREADS": "-1", "MKL_NUM_THREADS": "many"},
    "narrow": {"COLUMNS": "1", "LINES": "0"},
    "columns-in-words": {"COLUMNS": "wide", "TERM": "dumb"},
    "colours": {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm-256color", "NO_COLOR": "1"},
    "missing-temporary-folder": {"TMPDIR": "/nonexistent", "TEMP": "/nonexistent"},
    "proxies": {"HTTP_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
}  # fmt: skip

CASES = [
    *(
        Case(f"settings-{name}", make, BARE, says=says, rows=X)
        for name, (make, says) in SETTINGS.items()
    ),
    *(Case(f"side-{name}", make, says="json", may_work=True, rows=X) for name, make in SIDE.items()),
    Case(
        "side-tokenizer-deep", _beside("tokenizer.json", "[" * 50_000),
        (*RUN, "--text", "x", "--tokenizer", "tokenizer.json"), says="no column of texts|tokenizer",
    ),
    *(
        Case(f"saved-{verb}-{name}", make, (verb, "saved", *options), says="saved|analysis|moments")
        for name, make in SAVED.items()
        for verb, options in (("render", ("-o", "out")), ("track", ()), ("compare", ("saved",)))
    ),
    *(
        Case(f"name-{label}", _hostile_name(name), ("run", "--data", "data.npz", "--json", "--", name), rows=X)
        for label, name in NAMES.items()
    ),
    *(Case(f"environment-{name}", environment=values, rows=X) for name, values in ENVIRONMENTS.items()),
    *(
        Case(f"environment-{name}-refusal", command=("run", "nothing.onnx"), environment=ENVIRONMENTS[name], says="no")
        for name in ("plain-locale", "ascii", "warnings-always", "developer", "colours")
    ),
    Case("folder-of-modules", _shadow, rows=X),
    Case("folder-of-modules-inspected", _shadow, ("inspect", "model.onnx", "--json")),
    Case("stream-no-input", setup=CLOSE.format(0), rows=X),
    Case("stream-full-disk", stdout="/dev/full", says="No space left|no space left"),
    Case("stream-full-disk-table", command=RUN[:-1], stdout="/dev/full", says="No space left|no space left"),
    Case("limit-small-files", setup=LIMIT.format("FSIZE", 1 << 18), rows=X),
    Case("limit-few-open-files", setup=LIMIT.format("NOFILE", 64), rows=X),
    Case("limit-small-stack", setup=LIMIT.format("STACK", 1 << 20), rows=X),
    Case("output-honest", command=OUT),
    Case("output-file", _text_out, OUT, says="out"),
    Case("output-dangling-link", _dangling_out, OUT, says="out"),
    Case("output-full-folder", _full_out, OUT, says="not empty"),
    Case("output-system-folder", command=(*OUT[:-1], "/sys/onnxrich"), says="/sys/onnxrich"),
    Case("output-nul", command=(*OUT[:-1], "/dev/null"), says="/dev/null"),
    Case("output-long-name", command=(*OUT[:-1], "n" * 300), says="n"),
]  # fmt: skip
