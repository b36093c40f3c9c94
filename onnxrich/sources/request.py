"""What a kind of data is opened with."""

from __future__ import annotations

from dataclasses import dataclass

from onnxrich.pictures import Look
from onnxrich.sources.ledger import Ledger
from onnxrich.sources.places import Place


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
