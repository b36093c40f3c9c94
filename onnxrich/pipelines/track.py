"""From checkpoints and data to the course of a training, in this process: one analysis after the other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from onnxrich.errors import DataError, prefix_errors
from onnxrich.pipelines import checkpoints as series
from onnxrich.pipelines import compare as comparing
from onnxrich.pipelines import run as pipeline
from onnxrich.progress import Listener, Progress
from onnxrich.results.analysis import Results
from onnxrich.results.comparison import Estimate
from onnxrich.results.paths import moments_of
from onnxrich.results.track import Tracked


def track(
    given: Sequence[str | os.PathLike[str]],
    data: Any = None,
    labels: Any = None,
    *,
    initial: str | os.PathLike[str] | None = None,
    listen: Listener = lambda _: None,
    **options: Any,
) -> Tracked:
    """What the checkpoints say of the training; arguments and errors as in `onnxrich.track`."""
    if isinstance(data, Iterator):
        raise DataError(
            f"data of type {type(data).__name__}, which can be read once",
            "data that can be read for each checkpoint",
            "Pass a file, arrays, or an iterable that begins anew.",
        )
    paths = list(map(str, series.checkpoint_files(given)))
    if all(map(moments_of, paths)):
        unused = {name: value for name, value in options.items() if name != "metrics"}
        comparing.check_unused(data=data, labels=labels, init=initial, **unused)
    found, alike = [], []
    for number, path in enumerate(paths, 1):

        def tell(progress: Progress, number: int = number) -> None:
            listen(replace(progress, stage=f"checkpoint {number} of {len(paths)}: {progress.stage}"))

        with prefix_errors(path):
            results, s_init = _one(path, data, labels, initial, listen=tell, **options)
        found.append(results)
        alike.append(s_init)
    steps, origin = series.checkpoint_steps(paths, [results.record.model.step for results in found])
    return Tracked.of(steps, found, origin=origin, s_init=alike if initial is not None else None)


def _one(
    path: str, data: Any, labels: Any, initial: Any, *, listen: Listener, **options: Any
) -> tuple[Results, Estimate | None]:
    """The results of one checkpoint, and its S_init."""
    saved = moments_of(path)
    if saved is not None:
        return comparing.load(saved, options["metrics"]), None
    if initial is None:
        return pipeline.run(path, data, labels, listen=listen, **options), None
    both = comparing.compare([path, initial], data, labels, initial=1, listen=listen, **options)
    return both.results[0], both.similarity(0, 1)
