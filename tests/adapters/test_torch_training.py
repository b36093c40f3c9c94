"""Callbacks measure models of PyTorch while loops, Lightning and the Trainer of transformers train them."""

from __future__ import annotations

import importlib
import json
import logging
import re
from pathlib import Path
from typing import Any

import oracle
import pytest
from repository import ROOT

import onnxrich

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn

# Two float32 runtimes differ in features and outputs by up to δ = 1e-5 of their size (measured: 1e-6); see test_torch.
THROUGH_FLOAT32 = 4e-5
X, Y = torch.randn(96, 10, generator=torch.Generator().manual_seed(0)), torch.arange(96) % 3


def network() -> Any:
    """A small network with what changes between training and evaluation."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)
    )


def loader(shuffle: bool = False) -> Any:
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=32, shuffle=shuffle)


def truth(model: Any) -> float:
    """D_LR of PyTorch's own features, by the definition."""
    mode = model.training
    model.eval()
    with torch.no_grad():
        features = model[:-1](X)
        outputs = model[-1](features)
    model.train(mode)
    return oracle.d_lr(features.double().numpy(), outputs.double().numpy())


def recorded(folder: Path) -> dict[int, dict[str, Any]]:
    """The records of a folder, by step."""
    documents = [json.loads(path.read_text()) for path in sorted(folder.glob("step-*.json"))]
    return {document["model"]["step"]: document for document in documents}


def steps(folder: Path, expected: dict[int, float]) -> None:
    """Assert that a folder holds these steps with these D_LR, none of them exported twice."""
    documents = recorded(folder)
    assert list(documents) == list(expected)
    for step, document in documents.items():
        assert document["metrics"]["d_lr"] == pytest.approx(expected[step], abs=THROUGH_FLOAT32)
        assert "exported_again" not in [warning["code"] for warning in document["warnings"]]


def test_loop(tmp_path: Path) -> None:
    """In a plain loop each step's record is what PyTorch computes at that step, and training goes on undisturbed."""
    model, alone = network(), network()
    recorder, expected = onnxrich.Recorder(loader(shuffle=True), tmp_path / "records"), {}
    for trained in (model, alone):
        torch.manual_seed(1)
        optimizer = torch.optim.Adam(trained.parameters(), lr=1e-2)
        for step in range(4):
            if trained is model:
                expected[step] = truth(model)
                recorder(model, step)
                assert model.training
            for x, y in loader(shuffle=True):
                optimizer.zero_grad()
                nn.functional.cross_entropy(trained(x), y).backward()
                optimizer.step()
    steps(tmp_path / "records", expected)
    for name, value in model.state_dict().items():
        assert torch.equal(value, alone.state_dict()[name]), name


def scalars(folder: Path) -> dict[int, float]:
    """D_LR by step from TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    values: dict[int, float] = {}
    for path in {file.parent for file in folder.rglob("events.out.tfevents.*")}:
        events = EventAccumulator(str(path)).Reload()
        if "onnxrich/d_lr" in events.Tags()["scalars"]:
            values |= {event.step: event.value for event in events.Scalars("onnxrich/d_lr")}
    return values


@pytest.mark.filterwarnings("ignore")  # Lightning's own
@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning(tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The callback measures at the beginning and after every second epoch, and logs to the trainer's loggers."""
    import sys

    import onnxrich_lightning

    pl = importlib.import_module(package)
    if package == "pytorch_lightning":
        monkeypatch.delitem(sys.modules, "lightning.pytorch", raising=False)
    logging.getLogger(package).setLevel(logging.ERROR)
    expected = {}

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Any) -> Any:
            return self.net(x)

        def training_step(self, batch: Any, _: int) -> Any:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def on_train_start(self) -> None:
            expected[0] = truth(self.net)

        def on_train_epoch_end(self) -> None:
            if self.current_epoch % 2:
                expected[self.global_step] = truth(self.net)

    logger = pl.loggers.TensorBoardLogger(tmp_path / "logs")
    callback = onnxrich_lightning.callback(loader(), tmp_path / "records", every=2)
    assert isinstance(callback, pl.Callback)
    trainer = pl.Trainer(
        max_epochs=4, callbacks=[callback], logger=logger, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(Module(), loader())
    assert list(expected) == [0, 6, 12]
    steps(tmp_path / "records", expected)
    assert scalars(tmp_path / "logs") == pytest.approx(expected, abs=THROUGH_FLOAT32)


def test_tensorboard(tmp_path: Path) -> None:
    """`to_writer` logs to a SummaryWriter by step."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(tmp_path))
    model = network()
    onnxrich.Recorder(loader(), log=onnxrich.to_writer(writer))(model, 7)
    writer.close()
    assert scalars(tmp_path) == pytest.approx({7: truth(model)}, abs=THROUGH_FLOAT32)


@pytest.mark.filterwarnings("ignore")  # MLflow's own
def test_mlflow(tmp_path: Path) -> None:
    """An active run of MLflow gets the metrics, without being asked."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'runs.db'}")
    model = network()
    with mlflow.start_run() as run:
        onnxrich.Recorder(loader())(model, 5)
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "onnxrich/d_lr")
    assert [entry.step for entry in history] == [5]
    assert history[0].value == pytest.approx(truth(model), abs=THROUGH_FLOAT32)


@pytest.mark.filterwarnings("ignore")  # W&B's own
def test_wandb(tmp_path: Path) -> None:
    """An active run of Weights & Biases gets the metrics, without being asked."""
    import wandb

    model = network()
    with wandb.init(mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True)) as run:
        onnxrich.Recorder(loader())(model, 5)
        summary = dict(run.summary)
    assert summary["onnxrich/d_lr"] == pytest.approx(truth(model), abs=THROUGH_FLOAT32)
    assert summary["onnxrich/step"] == 5


@pytest.mark.filterwarnings("ignore")  # transformers' own
def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of docs/TRAINING.md runs, one block after the other."""
    from adapters._transformers_models import bert, tokenizer

    bert().save_pretrained(tmp_path / "my-model")
    tokenizer().save_pretrained(tmp_path / "my-model")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "TRAINING.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["analysis"].record.data.n == 2
    assert (tmp_path / "model.onnx").is_file()
    assert len(list((tmp_path / "records").glob("step-*.json"))) == 3
