"""Formats of a saved report."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnxrich.report import documents, figure, html
from onnxrich.report.kinds import Result

# What gives the files of each format, as bytes by file name. A new format is one module and one entry here. Documents
# come last, so that whoever sees `analysis.json` appear finds all other files.
FORMATS: tuple[Callable[[Result], Mapping[str, bytes]], ...] = (html.files, figure.files, documents.files)


def render_files(result: Result) -> dict[str, bytes]:
    """Render a result in all formats, as bytes by file name."""
    return {name: content for files in FORMATS for name, content in files(result).items()}
