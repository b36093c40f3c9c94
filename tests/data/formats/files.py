"""The same rows in files of several formats, for the tests of these."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from PIL import Image

X = np.random.default_rng(0).standard_normal((23, 6)).astype(np.float32)


NAMES = [f"f{at}" for at in range(6)]


WORDS = ["cat", "dog", "ant"]


def save(kind: str, folder: Path, columns: dict[str, Any]) -> Path:
    """Columns in a file of some kind."""
    path, table = folder / f"d.{kind}", pa.table(columns)
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=5)
    elif kind == "arrow":
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, 4)
    elif kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        rows = [list(columns), *zip(*(column.to_pylist() for column in table.columns), strict=True)]
        path.write_text("\n".join(mark.join("" if value is None else str(value) for value in row) for row in rows))
    else:
        rows = table.to_pylist()
        path.write_text(json.dumps(rows) if kind == "json" else "\n".join(map(json.dumps, rows)))
    return path


KINDS = ["parquet", "arrow", "csv", "tsv", "json", "jsonl"]


def scalars(**others: Any) -> dict[str, Any]:
    """The features as columns of one number each."""
    return {name: X[:, at].astype(np.float64) for at, name in enumerate(NAMES)} | others


LABELS = np.arange(23) % 5


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (2, 2), value).save(file, "png")
    return file.getvalue()


def tar(path: Path, files: dict[str, bytes], **change: Any) -> Path:
    """A tar of some files, in their order; `change` sets fields of each header."""
    with tarfile.open(path, "w") as opened:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in change.items():
                setattr(info, key, value)
            opened.addfile(info, io.BytesIO(content))
    return path


def arrays_in_tar(folder: Path) -> Path:
    files: dict[str, bytes] = {"readme": b"no sample"}
    for at in range(23):
        files |= {f"./a.b/{at:02}.x.npy": npy(X[at]), f"./a.b/{at:02}.cls": f" {LABELS[at]}\n".encode()}
    return tar(folder / "d.tar", files)


def in_hdf5(folder: Path) -> Path:
    with h5py.File(folder / "d.hdf5", "w") as file:
        file["x"], file["labels"], file["names"] = X, LABELS, ["a"] * 23
    return folder / "d.hdf5"


def in_zarr(folder: Path) -> Path:
    group = zarr.create_group(folder / "d.zarr")
    group.create_array("x", data=X, chunks=(5, 4))
    group.create_array("labels", data=LABELS, chunks=(7,))
    return folder / "d.zarr"


def in_hub(folder: Path) -> Path:
    (folder / "set/test").mkdir(parents=True)
    table = pa.table({"x": X.tolist(), "labels": LABELS})
    with pa.ipc.new_stream(folder / "set/test/data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table, 7)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "set/test/state.json").write_text(json.dumps(state))
    (folder / "set/test/dataset_info.json").write_text("{}")
    (folder / "set/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return folder / "set/test"


MAKERS = [arrays_in_tar, in_hdf5, in_zarr, in_hub]
