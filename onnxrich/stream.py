"""One pass over the data: from a model and a source to the moments of its head."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxrich import rewrite, session
from onnxrich.batching import Batches, batch_size, padded
from onnxrich.errors import DataError, HeadError
from onnxrich.head import Head, allowed_residual, measure, residual
from onnxrich.metrics.richness import from_moments
from onnxrich.model import Model
from onnxrich.moments import Array, Moments, TargetKind, one_hot
from onnxrich.progress import Listener, Progress
from onnxrich.session import Accumulator, Session
from onnxrich.sources.base import AnyArray, Batch, Source

# The share of the time that looking at the running result may take, and the seconds between two looks at least.
LOOK_SHARE, LOOK_SECONDS = 0.01, 0.5

# The input that says which tokens are padding, by the name that exporters of transformers give it.
USUAL_MASK = "attention_mask"


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass over the data gave."""

    head: Head
    moments: Moments
    residual: float | None
    rows_kind: str
    mask: str | None
    samples: int
    batch_size: int
    classes: int | None
    providers: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Plan:
    """How batches are fed.

    Attributes:
        size: samples in a batch.
        fixed: whether the model fixes that, so that a short batch is padded.
        K: number of targets, 0 without labels.
        targets: their kind.
        by_row: whether labels are classes of tokens or positions; those below zero are left out.
        mask: input of the model that is 0 for rows to be left out.
    """

    size: int
    fixed: bool
    K: int
    targets: TargetKind | None
    by_row: bool = False
    mask: str | None = None

    @property
    def counts(self) -> bool:
        """Whether some rows have weight 0."""
        return self.fixed or self.by_row or self.mask is not None


@dataclass(frozen=True, eq=False)
class _Live:
    """A model that is ready to run, and what its first batch gave."""

    head: Head
    plan: Plan
    patch: rewrite.Patch
    session: Session
    features: Array
    outputs: Array
    shape: tuple[int, ...]


def run(
    model: Model,
    head: Head,
    source: Source,
    *,
    batch: int | None,
    mask: str | None,
    device: session.Choice,
    listen: Listener,
) -> Pass:
    """Run a model over a source and accumulate the moments of its head.

    Raises:
        DataError: when the source is empty or holds what the model or the moments can't take.
        HeadError: when the head is not what its constants say.
        ModelError: when the runtime refuses the model or fails.
    """
    size, fixed = batch_size(model, batch)
    with Batches(source, size) as batches:
        first = batches.peek()
        if head.p is None:
            listen(Progress("measuring the chosen tensors"))
            head = _measured(model, head, padded(first, size) if fixed else first, device)
        K, kind = _targets(head, source, first)
        listen(Progress(f"loading the model on {device.device}"))
        live = _ready(model, head, Plan(size, fixed, K, kind), first, device)
        settled = _settled(live, source, first, mask)
        if settled != (live.head, live.plan):
            # Only a run shows how many rows a sample has: those of tokens may need their mask, or another order.
            live = _ready(model, *settled, first, device)
        distance = _verify(live.head, live.features, live.outputs)
        start = time.perf_counter()
        samples, total = _accumulate(live, distance or 0.0, batches, source, listen)
        seconds = time.perf_counter() - start
    _check_finite(total, batches)
    classes = total.K if live.plan.targets == "classes" else None
    providers = live.session.providers
    return Pass(
        live.head, total, distance, _kind(live, first), live.plan.mask, samples, size, classes, providers, seconds
    )


def probe(model: Model, head: Head, source: Source, device: session.Choice) -> tuple[float | None, str]:
    """Residual and kind of rows of a head on the first batch of a source, without a verdict."""
    live, first = _first_batch(model, head, source, device)
    return residual(head, live.features, live.outputs), _kind(live, first)


def pilot(model: Model, head: Head, source: Source, device: session.Choice) -> tuple[float | None, Array]:
    """Residual of a head, and the mean of its rows on the first batch of a source.

    Raises:
        HeadError: when the head is not what its constants say.
    """
    live, first = _first_batch(model, head, source, device)
    return _verify(head, live.features, live.outputs), _pilot(live, first)


def _first_batch(model: Model, head: Head, source: Source, device: session.Choice) -> tuple[_Live, Batch]:
    size, fixed = batch_size(model, None)
    with Batches(source, size) as batches:
        first = replace(batches.peek(), labels=None)
        return _ready(model, head, Plan(size, fixed, 0, None), first, device), first


def _kind(live: _Live, first: Batch) -> str:
    if _rows_a_sample(live, first) == 1:
        return "sample"
    return "token" if live.head.features.axes.last else "position"


def _targets(head: Head, source: Source, first: Batch) -> tuple[int, TargetKind | None]:
    if first.labels is None:
        return 0, None
    assert head.C is not None  # noqa: S101 - measured before
    K = max(head.C, 2, source.classes or 0) if first.labels.ndim == 1 and first.labels.dtype.kind in "biu" else None
    table, kind = one_hot(first.labels, C=head.C, K=K)
    return (0 if table is None else table.shape[1]), kind


def _measured(model: Model, head: Head, first: Batch, device: session.Choice) -> Head:
    live = Session(
        [model.data, rewrite.expose_raw(model, head)], folder=model.folder, device=device.device, name=model.path
    )
    mark = rewrite.prefix(model)
    features, outputs = live.run([f"{mark}features", f"{mark}outputs"], first.inputs)
    return measure(head, features.shape, outputs.shape)


def _ready(model: Model, head: Head, plan: Plan, first: Batch, device: session.Choice) -> _Live:
    zero = Moments.empty(head.p or 0, head.C or 0, plan.K, targets=plan.targets)
    patch = rewrite.instrument(
        model, head, K=plan.K, count=zero.has_accuracy, masked=plan.counts, mask=plan.mask, by_row=plan.by_row
    )
    live = Session([model.data, patch.data], folder=model.folder, device=device.device, name=model.path)
    zeros = {name: np.zeros(shape) for name, shape in zip(patch.accumulators, patch.shapes, strict=True)}
    feed = _feed(patch, plan, first) | zeros | {patch.shift: np.zeros((1, patch.edges[-1]))}
    features, outputs, shape = live.run([patch.features, patch.outputs, patch.shape], feed)
    rows = len(features) if not plan.fixed else len(features) // plan.size * first.rows
    return _Live(head, plan, patch, live, features[:rows], outputs[:rows], tuple(shape.tolist()))


def _rows_a_sample(live: _Live, first: Batch) -> int:
    return max(1, len(live.features) // first.rows)


def _settled(live: _Live, source: Source, first: Batch, mask: str | None) -> tuple[Head, Plan]:
    """Head and plan as the shape of the first batch's rows asks for."""
    head, plan = live.head, live.plan
    each = _rows_a_sample(live, first)
    samples = plan.size if plan.fixed else first.rows
    rows = live.shape[:-1]
    if rows[0] != samples and samples in rows:
        # Time or another axis comes first: samples are put there, so that labels and padding fall on their own rows.
        at = rows.index(samples)
        head = replace(head, features=replace(head.features, samples=at), outputs=replace(head.outputs, samples=at))
    labels = first.labels
    if labels is not None and labels.dtype.kind in "iu" and labels.ndim > 1 and each == labels[0].size > 1:
        assert head.C is not None  # noqa: S101 - measured before
        plan = replace(plan, by_row=True, K=max(head.C, 2, source.classes or 0), targets="classes")
    return head, replace(plan, mask=_mask(first, each, mask))


def _mask(first: Batch, each: int, asked: str | None) -> str | None:
    name = asked or USUAL_MASK
    array = first.inputs.get(name)
    fits = array is not None and each > 1 and array.size == each * first.rows
    if asked is not None and not fits:
        shape = "no such input" if array is None else f"an input of shape {array.shape}"
        raise DataError(
            f"mask {asked!r}: {shape}, and {each} rows a sample",
            "an input of the model with one entry for each token or position",
            f"Pass one of {', '.join(map(repr, first.inputs))} to --mask, or leave it out.",
        )
    if fits and array is not None and not np.isin(array, (0, 1)).all():
        raise DataError(
            f"mask {name!r} with values from {array.min()} to {array.max()}",
            "0 for padding and 1 for the rest",
            "Pass such a mask, or another input to --mask.",
        )
    return name if fits else None


def _feed(patch: rewrite.Patch, plan: Plan, batch: Batch) -> dict[str, AnyArray]:
    """What the patched model takes for a batch; padded where the model fixes the batch size."""
    whole = padded(batch, plan.size) if plan.fixed else batch
    feed = dict(whole.inputs)
    weights = np.ones((whole.rows, 1))
    weights[batch.rows :] = 0.0
    labels = whole.labels
    if plan.by_row and labels is not None:
        weights = np.repeat(weights, labels[0].size, axis=0) * (labels.reshape(-1, 1) >= 0)
        labels = np.maximum(labels.reshape(-1), 0)
    if patch.weights is not None:
        feed[patch.weights] = weights
    if patch.targets is not None:
        table, _ = one_hot(labels, C=1, K=plan.K if plan.targets == "classes" else None)
        assert table is not None  # noqa: S101 - the plan has targets
        feed[patch.targets] = table
    return feed


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


def _pilot(live: _Live, first: Batch) -> Array:
    """The shift about which moments are summed: the mean of the first rows; zero for the one and for classes."""
    targets = np.zeros(live.plan.K)
    if live.plan.targets == "values":
        table, _ = one_hot(first.labels, C=1)
        targets = targets if table is None else table.mean(axis=0)
    shift = np.concatenate([[0.0], live.features.mean(axis=0), live.outputs.mean(axis=0), targets])
    return np.where(np.isfinite(shift), shift, 0.0)


def _accumulate(
    live: _Live, distance: float, batches: Batches, source: Source, listen: Listener
) -> tuple[int, Moments]:
    """The number of samples and the moments of all batches."""
    patch, plan, affine = live.patch, live.plan, live.head.affine
    shift = _pilot(live, batches.peek())
    accumulator = live.session.accumulate(patch, shift)
    sizes = live.features.shape[1], live.outputs.shape[1], plan.K
    dtype = affine.dtype if affine else "float32"
    zero = Moments.empty(*sizes, targets=plan.targets, dtype=dtype, residual=distance)

    def moments() -> Moments:
        sums = accumulator.read()
        return replace(zero, matrix=patch.matrix(sums), shift=shift, correct=patch.correct(sums))

    rows = _fill(accumulator, live, batches, source, moments, listen)
    return rows, moments()


def _fill(
    accumulator: Accumulator,
    live: _Live,
    batches: Batches,
    source: Source,
    moments: Callable[[], Moments],
    listen: Listener,
) -> int:
    start = look = time.perf_counter()
    pause, rows = LOOK_SECONDS, 0
    for batch in batches:
        accumulator.add(_feed(live.patch, live.plan, batch))
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


def _check_finite(moments: Moments, batches: Batches) -> None:
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
