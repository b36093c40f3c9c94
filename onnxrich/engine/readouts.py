"""A second pass over the data: what simple readouts of the features decide, counted in the graph."""

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
    live: PreparedModel, source: Source, sample: Sample, *, size: int, runs: int, listen: Listener
) -> Sample:
    """The sample, its parts with the decisions of readouts; as it was where outputs and classes don't correspond.

    The same where data can be read but once.

    Args:
        live: the model, as the first pass ran it.
        source: the rows of the first pass.
        sample: what it found of them.
        size: samples a run.
        runs: consecutive batches that went to the same part.
        listen: hears of the progress.

    Raises:
        ModelError: when the runtime fails on a batch.
    """
    made = {name: make(sample) for name, make in READOUTS.items()}
    chosen = {name: (readout.weight, readout.bias) for name, readout in made.items() if readout is not None}
    if source.n is None or not sample.moments.has_accuracy or not chosen:
        return sample
    plan = live.plan
    patch = build_decision_patch(
        live.model, live.head, list(chosen.values()), K=plan.K, masked=plan.counts, mask=plan.mask, by_row=plan.by_row
    )
    live.session.close()  # memory may not hold two
    session = open_session(live.model, patch.data, replace(live.session.device, lanes=1))
    parts = sample.blocks or (Block(sample.moments),)
    counts, samples = np.zeros((len(parts), 1 + 2 * len(chosen))), 0
    with Batches(source, size) as batches:
        for number, batch in enumerate(batches):
            # The rotation of the first pass, so that the same rows are left out of all metrics together.
            counts[number // runs % len(parts)] += session.run([patch.counts], build_feed(patch, plan, batch))[0][:, 0]
            samples += batch.rows
            listen(Progress("counting decisions", samples, source.n))
    return replace(
        sample,
        blocks=tuple(
            replace(part, decisions=_decisions(chosen, row), decided_rows=float(row[0]))
            for part, row in zip(parts, counts, strict=True)
        ),
    )


def _decisions(names: Iterable[str], counts: Array) -> dict[str, float]:
    """Rows by name of the metric, from how many there are, and for each readout those it gets right and agrees in."""
    pairs = dict(zip(names, counts[1:].reshape(-1, 2).tolist(), strict=True))
    found = {f"{name}_accuracy": right for name, (right, _) in pairs.items()}
    return found | ({"nc4": float(counts[0]) - pairs["nearest_mean"][1]} if "nearest_mean" in pairs else {})
