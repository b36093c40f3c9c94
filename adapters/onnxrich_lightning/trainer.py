"""The callback for Lightning's Trainer."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def callback(*args: Any, every: int = 1, **options: Any) -> Any:
    """Make a callback that calls an `onnxrich.Recorder` with the module in training.

    Args:
        args: sample and folder, as of `onnxrich.Recorder`.
        every: number of epochs from one measurement to the next.
        options: as of `onnxrich.Recorder`.
    """
    import onnxrich

    loggers: list[Any] = []

    def log(values: Mapping[str, float], step: int) -> None:
        for logger in loggers:
            logger.log_metrics(values, step)

    recorder = onnxrich.Recorder(*args, **{"log": log} | options)

    class Richness(_callback_class()):  # type: ignore[misc]
        """Measures the module."""

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Measure the module before the first step."""
            loggers[:] = trainer.loggers
            self._measure(trainer, pl_module)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Measure the module after an epoch."""
            if (trainer.current_epoch + 1) % every == 0:
                self._measure(trainer, pl_module)

        def _measure(self, trainer: Any, pl_module: Any) -> None:
            if trainer.is_global_zero:
                recorder(pl_module, trainer.global_step)

    return Richness()


def _callback_class() -> Any:
    """The base class of callbacks, from the one of two equal packages that the caller has imported."""
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        return sys.modules["pytorch_lightning"].Callback
    import lightning.pytorch

    return lightning.pytorch.Callback
