"""Numbers of hidden layers, computed from the moments of a pass, one layer at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from zoo_text import build, source_of

from onnxrich.engine.layers import HiddenLayers, LayerMoments, LayerRequest
from onnxrich.engine.result import PassResult
from onnxrich.engine.runtime import choose_device
from onnxrich.engine.single_pass import measure_one
from onnxrich.model.file import read_model
from onnxrich.model.head import head
from onnxrich.moments.matrix import Moments
from onnxrich.pipelines.layers import evaluate_layers
from onnxrich.progress import Progress, Stage, Timing

X = np.random.default_rng(0).standard_normal((64, 6)).astype(np.float32)
BODY = "a = MatMul(x, w1)\n b = Tanh(a)\n c = MatMul(b, w3)\n h = Relu(c)\n y = MatMul(h, w2)"


def measure(layers: LayerRequest | None) -> PassResult:
    """A pass over a model with the layers b and h; h are the features of its head."""
    proto = build(BODY, w3=np.random.default_rng(1).standard_normal((8, 8)).astype(np.float32))
    read = read_model(proto)
    source = source_of(proto, X)
    return measure_one(read, head.find_head(read), source, device=choose_device("cpu"), batch_size=4, layers=layers)


def ignore(_: Progress) -> None:
    """A listener of nothing."""


def test_without_layers_there_is_nothing() -> None:
    """Where no layers were requested, none are evaluated, and no stage is timed."""
    timing = Timing()
    assert evaluate_layers(measure(None), timing=timing, listen=ignore) == ((), ())
    assert Stage.LAYERS not in timing.seconds


def test_the_last_layer_is_the_head() -> None:
    """The hidden layers come first, then the features of the head with the numbers of the pass itself."""
    timing, reports = Timing(), list[Progress]()
    layers, notices = evaluate_layers(measure(LayerRequest(None)), timing=timing, listen=reports.append)
    assert [layer.name for layer in layers] == ["b", "h"]
    assert layers[-1].operator == "features of the head"
    assert {notice.code for notice in notices} == {"layers_few_rows"}
    assert Stage.LAYERS in timing.seconds
    assert [report.stage for report in reports] == [Stage.LAYERS]


def test_a_layer_is_released_before_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums of each layer are drained when its turn comes, not before."""
    events, read = list[str](), HiddenLayers.read

    def drained(hidden: HiddenLayers, drain: Callable[[int], list[Moments]]) -> Iterator[LayerMoments]:
        for layer in read(hidden, lambda index: events.append(f"drain {index}") or drain(index)):
            yield layer
            events.append(f"evaluated {layer.tensor}")

    monkeypatch.setattr(HiddenLayers, "read", drained)
    result = measure(LayerRequest(("a", "b")))
    assert events == []
    evaluate_layers(result, timing=Timing(), listen=ignore)
    assert events == ["drain 0", "evaluated a", "drain 1", "evaluated b"]


def test_layers_that_are_not_finite_are_left_out() -> None:
    """A layer with NaN has no numbers, and a notice names it; the other layers are evaluated."""
    result = measure(LayerRequest(("a", "b")))
    assert result.layers is not None
    first, second = result.layers
    broken = replace(first, blocks=(replace(first.blocks[0], matrix=first.blocks[0].matrix * np.nan), *first.blocks))
    result = replace(result, layers=iter((broken, second)))
    layers, notices = evaluate_layers(result, timing=Timing(), listen=ignore)
    assert [layer.name for layer in layers] == ["b", "h"]
    assert notices[0].message == "Layers were left out: 'a': it holds NaN or infinity."
