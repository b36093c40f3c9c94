"""How data are read: how many rows, which ones, and what becomes of items that can't be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from onnxrich._utils.validation import validated
from onnxrich.data.table import AnyArray, Rows
from onnxrich.errors import DataError


@dataclass(frozen=True)
class Selection:
    """What to read.

    Attributes:
        limit: rows at most; None reads all.
        shuffle: draw rows at random, by the seed, instead of taking them as they come.
        balanced: the same number of rows of each class that occurs.
        max_errors: items that may be left out because they can't be read.
        text: column of texts, which a tokenizer turns into the model's inputs.
        tokenizer: path of its `tokenizer.json`.
    """

    limit: int | None = None
    shuffle: bool = False
    balanced: bool = False
    max_errors: int = 0
    text: str | None = None
    tokenizer: str | None = None

    def __post_init__(self) -> None:
        validated(**vars(self))
        if (self.text is None) != (self.tokenizer is None):
            raise DataError(
                f"text {self.text!r} with tokenizer {self.tokenizer!r}",
                "both, or none of them",
                "Pass --text COLUMN and --tokenizer FILE.",
            )

    @classmethod
    def of(cls, given: Any) -> Self:
        """The same from a mapping.

        Raises:
            DataError: when it holds something else.
        """
        if given is None or isinstance(given, cls):
            return given or cls()
        known = [field.name for field in fields(cls)]
        if not isinstance(given, Mapping) or any(name not in known for name in given):
            shown = ", ".join(map(repr, given)) if isinstance(given, Mapping) else repr(given)
            raise DataError(f"reading with {shown}", f"some of {', '.join(known)}", "Leave the others out.")
        return cls(**given)

    def choice(self, seed: int) -> str:
        """Which rows these are, in words that another choice doesn't share."""
        drawn = f" drawn by seed {seed}" if self.shuffle else ""
        return f"{'all' if self.limit is None else f'{self.limit}'}{' balanced' if self.balanced else ''}{drawn}"


# The name of the class in version 0.1.0.
Reading = Selection


def chosen(n: int, reading: Selection, seed: int, *, labels: Callable[[], AnyArray | None]) -> Rows:
    """Which of n rows are read, in their order.

    Args:
        n: number of rows.
        reading: what was asked for.
        seed: of the draw.
        labels: gives the labels of all rows, None without.

    Raises:
        DataError: when classes are to be balanced and there are none, or more than rows may be read.
    """
    generator = np.random.default_rng(seed)
    if reading.balanced:
        index = _balanced(labels(), reading, generator)
        return generator.permutation(index) if reading.shuffle else np.sort(index)
    if reading.shuffle:
        return np.asarray(generator.permutation(n)[: reading.limit], dtype=np.int64)
    return range(n if reading.limit is None else min(n, reading.limit))


def _balanced(labels: AnyArray | None, reading: Selection, generator: np.random.Generator) -> AnyArray:
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "biu":
        shown = "no labels" if labels is None else f"labels of type {labels.dtype} and shape {labels.shape}"
        raise DataError(f"--balanced with {shown}", "a class for each row", "Pass --labels, or leave --balanced out.")
    classes, counts = np.unique(labels, return_counts=True)
    each = int(counts.min())
    if reading.limit is not None:
        each = min(each, reading.limit // len(classes))
    if each == 0:
        raise DataError(
            f"--limit {reading.limit} for {len(classes)} classes",
            "at least one row of each class",
            f"Pass --limit {len(classes)} or more.",
        )
    rows = [np.flatnonzero(labels == value) for value in classes]
    drawn = [generator.permutation(of_class) if reading.shuffle else of_class for of_class in rows]
    return np.concatenate([of_class[:each] for of_class in drawn])
