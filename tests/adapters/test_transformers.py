"""Hugging Face transformers: folders and models with their processors are measured as transformers computes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from adapters._transformers_models import ROWS, bert, texts, tokenizer

import onnxrich
from onnxrich.errors import AdapterError
from onnxrich.frameworks.registry import find_adapter, load_model

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]  # transformers' own
torch = pytest.importorskip("torch")

# Two float32 runtimes differ in features and outputs by up to δ = 1e-5 of their size (measured: 1e-6); see test_torch.
THROUGH_FLOAT32 = 4e-5


def hooked(model: Any, head: Any, inputs: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """What PyTorch's own hook sees before a head, and behind it, in evaluation mode and in float64."""
    seen: list[Any] = []
    handle = head.register_forward_hook(lambda _, args, output: seen.extend([args[0], output]))
    model.eval()
    with torch.no_grad():
        model(**inputs)
    handle.remove()
    features, outputs = (part.double().numpy() for part in seen)
    return features, outputs


def test_text_in_a_folder(tmp_path: Path) -> None:
    """A folder with a tokenizer takes texts; the file that is exported from it takes tokens of any length."""
    bert().save_pretrained(tmp_path / "model")
    tokenizer().save_pretrained(tmp_path / "model")
    labels = np.arange(ROWS) % 3
    rows = [{"text": text, "label": int(label)} for text, label in zip(texts(), labels, strict=True)]
    model = load_model(tmp_path / "model")[1]
    analysis = onnxrich.run(tmp_path / "model", rows)
    inputs = dict(tokenizer()(texts(), padding=True, return_tensors="pt"))
    features, outputs = hooked(model, model.classifier, inputs)
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=THROUGH_FLOAT32)
    assert analysis.metrics["accuracy"] == pytest.approx((outputs.argmax(1) == labels).mean())
    (item,) = find_adapter(model).batches(model, rows)
    assert set(item) == {"input_ids", "attention_mask", "labels"}
    for data in ({"text": texts(), "label": labels}, iter(rows), list(zip(texts(), labels, strict=True))):
        (same,) = find_adapter(model).batches(model, data)
        assert all(np.array_equal(same[name], array) for name, array in item.items())
    export = onnxrich.export(tmp_path / "model", tmp_path / "bert.onnx")
    assert export.inputs == ("input_ids", "attention_mask")
    assert export.outputs == ("logits",)
    assert export.framework.startswith("transformers ")
    tokens = {name: array.numpy() for name, array in inputs.items() if name in export.inputs}
    again = onnxrich.run(tmp_path / "bert.onnx", tokens)
    assert again.metrics["d_lr"] == pytest.approx(analysis.metrics["d_lr"], abs=1e-6)


def test_language_model() -> None:
    """The rows of a causal language model are its tokens without the padding, and it keeps its cache."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=16, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
            intermediate_size=32, max_position_embeddings=16, initializer_range=0.3,
        )
    )  # fmt: skip
    analysis = onnxrich.run((model, tokenizer()), texts())
    inputs = dict(tokenizer()(texts(), padding=True, return_tensors="pt"))
    inputs.pop("token_type_ids", None)
    is_token = inputs["attention_mask"].numpy() == 1
    features, outputs = (part[is_token] for part in hooked(model, model.lm_head, inputs))
    assert (analysis.record.head.rows, analysis.record.data.n) == ("token", is_token.sum())
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=THROUGH_FLOAT32)
    assert model.config.use_cache is True


def test_images(tmp_path: Path) -> None:
    """An image processor in the model's folder resizes and scales images."""
    from PIL import Image
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=4,
        num_labels=3, initializer_range=0.3,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(tmp_path)
    processor = ViTImageProcessorPil(size={"height": 16, "width": 16})
    processor.save_pretrained(tmp_path)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)) for _ in range(ROWS)]
    analysis = onnxrich.run(tmp_path, [{"image": image} for image in images])
    model = load_model(tmp_path)[1]
    features, outputs = hooked(model, model.classifier, dict(processor(images=images, return_tensors="pt")))
    assert analysis.record.data.n == ROWS
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=THROUGH_FLOAT32)


def test_sounds() -> None:
    """A feature extractor prepares sounds of different lengths."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    torch.manual_seed(0)
    model = Wav2Vec2ForSequenceClassification(
        Wav2Vec2Config(
            hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(16, 16),
            conv_stride=(5, 4), conv_kernel=(10, 8), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
            num_labels=3, classifier_proj_size=12,
        )
    )  # fmt: skip
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    rng = np.random.default_rng(0)
    sounds = [rng.standard_normal(400 + 10 * (at % 7)).astype(np.float32) for at in range(ROWS)]
    rows = [{"audio": {"array": sound, "sampling_rate": 16_000}} for sound in sounds]
    analysis = onnxrich.run((model, extractor), rows)
    inputs = dict(extractor(sounds, sampling_rate=16_000, padding=True, return_tensors="pt"))
    features, outputs = hooked(model, model.classifier, inputs)
    assert analysis.metrics["d_lr"] == pytest.approx(oracle.d_lr(features, outputs), abs=THROUGH_FLOAT32)


def test_folders_that_are_refused(tmp_path: Path) -> None:
    """Pickled weights, classes of nobody knows whom, and rows without what prepares them are errors that say so."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["os"]}))
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(AdapterError, match=r"holds no safetensors, and loading weights from a pickle can run any code"):
        onnxrich.export(folder, tmp_path / "model.onnx")
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(AdapterError, match=r"is of class 'os'.*a class of transformers itself"):
        onnxrich.export(folder, tmp_path / "model.onnx")
    with pytest.raises(
        AdapterError, match=r"BertForSequenceClassification comes with texts, but without a processor for them"
    ):
        onnxrich.run(bert(), texts())
    with pytest.raises(AdapterError, match=r"a row of the data has the columns 'words'.*one of 'text', 'sentence'"):
        onnxrich.run((bert(), tokenizer()), [("the", 0), {"words": "the"}])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"transformers_weights": "../other.safetensors"}, r"weights in '\.\./other\.safetensors'"),
        ("config.json", {"attn_implementation": "somebody/kernel"}, r"attn_implementation = 'somebody/kernel'"),
        ("config.json", {"text_config": {"attn_implementation": "a/b"}}, r"attn_implementation = 'a/b'"),
        ("model.safetensors.index.json", {"weight_map": {"w": "../w.safetensors"}}, r"weights in '\.\./w\.saf"),
        ("model.safetensors.index.json", {"weight_map": {"w": "w.bin"}}, r"weights in 'w\.bin'"),
        ("model.safetensors.index.json", {"weight_map": None}, r"weights in None"),
        ("adapter_config.json", {}, r"a file adapter_config\.json, which names other weights"),
        ("config.json", "{", r"config\.json is no valid JSON.*a whole JSON file"),
    ],
)
def test_folders_that_lead_elsewhere(tmp_path: Path, file: str, content: Any, message: str) -> None:
    """Weights outside the folder, pickles behind an index, and code from elsewhere are refused."""
    bert().save_pretrained(tmp_path)
    path = tmp_path / file
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(content if isinstance(content, str) else json.dumps(before | content))
    with pytest.raises(AdapterError, match=message):
        onnxrich.export(tmp_path, tmp_path / "model.onnx")


def test_code_in_a_folder(tmp_path: Path) -> None:
    """Code that a tokenizer's folder names is not run."""
    bert().save_pretrained(tmp_path)
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    auto = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(auto))
    with pytest.raises(AdapterError, match=r"comes with texts, but without a processor for them"):
        onnxrich.run(tmp_path, texts())
    assert not (tmp_path / "ran").exists()


def test_trainer(tmp_path: Path) -> None:
    """The callback of a Trainer measures before the first step and after each epoch, and logs beside the Trainer."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from transformers import Trainer, TrainerCallback, TrainingArguments

    import onnxrich_transformers

    encoded = tokenizer()(texts(), padding=True, return_tensors="pt")
    inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")} | {"labels": torch.arange(ROWS) % 3}
    rows = [{name: value[at] for name, value in inputs.items()} for at in range(ROWS)]
    model, expected = bert(), {}

    class Truth(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            features, outputs = hooked(model, model.classifier, inputs)
            expected[state.global_step] = oracle.d_lr(features, outputs)
            model.train()

        on_epoch_end = on_train_begin

    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), num_train_epochs=2, per_device_train_batch_size=20, report_to=["tensorboard"],
        save_strategy="no", disable_tqdm=True, use_cpu=True, learning_rate=1e-2,
    )  # fmt: skip
    measured = onnxrich_transformers.callback(inputs, tmp_path / "records")
    Trainer(model, arguments, train_dataset=rows, callbacks=[Truth(), measured]).train()
    documents = [json.loads(path.read_text()) for path in sorted((tmp_path / "records").glob("*.json"))]
    recorded = {document["model"]["step"]: document["metrics"]["d_lr"] for document in documents}
    assert list(expected) == [0, 2, 4]
    assert recorded == pytest.approx(expected, abs=THROUGH_FLOAT32)
    events = EventAccumulator(str(tmp_path / "out" / "runs" / "onnxrich")).Reload()
    assert [event.step for event in events.Scalars("onnxrich/d_lr")] == [0, 2, 4]
