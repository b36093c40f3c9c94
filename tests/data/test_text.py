"""Texts: the tokenizer's own output as the oracle, padding, truncation, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from zoo_text import build, read_all, refused, source_of

import onnxrich
from onnxrich.errors import DataError

TEXTS = ["the cat sat", "a dog", "the the the the the", "bird", "cat and dog sat"]
LABELS = ["good", "bad", "good", "bad", "good"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "a", "dog", "and"]
BODY = "e = Gather(table, input_ids)\n m = ReduceMean<axes = [1], keepdims = 0>(e)\n h = Relu(m)\n y = MatMul(h, w2)"
TABLE = np.random.default_rng(0).standard_normal((10, 8)).astype(np.float32)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """The file of a tokenizer of whole words, with special tokens around each text."""
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Texts with labels, an object a line."""
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "d.jsonl"


def takes(*names: str, length: str = "T") -> Any:
    """A model that takes some of what a tokenizer gives."""
    return build(BODY, x=", ".join(f"int64[N,{length}] {name}" for name in names), table=TABLE)


ALL = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


@pytest.mark.parametrize("length", ["T", "4", "9"])
def test_tokens(length: str, tokenizer: Path, data: Path) -> None:
    """Every input is what the tokenizer gives for the batch, padded to its longest text or to the model's length."""
    source = source_of(takes(*ALL, length=length), data, reading={"text": "text", "tokenizer": str(tokenizer)})
    rows, labels = read_all(source, 5)
    oracle = tokenizers.Tokenizer.from_file(str(tokenizer))
    if length == "T":
        oracle.enable_padding(pad_id=0)
    else:
        oracle.enable_padding(pad_id=0, length=int(length))
        oracle.enable_truncation(int(length))
    expected = oracle.encode_batch(TEXTS)
    assert rows["input_ids"].tolist() == [entry.ids for entry in expected]
    assert rows["attention_mask"].tolist() == [entry.attention_mask for entry in expected]
    assert not rows["token_type_ids"].any()
    width = len(expected[0].ids)
    assert rows["position_ids"].tolist() == [list(range(width))] * 5
    assert source.class_names == ("bad", "good")
    assert labels is not None and labels.tolist() == [1, 0, 1, 0, 1]


def test_a_run(tokenizer: Path, data: Path) -> None:
    """A whole run on texts leaves the padding out by itself."""
    proto = build(
        "e = Gather(table, input_ids)\n h = Relu(e)\n y = MatMul(h, w2)", table=TABLE,
        x="int64[N,T] input_ids, int64[N,T] attention_mask", y="float[N,T,3] y",
    )  # fmt: skip
    analysis = onnxrich.run(proto, data, "label", reading={"text": "text", "tokenizer": str(tokenizer)})
    tokens = sum(len(text.split()) + 2 for text in TEXTS)
    assert (analysis.record.data.n, analysis.record.data.samples) == (tokens, 5)


def test_without_a_mask(tokenizer: Path, data: Path) -> None:
    """A model without a mask gets texts of one length only: padding would count as text."""
    options = {"text": "text", "tokenizer": str(tokenizer)}
    with refused(
        DataError,
        "texts have 3 and 7 tokens, and the model has no input 'attention_mask'; needed: texts of one length, or a "
        "mask that leaves padding out. Pass --batch-size 1, or export the model with its mask.",
    ):
        read_all(source_of(takes("tokens"), data, reading=options), 5)
    batches = source_of(build(BODY.replace("input_ids", "t"), x="int64[N,T] t", table=TABLE), data, reading=options)
    assert [batch.inputs["t"].shape for batch in batches.batches(1)] == [(1, 5), (1, 4), (1, 7), (1, 3), (1, 6)]


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"version": "1.0", "model": {"type": "WordLevel"}}'])
def test_no_tokenizer(content: str, tokenizer: Path, data: Path) -> None:
    """A file that is no tokenizer is refused."""
    tokenizer.write_text(content)
    with refused(DataError, "tokenizer.json is no tokenizer (", "needed: a whole tokenizer.json. Check the file."):
        source_of(takes("input_ids"), data, reading={"text": "text", "tokenizer": str(tokenizer)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "Precompiled"),
        ({"pre_tokenizer": {"type": "FixedLength", "length": 0}}, "chunk size must be non-zero"),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "((("}, "content": ""}}, "end pattern with unmatched"),
        ({"model": {"type": "WordLevel", "vocab": {"the": 0}, "unk_token": "?"}}, "Missing [UNK] token"),
    ],
    ids=["panic at once", "panic later", "pattern", "word"],
)
def test_hostile_tokenizers(change: Any, message: str, tokenizer: Path, data: Path) -> None:
    """The library panics on some of them, which is no Exception; they are refused as any other."""
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()) | change))
    with refused(DataError, "tokenizer.json is no tokenizer (", message, "needed: a whole tokenizer.json."):
        read_all(source_of(takes(*ALL), data, reading={"text": "text", "tokenizer": str(tokenizer)}), 5)


def test_a_large_tokenizer(tokenizer: Path, data: Path) -> None:
    """A file that is larger than any vocabulary is refused unread."""
    with tokenizer.open("r+b") as file:
        file.truncate(2**40)
    with refused(DataError, "tokenizer.json has 1,099,511,627,776 bytes; needed: at most 268,435,456."):
        source_of(takes(*ALL), data, reading={"text": "text", "tokenizer": str(tokenizer)})


def test_what_does_not_fit(tokenizer: Path, data: Path) -> None:
    """Columns that are not there, and inputs that no tokenizer gives, are told."""
    with refused(
        DataError, "d.jsonl has no column of texts 'body'; needed: one of 'text', 'label'. Pass its name to --te"
    ):
        source_of(takes("input_ids"), data, reading={"text": "body", "tokenizer": str(tokenizer)})
    with refused(
        DataError, "no tokenizer yields the inputs 'pixels'; needed: input_ids, attention_mask, token_type_ids"
    ):
        source_of(takes("input_ids", "pixels"), data, reading={"text": "text", "tokenizer": str(tokenizer)})
