"""Small models of transformers, and what they are fed."""

from __future__ import annotations

from typing import Any

import numpy as np

ROWS = 40
WORDS = ["[PAD]", "[UNK]", "the", "network", "learns", "lazy", "rich", "features", "of", "images", "and", "texts"]


def texts() -> list[str]:
    """Sentences of different lengths."""
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS[2:], rng.integers(2, 9))) for _ in range(ROWS)]


def tokenizer() -> Any:
    """A tokenizer of a dozen words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_input_names=["input_ids", "attention_mask"]
    )


def bert() -> Any:
    """A small BERT that classifies, with weights large enough to tell rows apart."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=16, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            max_position_embeddings=16, num_labels=3, initializer_range=0.4,
        )
    )  # fmt: skip
