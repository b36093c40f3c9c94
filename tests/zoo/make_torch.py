"""Makes the PyTorch family: both exporters, hooks on the head give the truth."""

from __future__ import annotations

import logging
import sys

import _torch_heads
import _torch_tokens
import _torch_vision
from _record import Zoo
from _torch_export import record


def main(only: list[str]) -> None:
    """Writes all entries, or tries those named without touching the index."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    zoo = Zoo("torch")
    for module in (_torch_vision, _torch_tokens, _torch_heads):
        for case in module.cases():
            if not only or case.name in only:
                record(zoo, case)
    if not only:
        zoo.write()


if __name__ == "__main__":
    main(sys.argv[1:])
