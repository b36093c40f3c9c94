"""One pass over the data: from a model and a source to the moments of its head."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from onnxrich import rewrite, session
from onnxrich.errors import DataError, HeadError
from onnxrich.head import Head, allowed_residual, measure, residual
from onnxrich.metrics.richness import from_moments
from onnxrich.model import Model
from onnxrich.moments import Array, Moments, TargetKind, one_hot
from onnxrich.progress import Listener, Progress
from onnxrich.session import Accumulator, Session
from onnxrich.sources.base import AnyArray, Batch, Source, not_finite
from onnxrich.sources.prefetch import prefetch

# The share of the time that looking at the running result may take, and the seconds between two looks at least.
LOOK_SHARE, LOOK_SECONDS = 0.01, 0.5


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass over the data gave."""

    head: Head
    moments: Moments
    residual: float | None
    rows_kind: str
    samples: int
    batch_size: int
    classes: int | None
    providers: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class _Plan:
    """How batches are formed: their size, whether it is fixed by the model, and what becomes of the labels."""

    size: int
    fixed: bool
    K: int
    targets: TargetKind | None


def run(
    model: Model, head: Head, source: Source, *, batch_size: int | None, device: session.Choice, listen: Listener
) -> Pass:
    """Run a model over a source and accumulate the moments of its head.

    Raises:
        DataError: when the source is empty or holds what the model or the moments can't take.
        HeadError: when the head is not what its constants say.
        ModelError: when the runtime refuses the model or fails.
    """
    size, fixed = _batch_size(model, batch_size)
    with _Batches(source, size) as batches:
        first = batches.peek()
        if head.p is None:
            listen(Progress("measuring the chosen tensors"))
            head = _measured(model, head, _padded(first, size) if fixed else first, device)
        K, kind = _targets(head, source, first)
        plan = _Plan(size, fixed, K, kind)
        counts = Moments.empty(head.p or 0, head.C or 0, K, targets=kind).has_accuracy
        patch = rewrite.instrument(model, head, K=K, counts=counts, masked=fixed)
        listen(Progress(f"loading the model on {device.device}"))
        live = Session([model.data, patch.data], folder=model.folder, device=device.device, name=model.path)
        features, outputs = _probe(live, patch, plan, first)
        distance = _verify(head, features, outputs)
        rows = len(features) // first.rows
        shift = _pilot(features, outputs, first, plan)
        accumulator = live.accumulate(patch, shift)

        dtype = head.affine.dtype if head.affine else "float32"
        zero = Moments.empty(
            features.shape[1], outputs.shape[1], K, targets=kind, dtype=dtype, residual=distance or 0.0
        )

        def moments() -> Moments:
            sums = accumulator.read()
            return replace(zero, matrix=patch.matrix(sums), shift=shift, correct=patch.correct(sums))

        start = time.perf_counter()
        samples = _accumulate(accumulator, patch, plan, batches, source, moments, listen)
        total = moments()
        seconds = time.perf_counter() - start
    _check_finite(total, batches)
    kind_of_rows = "sample" if rows == 1 else "token" if head.features.axes.last else "position"
    classes = total.K if kind == "classes" else None
    return Pass(head, total, distance, kind_of_rows, samples, size, classes, live.providers, seconds)


class _Batches:
    """The batches of a source, read ahead, with a look at the first one and at where values stop being finite."""

    def __init__(self, source: Source, size: int) -> None:
        self.first_not_finite: str | None = None
        self._stream = prefetch(self._watched(source.batches(size)))

    def __enter__(self) -> _Batches:
        return self

    def __exit__(self, *_: object) -> None:
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()

    def peek(self) -> Batch:
        """The first batch, which is still to come."""
        first = next(self._stream, None)
        if first is None:
            raise DataError("no rows in the data", "at least one row", "Pass data with rows.")
        stream = self._stream
        self._stream = chain([first], stream)
        return first

    def __iter__(self) -> Iterator[Batch]:
        return self._stream

    def _watched(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        start = 0
        for batch in batches:
            if self.first_not_finite is None:
                self.first_not_finite = _where_not_finite(batch, start)
            start += batch.rows
            yield batch


def _where_not_finite(batch: Batch, start: int) -> str | None:
    for name, array in batch.inputs.items():
        row = not_finite(array)
        if row is not None:
            return f"input {name!r} is not finite in row {start + row}"
    row = not_finite(batch.labels) if batch.labels is not None else None
    return None if row is None else f"the label of row {start + row} is not finite"


def _batch_size(model: Model, asked: int | None) -> tuple[int, bool]:
    """The size of a batch, and whether the model fixes it."""
    fixed = [entry.shape[0] for entry in model.inputs if entry.shape and isinstance(entry.shape[0], int)]
    free = [entry for entry in model.inputs if entry.shape and not isinstance(entry.shape[0], int)]
    if fixed and not free:
        return int(fixed[0]), True
    if asked is not None:
        return asked, False
    # As many rows as fit into 8 MiB of input: enough to fill two cores, little enough to stay out of memory's way.
    row = sum(_row_bytes(entry.shape, entry.dtype) for entry in free)
    return int(2 ** np.clip(np.floor(np.log2(2**23 / max(row, 1))), 3, 9)), False


def _row_bytes(shape: tuple[int | str | None, ...] | None, dtype: np.dtype[np.generic] | None) -> int:
    sizes = [size if isinstance(size, int) else 64 for size in (shape or ())[1:]]
    return int(np.prod(sizes, dtype=np.int64)) * (dtype.itemsize if dtype is not None else 4)


def _targets(head: Head, source: Source, first: Batch) -> tuple[int, TargetKind | None]:
    if first.labels is None:
        return 0, None
    assert head.C is not None  # noqa: S101 - measured above
    K = max(head.C, 2, source.classes or 0) if first.labels.ndim == 1 and first.labels.dtype.kind in "biu" else None
    table, kind = one_hot(first.labels, C=head.C, K=K)
    return (0 if table is None else table.shape[1]), kind


def _measured(model: Model, head: Head, first: Batch, device: session.Choice) -> Head:
    patch = rewrite.expose(model, head)
    live = Session([model.data, patch], folder=model.folder, device=device.device, name=model.path)
    mark = rewrite.prefix(model)
    features, outputs = live.run([f"{mark}features", f"{mark}outputs"], first.inputs)
    return measure(head, features.shape, outputs.shape)


def _feed(patch: rewrite.Patch, plan: _Plan, batch: Batch) -> dict[str, AnyArray]:
    """What the patched model takes for a batch; padded where the model fixes the batch size."""
    weights = np.ones((plan.size if plan.fixed else batch.rows, 1))
    weights[batch.rows :] = 0.0
    padded = _padded(batch, plan.size) if plan.fixed else batch
    feed = {**padded.inputs, patch.weights: weights}
    if patch.targets is not None:
        table, _ = one_hot(padded.labels, C=1, K=plan.K if plan.targets == "classes" else None)
        assert table is not None  # noqa: S101 - the plan has targets
        feed[patch.targets] = table
    return feed


def _padded(batch: Batch, size: int) -> Batch:
    """The batch with its last row repeated up to a size."""
    index = np.minimum(np.arange(size), batch.rows - 1)
    inputs = {name: array[index] if array.ndim else array for name, array in batch.inputs.items()}
    return replace(batch, inputs=inputs, labels=None if batch.labels is None else batch.labels[index], rows=size)


def _probe(live: Session, patch: rewrite.Patch, plan: _Plan, first: Batch) -> tuple[Array, Array]:
    """Features and outputs of the first batch, as the head's rows."""
    zeros = {name: np.zeros(shape) for name, shape in zip(patch.accumulators, patch.shapes, strict=True)}
    feed = _feed(patch, plan, first) | zeros | {patch.shift: np.zeros((1, patch.edges[-1]))}
    features, outputs = live.run([patch.features, patch.outputs], feed)
    rows = len(features) if not plan.fixed else len(features) // plan.size * first.rows
    return features[:rows], outputs[:rows]


def _verify(head: Head, features: Array, outputs: Array) -> float | None:
    distance = residual(head, features, outputs)
    finite = np.isfinite(features).all() and np.isfinite(outputs).all()
    if distance is not None and finite and not distance <= allowed_residual(head):
        raise HeadError(
            f"the outputs differ from Wφ + b by {distance:.1e} of their size for {head.label}",
            f"a head that its own constants explain to {allowed_residual(head):.1e}",
            "Pass --features NAME and --outputs NAME to choose the tensors yourself.",
        )
    return distance if finite else None


def _pilot(features: Array, outputs: Array, first: Batch, plan: _Plan) -> Array:
    """The shift about which moments are summed: the mean of the first rows; zero for the one and for classes."""
    targets = np.zeros(plan.K)
    if plan.targets == "values":
        table, _ = one_hot(first.labels, C=1)
        targets = np.zeros(plan.K) if table is None else table.mean(axis=0)
    shift = np.concatenate([[0.0], features.mean(axis=0), outputs.mean(axis=0), targets])
    return np.where(np.isfinite(shift), shift, 0.0)


def _accumulate(
    accumulator: Accumulator,
    patch: rewrite.Patch,
    plan: _Plan,
    batches: _Batches,
    source: Source,
    moments: Callable[[], Moments],
    listen: Listener,
) -> int:
    start = look = time.perf_counter()
    pause, rows, d_lr = LOOK_SECONDS, 0, None
    for batch in batches:
        accumulator.add(_feed(patch, plan, batch))
        rows += batch.rows
        now = time.perf_counter()
        if now - look >= pause:
            running = moments()
            _check_finite(running, batches)
            d_lr = from_moments(running).d_lr
            look = time.perf_counter()
            pause = max(LOOK_SECONDS, (look - now) / LOOK_SHARE)
            listen(Progress("running", rows, source.n, rows / (look - start), d_lr))
    return rows


def _check_finite(moments: Moments, batches: _Batches) -> None:
    if np.isfinite(moments.matrix).all():
        return
    diagonal = np.diag(moments.matrix)
    blocks = {"features": diagonal[1 : 1 + moments.p], "outputs": diagonal[1 + moments.p :]}
    where = next((name for name, part in blocks.items() if not np.isfinite(part).all()), "features")
    cause = batches.first_not_finite
    raise DataError(
        f"the {where} hold NaN or infinity" + (f": {cause}" if cause else ", though the inputs are finite"),
        "finite numbers",
        "Mend or leave out these rows." if cause else "The model overflows on these data: check their scale.",
    )
