"""Hidden layers of every exported model: analysis, pooled as NumPy pools them, and measured by the definition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import oracle
import pytest
from repository import ZOO

import onnxrich
from onnxrich.model.file import read_model

INDEX: list[dict[str, Any]] = json.loads((ZOO / "zoo.json").read_text())
WITH_HEAD = [entry for entry in INDEX if entry["expected"] == "head"]
# The same float32 model in other batches, as for the zoo's heads. Dynamic quantisation rounds by the batch's range.
TOLERANCE = 1e-4


def tensors(path: Path, names: list[str], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors of the graph on all rows at once, by a session of the runtime's own."""
    read = read_model(path)
    proto = onnx.ModelProto()
    proto.CopyFrom(read.proto)
    known = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, inputs), strict=True))


def pooled(layer: Any, tensor: np.ndarray, mask: np.ndarray | None) -> np.ndarray | None:
    """Rows of a layer with a row a sample; None where NumPy alone can't tell its axis of features."""
    axes = [axis for axis in range(1, tensor.ndim) if tensor.shape[axis] == layer.p]
    if len(axes) != 1:
        return None
    tokens = np.moveaxis(tensor.astype(np.float64), axes[0], -1)
    if layer.rows != "masked mean over tokens":
        return tokens.reshape(len(tokens), -1, layer.p).mean(axis=1)
    assert mask is not None
    return np.einsum("nt,ntp->np", mask / np.maximum(mask.sum(axis=1, keepdims=True), 1), tokens)


@pytest.mark.extensive
@pytest.mark.parametrize("entry", WITH_HEAD, ids=lambda entry: f"{entry['family']}-{entry['name']}")
def test_layers_of_the_zoo(entry: dict[str, Any]) -> None:
    """All layers are measured; where rows are samples, each number is that of rows which NumPy pools."""
    arrays = dict(np.load(ZOO / entry["truth"]))
    inputs = {key.removeprefix("input/"): value for key, value in arrays.items() if key.startswith("input/")}
    path = ZOO / entry["file"]
    analysis = onnxrich.run(path, inputs, layers="all", device="cpu", batch_size=8, blocks=0)
    assert analysis.layers[-1].metrics["d_lr"] == analysis.metrics["d_lr"]
    shapes = [value.shape for value in read_model(path).inputs]
    if analysis.record.head.rows != "sample" or any(isinstance(shape[0], int) for shape in shapes if shape):
        return
    names = [layer.name for layer in analysis.layers[:-1]]
    arrays_by_name = tensors(path, [*names, analysis.record.head.outputs], inputs)
    outputs = arrays_by_name[analysis.record.head.outputs].astype(np.float64)
    for layer in analysis.layers[:-1]:
        rows = pooled(layer, arrays_by_name[layer.name], inputs.get("attention_mask"))
        if rows is None or outputs.ndim != 2 or not len(rows) == len(outputs) == analysis.record.data.n:
            continue
        expected = oracle.d_lr_centered(rows, outputs, analysis.moments.resolution)
        tolerance = max(TOLERANCE, entry["rtol_features"] if "dynamic" in entry["name"] else 0.0)
        assert layer.metrics["d_lr_centered"] == pytest.approx(expected, abs=tolerance), layer.name


def test_the_zoo_has_layers_of_every_kind() -> None:
    """The kinds of rows, and layers written in several operators, occur; so that the sweep above says something."""
    kinds = set()
    for name in ("torch/resnet_dynamo", "torch/vit_legacy", "torch/language_masked_legacy", "torch/mlp_dynamo"):
        arrays = dict(np.load(ZOO / f"{name}.npz"))
        inputs = {key.removeprefix("input/"): value for key, value in arrays.items() if key.startswith("input/")}
        analysis = onnxrich.run(ZOO / f"{name}.onnx", inputs, layers="all", device="cpu", blocks=0)
        kinds |= {layer.rows for layer in analysis.layers} | {layer.operator for layer in analysis.layers}
        kinds |= {layer.scope for layer in analysis.layers}
    assert kinds >= {"as it is", "mean over positions", "mean over tokens", "each row"}
    assert kinds >= {"Conv+Relu", "Add+Relu", "MatMul+Add+…+Mul", "Gemm+Relu", "backbone.1.body.0.1", "body.0"}
