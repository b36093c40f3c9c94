"""Proof by a few runs that the rows of a head belong to samples, and to nothing else in their batch.

The first samples run whole, in two parts and in reverse order. Where the rows of each sample stay the same, an axis of
the tensor runs over the samples. Else the samples lie along another axis, the model mixes the samples of a batch, or it
draws random numbers: then the numbers would not belong to the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxrich.data.source import Batch
from onnxrich.data.table import AnyArray
from onnxrich.engine.batches import pad
from onnxrich.engine.layout import Layout, possible_layouts
from onnxrich.engine.prepared import PreparedModel
from onnxrich.engine.runtime import RunError
from onnxrich.errors import HeadError, ModelError, Notice
from onnxrich.model.graph import attribute
from onnxrich.moments.precision import EPS

# The most samples of a run.
SAMPLES = 64
# Kernels sum in another order for another batch size. That changes values by this many eps of the largest one, and by
# this share of their spread over the samples where many layers carry it on.
ROUNDING, CARRIED_ON = 64, 2e-4
# Operators that round by the range of the values in a batch, and the share of the largest value that this may change.
RANGED = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"})
RANGED_SHARE = 0.25
# The layout of the samples must change values less than any other one by this factor.
CLEAR_FACTOR = 10
# Code of the notice that each sample ran alone.
BATCH_OF_ONE = "batch_of_one"


@dataclass(frozen=True)
class Proof:
    """What the runs show.

    Attributes:
        layouts: where the samples lie in φ and in f.
        built_in_size: the one number of samples that the model runs with though its inputs leave it open; else None.
        notices: notices for the reader of the result.
    """

    layouts: tuple[Layout, Layout] = (Layout(), Layout())
    built_in_size: int | None = None
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, eq=False)
class _Run:
    """One run.

    Attributes:
        index: for each sample of the run, its number in the whole.
        tensors: φ and f before their rows are laid out; zero where they are not finite.
    """

    index: NDArray[np.int64]
    tensors: tuple[AnyArray, ...]


@dataclass(frozen=True, eq=False)
class _Comparison:
    """The rows of each sample in several runs, for the layout that keeps them most alike.

    Attributes:
        layout: the layout; None when no axis has the lengths that an axis of samples has.
        change: largest change of a value, relative to the change that rounding explains.
        share: the same relative to the largest value.
        is_clear: whether no other layout keeps them nearly as much alike.
    """

    layout: Layout | None
    change: float = np.inf
    share: float = np.inf
    is_clear: bool = True

    @property
    def is_proven(self) -> bool:
        """Whether the rows of each sample stay the same but for rounding."""
        return self.layout is not None and self.change <= 1


def prove_rows(prepared: PreparedModel, *, is_all: bool) -> Proof:
    """Prove on the first batch that the rows of features and outputs belong to its samples.

    At most five runs of `SAMPLES` samples or of the batch size that the model fixes, and two more before an error.

    Args:
        prepared: the model with its first batch.
        is_all: whether the first batch holds all rows of the data.

    Raises:
        ModelError: when no axis runs over the samples, when a sample's rows change with the others in its batch, unless
            there is only one batch, or when they change from run to run.
    """
    first, plan = prepared.first, prepared.plan
    built_in_size = None
    if plan.is_fixed:
        whole = pad(first, plan.batch_size)
        runs = list(_run_all(prepared, whole, _fixed_indices(whole.rows)))
    else:
        whole = first.take(slice(0, SAMPLES))
        try:
            runs = list(_run_all(prepared, whole, _open_indices(whole.rows)))
        except RunError:
            if first.rows == 1:
                _check_repeatable(prepared, whole, _Run(np.arange(1), _run(prepared, whole)), "features")
                return Proof(notices=(_run_alone(),))
            whole, built_in_size = first, first.rows
            runs = list(_run_all(prepared, whole, _fixed_indices(whole.rows)))
    features = _compare(prepared, runs, 0)
    # The check of an affine head compares its outputs with the features row by row, so their rows lie alike.
    lies_alike = runs[0].tensors[0].shape[:-1] == runs[0].tensors[1].shape[:-1]
    outputs = features if prepared.head.affine is not None and lies_alike else _compare(prepared, runs, 1)
    notices = [
        _judge(prepared, whole, runs[0], comparison, name, is_all=is_all)
        for comparison, name in ((features, "features"), (outputs, "outputs"))
        if not comparison.is_proven or (comparison.share > CARRIED_ON and _is_ranged(prepared))
    ]
    for comparison, tensor in zip((features, outputs), runs[0].tensors, strict=True):
        # Labels, padding and masks belong to samples. Nothing else asks which row is which.
        if not comparison.is_clear and (plan.is_fixed or first.labels is not None or len(first.inputs) > 1):
            raise _ambiguity(prepared, tensor.shape, whole.rows)
    layouts = (features.layout or Layout(), outputs.layout or Layout())
    return Proof(layouts, None if is_all else built_in_size, tuple(notices[:1]))


def _judge(
    prepared: PreparedModel, whole: Batch, run: _Run, comparison: _Comparison, name: str, *, is_all: bool
) -> Notice:
    """The notice with which rows that change with their batch may be measured.

    Raises:
        ModelError: when they may not.
    """
    _check_repeatable(prepared, whole, run, name)
    if _is_ranged(prepared) and comparison.share <= RANGED_SHARE:
        return _ranged(name, comparison.share)
    # One row of a sample that runs alone is its own. Several might belong to an input that all samples share.
    if whole.rows == 1 and (prepared.rows_per_sample == 1 or not whole.shared):
        return _run_alone()
    # The samples of a graph belong together. Where all rows are one batch, there is no other to depend on.
    if is_all and comparison.layout is not None and _axis_that_works(prepared, whole) is None:
        return _dependent(name, comparison.share, prepared.first.rows)
    raise _refusal(prepared, whole, run, comparison, name)


def _check_repeatable(prepared: PreparedModel, whole: Batch, run: _Run, name: str) -> None:
    """Check that the same samples give the same numbers when they run again.

    Raises:
        ModelError: when they do not.
    """
    if _draws(prepared, whole, run):
        raise ModelError(
            f"{prepared.model.path}: equal batches give other {name} in each run: the model draws random numbers, or "
            "keeps a state",
            "the same numbers for the same rows",
            "Export the model in evaluation mode (model.eval()).",
        )


def _open_indices(samples: int) -> list[NDArray[np.int64]]:
    """Samples of the runs where a batch may have any size: all, in reverse order, and two parts of different sizes."""
    whole = np.arange(samples)
    if samples == 1:
        return [whole, np.array([0, 0])]
    cut = max(1, 3 * samples // 8)
    return [whole, whole[::-1], whole[:cut], whole[cut:]]


def _fixed_indices(samples: int) -> list[NDArray[np.int64]]:
    """Samples of the runs where all batches have one size: the others are replaced in place of leaving them out.

    A single sample runs several times: coarse noise may be the same twice.
    """
    whole = np.arange(samples)
    return [whole, whole[::-1], np.where(whole < (samples + 1) // 2, whole, 0)] if samples > 1 else [whole] * 4


def _run_all(prepared: PreparedModel, whole: Batch, indices: Sequence[NDArray[np.int64]]) -> Iterator[_Run]:
    for index in indices:
        yield _Run(index, _run(prepared, whole.take(index)))


def _run(prepared: PreparedModel, batch: Batch) -> tuple[AnyArray, ...]:
    """Features and outputs of a batch before their rows are laid out; zero where they are not finite."""
    patch = prepared.patch
    names = [patch.features, patch.outputs, *patch.shapes_before]
    *tables, features_shape, outputs_shape = prepared.session.run(names, prepared.feed(batch) | patch.idle_feed)
    shapes = (features_shape.tolist(), outputs_shape.tolist())
    return tuple(
        np.where(np.isfinite(table), table, 0).astype(np.float64).reshape(shape)
        for table, shape in zip(tables, shapes, strict=True)
    )


def _compare(prepared: PreparedModel, runs: Sequence[_Run], number: int) -> _Comparison:
    """Compare a tensor of the runs, and choose the layout with the smallest change."""
    whole, *others = runs
    tensor = whole.tensors[number]
    largest = float(np.abs(tensor).max(initial=0))
    comparisons: list[_Comparison] = []
    for layout in possible_layouts([run.tensors[number].shape for run in runs], [len(run.index) for run in runs]):
        expected = layout.by_sample(tensor, len(whole.index))
        differences = (layout.by_sample(run.tensors[number], len(run.index)) - expected[run.index] for run in others)
        change = max((float(np.abs(difference).max(initial=0)) for difference in differences), default=0.0)
        spread = float(np.abs(expected - expected.mean(axis=0)).max(initial=0))
        allowed = ROUNDING * _eps(prepared) * largest + CARRIED_ON * spread
        relative = change / allowed if allowed else 0.0
        comparisons.append(_Comparison(layout, relative, change / largest if largest else 0.0))
    if not comparisons:
        return _Comparison(None)
    best, *rest = sorted(comparisons, key=lambda comparison: comparison.change)
    is_clear = all(comparison.change > CLEAR_FACTOR * best.change for comparison in rest)
    return replace(best, is_clear=is_clear)


def _eps(prepared: PreparedModel) -> float:
    affine = prepared.head.affine
    return EPS["float32"] if affine is None else max(EPS[affine.dtype], affine.quantization_step / ROUNDING)


def _is_ranged(prepared: PreparedModel) -> bool:
    return any(node.op_type in RANGED for node in prepared.model.proto.graph.node)


def _draws(prepared: PreparedModel, whole: Batch, run: _Run) -> bool:
    """Whether the same samples give other features when they run again."""
    again = _run(prepared, whole.take(run.index))
    return any(
        first.shape != second.shape
        or bool(np.abs(first - second).max(initial=0) > ROUNDING * _eps(prepared) * np.abs(first).max(initial=0))
        for first, second in zip(run.tensors, again, strict=True)
    )


def _ambiguity(prepared: PreparedModel, shape: tuple[int, ...], samples: int) -> HeadError:
    fixed = prepared.plan.is_fixed
    return HeadError(
        f"several axes of the features of shape {shape}, from batches of {samples}, could run over the samples",
        "samples that differ" if fixed else "a batch size that no other axis has",
        "Export the model with a dynamic batch dimension." if fixed else "Pass another --batch-size.",
    )


def _refusal(prepared: PreparedModel, whole: Batch, run: _Run, comparison: _Comparison, name: str) -> ModelError:
    """Say why rows can't be said to belong to samples, with the remedy that helps."""
    path = prepared.model.path
    if comparison.layout is None:
        shape = tuple(run.tensors[0 if name == "features" else 1].shape)
        found = f"{path}: no axis of the {name}, of shape {shape} for {len(run.index)} samples, runs over the samples"
    else:
        found = (
            f"{path}: the {name} of a sample change with the other samples of its batch, by up to "
            f"{comparison.share:.1%} of their largest value"
        )
    return ModelError(found, "rows that belong to one sample each", _remedy(prepared, whole, comparison))


def _remedy(prepared: PreparedModel, whole: Batch, comparison: _Comparison) -> str:
    axis = _axis_that_works(prepared, whole)
    if axis is not None:
        return f"Axis {axis} of the inputs runs over the samples: pass --batch-axis {axis}."
    evaluation = "Export the model in evaluation mode (model.eval())"
    trains = any(
        node.op_type == "BatchNormalization" and attribute(node, "training_mode", 0)
        for node in prepared.model.proto.graph.node
    )
    if trains or prepared.plan.is_fixed:
        return f"{evaluation}: its batches must not mix samples."
    if comparison.layout is None:
        return "Pass --batch-size 1 to run each sample alone."
    return f"{evaluation}, or pass --batch-size 1 to run each sample alone."


def _axis_that_works(prepared: PreparedModel, whole: Batch) -> int | None:
    """Another axis of the inputs along which the rows of each sample stay the same; None when there is none."""
    open_plan = replace(prepared, plan=replace(prepared.plan, is_fixed=False))
    for axis in (0, 1):
        other = _along(whole, axis)
        if other is None or other.rows < 2:
            continue
        try:
            runs = list(_run_all(open_plan, other, _open_indices(other.rows)))
        except RunError:
            continue
        if _compare(prepared, runs, 0).is_proven:
            return axis
    return None


def _along(batch: Batch, axis: int) -> Batch | None:
    """The same arrays with their samples along another axis of the inputs; None where some lack it."""
    arrays = {name: array for name, array in batch.feed.items() if array.ndim and name not in batch.shared}
    if any(batch.axes.get(name, 0) == axis or array.ndim <= axis for name, array in arrays.items()):
        return None
    lengths = {array.shape[axis] for array in arrays.values()}
    if len(lengths) != 1:
        return None
    rows = min(lengths.pop(), SAMPLES)
    moved = {name: np.moveaxis(array, axis, 0)[:rows] for name, array in arrays.items()}
    labels = None if batch.labels is None else np.zeros((rows, *batch.labels.shape[1:]), batch.labels.dtype)
    axes = dict.fromkeys(arrays, axis) if axis else {}
    return replace(batch, inputs={**batch.inputs, **moved}, labels=labels, rows=rows, axes=axes)


def _ranged(name: str, share: float) -> Notice:
    return Notice(
        "batch_dependent",
        f"The model rounds by the range of the values in a batch: the {name} of a sample change with its batch, by up "
        f"to {share:.1%} of their largest value. Another --batch-size gives slightly other numbers.",
    )


def _dependent(name: str, share: float, rows: int) -> Notice:
    return Notice(
        "batch_dependent",
        f"The {name} of a sample change with the other samples of its batch, by up to {share:.1%} of their largest "
        f"value. All {rows:,} rows ran in one batch: the numbers hold for this batch alone.",
    )


def _run_alone() -> Notice:
    return Notice(
        BATCH_OF_ONE,
        "The model gives other features for a sample in a batch, or takes no batch at all: each sample ran alone.",
    )
