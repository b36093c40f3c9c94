"""Labels of tokens and positions: integers with an entry for each row of a sample."""

from __future__ import annotations

import math

from onnxrich.data.table import AnyArray
from onnxrich.errors import DataError


def may_be_row_labels(labels: AnyArray) -> bool:
    """Whether labels may be classes of tokens or positions: integers, several a sample."""
    return labels.dtype.kind in "iu" and labels.ndim > 1


def has_row_labels(labels: AnyArray, features_shape: tuple[int, ...], rows_per_sample: int, *, C: int) -> bool:
    """Whether labels for which `may_be_row_labels` holds belong to the rows; otherwise they are targets of samples.

    Args:
        labels: labels of the first batch.
        features_shape: shape of its features before their rows are laid out.
        rows_per_sample: number of rows of each sample.
        C: number of outputs.

    Raises:
        DataError: when the labels have neither an entry for each row, nor the form of targets of samples.
    """
    sizes, positions = labels.shape[1:], features_shape[1:-1]
    # Height and width of other lengths lie in another order, though their product may be the same.
    is_turned = len(sizes) == len(positions) > 1 and features_shape[0] == len(labels) and sizes != positions
    if math.prod(sizes) == rows_per_sample > 1 and not is_turned:
        return True
    if len(sizes) == 1 and (rows_per_sample == 1 or sizes[0] == C):
        return False
    rows = " × ".join(map(str, positions)) if len(positions) > 1 and not math.prod(positions) - rows_per_sample else ""
    raise DataError(
        f"the labels have {' × '.join(map(str, sizes))} entries a sample, and the head has "
        f"{rows or rows_per_sample} rows a sample",
        "one label for each row",
        "Bring the labels to the size of the head's map (nearest neighbour), or pass one label for each sample.",
    )
