"""Rows in files of every format, and what checks that onnxrich reads what an independent reader reads."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from zoo_text import build

from fuzz.mutations import EDGES, FLOATS, NAMES, mutate_bytes
from onnxrich.data.open import open_source
from onnxrich.model.file import Model, read_model

_RNG = np.random.default_rng(15)
X = _RNG.standard_normal((24, 6)).astype(np.float32)
Y = _RNG.integers(0, 3, 24)
COLUMNS = ("a", "b", "c", "d", "e", "f")
# Rows of a batch, and rows after which a check stops: a file may claim any number.
SIZE, ENOUGH = 16, 4096

# A field of the model's input, and labels, where a reader found them.
Rows = tuple[np.ndarray, np.ndarray | None]


def model(shape: str = "N,6") -> Model:
    """A network of six numbers a row."""
    body = "r = Reshape(x, s)\n a = MatMul(r, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    return read_model(build(body, x=f"float[{shape}] x", s=np.array([-1, 6])))


MODEL = model()


def check_rows(path: Path, read: Callable[[Path], Rows], labels: str | None = "y", network: Model = MODEL) -> None:
    """Read the batches of a file, and compare them with what another reader makes of it.

    Args:
        path: the file.
        read: the other reader. What it refuses is not compared.
        labels: the field of labels.
        network: the model that takes the rows.

    Raises:
        OnnxrichError: when onnxrich refuses the file.
        AssertionError: when the rows are others.
    """
    source = open_source(network, str(path), labels)
    batches, count = [], 0
    for batch in source.batches(SIZE):
        assert batch.rows and len(batch.inputs["x"]) == batch.rows
        assert batch.inputs["x"].dtype == np.float32 and batch.inputs["x"].flags.c_contiguous
        assert batch.labels is None or len(batch.labels) == batch.rows
        batches.append(batch)
        count += batch.rows
        if count >= ENOUGH:
            break
    assert source.n is not None and (count == source.n or count >= ENOUGH), f"{count} rows of {source.n}"
    try:
        with np.errstate(all="ignore"):
            x, y = read(path)
            expected = np.asarray(x)[:count].astype(np.float32)
    except Exception:  # noqa: BLE001 - libraries raise anything for a damaged file; onnxrich may be able to read it
        return
    found = np.concatenate([batch.inputs["x"] for batch in batches])
    assert found.shape == expected.shape and np.array_equal(found, expected, equal_nan=True), (found, expected)
    if y is not None and batches[0].labels is not None and np.asarray(y).dtype.kind in "iuf":
        numbers = np.concatenate([batch.labels for batch in batches if batch.labels is not None])
        assert np.array_equal(numbers, np.asarray(y)[:count].reshape(numbers.shape), equal_nan=True), (numbers, y)


def npy(array: np.ndarray) -> bytes:
    """The bytes of a `.npy` file."""
    file = BytesIO()
    np.save(file, array)
    return file.getvalue()


def pack(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """The bytes of a zip archive."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def unpack(content: bytes) -> dict[str, bytes]:
    """The members of a zip archive that is whole."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def mutate_zip(rng: random.Random, content: bytes, change: Callable[[random.Random, bytes], bytes]) -> bytes:
    """Change a member, the names, the packing, or the bytes of an archive."""
    choice = rng.randrange(6)
    if choice == 0:
        return mutate_bytes(rng, content)
    if choice == 1:
        return _change_record(rng, content)
    members = unpack(content)
    name = rng.choice(sorted(members))
    if choice == 2:
        members = {(rng.choice(NAMES) if key == name else key): value for key, value in members.items()}
    elif choice == 3:
        members[rng.choice(NAMES)] = members[name]
    else:
        members[name] = change(rng, members[name])
    method = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    return pack({key.replace("\0", "0") or "n": value for key, value in members.items()}, method)


def _change_record(rng: random.Random, content: bytes) -> bytes:
    """Overwrite a field of a local header, an entry of the directory, or the end of it."""
    mark, fields = rng.choice(
        (
            (b"PK\3\4", ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))),
            (b"PK\1\2", ((6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (42, 4))),
            (b"PK\5\6", ((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))),
        )
    )
    data, starts = bytearray(content), [at for at in range(len(content)) if content.startswith(mark, at)]
    for _ in range(rng.choice((1, 1, 2))):
        at, size = rng.choice(fields)
        start = rng.choice(starts) + at
        data[start : start + size] = (rng.choice(EDGES) & (2 ** (8 * size) - 1)).to_bytes(size, "little")
    return bytes(data)


def mutate_value(rng: random.Random, value: Any, depth: int = 0) -> Any:
    """Change one place of a JSON value."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        if rng.random() < 0.15:
            return {(rng.choice(NAMES) if name == key else name): entry for name, entry in value.items()}
        if rng.random() < 0.1:
            return {name: entry for name, entry in value.items() if name != key}
        return value | {key: mutate_value(rng, value[key], depth + 1)}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        changed = rng.choice(([], [value[at]] * 2, [mutate_value(rng, value[at], depth + 1)] * 1, [None]))
        return [*value[:at], *changed, *value[at + 1 :]]
    return rng.choice((_edge, _float, _name, _nested, _other))(rng, value)


def _edge(rng: random.Random, value: Any) -> Any:
    return rng.choice((*EDGES, 10**20, 10**400))


def _float(rng: random.Random, value: Any) -> Any:
    return rng.choice((*FLOATS, 1e300, 0.1))


def _name(rng: random.Random, value: Any) -> Any:
    return rng.choice((*NAMES, "\ud800", "2020-01-01", "1/0", "1e999", "28x28"))


def _nested(rng: random.Random, value: Any) -> Any:
    for _ in range(rng.choice((1, 2, 40, 400))):
        value = [value] if rng.random() < 0.5 else {"x": value}
    return value


def _other(rng: random.Random, value: Any) -> Any:
    return rng.choice((None, True, False, [], {}, "", [value, value], {"bytes": value}))


def dump(value: Any) -> bytes:
    """JSON as a careless program writes it."""
    try:
        return json.dumps(value).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        return b"[" * 3000
