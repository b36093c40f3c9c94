"""What a format needs to open data: the path, the form of images, and where to report items that it skips."""

from __future__ import annotations

from dataclasses import dataclass, field

from onnxrich.data.paths import DataPath
from onnxrich.data.preprocessing.steps import Preprocessing
from onnxrich.data.source import SkippedItems


@dataclass(frozen=True)
class ImageSpec:
    """Size and colours that images are brought to when they are decoded.

    Attributes:
        steps: declared preprocessing, of which colours, sizes and the filter of resizing count here.
        channels: channels that the model takes, None where it leaves them open.
    """

    steps: Preprocessing = field(default_factory=Preprocessing)
    channels: int | None = None


@dataclass(frozen=True, eq=False)
class OpenContext:
    """What the data are opened with.

    Attributes:
        path: file or folder of the data.
        image_spec: size and colours of images.
        skipped: takes items that can't be read.
    """

    path: DataPath
    image_spec: ImageSpec
    skipped: SkippedItems
