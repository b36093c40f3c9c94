"""One pass over the data: from a model and a source to the moments of its head."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from onnxrich import rewrite, session
from onnxrich.batching import Batches, batch_size, fixed_size, padded
from onnxrich.errors import DataError, HeadError
from onnxrich.feeding import Plan, feed, usable_mask
from onnxrich.head import Head, allowed_residual, measure, residual
from onnxrich.metrics.richness import from_moments
from onnxrich.model import Model
from onnxrich.moments import Array, Moments
from onnxrich.progress import Listener, Progress
from onnxrich.session import Accumulator, Session
from onnxrich.sources.base import Batch, Source
from onnxrich.targets import TargetKind, one_hot
from onnxrich.unfix import unfixed

# The share of the time that looking at the running result may take, and the seconds between two looks at least.
LOOK_SHARE, LOOK_SECONDS = 0.01, 0.5


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
    fixed: bool
    classes: int | None
    providers: tuple[str, ...]
    seconds: float


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
    size, fixed = batch_size(model, batch), fixed_size(model)
    if fixed is not None:
        size = fixed * max(1, size // fixed)
    with Batches(source, size) as batches:
        first = batches.peek()
        if fixed is not None:
            listen(Progress("looking whether the batch size is open"))
            free = unfixed(model, head, first, fixed, device)
            if free is None:
                batches.cut(fixed)
                first, size = batches.peek(), fixed
            else:
                model, fixed = free, None
        if head.p is None:
            listen(Progress("measuring the chosen tensors"))
            head = _measured(model, head, padded(first, size) if fixed else first, device)
        K, kind = _targets(head, source, first)
        listen(Progress(f"loading the model on {device.device}"))
        live = _ready(model, head, Plan(size, fixed is not None, K, kind), first, device, listen)
        settled = _settled(live, source, first, mask)
        if settled != (live.head, live.plan):
            # Only a run shows how many rows a sample has: those of tokens may need their mask, or another order.
            live = _ready(model, *settled, first, device)
        distance = _verify(live.head, live.features, live.outputs)
        start = time.perf_counter()
        samples, total = _accumulate(live, distance or 0.0, batches, source, listen)
        seconds = time.perf_counter() - start
    _check_finite(total, batches)
    return Pass(
        head=live.head,
        moments=total,
        residual=distance,
        rows_kind=_kind(live, first),
        mask=live.plan.mask,
        samples=samples,
        batch_size=size,
        fixed=live.plan.fixed,
        classes=total.K if live.plan.targets == "classes" else None,
        providers=live.session.providers,
        seconds=seconds,
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
    fixed = fixed_size(model)
    size = fixed or batch_size(model, None)
    with Batches(source, size) as batches:
        first = replace(batches.peek(), labels=None)
        return _ready(model, head, Plan(size, fixed is not None, 0, None), first, device), first


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
    patch, names = rewrite.expose_raw(model, head)
    live = Session([model.data, patch], folder=model.folder, device=device.device, name=model.path)
    features, outputs = live.run(names, first.inputs)
    return measure(head, features.shape, outputs.shape)


def _ready(
    model: Model, head: Head, plan: Plan, first: Batch, device: session.Choice, listen: Listener = lambda _: None
) -> _Live:
    zero = Moments.empty(head.p or 0, head.C or 0, plan.K, targets=plan.targets)
    patch = rewrite.instrument(
        model, head, K=plan.K, count=zero.has_accuracy, masked=plan.counts, mask=plan.mask, by_row=plan.by_row
    )
    live = Session([model.data, patch.data], folder=model.folder, device=device.device, name=model.path)
    listen(Progress("running"))
    zeros = {name: np.zeros(shape) for name, shape in zip(patch.accumulators, patch.shapes, strict=True)}
    given = feed(patch, plan, first) | zeros | {patch.shift: np.zeros((1, patch.edges[-1]))}
    features, outputs, shape = live.run([patch.features, patch.outputs, patch.shape], given)
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
    return head, replace(plan, mask=usable_mask(first, each, mask))


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
        return replace(zero, matrix=patch.matrix(sums), shift=shift, tallies=patch.tallies(sums))

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
        accumulator.add(feed(live.patch, live.plan, batch))
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
    f, y = 1 + moments.p, 1 + moments.p + moments.C
    blocks = {"features": diagonal[1:f], "outputs": diagonal[f:y], "targets": diagonal[y:]}
    where = next((name for name, part in blocks.items() if not np.isfinite(part).all()), "features")
    cause = batches.first_not_finite
    raise DataError(
        f"the {where} hold NaN or infinity" + (f": {cause}" if cause else ", though the inputs are finite"),
        "finite numbers",
        "Mend or leave out these rows." if cause else "The model overflows on these data: check their scale.",
    )
