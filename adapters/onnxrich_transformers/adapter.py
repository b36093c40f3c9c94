"""The verbs of the adapter for Hugging Face transformers."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import onnxrich_torch
from onnxrich.errors import AdapterError, DataError, Notice
from onnxrich.frameworks.items import find_labels, peek
from onnxrich.frameworks.randomness import isolated
from onnxrich.frameworks.registry import LABELS, Item
from onnxrich_torch.adapter import is_pretrained
from onnxrich_torch.loaders import own_reader
from onnxrich_transformers.pretrained import read_configuration

# Columns of raw rows, by the first input of the model, which a processor makes from them.
RAW_COLUMNS = {
    "input_ids": ("text", "sentence"),
    "pixel_values": ("image", "img"),
    "input_values": ("audio", "speech"),
    "input_features": ("audio", "speech"),
}
# The class that loads the processor, by the same input.
PROCESSOR_CLASSES = {
    "input_ids": "AutoTokenizer",
    "pixel_values": "AutoImageProcessor",
    "input_values": "AutoFeatureExtractor",
    "input_features": "AutoFeatureExtractor",
}
NO_TASK_HEAD = (
    "no_task_head",
    "is a model without a task head: its outputs are embeddings, and its last linear layer, which was measured, is "
    "part of the network. Pass a class with a head, such as one named …ForSequenceClassification.",
)
IMAGES_PER_ITEM = 32
# Lengths of synthetic texts and sounds, and the side of synthetic images where the configuration says nothing.
TOKENS, SAMPLES, SIDE = 8, 16_000, 224


def is_native(obj: Any) -> bool:
    """Whether an object is a model of transformers, or a pair of it and its processor."""
    return is_pretrained(obj[0] if isinstance(obj, tuple) and len(obj) == 2 else obj)


def load(path: Path) -> Any | None:
    """Load the model of a folder that `save_pretrained` wrote.

    Raises:
        AdapterError: when its weights are pickled or lie elsewhere, or its class is not one of transformers.
    """
    configuration = read_configuration(path)
    if configuration is None:
        return None
    import transformers

    name = (configuration.get("architectures") or ["none"])[0]
    candidate = getattr(transformers, str(name), None)
    if not (isinstance(candidate, type) and issubclass(candidate, transformers.PreTrainedModel)):
        raise AdapterError(
            f"the model in {path} is of class {name!r}",
            "a class of transformers itself",
            "Load the model in Python and pass the object.",
        )
    model_class: Any = candidate
    return model_class.from_pretrained(str(path), local_files_only=True, use_safetensors=True).eval()


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """Convert the items of a loader to the model's inputs; without a loader, make one synthetic item."""
    model, processor = _split(obj)
    if loader is None:
        return [_synthetic_item(model)]
    if isinstance(loader, Mapping):
        column = _raw_column(model, loader)
        if column is None:
            return onnxrich_torch.batches(model, loader)
        labels = find_labels(loader, ())
        rows = [(row, None if labels is None else labels[index]) for index, row in enumerate(loader[column])]
        return list(_ProcessedRows(model, processor, rows))
    first, items = _look_ahead(loader)
    is_named = isinstance(first, Mapping) and _raw_column(model, first) is None
    if is_named or hasattr(first, "detach") or (isinstance(first, tuple | list) and hasattr(first[0], "detach")):
        return onnxrich_torch.batches(model, items)
    processed = _ProcessedRows(model, processor, items)
    return iter(processed) if isinstance(items, Iterator) else processed


def notices(obj: Any, example: Item) -> Sequence[Notice]:
    """What results say of a model: what PyTorch's adapter says of it, and that it has no task head."""
    model = _split(obj)[0]
    name = type(model).__name__
    headless = [Notice(NO_TASK_HEAD[0], f"{name} {NO_TASK_HEAD[1]}")] if _is_headless(model) else []
    return [*headless, *onnxrich_torch.notices(model, example)]


def _is_headless(model: Any) -> bool:
    """Whether a model is a network without a task head: those with one hold it as their `base_model`."""
    return type(model).__name__.endswith("Model") and model.base_model is model


def _look_ahead(loader: Any) -> tuple[Any, Any]:
    """The first item, and the loader with it; a training that shares the loader draws the same numbers as without."""
    if isinstance(loader, Iterator):
        return peek(loader)
    return peek(isolated(own_reader(loader)))[0], loader


@dataclass(frozen=True, eq=False)
class _ProcessedRows:
    """Raw rows as the processor prepares them for the model."""

    model: Any
    processor: Any
    rows: Iterable[Any]

    def __iter__(self) -> Iterator[Item]:
        rows = (_split_row(self.model, row) for row in isolated(self.rows))
        # Texts and sounds make one item, padded to the longest. Images have one size, and too many fill the memory.
        size = IMAGES_PER_ITEM if self.model.main_input_name == "pixel_values" else None
        while chunk := list(islice(rows, size)):
            yield self._item([raw for raw, _ in chunk], [label for _, label in chunk])

    def _item(self, raw: Sequence[Any], labels: Sequence[Any]) -> Item:
        processed = _process(self.model, self.processor, raw)
        known = sum(label is not None for label in labels)
        if known not in (0, len(labels)):
            raise DataError("some rows of the data have a label, and some have none", "a label in all", "Add them.")
        (item,) = onnxrich_torch.batches(self.model, {**processed, LABELS: np.asarray(labels)} if known else processed)
        return item


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write the model with PyTorch's exporter, without a cache of keys and values."""
    import transformers

    model = _split(obj)[0]
    with _without_cache(model):
        onnxrich_torch.to_onnx(model, example, path)
    return f"transformers {transformers.__version__}"


def forward(obj: Any, given: Item) -> Sequence[NDArray[np.generic]]:
    """Compute the outputs of the model as arrays."""
    model = _split(obj)[0]
    with _without_cache(model):
        return onnxrich_torch.forward(model, given)


def weights(obj: Any) -> Mapping[str, NDArray[np.generic]]:
    """Parameters and buffers by their names in the state dict."""
    return onnxrich_torch.weights(_split(obj)[0])


def callback(*args: Any, **options: Any) -> Any:
    """Make a callback for `transformers.Trainer`; arguments as of `onnxrich_transformers.trainer.callback`."""
    from onnxrich_transformers import trainer

    return trainer.callback(*args, **options)


def _split(obj: Any) -> tuple[Any, Any]:
    """The model, and its processor, the folder that may hold one, or None."""
    if isinstance(obj, tuple):
        return obj[0], obj[1]
    folder = str(getattr(obj, "name_or_path", ""))
    return obj, folder if folder and Path(folder).is_dir() else None


def _process(model: Any, processor: Any, raw: Sequence[Any]) -> dict[str, Any]:
    """Inputs of the model that a processor, or the processor in a folder, makes from raw rows."""
    kind = model.main_input_name
    if isinstance(processor, str):
        processor = _load_processor(processor, kind)
    if processor is None:
        raise AdapterError(
            f"{type(model).__qualname__} comes with {RAW_COLUMNS[kind][0]}s, but without a processor for them",
            "its tokenizer, image processor or feature extractor",
            "Pass the pair (model, processor), or save the processor into the model's folder.",
        )
    if kind == "pixel_values":
        return dict(processor(images=list(raw), return_tensors="np"))
    if kind != "input_ids":
        return dict(processor(list(raw), sampling_rate=processor.sampling_rate, padding=True, return_tensors="np"))
    if processor.pad_token is None:
        processor = copy.deepcopy(processor)
        processor.pad_token = processor.eos_token
    longest = min(processor.model_max_length, getattr(model.config, "max_position_embeddings", sys.maxsize))
    return dict(processor(list(raw), padding=True, truncation=True, max_length=longest, return_tensors="np"))


def _load_processor(folder: str, kind: str) -> Any:
    """The processor in a folder; None where transformers finds none."""
    import transformers

    try:
        # Without an answer, transformers may ask at the terminal whether to run the folder's code.
        processor_class = getattr(transformers, PROCESSOR_CLASSES[kind])
        return processor_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):
        return None


def _raw_column(model: Any, columns: Mapping[str, Any]) -> str | None:
    """The column of raw rows; None where the columns hold the model's first input itself, or no raw rows."""
    if model.main_input_name in columns:
        return None
    return next((name for name in RAW_COLUMNS.get(model.main_input_name, ()) if name in columns), None)


def _split_row(model: Any, row: Any) -> tuple[Any, Any]:
    """The raw row, and its label or None."""
    if isinstance(row, tuple):
        return row[0], row[1]
    if not isinstance(row, Mapping):
        return row, None
    column = _raw_column(model, row)
    if column is None:
        raise AdapterError(
            f"a row of the data has the columns {', '.join(map(repr, row))}",
            f"one of {', '.join(map(repr, RAW_COLUMNS[model.main_input_name]))}",
            "Rename the column.",
        )
    raw = row[column]
    if isinstance(raw, Mapping):
        raw = raw["array"]
    return raw, find_labels(row, ())


def _synthetic_item(model: Any) -> Item:
    """One item of random values, in the shapes that the configuration declares."""
    rng, kind, config = np.random.default_rng(0), model.main_input_name, model.config
    if kind == "input_ids":
        tokens = rng.integers(0, config.vocab_size, (2, TOKENS))
        return {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
    shape: tuple[int, ...] = (2, SAMPLES)
    if kind == "pixel_values":
        side = getattr(config, "image_size", SIDE)
        height, width = side if isinstance(side, tuple | list) else (side, side)
        shape = (2, config.num_channels, height, width)
    return {kind: rng.standard_normal(shape).astype(np.float32)}


@contextlib.contextmanager
def _without_cache(model: Any) -> Iterator[None]:
    """Keep a language model from returning keys and values for the next token beside its outputs."""
    previous = getattr(model.config, "use_cache", None)
    if previous is not None:
        model.config.use_cache = False
    try:
        yield
    finally:
        if previous is not None:
            model.config.use_cache = previous
