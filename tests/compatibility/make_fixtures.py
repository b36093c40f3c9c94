"""Write what `test_saved_files.py` reads: files as the installed version of onnxrich saves them.

    python tests/compatibility/make_fixtures.py tests/compatibility/0.1.0

It is run once, with the version that the folder is called by, when that version is released; never again with a later
one, for the files are to be what users have on their disks. `adapter/` in the folder is not made but written by hand:
the adapter that records of a training are made with.

All models, rows and weights are small multiples of a power of two, so that float32 holds every product and sum of them
exactly: features and outputs are the same on every machine, and the sums of a pass too. What is computed from these in
float64 differs by rounding alone.

Written are:

- `models/`, `data/`: models as ONNX files and their rows;
- `labelled/`, `unlabelled/`, `values/`, `tokens/`: folders of `Analysis.save`, without the page and the figures;
- `compared/`, `tracked/`: those of `Comparison.save` and `Track.save`; the latter of examples/grokking;
- `training/step-N/`: reports of a training, and `records/`: what an `onnxrich.Recorder` wrote;
- `compare-saved.json`, `track-saved.json`, `track-records.csv`: what `compare` and `track` say of saved moments;
- `checkpoints/`: those of passes that were killed, and of one that ended;
- `rows.npz`: what `Moments.save` writes of rows at hand, without a record;
- `instrumented.onnx`, `sums.npz`: a model that sums its own moments, and its last sums;
- `expected.json`: the metrics that this version computes from each of them, floats by `float.hex`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper, parser

import onnxrich

GROKKING = Path(__file__).resolve().parents[2] / "examples" / "grokking"
STEPS = (0, 1600, 3000)
# Pages and figures are for people, and make nine tenths of a report's size.
VIEWS = ("report.html", "figure.png", "figure.svg")

MLP = "c = Cast<to = 1>(x)\n a = MatMul(c, w1)\n h1 = Relu(a)\n b = MatMul(h1, w2)\n h = Relu(b)\n y = Gemm(h, w3, v)"
TOKENS = (
    "e = Gather(w1, ids)\n m = Cast<to = 1>(attention_mask)\n u = Unsqueeze(m, last)\n s = Mul(e, u)\n"
    " t = ReduceMax<axes = [1], keepdims = 1>(s)\n a = Add(s, t)\n b = MatMul(a, w2)\n h = Relu(b)\n y = MatMul(h, w3)"
)

# Killed, as SIGKILL does it at any time, once a checkpoint is there: the first one comes after a second.
VICTIM = """
import os, signal, sys, time
import onnxrich

def listen(progress):
    if progress.stage != "running":
        return
    time.sleep(0 if os.path.exists(sys.argv[1]) else 1.2)
    if os.path.exists(sys.argv[1]) and progress.rows < 0.8 * progress.total:
        os.kill(os.getpid(), signal.SIGKILL)

layers = "all" if "layers" in sys.argv[1] else None
onnxrich.run("mlp.onnx", "data.npz", batch_size=1, device="cpu", layers=layers, checkpoint=sys.argv[1], progress=listen)
"""

# Makes the records of a training, with the adapter of the folder `adapter`.
TRAINING = """
import onnxrich
import recorded_adapter as framework

recorder = onnxrich.Recorder(framework.sample(), "records")
for step in (0, 10, 200):
    recorder(framework.at_step(step), step)
"""


def quarters(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Multiples of ¼ from −1 to 1."""
    return (rng.integers(-4, 5, shape) / 4).astype(np.float32)


def written(path: Path, graph: str, *, metadata: Mapping[str, str], **weights: np.ndarray) -> None:
    """Write a model.

    Args:
        path: its file.
        graph: inputs, outputs and operators, as ONNX text.
        metadata: of the file.
        weights: its initializers.
    """
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {graph}')
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.checker.check_model(proto)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, path)


def mlp(path: Path, seed: int, *, mix: float = 0.0, takes: str = "uint8", **metadata: str) -> None:
    """Write a model of two hidden layers: 6 bytes, 8 and 7 units, 3 outputs; with a mix of 1 it is as rich as can be.

    Args:
        path: its file.
        seed: of its weights.
        mix: share of a single direction in its first layer: a multiple of ¼.
        takes: type of its inputs.
        metadata: of the file.
    """
    rng = np.random.default_rng(seed)
    w1, w2, w3, v = (quarters(rng, *shape) for shape in ((6, 8), (8, 7), (7, 3), (3,)))
    w1 = (1 - mix) * w1 + mix * np.outer(quarters(rng, 6), quarters(rng, 8))
    graph = f"g ({takes}[N,6] x) => (float[N,3] y) {{\n {MLP}\n}}"
    written(path, graph, metadata=metadata, w1=w1.astype(np.float32), w2=w2, w3=w3, v=v)


def outputs(model: Path, **inputs: np.ndarray) -> np.ndarray:
    """What a model computes."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def make_inputs() -> None:
    """Write models and data."""
    rng = np.random.default_rng(2024)
    mlp(Path("models/mlp.onnx"), 1)
    mlp(Path("models/other.onnx"), 2)
    mlp(Path("models/init.onnx"), 3)
    mlp(Path("models/floats.onnx"), 1, takes="float")
    for step, mix in ((9, 0.0), (30, 0.0), (100, 1.0)):
        noted = {"onnxrich.step": str(step), "onnxrich.train_accuracy": str(step / 128)}
        mlp(Path(f"models/step-{step}.onnx"), 1 if step == 100 else step, mix=mix, **noted)
    tokens = np.random.default_rng(4)
    graph = f"g (int64[N,T] ids, int64[N,T] attention_mask) => (float[N,T,4] y) {{\n {TOKENS}\n}}"
    arrays = {"w1": quarters(tokens, 12, 6), "w2": quarters(tokens, 6, 8), "w3": quarters(tokens, 8, 4)}
    written(Path("models/tokens.onnx"), graph, metadata={}, **arrays, last=np.array([2]))

    Path("data").mkdir()
    for name, rows in (("train", 400), ("test", 200), ("long", 20_000)):
        x = rng.integers(0, 4, (rows, 6)).astype(np.uint8)
        y = outputs(Path("models/mlp.onnx"), x=x)
        guessed = rng.integers(0, 3, rows)
        labels = np.where(rng.random(rows) < 0.25, guessed, y.argmax(1)).astype(np.int64)
        np.savez_compressed(f"data/{name}.npz", x=x, labels=labels.astype(np.uint8) if name == "long" else labels)
        if name == "train":
            values = y[:, :2].astype(np.float64) + rng.integers(-2, 3, (rows, 2))
            np.savez_compressed("data/values.npz", x=x, labels=values)
            np.savez_compressed("data/plain.npz", x=x)
    ids, length = rng.integers(0, 12, (150, 7)), rng.integers(2, 8, 150)
    mask = (np.arange(7) < length[:, None]).astype(np.int64)
    y = outputs(Path("models/tokens.onnx"), ids=ids, attention_mask=mask)
    labels = np.where(rng.random(ids.shape) < 0.25, rng.integers(0, 4, ids.shape), y.argmax(2))
    np.savez_compressed("data/tokens.npz", ids=ids, attention_mask=mask, labels=labels)


def kept(result: Any, folder: str) -> None:
    """Save a result without its views."""
    result.save(folder)
    for name in VIEWS:
        Path(folder, name).unlink()


def together(result: Any) -> str:
    """The document of several results, without what each of them says by itself."""
    return json.dumps({name: value for name, value in result.to_dict().items() if name != "analyses"}, indent=1) + "\n"


def make_reports() -> None:
    """Write folders of reports."""
    cpu: dict[str, Any] = {"device": "cpu", "batch_size": 10}
    labelled = onnxrich.run(
        "models/mlp.onnx", "data/train.npz", eval_data="data/test.npz", layers="all", blocks=8, metrics=["all"], **cpu
    )
    kept(labelled, "labelled")
    kept(onnxrich.run("models/mlp.onnx", "data/plain.npz", **cpu), "unlabelled")
    kept(onnxrich.run("models/mlp.onnx", "data/values.npz", blocks=0, **cpu), "values")
    kept(onnxrich.run("models/tokens.onnx", "data/tokens.npz", blocks=4, **cpu), "tokens")
    kept(
        onnxrich.compare(["models/mlp.onnx", "models/other.onnx"], "data/train.npz", init="models/init.onnx", **cpu),
        "compared",
    )
    for step in (9, 30, 100):
        kept(onnxrich.run(f"models/step-{step}.onnx", "data/train.npz", **cpu), f"training/step-{step}")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["adapter", os.environ.get("PYTHONPATH", "")])}
    subprocess.run([sys.executable, "-c", TRAINING], env=environment, check=True)

    saved = onnxrich.compare(["compared/mlp", Path("compared/other/moments.npz")], init="compared/init")
    Path("compare-saved.json").write_text(together(saved))
    Path("track-saved.json").write_text(together(onnxrich.track("training/step-*/moments.npz")))
    Path("track-records.csv").write_text(onnxrich.track("records").to_csv())

    # Names without folders, for these files lie elsewhere.
    names = [f"step-{step:06}.onnx" for step in STEPS]
    for name in (*names, "test.npz"):
        shutil.copy(GROKKING / name, name)
    kept(onnxrich.track(names, "test.npz", init=names[0], blocks=4, batch_size=25, device="cpu"), "tracked")
    for name in (*names, "test.npz"):
        Path(name).unlink()


def make_checkpoints() -> None:
    """Write checkpoints with the model and the data that they are of."""
    folder = Path("checkpoints")
    folder.mkdir()
    shutil.copy("models/mlp.onnx", folder / "mlp.onnx")
    Path("data/long.npz").rename(folder / "data.npz")
    for name in ("unfinished", "layers-unfinished"):
        died = subprocess.run([sys.executable, "-c", VICTIM, name], cwd=folder, check=False)
        if died.returncode != -signal.SIGKILL or not (folder / name).is_file():
            sys.exit(f"{name}: the pass ended before there was a checkpoint; pass more rows")
    os.chdir(folder)
    onnxrich.run("mlp.onnx", "data.npz", batch_size=500, device="cpu", checkpoint="finished")
    for left in Path().glob(".*.tmp"):
        left.unlink()
    os.chdir("..")


def make_instrumented() -> None:
    """Write a model that sums its own moments, and its sums after some batches."""
    names = onnxrich.instrument("models/mlp.onnx", "instrumented.onnx", "data/train.npz")
    session = ort.InferenceSession("instrumented.onnx", providers=["CPUExecutionProvider"])
    types = {"tensor(double)": np.float64, "tensor(float)": np.float32, "tensor(int64)": np.int64}
    declared = {entry.name: entry for entry in session.get_inputs()}
    sums = {name: np.zeros(declared[name].shape, types[declared[name].type]) for name in names}
    with np.load("data/train.npz") as data:
        rows = data["x"]
    for batch in np.split(rows, 8):
        fetched = session.run([f"{name}.next" for name in names], {"x": batch, **sums})
        sums = dict(zip(names, fetched, strict=True))
    np.savez("sums.npz", **{str(number): array for number, array in enumerate(sums.values())})


def make_moments() -> None:
    """Write moments of rows at hand: enough features for all metrics, and outputs of which two are the same."""
    rng = np.random.default_rng(7)
    features = np.maximum(rng.standard_normal((500, 24)), 0) * np.arange(1, 25) ** -0.5
    logits = features @ rng.standard_normal((24, 4))
    logits[:, 3] = logits[:, 2] + 1e-9 * rng.standard_normal(500)
    onnxrich.Moments.from_rows(features, logits.astype(np.float32), rng.integers(0, 4, 500)).save("rows.npz")


def exact(metrics: Mapping[str, float | int | None]) -> dict[str, str | int | None]:
    """Metrics by name, floats in hexadecimal digits, of which none is lost."""
    return {name: value.hex() if isinstance(value, float) else value for name, value in metrics.items()}


def expected() -> dict[str, Any]:
    """What this version computes from the files that it wrote."""
    found: dict[str, Any] = {"version": onnxrich.__version__}
    reports: Sequence[Path] = sorted(path.parent for path in Path().rglob("moments.npz"))
    for path in (*reports, *sorted(Path("records").glob("*.npz"))):
        loaded = onnxrich.Analysis.load(path)
        found[str(path)] = {"metrics": exact(loaded.metrics)}
        if loaded.evaluation is not None:
            found[str(path)]["evaluation"] = exact(loaded.evaluation.metrics)
    os.chdir("checkpoints")
    for name, options in (
        ("unfinished", {"batch_size": 1}),
        ("layers-unfinished", {"batch_size": 1, "layers": "all"}),
        ("finished", {"batch_size": 500}),
    ):
        whole = onnxrich.run("mlp.onnx", "data.npz", device="cpu", **options)  # type: ignore[arg-type]
        found[f"checkpoints/{name}"] = {
            "options": options,
            "metrics": exact(whole.metrics),
            "layers": [[layer["name"], exact(layer["metrics"])] for layer in whole.to_dict()["layers"]],
        }
    os.chdir("..")
    with np.load("sums.npz") as saved:
        sums = [saved[str(number)] for number in range(len(saved))]
    metadata = {entry.key: entry.value for entry in onnx.load("instrumented.onnx").metadata_props}
    measured, _ = onnxrich.measure(onnxrich.Moments.from_accumulators(sums, metadata))
    found["instrumented.onnx"] = {"metrics": exact(measured)}
    found["rows.npz"] = {"metrics": exact(onnxrich.measure(onnxrich.Moments.load("rows.npz"), metrics="all")[0])}
    return found


def main() -> None:
    """Write everything into the folder that is named, in place of what is there; the adapter stays."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("folder", type=Path, help="called by the version that is installed")
    folder: Path = options.parse_args().folder
    if folder.name != onnxrich.__version__:
        options.error(f"version {onnxrich.__version__} is installed")
    # Paths are part of what is saved: they are to be the same wherever the folder lies.
    os.chdir(folder)
    for entry in Path().iterdir():
        if entry.is_dir() and entry.name != "adapter":
            shutil.rmtree(entry)
        elif entry.is_file():
            entry.unlink()
    make_inputs()
    make_reports()
    make_checkpoints()
    make_instrumented()
    make_moments()
    Path("expected.json").write_text(json.dumps(expected(), indent=1) + "\n")


if __name__ == "__main__":
    main()
