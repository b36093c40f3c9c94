"""A patched model that is ready to run, with what its first batch showed: rows a sample, their order, the check."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import psutil

from onnxrich._utils.threads import single_threaded_blas
from onnxrich.data.source import Batch, Source
from onnxrich.data.table import AnyArray
from onnxrich.engine.batches import Batches, padded
from onnxrich.engine.runtime import Choice, Session
from onnxrich.engine.sizing import batch_size, fixed_size
from onnxrich.errors import DataError, HeadError
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead, affine_residual, allowed_residual, measure_head
from onnxrich.model.patch import instrument as rewrite
from onnxrich.model.patch.decisions import DecisionPatch
from onnxrich.model.patch.instrument import Patch
from onnxrich.moments.matrix import Array, Moments
from onnxrich.moments.targets import TargetKind, one_hot
from onnxrich.progress import Listener, Progress

# The input that says which tokens are padding, by the name that exporters of transformers give it.
USUAL_MASK = "attention_mask"


@dataclass(frozen=True)
class FeedPlan:
    """How batches are fed.

    Attributes:
        size: samples in a batch.
        fixed: whether the model fixes that, so that a short batch is padded.
        K: number of targets, 0 without labels.
        targets: their kind.
        by_row: whether labels are classes of tokens or positions; those below zero are left out.
        mask: input of the model that is 0 for rows to be left out.
        runs: how many runs are to be added by one product of their rows.
    """

    size: int
    fixed: bool
    K: int
    targets: TargetKind | None
    by_row: bool = False
    mask: str | None = None
    runs: int = 1

    @property
    def counts(self) -> bool:
        """Whether some rows have weight 0."""
        return self.fixed or self.by_row or self.mask is not None


def usable_mask(first: Batch, each: int, asked: str | None) -> str | None:
    """The input that masks rows, where a sample has several; the usual one unless another is asked for.

    Raises:
        DataError: when the one that is asked for has no entry for each row, or other values than 0 and 1.
    """
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
    if fits and array is not None:
        _check_mask(name, array)
    return name if fits else None


def _check_mask(name: str, array: AnyArray) -> None:
    if not np.isin(array, (0, 1)).all():
        raise DataError(
            f"mask {name!r} with values from {array.min()} to {array.max()}",
            "0 for padding and 1 for the rest",
            "Pass such a mask, or another input to --mask.",
        )


def build_feed(patch: Patch | DecisionPatch, plan: FeedPlan, batch: Batch) -> dict[str, AnyArray]:
    """What the patched model takes for a batch; padded where the model fixes the batch size.

    Raises:
        DataError: when the mask holds other values than 0 and 1, which would weigh rows.
    """
    if plan.mask is not None:
        _check_mask(plan.mask, batch.inputs[plan.mask])
    whole = padded(batch, plan.size) if plan.fixed else batch
    fed = dict(whole.inputs)
    weights = np.ones((whole.rows, 1))
    weights[batch.rows :] = 0.0
    labels = whole.labels
    if plan.by_row and labels is not None:
        weights = np.repeat(weights, labels[0].size, axis=0) * (labels.reshape(-1, 1) >= 0)
        labels = np.maximum(labels.reshape(-1), 0)
    if patch.weights is not None:
        fed[patch.weights] = weights
    if patch.targets is not None:
        table, _ = one_hot(labels, C=1, K=plan.K if plan.targets == "classes" else None)
        assert table is not None  # noqa: S101 - the plan has targets
        fed[patch.targets] = table
    return fed


def row_weights(plan: FeedPlan, batch: Batch, each: int) -> Array:
    """What each row of a batch counts, padding samples left out: float64 array of shape (1, samples · each).

    Args:
        plan: how the batch is fed.
        batch: the batch.
        each: rows that a sample has.
    """
    weights = np.ones((1, batch.rows * each))
    if plan.by_row and batch.labels is not None:
        weights *= batch.labels.reshape(1, -1) >= 0
    if plan.mask is not None:
        weights *= np.asarray(batch.inputs[plan.mask], dtype=np.float64).reshape(1, -1)
    return weights


# Along the axis of the samples features differ by rounding, along another by what they are: by this factor at least.
CLEARLY = 0.1


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A model that is ready to run.

    Attributes:
        model: the model.
        head: its head.
        plan: how batches are fed.
        patch: what was appended to the model.
        session: over the patched model.
        features: of the first batch, float64 of shape (rows, p).
        outputs: of the first batch, float64 of shape (rows, C).
        labels: of the first batch, None without labels.
        shape: of the features before their rows are laid out.
        taken: bytes by which the process grew when it ran the first batch.
        given: what each run is fed beside its batch, by name of the input: the shifts of hidden layers.
    """

    model: Model
    head: Head
    plan: FeedPlan
    patch: rewrite.Patch
    session: Session
    features: Array
    outputs: Array
    labels: AnyArray | None
    shape: tuple[int, ...]
    taken: int
    given: dict[str, AnyArray] = field(default_factory=dict)

    def feed(self, batch: Batch) -> dict[str, AnyArray]:
        """What a run is fed for a batch."""
        return build_feed(self.patch, self.plan, batch) | self.given

    def another(self, number: int) -> Session:
        """A session over the same patched model, on another of its devices."""
        return open_session(self.model, self.patch.data, self.session.device, number)

    def in_lanes(self, lanes: int) -> PreparedModel:
        """The same with another number of runs at once. Memory may not hold two sessions: this one is closed before."""
        device = self.session.device
        if lanes == device.lanes:
            return self
        self.session.close()
        return replace(self, session=open_session(self.model, self.patch.data, replace(device, lanes=lanes)))


def open_session(model: Model, patch: bytes, device: Choice, number: int = 0) -> Session:
    """A session over a model and its patch."""
    return Session([model.data, patch], folder=model.folder, device=device, name=model.path, number=number)


def prepare_model(
    model: Model, head: Head, plan: FeedPlan, first: Batch, device: Choice, *, listen: Listener = lambda _: None
) -> PreparedModel:
    """A session over the instrumented model, and its first batch.

    Raises:
        ModelError: when the runtime refuses the model or fails on the batch.
    """
    zero = Moments.empty(head.p, head.C, plan.K, targets=plan.targets)
    # Where there are more outputs than features, they are worth computing from the features' sums. Not so where the
    # head rounds its operands to integers: there Wφ + b is not quite what it gives.
    derived = head.affine is not None and zero.p < zero.C and not head.affine.quantization_step
    patch = rewrite.instrument(
        model, head, K=plan.K, with_tallies=zero.has_accuracy, masked=plan.counts, mask=plan.mask, by_row=plan.by_row,
        batches_per_product=plan.runs, derived=derived, memory=device.memory,
    )  # fmt: skip
    session = open_session(model, patch.data, device)
    listen(Progress("running"))
    given = build_feed(patch, plan, first) | patch.idle_feed
    before = psutil.Process().memory_info().rss
    *tables, shape = session.run([patch.features, patch.outputs, patch.shape], given)
    taken = max(0, psutil.Process().memory_info().rss - before)
    features, outputs = (np.asarray(table, dtype=np.float64) for table in tables)
    rows = len(features) if not plan.fixed else len(features) // plan.size * first.rows
    return PreparedModel(
        model, head, plan, patch, session, features[:rows], outputs[:rows], first.labels, tuple(shape.tolist()), taken
    )


def adjust_to_first_batch(
    live: PreparedModel, source: Source, first: Batch, *, mask: str | None, device: Choice
) -> PreparedModel:
    """The same as the shape of the first batch's rows asks for: only a run shows how many rows a sample has.

    Rows of tokens may need their mask, labels of their own, or another order.

    Raises:
        DataError: when the mask that is asked for is none.
    """
    head, plan = live.head, live.plan
    each = rows_per_sample(live, first)
    masked, labels = usable_mask(first, each, mask), first.labels
    at = _samples_axis(live, first, matters=plan.fixed or masked is not None or labels is not None)
    if at > 0:
        # Time or another axis comes first: samples are put there, so that labels and padding fall on their own rows.
        head = replace(
            head, features=replace(head.features, samples_axis=at), outputs=replace(head.outputs, samples_axis=at)
        )
    if labels is not None and labels.dtype.kind in "iu" and labels.ndim > 1 and each == labels[0].size > 1:
        plan = replace(plan, by_row=True, K=max(head.C, 2, source.classes or 0), targets="classes")
    plan = replace(plan, mask=masked, runs=max(1, plan.runs // each))
    if (head, plan) == (live.head, live.plan):
        return live
    live.session.close()  # memory may not hold two
    return prepare_model(live.model, head, plan, first, device)


def _samples_axis(live: PreparedModel, first: Batch, *, matters: bool) -> int:
    """The axis of the features, before their rows are laid out, that runs over the samples; 0 where none tells.

    Args:
        live: the model.
        first: the first batch.
        matters: whether each row is to be told from the others: by its label, by a mask, or as padding.

    Raises:
        HeadError: when it may be one of several.
    """
    samples = live.plan.size if live.plan.fixed else first.rows
    likely = [at for at, length in enumerate(live.shape[:-1]) if length == samples]
    if len(likely) < 2 or samples == 1:
        return likely[0] if likely else 0
    # The one along which the features turn round when the samples do.
    whole = padded(first, samples)
    there, back = (_features(live, batch) for batch in (whole, whole.take(slice(None, None, -1))))
    with np.errstate(over="ignore"):
        distances = {at: float(np.abs(np.flip(there, at) - back).max()) for at in likely}
    nearest, next_one = sorted(likely, key=distances.__getitem__)[:2]
    if distances[nearest] < CLEARLY * distances[next_one]:
        return nearest
    if not matters:
        return likely[0]
    raise HeadError(
        f"features of shape {live.shape} from batches of {samples}: several axes could run over the samples",
        "a batch size that no other axis has",
        "Export the model with a dynamic batch dimension." if live.plan.fixed else "Pass another --batch-size.",
    )


def _features(live: PreparedModel, batch: Batch) -> AnyArray:
    """Features of a batch in their shape before their rows are laid out; zero where they are not finite."""
    (table,) = live.session.run([live.patch.features], live.feed(batch) | live.patch.idle_feed)
    return np.where(np.isfinite(table), table, 0).reshape(live.shape)


def target_count(head: Head, source: Source, first: Batch) -> tuple[int, TargetKind | None]:
    """Number and kind of the targets that the labels of a source are."""
    if first.labels is None:
        return 0, None
    K = max(head.C, 2, source.classes or 0) if first.labels.ndim == 1 and first.labels.dtype.kind in "biu" else None
    table, kind = one_hot(first.labels, C=head.C, K=K)
    return (0 if table is None else table.shape[1]), kind


def measure_widths(model: Model, head: UnmeasuredHead, first: Batch, device: Choice) -> Head:
    """A head that the user chose, with the widths that a run shows."""
    patch, names = rewrite.expose_tensors(model, head)
    features, outputs = open_session(model, patch, device).run(names, first.inputs)
    return measure_head(head, features.shape, outputs.shape)


def rows_per_sample(live: PreparedModel, first: Batch) -> int:
    """Number of rows that a sample has: tokens or positions."""
    return max(1, len(live.features) // first.rows)


def rows_kind(live: PreparedModel, first: Batch) -> str:
    """What a row is: "sample", "token" or "position"."""
    if rows_per_sample(live, first) == 1:
        return "sample"
    return "token" if live.head.features.axes.last else "position"


def verify_head(live: PreparedModel) -> float | None:
    """Relative residual of the outputs against Wφ + b on the first batch; None where it can't be told.

    Raises:
        HeadError: when the head is not what its constants say.
    """
    with single_threaded_blas(live.features.size * live.outputs.shape[1]):
        distance = affine_residual(live.head, live.features, live.outputs)
    finite = np.isfinite(live.features).all() and np.isfinite(live.outputs).all()
    if distance is not None and finite and not distance <= allowed_residual(live.head):
        raise HeadError(
            f"the outputs differ from Wφ + b by {distance:.1e} of their size for {live.head.label}",
            f"a head that its own constants explain to {allowed_residual(live.head):.1e}",
            "Pass --features NAME and --outputs NAME to choose the tensors yourself.",
        )
    return distance if finite else None


def pilot_shift(live: PreparedModel, first: Batch) -> Array:
    """The shift about which moments are summed: the mean of the first rows; zero for the one and for classes."""
    about = np.zeros(live.plan.K)
    if live.plan.targets == "values":
        table, _ = one_hot(first.labels, C=1)
        about = about if table is None else table.mean(axis=0)
    means = (live.features.mean(axis=0), live.outputs.mean(axis=0), about)
    phi, f, y = (np.where(np.isfinite(mean), mean, 0.0) for mean in means)
    if live.patch.weight is not None and live.head.affine is not None:
        # So that f − its shift = W(φ − its shift): the moments of one follow from those of the other without b.
        with single_threaded_blas(live.patch.weight.size):
            f = live.patch.weight @ phi + live.head.affine.bias
    return np.concatenate([[0.0], phi, f, y])


def probe_head(model: Model, head: Head, source: Source, device: Choice) -> tuple[float | None, str]:
    """Residual and kind of rows of a head on the first batch of a source, without a verdict."""
    live, first = _first_batch(model, head, source, device)
    return affine_residual(head, live.features, live.outputs), rows_kind(live, first)


def pilot_head(model: Model, head: Head, source: Source, device: Choice) -> tuple[float | None, Array]:
    """Residual of a head, and the mean of its rows on the first batch of a source.

    Raises:
        HeadError: when the head is not what its constants say.
    """
    live, first = _first_batch(model, head, source, device)
    return verify_head(live), pilot_shift(live, first)


def _first_batch(model: Model, head: Head, source: Source, device: Choice) -> tuple[PreparedModel, Batch]:
    fixed = fixed_size(model)
    size = fixed or batch_size(model, head, source, memory=device.memory)
    with Batches(source, size) as batches:
        first = replace(batches.peek(), labels=None)
        return prepare_model(model, head, FeedPlan(size, fixed is not None, 0, None), first, device), first
