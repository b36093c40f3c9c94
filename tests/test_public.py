"""The public names are what `__all__` lists, and each is documented."""

from __future__ import annotations

import inspect

import pytest

import onnxrich

PUBLIC = [
    "AdapterError", "Analysis", "Comparison", "DataError", "DeviceError", "Export", "HeadError", "Inspection",
    "ModelError", "Moments", "Notice", "OnnxrichError", "OutputError", "Preprocessing", "Progress", "Reading",
    "Recorder", "Richness", "Selection", "Track", "WorkerError", "__version__", "compare", "demo_file", "export",
    "expose", "inspect", "instrument", "measure", "metric_list", "richness", "run", "to_writer", "track",
]  # fmt: skip


def test_public_names() -> None:
    """A name can't become public, or vanish, by accident."""
    assert sorted(onnxrich.__all__) == sorted(PUBLIC)
    assert sorted(dir(onnxrich)) == sorted(PUBLIC)


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_public_names_are_documented(name: str) -> None:
    """Each public object has a docstring of its own."""
    assert (inspect.getdoc(getattr(onnxrich, name)) or "").strip()


def test_unknown_name() -> None:
    """A name that is not there is an AttributeError, as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        onnxrich.nothing  # noqa: B018


def test_typed() -> None:
    """The package says that it is typed."""
    from pathlib import Path

    assert (Path(onnxrich.__file__).parent / "py.typed").is_file()
