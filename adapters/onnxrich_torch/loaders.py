"""DataLoaders, read without touching what a training shares with them."""

from __future__ import annotations

import copy
import sys
from typing import Any


def own_reader(loader: Any) -> Any:
    """A copy of a DataLoader with samplers and workers of its own; anything else unchanged.

    The loader of a training may be in the middle of an epoch, keep its workers, or have a sampler that counts epochs.
    """
    data = sys.modules.get("torch.utils.data")
    if data is None or not isinstance(loader, data.DataLoader):
        return loader
    reader = copy.copy(loader)
    # A DataLoader refuses to have these attributes set.
    vars(reader).update(
        _iterator=None,
        persistent_workers=False,
        sampler=copy.copy(loader.sampler),
        batch_sampler=copy.copy(loader.batch_sampler),
    )
    if getattr(loader.batch_sampler, "sampler", None) is loader.sampler:
        vars(reader.batch_sampler)["sampler"] = reader.sampler
    return reader
