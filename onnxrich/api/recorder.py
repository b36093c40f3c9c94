"""Measure a model again and again while it is trained, on one held-back sample.

It is exported once. After that only its weights are swapped in the exported model, and the outputs of a few rows are
compared with the framework's each time; where they differ, it is exported again, and the record says so.
"""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxrich._utils.files import write_files
from onnxrich.api.loggers import Log, active
from onnxrich.errors import DataError, Notice
from onnxrich.pipelines.options import RunOptions
from onnxrich.results.analysis import Analysis

if TYPE_CHECKING:
    from onnxrich.frameworks.swappable import SwappableModel

AGAIN = Notice(
    "exported_again",
    "The weights of this step could not be swapped into the model as it was exported before, so it was exported again.",
)


class Recorder:
    """Measures a model at some steps of its training, and keeps a record of each in a folder.

    Args:
        sample: the rows to measure on, held back from the training: what `onnxrich.run` takes as data of a framework's
            model. They are read once and kept.
        folder: where to write `step-00000123.json` (as `Analysis.to_dict`) and `step-00000123.npz` (its moments); None
            writes nothing.
        labels: of the sample, when they are not part of it.
        force: write into a folder that holds files, as when a training goes on; records of the same steps are replaced.
        log: called with the metrics, as "onnxrich/d_lr" and so on, and the step. When left out, they go to the active
            run of MLflow or Weights & Biases. `onnxrich.to_writer(writer)` logs to TensorBoard.
        options: features, outputs, head, mask, batch_size and device, as of `onnxrich.run`.

    Raises:
        OutputError: when the folder is not empty and `force` is not given, or can't be written.
    """

    def __init__(
        self,
        sample: Any,
        folder: str | os.PathLike[str] | None = None,
        *,
        labels: Any = None,
        force: bool = False,
        log: Log = active,
        **options: Any,
    ) -> None:
        if folder is not None:
            from onnxrich.report import files

            files.check(folder, force=force)
        from onnxrich.frameworks.registry import join_labels

        foreign = ("data", "labels", "isolate", "timeout", "stall_timeout", "max_memory")
        if unused := [name for name in foreign if name in options]:
            raise DataError(
                f"{unused[0]} for a recorder",
                "options of a run in this process",
                "Leave it out: the sample is the data, and the work is done where the training runs.",
            )
        self._options = RunOptions(**options)  # wrong values are named before the training, not at its first step

        self._sample, self._labels = join_labels(sample, labels)
        self._folder = None if folder is None else Path(folder)
        self._log = log
        self._exported: SwappableModel | None = None

    def __call__(self, model: Any, step: int) -> Analysis:
        """Measure the model as it is now.

        Args:
            model: the framework's model, the same at each call, but for its weights.
            step: of the training, from 0.

        Raises:
            OnnxrichError: as `onnxrich.run`.
        """
        from onnxrich.frameworks.randomness import preserved_randomness

        with preserved_randomness(model, self._sample):
            analysis = self._measure(model, step)
            if self._folder is not None:
                _write(analysis, self._folder / f"step-{step:08d}")
            values = {name: value for name, value in analysis.metrics.items() if value is not None}
            self._log({f"onnxrich/{name}": value for name, value in values.items()}, step)
        return analysis

    def _measure(self, model: Any, step: int) -> Analysis:
        from onnxrich.frameworks.registry import model_title
        from onnxrich.frameworks.swappable import SwappableModel
        from onnxrich.pipelines.run import run_onnx

        again = False
        if self._exported is None:
            self._exported = SwappableModel.from_native(model, self._sample, step)
        else:
            self._exported, again = self._exported.at_step(model, step)
        options = replace(self._options, data=self._exported.sample, labels=self._labels)
        notices = (*self._exported.notices, AGAIN) if again else self._exported.notices
        return run_onnx(self._exported.model, options, name=model_title(model), notices=notices)


def _write(analysis: Analysis, stem: Path) -> None:
    """Write the record of one step: its numbers, and its moments."""
    moments = io.BytesIO()
    analysis.moments.save(moments, analysis.record.to_dict())
    # The numbers come last: whoever sees them finds the moments too.
    contents = {".npz": moments.getvalue(), ".json": analysis.to_json().encode()}
    write_files({stem.with_suffix(suffix): content for suffix, content in contents.items()}, stem.parent)
