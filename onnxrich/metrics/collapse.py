"""Neural collapse (Papyan, Han & Donoho 2020), with the variants of Zhu et al. 2021, from the moment matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxrich.errors import Notice
from onnxrich.metrics.base import Metric, Sample
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import GRAM_FLOOR

# Definitions average over classes as if each had the same number of rows; beyond this ratio a notice says so.
BALANCED = 2.0


@dataclass(frozen=True, eq=False)
class Classes:
    """Classes that occur.

    Attributes:
        index: which of the K classes they are.
        counts: rows of each, float64 array of shape (k,).
        means: class means less the mean of all rows, float64 array of shape (p, k).
        size: root of the features' mean square about their mean.
    """

    index: np.ndarray[tuple[int], np.dtype[np.int64]]
    counts: Array
    means: Array
    size: float

    @property
    def distinct(self) -> bool:
        """Whether there are at least two class means, and they differ by more than rounding."""
        norms = np.linalg.norm(self.means, axis=0)
        return len(self.counts) > 1 and self.size > 0 and bool(norms.max() > GRAM_FLOOR**2 * self.size)


def classes(sample: Sample) -> Classes | None:
    """The classes of a sample with class labels, None of any other."""
    moments = sample.moments
    if moments.targets != "classes" or moments.n == 0:
        return None
    counts = moments.n * moments.mean("targets")
    present = np.flatnonzero(counts > 1e-9 * moments.n)
    # C_φy[:, c] = Σ_{i in c} (φ_i − mean) = n_c (μ_c − mean): the centred class sums, without cancellation of the mean.
    means = sample.cross("targets")[:, present] / counts[present]
    return Classes(present, counts[present], means, float(np.sqrt(np.trace(sample.scatter) / moments.n)))


def nc1(sample: Sample) -> float | None:
    """Within-class variability tr(Σ_W Σ_B⁺)/K over the classes that occur; 0 = collapsed. None where it is undefined.

    Source: Papyan, Han & Donoho 2020, NC1. Σ_W is the average over samples of the scatter about the class means, Σ_B
    the average over classes of the scatter of the class means about the global mean.
    It is undefined without class labels, and with fewer than two distinct class means.
    """
    found = sample.once(classes)
    if found is None or not found.distinct:
        return None
    # Σ_B = means·meansᵀ/K; its pseudo-inverse from the thin SVD of the p × K matrix of class means.
    u, s, _ = np.linalg.svd(found.means, full_matrices=False)
    keep = s > GRAM_FLOOR * max(float(s[0]), found.size * GRAM_FLOOR)
    if not keep.any():
        return None
    directions = u[:, keep] / s[keep]
    # Σ_W = (C_φφ − Σ_c n_c μ_c μ_cᵀ)/n, applied to the directions without forming it.
    between = (found.means * found.counts) @ (found.means.T @ directions)
    within = (sample.scatter @ directions - between) / sample.moments.n
    return max(0.0, float(np.sum(directions * within)))


def nc1_unscaled(sample: Sample) -> float | None:
    """tr(Σ_W Σ_B⁺), not divided by the number of classes: as the notebook of Papyan, Han & Donoho 2020 has it."""
    found, value = sample.once(classes), sample.once(nc1)
    return None if found is None or value is None else value * len(found.counts)


def nc2_equinorm(sample: Sample) -> float | None:
    """Std_c ‖μ_c − μ‖ / Avg_c ‖μ_c − μ‖: 0 when all class means are equally far from the global mean (ibid., NC2)."""
    found = sample.once(classes)
    if found is None or not found.distinct:
        return None
    norms = np.linalg.norm(found.means, axis=0)
    return float(norms.std() / norms.mean())


def nc2_equiangle(sample: Sample) -> float | None:
    """Avg_{c≠c'} |cos(μ_c − μ, μ_c' − μ) + 1/(K−1)|: 0 at the equal, largest angles of a simplex (ibid., NC2)."""
    cosines = sample.once(_cosines)
    return None if cosines is None else float(np.abs(cosines[0] + 1 / (cosines[1] - 1)).mean())


def nc2_angle_spread(sample: Sample) -> float | None:
    """Std_{c≠c'} cos(μ_c − μ, μ_c' − μ): 0 when all angles are equal, whatever they are (ibid., NC2)."""
    cosines = sample.once(_cosines)
    return None if cosines is None else float(cosines[0].std())


def nc3(sample: Sample) -> float | None:
    """‖W/‖W‖_F − Mᵀ/‖M‖_F‖_F, M the centred class means: 0 when the head's rows are the class means (ibid., NC3)."""
    pair = sample.once(_dual)
    if pair is None:
        return None
    weight, means = pair
    return float(np.linalg.norm(weight / np.linalg.norm(weight) - means.T / np.linalg.norm(means)))


def nc2_zhu(sample: Sample) -> float | None:
    """‖WWᵀ/‖WWᵀ‖_F − E‖_F, E = (I − 11ᵀ/K)/√(K−1): 0 when the head's rows are a simplex (Zhu et al. 2021, NC2)."""
    pair = sample.once(_dual)
    return None if pair is None else _simplex_distance(pair[0] @ pair[0].T)


def nc3_zhu(sample: Sample) -> float | None:
    """‖WM/‖WM‖_F − E‖_F, E = (I − 11ᵀ/K)/√(K−1), M the centred class means (Zhu et al. 2021, NC3)."""
    pair = sample.once(_dual)
    return None if pair is None else _simplex_distance(pair[0] @ pair[1])


def notices(sample: Sample) -> list[Notice]:
    """What a reader of these metrics should know."""
    found = sample.once(classes)
    if found is None:
        return []
    if not found.distinct:
        return [Notice("nc1_undefined", "NC1 needs at least two classes whose mean features differ.")]
    ratio = found.counts.max() / found.counts.min()
    if ratio <= BALANCED:
        return []
    message = (
        f"The largest class has {ratio:.1f} times as many rows as the smallest: NC1, NC2 and NC3 are defined for "
        "balanced classes, and all else weighs a class by its rows."
    )
    return [Notice("imbalanced_classes", message)]


def _cosines(sample: Sample) -> tuple[Array, int] | None:
    """Cosines between all pairs of class means, and the number of classes."""
    found = sample.once(classes)
    if found is None or not found.distinct:
        return None
    norms = np.linalg.norm(found.means, axis=0)
    if norms.min() <= GRAM_FLOOR**2 * found.size:
        return None
    unit = found.means / norms
    return (unit.T @ unit)[np.triu_indices(len(norms), 1)], len(norms)


def _dual(sample: Sample) -> tuple[Array, Array] | None:
    """The head's rows and the class means of the classes that occur; None where they don't correspond."""
    found, weight = sample.once(classes), sample.weight
    if found is None or weight is None or not found.distinct or len(weight) != sample.moments.K:
        return None
    chosen = weight[found.index]
    return (chosen, found.means) if chosen.any() else None


def _simplex_distance(gram: Array) -> float | None:
    k, norm = len(gram), float(np.linalg.norm(gram))
    simplex = (np.eye(k) - 1 / k) / np.sqrt(k - 1)
    return float(np.linalg.norm(gram / norm - simplex)) if norm > 0 else None


METRICS = (
    Metric(
        "nc1", "collapse", "neural collapse: variation within classes over variation between them; 0 = collapsed", nc1,
        "positive",
    ),
    Metric("nc1_unscaled", "collapse", "NC1 not divided by the number of classes", nc1_unscaled, "positive", False),
    Metric(
        "nc2_equinorm", "collapse", "spread of the class means' norms over their average; 0 = all equal", nc2_equinorm,
        "positive",
    ),
    Metric(
        "nc2_equiangle", "collapse", "distance of the class means' angles from those of a simplex; 0 = a simplex",
        nc2_equiangle, "positive",
    ),
    Metric(
        "nc2_angle_spread", "collapse", "spread of the angles' cosines between class means; 0 = all equal",
        nc2_angle_spread, "positive", False,
    ),
    Metric(
        "nc2_zhu", "collapse", "distance of the head's weights from a simplex; 0 = a simplex", nc2_zhu, "fact", False,
        beyond=True, by_number=True,
    ),
    Metric(
        "nc3", "collapse", "distance of the head's weights from the class means; 0 = self-dual", nc3, "positive",
        beyond=True, by_number=True,
    ),
    Metric(
        "nc3_zhu", "collapse", "distance of the products of weights and class means from a simplex; 0 = a simplex",
        nc3_zhu, "positive", False, beyond=True, by_number=True,
    ),
)  # fmt: skip
