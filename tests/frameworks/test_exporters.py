"""Exporters are silenced, and their errors quoted."""

from __future__ import annotations

import logging
import warnings

import pytest

from onnxrich.errors import AdapterError
from onnxrich.frameworks.exporters import explain_errors, quiet, summarize


def test_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings and messages below the level are dropped, and the level is restored, also after an error."""
    log = logging.getLogger("exporter")
    log.setLevel(logging.INFO)
    with pytest.raises(ValueError, match="failed"), quiet("exporter", logging.ERROR):
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        log.warning("plan")
        log.error("trouble")
        raise ValueError("failed")
    assert caplog.messages == ["trouble"]
    assert log.level == logging.INFO


def test_explain_errors() -> None:
    """Any error becomes an `AdapterError` that quotes its first line and keeps it as the cause."""
    with pytest.raises(AdapterError) as caught, explain_errors("it failed", "another model", "Replace it."):
        raise KeyError("a\nb")
    assert caught.value.found == "it failed: KeyError: 'a\\nb'"
    assert (caught.value.needed, caught.value.remedy) == ("another model", "Replace it.")
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("error", "summary"),
    [(ValueError("\nfirst\nsecond"), "ValueError: first"), (TypeError(), "TypeError: no message")],
)
def test_summarize(error: Exception, summary: str) -> None:
    """The first line that says something stands for the message."""
    assert summarize(error) == summary
