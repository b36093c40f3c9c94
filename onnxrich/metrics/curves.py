"""Curves of feature quality, utilization and intensity over the eigenfunctions (Nam et al. 2026)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxrich.metrics.base import Sample
from onnxrich.metrics.linalg import Spectrum, compute_span, raw_spectrum
from onnxrich.moments.matrix import Array, BlockName, Moments
from onnxrich.moments.precision import EPS


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves over the rank k = 1..k_max of the eigenfunctions; each a float64 array of shape (k_max,).

    `utilization`, `quality` and their `_variance` forms are cumulative and never fall. The value of one eigenfunction
    alone is the difference of neighbours, see `individual`. Quality is None without labels.

    Attributes:
        k: int64 array 1..k_max.
        utilization: Π̂(k) = (1/r) Σ_{j≤k} ‖P e_j‖², P the projector onto the span of the outputs, of rank r.
        quality: Π*(k), the same with the span of the targets.
        intensity: ρ_k/ρ₁, the eigenvalues of the feature kernel operator.
        utilization_variance: mean over outputs f_j of Σ_{i≤k} ⟨e_i|f_j⟩²/‖f_j‖².
        quality_variance: the same over the targets.
        stops_at: k_max where it is below p, because further eigenvalues of the features are at rounding level; None
            where the curves reach p.
    """

    k: np.ndarray[tuple[int], np.dtype[np.int64]]
    utilization: Array
    quality: Array | None
    intensity: Array
    utilization_variance: Array
    quality_variance: Array | None
    stops_at: int | None = None

    def individual(self, name: str) -> Array | None:
        """The value of each eigenfunction alone: differences in k of the cumulative curve of that name."""
        curve: Array | None = getattr(self, name)
        return None if curve is None else np.diff(curve, prepend=0.0)


def compute_curves(sample: Sample) -> Curves:
    """Compute the curves of a sample.

    Source: Nam et al. 2026. Eigenpairs ρ_k, v_k of S_φφ/n (uncentred) give the eigenfunctions e_k(x) = φ(x)·v_k/√ρ_k,
    orthonormal on the sample, and ⟨e_k|g⟩ = v_kᵀ S_φg/(n √ρ_k). An eigenvalue at rounding level has no defined
    eigenfunction: the curves stop there.
    """
    spectrum = sample.cached(raw_spectrum)
    products = _eigenfunction_products(sample.moments, spectrum)
    return _assemble(sample.moments, products, spectrum.values[: spectrum.rank])


def compute_curves_on(fitted: Sample, sample: Sample) -> Curves:
    """Compute the curves of a sample over the eigenfunctions of another.

    The eigenfunctions e_k(x) = φ(x)·v_k/√ρ_k are those of the fitted sample (Nyström). On other rows they are no longer
    orthonormal. Gram-Schmidt in their order makes them so: the curves still rise to at most one, and the first k span
    what the first k eigenfunctions span. Intensity is the mean square of φ(x)·v_k on these rows, relative to the first.
    """
    spectrum, moments = fitted.cached(raw_spectrum), sample.moments
    rho, vectors = spectrum.values[: spectrum.rank], spectrum.vectors[:, : spectrum.rank]
    mean = vectors.T @ moments.mean("features")
    second_moments = vectors.T @ (sample.scatter @ vectors) / moments.n + np.outer(mean, mean)
    # The error of an entry of the Gram matrix: rounding of the largest direction, in units of this one.
    noise = 8 * max(moments.p, 100) * EPS["float64"] * np.max(rho, initial=0.0) / rho
    gram = second_moments / np.sqrt(np.outer(rho, rho))
    products = orthonormalize(gram, _eigenfunction_products(moments, spectrum), noise)
    return _assemble(moments, products, np.diag(second_moments)[: len(products)])


def orthonormalize(gram: Array, products: Array, noise: Array) -> Array:
    """L⁻¹·products, L the Cholesky factor of a Gram matrix: inner products with the orthonormalized functions.

    Args:
        gram: float64 array of shape (k, k), inner products of functions.
        products: float64 array of shape (k, m), their inner products with other functions.
        noise: float64 array of shape (k,), the error of each function's squared norm.

    Returns:
        One row for each function before the first that adds nothing but noise to the functions before it.
    """
    from scipy.linalg import solve_triangular
    from scipy.linalg.lapack import dpotrf

    if not len(gram):
        return products
    factor, failed_at = dpotrf(gram, lower=True)
    if failed_at:  # the number of the first function that leaves nothing, counted from 1
        before = slice(0, failed_at - 1)
        return orthonormalize(gram[before, before], products[before], noise[before])
    # The square of a diagonal entry of L is the squared norm of what a function adds to those before it.
    adds_noise = ~(np.diag(factor) ** 2 > noise)
    independent = slice(0, int(adds_noise.argmax()) if adds_noise.any() else len(gram))
    return np.asarray(solve_triangular(factor[independent, independent], products[independent], lower=True))


def _eigenfunction_products(moments: Moments, spectrum: Spectrum) -> Array:
    """⟨e_k|g_j⟩·√n for all outputs, then all targets g_j: float64 array of shape (k_max, C + K)."""
    rho, vectors = spectrum.values[: spectrum.rank], spectrum.vectors[:, : spectrum.rank]
    blocks: tuple[BlockName, ...] = ("outputs", "targets") if moments.K else ("outputs",)
    products = np.hstack([vectors.T @ moments.raw("features", block) for block in blocks])
    return np.asarray(products / np.sqrt(moments.n * rho)[:, None])


def _assemble(moments: Moments, products: Array, sizes: Array) -> Curves:
    """Make the curves.

    Args:
        moments: of the rows.
        products: inner products of orthonormal functions with outputs and targets, float64 array of shape
            (k_max, C + K).
        sizes: mean squares of the features along the functions, float64 array of shape (k_max,).
    """
    stop = len(products)
    utilization, utilization_variance = _explained_shares(moments, "outputs", products[:, : moments.C])
    quality = quality_variance = None
    if moments.K:
        quality, quality_variance = _explained_shares(moments, "targets", products[:, moments.C :])
    return Curves(
        k=np.arange(1, stop + 1),
        utilization=utilization,
        quality=quality,
        intensity=sizes / sizes[0] if stop else sizes,
        utilization_variance=utilization_variance,
        quality_variance=quality_variance,
        stops_at=stop if stop < moments.p else None,
    )


def _explained_shares(moments: Moments, block: BlockName, products: Array) -> tuple[Array, Array]:
    """Cumulative shares of a block's span, and of its functions' energy, that the first k eigenfunctions explain."""
    basis = compute_span(moments, block)
    projected = np.square(products @ basis.coefficients).sum(axis=1) / max(basis.rank, 1)
    energy = np.diag(moments.raw(block, block))
    is_nonzero = energy > 0
    shares = np.square(products[:, is_nonzero]) / energy[is_nonzero]
    variance = shares.mean(axis=1) if is_nonzero.any() else np.zeros(len(products))
    return np.cumsum(projected), np.cumsum(variance)
