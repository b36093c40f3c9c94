"""Where the samples lie in a tensor of features, and the view that brings them to the front."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from onnxrich.data.source import Batch
from onnxrich.data.table import AnyArray
from onnxrich.errors import HeadError
from onnxrich.model.head.affine import Axes
from onnxrich.model.head.head import View


@dataclass(frozen=True)
class Layout:
    """Where the samples lie in a tensor whose last axis holds features.

    Attributes:
        axis: the axis of samples.
        shared: whether each sample has several entries along this axis: its tokens or positions.
        samples_fastest: whether the entries of a shared axis run over the samples first (time-major).
    """

    axis: int = 0
    shared: bool = False
    samples_fastest: bool = False

    def by_sample(self, tensor: AnyArray, samples: int) -> AnyArray:
        """Bring a tensor into shape (samples, values of one sample)."""
        front = np.moveaxis(tensor, self.axis, 0)
        if self.samples_fastest:
            front = front.reshape(-1, samples, *front.shape[1:]).swapaxes(0, 1)
        return front.reshape(samples, -1)

    def laid_out(self, shape: tuple[int, ...], rows_per_sample: int) -> tuple[int, ...]:
        """The shape of a tensor, features last, once its samples come first."""
        others = (*shape[: self.axis], *shape[self.axis + 1 :])
        if not self.shared:
            return (shape[self.axis], *others)
        return (shape[self.axis] // rows_per_sample, rows_per_sample, *others)


def possible_layouts(shapes: Sequence[tuple[int, ...]], samples: Sequence[int]) -> Iterator[Layout]:
    """The layouts that the lengths of the axes allow: as many entries as samples, or the same number for each."""
    if len({len(shape) for shape in shapes}) > 1:
        return
    axes = range(len(shapes[0]) - 1)
    lengths = [[shape[axis] for shape in shapes] for axis in axes]
    yield from (Layout(axis) for axis in axes if lengths[axis] == list(samples))
    for axis in axes:
        shares = {length / count for length, count in zip(lengths[axis], samples, strict=True)}
        if len(shares) == 1 and (share := shares.pop()) > 1 and share.is_integer():
            yield Layout(axis, shared=True)
            yield Layout(axis, shared=True, samples_fastest=True)


def samples_first(view: View, layout: Layout, shape: tuple[int, ...], first: Batch) -> View:
    """Read a view with its samples along the first axis.

    Raises:
        HeadError: when samples and tokens share an axis among others.
    """
    if layout == Layout() or (layout.shared and not layout.samples_fastest and layout.axis == 0):
        return view
    if not layout.shared:
        return replace(
            view, axes=view.axes if view.axes.rank else Axes.features_last(len(shape)), samples_axis=layout.axis
        )
    if len(shape) > 2:
        raise HeadError(
            f"samples and tokens share axis {layout.axis} of {view.tensor!r}, of shape {shape}",
            "an axis of samples",
            "Pass other tensors to --features and --outputs.",
        )
    name = next(name for name, array in first.inputs.items() if array.ndim and name not in first.shared)
    return replace(view, samples_fastest=(name, first.axes.get(name, 0)))
