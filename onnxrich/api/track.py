"""A training, followed over its checkpoints: `track`, and the `Track` that it gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxrich._utils import validation as checked
from onnxrich.isolation import supervisor as supervise
from onnxrich.metrics.registry import select
from onnxrich.progress import Progress
from onnxrich.report import figure, files, html
from onnxrich.results.track import Tracked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from onnxrich.data.preprocessing.steps import Preprocessing
    from onnxrich.data.selection import Selection


class Track(Tracked):
    """Everything that was found of a training, with ways to look at it and to keep it. Attributes as in `Tracked`."""

    def figure(self) -> Figure:
        """Metrics against the step, and the curves at several steps, as a matplotlib figure."""
        return figure.draw(self)

    def save(self, directory: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, ...]:
        """Write `track.json`, `track.csv`, `report.html`, `figure.png` and `figure.svg`.

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
        return f"<Track of {len(self.steps)} checkpoints, steps {self.steps[0]} to {self.steps[-1]}>"


def track(
    checkpoints: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    data: Any = None,
    labels: Any = None,
    *,
    init: str | os.PathLike[str] | None = None,
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
) -> Track:
    """Follow a training over its checkpoints, all on the same data. The command `onnxrich track` is this function.

    The step of a checkpoint is what its metadata say (`onnxrich.step`, which `onnxrich.export` and `onnxrich.Recorder`
    write), else a number in its name, or in that of its report's folder, else its position among those that are given;
    those of one folder or pattern are in natural order.

    Args:
        checkpoints: paths of ONNX files or of saved moments, patterns such as `step-*.onnx`, and folders: of ONNX
            files, or of the records that an `onnxrich.Recorder` wrote.
        data: as in `run`; read anew for each checkpoint. Saved moments need none.
        labels: as in `run`.
        init: the model that training began from, such as the first checkpoint: adds S_init, and costs a run of it for
            each checkpoint.
        features: as in `run`, and so on to the end.
        outputs: tensor to take the outputs from.
        head: which of several heads to take, from 1.
        mask: input that is 0 for tokens or positions to be left out.
        metrics: names of metrics or families, or "all".
        batch_size: rows a run.
        blocks: number of blocks of rows, from which uncertainties follow.
        device: "auto", "cpu", "cuda", "cuda:N".
        provider: another execution provider of ONNX Runtime.
        reading: as in `run`.
        preprocessing: as in `run`.
        seed: of rows drawn at random, and of those that are made up when there are no data.
        progress: called now and then with a `Progress`.
        isolate: work in a process of its own.
        timeout: seconds after which that is ended.
        max_memory: bytes of memory at which it is ended.

    Raises:
        OnnxrichError: for everything that can be expected to go wrong; the message names the checkpoint.

    >>> import onnxrich
    >>> models = [onnxrich.demo_file("lazy.onnx"), onnxrich.demo_file("rich.onnx")]
    >>> onnxrich.track(models, onnxrich.demo_file("evaluation.npz")).steps
    (0, 1)
    """
    checked.check_limits(isolate=isolate, timeout=timeout, max_memory=max_memory)
    options = checked.validated(
        features=features, outputs=outputs, head=head, mask=mask, batch_size=batch_size, blocks=blocks,
        device=device, provider=provider, seed=seed,
    )  # fmt: skip
    given = checked.validated(checkpoints=checkpoints, init=init, progress=progress)
    paths, listen = given["checkpoints"], given["progress"] or (lambda _: None)
    options["metrics"] = None if metrics is None else select(metrics)
    options |= {"initial": given["init"], "reading": reading, "preprocessing": preprocessing}
    if isolate:
        request = supervise.paths_of({"data": data, "labels": labels}) | options | {"given": paths}
        request |= checked.plain(reading=reading, preprocessing=preprocessing)
        document, results = supervise.several("track", request, listen=listen, timeout=timeout, max_memory=max_memory)
        return Track.from_document(document, results)
    # ONNX and its runtime take longer to import than all the rest, and an isolated run has no use for them here.
    from onnxrich.pipelines import track as following

    found = following.track(paths, data, labels, listen=listen, **options)
    return Track(
        found.steps, found.origin, found.results, found.s_init, found.changes, found.transitions, found.notices
    )
