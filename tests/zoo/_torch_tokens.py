"""Sequence models of PyTorch: one row for each sequence, or one for each token."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from _record import Array
from _torch_export import Case, Inputs

VOCABULARY, WIDTH, LENGTH = 11, 16, 6
BOTH = {"dynamo": 20, "legacy": 17}


def tokens(n: int = 32, length: int = LENGTH) -> Inputs:
    """Seeded token ids."""
    return {"input_ids": torch.randint(1, VOCABULARY, (n, length))}


def masked_tokens(n: int = 32) -> Inputs:
    """Token ids with an attention mask; the padding stands at the end and every row has at least two tokens."""
    ids = tokens(n)["input_ids"]
    keep = torch.arange(LENGTH)[None] < torch.randint(2, LENGTH + 1, (n, 1))
    return {"input_ids": ids * keep, "attention_mask": keep.long()}


def counted_tokens(n: int = 32) -> Inputs:
    """Token ids with the index of the token to read."""
    return tokens(n) | {"position": torch.randint(0, LENGTH, (n,))}


def signals(n: int = 32, channels: int = 4, length: int = 10) -> Inputs:
    """Seeded signals, channels first."""
    return {"signal": torch.randn(n, channels, length) + torch.randn(n, channels, 1)}


def at_position(inputs: Inputs, x: Tensor) -> Tensor:
    """The token that the input `position` names, of each sequence."""
    return x[torch.arange(len(x)), inputs["position"]]


def flat_mask(inputs: Inputs) -> Array:
    """The attention mask, one entry for each row."""
    return inputs["attention_mask"].bool().flatten().numpy()


class Encoder(nn.Module):
    """Embedding, places, one transformer block; takes an attention mask where there is one."""

    def __init__(self, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.embedding, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(16, WIDTH)
        self.norm1, self.norm2, self.final = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH)

    def forward(self, ids: Tensor, keep: Tensor | None = None) -> Tensor:
        n, length = ids.shape
        x = self.embedding(ids) + self.places(torch.arange(length))
        q, k, v = self.qkv(self.norm1(x)).view(n, length, 3, 2, WIDTH // 2).permute(2, 0, 3, 1, 4).unbind(0)
        bias = None if keep is None else (1.0 - keep[:, None, None, :].float()) * -1e4
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=bias, is_causal=self.causal).transpose(1, 2).flatten(2))
        return self.final(x + self.narrow(F.gelu(self.wide(self.norm2(x)))))


class Classifier(nn.Module):
    """Sequence classification at the first, last or mean token, or after a pooler."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at
        self.encoder, self.pooler, self.head = Encoder(), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.encoder(input_ids)
        if self.at == "all":
            return self.head(x)[:, -1]
        x = {"first": x[:, 0], "last": x[:, -1], "mean": x.mean(1), "pooler": torch.tanh(self.pooler(x[:, 0]))}[self.at]
        return self.head(F.dropout(x, 0.1, self.training))


class MaskedMean(nn.Module):
    """Sequence classification at the mean of the tokens that the attention mask keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Encoder(), nn.Linear(WIDTH, 4)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        keep = attention_mask.unsqueeze(-1).float()
        x = self.encoder(input_ids, attention_mask)
        return self.head((x * keep).sum(1) / keep.sum(1))


class Gathered(nn.Module):
    """Sequence classification at a token that an input names; the head runs before or after the choice."""

    def __init__(self, *, early: bool) -> None:
        super().__init__()
        self.early = early
        self.encoder, self.head = Encoder(causal=True), nn.Linear(WIDTH, 4)

    def forward(self, input_ids: Tensor, position: Tensor) -> Tensor:
        x = self.encoder(input_ids)
        x = self.head(x) if self.early else x
        x = x.gather(1, position[:, None, None].expand(-1, 1, x.shape[-1])).squeeze(1)
        return x if self.early else self.head(x)


class Language(nn.Module):
    """A language model whose head shares the embedding's weights."""

    def __init__(self, *, cap: float | None = None, last: bool = False) -> None:
        super().__init__()
        self.cap, self.last = cap, last
        self.encoder, self.head = Encoder(causal=True), nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.encoder.embedding.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        x = self.encoder(input_ids)
        logits = self.head(x[:, -1:] if self.last else x)
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


class Masked(nn.Module):
    """A masked language model or tagger with an attention mask, with or without tied weights."""

    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.head = nn.Linear(WIDTH, VOCABULARY if tied else 5)
        if tied:
            self.head.weight = self.encoder.embedding.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.encoder(input_ids, attention_mask))


class Tagger(nn.Module):
    """Token classification with the class axis moved to the front, as the cross-entropy of torch wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Encoder(), nn.Linear(WIDTH, 5)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(self.encoder(input_ids)).log_softmax(-1).transpose(1, 2)


class Recurrent(nn.Module):
    """LSTM, GRU or plain RNN over a sequence, one direction or two."""

    def __init__(self, kind: type[nn.RNNBase], *, both: bool = False, state: bool = False) -> None:
        super().__init__()
        self.state = state
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.cell = kind(8, 10, batch_first=True, bidirectional=both)
        self.head = nn.Linear(20 if both else 10, 4)

    def forward(self, input_ids: Tensor) -> Tensor:
        x, last = self.cell(self.embedding(input_ids))
        if self.state:
            hidden = last[0] if isinstance(last, tuple) else last
            return self.head(torch.cat([hidden[0], hidden[-1]], -1) if self.cell.bidirectional else hidden[-1])
        return self.head(x.mean(1) if self.cell.bidirectional else x[:, -1])


class Recogniser(nn.Module):
    """A CTC text recogniser: convolutions, a sequence along the width, scores at every position."""

    def __init__(self, *, time_first: bool) -> None:
        super().__init__()
        self.time_first = time_first
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d((4, 1)))
        self.cell, self.head = nn.LSTM(8, 8, bidirectional=True), nn.Linear(16, 6)

    def forward(self, image: Tensor) -> Tensor:
        x, _ = self.cell(self.features(image).squeeze(2).permute(2, 0, 1))
        return self.head(x if self.time_first else x.transpose(0, 1)).log_softmax(-1)


class Averaged(nn.Module):
    """Scores for every frame of a signal, averaged over the frames."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Conv1d(4, 12, 3, padding=1), nn.GELU()), nn.Linear(12, 4)

    def forward(self, signal: Tensor) -> Tensor:
        return self.head(self.body(signal).transpose(1, 2)).mean(1)


class Headless(nn.Module):
    """An LSTM whose last hidden state is the output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.cell = nn.Embedding(VOCABULARY, 8), nn.LSTM(8, 10, batch_first=True)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.cell(self.embedding(input_ids))[0][:, -1]


class Temporal(nn.Module):
    """A temporal convolution network with a 1×1 Conv1d head at every position, or at the last."""

    def __init__(self, *, dense: bool) -> None:
        super().__init__()
        self.dense = dense
        self.body = nn.Sequential(nn.Conv1d(4, 12, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv1d(12, 12, 3, padding=1), nn.GELU())
        self.head = nn.Linear(12, 4) if not dense else nn.Conv1d(12, 4, 1)

    def forward(self, signal: Tensor) -> Tensor:
        x = self.body(signal)
        return self.head(x) if self.dense else self.head(x[:, :, -1])


def cases() -> list[Case]:
    """All sequence models."""
    few, some = (lambda: tokens(8)), (lambda: masked_tokens(8))
    token = {"read": "token"}
    length = (("input_ids", 1, "T"),)
    masked = {"mask_input": "attention_mask"}
    lines = lambda: {"image": torch.randn(8, 1, 4, 6) + 2 * torch.randn(8, 1, 1, 6)}
    late = "The head runs at every token and one is chosen behind it: rows are tokens; the chosen ones are under chosen/."
    one = "One token of each sequence reaches the head: as tensors (N, 1, ·)."
    mean = "The scores of all frames are averaged behind the head, with nothing between: rows are samples."
    order = {"tensor_order": "TN", "notes": "The graph's tensors are (T, N, ·); the recorded rows are ordered (N, T)."}
    return [
        Case("sequence_first_token", lambda: Classifier("first"), tokens, exporters=BOTH),
        Case("sequence_last_token", lambda: Classifier("last"), tokens, exporters=BOTH, lengths=length),
        Case("sequence_mean_token", lambda: Classifier("mean"), tokens, exporters={"dynamo": 23, "legacy": 16}),
        Case("sequence_pooler", lambda: Classifier("pooler"), tokens),
        Case("sequence_chosen_late", lambda: Classifier("all"), few, exporters={"legacy": 17}, more={"notes": late},
             chosen=lambda _, x: x[:, -1], **token),
        Case("sequence_masked_mean", MaskedMean, masked_tokens, exporters=BOTH),
        Case("sequence_gathered", lambda: Gathered(early=False), counted_tokens, exporters=BOTH),
        Case("sequence_gathered_late", lambda: Gathered(early=True), lambda: {k: v[:8] for k, v in counted_tokens().items()},
             exporters={"legacy": 17}, more={"notes": late}, chosen=at_position, **token),
        Case("language_tied", Language, few, exporters=BOTH, lengths=length, **token),
        Case("language_softcap", lambda: Language(cap=3.0), few, exporters={"dynamo": 20}, **token),
        Case("language_last_token", lambda: Language(last=True), tokens, more={"notes": one}, **token),
        Case("language_masked", lambda: Masked(tied=True), some, exporters=BOTH, mask=flat_mask, more=masked, **token),
        Case("token_classification", lambda: Masked(tied=False), some, exporters=BOTH, mask=flat_mask, more=masked, **token),
        Case("tagger_transposed", Tagger, few, exporters=BOTH, **token),
        Case("lstm", lambda: Recurrent(nn.LSTM), tokens, exporters={"dynamo": 20, "legacy": 14}),
        Case("gru", lambda: Recurrent(nn.GRU), tokens, exporters={"legacy": 11}),
        Case("rnn_state", lambda: Recurrent(nn.RNN, state=True), tokens, exporters={"legacy": 9}),
        Case("lstm_both_directions", lambda: Recurrent(nn.LSTM, both=True), tokens, exporters={"legacy": 13}),
        Case("gru_both_states", lambda: Recurrent(nn.GRU, both=True, state=True), tokens, exporters={"dynamo": 18, "legacy": 17}),
        Case("ctc", lambda: Recogniser(time_first=False), lines, exporters={"legacy": 12}, **token),
        Case("ctc_time_first", lambda: Recogniser(time_first=True), lines, exporters={"legacy": 12}, more=order, time_first=True, **token),
        Case("temporal_dense", lambda: Temporal(dense=True), lambda: signals(5), exporters=BOTH, read="position"),
        Case("frames_averaged", Averaged, signals, exporters=BOTH, read="token_pooled", more={"notes": mean}),
        Case("lstm_without_head", Headless, tokens, heads=(), exporters={"legacy": 14}),
        Case("temporal_last", lambda: Temporal(dense=False), signals),
    ]
