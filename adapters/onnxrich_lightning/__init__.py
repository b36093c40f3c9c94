"""Lightning for onnxrich: a callback for the Trainer of `lightning` and of `pytorch_lightning`.

- It measures before the first step and at the end of epochs, only on the process of rank zero.
- Metrics go to the trainer's loggers: TensorBoard, MLflow, Weights & Biases, CSV.
- Models and loaders of Lightning are those of PyTorch, and `onnxrich_torch` is their adapter.
"""

from onnxrich_lightning.trainer import callback

__all__ = ["callback"]
