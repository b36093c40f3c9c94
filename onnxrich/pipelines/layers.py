"""Metrics, intervals and spectra of hidden layers, from the moments of a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnxrich._utils.threads import single_threaded_blas
from onnxrich.engine.layers import LayerMoments, skipped_notices
from onnxrich.engine.result import PassResult
from onnxrich.errors import DataError, Notice
from onnxrich.metrics.base import Sample
from onnxrich.metrics.jackknife import ENOUGH, estimate_intervals
from onnxrich.metrics.linalg import centered_spectrum
from onnxrich.metrics.magnitude import check_magnitude
from onnxrich.metrics.reduction import reduce_features
from onnxrich.metrics.registry import evaluate
from onnxrich.metrics.richness import ROWS_PER_FEATURE
from onnxrich.metrics.row_order import row_order_ratio
from onnxrich.moments.matrix import Moments
from onnxrich.progress import Listener, Progress, Stage, Timing
from onnxrich.results.layer import METRICS, Layer

# Number of the largest directions whose shares of variance a layer lists.
DIRECTIONS = 64


def evaluate_layers(
    result: PassResult, *, timing: Timing, listen: Listener
) -> tuple[tuple[Layer, ...], tuple[Notice, ...]]:
    """Compute the numbers of the hidden layers of a pass, and of the head's features as the last layer.

    The moments of the layers are read one layer at a time, and their sums are released.

    Args:
        result: the pass.
        timing: gets the seconds.
        listen: gets the progress.

    Returns:
        The layers, in the order in which they run, and notices; both empty where no layers were requested.
    """
    if result.layers is None:
        return (), ()
    listen(Progress(Stage.LAYERS))
    layers, skipped = list[Layer](), list[str]()
    with timing.measure(Stage.LAYERS):
        for layer_moments in result.layers:
            if not layer_moments.is_finite:
                skipped.append(f"{layer_moments.tensor!r}: it holds NaN or infinity")
                continue
            try:
                layers.append(_evaluate_layer(layer_moments, result))
            except DataError as error:  # its size
                skipped.append(f"{layer_moments.tensor!r}: {error.found}")
        layers.append(_evaluate_features(result))
    return tuple(layers), (*skipped_notices(skipped), *_few_rows_notices(layers, result.moments.n))


def _evaluate_layer(layer_moments: LayerMoments, result: PassResult) -> Layer:
    has_blocks = len(result.blocks) > 0
    return to_layer(
        layer_moments.merge_blocks(),
        layer_moments.blocks if has_blocks else (),
        name=layer_moments.tensor,
        scope=layer_moments.scope,
        operator=layer_moments.operator,
        rows=layer_moments.rows,
        has_order=result.rows_kind == "sample",
    )


def _evaluate_features(result: PassResult) -> Layer:
    """The head's features as a layer."""
    return to_layer(
        result.moments,
        result.blocks,
        name=result.head.features.tensor,
        scope="",
        operator="features of the head",
        rows="as the head's",
        has_order=result.rows_kind == "sample",
    )


def to_layer(
    moments: Moments,
    blocks: Sequence[Moments],
    *,
    name: str,
    scope: str,
    operator: str,
    rows: str,
    has_order: bool,
) -> Layer:
    """Compute the numbers of a layer.

    Args:
        moments: moments of all rows: the layer's features, the head's outputs, the targets.
        blocks: blocks of moments that they are the sum of.
        name: name of the tensor.
        scope: module of the exporting framework.
        operator: operators that make the tensor.
        rows: how rows are made of the tensor.
        has_order: whether rows are samples, whose order can be tested.

    Raises:
        DataError: when its features are too large or too small for double precision.
    """
    check_magnitude(moments)
    sample = reduce_features(Sample.from_moments(moments, blocks))
    if has_order and row_order_ratio(sample) is not None:
        sample = replace(sample, is_ordered=True)
    with single_threaded_blas(len(sample.moments.matrix) ** 3):
        metrics, _ = evaluate(sample, METRICS)
        variances = np.clip(sample.cached(centered_spectrum).values, 0, None)
        metric_intervals = estimate_intervals(sample, METRICS)
    has_variance = metrics["participation_ratio"] is not None
    shares = variances[:DIRECTIONS] / variances.sum() if has_variance else variances[:0]
    return Layer(name, scope, operator, rows, moments.p, metrics, metric_intervals, tuple(shares.tolist()))


def _few_rows_notices(layers: Sequence[Layer], n: float) -> list[Notice]:
    few = sum(layer.p * ROWS_PER_FEATURE > n and not _is_precise(layer) for layer in layers)
    if not few:
        return []
    message = (
        f"{few} of {len(layers)} layers have few rows, below {ROWS_PER_FEATURE} a feature: D_LR is biased, more so "
        "in wide layers than in narrow ones: compare their d_lr_debiased, or pass more rows."
    )
    return [Notice("layers_few_rows", message)]


def _is_precise(layer: Layer) -> bool:
    """Whether blocks of rows show that the rows suffice: interval and bias of D_LR are as small as those of a head."""
    d_lr, debiased, interval = layer.metrics["d_lr"], layer.metrics["d_lr_debiased"], layer.intervals.get("d_lr")
    if d_lr is None or debiased is None or interval is None:
        return False
    return abs(d_lr - debiased) <= ENOUGH and interval.half_width <= ENOUGH
