"""Which rows are read: how many, in which order, and how many unreadable items may be skipped."""

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
    """Which rows to read.

    Attributes:
        limit: maximum number of rows; None reads all.
        shuffle: draw rows at random, by the seed, instead of reading them in order.
        balanced: read the same number of rows of each class that occurs.
        max_errors: number of unreadable items that may be skipped.
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
                f"text is {self.text!r}, and tokenizer {self.tokenizer!r}",
                "both, or none of them",
                "Pass --text COLUMN and --tokenizer FILE.",
            )

    @classmethod
    def of(cls, given: Any) -> Self:
        """Return the selection of a mapping of its attributes; a `Selection` as it is, and None as all rows.

        Raises:
            DataError: when it holds anything else.
        """
        if given is None or isinstance(given, cls):
            return given or cls()
        known = [field.name for field in fields(cls)]
        if not isinstance(given, Mapping) or any(name not in known for name in given):
            names = ", ".join(map(repr, given)) if isinstance(given, Mapping) else repr(given)
            raise DataError(f"reading holds {names}", f"some of {', '.join(known)}", "Leave the others out.")
        return cls(**given)

    def choice(self, seed: int) -> str:
        """Describe the selected rows in words that are unique to the selection."""
        count = "all" if self.limit is None else f"{self.limit}"
        balanced = " balanced" if self.balanced else ""
        drawn = f" drawn by seed {seed}" if self.shuffle else ""
        return f"{count}{balanced}{drawn}"


# The name of the class in version 0.1.0.
Reading = Selection


def select_rows(
    n: int, selection: Selection, seed: int, *, labels: Callable[[], AnyArray | None], ignored_label: int | None = None
) -> Rows:
    """Select rows of n, in the order in which they are read.

    Args:
        n: number of rows.
        selection: which of them.
        seed: seed of the draw.
        labels: returns the labels of all rows, None without labels.
        ignored_label: label of rows that are in no class.

    Raises:
        DataError: when classes are to be balanced, and there are no labels, or the limit is below one row a class.
    """
    generator = np.random.default_rng(seed)
    if selection.balanced:
        index = _balance_classes(labels(), selection, generator, ignored_label)
        return generator.permutation(index) if selection.shuffle else np.sort(index)
    if selection.shuffle:
        return np.asarray(generator.permutation(n)[: selection.limit], dtype=np.int64)
    return range(n if selection.limit is None else min(n, selection.limit))


def _balance_classes(
    labels: AnyArray | None, selection: Selection, generator: np.random.Generator, ignored_label: int | None
) -> AnyArray:
    """Select as many rows of each class as the smallest class has, or as the limit leaves it."""
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "biu":
        actual = "no labels" if labels is None else f"labels of type {labels.dtype} and shape {labels.shape}"
        raise DataError(
            f"--balanced was passed with {actual}", "a class for each row", "Pass --labels, or leave --balanced out."
        )
    ignored = np.zeros(len(labels), bool) if ignored_label is None else labels == ignored_label
    classes, counts = np.unique(labels[~ignored], return_counts=True)
    per_class = int(counts.min())
    if selection.limit is not None:
        per_class = min(per_class, selection.limit // len(classes))
    if per_class == 0:
        raise DataError(
            f"--limit {selection.limit} is too small for {len(classes)} classes",
            "at least one row of each class",
            f"Pass --limit {len(classes)} or more.",
        )
    rows = [np.flatnonzero(labels == label) for label in classes]
    drawn = [generator.permutation(of_class) if selection.shuffle else of_class for of_class in rows]
    return np.concatenate([of_class[:per_class] for of_class in drawn])
