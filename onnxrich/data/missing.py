"""Inputs that the data lack, filled in where their names and shapes tell their values; a notice names them.

1. A past that may have no tokens is empty: one of its axes is free, and the others are the batch or fixed.
2. A mask beside token ids is one for every token, positions count from the past on, and types of tokens are zero.
3. The branch of a model that uses a past is not taken when there is none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from onnxrich._utils.formatting import name_list
from onnxrich.data.source import Batch
from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError, Notice
from onnxrich.model.file import Input

# Words in the names of inputs whose tokens come before those of the batch.
PAST = re.compile(r"past|cache|prefix|prompt|mems|prev", re.IGNORECASE)
# A past may be empty; of other inputs, such as embeddings of a prompt, nothing says so.
_EMPTY = re.compile(r"past|cache", re.IGNORECASE)
_BRANCH = re.compile(r"use_?cache|use_?past", re.IGNORECASE)
# Inputs with an entry for each token, and the inputs of tokens that they belong to.
_TOKENS = {
    "attention_mask": ("input_ids", "inputs_embeds"),
    "decoder_attention_mask": ("decoder_input_ids", "decoder_inputs_embeds"),
    "position_ids": ("input_ids", "inputs_embeds"),
    "decoder_position_ids": ("decoder_input_ids", "decoder_inputs_embeds"),
    "token_type_ids": ("input_ids", "inputs_embeds"),
}

# Inputs of tokens of which one row stands for all samples.
ONE_FOR_ALL = ("position_ids", "decoder_position_ids", "token_type_ids")

# Names that a notice lists of one kind.
_LISTED = 2

# Makes the array of an input from those of the batch and the number of rows.
Make = Callable[[Mapping[str, AnyArray], int], AnyArray]


@dataclass(frozen=True)
class Filling:
    """An input that the data lack.

    Attributes:
        entry: the input.
        words: what it is filled with, for people.
        make: makes its array.
        shared: whether the array has axes, but none of rows.
    """

    entry: Input
    words: str
    make: Make
    shared: bool = False


def plan_fillings(inputs: Sequence[Input], present: Iterable[str]) -> tuple[Filling, ...]:
    """Plan how inputs that the data lack are filled in; those that can't be are left out.

    Args:
        inputs: inputs of the model.
        present: names of the fields of the data.
    """
    names = set(present)
    missing = [entry for entry in inputs if entry.name not in names]
    pasts = tuple(entry for entry in inputs if entry.name in names and _past_axis(entry) is not None)
    fillings = (_plan(entry, names, pasts) for entry in missing)
    return tuple(filling for filling in fillings if filling is not None)


def fill(batch: Batch, fillings: Sequence[Filling]) -> Batch:
    """Return a batch with the inputs that the data lack.

    Raises:
        DataError: when an array does not fit its input, or positions are unknown.
    """
    arrays = {filling.entry.name: filling.make(batch.inputs, batch.rows) for filling in fillings}
    shared = frozenset(filling.entry.name for filling in fillings if filling.shared)
    return replace(batch, inputs={**batch.inputs, **arrays}, shared=batch.shared | shared)


def filled_notices(fillings: Sequence[Filling]) -> list[Notice]:
    """Name the inputs that were filled in, with what."""
    if not fillings:
        return []
    words = list(dict.fromkeys(filling.words for filling in fillings))
    parts = [
        f"{_listed([filling.entry.name for filling in fillings if filling.words == each])}: {each}" for each in words
    ]
    message = f"Inputs that the data lack were filled in. {'; '.join(parts)}."
    return [Notice("inputs_filled_in", message)]


def _listed(names: Sequence[str]) -> str:
    """Names for a notice: a decoder has a past for each of its layers."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{name_list(names[:_LISTED])}{more}"


def _plan(entry: Input, present: set[str], pasts: tuple[Input, ...]) -> Filling | None:
    if entry.dtype is None or entry.shape is None:
        return None
    # Case 1
    if _past_axis(entry) is not None:
        return Filling(entry, "no past", partial(_empty, entry))
    # Case 2
    tokens = next((name for name in _TOKENS.get(entry.name, ()) if name in present), None)
    if tokens is not None and len(entry.shape) == 2 and entry.dtype.kind in "biuf":
        return _plan_tokens(entry, tokens, pasts)
    # Case 3
    if entry.dtype.kind == "b" and entry.shape in ((), (1,)) and _BRANCH.search(entry.name) and not pasts:
        shape = (1,) * len(entry.shape)
        return Filling(entry, "false", lambda inputs, rows: np.zeros(shape, bool), shared=bool(shape))
    return None


def _plan_tokens(entry: Input, tokens: str, pasts: tuple[Input, ...]) -> Filling:
    make = partial(_per_token, entry, tokens, pasts)
    if entry.name.endswith("mask"):
        return Filling(entry, "ones, because padding is unknown, so all tokens count", make)
    if entry.name.endswith("position_ids"):
        return Filling(entry, "positions from 0 on, behind a past", make)
    return Filling(entry, "zeros", make)


def _past_axis(entry: Input) -> int | None:
    """The axis of a past's tokens: the only free one behind the batch; None for other inputs."""
    shape = entry.shape or ()
    free = [axis for axis in range(1, len(shape)) if not isinstance(shape[axis], int)]
    is_past = len(shape) > 2 and _EMPTY.search(entry.name) is not None and len(free) == 1
    return free[0] if is_past and not isinstance(shape[0], int) else None


def _empty(entry: Input, inputs: Mapping[str, AnyArray], rows: int) -> AnyArray:
    shape = [size if isinstance(size, int) else 0 for size in entry.shape or ()]
    return np.zeros([rows, *shape[1:]], entry.dtype)


def _per_token(
    entry: Input, tokens: str, pasts: tuple[Input, ...], inputs: Mapping[str, AnyArray], rows: int
) -> AnyArray:
    """An array of shape (rows, tokens) for the tokens of a batch; a mask covers the past as well."""
    length = inputs[tokens].shape[1]
    before = max((inputs[past.name].shape[_past_axis(past) or 0] for past in pasts), default=0)
    if entry.name.endswith("mask"):
        array = np.ones((rows, before + length), entry.dtype)
    elif entry.name.endswith("position_ids"):
        _check_not_padded_left(entry, inputs)
        array = np.broadcast_to(np.arange(before, before + length, dtype=entry.dtype), (rows, length)).copy()
    else:
        array = np.zeros((rows, length), entry.dtype)
    for needed, size in zip(entry.shape or (), array.shape, strict=True):
        if isinstance(needed, int) and needed != size:
            raise DataError(
                f"the data lack {entry.name!r}, and its shape would be {array.shape}",
                f"the shape {entry.shape}",
                f"Save {entry.name!r} with the data.",
            )
    return array


def _check_not_padded_left(entry: Input, inputs: Mapping[str, AnyArray]) -> None:
    """Check that positions can be counted from the first token on.

    Raises:
        DataError: when a mask is 0 before a token.
    """
    mask = inputs.get("attention_mask" if entry.name == "position_ids" else "decoder_attention_mask")
    if mask is not None and mask.ndim == 2 and (np.diff(mask.astype(np.float64), axis=1) > 0).any():
        raise DataError(
            f"the data lack {entry.name!r}, and tokens are padded before the first one",
            "the position of each token",
            f"Save {entry.name!r} as the model was trained with, such as cumsum(mask) - 1.",
        )
