"""How alike the features' kernel is to that of the targets and to that of the outputs."""

from __future__ import annotations

import numpy as np

from onnxrich.metrics import richness
from onnxrich.metrics.base import Metric, Sample
from onnxrich.moments.matrix import BlockName
from onnxrich.moments.precision import EPS


def kernel_target_alignment(sample: Sample) -> float | None:
    """tr(HKH·YYᵀ)/(‖HKH‖_F ‖HYYᵀH‖_F), 0 to 1.

    Source: Cristianini et al. 2001, centred as in Cortes, Mohri & Rostamizadeh 2012.
    Unlike D_LR it weighs the targets by their size, and does not ask what the model puts out.
    """
    return _cka(sample, "targets") if sample.moments.K else None


def cka_outputs(sample: Sample) -> float | None:
    """Linear CKA of features and outputs (Kornblith et al. 2019), 0 to 1; unlike D_LR it weighs the outputs by size."""
    return _cka(sample, "outputs")


def _cka(sample: Sample, block: BlockName) -> float | None:
    # tr(HKH·HLH) = ‖C_φg‖_F² and ‖HLH‖_F = ‖C_gg‖_F for the kernel L of g.
    own = sample.moments.centered(block, block)
    mean = sample.moments.n * float(np.sum(sample.moments.mean(block) ** 2))
    constant = float(np.trace(own)) <= (8 * EPS["float64"]) ** 2 * mean
    if constant or sample.once(richness.measured).participation_ratio is None:
        return None
    scale = float(np.sqrt(sample.squared_norm) * np.linalg.norm(own))
    return float(min(1.0, np.sum(sample.cross(block) ** 2) / scale)) if scale > 0 else None


METRICS = (
    Metric(
        "kernel_target_alignment", "alignment", "likeness of the features' kernel and the targets'; 1 = the same",
        kernel_target_alignment, "share",
    ),
    Metric(
        "cka_outputs", "alignment", "likeness of the features' kernel and the outputs' (linear CKA); 1 = the same",
        cka_outputs, "share",
    ),
)  # fmt: skip
