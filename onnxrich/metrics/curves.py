"""Curves of feature quality, utilization and intensity over the eigenfunctions (Nam et al. 2026)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from onnxrich.metrics.base import Sample
from onnxrich.metrics.linalg import Span, Spectrum, compute_span, output_span, raw_spectrum
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
    return _assemble(sample, spectrum, spectrum.values[: spectrum.rank], lambda products: products)


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
    return _assemble(sample, spectrum, np.diag(second_moments), partial(orthonormalize, gram, noise=noise))


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


def _eigenfunction_products(moments: Moments, spectrum: Spectrum, block: BlockName) -> Array:
    """⟨e_k|g_j⟩·√n for all functions g_j of a block: float64 array of shape (k_max, width)."""
    rho, vectors = spectrum.values[: spectrum.rank], spectrum.vectors[:, : spectrum.rank]
    products = vectors.T @ moments.raw("features", block)
    return np.asarray(products / np.sqrt(moments.n * rho)[:, None])


def _assemble(sample: Sample, spectrum: Spectrum, sizes: Array, complete: Callable[[Array], Array]) -> Curves:
    """Make the curves.

    Args:
        sample: the rows.
        spectrum: whose eigenvectors are the functions, up to its rank.
        sizes: mean squares of the features along these functions, float64 array of shape (rank,).
        complete: turns inner products of these functions with others, one row each, into those of the orthonormal
            functions, which may be fewer.
    """
    moments = sample.moments

    def products(part: Moments, block: BlockName) -> Array:
        return complete(_eigenfunction_products(part, spectrum, block))

    of_functions = products(sample.functions, "outputs")
    utilization = _span_shares(output_span(sample), of_functions)
    utilization_variance = _energy_shares(
        ((products(part, "outputs"), _energies(part, "outputs")) for part in moments.split_outputs()), len(of_functions)
    )
    quality = quality_variance = None
    if moments.K:
        of_targets = products(moments, "targets")
        quality = _span_shares(compute_span(moments, "targets"), of_targets)
        quality_variance = _energy_shares([(of_targets, _energies(moments, "targets"))], len(of_targets))
    stop = len(of_functions)
    return Curves(
        k=np.arange(1, stop + 1),
        utilization=utilization,
        quality=quality,
        intensity=sizes[:stop] / sizes[0] if stop else sizes[:stop],
        utilization_variance=utilization_variance,
        quality_variance=quality_variance,
        stops_at=stop if stop < sample.p else None,
    )


def _span_shares(basis: Span, products: Array) -> Array:
    """Cumulative shares of a span that the first k orthonormal functions explain."""
    projected: Array = np.square(products @ basis.coefficients).sum(axis=1) / max(basis.rank, 1)
    return np.cumsum(projected)


def _energies(moments: Moments, block: BlockName) -> Array:
    """Σ g² of each function of a block: float64 array of shape (width,)."""
    energies: Array = moments.n * (moments.variances(block) + moments.mean(block) ** 2)
    return energies


def _energy_shares(parts: Iterable[tuple[Array, Array]], stop: int) -> Array:
    """Cumulative shares of the energy of each function, on average, that the first k orthonormal functions explain.

    Args:
        parts: of the functions: their inner products, float64 array of shape (k_max, width), and their energies.
        stop: k_max.
    """
    total, count = np.zeros(stop), 0
    for products, energy in parts:
        is_nonzero = energy > 0
        total += (np.square(products[:, is_nonzero]) / energy[is_nonzero]).sum(axis=1)
        count += int(is_nonzero.sum())
    return np.cumsum(total / max(count, 1))
