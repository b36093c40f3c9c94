"""The embedded example: two small models of the paper's Figure 1 experiment, and their evaluation data.

`examples/01_make_demo_models.py` made them; README.md in this folder says from what.
"""

from __future__ import annotations

from pathlib import Path

MODELS = ("rich.onnx", "lazy.onnx")
DATA = "evaluation.npz"


def demo_file(name: str) -> Path:
    """Path of a file of the embedded example: "rich.onnx", "lazy.onnx" or "evaluation.npz".

    >>> demo_file("rich.onnx").name
    'rich.onnx'
    """
    return Path(__file__).parent / name
