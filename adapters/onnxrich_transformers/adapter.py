"""Hugging Face transformers for onnxrich: models with what prepares their inputs.

- A model is a `PreTrainedModel`, a pair of it and its tokenizer, image processor or feature extractor, or a folder that
  `save_pretrained` wrote. Left out, the processor is that of the folder that the model was loaded from.
- Items are what the processor takes (texts, images, sounds; alone, in pairs with a label, or in mappings under `text`,
  `image` or `audio`, labels under `label` or `labels`), or what the model takes, as tensors.
- Weights are read from safetensors alone, from this disk alone, and no code of the folder is run.
- Tokens are padded to the longest text, and the attention mask leaves the padding out.
"""

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
from onnxrich_torch import adapter as base

from onnxrich.errors import AdapterError
from onnxrich.frameworks.export import peek
from onnxrich.frameworks.registry import LABELS, Item
from onnxrich_transformers import pretrained

# What rows are called in mappings, by the first input of the model that is made from them.
RAW = {
    "input_ids": ("text", "sentence"),
    "pixel_values": ("image", "img"),
    "input_values": ("audio", "speech"),
    "input_features": ("audio", "speech"),
}
# The class that reads what prepares it, by the same input.
PROCESSOR = {
    "input_ids": "AutoTokenizer",
    "pixel_values": "AutoImageProcessor",
    "input_values": "AutoFeatureExtractor",
    "input_features": "AutoFeatureExtractor",
}
IMAGES_AT_ONCE, TOKENS, SAMPLES = 32, 8, 16_000


def is_native(obj: Any) -> bool:
    """Whether an object is a model of transformers, or a pair of it and its processor."""
    return base.is_pretrained(obj[0] if isinstance(obj, tuple) and len(obj) == 2 else obj)


def load(path: Path) -> Any | None:
    """The model of a folder that `save_pretrained` wrote.

    Raises:
        AdapterError: when its weights are pickled or lie elsewhere, or its class is none of transformers' own.
    """
    config = pretrained.configuration(path)
    if config is None:
        return None
    import transformers

    name = (config.get("architectures") or ["none"])[0]
    kind = getattr(transformers, str(name), None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise AdapterError(f"{path} of class {name!r}", "a class of transformers itself", "Load it yourself.")
    made: Any = kind
    return made.from_pretrained(str(path), local_files_only=True, use_safetensors=True).eval()


def batches(obj: Any, loader: Any) -> Iterable[Item]:
    """The items of a loader as the model takes them."""
    model, processor = _parts(obj)
    if loader is None:
        return [_made_up(model)]
    if isinstance(loader, Mapping):
        raw = _raw_key(model, loader)
        if raw is None:
            return base.batches(model, loader)
        marks = next((loader[name] for name in (LABELS, "label") if name in loader), None)
        rows = [(value, None if marks is None else marks[at]) for at, value in enumerate(loader[raw])]
        return list(_Prepared(model, processor, rows))
    first, items = peek(loader)
    prepared = isinstance(first, Mapping) and _raw_key(model, first) is None
    if prepared or hasattr(first, "detach") or (isinstance(first, tuple | list) and hasattr(first[0], "detach")):
        return base.batches(model, items)
    found = _Prepared(model, processor, items)
    return iter(found) if isinstance(items, Iterator) else found


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Rows as a processor makes them for a model."""

    model: Any
    processor: Any
    rows: Iterable[Any]

    def __iter__(self) -> Iterator[Item]:
        rows = (_row(self.model, row) for row in self.rows)
        # Texts and sounds are padded to the longest; images are all of one size, and too large to be kept.
        size = IMAGES_AT_ONCE if self.model.main_input_name == "pixel_values" else None
        while part := list(islice(rows, size)):
            yield self._item([raw for raw, _ in part], [label for _, label in part])

    def _item(self, raw: Sequence[Any], labels: Sequence[Any]) -> Item:
        (named,) = base.batches(self.model, _encoded(self.model, self.processor, raw))
        if any(label is None for label in labels):
            return named
        return {**named, LABELS: np.asarray(labels)}


def to_onnx(obj: Any, example: Item, path: Path) -> str:
    """Write the model by PyTorch's exporter, without a cache of keys and values."""
    import transformers

    model = _parts(obj)[0]
    with _without_cache(model):
        base.to_onnx(model, example, path)
    return f"transformers {transformers.__version__}"


def forward(obj: Any, given: Item) -> Sequence[NDArray[np.generic]]:
    """What the model computes, as arrays."""
    model = _parts(obj)[0]
    with _without_cache(model):
        return base.forward(model, given)


def weights(obj: Any) -> Mapping[str, NDArray[np.generic]]:
    """Parameters and buffers by their names in the state dict."""
    return base.weights(_parts(obj)[0])


def callback(*args: Any, **options: Any) -> Any:
    """A callback for `transformers.Trainer`; arguments as of `onnxrich_transformers.trainer.callback`."""
    from onnxrich_transformers import trainer

    return trainer.callback(*args, **options)


def _parts(obj: Any) -> tuple[Any, Any]:
    """The model, and what prepares its inputs or None."""
    if isinstance(obj, tuple):
        return obj[0], obj[1]
    folder = str(getattr(obj, "name_or_path", ""))
    return obj, folder if folder and Path(folder).is_dir() else None


def _encoded(model: Any, processor: Any, raw: Sequence[Any]) -> dict[str, Any]:
    """What a processor makes of rows; a folder stands for the processor in it."""
    kind = model.main_input_name
    if isinstance(processor, str):
        processor = _read(processor, kind)
    if processor is None:
        raise AdapterError(
            f"{RAW[kind][0]}s for {type(model).__qualname__}, and nothing that prepares them",
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


def _read(folder: str, kind: str) -> Any:
    import transformers

    try:
        # Where nothing is said, transformers may ask at the terminal whether to run the folder's code.
        found = getattr(transformers, PROCESSOR[kind])
        return found.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):
        return None


def _raw_key(model: Any, columns: Mapping[str, Any]) -> str | None:
    """The column that the model's first input is to be made from; None where that input is there itself."""
    if model.main_input_name in columns:
        return None
    return next((name for name in RAW.get(model.main_input_name, ()) if name in columns), None)


def _row(model: Any, row: Any) -> tuple[Any, Any]:
    """Raw row, and its label or None."""
    if isinstance(row, tuple):
        return row[0], row[1]
    if not isinstance(row, Mapping):
        return row, None
    key = _raw_key(model, row)
    if key is None:
        raise AdapterError(
            f"a row with {', '.join(map(repr, row))}",
            f"one of {', '.join(map(repr, RAW[model.main_input_name]))}",
            "Rename the column.",
        )
    raw = row[key]
    if isinstance(raw, Mapping):
        raw = raw["array"]
    return raw, next((row[name] for name in (LABELS, "label") if name in row), None)


def _made_up(model: Any) -> Item:
    """One item of any values, in the shapes that the configuration declares."""
    rng, kind, config = np.random.default_rng(0), model.main_input_name, model.config
    if kind == "input_ids":
        tokens = rng.integers(0, config.vocab_size, (2, TOKENS))
        return {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
    if kind == "pixel_values":
        side = config.image_size if hasattr(config, "image_size") else 224
        height, width = side if isinstance(side, tuple | list) else (side, side)
        shape: tuple[int, ...] = (2, config.num_channels, height, width)
    else:
        shape = (2, SAMPLES)
    return {kind: rng.standard_normal(shape).astype(np.float32)}


@contextlib.contextmanager
def _without_cache(model: Any) -> Iterator[None]:
    """Language models give their outputs alone, and no keys and values for the next token."""
    before = getattr(model.config, "use_cache", None)
    if before is not None:
        model.config.use_cache = False
    try:
        yield
    finally:
        if before is not None:
            model.config.use_cache = before
