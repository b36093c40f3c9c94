"""Neural collapse (Papyan, Han & Donoho 2020) from the moment matrix."""

from __future__ import annotations

import numpy as np

from onnxrich.moments import GRAM_FLOOR, Moments


def nc1(moments: Moments) -> float | None:
    """Within-class variability tr(Σ_W Σ_B⁺)/K over the classes that occur; 0 = collapsed. None where it is undefined.

    Source: Papyan, Han & Donoho 2020, NC1. Σ_W is the average over samples of the scatter about the class means, Σ_B
    the average over classes of the scatter of the class means about the global mean.
    It is undefined without class labels, and with fewer than two distinct class means.
    """
    if moments.targets != "classes" or moments.n == 0:
        return None
    counts = moments.n * moments.mean("targets")
    present = counts > 1e-9 * moments.n
    counts = counts[present]
    # C_φy[:, c] = Σ_{i in c} (φ_i − mean) = n_c (μ_c − mean): the centred class sums, without cancellation of the mean.
    sums = moments.centered("features", "targets")[:, present]
    means = sums / counts
    total = moments.centered("features", "features")
    within = (total - (sums / counts) @ sums.T) / moments.n
    # Σ_B = means·meansᵀ/K; its pseudo-inverse from the thin SVD of the p × K matrix of class means.
    u, s, _ = np.linalg.svd(means, full_matrices=False)
    keep = s > GRAM_FLOOR * max(float(s[0]), float(np.sqrt(np.trace(total) / moments.n)) * GRAM_FLOOR)
    if len(counts) < 2 or not keep.any() or s[0] <= 0:
        return None
    directions = u[:, keep] / s[keep]
    return max(0.0, float(np.sum(directions * (within @ directions))))
