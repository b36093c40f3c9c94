"""Fitting data to a model: what feeds which input, and arrays in the form in which the runtime reads them rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxrich.data.images.layout import Pixels, layout_of
from onnxrich.data.images.sized import mending
from onnxrich.data.preprocessing.declared import Declared
from onnxrich.data.preprocessing.steps import OF_IMAGES, Preprocessing, Recipe
from onnxrich.data.source import Batch
from onnxrich.data.table import AnyArray, Field, shown
from onnxrich.errors import DataError
from onnxrich.model.file import Input
from onnxrich.moments.targets import class_column


@dataclass(frozen=True, eq=False)
class Slot:
    """What feeds one input.

    Attributes:
        entry: the input.
        fields: the field, or several of one number a row each, which become its columns.
        constant: whether it is the same for every batch.
        pixels: what is done to the rows, None for nothing.
    """

    entry: Input
    fields: tuple[str, ...]
    constant: bool = False
    pixels: Pixels | None = None

    def load(self, arrays: Mapping[str, AnyArray]) -> AnyArray:
        """The input's array of a block of fields.

        Raises:
            DataError: when they don't fit.
        """
        first = arrays[self.fields[0]]
        stacked = len(self.fields) > 1 or _is_column(self.entry, first.shape)
        array = np.stack([arrays[name] for name in self.fields], axis=1) if stacked else first
        remedy = ""
        if self.pixels is not None:
            given, array = array, self.pixels(array)
            remedy = mending(self.pixels, given, array)
        check(self.entry, array.dtype, array.shape, constant=self.constant, remedy=remedy)
        return convert(self.entry, array)


def slot(entry: Input, fields: tuple[Field, ...], inputs: tuple[Input, ...], said: Declared) -> Slot:
    """The slot of an input for some fields, checked as far as the fields say what they hold.

    Raises:
        DataError: when a field doesn't fit.
    """
    field = fields[0]
    names = tuple(field.name for field in fields)
    recipe = recipe_for(entry, field, inputs, said)
    lies = layout_of(entry.shape or ()) or layout_of(field.shape)
    for other in said.others:
        _check_alike(recipe, recipe_for(entry, field, inputs, other), (said.model, other.model), lies)
    if recipe is not None:
        _check_resample(recipe.steps)
    if recipe is not None or field.image:
        steps = Preprocessing() if recipe is None else recipe.steps
        # Bytes are pixels: how they become floats has to be said.
        if field.dtype == np.uint8 and not steps.changes_values:
            check(entry, field.dtype, entry.shape or ())
        return Slot(entry, names, pixels=Pixels(entry, steps, decoded=field.image and None in field.shape))
    stacked = len(fields) > 1 or _is_column(entry, field.shape)
    shape = (*field.shape, len(fields)) if stacked else field.shape
    constant = is_constant(entry, shape, inputs)
    dtype = np.result_type(*(field.dtype for field in fields)) if len(fields) > 1 else field.dtype
    check(entry, dtype, shape, constant=constant)
    return Slot(entry, names, constant)


def _check_resample(steps: Preprocessing) -> None:
    if steps.resample is not None and steps.resize is None:
        raise DataError(
            f"resample {steps.resample!r} without resize",
            "the size that images are brought to",
            "Pass --resize as well, or leave --resample out.",
        )


def recipe_for(entry: Input, field: Field, inputs: tuple[Input, ...], said: Declared) -> Recipe | None:
    """The preprocessing that holds for a field: that of images, or of the only input. None without any.

    Raises:
        DataError: when the user declares steps that would do nothing.
    """
    if not field.image and len(inputs) > 1 and len(entry.shape or ()) != 4:
        return None
    idle = _idle(entry, field)
    told = [name for name in idle if name in said.by_user.origins]
    if told:
        raise _no_images(field, told, said.by_user)
    # What others declare speaks of images in general, and is no mistake where there are none.
    recipe = (said.for_bytes if field.image or field.dtype == np.uint8 else said.by_user).without(idle)
    return recipe if recipe.steps.declared() else None


def _check_alike(
    recipe: Recipe | None, other: Recipe | None, models: tuple[str, str], layout: Literal["NCHW", "NHWC"] | None
) -> None:
    """Check that the same is done to rows that two models are to share, however it is written.

    Args:
        recipe: of one of them.
        other: of the other.
        models: how messages name them.
        layout: the one of the input, or else of the rows, as far as their shapes say it.

    Raises:
        DataError: when something else is declared for one of them.
    """
    each = [(Preprocessing() if one is None else one.steps).normal(layout) for one in (recipe, other)]
    if each[0] == each[1]:
        return
    told = [
        f"{model}: {'nothing' if one is None else one.told}" for model, one in zip(models, (recipe, other), strict=True)
    ]
    raise DataError(
        f"other preprocessing for each model ({'; '.join(told)})",
        "the same for all models that take the same rows",
        "Pass it as options, such as --scale 1/255, or run each model alone.",
    )


def _idle(entry: Input, field: Field) -> tuple[str, ...]:
    """The steps that do nothing to a field: those of images where its rows have no height and width.

    Rows of two axes may be gray images, which have no channels to be laid out unless the input has. A field of which
    no shape is known may be anything.
    """
    rank = len(field.shape)
    if field.image or rank in (0, 4):
        return ()
    if rank != 3:
        return OF_IMAGES
    return ("layout",) if entry.shape is not None and len(entry.shape) == 3 else ()


def _no_images(field: Field, steps: Sequence[str], by_user: Recipe) -> DataError:
    told = " and ".join(
        f"--{name}" if by_user.origins[name] == "options" else f"{name} in {by_user.origins[name]}" for name in steps
    )
    rows = " × ".join(map(str, field.shape[1:])) or "one number"
    return DataError(
        f"{told} for {field.name!r}, whose rows are {rows}",
        f"images: height × width{', with or without' if len(field.shape) < 3 else ' ×'} channels",
        f"Leave out {told}, or save the rows in the shape of images.",
    )


def batch(arrays: Mapping[str, AnyArray], labels: AnyArray | None, slots: tuple[Slot, ...], rows: int) -> Batch:
    """A batch of a block of fields.

    Raises:
        DataError: when they don't fit the inputs.
    """
    marks = None if labels is None else class_column(labels)
    shared = frozenset(slot.entry.name for slot in slots if slot.constant)
    return Batch({slot.entry.name: slot.load(arrays) for slot in slots}, marks, rows, shared)


def check_batch(inputs: tuple[Input, ...]) -> None:
    """Check that a batch of the model has room for rows.

    Raises:
        DataError: when the model fixes its batch size at 0.
    """
    batched = [entry for entry in inputs if entry.shape]
    if batched and all(entry.shape and entry.shape[0] == 0 for entry in batched):
        raise DataError(
            f"input {batched[0].name!r} takes batches of 0 rows",
            "a batch dimension that is free or positive",
            "Export the model with a dynamic batch axis.",
        )


def check(
    entry: Input,
    dtype: np.dtype[Any],
    shape: tuple[int | str | None, ...],
    *,
    constant: bool = False,
    remedy: str = "",
) -> None:
    """Check that an array fits an input of the model, but for the number of its rows; sizes of None fit any.

    Args:
        entry: the input.
        dtype: of the array.
        shape: of the array.
        constant: whether it has no axis of rows.
        remedy: what to do about another shape; what helps with arrays when left out.

    Raises:
        DataError: when its type, its rank or a fixed dimension differs.
    """
    if entry.dtype is None:
        raise DataError(
            f"input {entry.name!r} is no numeric tensor",
            "inputs of numbers",
            "Export the model without strings or sequences.",
        )
    # NumPy makes the name anew each time, which takes longer than all else here.
    if entry.dtype.kind == "V" and entry.dtype.name == "bfloat16":
        raise DataError(
            f"input {entry.name!r} of type bfloat16",
            "inputs of a type that NumPy has",
            "Export the model with float32 inputs, and cast them inside.",
        )
    if not _convertible(dtype, entry.dtype):
        pixels = dtype == np.uint8 and entry.dtype.kind == "f"
        saved = f"onvert the array with `.astype({entry.dtype.name!r})` and save it again."
        raise DataError(
            f"{dtype} data for input {entry.name!r}",
            f"{entry.dtype}",
            f"Say how bytes are scaled, as in training (--scale 1/255), or c{saved}" if pixels else f"C{saved}",
        )
    if entry.shape is None:
        return
    skip = 0 if constant else 1
    fits = len(shape) == len(entry.shape) and all(
        not isinstance(want, int) or have is None or want == have
        for want, have in zip(entry.shape[skip:], shape[skip:], strict=True)
    )
    if not fits:
        raise DataError(
            f"data of shape {shown(shape)} for input {entry.name!r}",
            f"shape {shown(entry.shape)}",
            remedy or _reshaping(entry.shape, shape),
        )


def _reshaping(want: tuple[int | str | None, ...], have: tuple[int | str | None, ...]) -> str:
    """What to do about data of another shape than the input's; images may have their channels elsewhere, or none."""
    for axis in range(1, len(want)):
        if want[axis] == 1 and have[1:] == (*want[1:axis], *want[axis + 1 :]):
            said = {1: "pass --layout NCHW, or ", 3: "pass --layout NHWC, or "}.get(axis, "") if len(want) == 4 else ""
            return f"An axis of length 1 is missing: {said}save numpy.expand_dims(array, {axis})."
    for layout, axes, where in (("NCHW", (0, 3, 1, 2), "last"), ("NHWC", (0, 2, 3, 1), "first")):
        if layout_of(want) == layout and layout_of(have) not in (None, layout):
            return f"The channels come {where}: pass --layout {layout}, or save array.transpose{axes}."
    return "Reshape or transpose the array (first axis: rows) and save it again."


def is_constant(entry: Input, shape: tuple[int | None, ...], inputs: tuple[Input, ...]) -> bool:
    """Whether an array is the same for every batch: a scalar, or of an input's fixed shape beside batched inputs."""
    if not shape:
        return True
    others = any(other.shape and not isinstance(other.shape[0], int) for other in inputs)
    return others and entry.shape == shape


def _is_column(entry: Input, shape: tuple[int | None, ...]) -> bool:
    """Whether one number a row feeds an input that takes tables of one column."""
    return len(shape) == 1 and entry.shape is not None and len(entry.shape) == 2 and entry.shape[1] == 1


def convert(entry: Input, array: AnyArray) -> AnyArray:
    """The array in the input's type, native byte order and C order.

    Raises:
        DataError: when integers don't fit the type.
    """
    assert entry.dtype is not None  # noqa: S101 - `check` refused such inputs
    if array.dtype.kind in "iu" and array.size and not np.can_cast(array.dtype, entry.dtype, "safe"):
        limits = np.iinfo(entry.dtype.name)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise DataError(
                f"values from {array.min()} to {array.max()} for input {entry.name!r}",
                f"values that {entry.dtype} holds",
                "Check the data and their type.",
            )
    # The runtime misreads foreign byte orders without a word. A number too large for the type becomes infinite, and is
    # found as such if it reaches the features.
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype=entry.dtype.newbyteorder("="), order="C")


def _convertible(have: np.dtype[Any], want: np.dtype[Any]) -> bool:
    return have.kind == want.kind or (have.kind in "biu" and want.kind in "iu")
