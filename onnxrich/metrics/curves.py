"""The three curves of the visualization: feature quality, utilization and intensity (Nam et al. 2026)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxrich.errors import Notice
from onnxrich.metrics import linalg as _spectra
from onnxrich.metrics.base import Sample
from onnxrich.metrics.linalg import span
from onnxrich.moments.matrix import Array, BlockName, Moments
from onnxrich.moments.precision import EPS

# Functions that are made orthonormal at a time.
_PANEL = 64


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
    return result, _stopped(stop, moments.p)


def curves_on(fitted: Sample, sample: Sample) -> tuple[Curves, list[Notice]]:
    """Curves of a sample over the eigenfunctions of another, and a notice when they stop early.

    The eigenfunctions e_k(x) = φ(x)·v_k/√ρ_k are those of the fitted sample (Nyström). On other rows they are no longer
    orthonormal: they are made so in their order (Gram-Schmidt), so that the curves still rise to at most one and the
    first k span what the first k eigenfunctions span. Intensity is the mean square of φ(x)·v_k on these rows, relative
    to the first.
    """
    spectrum, moments = fitted.once(_spectra.raw), sample.moments
    rho, vectors = spectrum.values[: spectrum.rank], spectrum.vectors[:, : spectrum.rank]
    mean = vectors.T @ moments.mean("features")
    second = vectors.T @ (sample.scatter @ vectors) / moments.n + np.outer(mean, mean)
    # The error of an entry of the Gram matrix: rounding of the largest direction, seen in units of this one.
    noise = 8 * max(moments.p, 100) * EPS["float64"] * np.max(rho, initial=0.0) / rho
    blocks: tuple[BlockName, ...] = ("outputs", "targets") if moments.K else ("outputs",)
    products = [vectors.T @ moments.raw("features", block) / np.sqrt(moments.n * rho)[:, None] for block in blocks]
    inner = orthonormalized(second / np.sqrt(np.outer(rho, rho)), np.hstack(products), noise)
    stop, C = len(inner), moments.C
    utilization, utilization_variance = _shares(moments, "outputs", inner[:, :C])
    quality, quality_variance = _shares(moments, "targets", inner[:, C:]) if moments.K else (None, None)
    size = np.diag(second)[:stop]
    drawn = Curves(
        k=np.arange(1, stop + 1),
        utilization=utilization,
        quality=quality,
        intensity=size / size[0] if stop else size,
        utilization_variance=utilization_variance,
        quality_variance=quality_variance,
    )
    return drawn, _stopped(stop, moments.p)


def orthonormalized(gram: Array, products: Array, noise: Array) -> Array:
    """L⁻¹·products, L the Cholesky factor of a Gram matrix: inner products with the functions made orthonormal.

    Args:
        gram: float64 array of shape (k, k), inner products of functions.
        products: float64 array of shape (k, m), their inner products with others.
        noise: float64 array of shape (k,), the error of each function's norm.

    Returns:
        As many rows as there are functions before the first that adds nothing but noise to those before it.
    """
    rest, result = gram.copy(), products.copy()
    for start in range(0, len(gram), _PANEL):
        stop = min(start + _PANEL, len(gram))
        size = _independent(rest[start:stop, start:stop], noise[start:stop])
        if size:
            own = slice(start, start + size)
            factor = np.linalg.cholesky(rest[own, own])
            result[own] = np.linalg.solve(factor, result[own])
        if start + size < stop:
            return result[: start + size]
        panel = np.linalg.solve(factor, rest[start:stop, stop:])
        rest[stop:, stop:] -= panel.T @ panel
        result[stop:] -= panel.T @ result[start:stop]
    return result


def _independent(gram: Array, noise: Array) -> int:
    """How many functions come before the first whose part that is orthogonal to those before is noise."""
    rest = gram.copy()
    for index in range(len(rest)):
        if not rest[index, index] > noise[index]:
            return index
        later = slice(index + 1, None)
        rest[later, later] -= np.outer(rest[later, index], rest[index, later]) / rest[index, index]
    return len(rest)


def _stopped(stop: int, p: int) -> list[Notice]:
    message = f"The curves stop at k = {stop} of {p}: further eigenvalues of the features are at rounding level."
    return [Notice("curves_stop", message)] if stop < p else []


def _explained(moments: Moments, block: BlockName, rho: Array, vectors: Array) -> tuple[Array, Array]:
    # ⟨e_k|g_j⟩·√n for all k, j: float64 array of shape (k_max, m).
    return _shares(moments, block, vectors.T @ moments.raw("features", block) / np.sqrt(moments.n * rho)[:, None])


def _shares(moments: Moments, block: BlockName, inner: Array) -> tuple[Array, Array]:
    """Cumulative share of the block's span, and of its functions' energy, that the first k eigenfunctions hold."""
    basis = span(moments, block)
    projected = np.square(inner @ basis.coefficients).sum(axis=1) / max(basis.rank, 1)
    energy = np.diag(moments.raw(block, block))
    occurs = energy > 0
    share = np.square(inner[:, occurs]) / energy[occurs]
    variance = share.mean(axis=1) if occurs.any() else np.zeros(len(inner))
    return np.cumsum(projected), np.cumsum(variance)
