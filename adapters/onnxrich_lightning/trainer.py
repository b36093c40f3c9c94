"""A callback for Lightning's Trainer, of `lightning` and of `pytorch_lightning`.

- It measures before the first step and at the end of epochs, on the process of rank zero alone.
- Numbers go to the trainer's loggers: TensorBoard, MLflow, Weights & Biases, CSV.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import onnxrich


def callback(*args: Any, every: int = 1, **options: Any) -> Any:
    """A callback that calls an `onnxrich.Recorder` with the module that is trained.

    Args:
        args: sample and folder, as of `onnxrich.Recorder`.
        every: epochs from one measurement to the next.
        options: as of `onnxrich.Recorder`.
    """
    loggers: list[Any] = []

    def log(values: Mapping[str, float], step: int) -> None:
        for logger in loggers:
            logger.log_metrics(values, step)

    recorder = onnxrich.Recorder(*args, **{"log": log} | options)

    class Richness(_base()):  # type: ignore[misc]
        """Measures the module."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Measure what the training begins with."""
            loggers[:] = trainer.loggers
            self._measure(trainer, pl_module)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Measure what an epoch has made of it."""
            if (trainer.current_epoch + 1) % every == 0:
                self._measure(trainer, pl_module)

        def _measure(self, trainer: Any, pl_module: Any) -> None:
            if trainer.is_global_zero:
                recorder(pl_module, trainer.global_step)

    return Richness()


def _base() -> Any:
    """The class of callbacks of the package that is in use: there are two of the same content."""
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        return sys.modules["pytorch_lightning"].Callback
    import lightning.pytorch

    return lightning.pytorch.Callback
