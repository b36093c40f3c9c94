"""What is fuzzed: one module a target, see `fuzz`."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

# Names of the modules in this folder.
TARGETS = (
    "model", "patch", "run", "worker", "moments", "analysis", "checkpoint",
    "npy", "npz", "idx", "csv", "json_rows", "parquet", "arrow", "hdf5", "zarr_rows", "webdataset",
    "images", "labels", "settings",
)  # fmt: skip


class Target(Protocol):
    """A module of this folder."""

    SUFFIX: str

    @staticmethod
    def seeds() -> list[bytes]:
        """Small files that are read without an error."""

    @staticmethod
    def mutate(rng: random.Random, content: bytes) -> bytes:
        """A variant of a seed."""

    @staticmethod
    def check(path: Path) -> None:
        """Let onnxrich read a file."""


def load_target(name: str) -> Target:
    """Import the module of a target: one of this folder, or another by its full name."""
    return cast(Target, import_module(name if "." in name else f"{__name__}.{name}"))
