"""Measure a model again and again while it is trained, on one held-back sample.

It is exported once. After that only its weights are swapped in the exported model, and the outputs of a few rows are
compared with the framework's each time; where they differ, it is exported again, and the record says so.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxrich._utils.files import write_files
from onnxrich.api.loggers import Log, active
from onnxrich.errors import DataError, Notice
from onnxrich.frameworks.registry import find_adapter, join_labels, model_title

if TYPE_CHECKING:
    from onnx import ModelProto

    from onnxrich.api.run import Analysis
    from onnxrich.frameworks.registry import Adapter, Item
    from onnxrich.frameworks.weights import WeightSource

AGAIN = Notice(
    "exported_again",
    "The weights of this step could not be swapped into the model as it was exported before, so it was exported again.",
)


@dataclass(frozen=True, eq=False)
class _Live:
    """What lasts from one step to the next.

    Attributes:
        adapter: of the model's framework.
        sample: all rows, as one item.
        model: the exported model; its path where its weights lie in files of their own, which are not swapped.
        places: its initializers that are weights.
    """

    adapter: Adapter
    sample: Item
    model: ModelProto | Path
    places: Mapping[str, WeightSource]


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
        self._options = options
        self._sample, self._labels = join_labels(sample, labels)
        self._folder = None if folder is None else Path(folder)
        self._log = log
        self._live: _Live | None = None

    def __call__(self, model: Any, step: int) -> Analysis:
        """Measure the model as it is now.

        Args:
            model: the framework's model, the same at each call, but for its weights.
            step: of the training, from 0.

        Raises:
            OnnxrichError: as `onnxrich.run`.
        """
        from onnxrich.api.run import Analysis
        from onnxrich.pipelines import run as pipeline

        self._live, notices = self._renewed(model, step)
        results = pipeline.run(
            self._live.model, self._live.sample, self._labels, name=model_title(model), **self._options
        )
        record = replace(results.record, notices=(*results.record.notices, *notices))
        found = Analysis(record, results.metrics, results.curves, (*results.notices, *notices), results.moments)
        if self._folder is not None:
            _write(found, self._folder / f"step-{step:08d}")
        self._log({f"onnxrich/{name}": value for name, value in found.metrics.items() if value is not None}, step)
        return found

    def _renewed(self, model: Any, step: int) -> tuple[_Live, tuple[Notice, ...]]:
        """The exported model with the weights of this moment, and what there is to say of that."""
        if self._live is None:
            adapter = find_adapter(model)
            return _exported(adapter, model, _joined(adapter.batches(model, self._sample)), step), ()
        if _swapped(self._live, model, step):
            return self._live, ()
        return _exported(self._live.adapter, model, self._live.sample, step), (AGAIN,)


def _exported(adapter: Adapter, model: Any, sample: Item, step: int) -> _Live:
    import onnx

    from onnxrich.frameworks.export import write_export
    from onnxrich.frameworks.weights import weight_sources
    from onnxrich.model.file import is_external

    with contextlib.ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxrich-"))) / "model.onnx"
        write_export(adapter, model, sample, path=path, step=step)
        proto = onnx.load(path, load_external_data=False)
        if not any(map(is_external, proto.graph.initializer)):
            return _Live(adapter, sample, proto, weight_sources(proto, adapter.weights(model)))
        live = _Live(adapter, sample, path, {})
        # The files stay for as long as what names them.
        weakref.finalize(live, stack.pop_all().close)
        return live


def _swapped(live: _Live, model: Any, step: int) -> bool:
    """Put the model's weights into the exported model; whether that then computes what the framework computes."""
    if isinstance(live.model, Path):
        return False
    from onnxrich.frameworks.parity import example_rows, measure_deviation
    from onnxrich.frameworks.weights import swap_weights
    from onnxrich.model import file as models

    swap_weights(live.model, live.places, live.adapter.weights(model))
    for entry in live.model.metadata_props:
        if entry.key == "onnxrich.step":
            entry.value = str(step)
    forward = partial(live.adapter.forward, model)
    return measure_deviation(models.read(live.model), forward, example_rows(live.sample)).is_rounding


def _joined(items: Any) -> Item:
    """All items as one."""
    parts = list(items)
    if not parts:
        raise DataError("no rows in the sample", "at least one row", "Pass a sample with rows.")
    shapes = {name: sorted({part[name].shape[1:] for part in parts if name in part}) for name in parts[0]}
    unlike = next((name for name, found in shapes.items() if len(found) > 1), None)
    if unlike is not None or any(set(part) != set(parts[0]) for part in parts):
        told = "other names" if unlike is None else f"rows of shapes {shapes[unlike][0]} and {shapes[unlike][1]}"
        raise DataError(
            f"a sample with {told} in its items" + ("" if unlike is None else f" for {unlike!r}"),
            "items alike, for they are kept as one",
            "Pad them to one shape, or pass the sample as one item.",
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _write(found: Analysis, stem: Path) -> None:
    """The record of one step: its numbers, and its moments."""
    moments = io.BytesIO()
    found.moments.save(moments, found.record.to_dict())
    # The numbers come last: who sees them finds the moments too.
    contents = {".npz": moments.getvalue(), ".json": found.to_json().encode()}
    write_files({stem.with_suffix(suffix): content for suffix, content in contents.items()}, stem.parent)
