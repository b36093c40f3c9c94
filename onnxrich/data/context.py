"""What a kind of data is opened with."""

from __future__ import annotations

from dataclasses import dataclass

from onnxrich.data.images.decode import Look
from onnxrich.data.ledger import Ledger
from onnxrich.data.paths import Place


@dataclass(frozen=True, eq=False)
class Request:
    """Where the data lie, and how they are to be read.

    Attributes:
        place: file or folder.
        look: size and colours of images.
        ledger: told of what can't be read.
    """

    place: Place
    look: Look
    ledger: Ledger
