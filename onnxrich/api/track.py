"""`onnxrich.track`: a training, followed over its checkpoints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from onnxrich._utils.validation import validated
from onnxrich.api.keywords import takes
from onnxrich.api.perform import perform
from onnxrich.pipelines.options import SeriesOptions
from onnxrich.results.track import Track


@takes(SeriesOptions)
def track(checkpoints: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], options: SeriesOptions) -> Track:
    """Follow a training over its checkpoints, all on the same data. The command `onnxrich track` is this function.

    The step of a checkpoint stands in its metadata (`onnxrich.step`, which `onnxrich.export` and `onnxrich.Recorder`
    write), else in its name or that of its report's folder, else it is its position among the checkpoints; those of
    one folder or pattern are in natural order. The data are read anew for each checkpoint; saved moments need none.
    With `init` each checkpoint costs a run of the initial model as well.

    Args:
        checkpoints: paths of ONNX files or of saved moments, patterns such as `step-*.onnx`, and folders: of ONNX
            files, or of the records that an `onnxrich.Recorder` wrote.
        <options>

    Raises:
        OnnxrichError: for everything that can be expected to go wrong; the message names the checkpoint.

    >>> import onnxrich
    >>> models = [onnxrich.demo_file("lazy.onnx"), onnxrich.demo_file("rich.onnx")]
    >>> onnxrich.track(models, onnxrich.demo_file("evaluation.npz")).steps
    (0, 1)
    """
    arguments = validated(checkpoints=checkpoints, init=options.init)
    result: Track = perform("track", arguments["checkpoints"], replace(options, init=arguments["init"]))
    return result
