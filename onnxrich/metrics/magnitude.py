"""The sizes of features and outputs that metrics can be computed for in double precision."""

from __future__ import annotations

import math

import numpy as np

from onnxrich.errors import DataError
from onnxrich.moments.matrix import BlockName, Moments

# Metrics multiply four features: their products leave double precision from the fourth root of 1e308 on. Numbers of
# single precision, from 1e-45 to 3e38, are far from both ends.
SMALLEST, LARGEST = 1e-70, 1e70


def check_magnitude(moments: Moments) -> None:
    """Refuse features and outputs whose products overflow or vanish in double precision.

    Their size is the root of the largest sum of squares, or the largest shift. Features that are all 0 are no fault.

    Raises:
        DataError: when they are too large or too small.
    """
    f, y = 1 + moments.p, 1 + moments.p + moments.C
    blocks: dict[BlockName, slice] = {"features": slice(1, f), "outputs": slice(f, y)}
    for name, part in blocks.items():
        square = moments.n * float(np.abs(moments.mean_squares(name)).max(initial=0.0)) if moments.n else 0.0
        size = max(math.sqrt(square), float(np.abs(moments.shift[part]).max(initial=0.0)))
        if size and not SMALLEST <= size <= LARGEST:
            raise DataError(
                f"the {name} are of the size of {size:.0e}, whose products leave double precision",
                f"between {SMALLEST:.0e} and {LARGEST:.0e}",
                "Scale the weights of the layers before: D_LR does not depend on the scale.",
            )
