"""The whole analysis of a model: `run`, and the `Analysis` that it gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from onnxrich._utils import validation as checked
from onnxrich.api.resume import resume_hint
from onnxrich.errors import DataError, WorkerError
from onnxrich.isolation import supervisor as supervise
from onnxrich.metrics.base import Sample, sample_of
from onnxrich.metrics.registry import ALL, select
from onnxrich.moments.matrix import Moments, load_record
from onnxrich.progress import Progress
from onnxrich.report import figure, files, html
from onnxrich.results.analysis import Results
from onnxrich.results.paths import EVALUATION, inside
from onnxrich.results.provenance import Provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from onnx import ModelProto

    from onnxrich.data.preprocessing.steps import Preprocessing
    from onnxrich.data.selection import Selection


class Analysis(Results):
    """Everything that one analysis found, with ways to look at it and to keep it. Attributes as in `Results`."""

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        evaluation: str | os.PathLike[str] | None = None,
        metrics: Sequence[str] | None = None,
        isolate: bool = False,
        timeout: float | None = None,
        max_memory: int | None = None,
    ) -> Self:
        """The analysis computed again from a saved `moments.npz`: no model and no data are needed.

        Args:
            path: the file, or the folder that a report was saved in; `evaluation.npz` there is taken as well.
            evaluation: the `evaluation.npz` of the same run, when it had other data to evaluate on, or its folder.
            metrics: names of metrics or families, or "all"; those that were asked for before when left out. What needs
                the blocks of rows or the model's weights is null unless it was asked for before, and a notice says so.
            isolate: read it in a process of its own, that an untrusted file can exhaust alone.
            timeout: seconds after which that is ended.
            max_memory: bytes of memory at which that is ended.

        Raises:
            DataError: when a file is missing or damaged, or was saved without its record, when the two are of different
                models, no metric has a name, or one is named that takes a second pass over the data.
            WorkerError: when the isolated process was ended.
        """
        checked.check_limits(isolate=isolate, timeout=timeout, max_memory=max_memory)
        request = checked.validated(path=path, evaluation=evaluation, metrics=metrics)
        if isolate:
            return cls.of(supervise.call_for_results("load", request, timeout=timeout, max_memory=max_memory))
        metrics = request["metrics"]
        path, evaluation = request["path"], request["evaluation"]
        first = inside(path) or path
        other = inside(path if evaluation is None else evaluation, EVALUATION) or evaluation
        found: list[Results] = []
        samples: list[Sample] = []
        for file in (first, other):
            if file is None:
                continue
            moments, saved = load_record(Path(file))
            record = Provenance.from_dict(saved)
            if metrics is not None:
                record = record.asking(select(metrics))
                _check_counted(metrics, record)
            if found:
                _check_alike(found[0], moments, record)
            samples.append(sample_of(moments))
            found.append(Results.from_sample(samples[-1], record, fitted=samples[0] if found else None))
        return cls.of(found[0].evaluated(found[1] if len(found) > 1 else None))

    @classmethod
    def of(cls, results: Results) -> Self:
        """The results as an analysis."""
        return cls(**{each.name: getattr(results, each.name) for each in fields(Results)})

    def figure(self) -> Figure:
        """Quality, utilization and intensity against rank, as a matplotlib figure."""
        return figure.draw(self)

    def save(self, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
        """Write `analysis.json`, `moments.npz`, `report.html`, `figure.png` and `figure.svg`.

        With data to evaluate on there is `evaluation.npz`, their moments, as well.

        Args:
            directory: made when it is not there.
            force: write into a folder that holds files: an earlier report goes, what else is there is left alone.

        Raises:
            OutputError: when the folder is not empty, or can't be written; nothing partial is left behind.
        """
        return files.save(self, directory, force=force)

    def _repr_html_(self) -> str:
        return html.render_frame(self)

    def __repr__(self) -> str:
        d_lr = self.metrics["d_lr"]
        number = "undefined" if d_lr is None else f"{d_lr:.4f}"
        made_up = ", SYNTHETIC DATA" if self.record.data.synthetic else ""
        return f"<Analysis of {self.record.model.path}: D_LR = {number}, n = {self.record.data.n}{made_up}>"


def _check_counted(metrics: Sequence[str], record: Provenance) -> None:
    """Check that no readouts are named that were not counted when the moments were saved.

    Args:
        metrics: what is named.
        record: which asks for these.

    Raises:
        DataError: when some are; among "all" metrics they are null.
    """
    given = (metrics,) if isinstance(metrics, str) else metrics
    named = [name for name, each in ALL.items() if each.family == "readouts" and (name in given or "readouts" in given)]
    missing = [name for name in named if name in record.lacking]
    if missing:
        raise DataError(
            f"{', '.join(missing)} of saved moments",
            "the model and its data, which they take a second pass over",
            "Use `onnxrich run MODEL --data FILE --metrics readouts`.",
        )


def _check_alike(first: Results, evaluation: Moments, record: Provenance) -> None:
    """Check that moments to evaluate on are of the model that the first are of, and of the same tensors.

    Raises:
        DataError: when they are not.
    """
    told = [f"{each.model.path} (sha256 {each.model.sha256[:12]})" for each in (first.record, record)]
    if first.record.model.sha256 == record.model.sha256:
        sizes = [
            (head.features, head.outputs, each.p, each.C)
            for head, each in ((first.record.head, first.moments), (record.head, evaluation))
        ]
        if sizes[0] == sizes[1]:
            return
        told = [f"{each[2]} features and {each[3]} outputs, {each[0]!r} and {each[1]!r}" for each in sizes]
    raise DataError(
        f"moments of {told[0]}, and others of {told[1]} to evaluate on",
        "both of the same model and head",
        "Pass the moments.npz and the evaluation.npz that one `onnxrich run --eval-data FILE -o DIR` wrote.",
    )


def run(
    model: str | os.PathLike[str] | bytes | ModelProto | Any,
    data: Any = None,
    labels: Any = None,
    *,
    eval_data: Any = None,
    eval_labels: Any = None,
    features: str | None = None,
    outputs: str | None = None,
    head: int | None = None,
    mask: str | None = None,
    metrics: Sequence[str] | None = None,
    batch_size: int | None = None,
    blocks: int | None = None,
    layers: Literal["all"] | Sequence[str] | None = None,
    token: int | None = None,
    device: str = "auto",
    provider: str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    reading: Selection | Mapping[str, Any] | None = None,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    isolate: bool = False,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> Analysis:
    """Measure how rich a model's training dynamics were. The command `onnxrich run` is this function.

    Args:
        model: path of an ONNX file, its bytes, a ModelProto, or a framework's model that an adapter takes (PyTorch,
            TensorFlow, Keras, JAX, scikit-learn): that is exported for the run.
        data: path or URL of a file or folder (docs/DATA.md says of which kinds), an array, a mapping from input name to
            array, an iterable of such mappings, or a framework's loader; None looks beside the model (`onnxrich.toml`,
            `<model name>.npz`), else makes rows up.
        labels: array, path, or name of a field of the data; None takes `labels`, `label` or `y` where the data have it.
            Integers are classes, floats are real targets.
        eval_data: other data, as `data`: the result's `evaluation` has all metrics of them, and curves over the
            eigenfunctions of `data`, so that training and test data can be drawn together.
        eval_labels: labels of these, as `labels`.
        features: tensor to take as the penultimate layer, instead of the one that is found.
        outputs: tensor to take the outputs from.
        head: which of several heads to take, from 1; `onnxrich.inspect` lists them.
        mask: input of the model that is 0 for tokens or positions to be left out; `attention_mask` is taken by itself.
        metrics: names of metrics or families, "default" or "all"; `onnxrich.metric_list` lists them. D_LR is always
            computed. "readouts" take a second pass over the data.
        batch_size: rows a run; chosen from the size of a row when left out. Where memory does not hold a batch, it is
            run in parts, and a notice says so.
        blocks: number of blocks of rows that the moments are kept apart for, from which uncertainties follow; 16 when
            left out, fewer where they would take more than 1 GiB, 0 for none.
        layers: hidden layers to measure in the same pass: "all", or names of tensors or modules as `onnxrich.inspect`
            lists them. Maps are averaged over their positions, tokens over those that the mask leaves.
        token: take this token of layers of tokens instead, counted from the end where it is negative.
        device: "auto", "cpu", "cuda", "cuda:N", or several as "cuda:0,1" or "cuda:all".
        provider: another execution provider of ONNX Runtime, `NAME` or `NAME:key=value,key=value`.
        checkpoint: file in which the pass keeps its sums and its position; when it is there, the pass goes on from it,
            and gives the same result, to the bit, as if it had never been stopped. Passes over `eval_data`, and for
            "readouts", begin anew.
        reading: which rows are read, a `Reading` or a mapping of its fields, such as `{"limit": 1000}`.
        preprocessing: what is done to the rows, a `Preprocessing` or a mapping of its fields, such as
            `{"scale": 1 / 255}`; what is left out is looked for in `onnxrich.toml`, the model and a
            `preprocessor_config.json`.
        seed: of rows drawn at random, and of those that are made up when there are no data.
        progress: called now and then with a `Progress`.
        isolate: work in a process of its own, so that an untrusted model can crash or hang that alone. Needs paths.
        timeout: seconds after which an isolated run is ended.
        max_memory: bytes of memory at which an isolated run is ended.

    Raises:
        OnnxrichError: for everything that can be expected to go wrong; see its subclasses.

    >>> import onnxrich
    >>> analysis = onnxrich.run(onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz"))
    >>> analysis.metrics["d_lr"] < 0.05
    True
    """
    checked.check_limits(isolate=isolate, timeout=timeout, max_memory=max_memory)
    options = checked.validated(
        features=features, outputs=outputs, head=head, mask=mask, batch_size=batch_size, blocks=blocks,
        layers=layers, token=token, device=device, provider=provider, checkpoint=checkpoint, seed=seed,
    )  # fmt: skip
    _check_layers(options["layers"], token)
    options["metrics"] = None if metrics is None else select(metrics)
    options |= {"reading": reading, "preprocessing": preprocessing, "memory": max_memory}
    others = {"eval_data": eval_data, "eval_labels": eval_labels}
    listen = checked.validated(progress=progress)["progress"] or (lambda _: None)
    if isolate:
        given = {"data": data, "labels": labels, **others}
        request = _isolated(model, given) | options | checked.plain(reading=reading, preprocessing=preprocessing)
        try:
            results = supervise.call_for_results("run", request, listen=listen, timeout=timeout, max_memory=max_memory)
        except WorkerError as error:
            error.remedy = f"{error.remedy} {resume_hint(checkpoint)}".strip()
            raise
    else:
        # ONNX and its runtime take longer to import than all the rest, and an isolated run has no use for them here.
        from onnxrich.frameworks import conversion as native
        from onnxrich.pipelines import run as pipeline

        with native.as_onnx(model, data, labels) as (given, rows, marks, name):
            others["eval_data"], others["eval_labels"] = native.rows(model, eval_data, eval_labels)
            results = pipeline.run(given, rows, marks, name=name, listen=listen, **others, **options)
    return Analysis.of(results)


def _check_layers(names: Sequence[str] | None, token: int | None) -> None:
    """Check that layers have names, and that there are some to take a token from.

    Raises:
        DataError: when they don't.
    """
    if names is None and token is not None:
        raise DataError(f"token {token} without layers", "layers to take it from", "Pass --layers all as well.")
    if names is not None and not (names and all(names)):
        raise DataError(f"layers {names!r}", '"all", or names', "Pass --layers all, or leave it out.")


def _isolated(model: Any, optional: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments as JSON-able values."""
    return {"model": supervise.path_of(model), **supervise.paths_of(optional)}
