"""Several models on the same data: `compare`, and the `Comparison` that it gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxrich._utils import validation as checked
from onnxrich.errors import DataError
from onnxrich.isolation import supervisor as supervise
from onnxrich.metrics.registry import select
from onnxrich.progress import Progress
from onnxrich.report import figure, files, html
from onnxrich.results.comparison import Compared

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from onnx import ModelProto

    from onnxrich.data.preprocessing.steps import Preprocessing
    from onnxrich.data.selection import Selection


class Comparison(Compared):
    """Everything that a comparison found, with ways to look at it and to keep it. Attributes as in `Compared`."""

    def figure(self) -> Figure:
        """Quality, utilization and intensity against rank, all models in the same panels, as a matplotlib figure."""
        return figure.draw(self)

    def save(self, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
        """Write `comparison.json`, `report.html`, `figure.png`, `figure.svg`, and a folder a model with its numbers.

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
        return f"<Comparison of {', '.join(result.record.model.path for result in self.results)}>"


def compare(
    models: Sequence[str | os.PathLike[str] | bytes | ModelProto],
    data: Any = None,
    labels: Any = None,
    *,
    init: str | os.PathLike[str] | bytes | ModelProto | None = None,
    features: str | None = None,
    outputs: str | None = None,
    head: int | None = None,
    mask: str | None = None,
    metrics: Sequence[str] | None = None,
    batch_size: int | None = None,
    blocks: int | None = None,
    device: str = "auto",
    provider: str | None = None,
    reading: Selection | Mapping[str, Any] | None = None,
    preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
    isolate: bool = False,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> Comparison:
    """Measure several models on the same data, in one pass. The command `onnxrich compare` is this function.

    All models are loaded at once, and each batch goes through all of them: the data are read once. The errors of
    differences are those of pairs, for chance does the same to all models. Features of two models are compared by
    linear CKA, from the exact products of their features.

    Args:
        models: paths of ONNX files, their bytes, ModelProtos, or paths of a saved `moments.npz` or of the folder of
            a report that holds one; these take no part in the pass and have no CKA with others.
        data: as in `run`; one input feeds the inputs of its name in all models, or the only input of each.
        labels: as in `run`.
        init: the model that the others began their training from; S_init is the CKA of each with it. When it is none
            of the models, it is added as the last one.
        features: tensor to take as the penultimate layer of all models.
        outputs: tensor to take the outputs of all models from.
        head: which of several heads to take, from 1.
        mask: input that is 0 for tokens or positions to be left out.
        metrics: as in `run`.
        batch_size: rows a run.
        blocks: number of blocks of rows, from which uncertainties follow; 16 when left out, fewer where the moments of
            all models would take more than 1 GiB, 0 for none.
        device: as in `run`, but a single one.
        provider: as in `run`.
        reading: as in `run`.
        preprocessing: as in `run`.
        seed: of rows drawn at random, and of those that are made up when there are no data.
        progress: called now and then with a `Progress`.
        isolate: work in a process of its own. Needs paths.
        timeout: seconds after which an isolated run is ended.
        max_memory: bytes of memory at which an isolated run is ended.

    Raises:
        OnnxrichError: for everything that can be expected to go wrong; the message names the model.

    >>> import onnxrich
    >>> models = [onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("lazy.onnx")]
    >>> found = onnxrich.compare(models, onnxrich.demo_file("evaluation.npz"))
    >>> found.differences[1]["d_lr"].clear
    True
    """
    checked.check_limits(isolate=isolate, timeout=timeout, max_memory=max_memory)
    options = checked.validated(
        features=features, outputs=outputs, head=head, mask=mask, batch_size=batch_size, blocks=blocks,
        device=device, provider=provider, seed=seed,
    )  # fmt: skip
    if isinstance(models, str | os.PathLike | bytes) or not isinstance(models, Iterable):
        raise DataError("a single model", "a list of models", "Pass [model, other_model].")
    given, initial = with_initial(models, init)
    for model in given:
        check_model(model)
    if len(given) < 2:
        raise DataError(f"{len(given) or 'no'} model", "two or more to compare", "Pass another one, or run it alone.")
    options["metrics"] = None if metrics is None else select(metrics)
    options |= {"initial": initial, "reading": reading, "preprocessing": preprocessing}
    listen = checked.validated(progress=progress)["progress"] or (lambda _: None)
    if isolate:
        request = supervise.paths_of({"data": data, "labels": labels}) | options
        request["models"] = [supervise.path_of(model) for model in given]
        request |= checked.plain(reading=reading, preprocessing=preprocessing)
        document, results = supervise.several("compare", request, listen=listen, timeout=timeout, max_memory=max_memory)
        return Comparison.from_document(document, results)
    # ONNX and its runtime take longer to import than all the rest, and an isolated run has no use for them here.
    from onnxrich.pipelines import compare as comparing

    found = comparing.compare(given, data, labels, listen=listen, **options)
    return Comparison(found.results, found.initial, found.differences, found.cka, found.notices, found.memory)


def check_model(model: Any) -> None:
    """Check that a model is one of ONNX.

    Raises:
        DataError: when it is a framework's.
    """
    # A ModelProto is told by its name: onnx takes longer to import than all the rest.
    if not isinstance(model, str | os.PathLike | bytes) and type(model).__name__ != "ModelProto":
        raise DataError(
            f"a model of type {type(model).__qualname__}",
            "paths, bytes or ModelProtos, when there are several models",
            "Export it first: onnxrich.export(model, 'model.onnx', example).",
        )


def with_initial(models: Sequence[Any], init: Any) -> tuple[list[Any], int | None]:
    """The models, with the initial one behind them where it is none of them, and its number."""
    given = list(models)
    if init is None:
        return given, None
    place = next((number for number, model in enumerate(given) if _same(model, init)), None)
    return (given, place) if place is not None else ([*given, init], len(given))


def _same(a: Any, b: Any) -> bool:
    paths = isinstance(a, str | os.PathLike) and isinstance(b, str | os.PathLike)
    return Path(a).absolute() == Path(b).absolute() if paths else a is b
