"""Labels of tokens stand beside the outputs that the model's own loss compares them with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from adapters._transformers_models import bert

import onnxrich

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]  # transformers' own
torch = pytest.importorskip("torch")
nn = torch.nn

TEXTS, TOKENS, WORDS = 40, 9, 16
# Two float32 runtimes differ in features and outputs by up to δ = 1e-5 of their size (measured: 1e-6); see test_torch.
THROUGH_FLOAT32 = 4e-5
SMALL = {
    "vocab_size": WORDS, "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 16, "initializer_range": 0.3,
}  # fmt: skip


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(vocab_size=WORDS, n_embd=24, n_layer=1, n_head=2, n_positions=16, initializer_range=0.3)
    )


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**SMALL, num_key_value_heads=1))


def masked() -> Any:
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(BertConfig(**SMALL))


def tagger() -> Any:
    from transformers import BertConfig, BertForTokenClassification

    return BertForTokenClassification(BertConfig(**SMALL, num_labels=WORDS))


class Own(nn.Module):
    """A causal model of one's own, whose loss shifts labels, and is 0 without any."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(WORDS, 24), nn.Linear(24, WORDS)

    def forward(self, input_ids: Any, labels: Any = None) -> Any:
        logits = self.head(torch.tanh(self.embed(input_ids)))
        if labels is None:
            return {"logits": logits}
        kept = labels[:, 1:].reshape(-1)
        losses = nn.functional.cross_entropy(logits[:, :-1].reshape(-1, WORDS), kept, reduction="sum")
        return {"loss": losses / (kept != -100).sum().clamp(min=1), "logits": logits}


class Flat(Own):
    """Its outputs are the same for all words as long as it is untrained."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


def model_of(kind: Any) -> Any:
    torch.manual_seed(0)
    return kind().eval()


def logits_of(model: Any, tokens: Any) -> Any:
    with torch.no_grad():
        return model(input_ids=tokens)["logits"]


def labels_of(model: Any, tokens: Any, *, shifted: bool) -> Any:
    """Labels of which the model's loss predicts three in four; some are left out."""
    predicted = logits_of(model, tokens).argmax(2)
    labels = torch.full_like(tokens, 0)
    if shifted:
        labels[:, 1:] = predicted[:, :-1]
    else:
        labels = predicted.clone()
    labels[::4] = (labels[::4] + 1) % WORDS
    labels[1, 2] = -100
    return labels


def tokens() -> Any:
    return torch.randint(0, WORDS, (TEXTS, TOKENS), generator=torch.Generator().manual_seed(0))


CASES = [(gpt2, True), (llama, True), (Own, True), (masked, False), (tagger, False)]


@pytest.mark.parametrize(("kind", "shifted"), CASES)
def test_accuracy_is_that_of_the_loss(kind: Any, shifted: bool) -> None:
    """The accuracy counts labels where the loss does, and the rows are the tokens that have such a label."""
    model, ids = model_of(kind), tokens()
    labels = labels_of(model, ids, shifted=shifted)
    analysis = onnxrich.run(model, {"input_ids": ids, "labels": labels})
    logits = logits_of(model, ids).double().numpy()
    beside, marks = (logits[:, :-1], labels[:, 1:].numpy()) if shifted else (logits, labels.numpy())
    counted = marks >= 0
    assert analysis.record.data.n == counted.sum()
    expected = (beside.argmax(2)[counted] == marks[counted]).mean()
    assert expected > 0.7
    assert analysis.metrics["accuracy"] == pytest.approx(expected)
    assert ("labels_shifted" in [notice.code for notice in analysis.notices]) == shifted


def test_all_ways_to_pass_labels() -> None:
    """Pairs, labels apart, rows of a data set and a loader of mappings are shifted alike; evaluation data too."""
    model, ids = model_of(Own), tokens()
    labels = labels_of(model, ids, shifted=True)
    expected = onnxrich.run(model, {"input_ids": ids, "labels": labels})
    rows = [{"input_ids": row.tolist(), "labels": marks.tolist()} for row, marks in zip(ids, labels, strict=True)]
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(ids, labels), batch_size=16)
    halves = [{"input_ids": ids[at : at + 20], "target": labels[at : at + 20]} for at in (0, 20)]
    ways: list[tuple[Any, Any]] = [
        ((ids, labels), None),
        (ids, labels),
        (rows, None),
        (loader, None),
        (halves, "target"),
    ]
    for data, marks in ways:
        analysis = onnxrich.run(model, data, marks)
        assert analysis.metrics["accuracy"] == pytest.approx(expected.metrics["accuracy"])
        assert analysis.record.data.n == expected.record.data.n
    evaluated = onnxrich.run(model, ids, labels, eval_data=ids, eval_labels=labels).evaluation
    assert evaluated is not None
    assert evaluated.metrics["accuracy"] == pytest.approx(expected.metrics["accuracy"])


def test_labels_of_texts_are_left() -> None:
    """One class a text, and labels of a model that is no language model, are no labels of tokens."""
    model, ids = bert().eval(), tokens()
    classes = logits_of(model, ids).argmax(1)
    analysis = onnxrich.run(model, {"input_ids": ids, "labels": classes})
    assert analysis.metrics["accuracy"] == 1.0
    assert "labels_shifted" not in [notice.code for notice in analysis.notices]


def test_a_loss_that_tells_nothing() -> None:
    """Where all labels have one loss and none counts as 0, the alignment can't be told, and a notice says so."""
    model, ids = model_of(Flat), tokens()
    from onnxrich.frameworks.registry import find_adapter

    (item,) = find_adapter(model).batches(model, {"input_ids": ids, "labels": ids})
    np.testing.assert_array_equal(item["labels"], ids.numpy())
    (notice,) = find_adapter(model).notices(model, item)
    assert notice.code == "labels_alignment"


def test_trainer_of_a_language_model(tmp_path: Path) -> None:
    """The callback of a Trainer shifts labels as well, and its records say so; the training stays the same."""
    from transformers import Trainer, TrainingArguments

    import onnxrich_transformers

    ids = tokens()
    rows = [{"input_ids": row, "labels": row} for row in ids]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), num_train_epochs=1, per_device_train_batch_size=20, report_to=[],
        save_strategy="no", disable_tqdm=True, use_cpu=True, learning_rate=1e-2,
    )  # fmt: skip
    model, alone = model_of(llama), model_of(llama)
    callback = onnxrich_transformers.callback(rows, tmp_path / "records")
    Trainer(model, arguments, train_dataset=rows, callbacks=[callback]).train()
    Trainer(alone, arguments, train_dataset=rows).train()
    for name, value in model.state_dict().items():
        assert torch.equal(value, alone.state_dict()[name]), name
    document = json.loads((tmp_path / "records" / "step-00000002.json").read_text())
    predicted = logits_of(model.eval(), ids)[:, :-1].argmax(2)
    assert document["metrics"]["accuracy"] == pytest.approx((predicted == ids[:, 1:]).double().mean().item())
    assert "labels_shifted" in [warning["code"] for warning in document["warnings"]]


def test_models_without_a_task_head() -> None:
    """A model that gives embeddings is told from one with a head; what was measured is a layer of the network."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    model, ids = BertModel(BertConfig(**SMALL)).eval(), tokens()
    analysis = onnxrich.run(model, {"input_ids": ids})
    (notice,) = [notice for notice in analysis.notices if notice.code == "no_task_head"]
    assert notice.message.startswith("BertModel is a model without a task head: its outputs are embeddings")
    seen: list[Any] = []
    handle = model.pooler.dense.register_forward_hook(lambda _, args, output: seen.extend([args[0], output]))
    with torch.no_grad():
        model(input_ids=ids)
    handle.remove()
    features, outputs = (part.double().numpy() for part in seen)
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=THROUGH_FLOAT32)
    codes = [entry.code for entry in onnxrich.run(bert().eval(), {"input_ids": ids}).notices]
    assert "no_task_head" not in codes
