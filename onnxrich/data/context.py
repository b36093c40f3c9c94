"""What a kind of data is opened with."""

from __future__ import annotations

from dataclasses import dataclass

from onnxrich.data.images.decode import ImageSpec
from onnxrich.data.paths import DataPath
from onnxrich.data.source import SkippedItems


@dataclass(frozen=True, eq=False)
class OpenContext:
    """Where the data lie, and how they are to be read.

    Attributes:
        place: file or folder.
        look: size and colours of images.
        ledger: told of what can't be read.
    """

    place: DataPath
    look: ImageSpec
    ledger: SkippedItems
