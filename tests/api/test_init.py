"""`onnxrich.run(…, init=…)`: the network before its training, as an anchor of D_LR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import oracle
import pytest
from cli._processes import onnxrich as command
from zoo_text import build, refused, two_layers, whole

import onnxrich
from onnxrich.errors import DataError, ModelError

ROWS = np.random.default_rng(0).standard_normal((900, 6)).astype(np.float32)


def start(**weights: Any) -> Any:
    """Another network with an input of the same name."""
    return two_layers(w1=whole(6, 8, seed=5), w2=whole(8, 3, seed=6), **weights)


def d_lr_of(proto: Any) -> float:
    """D_LR of the definition, in float64, from what ONNX Runtime computes of h and y."""
    exposed = type(proto).FromString(proto.SerializeToString())
    exposed.graph.output.add(name="h")
    session = ort.InferenceSession(exposed.SerializeToString(), providers=["CPUExecutionProvider"])
    features, outputs = session.run(["h", "y"], {"x": ROWS})
    return oracle.d_lr(features.astype(np.float64), outputs.astype(np.float64))


@pytest.mark.parametrize("kind", ["proto", "bytes", "path"])
def test_anchors(kind: str, tmp_path: Path) -> None:
    """D_LR of the initial network on the same rows, its change with a paired error, and unshaped features."""
    (tmp_path / "start.onnx").write_bytes(start().SerializeToString())
    init = {"proto": start(), "bytes": start().SerializeToString(), "path": tmp_path / "start.onnx"}[kind]
    found = onnxrich.run(two_layers(), {"x": ROWS}, init=init, device="cpu")
    assert found.anchors is not None and found.anchors.initial is not None
    initial = found.anchors.initial
    assert initial.d_lr == pytest.approx(d_lr_of(start()), abs=1e-6)
    assert found.metrics["d_lr"] == pytest.approx(d_lr_of(two_layers()), abs=1e-6)
    assert initial.change == pytest.approx(d_lr_of(two_layers()) - d_lr_of(start()), abs=1e-6)
    assert found.anchors.unshaped == initial.unshaped == pytest.approx(1 - np.sqrt(3 / 8))
    # The rest is as without it, and a comparison says the same of the pair.
    alone = onnxrich.run(two_layers(), {"x": ROWS}, device="cpu")
    assert found.metrics == alone.metrics
    both = onnxrich.compare([two_layers()], {"x": ROWS}, init=start(), device="cpu")
    compared = both.results[0].anchors
    assert compared is not None and compared.initial is not None
    assert compared.initial.d_lr == pytest.approx(initial.d_lr, abs=1e-9)
    assert compared.initial.change_interval is not None and initial.change_interval is not None
    assert compared.initial.change_interval.low == pytest.approx(initial.change_interval.low, abs=1e-9)
    assert both.results[1].anchors is not None and both.results[1].anchors.initial is None


def test_saved_and_on_the_command_line(tmp_path: Path) -> None:
    """The document, the saved report and the text have the anchor."""
    (tmp_path / "model.onnx").write_bytes(two_layers().SerializeToString())
    (tmp_path / "start.onnx").write_bytes(start().SerializeToString())
    np.savez(tmp_path / "rows.npz", x=ROWS)
    shared = ["run", "model.onnx", "--init", "start.onnx", "--data", "rows.npz", "--device", "cpu"]
    done = command(*shared, "--json", "-o", "report", cwd=tmp_path)
    document = json.loads(done.stdout)["anchors"]
    assert document["initial"]["model"] == "start.onnx"
    assert document["initial"]["d_lr"]["value"] == pytest.approx(d_lr_of(start()), abs=1e-6)
    loaded = onnxrich.Analysis.load(tmp_path / "report")
    assert loaded.anchors is not None and loaded.anchors.to_dict() == document
    text = " ".join(command(*shared, cwd=tmp_path).stdout.split())
    assert f"its untrained network: {document['initial']['d_lr']['value']:.4f} ± " in text
    # Without data there is nothing to be read against.
    smoke = json.loads(command("run", "model.onnx", "--init", "start.onnx", "--json", cwd=tmp_path).stdout)
    assert smoke["anchors"] is None and smoke["data"]["synthetic"]


def test_an_initial_network_that_does_not_fit() -> None:
    """Inputs that the data can't feed, rows that can be read once, and what is no model are refused in words."""
    other = build("h = Relu(z)\n y = MatMul(h, w2)", x="float[N,8] z, float[N,8] u")
    with refused(DataError, "models whose inputs have the same names, or a single input each"):
        onnxrich.run(two_layers(), {"x": ROWS}, init=other)

    def once() -> Iterator[dict[str, Any]]:
        yield {"x": ROWS}

    with refused(DataError, "data of type generator, which can be read once; needed: data that can be read for the"):
        onnxrich.run(two_layers(), once(), init=start())
    with refused(ModelError, "The model is of type int; needed: the path of an ONNX file"):
        onnxrich.run(two_layers(), {"x": ROWS}, init=3)
