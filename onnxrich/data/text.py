"""Texts as the inputs of a language model, by its own tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxrich._utils.formatting import name_list
from onnxrich._utils.optional import import_optional
from onnxrich.data.paths import DataPath
from onnxrich.data.selection import Selection
from onnxrich.data.table import AnyArray, Block, Field, Rows, Table
from onnxrich.errors import DataError
from onnxrich.model.file import Input

# Inputs that a tokenizer gives, by the names that exporters of transformers use.
IDS, MASK, TYPES, POSITIONS = "input_ids", "attention_mask", "token_type_ids", "position_ids"
# What the token of padding is called in the vocabularies of common tokenizers.
PADDING = ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>", "</s>")


@dataclass(frozen=True, eq=False)
class _Tokens:
    """How texts become arrays: the tokenizer, and the input that takes what, by name."""

    tokenizer: Any
    inputs: dict[str, str]


def tokenized(table: Table, reading: Selection, inputs: tuple[Input, ...]) -> Table:
    """The table with a column of texts replaced by the model's inputs.

    Raises:
        DataError: when there is no such column, or the model takes what no tokenizer gives.
    """
    if reading.text is None or reading.tokenizer is None:
        return table
    column = table.fields.get(reading.text)
    if column is None or column.dtype != np.dtype(object):
        raise DataError(
            f"{table.name} with no column of texts {reading.text!r}",
            f"one of {name_list([name for name, field in table.fields.items() if field.dtype == np.dtype(object)])}",
            "Pass its name to --text.",
        )
    tokens = _tokens(reading.tokenizer, inputs)
    n = column.shape[0]
    made = {name: Field(name, np.dtype(np.int64), (n, None)) for name in tokens.inputs}
    kept = {name: field for name, field in table.fields.items() if name not in made}

    def read(names: Sequence[str], rows: Rows, size: int) -> Iterator[Block]:
        others = [name for name in names if name not in made]
        if len(others) == len(names):
            yield from table.read(names, rows, size)
            return
        for block in table.read(sorted({*others, column.name}), rows, size):
            yield replace(block, arrays={**block.arrays, **_encoded(tokens, block.arrays[column.name])})

    return Table(table.name, kept | made, read, table.random)


def _tokens(file: str, inputs: tuple[Input, ...]) -> _Tokens:
    names = {entry.name: _kind(entry, inputs) for entry in inputs}
    strange = [name for name, kind in names.items() if not kind]
    if strange:
        raise DataError(
            f"inputs {name_list(strange)}, which no tokenizer gives",
            f"{IDS}, {MASK}, {TYPES}, {POSITIONS}",
            "Pass arrays.",
        )
    place = DataPath(file)
    library = import_optional("tokenizers", "text", "--tokenizer")
    with place.open("a readable tokenizer.json") as opened:
        content = opened.read()
    try:
        tokenizer = library.Tokenizer.from_buffer(content)
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no tokenizer"])[0][:200]
        raise DataError(
            f"{place.name} is no tokenizer ({reason})", "a whole tokenizer.json", "Check the file."
        ) from error
    declared = tokenizer.padding
    found = (number for token in PADDING if (number := tokenizer.token_to_id(token)) is not None)
    padding = declared["pad_id"] if declared else next(found, 0)
    tokenizer.no_padding()
    length = next((entry.shape[1] for entry in inputs if entry.shape and len(entry.shape) == 2), None)
    if isinstance(length, int):
        tokenizer.enable_truncation(length)
        tokenizer.enable_padding(length=length, pad_id=padding)
    elif MASK in names.values() or declared:
        tokenizer.enable_padding(pad_id=padding)
    return _Tokens(tokenizer, names)


def _kind(entry: Input, inputs: tuple[Input, ...]) -> str:
    """What a tokenizer gives for an input, empty for nothing."""
    if entry.name in (IDS, MASK, TYPES, POSITIONS):
        return entry.name
    return IDS if len(inputs) == 1 and entry.dtype is not None and entry.dtype.kind in "iu" else ""


def _encoded(tokens: _Tokens, texts: AnyArray) -> dict[str, AnyArray]:
    encodings = tokens.tokenizer.encode_batch([str(text) for text in texts])
    lengths = {len(encoding.ids) for encoding in encodings}
    if len(lengths) > 1:
        raise DataError(
            f"texts of {min(lengths)} and of {max(lengths)} tokens, for a model without an input {MASK!r}",
            "texts of one length, or a mask that leaves padding out",
            "Pass --batch-size 1, or export the model with its mask.",
        )
    columns = {
        IDS: [encoding.ids for encoding in encodings],
        MASK: [encoding.attention_mask for encoding in encodings],
        TYPES: [encoding.type_ids for encoding in encodings],
        POSITIONS: [list(range(len(encoding.ids))) for encoding in encodings],
    }
    width = next(iter(lengths), 0)
    return {
        name: np.array(columns[kind], dtype=np.int64).reshape(len(texts), width) for name, kind in tokens.inputs.items()
    }
