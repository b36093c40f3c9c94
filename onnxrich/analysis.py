"""The whole analysis of a model: `run`, and the `Analysis` that it gives."""

from __future__ import annotations

import os
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from onnx import ModelProto

from onnxrich import head as heads
from onnxrich import model as models
from onnxrich import session, sources, stream
from onnxrich.errors import DataError, Notice
from onnxrich.moments import load_record
from onnxrich.report import figure, files, html
from onnxrich.results import DataInfo, HeadInfo, ModelInfo, Record, Results, RuntimeInfo
from onnxrich.stream import Progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYNTHETIC = Notice(
    "synthetic_data",
    "No data were given, so random inputs were made up: the numbers are a smoke test and no measurement. Pass --data FILE.",
)


class Analysis(Results):
    """Everything that one analysis found, with ways to look at it and to keep it. Attributes as in `Results`."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """The analysis computed again from a saved `moments.npz`: no model and no data are needed.

        Raises:
            DataError: when the file is missing or damaged, or was saved without its record.
        """
        moments, record = load_record(Path(path))
        return cls.from_moments(moments, Record.from_dict(record))

    def figure(self) -> Figure:
        """Quality, utilization and intensity against rank, as a matplotlib figure."""
        figured: Figure = figure.figure([self])
        return figured

    def save(self, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
        """Write `analysis.json`, `moments.npz`, `report.html`, `figure.png` and `figure.svg`.

        Args:
            directory: made when it is not there.
            force: replace files of these names that are there.

        Raises:
            OutputError: when the folder is not empty, or can't be written; nothing partial is left behind.
        """
        return files.save(self, Path(directory), force=force)

    def _repr_html_(self) -> str:
        # A frame keeps the page's style and script apart from the notebook's.
        page = escape(html.render([self]), quote=True)
        return f'<iframe srcdoc="{page}" title="onnxrich report" width="100%" height="900" frameborder="0"></iframe>'

    def __repr__(self) -> str:
        d_lr = self.metrics["d_lr"]
        number = "undefined" if d_lr is None else f"{d_lr:.4f}"
        return f"<Analysis of {self.record.model.path}: D_LR = {number}, n = {self.record.data.n}>"


def run(
    model: str | os.PathLike[str] | bytes | ModelProto,
    data: Any = None,
    labels: Any = None,
    *,
    features: str | None = None,
    outputs: str | None = None,
    batch_size: int | None = None,
    device: session.Device = "auto",
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Analysis:
    """Measure how rich a model's training dynamics were. The command `onnxrich run` is this function.

    Args:
        model: path of an ONNX file, its bytes, or a ModelProto.
        data: path of an `.npz` or `.npy` file, an array, a mapping from input name to array, or an iterable of such
            mappings; None looks beside the model (`onnxrich.toml`, `<model name>.npz`), else makes rows up.
        labels: array, path, or key in the data; None takes the key `labels` or `y` where the data have it. Integers are
            classes, floats are real targets.
        features: tensor to take as the penultimate layer, instead of the one that is found.
        outputs: tensor to take the outputs from.
        batch_size: rows a run; chosen from the size of a row when left out.
        device: "auto", "cpu" or "cuda".
        seed: of the rows that are made up when there are no data.
        progress: called now and then with a `Progress`.

    Raises:
        OnnxrichError: for everything that can be expected to go wrong; see its subclasses.

    >>> import onnxrich
    >>> analysis = onnxrich.run(onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz"))
    >>> analysis.metrics["d_lr"] < 0.05
    True
    """
    listen = progress or (lambda _: None)
    if batch_size is not None and batch_size < 1:
        raise DataError(f"batch size {batch_size}", "a positive number", "Pass --batch-size N with N ≥ 1.")
    listen(Progress("reading the model"))
    read = models.read(model)
    found = heads.find(read, features=features, outputs=outputs)
    source = sources.open_source(read, data, labels, seed)
    choice = session.choose(device)
    passed = stream.run(read, found, source, batch_size=batch_size, device=choice, listen=listen)
    listen(Progress("computing the metrics", passed.samples, passed.samples))
    return Analysis.from_moments(passed.moments, _record(read, source, passed, choice, batch_size))


def _record(
    model: models.Model, source: sources.Source, passed: stream.Pass, choice: session.Choice, asked: int | None
) -> Record:
    head = passed.head
    assert head.p is not None and head.C is not None  # noqa: S101 - measured by the pass
    notices = [SYNTHETIC] if source.synthetic else []
    if asked is not None and asked != passed.batch_size:
        message = f"The model fixes its batch size at {passed.batch_size}; --batch-size {asked} was not used."
        notices.append(Notice("fixed_batch", message))
    return Record(
        ModelInfo(model.path, model.sha256, model.producer, model.opset, model.parameters),
        HeadInfo(
            head.features.tensor,
            head.outputs.tensor,
            head.kind,
            passed.rows_kind,
            head.p,
            head.C,
            verified=passed.residual is not None,
            residual=passed.residual,
        ),
        DataInfo(source.name, round(passed.moments.n), passed.classes, source.synthetic),
        RuntimeInfo(choice.device, passed.providers, session.VERSION, passed.batch_size, passed.seconds),
        tuple(notices),
    )
