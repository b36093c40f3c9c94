"""The recorded run of examples/04_grokking.py: the files are what they say, and D_LR falls as the example says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import oracle
import pytest
from onnx import helper
from repository import ROOT

import onnxrich

RUN = ROOT / "examples" / "grokking"
CHECKPOINTS = sorted(RUN.glob("step-*.onnx"))
PRIME = 31


def arrays(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pairs and labels of a part of the data."""
    with np.load(RUN / f"{part}.npz") as content:
        return content["pairs"], content["labels"]


def test_data_are_all_of_modular_division() -> None:
    """Training and test data share no pair, hold all of them, and every label times its divisor is the dividend."""
    pairs, labels = (np.concatenate(both) for both in zip(arrays("train"), arrays("test"), strict=True))
    expected = {(dividend, divisor) for dividend in range(PRIME) for divisor in range(1, PRIME)}
    assert len(pairs) == len(expected)
    assert set(map(tuple, pairs.tolist())) == expected
    np.testing.assert_array_equal(labels * pairs[:, 1] % PRIME, pairs[:, 0])
    assert labels.min() == 0
    assert labels.max() == PRIME - 1


def test_checkpoints_are_one_graph_with_other_weights() -> None:
    """Eight small files that differ in nothing but weights and metadata, with the step in name and metadata."""
    assert len(CHECKPOINTS) == 8
    assert sum(path.stat().st_size for path in RUN.iterdir()) < 1_000_000
    graphs = set()
    for path in CHECKPOINTS:
        proto = onnx.load(path)
        facts = {entry.key: entry.value for entry in proto.metadata_props}
        assert path.stem == f"step-{int(facts['onnxrich.step']):06}"
        for tensor in proto.graph.initializer:
            tensor.ClearField("raw_data")
        del proto.metadata_props[:]
        graphs.add(proto.SerializeToString(deterministic=True))
    assert len(graphs) == 1


def facts(path: Path) -> dict[str, float]:
    """What a checkpoint says of itself."""
    return {entry.key.removeprefix("onnxrich."): float(entry.value) for entry in onnx.load(path).metadata_props}


def hooked(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Penultimate features and outputs of a checkpoint, by a declared output: no code of onnxrich."""
    proto = onnx.load(path)
    [head] = [node for node in proto.graph.node if "outputs" in node.output]
    proto.graph.output.append(helper.make_empty_tensor_value_info(head.input[0]))
    live = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    features, outputs = live.run([head.input[0], "outputs"], {"pairs": arrays(part)[0]})
    return features.astype(float), outputs.astype(float)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.stem)
def test_recorded_facts_are_the_models(path: Path) -> None:
    """Loss and accuracies in the metadata are those of the model in the file."""
    recorded = facts(path)
    for part in ("train", "test"):
        labels = arrays(part)[1]
        outputs = hooked(path, part)[1]
        # Six digits are recorded; another order of sums may turn one row whose two largest outputs are near.
        assert (outputs.argmax(1) == labels).mean() == pytest.approx(
            recorded[f"{part}_accuracy"], abs=1 / len(labels) + 1e-6
        )
        if part == "train":
            loss = np.square(outputs - np.eye(PRIME)[labels]).sum(1).mean()
            # Outputs to about 1e-6 of the largest, 1 at least: of errors of 0.027, the smallest here, that is 1e-4.
            assert loss == pytest.approx(recorded["train_loss"], rel=1e-3)


@pytest.mark.parametrize("part", ["train", "test"])
def test_d_lr_is_the_definitions(part: str) -> None:
    """D_LR of the last checkpoint is that of the n × n kernels."""
    d_lr = onnxrich.run(CHECKPOINTS[-1], RUN / f"{part}.npz").metrics["d_lr"]
    # Float32 through some ten layers, in other batches: relative errors of 1e-6, and D_LR is smooth in both.
    assert d_lr == pytest.approx(oracle.d_lr(*hooked(CHECKPOINTS[-1], part)), abs=1e-5)


@pytest.mark.slow
def test_grokking_goes_from_lazy_to_rich() -> None:
    """While every training row is answered rightly, D_LR on them falls from lazy to rich; the test accuracy is late."""
    known = [path for path in CHECKPOINTS if facts(path)["train_accuracy"] == 1.0]
    assert known == CHECKPOINTS[-len(known) :]
    assert len(known) >= 5
    d_lr = [onnxrich.run(path, RUN / "train.npz").metrics["d_lr"] for path in known]
    accuracy = [facts(path)["test_accuracy"] for path in known]
    # The files are fixed, so only rounding could move these numbers, by 1e-5; each bound is at least 0.01 away.
    assert all(later < earlier - 0.01 for earlier, later in pairwise(d_lr))
    assert d_lr[0] > 0.5
    assert d_lr[-1] < 0.1
    assert accuracy[0] < 0.25
    assert accuracy[-1] > 0.98
    # D_LR has halved while most of the test data are still answered wrongly.
    halved = next(index for index, value in enumerate(d_lr) if value < d_lr[0] / 2)
    assert accuracy[halved] < 0.5
