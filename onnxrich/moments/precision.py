"""What rounding leaves: the formats that a head can compute in, and what a Gram matrix in double can carry."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Machine epsilon of the formats a head can compute in (bfloat16 is no NumPy dtype).
EPS: Mapping[str, float] = {
    "float64": float(np.finfo(np.float64).eps),
    "float32": float(np.finfo(np.float32).eps),
    "float16": float(np.finfo(np.float16).eps),
    "bfloat16": 2.0**-7,
}

# A Gram matrix in double carries eigenvalues to some eps of the largest, so singular values below the square root of
# that are rounding noise whatever the head computed in.
GRAM_FLOOR = float(np.sqrt(64 * EPS["float64"]))
