"""Masks: the input of a model that marks the rows to leave out, chosen where a run shows that it belongs to the rows.

An input marks the rows of a sample when it has one entry for each of them, or as many entries more as a past has. A run
in which one sequence is shorter tells two of equal length apart, such as those of an encoder and a decoder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxrich._utils.formatting import name_list
from onnxrich.data.missing import PAST
from onnxrich.data.source import Batch
from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError, Notice
from onnxrich.model.file import Input
from onnxrich.model.mask import NOT, Mask

# The request that no row is left out.
NO_MASK = "none"
# Inputs that are 1 for tokens and 0 for padding, by the names that exporters of transformers give them.
KNOWN = ("decoder_attention_mask", "attention_mask")
# Inputs that are documented to mark other tokens than padding.
OTHER_MARKS = ("global_attention_mask", "special_tokens_mask")
_LIKELY = re.compile(r"masks?$|(^|[^a-z])pad(ding)?([^a-z]|$)", re.IGNORECASE)
_DECODER = re.compile(r"(^|[^a-z])(decoder|dec|target|tgt|trg)([^a-z]|$)", re.IGNORECASE)
# Names of masks in which 1 often marks padding, as those of PyTorch's layers do.
_PADDING = re.compile(r"pad(ding)?_?mask", re.IGNORECASE)
# Names of inputs that number the segments of a text.
_SEGMENTS = re.compile(r"(type|segment)", re.IGNORECASE)
# A shorter sequence shows something when it still has more than one token: one would be repeated for all others.
_LEAST_TOKENS = 3

# Numbers that are added to scores for padding are below this one.
_LEAST_ADDED = -100
# A message repeats no longer name, and lists no more names.
_LONG_NAME, _LISTED = 30, 3

# Runs a batch, and gives the number of rows of a sample; None where the model does not run with it.
CountRows = Callable[[Batch], int | None]


@dataclass(frozen=True)
class MaskChoice:
    """The mask of the rows, and what a reader should know of it.

    Attributes:
        mask: the mask; None where all rows count.
        notices: notices for the reader of the result.
        undecided: inputs that leave nothing out of the first batch, to be checked in the others.
    """

    mask: Mask | None = None
    notices: tuple[Notice, ...] = ()
    undecided: tuple[str, ...] = ()


def choose_mask(
    requested: str | None,
    first: Batch,
    rows_per_sample: int,
    *,
    inputs: tuple[Input, ...],
    count_rows: CountRows,
    output_dimensions: frozenset[str] = frozenset(),
) -> MaskChoice:
    """Choose the input that masks rows, where a sample has several.

    The requested one is taken when it has an entry for each row. Otherwise:

    1. `attention_mask` or `decoder_attention_mask` is taken when it alone belongs to the rows.
    2. One of these that has another number of entries is refused, unless it leaves nothing out.
    3. An input whose name speaks of a mask, and that has an entry for each row, is refused when it holds zeros and
       ones: which of them marks padding is unknown.
    4. A notice names a mask of another sequence, and masks that are not used.

    Args:
        requested: name of the input, with "not:" before it where 1 marks padding; "none" for no mask.
        first: the first batch.
        rows_per_sample: number of rows of each sample.
        inputs: inputs of the model.
        count_rows: runs a batch.
        output_dimensions: names of the symbolic dimensions of the model's outputs.

    Raises:
        DataError: when the requested mask does not fit the rows, a mask has other values than 0 and 1, or it is unknown
            which input is the mask.
    """
    if requested == NO_MASK and NO_MASK not in first.inputs:
        return MaskChoice()
    candidates = _Candidates(first, rows_per_sample, inputs, count_rows, output_dimensions)
    if requested is not None:
        return _requested_mask(requested, candidates)
    if rows_per_sample == 1:
        return MaskChoice()
    own = [name for name in KNOWN if name in first.inputs and name not in candidates.elsewhere]
    # Case 1
    fitting = [mask for name in own if (mask := candidates.fit(Mask(name)))]
    if len(fitting) > 1:
        raise DataError(
            f"{name_list(own)} both have an entry for each of the {rows_per_sample} rows of a sample",
            "one mask of the rows",
            f"Pass {' or '.join(f'--mask {name}' for name in own)}.",
        )
    if fitting:
        check_mask(fitting[0], first)
        return MaskChoice(fitting[0], tuple(_unused_notices(candidates.unused())))
    # Case 2
    unfit = next((name for name in own if not _leaves_nothing_out(first.inputs[name])), None)
    if unfit is not None:
        raise _other_length(unfit, candidates)
    # Case 3
    for name in candidates.likely():
        check_mask(Mask(name), first)
    unknown = [name for name in candidates.likely() if _has_both(first.inputs[name])]
    if unknown:
        raise DataError(
            f"{name_list(unknown[:_LISTED])} may mark padding among the {rows_per_sample} rows of a sample",
            "the mask and its meaning",
            f"Pass {_choices(unknown)}.",
        )
    # Case 4
    notices = [_no_mask_notice(candidates.elsewhere)] if candidates.elsewhere else []
    notices = [*notices, *_unused_notices([*own, *candidates.unused()])]
    return MaskChoice(None, tuple(notices), () if notices else candidates.undecided())


def check_undecided(names: Iterable[str], batch: Batch) -> None:
    """Check that inputs which left nothing out of the first batch leave nothing out of another one.

    Raises:
        DataError: when one does.
    """
    for name in names:
        if not _leaves_nothing_out(batch.inputs[name]):
            raise DataError(
                f"{name!r} holds ones alone in the first batch, and zeros later: it may mark padding among the rows",
                "the mask and its meaning",
                f"Pass {_choices([name])}.",
            )


def find_token_mask(requested: str | None, first: Batch) -> tuple[Mask, int] | None:
    """Find the mask of the tokens of a first batch, and their number, where samples are rows.

    Args:
        requested: as for `choose_mask`; when left out, the one input of known meaning.
        first: the first batch.
    """
    names = [name for name in KNOWN if name in first.inputs] if requested is None else [requested]
    if len(names) != 1:
        return None
    mask = parse_mask(names[0], first.inputs)
    mask = replace(mask, samples_axis=first.axes.get(mask.name, 0))
    return (mask, first.inputs[mask.name].shape[-1]) if _marks_tokens(mask.name, first) else None


def unused_token_masks(first: Batch) -> list[Notice]:
    """Name the inputs that may mark padding among the tokens of a first batch, where no mask is known."""
    likely = [name for name in first.inputs if _LIKELY.search(name) and _marks_tokens(name, first)]
    return _unused_notices([name for name in likely if _has_both(first.inputs[name])])


def _marks_tokens(name: str, first: Batch) -> bool:
    """Whether an input has a zero or a one for each token of a sample."""
    array = first.inputs.get(name)
    if array is None or array.ndim < 2 or len(array) != first.rows or name in first.shared:
        return False
    return array.shape[-1] == array[0].size and bool(np.isin(array, (0, 1)).all())


def parse_mask(requested: str, names: Iterable[str]) -> Mask:
    """Read a request for a mask; an input that has the requested name comes first."""
    if requested.startswith(NOT) and requested not in names:
        return Mask(requested.removeprefix(NOT), inverted=True)
    return Mask(requested)


def kept_rows(mask: Mask, batch: Batch) -> NDArray[np.bool_]:
    """Whether each row of a batch counts: booleans of shape (rows,), sample after sample."""
    entries = batch.inputs[mask.name].reshape(batch.rows, -1)[:, mask.start :]
    kept: NDArray[np.bool_] = (entries != 0).reshape(-1) != mask.inverted
    return kept


def check_mask(mask: Mask, batch: Batch) -> None:
    """Check that a mask does not weigh rows.

    Raises:
        DataError: when it has values other than 0 and 1.
    """
    array = batch.inputs[mask.name]
    if np.isin(array, (0, 1)).all():
        return
    if _is_additive(array):
        raise DataError(
            f"mask {mask.name!r} is added to attention scores: it is 0 for tokens and {array.min():.3g} for padding",
            "0 for padding and 1 for the rest",
            f"Export the model with such a mask, or pass another one, or --mask {NO_MASK} to leave none out.",
        )
    raise DataError(
        f"mask {mask.name!r} has values from {array.min()} to {array.max()}",
        "0 for padding and 1 for the rest",
        "Pass a mask of zeros and ones, or another input to --mask.",
    )


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The inputs of a first batch that may mask its rows.

    Attributes:
        first: the first batch.
        rows: number of rows of each sample.
        inputs: inputs of the model.
        count_rows: runs a batch.
        output_dimensions: names of the symbolic dimensions of the model's outputs.
    """

    first: Batch
    rows: int
    inputs: tuple[Input, ...]
    count_rows: CountRows
    output_dimensions: frozenset[str] = frozenset()

    def length(self, name: str) -> int:
        """Number of entries of an input for each sample; 0 when all samples share it."""
        array = self.first.inputs[name]
        has_samples = array.ndim > 0 and len(array) == self.first.rows and name not in self.first.shared
        return array[0].size if has_samples and array.ndim > 1 else 0

    def fit(self, mask: Mask) -> Mask | None:
        """Bring a mask onto the rows: it has an entry for each, or as many more before them as a past has."""
        length = self.length(mask.name)
        if length == self.rows:
            return mask
        start = length - self.rows
        is_table = length == self.first.inputs[mask.name].shape[-1] if length else False
        return replace(mask, start=start) if start > 0 and is_table and self._has_past(start) else None

    @cached_property
    def elsewhere(self) -> list[str]:
        """Inputs that mark padding in another sequence, by their names."""
        names = [name for name in self.first.inputs if _LIKELY.search(name) and name not in OTHER_MARKS]
        return [name for name in names if self.marks_another_sequence(name)]

    def likely(self) -> list[str]:
        """Inputs of unknown meaning that may mark padding, by their names, with an entry for each row."""
        names = [name for name in self.first.inputs if _LIKELY.search(name) and name not in (*KNOWN, *OTHER_MARKS)]
        return [name for name in names if self._fits(name) and name not in self.elsewhere]

    def unused(self) -> list[str]:
        """Inputs that may mark padding, by their names, or because they hold a truth value for each row.

        So do ones before zeros, or zeros before ones, in all samples, unless they number the segments of a text.
        """
        names = [name for name in self.likely() if _has_both(self.first.inputs[name])]
        truths = [name for name, array in self.first.inputs.items() if _holds_truths(name, array)]
        truths = [name for name in truths if not _LIKELY.search(name) and self._fits(name)]
        return names + [name for name in truths if not self.marks_another_sequence(name)]

    def undecided(self) -> tuple[str, ...]:
        """Inputs that are one for each row of the first batch, so that later zeros may mark padding."""
        arrays = self.first.inputs
        ones = [name for name, array in arrays.items() if array.dtype.kind in "biu" and _leaves_nothing_out(array)]
        names = [name for name in ones if name not in OTHER_MARKS and not _SEGMENTS.search(name)]
        return tuple(name for name in names if self._fits(name) and not self.marks_another_sequence(name))

    def marks_another_sequence(self, name: str) -> bool:
        """Whether a mask belongs to another sequence than the rows, such as an encoder's beside a decoder's.

        1. Another number of entries is that of another input, and there is one with as many tokens as rows.
        2. Sequences have names or symbolic dimensions of their own. When a run with one token less in the others has
           one row less, the rows belong to these.
        """
        # Case 1
        if (length := self.length(name)) != self.rows:
            lengths = {array.shape[1] for key, array in self.first.inputs.items() if self._is_sequence(key)}
            return length > 0 and {length, self.rows} <= lengths
        # Case 2
        others = [other for other in self.first.inputs if self._is_sequence(other) and self._tokens(other)]
        others = [other for other in others if self._differ(name, other)]
        return any(self._rows_follow(other, name) for other in others)

    def _rows_follow(self, other: str, name: str) -> bool:
        """Whether the rows are those of another input's sequence, and not of that of a mask."""
        decided_by_name = _is_decoder(other) and not _is_decoder(name)
        if self._dimension(name) is not None and self._dimension(name) == self._dimension(other):
            # The runtime gives tensors whose dimensions have one name the same memory: it can't shorten one of them.
            return decided_by_name
        own, group = (
            [key for key in self.first.inputs if self._tokens(key) and not self._differ(key, each)]
            for each in (name, other)
        )
        rows = self._rows_with_less([key for key in group if key != name])
        if rows is not None:
            return rows == self.rows - 1
        # A model that runs only with both shorter has them in one sequence. Otherwise the names decide, or the
        # dimension that the outputs have.
        mask_dimension, other_dimension = self._dimension(name), self._dimension(other)
        is_own = other_dimension in self.output_dimensions and mask_dimension not in self.output_dimensions
        return (decided_by_name or is_own) and self._rows_with_less([*group, *own]) != self.rows - 1

    def _fits(self, name: str) -> bool:
        array = self.first.inputs[name]
        return self.fit(Mask(name)) is not None and (_is_additive(array) or bool(np.isin(array, (0, 1)).all()))

    def _is_sequence(self, name: str) -> bool:
        return self.length(name) > 0 and not _LIKELY.search(name)

    def _tokens(self, name: str) -> bool:
        """Whether an input has as many tokens as a sample has rows."""
        array = self.first.inputs[name]
        axis = -1 if _LIKELY.search(name) else 1
        return self.length(name) > 0 and array.shape[axis] == self.rows

    def _differ(self, name: str, other: str) -> bool:
        """Whether names or symbolic dimensions put two inputs into two sequences."""
        dimensions = (self._dimension(name), self._dimension(other))
        return _is_decoder(name) != _is_decoder(other) or (None not in dimensions and len(set(dimensions)) == 2)

    def _dimension(self, name: str) -> str | None:
        """Name of the symbolic dimension of an input's tokens."""
        shape = next((entry.shape for entry in self.inputs if entry.name == name), None)
        size = shape[-1 if _LIKELY.search(name) else 1] if shape is not None and len(shape) > 1 else None
        return size if isinstance(size, str) else None

    def _rows_with_less(self, names: Iterable[str]) -> int | None:
        """Number of rows of a sample when some inputs lack their last token; None where the model does not run."""
        if self.rows < _LEAST_TOKENS:
            return None
        sample = self.first.take(slice(0, 2))
        shorter = {name: self._without_last(sample.inputs[name], name) for name in set(names)}
        return self.count_rows(replace(sample, inputs={**sample.inputs, **shorter}))

    def _without_last(self, array: AnyArray, name: str) -> AnyArray:
        axes = [axis for axis in range(1, array.ndim) if array.shape[axis] == self.rows]
        for axis in axes if _LIKELY.search(name) else [1]:
            array = array.take(range(self.rows - 1), axis=axis)
        return np.ascontiguousarray(array)

    def _has_past(self, length: int) -> bool:
        """Whether an input of a past has so many tokens."""
        for entry in self.inputs:
            array, shape = self.first.inputs[entry.name], entry.shape
            if array.ndim < 3 or not PAST.search(entry.name):
                continue
            free = [axis for axis in range(1, array.ndim) if shape is None or not isinstance(shape[axis], int)]
            if length in (array.shape[axis] for axis in free or range(1, array.ndim - 1)):
                return True
        return False


def _requested_mask(requested: str, candidates: _Candidates) -> MaskChoice:
    first = candidates.first
    wanted = parse_mask(requested, first.inputs)
    array = first.inputs.get(wanted.name)
    if candidates.rows == 1 and _marks_tokens(wanted.name, first):
        message = (
            f"Each sample is one row, so {wanted.name!r} leaves out none: it applies to hidden layers of tokens alone."
        )
        return MaskChoice(None, (Notice("mask_unused", message),))
    mask = candidates.fit(wanted) if array is not None and candidates.rows > 1 else None
    if mask is None:
        problem = "is no input" if array is None else f"has the shape {array.shape}"
        raise DataError(
            f"mask {wanted.name!r} {problem}, and each sample has {candidates.rows} rows",
            "an input of the model with one entry for each token or position",
            f"Pass one of {name_list(list(first.inputs))} to --mask, or leave it out.",
        )
    check_mask(mask, first)
    notices = []
    if candidates.marks_another_sequence(mask.name):
        message = f"The mask {mask.name!r} was requested, and seems to belong to another sequence than the rows."
        notices.append(Notice("mask_of_another_sequence", message))
    if _PADDING.search(mask.name) and not mask.inverted:
        message = f"Rows with 0 in {mask.name!r} were left out. If 1 marks padding there, pass --mask {NOT}{mask.name}."
        notices.append(Notice("mask_meaning", message))
    return MaskChoice(mask, tuple(notices))


def _other_length(name: str, candidates: _Candidates) -> DataError:
    return DataError(
        f"mask {name!r} has {candidates.length(name)} entries a sample, and each sample has {candidates.rows} rows",
        "an entry for each row, or a past of as many tokens as are more",
        f"Pass --mask NAME for another mask, or --mask {NO_MASK} to leave none out.",
    )


def _no_mask_notice(names: list[str]) -> Notice:
    return Notice(
        "mask_of_another_sequence",
        f"No mask was applied: {name_list(names)} belongs to another sequence than the rows, so padding among the rows "
        "counts too. Pass --mask NAME if an input marks it.",
    )


def _unused_notices(names: list[str]) -> list[Notice]:
    if not names:
        return []
    message = f"Not used as a mask: {name_list(names[:_LISTED])}. If padding is marked there, pass {_choices(names)}."
    return [Notice("mask_unused", message)]


def _choices(names: list[str]) -> str:
    name = names[0] if len(names) == 1 and len(names[0]) < _LONG_NAME else "NAME"
    return f"--mask {name} if 0 marks padding, --mask {NOT}{name} if 1 does, or --mask {NO_MASK} to leave none out"


def _is_decoder(name: str) -> bool:
    return _DECODER.search(name) is not None


def _holds_truths(name: str, array: AnyArray) -> bool:
    if array.dtype.kind == "b":
        return True
    if array.dtype.kind not in "iu" or array.ndim < 2 or _SEGMENTS.search(name) or not np.isin(array, (0, 1)).all():
        return False
    steps = np.diff(array.astype(np.int8), axis=-1)
    return _has_both(array) and bool((steps <= 0).all() or (steps >= 0).all())


def _has_both(array: AnyArray) -> bool:
    return bool((array == 0).any() and (array == 1).any())


def _is_additive(array: AnyArray) -> bool:
    """Whether a mask is added to scores: 0 for tokens, and a large number below zero for padding."""
    return array.dtype.kind == "f" and bool(array.min(initial=0) <= _LEAST_ADDED and array.max(initial=0) == 0)


def _leaves_nothing_out(array: AnyArray) -> bool:
    return bool((array == 1).all())
