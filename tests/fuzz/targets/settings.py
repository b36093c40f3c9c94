"""Files beside a model: `onnxrich.toml`, `preprocessor_config.json` and `config.json`, with data that they speak of."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
from zoo_text import build

from fuzz.mutations import EDGES, FLOATS, NAMES, mutate_bytes
from fuzz.rows import dump, mutate_value
from onnxrich.data.class_names import read_class_names
from onnxrich.data.open import open_source
from onnxrich.model.file import read_model

SUFFIX = ".side"
WORDS = np.array(["ant", "bee", "cat"])
VALUES = (
    '"../outside.npz"', '"/etc/passwd"', '"data.npz"', '"npz:data.npz"', '"s3://a/b.npz"', '"a\\u0000b"', "inf",
    "nan", "true", "1979-05-27", "[1, 2]", "[[]]", "{a = 1}", '"1/255"', '"1/0"', '"NCHW"', '"bgr"', '"28x28"',
    '"' + "9" * 5000 + '"', "[" * 2000, *map(str, EDGES), *map(str, FLOATS), *(json.dumps(name) for name in NAMES),
)  # fmt: skip
KEYS = (
    "data",
    "labels",
    "preprocessing",
    "scale",
    "mean",
    "std",
    "resize",
    "crop",
    "color",
    "layout",
    "resample",
    "x",
    '""',
)
TOML = 'data = "data.npz"\nlabels = "y"\n[preprocessing]\nscale = "1/255"\nmean = [0.5]\nstd = [0.5]\n'
PREPROCESSOR = {
    "do_resize": True, "size": {"height": 4, "width": 7}, "resample": 2, "do_center_crop": True,
    "crop_size": {"height": 2, "width": 5},
    "do_rescale": True, "rescale_factor": 0.00392, "do_normalize": True, "image_mean": [0.5], "image_std": [0.5],
    "do_convert_rgb": False, "do_flip_channel_order": False,
}  # fmt: skip
CONFIG = {"id2label": {"0": "ant", "1": "bee", "2": "cat"}, "model_type": "vit"}


def seeds() -> list[bytes]:
    """Settings of onnxrich, of a preprocessor, and of classes."""
    return [TOML.encode(), json.dumps(PREPROCESSOR).encode(), json.dumps(CONFIG).encode()]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Change keys, values or bytes."""
    if rng.random() < 0.15:
        return mutate_bytes(rng, content)
    if content.startswith(b"{"):
        value = json.loads(content)
        for _ in range(rng.choice((1, 1, 2, 3))):
            value = mutate_value(rng, value)
        return dump(value)
    lines = content.decode().splitlines()
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        key = lines[at].partition("=")[0].strip() if rng.random() < 0.6 else rng.choice(KEYS)
        lines[at] = f"{key} = {rng.choice(VALUES)}"
    return "\n".join(lines).encode(errors="replace")


def check(path: Path) -> None:
    """Open the data beside a model with these settings, and read its class names."""
    folder, content = path.parent / "beside", path.read_bytes()
    folder.mkdir(exist_ok=True)
    body = "r = Flatten(x)\n a = MatMul(r, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    proto = build(body, x="float[N,1,2,5] x", w1=np.ones((10, 8), np.float32))
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    np.savez(folder / "data.npz", x=np.arange(240, dtype=np.uint8).reshape(24, 2, 5, 1), y=WORDS[np.arange(24) % 3])
    # A preprocessor declares steps in place of those of onnxrich.toml.
    files = {
        "onnxrich.toml": TOML.encode(),
        "preprocessor_config.json": b"{}",
        "config.json": json.dumps(CONFIG).encode(),
    }
    if not content.startswith(b"{"):
        files["onnxrich.toml"] = content
    elif b"id2label" in content:
        files["config.json"] = content
    else:
        files |= {"onnxrich.toml": b'data = "data.npz"\nlabels = "y"\n', "preprocessor_config.json": content}
    for name, text in files.items():
        (folder / name).write_bytes(text)
    model = read_model(folder / "model.onnx")
    read_class_names(model, 3)
    source = open_source(model, None)
    assert source.synthetic or source.name == "data.npz"
    for batch in source.batches(16):
        assert batch.inputs["x"].dtype == np.float32
