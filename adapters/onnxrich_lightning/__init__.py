"""Lightning for onnxrich."""

from onnxrich_lightning.trainer import callback

__all__ = ["callback"]
