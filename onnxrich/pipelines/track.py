"""`track`: the checkpoints of a training, one analysis after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from onnxrich.errors import DataError, prefix_errors
from onnxrich.pipelines.checkpoints import checkpoint_files, checkpoint_steps
from onnxrich.pipelines.compare import check_unused, compare
from onnxrich.pipelines.load import load_saved
from onnxrich.pipelines.options import RunOptions, SeriesOptions
from onnxrich.pipelines.run import run_onnx
from onnxrich.progress import Listener
from onnxrich.results.analysis import Analysis
from onnxrich.results.differences import Similarity
from onnxrich.results.paths import moments_of
from onnxrich.results.track import Track


def track(checkpoints: Sequence[str | os.PathLike[str]], options: SeriesOptions) -> Track:
    """Follow a training over its checkpoints, all on the same data, which are read anew for each."""
    if isinstance(options.data, Iterator):
        raise DataError(
            f"data of type {type(options.data).__name__}, which can be read once",
            "data that can be read for each checkpoint",
            "Pass a file, arrays, or an iterable that begins anew.",
        )
    paths = list(map(str, checkpoint_files(checkpoints)))
    if all(map(moments_of, paths)):
        check_unused(options, init=options.init)
    analyses, s_init = [], []
    for number, path in enumerate(paths, 1):
        stage = f"checkpoint {number} of {len(paths)}"
        with prefix_errors(path):
            analysis, similarity = _measure(path, replace(options, progress=_prefixed(options.listen, stage)))
        analyses.append(analysis)
        s_init.append(similarity)
    steps, origin = checkpoint_steps(paths, [analysis.record.model.step for analysis in analyses])
    return Track.of(steps, analyses, origin=origin, s_init=None if options.init is None else s_init)


def _measure(path: str, options: SeriesOptions) -> tuple[Analysis, Similarity | None]:
    """Measure one checkpoint, and its S_init where there is an initial model."""
    if moments_of(path) is not None:
        return load_saved(path, options.metrics), None
    if options.init is None:
        shared = {name: value for name, value in options.given().items() if name != "init"}
        return run_onnx(path, RunOptions(**shared)), None
    comparison = compare([path, options.init], options)
    return comparison.results[0], comparison.similarity(0, 1)


def _prefixed(listen: Listener, stage: str) -> Listener:
    """A listener that hears of the checkpoint as well."""
    return lambda progress: listen(replace(progress, stage=f"{stage}: {progress.stage}"))
