"""Send numbers to the experiment trackers that are in use: what the caller never imported is not looked at."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

Log = Callable[[Mapping[str, float], int], None]


def active(values: Mapping[str, float], step: int) -> None:
    """Log to the active run of MLflow, and to that of Weights & Biases, where there is one."""
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and mlflow.active_run() is not None:
        mlflow.log_metrics(dict(values), step=step)
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        # Its own count of steps goes on by itself, and refuses to go back.
        wandb.log({**values, "onnxrich/step": step})


def to_writer(writer: Any) -> Log:
    """A function that logs to a TensorBoard `SummaryWriter`, or to whatever has its `add_scalar`."""

    def log(values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return log
