"""A second pass over the data: what simple readouts of the features decide, counted in the graph."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxrich.batching import Batches
from onnxrich.feeding import feed
from onnxrich.live import Live, open_session
from onnxrich.metrics import Sample
from onnxrich.metrics.readouts import READOUTS
from onnxrich.progress import Listener, Progress
from onnxrich.rewrite.judge import judge
from onnxrich.sources.base import Source


def decisions(live: Live, source: Source, sample: Sample, *, size: int, listen: Listener) -> Mapping[str, float]:
    """Shares of rows by name of the metric; none where outputs and classes don't correspond, or data are read but once.

    Args:
        live: the model, as the first pass ran it.
        source: the rows of the first pass.
        sample: what it found of them.
        size: samples a run.
        listen: hears of the progress.

    Raises:
        ModelError: when the runtime fails on a batch.
    """
    made = {name: make(sample) for name, make in READOUTS.items()}
    chosen = {name: (readout.weight, readout.bias) for name, readout in made.items() if readout is not None}
    if source.n is None or not sample.moments.has_accuracy or not chosen:
        return {}
    plan = live.plan
    patch = judge(
        live.model, live.head, list(chosen.values()), K=plan.K, masked=plan.counts, mask=plan.mask, by_row=plan.by_row
    )
    session = open_session(live.model, patch.data, live.session.device)
    total, samples = np.zeros(1 + 2 * len(chosen)), 0
    with Batches(source, size) as batches:
        for batch in batches:
            total += session.run([patch.counts], feed(patch, plan, batch))[0][:, 0]
            samples += batch.rows
            listen(Progress("counting decisions", samples, source.n))
    shares = total[1:].reshape(-1, 2) / total[0]
    found = dict(zip(chosen, shares.tolist(), strict=True))
    return {
        **({"nc4": 1 - found["nearest_mean"][1]} if "nearest_mean" in found else {}),
        **{f"{name}_accuracy": right for name, (right, _) in found.items()},
    }
