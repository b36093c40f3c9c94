"""How a module's own loss aligns labels with outputs, where each token has a label.

A causal language model predicts the next token, and its loss compares the output at a token with the label of the next.
Encoder–decoders, masked language models and taggers compare both at the same token. The module is asked: its loss of a
label at the first token alone is undefined, or the same for all labels, if labels are shifted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxrich.errors import Notice
from onnxrich.frameworks.parity import example_rows
from onnxrich.frameworks.registry import LABELS, Item
from onnxrich_torch.arrays import to_array, to_tensors
from onnxrich_torch.state import undisturbed

# The label of tokens that a loss leaves out.
IGNORED = -100

SHIFTED = Notice(
    "labels_shifted",
    "The model's loss compares the output at a token with the label of the next token. The labels were shifted in the "
    "same way, and the last token of each text is left out.",
)
UNKNOWN = Notice(
    "labels_alignment",
    "The model's loss doesn't tell whether the output at a token is compared with the label of that token or of the "
    "next. The labels were taken as they are: if it is the next, shift them by one token.",
)


class LabelAlignment:
    """Aligns the labels of items as the loss of a module does. The module is asked once, by the first such item."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._finding: Notice | None = None
        self._is_known = False

    def align(self, item: Item) -> Item:
        """The item with labels that stand beside the outputs which the loss compares them with."""
        if not _has_token_labels(item) or self.notice(item) is not SHIFTED:
            return item
        labels = item[LABELS]
        shifted = np.full(labels.shape, IGNORED, np.int64)
        shifted[:, :-1] = labels[:, 1:]
        return {**item, LABELS: shifted}

    def notice(self, item: Item) -> Notice | None:
        """What results say of the alignment; None where labels stand beside their outputs as they are."""
        if not self._is_known and _has_token_labels(item):
            self._finding, self._is_known = _find_alignment(self._module, item), True
        return self._finding


def _has_token_labels(item: Item) -> bool:
    labels = item.get(LABELS)
    return labels is not None and labels.dtype.kind in "iu" and labels.ndim == 2 and labels.shape[1] > 1


def _find_alignment(module: Any, item: Item) -> Notice | None:
    inputs, shape = example_rows(item), item[LABELS].shape[1:]
    rows = len(next(array for array in inputs.values() if array.ndim))
    labels = np.full((rows, *shape), IGNORED, np.int64)
    if not any(array.shape[:2] == labels.shape and array.ndim == 3 for array in _outputs(module, inputs)):
        return None  # labels of several outputs, and not of tokens
    columns = [(0, 0), (0, 1), (1, 0), (1, 1)]
    losses = [_loss(module, inputs, _with_column(labels, column, label)) for column, label in columns]
    values = [loss for loss in losses if loss is not None]
    return _judge(values[:2], values[2:]) if len(values) == len(columns) else UNKNOWN


def _judge(first: Sequence[float], second: Sequence[float]) -> Notice | None:
    """Compare the losses of two labels at the first token alone with those at the second token alone.

    1. Labels of the first token matter: nothing is shifted. So it is where all outputs are equal, and with them the
       losses of all labels at both tokens.
    2. A mean over no label is undefined, and a guarded one is the same for all labels: labels are shifted, if those of
       the second token matter.
    """
    if not all(map(math.isfinite, second)):
        return UNKNOWN
    if not all(map(math.isfinite, first)):
        return SHIFTED  # Case 2
    if first[0] != first[1] or (first == second and first[0] > 0):
        return None  # Case 1
    return SHIFTED if second[0] != second[1] else UNKNOWN


def _with_column(labels: NDArray[np.int64], column: int, label: int) -> NDArray[np.int64]:
    labels = labels.copy()
    labels[:, column] = label
    return labels


def _outputs(module: Any, inputs: Item) -> Sequence[NDArray[Any]]:
    import torch
    from torch.utils import _pytree

    with undisturbed(module), torch.no_grad():
        leaves = _pytree.tree_leaves(module(**to_tensors(module, inputs)))
    return [to_array(leaf) for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _loss(module: Any, inputs: Item, labels: NDArray[np.int64]) -> float | None:
    """The module's own loss; None where it returns none, or takes no such labels."""
    import torch

    with undisturbed(module), torch.no_grad():
        try:
            result = module(**to_tensors(module, {**inputs, LABELS: labels}))
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError):
            return None
    loss = result.get("loss") if isinstance(result, Mapping) else getattr(result, "loss", None)
    if loss is None and isinstance(result, tuple) and result:
        loss = result[0]
    loss = result if isinstance(result, torch.Tensor) else loss
    return float(loss) if isinstance(loss, torch.Tensor) and loss.numel() == 1 else None
