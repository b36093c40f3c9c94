"""`--layers`: what `inspect` lists, `run` takes, in the document and in the table."""

from __future__ import annotations

import json
import re

import pytest
from cli._processes import onnxrich

import onnxrich as library

MODEL, DATA = str(library.demo_file("rich.onnx")), str(library.demo_file("evaluation.npz"))


@pytest.mark.slow
def test_inspect_lists_what_run_takes() -> None:
    """The names that `inspect --layers` prints are names of `--layers`, and the head's comes last."""
    listed = onnxrich("inspect", MODEL, "--layers").stdout
    names = re.findall(r"^  (\S+)  Gemm\+Relu$", listed, re.MULTILINE)
    assert names == ["h1", "h2", "h3"]
    assert f"{len(names)} hidden layers, for `onnxrich run --layers all|NAME,…`:" in listed
    document = json.loads(onnxrich("inspect", MODEL, "--json").stdout)
    assert [layer["name"] for layer in document["layers"]] == names
    found = json.loads(onnxrich("run", MODEL, "--data", DATA, "--layers", "all", "--json").stdout)
    assert [layer["name"] for layer in found["layers"]] == names
    layer = found["layers"][0]
    assert set(layer) == {"name", "scope", "operator", "rows", "p", "metrics", "intervals", "spectrum"}
    assert layer["intervals"]["d_lr"]["low"] < layer["metrics"]["d_lr"] < layer["intervals"]["d_lr"]["high"]
    table = onnxrich("run", MODEL, "--data", DATA, "--layers", "h2").stdout
    assert re.search(r"^1 +h2 +160 +0\.\d{4} ± ", table, re.MULTILINE)
    assert re.search(r"^2 +h3 +160 +0\.\d{4} ± ", table, re.MULTILINE)


def test_errors_of_layers() -> None:
    """An unknown layer, and a token without layers, are one line and exit code 1."""
    done = onnxrich("run", MODEL, "--data", DATA, "--layers", "h9")
    assert done.returncode == 1
    assert "The model has no layer 'h9'" in done.stderr
    assert "`onnxrich inspect MODEL --layers` lists them." in done.stderr
    assert "--token is of --layers" in onnxrich("run", MODEL, "--data", DATA, "--token", "0").stderr
