"""How many directions the features fill: measures of the spectrum of their covariance."""

from __future__ import annotations

import numpy as np

from onnxrich.moments import EPS, Array, Moments


def eigenvalues(moments: Moments) -> Array:
    """Eigenvalues λ of the features' covariance C_φφ/n, descending, zero where they are rounding noise: shape (p,)."""
    values = np.linalg.eigvalsh(moments.centered("features", "features") / moments.n)[::-1]
    noise = 8 * moments.p * EPS["float64"] * max(values[0], 0.0)
    return np.where(values > noise, values, 0.0)


def effective_rank(eigenvalues: Array) -> float | None:
    """exp of the entropy of the normalised singular values √λ (Roy & Vetterli 2007), 1 to p; None without variance."""
    sigma = np.sqrt(eigenvalues[eigenvalues > 0])
    if not len(sigma):
        return None
    share = sigma / sigma.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def stable_rank(eigenvalues: Array) -> float | None:
    """‖Φ‖_F²/‖Φ‖₂² = Σλ/λ₁ of the centred features (Rudelson & Vershynin 2007), 1 to p; None without variance."""
    return float(eigenvalues.sum() / eigenvalues[0]) if eigenvalues[0] > 0 else None
