"""A patched model ready to run, with its first batch, the plan to feed it, and the check of its head."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import numpy as np
import psutil

from onnxrich._utils.threads import single_threaded_blas
from onnxrich.data.labels import FEW_CLASSES
from onnxrich.data.source import Batch, Source
from onnxrich.data.table import AnyArray
from onnxrich.engine.batches import Batches, pad
from onnxrich.engine.label_maps import has_row_labels, may_be_row_labels
from onnxrich.engine.layout import Layout, samples_first
from onnxrich.engine.masks import check_mask, check_undecided, choose_mask, kept_rows
from onnxrich.engine.runtime import Device, RunError, Session
from onnxrich.engine.sizing import choose_batch_size, fixed_batch_size
from onnxrich.errors import DataError, HeadError, Notice
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead, affine_residual, allowed_residual, measure_head
from onnxrich.model.mask import Mask
from onnxrich.model.patch.decisions import DecisionPatch
from onnxrich.model.patch.instrument import Patch, expose_tensors, instrument
from onnxrich.moments.matrix import Array
from onnxrich.moments.targets import TargetKind, have_accuracy, one_hot
from onnxrich.progress import Listener, Progress, Stage

# The square of a larger output, or the sum of such squares, overflows in double.
_LARGEST_OUTPUT = 1e150


@dataclass(frozen=True)
class FeedPlan:
    """How batches are fed to a patched model.

    Attributes:
        batch_size: samples in a batch.
        is_fixed: whether the model fixes the batch size, so that a short batch is padded.
        K: number of targets, 0 without labels.
        classes: numbers of the classes that occur, ascending, where there are too many to count each; else None.
        target_kind: kind of the targets.
        by_row: whether labels are classes of tokens or positions; rows with labels below zero are left out.
        ignores_labels: whether labels below zero leave out rows also where each sample has one label.
        mask: the model's mask of the rows.
        batches_per_product: number of batches whose rows one product adds.
        undecided: inputs that mark padding if they hold a zero, which the first batch does not show.
    """

    batch_size: int
    is_fixed: bool
    K: int
    target_kind: TargetKind | None
    by_row: bool = False
    ignores_labels: bool = False
    mask: Mask | None = None
    batches_per_product: int = 1
    # The patch does not depend on it.
    undecided: tuple[str, ...] = field(default=(), compare=False)
    classes: tuple[int, ...] | None = None

    @property
    def target_width(self) -> int:
        """Number of targets in z."""
        return self.K if self.classes is None else len(self.classes)

    @property
    def has_weights(self) -> bool:
        """Whether some rows have weight 0."""
        return self.is_fixed or self.by_row or self.ignores_labels or self.mask is not None


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
        shapes_before: shapes of features and outputs of the first batch before their rows are laid out.
        run_bytes: growth of the process's memory when it ran the first batch.
        layer_shifts: shifts of the hidden layers by name of the input; each run is fed them.
        notices: notices for the reader of the result.
    """

    model: Model
    head: Head
    plan: FeedPlan
    patch: Patch
    session: Session
    first: Batch
    features: Array
    outputs: Array
    shapes_before: tuple[tuple[int, ...], tuple[int, ...]]
    run_bytes: int
    layer_shifts: dict[str, AnyArray] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

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
        target_mean = np.zeros(self.plan.target_width)
        # What is not finite is told when it has been summed.
        with np.errstate(invalid="ignore", over="ignore"):
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
    with_tallies = have_accuracy(plan.target_kind, head.C, plan.K)
    patch = instrument(
        model, head, K=plan.target_width, classes=plan.classes, with_tallies=with_tallies, masked=plan.has_weights,
        mask=plan.mask, by_row=plan.by_row, batches_per_product=plan.batches_per_product,
        derived=head.derives_outputs, memory=device.memory,
    )  # fmt: skip
    session = open_session(model, patch.data, device=device)
    listen(Progress(Stage.RUNNING))
    feed = build_feed(patch, plan, first) | patch.idle_feed
    bytes_before = psutil.Process().memory_info().rss
    *tables, features_shape, outputs_shape = session.run([patch.features, patch.outputs, *patch.shapes_before], feed)
    run_bytes = max(0, psutil.Process().memory_info().rss - bytes_before)
    features, outputs = (np.asarray(table, dtype=np.float64) for table in tables)
    shapes = tuple(features_shape.tolist()), tuple(outputs_shape.tolist())
    # Padding comes last where samples come first; `prove_rows` shows whether they do.
    rows = len(features) if not plan.is_fixed else len(features) * first.rows // plan.batch_size
    return PreparedModel(model, head, plan, patch, session, first, features[:rows], outputs[:rows], shapes, run_bytes)


def adjust_to_first_batch(
    prepared: PreparedModel,
    source: Source,
    *,
    layouts: tuple[Layout, Layout],
    built_in_size: int | None,
    mask: str | None,
    notices: tuple[Notice, ...],
) -> PreparedModel:
    """Adjust head and plan to the number and order of the rows in the first batch.

    Only a run shows how many rows a sample has. Rows of tokens may need their mask, their own labels, or another order.

    Args:
        prepared: the model with its first batch.
        source: the rows.
        layouts: where the samples lie in features and outputs.
        built_in_size: the one batch size that the model runs with though its inputs leave it open; else None.
        mask: input that is 0 for rows to leave out.
        notices: notices on the runs so far.

    Raises:
        DataError: when the requested mask does not fit the rows.
        HeadError: when features and outputs have different numbers of rows.
    """
    head, plan, first = prepared.head, prepared.plan, prepared.first
    if len(prepared.features) != len(prepared.outputs):
        raise HeadError(
            f"the features {head.features.tensor!r} have {len(prepared.features)} rows, the outputs "
            f"{head.outputs.tensor!r} {len(prepared.outputs)}",
            "as many rows in both",
            "Pass other tensors to --features and --outputs.",
        )
    # Samples come first in the rows, so that labels, masks and padding fall on their own.
    features_view, outputs_view = (
        samples_first(view, layout, shape, first)
        for view, layout, shape in zip((head.features, head.outputs), layouts, prepared.shapes_before, strict=True)
    )
    if (features_view, outputs_view) != (head.features, head.outputs):
        head = replace(head, features=features_view, outputs=outputs_view)
    rows_per_sample, labels = prepared.rows_per_sample, first.labels
    choice = choose_mask(
        mask,
        first,
        rows_per_sample,
        inputs=prepared.model.inputs,
        count_rows=partial(_count_rows, prepared),
        output_dimensions=_output_dimensions(prepared.model),
    )
    if built_in_size is not None:
        plan = replace(plan, batch_size=built_in_size, is_fixed=True)
    if labels is not None and may_be_row_labels(labels):
        shape = layouts[0].laid_out(prepared.shapes_before[0], rows_per_sample)
        if has_row_labels(labels, shape, rows_per_sample, C=head.C):
            K = max(head.C, 2, source.classes or 0)
            plan = replace(plan, by_row=True, K=K, classes=occurring_classes(source, K), target_kind="classes")
        else:
            plan = replace(plan, K=labels.shape[1], target_kind="values")
    joined = max(1, plan.batches_per_product // rows_per_sample)
    row_mask = choice.mask and replace(choice.mask, samples_axis=first.axes.get(choice.mask.name, 0))
    plan = replace(plan, mask=row_mask, undecided=choice.undecided, batches_per_product=joined)
    notices = (*notices, *choice.notices)
    if (head, plan) == (prepared.head, prepared.plan):
        return replace(prepared, plan=plan, notices=notices)
    device = prepared.session.device
    prepared.session.close()  # memory may not hold two
    adjusted = prepare_model(prepared.model, head, first, plan=plan, device=device)
    return replace(adjusted, notices=notices)


def _output_dimensions(model: Model) -> frozenset[str]:
    dims = (dim for value in model.proto.graph.output for dim in value.type.tensor_type.shape.dim)
    return frozenset(dim.dim_param for dim in dims if dim.dim_param)


def _count_rows(prepared: PreparedModel, batch: Batch) -> int | None:
    """Number of rows of a sample in a batch; None where the model does not run with it."""
    patch, plan = prepared.patch, prepared.plan
    try:
        (features,) = prepared.session.run([patch.features], prepared.feed(batch) | patch.idle_feed)
    except RunError:
        return None
    rows, rest = divmod(len(features), plan.batch_size if plan.is_fixed else batch.rows)
    return None if rest else rows


def build_feed(patch: Patch | DecisionPatch, plan: FeedPlan, batch: Batch) -> dict[str, AnyArray]:
    """Build the inputs of the patched model for a batch, padded where the model fixes the batch size.

    Raises:
        DataError: when the mask has values other than 0 and 1.
    """
    if plan.mask is not None:
        check_mask(plan.mask, batch)
    check_undecided(plan.undecided, batch)
    padded = pad(batch, plan.batch_size) if plan.is_fixed else batch
    feed = padded.feed
    weights = np.ones((padded.rows, 1))
    weights[batch.rows :] = 0.0
    labels = padded.labels
    if plan.by_row and labels is not None:
        weights = np.repeat(weights, labels[0].size, axis=0) * (labels.reshape(-1, 1) >= 0)
        labels = np.maximum(labels.reshape(-1), 0)
    elif plan.ignores_labels and labels is not None:
        weights *= labels.reshape(-1, 1) >= 0
        labels = np.maximum(labels, 0)
    if patch.weights is not None:
        feed[patch.weights] = weights
    if patch.targets is not None:
        K = plan.K if plan.target_kind == "classes" else None
        table, _ = one_hot(labels, C=K or 1, K=K, classes=plan.classes)
        assert table is not None  # noqa: S101 - the plan has targets
        feed[patch.targets] = table
    return feed


def row_weights(plan: FeedPlan, batch: Batch, rows_per_sample: int) -> Array:
    """The weight of each row of a batch without padding: float64 array of shape (1, samples · rows_per_sample)."""
    weights = np.ones((1, batch.rows * rows_per_sample))
    if plan.by_row and batch.labels is not None:
        weights *= batch.labels.reshape(1, -1) >= 0
    elif plan.ignores_labels and batch.labels is not None:
        weights *= np.repeat(batch.labels >= 0, rows_per_sample)
    if plan.mask is not None:
        weights *= kept_rows(plan.mask, batch)
    return weights


def target_count(head: Head, source: Source, first: Batch) -> tuple[int, TargetKind | None]:
    """Number and kind of the targets in the labels of a source; none yet where only a run tells what they belong to.

    Raises:
        DataError: when the labels can't be targets.
    """
    if first.labels is None or may_be_row_labels(first.labels):
        return 0, None
    has_classes = first.labels.ndim == 1 and first.labels.dtype.kind in "biu"
    K = max(head.C, 2, source.classes or 0) if has_classes else None
    if K is not None and source.n is not None and max(head.C, source.n, FEW_CLASSES) < K:
        raise DataError(
            f"the largest label is {K - 1}, the model has {head.C} outputs, and there are {source.n} rows",
            "classes that are numbered from 0 without large gaps",
            "Correct that label, renumber the classes, or pass more rows.",
        )
    labels = np.maximum(first.labels, 0) if source.ignores_labels else first.labels
    table, kind = one_hot(labels, C=head.C, K=K, classes=None if K is None else occurring_classes(source, K))
    return K or (0 if table is None else table.shape[1]), kind


def occurring_classes(source: Source, K: int) -> tuple[int, ...] | None:
    """Numbers of the classes that get a column, among K; None for all.

    They contain class 0, in place of which rows are read that are left out.
    """
    if source.classes is None or K <= FEW_CLASSES:
        return None
    numbers = tuple(range(source.classes)) if source.occurring is None else source.occurring
    return numbers if numbers[:1] == (0,) else (0, *numbers)


def measure_widths(model: Model, head: UnmeasuredHead, first: Batch, *, device: Device) -> Head:
    """Measure p and C of a head that the user chose, by one run."""
    patch, names = expose_tensors(model, head)
    features, outputs = open_session(model, patch, device=device).run(names, first.feed)
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
