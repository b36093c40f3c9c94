"""docs/DATA.md is true: every line of its table runs, and all that read the same images find the same."""

from __future__ import annotations

import gzip
import io
import json
import re
import shlex
import shutil
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import zarr
from click.testing import CliRunner
from PIL import Image
from repository import ROOT
from zoo_text import build

import onnxrich
from onnxrich.cli import cli
from onnxrich.data.formats.registry import FORMATS

DATA = (ROOT / "docs" / "DATA.md").read_text()
README = (ROOT / "README.md").read_text()
LINE = r"^\| .* \| `(onnxrich[ .].*)` \|$"
LINES = re.findall(LINE, DATA, re.MULTILINE)
ROWS = 240
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (ROWS, 28, 28), dtype=np.uint8)
LABELS = np.arange(ROWS) % 10
WORDS = ["[PAD]", "[UNK]", "good", "bad", "film", "very"]


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def models(folder: Path) -> None:
    """A network over images, one over a table, one over texts."""
    layers = {"w1": RNG.standard_normal((784, 8)) / 28, "w2": RNG.standard_normal((8, 10))}
    tail = "h = Relu(a)\n y = MatMul(h, w2)"
    weights = {name: weight.astype(np.float32) for name, weight in layers.items()}
    body = f"f = Flatten(x)\n a = MatMul(f, w1)\n {tail}"
    onnx.save_model(build(body, x="float[N,1,28,28] x", y="float[N,10] y", **weights), folder / "model.onnx")
    onnx.save_model(build(f"a = MatMul(x, w1)\n {tail}"), folder / "table.onnx")
    text = build(
        "e = Gather(table, input_ids)\n h = Relu(e)\n y = MatMul(h, w2)", y="float[N,T,3] y",
        x="int64[N,T] input_ids, int64[N,T] attention_mask", table=RNG.standard_normal((6, 8)).astype(np.float32),
    )  # fmt: skip
    onnx.save_model(text, folder / "text.onnx")


def tables(folder: Path) -> None:
    """Parquet, Arrow, JSON, CSV, texts and tokens."""
    encoded = [{"bytes": png(image), "path": None} for image in IMAGES]
    pq.write_table(pa.table({"image": encoded, "label": LABELS}), folder / "test.parquet")
    lists = pa.table({"x": pa.array(IMAGES.tolist(), pa.list_(pa.list_(pa.uint8()))), "digit": LABELS})
    with pa.ipc.new_file(folder / "test.arrow", lists.schema) as writer:
        writer.write_table(lists)
    rows = [{"x": image.tolist(), "y": int(label)} for image, label in zip(IMAGES, LABELS, strict=True)]
    (folder / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = [
        ",".join([*(f"{v:.3f}" for v in row), ("ant", "bee")[at % 2]]) for at, row in enumerate(RNG.random((ROWS, 6)))
    ]
    (folder / "table.csv").write_text("\n".join(["a,b,c,d,e,f,species", *lines]))
    texts = [{"review": " ".join(RNG.choice(WORDS[2:], 1 + at % 5)), "label": at % 2} for at in range(ROWS)]
    (folder / "reviews.jsonl").write_text("\n".join(map(json.dumps, texts)))
    ids = [[2 + at % 4] * (1 + at % 3) for at in range(ROWS)]
    pq.write_table(
        pa.table({"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}), folder / "tokens.parquet"
    )
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: at for at, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "saved/test").mkdir(parents=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    hub = pa.table({"image": pa.array(encoded, kind), "label": LABELS})
    with pa.ipc.new_stream(folder / "saved/test/data.arrow", hub.schema) as writer:
        writer.write_table(hub)
    (folder / "saved/test/state.json").write_text('{"_data_files": [{"filename": "data.arrow"}]}')
    (folder / "saved/test/dataset_info.json").write_text("{}")


def files(folder: Path) -> None:
    """Arrays, images and containers."""
    scaled = IMAGES[:, None].astype(np.float32) / np.float32(255)
    np.savez(folder / "test.npz", x=scaled, labels=LABELS)
    np.save(folder / "images.npy", IMAGES)
    np.save(folder / "labels.npy", LABELS)
    for name, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS.astype(np.uint8))):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        with (folder / f"t10k-{name}-ubyte").open("wb") as raw:
            raw.write(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())
        (folder / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress((folder / f"t10k-{name}-ubyte").read_bytes()))
    listed = ["file,label"]
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards/0.tar", "w") as tar:
        for at, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
            path = folder / "photos" / str(label) / f"{at:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(image))
            listed.append(f"photos/{label}/{at:03}.png,{label}")
            for ending, content in (("png", png(image)), ("cls", str(label).encode())):
                info = tarfile.TarInfo(f"{at:03}.{ending}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    (folder / "list.csv").write_text("\n".join(listed))
    with h5py.File(folder / "test.h5", "w") as file:
        file["images"], file["labels"] = IMAGES, LABELS
    group = zarr.create_group(folder / "test.zarr")
    group.create_array("x", data=IMAGES)
    group.create_array("y", data=LABELS)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the table speaks of."""
    folder = tmp_path_factory.mktemp("data")
    models(folder)
    tables(folder)
    files(folder)
    return folder


@pytest.fixture
def result(line: str, everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The document that a line gives, run in the folder, or with the model alone where no data are given."""
    monkeypatch.chdir(everything)
    if "--data" not in line and "run(" not in line:
        shutil.copy(everything / "model.onnx", tmp_path)
        monkeypatch.chdir(tmp_path)
    if line.startswith("onnxrich.run"):
        batches = [
            IMAGES[start : start + 50, None].astype(np.float32) / np.float32(255) for start in range(0, ROWS, 50)
        ]
        return dict(eval(line, {"onnxrich": onnxrich, "batches": batches}).to_dict())
    words = shlex.split(line.replace("file:///data", f"file://{everything}"))
    completed = CliRunner().invoke(cli, [*words[1:], "--json", "--in-process"])
    assert completed.exit_code == 0, (line, completed.output, completed.exception)
    return dict(json.loads(completed.stdout))


@pytest.mark.parametrize("line", LINES)
def test_line(line: str, result: dict[str, Any], everything: Path) -> None:
    """The line runs, and finds what the arrays give, if it reads all of the same images."""
    assert result["data"]["synthetic"] is (line == "onnxrich run model.onnx")
    if "model.onnx" not in line or "limit" in line or result["data"]["synthetic"]:
        return
    reference = onnxrich.run(everything / "model.onnx", everything / "test.npz").to_dict()
    assert result["data"]["samples"] == ROWS
    assert result["metrics"]["d_lr"] == pytest.approx(reference["metrics"]["d_lr"], rel=1e-9)
    if "run(" not in line:
        assert result["data"]["fingerprint"] == reference["data"]["fingerprint"]


def test_lines_of_the_readme() -> None:
    """The README's table is a part of this one; every kind of data has a line."""
    lines = re.findall(LINE, README, re.MULTILINE)
    assert len(lines) >= 5
    assert set(lines) <= set(LINES)
    assert len(LINES) >= 20
    for kind, entry in FORMATS.items():
        assert f"`{kind}:`" in DATA, kind
        for ending in entry.endings:
            assert f"`{ending.removesuffix('.gz')}`" in DATA, ending


def test_options_are_documented() -> None:
    """Every option of reading and preprocessing stands in docs/DATA.md."""
    from onnxrich.pipelines.options import PREPROCESSING, READING

    for name in (*READING, *PREPROCESSING):
        assert f"--{name.replace('_', '-')}" in DATA, name
