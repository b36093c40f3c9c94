"""Alignment: how alike the kernel of the features is to the kernels of targets and outputs."""

from __future__ import annotations

import numpy as np

from onnxrich.metrics.base import Metric, Sample
from onnxrich.metrics.richness import compute_richness
from onnxrich.moments.matrix import BlockName
from onnxrich.moments.precision import EPS


def kernel_target_alignment(sample: Sample) -> float | None:
    """tr(HKH·YYᵀ)/(‖HKH‖_F ‖HYYᵀH‖_F), 0 to 1.

    Source: Cristianini et al. 2001, centred as in Cortes, Mohri & Rostamizadeh 2012.
    Unlike D_LR it weighs the targets by their size, and does not depend on the outputs of the model.
    """
    return _linear_cka(sample, "targets") if sample.moments.K else None


def cka_outputs(sample: Sample) -> float | None:
    """Linear CKA of features and outputs (Kornblith et al. 2019), 0 to 1. Unlike D_LR it weighs the outputs by size."""
    return _linear_cka(sample, "outputs")


def _linear_cka(sample: Sample, block: BlockName) -> float | None:
    # tr(HKH·HLH) = ‖C_φg‖_F² and ‖HLH‖_F = ‖C_gg‖_F for the kernel L of g.
    scatter = sample.moments.centered(block, block)
    squared_mean = sample.moments.n * float(np.sum(sample.moments.mean(block) ** 2))
    is_constant = float(np.trace(scatter)) <= (8 * EPS["float64"]) ** 2 * squared_mean
    if is_constant or not sample.cached(compute_richness).features_vary:
        return None
    scale = float(np.sqrt(sample.squared_norm) * np.linalg.norm(scatter))
    return float(min(1.0, np.sum(sample.cross(block) ** 2) / scale)) if scale > 0 else None


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
