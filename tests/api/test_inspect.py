"""`onnxrich inspect` says what a model is, which heads it has, and why one is chosen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ZOO

import onnxrich

INDEX = {entry["name"]: entry for entry in json.loads((ZOO / "zoo.json").read_text())}
COMMAND = str(Path(sys.executable).with_name("onnxrich"))


def zoo(name: str) -> Path:
    return ZOO / INDEX[name]["file"]


def test_one_head() -> None:
    """A plain model: its signature, its one head, verified and chosen, and the way to the output."""
    found = onnxrich.inspect(onnxrich.demo_file("rich.onnx"))
    assert found.model["opset"] == 17
    assert found.model["parameters"] == 784 * 160 + 160 + 2 * (160 * 160 + 160) + 1610  # without the divisor 255
    assert found.inputs == ({"name": "x", "type": "uint8", "shape": ["N", 784]},)
    assert found.outputs == ("logits",)
    (head,) = found.candidates
    assert (head.features, head.outputs, head.p, head.C, head.rows) == ("h3", "logits", 160, 10, "sample")
    assert head.verified
    assert head.chosen
    assert found.tail == (("features", "h3"), ("Gemm", "logits"))


@pytest.mark.parametrize("name", ["two_heads_shared_dynamo", "two_heads_joined"])
def test_several_heads(name: str) -> None:
    """Several heads have numbers that `run` understands, and none is chosen."""
    found = onnxrich.inspect(zoo(name))
    assert len(found.candidates) >= len(INDEX[name]["heads"])
    assert not any(head.chosen for head in found.candidates)
    for head in found.candidates:
        assert f"--head {head.number}" in head.reason


@pytest.mark.parametrize("name", [name for name, entry in INDEX.items() if entry["expected"] == "refuse"])
def test_no_head_is_explained(name: str) -> None:
    """A model without a head shows no chosen candidate, and a reason."""
    found = onnxrich.inspect(zoo(name), verify=False)
    assert found.rejected or not any(head.chosen for head in found.candidates)


def test_rows_of_tokens() -> None:
    """A token classifier says that its rows are tokens."""
    name = next(name for name, entry in INDEX.items() if entry["expected"] == "head" and entry.get("rows") == "token")
    assert onnxrich.inspect(zoo(name)).candidates[0].rows == "token"


def test_isolated_is_the_same() -> None:
    """The worker process finds what this process finds."""
    path = onnxrich.demo_file("lazy.onnx")
    assert onnxrich.inspect(path, isolate=True) == onnxrich.inspect(path)


def test_command() -> None:
    """The command prints the same for people, and as JSON."""
    path = onnxrich.demo_file("rich.onnx")
    done = subprocess.run([COMMAND, "inspect", path], capture_output=True, text=True, check=True)
    for text in ("178,730 parameters", "input    x  uint8  N × 784", "→ head 1: Gemm, p = 160 features", "↓ Gemm"):
        assert text in done.stdout
    done = subprocess.run([COMMAND, "inspect", path, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(json.dumps(onnxrich.inspect(path).to_dict()))
