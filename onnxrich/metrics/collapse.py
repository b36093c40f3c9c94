"""Neural collapse (Papyan, Han & Donoho 2020), with the variants of Zhu et al. 2021, from the moment matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxrich.errors import Notice
from onnxrich.metrics.base import Metric, Sample
from onnxrich.moments.matrix import Array
from onnxrich.moments.precision import GRAM_FLOOR

# Definitions average over classes as if each had the same number of rows. Beyond this ratio a notice says so.
BALANCED = 2.0


@dataclass(frozen=True, eq=False)
class ClassMeans:
    """Means of the features over the classes that occur.

    Attributes:
        index: numbers of these classes among the K classes, int64 array of shape (k,).
        counts: rows of each, float64 array of shape (k,).
        means: class means less the mean of all rows, float64 array of shape (p, k).
        size: root of the features' mean square about their mean.
    """

    index: np.ndarray[tuple[int], np.dtype[np.int64]]
    counts: Array
    means: Array
    size: float

    @property
    def are_distinct(self) -> bool:
        """Whether there are at least two class means, and they differ by more than rounding."""
        norms = np.linalg.norm(self.means, axis=0)
        return len(self.counts) > 1 and self.size > 0 and bool(norms.max() > GRAM_FLOOR**2 * self.size)


def class_means(sample: Sample) -> ClassMeans | None:
    """Class means of a sample; None without class labels."""
    moments = sample.moments
    if moments.targets != "classes" or moments.n == 0:
        return None
    counts = moments.n * moments.mean("targets")
    present = np.flatnonzero(counts > 1e-9 * moments.n)
    index = moments.target_numbers[present]
    # C_φy[:, c] = Σ_{i in c} (φ_i − mean) = n_c (μ_c − mean): the centred class sums, without cancellation of the mean.
    means = sample.target_cross[:, present] / counts[present]
    return ClassMeans(index, counts[present], means, float(np.sqrt(np.trace(sample.scatter) / moments.n)))


def distinct_class_means(sample: Sample) -> ClassMeans | None:
    """Class means of a sample; None without at least two that differ by more than rounding."""
    classes = sample.cached(class_means)
    return classes if classes is not None and classes.are_distinct else None


def nc1(sample: Sample) -> float | None:
    """Within-class variability tr(Σ_W Σ_B⁺)/K over the classes that occur; 0 = collapsed. None if it is undefined.

    Source: Papyan, Han & Donoho 2020, NC1. Σ_W is the average over samples of the scatter about the class means, Σ_B
    the average over classes of the scatter of the class means about the global mean.
    It is undefined without class labels, and with fewer than two distinct class means.
    """
    classes = sample.cached(distinct_class_means)
    if classes is None:
        return None
    # Σ_B = means·meansᵀ/K. Its pseudo-inverse follows from the thin SVD of the p × K matrix of class means.
    u, s, _ = np.linalg.svd(classes.means, full_matrices=False)
    keep = s > GRAM_FLOOR * max(float(s[0]), classes.size * GRAM_FLOOR)
    if not keep.any():
        return None
    directions = u[:, keep] / s[keep]
    # Σ_W = (C_φφ − Σ_c n_c μ_c μ_cᵀ)/n, applied to the directions without forming it.
    between = (classes.means * classes.counts) @ (classes.means.T @ directions)
    within = (sample.scatter @ directions - between) / sample.moments.n
    return max(0.0, float(np.sum(directions * within)))


def nc1_unscaled(sample: Sample) -> float | None:
    """tr(Σ_W Σ_B⁺), not divided by the number of classes, as in the notebook of Papyan, Han & Donoho 2020."""
    classes, value = sample.cached(distinct_class_means), sample.cached(nc1)
    return None if classes is None or value is None else value * len(classes.counts)


def nc2_equinorm(sample: Sample) -> float | None:
    """Std_c ‖μ_c − μ‖ / Avg_c ‖μ_c − μ‖: 0 if all class means are equally far from the global mean (ibid., NC2)."""
    classes = sample.cached(distinct_class_means)
    if classes is None:
        return None
    norms = np.linalg.norm(classes.means, axis=0)
    return float(norms.std() / norms.mean())


def nc2_equiangle(sample: Sample) -> float | None:
    """Avg_{c≠c'} |cos(μ_c − μ, μ_c' − μ) + 1/(K−1)|: 0 at the equal, largest angles of a simplex (ibid., NC2)."""
    cosines = sample.cached(_cosines)
    if cosines is None:
        return None
    values, K = cosines
    return float(np.abs(values + 1 / (K - 1)).mean())


def nc2_angle_spread(sample: Sample) -> float | None:
    """Std_{c≠c'} cos(μ_c − μ, μ_c' − μ): 0 if all angles are equal, of any size (ibid., NC2)."""
    cosines = sample.cached(_cosines)
    return None if cosines is None else float(cosines[0].std())


def nc3(sample: Sample) -> float | None:
    """‖W/‖W‖_F − Mᵀ/‖M‖_F‖_F, M the centred class means: 0 if the head's rows are the class means (ibid., NC3)."""
    pair = sample.cached(_weight_and_means)
    if pair is None:
        return None
    weight, means = pair
    return float(np.linalg.norm(weight / np.linalg.norm(weight) - means.T / np.linalg.norm(means)))


def nc2_zhu(sample: Sample) -> float | None:
    """‖WWᵀ/‖WWᵀ‖_F − E‖_F, E = (I − 11ᵀ/K)/√(K−1): 0 if the head's rows are a simplex (Zhu et al. 2021, NC2)."""
    pair = sample.cached(_weight_and_means)
    return None if pair is None else _simplex_distance(pair[0] @ pair[0].T)


def nc3_zhu(sample: Sample) -> float | None:
    """‖WM/‖WM‖_F − E‖_F, E = (I − 11ᵀ/K)/√(K−1), M the centred class means (Zhu et al. 2021, NC3)."""
    pair = sample.cached(_weight_and_means)
    return None if pair is None else _simplex_distance(pair[0] @ pair[1])


def collapse_notices(sample: Sample) -> list[Notice]:
    """Warn the reader of these metrics of undefined and of imbalanced classes."""
    classes = sample.cached(class_means)
    if classes is None:
        return []
    if not classes.are_distinct:
        return [Notice("nc1_undefined", "NC1 needs at least two classes whose mean features differ.")]
    ratio = classes.counts.max() / classes.counts.min()
    if ratio <= BALANCED:
        return []
    message = (
        f"The largest class has {ratio:.1f} times as many rows as the smallest: NC1, NC2 and NC3 are defined for "
        "balanced classes, and all other metrics weigh a class by its rows."
    )
    return [Notice("imbalanced_classes", message)]


def _cosines(sample: Sample) -> tuple[Array, int] | None:
    """Cosines between all pairs of class means, and the number of classes."""
    classes = sample.cached(distinct_class_means)
    if classes is None:
        return None
    norms = np.linalg.norm(classes.means, axis=0)
    if norms.min() <= GRAM_FLOOR**2 * classes.size:
        return None
    unit = classes.means / norms
    return (unit.T @ unit)[np.triu_indices(len(norms), 1)], len(norms)


def _weight_and_means(sample: Sample) -> tuple[Array, Array] | None:
    """The head's rows and the class means of the classes that occur; None if they do not correspond."""
    classes, weight = sample.cached(distinct_class_means), sample.weight
    if classes is None or weight is None or len(weight) != sample.moments.K:
        return None
    rows = weight[classes.index]
    means = classes.means if sample.rotation is None else sample.rotation @ classes.means
    return (rows, means) if rows.any() else None


def _simplex_distance(gram: Array) -> float | None:
    K, norm = len(gram), float(np.linalg.norm(gram))
    simplex = (np.eye(K) - 1 / K) / np.sqrt(K - 1)
    return float(np.linalg.norm(gram / norm - simplex)) if norm > 0 else None


METRICS = (
    Metric(
        "nc1", "collapse", "neural collapse: variation within classes over variation between them; 0 = collapsed",
        compute=nc1, scale="positive",
    ),
    Metric(
        "nc1_unscaled", "collapse", "NC1 not divided by the number of classes",
        compute=nc1_unscaled, scale="positive", is_default=False,
    ),
    Metric(
        "nc2_equinorm", "collapse", "spread of the class means' norms over their average; 0 = all equal",
        compute=nc2_equinorm, scale="positive",
    ),
    Metric(
        "nc2_equiangle", "collapse", "distance of the class means' angles from those of a simplex; 0 = a simplex",
        compute=nc2_equiangle, scale="positive",
    ),
    Metric(
        "nc2_angle_spread", "collapse", "spread of the angles' cosines between class means; 0 = all equal",
        compute=nc2_angle_spread, scale="positive", is_default=False,
    ),
    Metric(
        "nc2_zhu", "collapse", "distance of the head's weights from a simplex; 0 = a simplex",
        compute=nc2_zhu, scale="fact", is_default=False, needs_more_than_moments=True, depends_on_numbering=True,
    ),
    Metric(
        "nc3", "collapse", "distance of the head's weights from the class means; 0 = self-dual",
        compute=nc3, scale="positive", needs_more_than_moments=True, depends_on_numbering=True,
    ),
    Metric(
        "nc3_zhu", "collapse", "distance of the products of weights and class means from a simplex; 0 = a simplex",
        compute=nc3_zhu, scale="positive", is_default=False, needs_more_than_moments=True, depends_on_numbering=True,
    ),
)  # fmt: skip
