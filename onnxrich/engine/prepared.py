"""A patched model ready to run, with its first batch, the plan to feed it, and the check of its head."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import psutil

from onnxrich._utils.threads import single_threaded_blas
from onnxrich.data.source import Batch, Source
from onnxrich.data.table import AnyArray
from onnxrich.engine.batches import Batches, pad
from onnxrich.engine.runtime import Device, Session
from onnxrich.engine.sizing import choose_batch_size, fixed_batch_size
from onnxrich.errors import DataError, HeadError
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead, affine_residual, allowed_residual, measure_head
from onnxrich.model.patch.decisions import DecisionPatch
from onnxrich.model.patch.instrument import Patch, expose_tensors, instrument
from onnxrich.moments.matrix import Array, Moments
from onnxrich.moments.targets import TargetKind, one_hot
from onnxrich.progress import Listener, Progress, Stage

# The input that marks padding tokens, by the name that exporters of transformers give it.
ATTENTION_MASK = "attention_mask"
# Reversed samples reverse the features along the samples' axis up to rounding. The distance along this axis must be
# smaller than that along any other by this factor.
CLEAR_FACTOR = 0.1
# So many classes are counted whatever the number of rows. More classes than outputs and rows are a wrong label.
_FEW_CLASSES = 256
# The square of a larger output, or the sum of such squares, overflows in double.
_LARGEST_OUTPUT = 1e150


@dataclass(frozen=True)
class FeedPlan:
    """How batches are fed to a patched model.

    Attributes:
        batch_size: samples in a batch.
        is_fixed: whether the model fixes the batch size, so that a short batch is padded.
        K: number of targets, 0 without labels.
        target_kind: kind of the targets.
        by_row: whether labels are classes of tokens or positions; rows with labels below zero are left out.
        mask: input of the model that is 0 for rows to leave out.
        batches_per_product: number of batches whose rows one product adds.
    """

    batch_size: int
    is_fixed: bool
    K: int
    target_kind: TargetKind | None
    by_row: bool = False
    mask: str | None = None
    batches_per_product: int = 1

    @property
    def has_weights(self) -> bool:
        """Whether some rows have weight 0."""
        return self.is_fixed or self.by_row or self.mask is not None


@dataclass(frozen=True, eq=False)
class PreparedModel:
    """A patched model ready to run.

    Attributes:
        model: the model.
        head: its head.
        plan: how batches are fed.
        patch: the patch appended to the model.
        session: session over the patched model.
        first: the first batch.
        features: features of the first batch, float64 array of shape (rows, p).
        outputs: outputs of the first batch, float64 array of shape (rows, C).
        features_shape: shape of the features of a run before their rows are laid out.
        run_bytes: growth of the process's memory when it ran the first batch.
        layer_shifts: shifts of the hidden layers by name of the input; each run is fed them.
    """

    model: Model
    head: Head
    plan: FeedPlan
    patch: Patch
    session: Session
    first: Batch
    features: Array
    outputs: Array
    features_shape: tuple[int, ...]
    run_bytes: int
    layer_shifts: dict[str, AnyArray] = field(default_factory=dict)

    @property
    def rows_per_sample(self) -> int:
        """Number of rows of a sample: its tokens or positions."""
        return max(1, len(self.features) // self.first.rows)

    @property
    def rows_kind(self) -> str:
        """Kind of a row: "sample", "token" or "position"."""
        if self.rows_per_sample == 1:
            return "sample"
        return "token" if self.head.features.axes.last else "position"

    @cached_property
    def suppressed_outputs(self) -> tuple[int, ...]:
        """Outputs that are −∞, or too large to be squared, in all rows of the first batch: no functions of the data."""
        suppressed = (self.outputs < -_LARGEST_OUTPUT).all(axis=0) & bool(len(self.outputs))
        return tuple(np.flatnonzero(suppressed).tolist())

    def feed(self, batch: Batch) -> dict[str, AnyArray]:
        """Build the inputs of a run for a batch."""
        return build_feed(self.patch, self.plan, batch) | self.layer_shifts

    def pilot_shift(self) -> Array:
        """The shift of the moments, float64 array of shape (d,): the means of the first rows, zero for 1 and classes.

        The shift keeps the sums small: they run about the means, where cancellation loses few digits.
        """
        target_mean = np.zeros(self.plan.K)
        if self.plan.target_kind == "values":
            table, _ = one_hot(self.first.labels, C=1)
            target_mean = target_mean if table is None else table.mean(axis=0)
        means = (self.features.mean(axis=0), self.outputs.mean(axis=0), target_mean)
        phi, f, y = (np.where(np.isfinite(mean), mean, 0.0) for mean in means)
        if self.patch.weight is not None and self.head.affine is not None:
            # So that f − its shift = W(φ − its shift): the moments of f follow from those of φ without b.
            with single_threaded_blas(self.patch.weight.size):
                f = self.patch.weight @ phi + self.head.affine.bias
            f = np.where(np.abs(f) <= _LARGEST_OUTPUT, f, 0.0)
        return np.concatenate([[0.0], phi, f, y])

    def open_session_on(self, index: int) -> Session:
        """Open a session over the same patched model on another entry of its device's numbers."""
        return open_session(self.model, self.patch.data, device=self.session.device, index=index)

    def with_lanes(self, lanes: int) -> PreparedModel:
        """The same model with another number of lanes. Memory may not hold two sessions: this one is closed first."""
        device = self.session.device
        if lanes == device.lanes:
            return self
        self.session.close()
        session = open_session(self.model, self.patch.data, device=replace(device, lanes=lanes))
        return replace(self, session=session)


def open_session(model: Model, patch: bytes, *, device: Device, index: int = 0) -> Session:
    """Open a session over a patched model on an entry of the device's numbers."""
    return Session([model.data, patch], folder=model.folder, device=device, name=model.path, index=index)


def prepare_model(
    model: Model, head: Head, first: Batch, *, plan: FeedPlan, device: Device, listen: Listener = lambda _: None
) -> PreparedModel:
    """Instrument a model, open a session over it, and run the first batch.

    Raises:
        ModelError: when the runtime refuses the model or fails on the batch.
    """
    empty = Moments.empty(head.p, head.C, plan.K, targets=plan.target_kind)
    # With more outputs than features, the moments of the outputs are cheaper to derive from the features' sums. Not
    # where the head rounds its operands to integers: there Wφ + b is not exactly its output.
    derived = head.affine is not None and empty.p < empty.C and not head.affine.quantization_step
    patch = instrument(
        model, head, K=plan.K, with_tallies=empty.has_accuracy, masked=plan.has_weights, mask=plan.mask,
        by_row=plan.by_row, batches_per_product=plan.batches_per_product, derived=derived, memory=device.memory,
    )  # fmt: skip
    session = open_session(model, patch.data, device=device)
    listen(Progress(Stage.RUNNING))
    feed = build_feed(patch, plan, first) | patch.idle_feed
    bytes_before = psutil.Process().memory_info().rss
    *tables, shape = session.run([patch.features, patch.outputs, patch.shape], feed)
    run_bytes = max(0, psutil.Process().memory_info().rss - bytes_before)
    features, outputs = (np.asarray(table, dtype=np.float64) for table in tables)
    rows = len(features) if not plan.is_fixed else len(features) // plan.batch_size * first.rows
    return PreparedModel(
        model, head, plan, patch, session, first, features[:rows], outputs[:rows], tuple(shape.tolist()), run_bytes
    )


def adjust_to_first_batch(prepared: PreparedModel, source: Source, *, mask: str | None) -> PreparedModel:
    """Adjust head and plan to the number and order of the rows in the first batch.

    Only a run shows how many rows a sample has. Rows of tokens may need their mask, their own labels, or another order.

    Raises:
        DataError: when the requested mask does not fit the rows.
        HeadError: when several axes could run over the samples.
    """
    head, plan, first = prepared.head, prepared.plan, prepared.first
    rows_per_sample, labels = prepared.rows_per_sample, first.labels
    usable_mask = find_mask(first, rows_per_sample, mask)
    order_matters = plan.is_fixed or usable_mask is not None or labels is not None
    axis = _samples_axis(prepared, order_matters=order_matters)
    if axis > 0:
        # Time or another axis comes first. Move the samples there, so that labels and padding fall on their own rows.
        head = replace(
            head, features=replace(head.features, samples_axis=axis), outputs=replace(head.outputs, samples_axis=axis)
        )
    has_row_labels = labels is not None and labels.dtype.kind in "iu" and labels.ndim > 1
    if labels is not None and has_row_labels and rows_per_sample == labels[0].size > 1:
        plan = replace(plan, by_row=True, K=max(head.C, 2, source.classes or 0), target_kind="classes")
    joined = max(1, plan.batches_per_product // rows_per_sample)
    plan = replace(plan, mask=usable_mask, batches_per_product=joined)
    if (head, plan) == (prepared.head, prepared.plan):
        return prepared
    device = prepared.session.device
    prepared.session.close()  # memory may not hold two
    return prepare_model(prepared.model, head, first, plan=plan, device=device)


def _samples_axis(prepared: PreparedModel, *, order_matters: bool) -> int:
    """The axis of the features, before their rows are laid out, that runs over the samples; 0 where it is unclear.

    Args:
        prepared: the model.
        order_matters: whether labels, a mask or padding depend on the order of the rows.

    Raises:
        HeadError: when the order matters and several axes could run over the samples.
    """
    plan, first, shape = prepared.plan, prepared.first, prepared.features_shape
    samples = plan.batch_size if plan.is_fixed else first.rows
    candidates = [axis for axis, length in enumerate(shape[:-1]) if length == samples]
    if len(candidates) < 2 or samples == 1:
        return candidates[0] if candidates else 0
    # Reversed samples reverse the features along the axis of the samples.
    whole = pad(first, samples)
    forward, backward = (_raw_features(prepared, batch) for batch in (whole, whole.take(slice(None, None, -1))))
    with np.errstate(over="ignore"):
        distances = {axis: float(np.abs(np.flip(forward, axis) - backward).max()) for axis in candidates}
    nearest, second = sorted(candidates, key=distances.__getitem__)[:2]
    if distances[nearest] < CLEAR_FACTOR * distances[second]:
        return nearest
    if not order_matters:
        return candidates[0]
    raise HeadError(
        f"several axes of the features of shape {shape}, from batches of {samples}, could run over the samples",
        "a batch size that no other axis has",
        "Export the model with a dynamic batch dimension." if plan.is_fixed else "Pass another --batch-size.",
    )


def _raw_features(prepared: PreparedModel, batch: Batch) -> AnyArray:
    """Features of a batch before their rows are laid out; zero where they are not finite."""
    patch = prepared.patch
    (table,) = prepared.session.run([patch.features], prepared.feed(batch) | patch.idle_feed)
    return np.where(np.isfinite(table), table, 0).reshape(prepared.features_shape)


def find_mask(first: Batch, rows_per_sample: int, requested: str | None) -> str | None:
    """Find the input that masks rows, where a sample has several: the requested one, or `attention_mask`.

    Raises:
        DataError: when the requested mask lacks an entry for each row, or the mask has values other than 0 and 1.
    """
    name = requested or ATTENTION_MASK
    array = first.inputs.get(name)
    fits = array is not None and rows_per_sample > 1 and array.size == rows_per_sample * first.rows
    if requested is not None and not fits:
        problem = "is no input" if array is None else f"has the shape {array.shape}"
        raise DataError(
            f"mask {requested!r} {problem}, and each sample has {rows_per_sample} rows",
            "an input of the model with one entry for each token or position",
            f"Pass one of {', '.join(map(repr, first.inputs))} to --mask, or leave it out.",
        )
    if fits and array is not None:
        _check_mask(name, array)
    return name if fits else None


def _check_mask(name: str, array: AnyArray) -> None:
    """Check that a mask does not weigh rows.

    Raises:
        DataError: when it has values other than 0 and 1.
    """
    if not np.isin(array, (0, 1)).all():
        raise DataError(
            f"mask {name!r} has values from {array.min()} to {array.max()}",
            "0 for padding and 1 for the rest",
            "Pass a mask of zeros and ones, or another input to --mask.",
        )


def build_feed(patch: Patch | DecisionPatch, plan: FeedPlan, batch: Batch) -> dict[str, AnyArray]:
    """Build the inputs of the patched model for a batch, padded where the model fixes the batch size.

    Raises:
        DataError: when the mask has values other than 0 and 1.
    """
    if plan.mask is not None:
        _check_mask(plan.mask, batch.inputs[plan.mask])
    padded = pad(batch, plan.batch_size) if plan.is_fixed else batch
    feed = dict(padded.inputs)
    weights = np.ones((padded.rows, 1))
    weights[batch.rows :] = 0.0
    labels = padded.labels
    if plan.by_row and labels is not None:
        weights = np.repeat(weights, labels[0].size, axis=0) * (labels.reshape(-1, 1) >= 0)
        labels = np.maximum(labels.reshape(-1), 0)
    if patch.weights is not None:
        feed[patch.weights] = weights
    if patch.targets is not None:
        table, _ = one_hot(labels, C=1, K=plan.K if plan.target_kind == "classes" else None)
        assert table is not None  # noqa: S101 - the plan has targets
        feed[patch.targets] = table
    return feed


def row_weights(plan: FeedPlan, batch: Batch, rows_per_sample: int) -> Array:
    """The weight of each row of a batch without padding: float64 array of shape (1, samples · rows_per_sample)."""
    weights = np.ones((1, batch.rows * rows_per_sample))
    if plan.by_row and batch.labels is not None:
        weights *= batch.labels.reshape(1, -1) >= 0
    if plan.mask is not None:
        weights *= np.asarray(batch.inputs[plan.mask], dtype=np.float64).reshape(1, -1)
    return weights


def target_count(head: Head, source: Source, first: Batch) -> tuple[int, TargetKind | None]:
    """Number and kind of the targets in the labels of a source."""
    if first.labels is None:
        return 0, None
    has_classes = first.labels.ndim == 1 and first.labels.dtype.kind in "biu"
    K = max(head.C, 2, source.classes or 0) if has_classes else None
    if K is not None and source.n is not None and max(head.C, source.n, _FEW_CLASSES) < K:
        raise DataError(
            f"the largest label is {K - 1}, the model has {head.C} outputs, and there are {source.n} rows",
            "classes that are numbered from 0 without large gaps",
            "Correct that label, renumber the classes, or pass more rows.",
        )
    table, kind = one_hot(first.labels, C=head.C, K=K)
    return (0 if table is None else table.shape[1]), kind


def measure_widths(model: Model, head: UnmeasuredHead, first: Batch, *, device: Device) -> Head:
    """Measure p and C of a head that the user chose, by one run."""
    patch, names = expose_tensors(model, head)
    features, outputs = open_session(model, patch, device=device).run(names, first.inputs)
    return measure_head(head, features.shape, outputs.shape)


def verify_head(prepared: PreparedModel) -> float | None:
    """Relative residual of the outputs against Wφ + b on the first batch; None where it is undefined.

    Raises:
        HeadError: when the outputs differ from Wφ + b by more than rounding.
    """
    head, features, outputs = prepared.head, prepared.features, prepared.outputs
    with single_threaded_blas(features.size * outputs.shape[1]):
        distance = affine_residual(head, features, outputs)
    rest = np.delete(outputs, prepared.suppressed_outputs, axis=1)
    is_finite = np.isfinite(features).all() and np.isfinite(rest).all()
    if distance is not None and is_finite and not distance <= allowed_residual(head):
        raise HeadError(
            f"the outputs differ from Wφ + b by {distance:.1e} of their size for {head.label}",
            f"a head that its own constants explain to {allowed_residual(head):.1e}",
            "Pass --features NAME and --outputs NAME to choose the tensors yourself.",
        )
    return distance if is_finite else None


def probe_head(model: Model, head: Head, source: Source, *, device: Device) -> tuple[float | None, str]:
    """Residual and kind of rows of a head on the first batch of a source. The residual is not judged."""
    prepared = _prepare_first_batch(model, head, source, device=device)
    return affine_residual(head, prepared.features, prepared.outputs), prepared.rows_kind


def measure_pilot(model: Model, head: Head, source: Source, *, device: Device) -> tuple[float | None, Array]:
    """Residual of a head and the pilot shift of its rows, on the first batch of a source.

    Raises:
        HeadError: when the outputs differ from Wφ + b by more than rounding.
    """
    prepared = _prepare_first_batch(model, head, source, device=device)
    return verify_head(prepared), prepared.pilot_shift()


def _prepare_first_batch(model: Model, head: Head, source: Source, *, device: Device) -> PreparedModel:
    """Prepare a model for the first batch of a source, without labels."""
    fixed = fixed_batch_size(model)
    size = fixed or choose_batch_size(model, head, source, memory=device.memory)
    with Batches(source, size) as batches:
        first = replace(batches.peek(), labels=None)
        return prepare_model(model, head, first, plan=FeedPlan(size, fixed is not None, 0, None), device=device)
