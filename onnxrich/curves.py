"""The three curves of the visualization: feature quality, utilization and intensity (Nam et al. 2026)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxrich.errors import Notice
from onnxrich.metrics import _spectra
from onnxrich.metrics._sample import Sample
from onnxrich.metrics._span import span
from onnxrich.moments import Array, Block, Moments


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves over the rank k = 1..k_max of the eigenfunctions; each a float64 array of shape (k_max,).

    `utilization`, `quality` and their `_variance` forms are cumulative and never fall; the value of one eigenfunction
    alone is the difference of neighbours, see `individual`. Quality is None without labels.

    Attributes:
        k: int64 array 1..k_max.
        utilization: Π̂(k) = (1/r) Σ_{j≤k} ‖P e_j‖², P the projector onto the span of the outputs, of rank r.
        quality: Π*(k), the same with the span of the targets.
        intensity: ρ_k/ρ₁, the eigenvalues of the feature kernel operator.
        utilization_variance: mean over outputs f_j of Σ_{i≤k} ⟨e_i|f_j⟩²/‖f_j‖².
        quality_variance: the same over the targets.
    """

    k: np.ndarray[tuple[int], np.dtype[np.int64]]
    utilization: Array
    quality: Array | None
    intensity: Array
    utilization_variance: Array
    quality_variance: Array | None

    def individual(self, name: str) -> Array | None:
        """The value of each eigenfunction alone: differences in k of the cumulative curve of that name."""
        curve: Array | None = getattr(self, name)
        return None if curve is None else np.diff(curve, prepend=0.0)


def curves(sample: Sample) -> tuple[Curves, list[Notice]]:
    """Curves of a sample, and a notice when they stop before k = p.

    Source: Nam et al. 2026. Eigenpairs ρ_k, v_k of S_φφ/n (uncentred) give the eigenfunctions e_k(x) = φ(x)·v_k/√ρ_k,
    orthonormal on the sample, and ⟨e_k|g⟩ = v_kᵀ S_φg/(n √ρ_k). An eigenvalue at rounding level has no defined
    eigenfunction: the curves stop there.
    """
    moments, spectrum = sample.moments, sample.once(_spectra.raw)
    stop = spectrum.rank
    rho, vectors = spectrum.values[:stop], spectrum.vectors[:, :stop]
    utilization, utilization_variance = _explained(moments, "outputs", rho, vectors)
    quality, quality_variance = _explained(moments, "targets", rho, vectors) if moments.K else (None, None)
    result = Curves(
        k=np.arange(1, stop + 1),
        utilization=utilization,
        quality=quality,
        intensity=rho / rho[0] if stop else rho,
        utilization_variance=utilization_variance,
        quality_variance=quality_variance,
    )
    notices = []
    if stop < moments.p:
        message = (
            f"The curves stop at k = {stop} of {moments.p}: further eigenvalues of the features are at rounding level."
        )
        notices.append(Notice("curves_stop", message))
    return result, notices


def _explained(moments: Moments, block: Block, rho: Array, vectors: Array) -> tuple[Array, Array]:
    """Cumulative share of the block's span, and of its functions' energy, that the first k eigenfunctions hold."""
    # ⟨e_k|g_j⟩·√n for all k, j: float64 array of shape (k_max, m).
    inner = vectors.T @ moments.raw("features", block) / np.sqrt(moments.n * rho)[:, None]
    basis = span(moments, block)
    projected = np.square(inner @ basis.coefficients).sum(axis=1) / max(basis.rank, 1)
    energy = np.diag(moments.raw(block, block))
    occurs = energy > 0
    share = np.square(inner[:, occurs]) / energy[occurs]
    variance = share.mean(axis=1) if occurs.any() else np.zeros(len(rho))
    return np.cumsum(projected), np.cumsum(variance)
