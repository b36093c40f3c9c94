"""The network before its training, measured beside the trained one on the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from onnxrich.data.shared import adapt_source
from onnxrich.data.source import Source
from onnxrich.engine.runtime import choose_device
from onnxrich.engine.single_pass import measure_one
from onnxrich.errors import DataError, prefix_errors
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead
from onnxrich.pipelines.evaluate import evaluate_pass
from onnxrich.pipelines.models import load_head
from onnxrich.pipelines.options import RunOptions
from onnxrich.progress import Stage, Timing
from onnxrich.results.analysis import Analysis
from onnxrich.results.differences import with_initial


@dataclass(frozen=True, eq=False)
class InitialModel:
    """The network before its training.

    Attributes:
        model: the model.
        head: its head.
    """

    model: Model
    head: Head | UnmeasuredHead

    def beside(
        self, trained: Analysis, source: Source, trained_model: Model, options: RunOptions, *, timing: Timing
    ) -> Analysis:
        """Measure the network on the rows, and in the batches, of the trained one; return that one's analysis with it.

        Args:
            trained: analysis of the trained network.
            source: its rows.
            trained_model: the trained network, in whose form the rows come.
            options: options of the run.
            timing: gets the seconds of each stage.
        """
        device = choose_device(options.device, options.provider)
        rows = adapt_source(self.model, source, trained_model)
        with prefix_errors(self.model.path):
            result = measure_one(
                self.model,
                self.head,
                rows,
                device=device,
                batch_size=trained.record.runtime.batch_size,
                blocks=options.blocks,
                mask=options.mask,
                memory=options.memory_limit,
                timing=timing,
                listen=options.listen,
            )
            with timing.measure(Stage.METRICS):
                asked = replace(options, metrics=("d_lr",))
                analysis, _ = evaluate_pass(result, self.model, rows, device, asked, parameter_norm=None)
        return with_initial(trained, analysis)


def load_initial(options: RunOptions) -> InitialModel:
    """Load the network before its training.

    Raises:
        DataError: when the data can be read once alone.
    """
    if isinstance(options.data, Iterator):
        raise DataError(
            f"data of type {type(options.data).__name__}, which can be read once",
            "data that can be read for the initial model too",
            "Pass a file, arrays, or an iterable that begins anew.",
        )
    return InitialModel(*load_head(options.init, options))
