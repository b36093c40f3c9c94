"""`onnxrich.run`: how rich a model's training dynamics were."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from onnxrich.api.keywords import takes
from onnxrich.api.perform import perform
from onnxrich.api.resume import resume_hint
from onnxrich.errors import WorkerError
from onnxrich.pipelines.options import RunOptions
from onnxrich.results.analysis import Analysis

if TYPE_CHECKING:
    from onnx import ModelProto


@takes(RunOptions)
def run(model: str | os.PathLike[str] | bytes | ModelProto | Any, options: RunOptions) -> Analysis:
    """Measure how rich a model's training dynamics were. The command `onnxrich run` is this function.

    Args:
        model: path of an ONNX file, its bytes, a ModelProto, or a model of a framework that an adapter takes (PyTorch,
            TensorFlow, Keras, JAX, scikit-learn): that is exported for the run.
        <options>

    Returns:
        The analysis. With `eval_data` its `evaluation` has all metrics of these, and curves over the eigenfunctions of
        `data`, so that training and test data can be drawn together. With `checkpoint` it is the same, to the bit, as
        if the pass had never been stopped; passes over `eval_data`, and those that count readouts, begin anew.

    Raises:
        OnnxrichError: for everything that can be expected to go wrong; see its subclasses.

    >>> import onnxrich
    >>> analysis = onnxrich.run(onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz"))
    >>> analysis.metrics["d_lr"] < 0.05
    True
    """
    try:
        analysis: Analysis = perform("run", model, options)
    except WorkerError as error:
        error.remedy = f"{error.remedy} {resume_hint(options.checkpoint)}".strip()
        raise
    return analysis
