"""Alignment: how alike the kernel of the features is to the kernels of targets and outputs."""

from __future__ import annotations

import numpy as np

from onnxrich.metrics.base import Metric, Sample, inner_product
from onnxrich.metrics.richness import compute_richness
from onnxrich.moments.matrix import BlockName
from onnxrich.moments.precision import EPS


def kernel_target_alignment(sample: Sample) -> float | None:
    """tr(HKH·YYᵀ)/(‖HKH‖_F ‖HYYᵀH‖_F), 0 to 1.

    Source: Cristianini et al. 2001, centred as in Cortes, Mohri & Rostamizadeh 2012.
    Unlike D_LR it weighs the targets by their size, and does not depend on the outputs of the model.
    """
    if not sample.moments.K:
        return None
    scatter = sample.moments.centered("targets", "targets")
    cross = sample.target_cross
    squares = inner_product(scatter, scatter), inner_product(cross, cross)
    return _linear_cka(sample, "targets", square=squares[0], cross_square=squares[1])


def cka_outputs(sample: Sample) -> float | None:
    """Linear CKA of features and outputs (Kornblith et al. 2019), 0 to 1. Unlike D_LR it weighs the outputs by size."""
    moments, basis = sample.moments, sample.basis
    if basis is None or basis.output_weight is None:
        scatter, cross = (moments.centered(block, "outputs") for block in ("outputs", "features"))
        squares = inner_product(scatter, scatter), inner_product(cross, cross)
    else:
        # With f = Wφ + b, C_φf = CWᵀ and C_ff = WCWᵀ: ‖C_φf‖² = ⟨CG, C⟩ and ‖C_ff‖² = ⟨CG, (CG)ᵀ⟩, G = WᵀW.
        product = sample.scatter @ basis.gram
        squares = inner_product(product, product.T), inner_product(product, sample.scatter)
    return _linear_cka(sample, "outputs", square=squares[0], cross_square=squares[1])


def _linear_cka(sample: Sample, block: BlockName, *, square: float, cross_square: float) -> float | None:
    """Linear CKA of the features and a block g, given ‖C_gg‖_F² and ‖C_φg‖_F²; None if one does not vary."""
    # tr(HKH·HLH) = ‖C_φg‖_F² and ‖HLH‖_F = ‖C_gg‖_F for the kernel L of g.
    moments = sample.moments
    variance = sample.output_variance if block == "outputs" else float(moments.variances(block).sum())
    squared_mean = float(np.sum(moments.mean(block) ** 2))
    is_constant = variance <= (8 * EPS["float64"]) ** 2 * squared_mean
    if is_constant or not sample.cached(compute_richness).features_vary:
        return None
    scale = float(np.sqrt(sample.squared_norm) * np.sqrt(max(square, 0.0)))
    return float(min(1.0, cross_square / scale)) if scale > 0 else None


METRICS = (
    Metric(
        "kernel_target_alignment", "alignment", "likeness of the features' kernel and the targets'; 1 = the same",
        compute=kernel_target_alignment, scale="share",
    ),
    Metric(
        "cka_outputs", "alignment", "likeness of the features' kernel and the outputs' (linear CKA); 1 = the same",
        compute=cka_outputs, scale="share",
    ),
)  # fmt: skip
