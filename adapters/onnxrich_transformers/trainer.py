"""The callback for `transformers.Trainer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxrich
from onnxrich.api.loggers import Log, active


def callback(*args: Any, every: int = 1, **options: Any) -> Any:
    """A callback for `transformers.Trainer` that calls an `onnxrich.Recorder` with the model that is trained.

    It measures before the first step and at the end of epochs, on the process of rank zero alone.

    Args:
        args: sample and folder, as of `onnxrich.Recorder`.
        every: epochs from one measurement to the next.
        options: as of `onnxrich.Recorder`; unless `log` is among them, numbers go where the trainer reports to:
            TensorBoard, MLflow, Weights & Biases.
    """
    from transformers import TrainerCallback

    sinks: list[Log] = [active]

    def log(values: Mapping[str, float], step: int) -> None:
        for sink in sinks:
            sink(values, step)

    recorder = onnxrich.Recorder(*args, **{"log": log} | options)

    class Richness(TrainerCallback):  # type: ignore[misc]
        """Measures the model."""

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            """Measure what the training begins with."""
            if "tensorboard" in args.report_to and state.is_world_process_zero and "log" not in options:
                sinks[:] = [active, onnxrich.to_writer(_writer(Path(args.output_dir)))]
            self._measure(state, model)

        def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            """Measure what an epoch has made of it."""
            if round(state.epoch) % every == 0:
                self._measure(state, model)

        def _measure(self, state: Any, model: Any) -> None:
            if state.is_world_process_zero:
                recorder(model, state.global_step)

    return Richness()


def _writer(folder: Path) -> Any:
    """A writer beside the trainer's own, which it keeps to itself."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "runs" / "onnxrich"))
