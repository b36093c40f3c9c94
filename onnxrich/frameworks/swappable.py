"""An exported model that follows a training: its weights are swapped, and it is exported again where that fails."""

from __future__ import annotations

import contextlib
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from onnxrich.errors import DataError, Notice
from onnxrich.frameworks.export import write_export
from onnxrich.frameworks.parity import example_rows, measure_deviation
from onnxrich.frameworks.registry import Adapter, Item, find_adapter, model_notices
from onnxrich.frameworks.weights import WeightSource, swap_weights, weight_sources
from onnxrich.model.file import read_model
from onnxrich.model.traversal import is_external


@dataclass(frozen=True, eq=False)
class SwappableModel:
    """A framework's model as ONNX, at one step of its training.

    Attributes:
        adapter: adapter of the framework.
        sample: all rows to measure on, as one item.
        model: the exported model; its path where its weights lie in files of their own, which are not swapped.
        sources: where the values of its initializers come from, by their names.
        notices: what results must say of the conversion.
    """

    adapter: Adapter
    sample: Item
    model: ModelProto | Path
    sources: Mapping[str, WeightSource]
    notices: tuple[Notice, ...] = ()

    @classmethod
    def from_native(cls, model: Any, sample: Any, step: int) -> SwappableModel:
        """Export a framework's model, and join the items of its sample to one."""
        adapter = find_adapter(model)
        return cls._exported(adapter, model, _join_items(adapter.batches(model, sample)), step)

    @classmethod
    def _exported(cls, adapter: Adapter, model: Any, sample: Item, step: int) -> SwappableModel:
        with contextlib.ExitStack() as stack:
            path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxrich-"))) / "model.onnx"
            write_export(adapter, model, sample, path=path, step=step)
            notices = model_notices(adapter, model, sample)
            proto = onnx.load(path, load_external_data=False)
            if not any(map(is_external, proto.graph.initializer)):
                return cls(adapter, sample, proto, weight_sources(proto, adapter.weights(model)), notices)
            exported = cls(adapter, sample, path, {}, notices)
            # The files stay for as long as the object that names them.
            weakref.finalize(exported, stack.pop_all().close)
            return exported

    def at_step(self, model: Any, step: int) -> tuple[SwappableModel, bool]:
        """Return the model with the weights of this moment, and whether it was exported again for that."""
        if self._swap(model, step):
            return self, False
        return self._exported(self.adapter, model, self.sample, step), True

    def _swap(self, model: Any, step: int) -> bool:
        """Swap the weights, and tell whether the result computes what the framework computes."""
        if isinstance(self.model, Path):
            return False
        weights = self.adapter.weights(model)
        swap_weights(self.model, self.sources, weights)
        for entry in self.model.metadata_props:
            if entry.key == "onnxrich.step":
                entry.value = str(step)
        forward = partial(self.adapter.forward, model)
        types = {array.dtype for array in weights.values()}
        return measure_deviation(read_model(self.model), forward, example_rows(self.sample), types=types).is_rounding


def _join_items(items: Any) -> Item:
    """Join all items of a sample to one.

    Raises:
        DataError: when there are no items, or they have other names or rows of other shapes.
    """
    parts = list(items)
    if not parts:
        raise DataError("no rows in the sample", "at least one row", "Pass a sample with rows.")
    shapes = {name: sorted({part[name].shape[1:] for part in parts if name in part}) for name in parts[0]}
    unequal = next((name for name, sizes in shapes.items() if len(sizes) > 1), None)
    if unequal is not None or any(set(part) != set(parts[0]) for part in parts):
        reason = "other names" if unequal is None else f"rows of shapes {shapes[unequal][0]} and {shapes[unequal][1]}"
        raise DataError(
            f"a sample with {reason} in its items" + ("" if unequal is None else f" for {unequal!r}"),
            "items alike, for they are kept as one",
            "Pad them to one shape, or pass the sample as one item.",
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
