"""The numbers of a result as files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnxrich.report import documents
from onnxrich.results.analysis import Analysis


def test_folder_names_are_safe_and_unique(maker: Callable[..., Analysis]) -> None:
    """No name leaves the folder, hides, repeats (whatever the case) or is one of our files."""
    paths = [
        "a/x.onnx",
        "b/X.onnx",
        "../..",
        "/",
        "c:\\m\\net.onnx",
        "a b;$(c)\x1b.onnx",
        "report.html.onnx",
        "y" * 300,
    ]
    base = maker("m.onnx")
    names = documents.folder_names([_renamed(base, path) for path in paths])
    assert names == ["x", "X-2", "model", "model-2", "net", "a_b_c", "report.html-2", "y" * 60]


def _renamed(result: Analysis, path: str) -> Analysis:
    return replace(result, record=replace(result.record, model=replace(result.record.model, path=path)))
