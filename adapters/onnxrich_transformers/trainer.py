"""The callback for `transformers.Trainer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def callback(*args: Any, every: int = 1, **options: Any) -> Any:
    """Make a callback for `transformers.Trainer` that calls an `onnxrich.Recorder` with the model in training.

    It measures before the first step and at the end of epochs, only on the process of rank zero.

    Args:
        args: sample and folder, as of `onnxrich.Recorder`.
        every: number of epochs from one measurement to the next.
        options: as of `onnxrich.Recorder`. Without `log`, metrics go where the trainer reports to: TensorBoard, MLflow,
            Weights & Biases.
    """
    from transformers import TrainerCallback

    import onnxrich
    from onnxrich.api.loggers import Log, active

    sinks: list[Log] = [active]

    def log(values: Mapping[str, float], step: int) -> None:
        for sink in sinks:
            sink(values, step)

    recorder = onnxrich.Recorder(*args, **{"log": log} | options)

    class Richness(TrainerCallback):  # type: ignore[misc]
        """Measures the model."""

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            """Measure the model before the first step."""
            if "tensorboard" in args.report_to and state.is_world_process_zero and "log" not in options:
                sinks[:] = [active, onnxrich.to_writer(_tensorboard_writer(Path(args.output_dir)))]
            self._measure(state, model)

        def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            """Measure the model after an epoch."""
            if round(state.epoch) % every == 0:
                self._measure(state, model)

        def _measure(self, state: Any, model: Any) -> None:
            if state.is_world_process_zero:
                recorder(model, state.global_step)

    return Richness()


def _tensorboard_writer(folder: Path) -> Any:
    """A writer beside the trainer's own, which is private."""
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "runs" / "onnxrich"))
