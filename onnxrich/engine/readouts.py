"""Decisions of simple readouts of the features, counted in the graph by a second pass over the data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from onnxrich.data.source import Source
from onnxrich.engine.batches import Batches
from onnxrich.engine.prepared import PreparedModel, build_feed, open_session
from onnxrich.metrics.base import Block, Sample
from onnxrich.metrics.readouts import READOUTS
from onnxrich.model.patch.decisions import build_decision_patch
from onnxrich.moments.matrix import Array
from onnxrich.progress import Listener, Progress


def count_decisions(
    prepared: PreparedModel, source: Source, sample: Sample, *, size: int, batches_per_product: int, listen: Listener
) -> Sample:
    """Count the decisions of readouts in each block of a sample.

    The sample is returned unchanged where its outputs are no classes, or the data can be read only once.

    Args:
        prepared: the model as the first pass ran it.
        source: the rows of the first pass.
        sample: the moments of the first pass.
        size: samples in a batch.
        batches_per_product: number of consecutive batches that went to the same block.
        listen: gets the progress.

    Raises:
        ModelError: when the runtime fails on a batch.
    """
    readouts = {name: fit(sample) for name, fit in READOUTS.items()}
    linear_maps = {name: (readout.weight, readout.bias) for name, readout in readouts.items() if readout is not None}
    if source.n is None or not sample.moments.has_accuracy or not linear_maps:
        return sample
    plan = prepared.plan
    patch = build_decision_patch(
        prepared.model, prepared.head, list(linear_maps.values()), K=plan.target_width, classes=plan.classes,
        masked=plan.has_weights, mask=plan.mask, by_row=plan.by_row,
    )  # fmt: skip
    prepared.session.close()  # memory may not hold two
    session = open_session(prepared.model, patch.data, device=replace(prepared.session.device, lanes=1))
    blocks = sample.blocks or (Block(sample.moments),)
    counts, samples = np.zeros((len(blocks), 1 + 2 * len(linear_maps))), 0
    with Batches(source, size) as batches:
        for number, batch in enumerate(batches):
            # The blocks of the first pass, so that all metrics leave out the same rows together.
            block = number // batches_per_product % len(blocks)
            counts[block] += session.run([patch.counts], build_feed(patch, plan, batch))[0][:, 0]
            samples += batch.rows
            listen(Progress("counting decisions", samples, source.n))
    return replace(
        sample,
        blocks=tuple(
            replace(block, decisions=_decisions_by_metric(linear_maps, row), decided_rows=float(row[0]))
            for block, row in zip(blocks, counts, strict=True)
        ),
    )


def _decisions_by_metric(names: Iterable[str], counts: Array) -> dict[str, float]:
    """Number of rows by metric.

    Args:
        names: names of the readouts.
        counts: number of all rows, then for each readout the rows that it decides correctly, and those in which it
            agrees with the model.
    """
    pairs = dict(zip(names, counts[1:].reshape(-1, 2).tolist(), strict=True))
    decisions = {f"{name}_accuracy": correct for name, (correct, _) in pairs.items()}
    if "nearest_mean" not in pairs:
        return decisions
    return decisions | {"nc4": float(counts[0]) - pairs["nearest_mean"][1]}
