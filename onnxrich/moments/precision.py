"""Rounding levels: machine epsilon of the formats of a head, and the noise floor of a Gram matrix in double."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Machine epsilon of the formats that a head can compute in. NumPy has no bfloat16.
EPS: Mapping[str, float] = {
    "float64": float(np.finfo(np.float64).eps),
    "float32": float(np.finfo(np.float32).eps),
    "float16": float(np.finfo(np.float16).eps),
    "bfloat16": 2.0**-7,
}

# A Gram matrix in double carries its eigenvalues to some eps of the largest one. Singular values below the square root
# of that are rounding noise, whatever format the head computed in.
GRAM_FLOOR = float(np.sqrt(64 * EPS["float64"]))
