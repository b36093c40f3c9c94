"""The input of a model that marks the rows to leave out."""

from __future__ import annotations

from dataclasses import dataclass

# Before the name of an input in which 1 marks padding.
NOT = "not:"


@dataclass(frozen=True)
class Mask:
    """An input of a model with an entry for each token or position of a sample.

    Attributes:
        name: name of the input.
        inverted: whether 1 marks padding; otherwise 0 does.
        start: number of entries of a sample before those of its rows. They belong to a past, which has no rows.
        samples_axis: the axis of samples, 0 or, in a table of tokens and samples, 1.
    """

    name: str
    inverted: bool = False
    start: int = 0
    samples_axis: int = 0

    def __str__(self) -> str:
        """The mask as `--mask` takes it."""
        return f"{NOT}{self.name}" if self.inverted else self.name
