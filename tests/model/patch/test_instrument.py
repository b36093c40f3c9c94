"""A patch leaves the model valid and its own names alone."""

from __future__ import annotations

import onnx
from model._heads import HIDDEN, build

from onnxrich.model.file import read_model
from onnxrich.model.head.head import find_head
from onnxrich.model.patch.instrument import instrument


def test_patch_is_checker_clean() -> None:
    """The patched model passes the checker with full shape inference, and its weights are untouched."""
    model = build(HIDDEN + "y = Gemm(r, w2, b2)")
    patch = instrument(model, find_head(model), K=3, with_tallies=True, masked=True)
    patched = onnx.load_model_from_string(model.data + patch.data)
    onnx.checker.check_model(patched, full_check=True)
    assert patched.graph.initializer[: len(model.proto.graph.initializer)] == list(model.proto.graph.initializer)


def test_names_of_the_patch_are_free() -> None:
    """A model that already uses onnxrich's names is patched under others."""
    model = build(HIDDEN + "y = Gemm(r, w2, b2)")
    head = find_head(model)
    once = model.data + instrument(model, head).data
    twice = instrument(read_model(once), head)
    onnx.checker.check_model(onnx.load_model_from_string(once + twice.data), full_check=True)
