"""Fewer features for few rows: n rows fill at most n of p directions, and all metrics follow from these."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from onnxrich._utils.threads import single_threaded_blas
from onnxrich.metrics.base import Sample
from onnxrich.metrics.functions import WORTHWHILE, low_rank_factor, rows_basis
from onnxrich.moments.matrix import Array, Moments


def reduce_features(sample: Sample) -> Sample:
    """The same sample with the features Vᵀφ, V orthonormal directions that contain all rows; itself for many rows.

    No product of features changes, so no metric does. The p × p decompositions of an analysis, which are repeated for
    each block of the jackknife, become n × n.
    """
    moments = sample.moments
    if not 0 < moments.n < WORTHWHILE * moments.p:
        return sample
    with single_threaded_blas(moments.n * len(moments.matrix) ** 2):
        # V contains the shift too: then V·Vᵀφ = φ, not only for differences of rows.
        rotation = rows_basis(moments.shifted("features"), moments.shift[1 : 1 + moments.p])
        return sample if rotation is None else _rotate(sample, rotation)


def _rotate(sample: Sample, rotation: Array) -> Sample:
    moments = sample.moments
    rotated = rotate_features(moments, rotation)
    blocks = [rotate_features(block.moments.about(moments.shift), rotation) for block in sample.blocks]
    reduced = Sample.from_moments(rotated, blocks, weight=sample.weight, parameter_norm=sample.parameter_norm)
    parts = tuple(
        replace(block, decisions=old.decisions, decided_rows=old.decided_rows)
        for block, old in zip(reduced.blocks, sample.blocks, strict=True)
    )
    return replace(reduced, blocks=parts, is_ordered=sample.is_ordered, rotation=rotation)


def rotate_features(moments: Moments, rotation: Array) -> Moments:
    """Moments of the same rows with the features Vᵀφ.

    Args:
        moments: of the rows.
        rotation: V, float64 array of shape (p, m) with orthonormal columns, which span all φ and their shift.
    """
    p, m = rotation.shape
    features, others = slice(1, 1 + p), np.r_[0, 1 + p : len(moments.matrix)]
    products = moments.matrix[features, features]
    # A block has fewer rows still: then its factor is thinner than the matrix.
    factor = low_rank_factor(products) if moments.n < m / 2 else None
    if factor is None:
        square = rotation.T @ products @ rotation
    else:
        turned = rotation.T @ factor
        square = turned @ turned.T
    cross = rotation.T @ moments.matrix[features][:, others]
    kept = np.r_[0, 1 + m : m + len(others)]
    matrix = np.empty((m + len(others),) * 2)
    matrix[1 : 1 + m, 1 : 1 + m] = (square + square.T) / 2
    matrix[1 : 1 + m, kept], matrix[kept, 1 : 1 + m] = cross, cross.T
    matrix[np.ix_(kept, kept)] = moments.matrix[np.ix_(others, others)]
    shift = np.concatenate([[0.0], rotation.T @ moments.shift[features], moments.shift[1 + p :]])
    weight = None if moments.weight is None else moments.weight @ rotation
    return replace(moments, matrix=matrix, shift=shift, p=m, weight=weight)
