"""`onnxrich.Analysis.load`: results computed again from saved moments."""

from __future__ import annotations

import os

from onnxrich._utils.validation import validated
from onnxrich.api.keywords import takes
from onnxrich.api.perform import perform
from onnxrich.pipelines.options import LoadOptions
from onnxrich.results.analysis import Analysis


@takes(LoadOptions)
def load(path: str | os.PathLike[str], options: LoadOptions) -> Analysis:
    """Compute an analysis again from saved moments; documented as `onnxrich.Analysis.load`."""
    analysis: Analysis = perform("load", validated(path=path)["path"], options)
    return analysis
