"""Texts as the inputs of a language model, encoded by the model's tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxrich._utils.formatting import name_list
from onnxrich._utils.optional import import_optional
from onnxrich.data.paths import DataPath, first_line
from onnxrich.data.table import AnyArray, Block, Field, Rows, Table
from onnxrich.errors import DataError
from onnxrich.model.file import Input

# Inputs that a tokenizer yields, by the names that exporters of transformers use.
IDS, MASK, TYPES, POSITIONS = "input_ids", "attention_mask", "token_type_ids", "position_ids"
# Those of the largest vocabularies, 260,000 words with their merges, take 35 MB.
LARGEST_TOKENIZER = 2**28
# Names of the padding token in the vocabularies of common tokenizers.
_PADDING = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")


@dataclass(frozen=True, eq=False)
class _Encoder:
    """Encodes texts as arrays.

    Attributes:
        name: name of the tokenizer's file.
        tokenizer: tokenizer of the package tokenizers.
        outputs: output of the tokenizer by name of the input that takes it.
    """

    name: str
    tokenizer: Any
    outputs: dict[str, str]

    def encode(self, texts: AnyArray) -> dict[str, AnyArray]:
        """Return int64 arrays of shape (n, tokens) by input name.

        Raises:
            DataError: when lengths differ, and the model takes no mask, or the tokenizer fails.
        """
        with _refuse_faults(self.name):
            encodings = self.tokenizer.encode_batch([str(text) for text in texts])
        lengths = {len(encoding.ids) for encoding in encodings}
        if len(lengths) > 1:
            raise DataError(
                f"texts have {min(lengths)} and {max(lengths)} tokens, and the model has no input {MASK!r}",
                "texts of one length, or a mask that leaves padding out",
                "Pass --batch-size 1, or export the model with its mask.",
            )
        arrays = {
            IDS: [encoding.ids for encoding in encodings],
            MASK: [encoding.attention_mask for encoding in encodings],
            TYPES: [encoding.type_ids for encoding in encodings],
            POSITIONS: [list(range(len(encoding.ids))) for encoding in encodings],
        }
        length = next(iter(lengths), 0)
        return {
            name: np.array(arrays[output], dtype=np.int64).reshape(len(texts), length)
            for name, output in self.outputs.items()
        }


def tokenize(table: Table, text: str, tokenizer: str, inputs: tuple[Input, ...]) -> Table:
    """Return the table with the model's inputs in place of a column of texts.

    Args:
        table: the table.
        text: name of the column.
        tokenizer: path of a `tokenizer.json`.
        inputs: the model's inputs.

    Raises:
        DataError: when the table has no such column, or the model takes an input that no tokenizer yields.
    """
    column = table.fields.get(text)
    if column is None or column.dtype != np.dtype(object):
        raise DataError(
            f"{table.name} has no column of texts {text!r}",
            f"one of {name_list([name for name, field in table.fields.items() if field.dtype == np.dtype(object)])}",
            "Pass its name to --text.",
        )
    encoder = _load_encoder(tokenizer, inputs)
    encoded = {name: Field(name, np.dtype(np.int64), (column.shape[0], None)) for name in encoder.outputs}

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        unchanged = [name for name in names if name not in encoded]
        if len(unchanged) == len(names):
            yield from table.read(names, rows, size)
            return
        for block in table.read(sorted({*unchanged, text}), rows, size):
            yield replace(block, arrays={**block.arrays, **encoder.encode(block.arrays[text])})

    unchanged = {name: field for name, field in table.fields.items() if name not in encoded}
    return Table(table.name, unchanged | encoded, read, table.random)


def _load_encoder(file: str, inputs: tuple[Input, ...]) -> _Encoder:
    outputs = {entry.name: _output_for(entry, inputs) for entry in inputs}
    unknown = [name for name, output in outputs.items() if not output]
    if unknown:
        raise DataError(
            f"no tokenizer yields the inputs {name_list(unknown)}",
            f"{IDS}, {MASK}, {TYPES}, {POSITIONS}",
            "Pass arrays.",
        )
    path = DataPath(file)
    with _refuse_faults(path.name):
        tokenizer = _load_tokenizer(path, inputs, has_mask=MASK in outputs.values())
    return _Encoder(path.name, tokenizer, outputs)


def _load_tokenizer(path: DataPath, inputs: tuple[Input, ...], *, has_mask: bool) -> Any:
    """Load a tokenizer that pads and cuts texts to the length that the model takes."""
    library = import_optional("tokenizers", "text", "--tokenizer")
    tokenizer = library.Tokenizer.from_buffer(path.read("a readable tokenizer.json", LARGEST_TOKENIZER))
    declared = tokenizer.padding
    numbers = (number for token in _PADDING if (number := tokenizer.token_to_id(token)) is not None)
    padding = declared["pad_id"] if declared else next(numbers, 0)
    tokenizer.no_padding()
    length = next((entry.shape[1] for entry in inputs if entry.shape and len(entry.shape) == 2), None)
    if isinstance(length, int):
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length, pad_id=padding)
    elif has_mask or declared:
        tokenizer.enable_padding(pad_id=padding)
    return tokenizer


@contextmanager
def _refuse_faults(name: str) -> Iterator[None]:
    """Turn every error of a tokenizer into a DataError."""
    try:
        yield
    except DataError:
        raise
    except BaseException as error:
        # A panic of the library, which is written in Rust, is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise DataError(
            f"{name} is no tokenizer ({first_line(error)})", "a whole tokenizer.json", "Check the file."
        ) from error


def _output_for(entry: Input, inputs: tuple[Input, ...]) -> str:
    """Return the tokenizer's output for an input, empty without any."""
    if entry.name in (IDS, MASK, TYPES, POSITIONS):
        return entry.name
    return IDS if len(inputs) == 1 and entry.dtype is not None and entry.dtype.kind in "iu" else ""
