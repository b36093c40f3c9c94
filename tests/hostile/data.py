"""Hostile data: each format broken, lying, bursting, or holding other values than it seems to."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from data.formats.files import tar
from PIL import Image
from zoo_text import build

from hostile.case import WEIGHTS, Case, X, Y


def npy(shape: str, content: bytes = b"", *, descr: str = "'<f4'", fortran: bool = False, version: int = 1) -> bytes:
    """A `.npy` file whose header says what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header + content


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz(x: np.ndarray | bytes = X, y: np.ndarray | bytes = Y, **others: bytes) -> Callable[[Path], None]:
    """An archive of arrays, or of bytes that say that they are some."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "data.npz", "w", zipfile.ZIP_DEFLATED) as file:
            for name, value in {"x.npy": x, "y.npy": y, **others}.items():
                file.writestr(name, value if isinstance(value, bytes) else _saved(value))

    return make


def _file(name: str, content: bytes | str) -> Callable[[Path], Any]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def _run(data: str, *options: str) -> tuple[str, ...]:
    return ("run", "model.onnx", "--data", data, *options, "--json")


ROWS = X.tobytes()
SHAPE = str(X.shape)
OBJECTS = io.BytesIO()
np.save(OBJECTS, np.array([{"a": 1}] * 96, dtype=object), allow_pickle=True)

# What a .npy file says and holds, and what is said about it; None where its numbers are read right.
NPY: dict[str, tuple[bytes, str | None]] = {
    "empty": (b"", "no NumPy array"),
    "magic-alone": (b"\x93NUMPY", "no NumPy array"),
    "claims-4-gib": (npy("(1073741824,)", ROWS), "header claims"),
    "claims-2-to-the-63": (npy(f"({2**63}, 6)", ROWS), "header claims"),
    "claims-thousands-of-digits": (npy(f"({'9' * 4000}, {'9' * 4000})", ROWS), "header claims"),
    "negative": (npy("(-96, -6)", ROWS), "header claims"),
    "nothing-of-huge-rows": (npy(f"(0, {2**62})"), "header claims"),
    "65-axes": (npy(f"({'1, ' * 65})", b"\0\0\0\0"), "65 axes"),
    "cut": (npy(SHAPE, ROWS[:-8]), "header claims"),
    "more-than-it-says": (npy(SHAPE, ROWS + b"more"), "header claims"),
    "objects": (OBJECTS.getvalue(), "pickled Python objects"),
    "structures": (npy("(96,)", ROWS, descr="[('a', '<f4', (6,))]"), "has type"),
    "subarrays": (npy("(96,)", ROWS, descr="('<f4', (6,))"), "has type"),
    "void": (npy(SHAPE, ROWS, descr="'|V4'"), "has type"),
    "dates": (npy(SHAPE, ROWS * 2, descr="'<M8[s]'"), "has type"),
    "complex": (npy(SHAPE, ROWS * 2, descr="'<c8'"), "has type"),
    "words": (npy(SHAPE, ROWS, descr="'<U1'"), "gets <U1 data"),
    "booleans-of-2": (npy(SHAPE, b"\2" * 576, descr="'|b1'"), "gets bool data"),
    "whole-numbers": (_saved(X.astype(np.int64)), "gets int64 data"),
    "code-as-header": (npy("__import__('os').system('touch owned')", ROWS), "no NumPy array"),
    "deep-header": (npy("(" * 3000 + ")" * 3000, ROWS), "no NumPy array"),
    "version-9": (npy(SHAPE, ROWS, version=9), "no NumPy array"),
    "zip": (b"PK\3\4" + b"\0" * 60, "no NumPy array"),
    "big-endian": (_saved(X.astype(">f4")), None),
    "columns-first": (_saved(np.asfortranarray(X)), None),
    "quadruple": (_saved(X.astype(np.longdouble)), None),
    "half": (_saved(X.astype(np.float16)), None),
    "header-of-python-2": (npy("(96L, 6L)", ROWS), None),
}
READ = {"half": X.astype(np.float16).astype(np.float32)}


def _claims(folder: Path) -> None:
    """An archive whose directory claims what the header of its array claims."""
    content = npy(f"({2**28}, 6)", b"\0" * 96)
    with zipfile.ZipFile(folder / "data.npz", "w") as file:
        file.writestr("x.npy", content)
        file.infolist()[0].file_size = len(content) - 96 + 2**28 * 24


def _zeros(folder: Path) -> None:
    """480 MB of zeros in half a megabyte."""
    with zipfile.ZipFile(folder / "data.npz", "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w") as member:
        member.write(npy(f"({20_000_000}, 6)"))
        for _ in range(480):
            member.write(b"\0" * 10**6)


def _twice(folder: Path) -> None:
    with zipfile.ZipFile(folder / "data.npz", "w") as file:
        file.writestr("x.npy", _saved(X))
        entry = zipfile.ZipInfo("x.npz")
        file.writestr(entry, _saved(-X))
    content = (folder / "data.npz").read_bytes().replace(b"x.npz", b"x.npy")
    (folder / "data.npz").write_bytes(content)


def _flipped(at: bytes, shift: int, value: int) -> Callable[[Path], None]:
    """The honest archive with one byte changed behind a mark."""

    def make(folder: Path) -> None:
        _npz()(folder)
        content = bytearray((folder / "data.npz").read_bytes())
        content[content.index(at) + shift] = value
        (folder / "data.npz").write_bytes(content)

    return make


def _members(folder: Path) -> None:
    with zipfile.ZipFile(folder / "data.npz", "w") as file:
        content = _saved(np.zeros(1, np.float32))
        for number in range(10_000):
            file.writestr(f"a{number}.npy", content)


ARCHIVES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no-zip": (_file("data.npz", "no zip"), "is damaged or no .npz file"),
    "cut": (lambda folder: os.truncate(folder / "data.npz", 900), "is damaged or no .npz file"),
    "text-inside": (_npz(**{"notes.txt": b"hello"}), "notes.txt"),
    "folder-inside": (_npz(**{"folder/": b""}), "folder/"),
    "two-arrays-of-a-name": (_twice, "'x' twice"),
    "directory-claims-gigabytes": (_claims, "claims to unpack"),
    "zeros": (_zeros, "claims to unpack"),
    "checksum": (_flipped(b"PK\1\2", 16, 1), "damaged"),
    "encrypted": (_flipped(b"PK\1\2", 8, 1), "damaged"),
    "method-99": (_flipped(b"PK\1\2", 10, 99), "damaged"),
    "ten-thousand-arrays": (_members, "10000 columns of numbers"),
    "rows-differ": (_npz(y=Y[:50]), "different numbers of rows"),
    "no-rows": (_npz(x=X[:0], y=Y[:0]), "no rows"),
    "other-features": (_npz(x=X[:, :5].copy()), "96 × 5"),
    "nan": (_npz(x=np.where(np.arange(576).reshape(96, 6) == 99, np.nan, X).astype(np.float32)), "row 16"),
    "infinite": (_npz(x=np.where(np.arange(576).reshape(96, 6) == 99, np.inf, X).astype(np.float32)), "row 16"),
    "beyond-float32": (_npz(x=np.where(np.arange(576).reshape(96, 6) == 99, 1e300, X.astype(np.float64))), "row 16"),
}

LABELS: dict[str, tuple[np.ndarray | bytes, str]] = {
    "negative": (-Y - 1, "-3 to -1"),
    "one-flipped-to-4097": (np.where(np.arange(96) == 7, 4097, Y), "4097"),
    "two-to-the-62": (np.full(96, 2**62), "largest label"),
    "beyond-int64": (Y.astype(np.uint64) + 2**63, "largest label"),
    "nan": (np.where(Y == 1, np.nan, Y), "label of row"),
    "infinite": (np.where(Y == 1, np.inf, Y), "label of row"),
    "no-columns": (np.zeros((96, 0), np.int64), "have type int64 and shape"),
    "scalar": (np.array(3), "have type int64 and shape|rows"),
    "complex": (Y.astype(np.complex64), "has type complex64"),
    "dates": (Y.astype("datetime64[s]"), "has type datetime64"),
    "blank-words": (np.array(["a", " ", "c"])[Y], "no label in row"),
    "no-characters": (npy("(96,)", b"\xff\xff\xff\x7f" * 96, descr="'<U1'"), "invalid Unicode"),
    "objects": (OBJECTS.getvalue(), "pickled Python objects"),
}

HEAD = "a,b,c,d,e,f,y\n"
LINES = "".join(f"{','.join(map(str, row))},{label}\n" for row, label in zip(X.tolist(), Y, strict=True))
CSV: dict[str, tuple[bytes | str, str | None]] = {
    "byte-order-mark": ("\ufeff" + HEAD + LINES, None),
    "windows": ((HEAD + LINES).replace("\n", "\r\n"), None),
    "empty": ("", "no CSV file"),
    "names-alone": (HEAD, "no rows"),
    "line-feeds": ("\n" * 99, "no CSV file"),
    "utf-16": ((HEAD + LINES).encode("utf-16"), "no CSV file"),
    "latin-1": ((HEAD.replace("a", "é") + LINES).encode("latin-1"), "no CSV file"),
    "short-line": (HEAD + LINES + "1,2,3\n", "no CSV file"),
    "long-line": (HEAD + LINES + "1,2,3,4,5,6,1,9\n", "no CSV file"),
    "no-number": (HEAD + LINES + "NA,2,3,4,5,6,1\n", "'NA' in column 'a'"),
    "blank": (HEAD + LINES + ",2,3,4,5,6,1\n", "no value in column 'a'"),
    "nul": (HEAD + LINES + "1,2,3,4,5,\0,1\n", "in column 'f'"),
    "nan": (HEAD + LINES + "nan,2,3,4,5,6,1\n", "row 96"),
    "beyond-float64": (HEAD + LINES + "1e999,2,3,4,5,6,1\n", "row 96"),
    "comma-as-point": (HEAD + LINES + '"1,5",2,3,4,5,6,1\n', "'1,5' in column 'a'"),
    "open-quote": (HEAD + LINES + '1,2,3,4,5,6,"1\n1,2,3,4,5,6,2\n', "odd number of quotes"),
    "name-twice": (HEAD.replace("b", "a") + LINES, "two columns 'a'"),
    "no-names": (LINES, "first line holds numbers alone"),
    "semicolons": ((HEAD + LINES).replace(",", ";"), "no field 'y'"),
    "field-of-megabytes": (HEAD + "1" * 3_000_000 + ",2,3,4,5,6,1\n" + LINES, "no CSV file"),
    "many-columns": (
        ",".join(f"c{at}" for at in range(60_000)) + "\n" + ",".join(["1"] * 60_000) + "\n",
        "no field 'y'",
    ),
    "terminal-codes": (HEAD.replace("a", "\x1b[31ma\x07") + LINES + "x,2,3,4,5,6,1\n", "which is no number"),
}

OBJECT_ROWS = [{"x": row, "y": int(label)} for row, label in zip(X.tolist(), Y, strict=True)]
ARRAY, OBJECT_LINES = json.dumps(OBJECT_ROWS), "\n".join(map(json.dumps, OBJECT_ROWS)) + "\n"
JSON: dict[str, tuple[bytes | str, str | None]] = {
    "array.json": (ARRAY, None),
    "lines.jsonl": (OBJECT_LINES, None),
    "null.json": ("null", "line 1 is no object"),
    "null-first.jsonl": ("null\n" + OBJECT_LINES, "line 1 is no object"),
    "number.json": ("3", "no JSON file"),
    "array-of-numbers.json": ("[1, 2]", "no JSON file"),
    "empty.json": ("", "no JSON file"),
    "cut.json": (ARRAY[:-9], "no JSON file"),
    "cut.jsonl": (OBJECT_LINES[:-9], "no JSON file"),
    "utf-16.json": (ARRAY.encode("utf-16"), "no JSON file"),
    "deep-array.json": ('[{"x":' + "[" * 100_000, "inside each other"),
    "deep-lists.jsonl": ('{"x":' + "[" * 6000 + "1" + "]" * 6000 + "}\n", "inside each other"),
    "deep-objects.jsonl": ('{"x":' * 12_000 + "1" + "}" * 12_000 + "\n", "inside each other"),
    "label-beyond-int64.json": (ARRAY[:-1] + ', {"x": [1, 2, 3, 4, 5, 6], "y": 99999999999999999999}]', "no JSON file"),
    "digits.json": ('[{"x": ' + "9" * 5000 + "}]", "no JSON file"),
    "name-twice.json": (ARRAY.replace('"y": 1}', '"y": 1, "y": 2}'), "a name twice"),
    "name-twice.jsonl": (OBJECT_LINES.replace('"y": 1}', '"y": 1, "y": 2}'), "no JSON file"),
    "nan.json": (ARRAY[:-1] + ', {"x": [1, 2, 3, 4, 5, NaN], "y": 1}]', "row 96"),
    "null-value.jsonl": (OBJECT_LINES + '{"x": [1, 2, 3, 4, 5, null], "y": 1}\n', "no value in column 'x'"),
    "surrogate.json": ('[{"x": "\\ud800"}]', "no JSON file"),
    "short-list.jsonl": (OBJECT_LINES + '{"x": [1, 2], "y": 1}\n', "lists of 2 and of 6|shape 1 × 2"),
    "other-names.json": (json.dumps([{f"k{at}": 1} for at in range(5000)]), "different names"),
}


def _table(**columns: Any) -> pa.Table:
    x = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), 6)
    return pa.table({"x": x, "y": pa.array(Y), **columns})


def _parquet(table: pa.Table, **options: Any) -> Callable[[Path], None]:
    return lambda folder: pq.write_table(table, folder / "data.parquet", **options)


def _arrow(table: pa.Table) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with pa.ipc.new_file(folder / "data.arrow", table.schema) as file:
            file.write_table(table)

    return make


def _then(make: Callable[[Path], object], change: Callable[[Path], object]) -> Callable[[Path], None]:
    def both(folder: Path) -> None:
        make(folder)
        change(folder)

    return both


def _cut(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, size)


def _garble(name: str, at: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[at : at + 16] = b"\xff" * 16
        (folder / name).write_bytes(content)

    return change


def _zeros_in_parquet(folder: Path) -> None:
    """400 MB of zeros in some kilobytes."""
    zeros = pa.array(np.zeros(10**7, np.float32))
    with pq.ParquetWriter(folder / "data.parquet", pa.schema({"x0": pa.float32()})) as file:
        for _ in range(10):
            file.write_table(pa.table({"x0": zeros}), row_group_size=10**7)


_TABLES: dict[str, tuple[pa.Table, str | None]] = {
    "honest": (_table(), None),
    "column-twice": (pa.Table.from_arrays([*_table().columns, pa.array(Y)], ["x", "y", "y"]), "two columns 'y'"),
    "numbers-as-images": (_table(x=pa.array([{"bytes": 1}] * 96)), "nothing for 'x'"),
    "null-in-a-list": (_table(x=pa.array([[None] * 6] * 96, pa.list_(pa.float32(), 6))), "no value in column 'x'"),
    "null-label": (_table(y=pa.array([None, *map(int, Y[1:])])), "no value in column 'y'"),
    "dates": (_table(y=pa.array(Y).cast(pa.timestamp("s"))), "no field 'y'"),
    "decimals": (_table(y=pa.array(Y).cast(pa.decimal128(25, 2))), "no field 'y'"),
    "labels-beyond-int64": (_table(y=pa.array(Y.astype(np.uint64) + 2**63)), "largest label"),
    "terminal-codes": (_table(**{"\x1b[31m\u202e\n": pa.array(Y)}), None),
    "lists-of-nothing": (_table(x=pa.array([[]] * 96, pa.list_(pa.float32()))), "96 × 0|0 × 0|shape"),
}
COLUMNS: dict[str, tuple[Callable[[Path], object], str, str | None]] = {
    **{f"parquet-{name}": (_parquet(table), "data.parquet", says) for name, (table, says) in _TABLES.items()},
    **{f"arrow-{name}": (_arrow(table), "data.arrow", says) for name, (table, says) in _TABLES.items()},
    "parquet-cut": (_then(_parquet(_table()), _cut("data.parquet", 400)), "data.parquet", "no Parquet file"),
    "parquet-text": (_file("data.parquet", "PAR1 no PAR1"), "data.parquet", "no Parquet file"),
    "parquet-empty": (_file("data.parquet", b""), "data.parquet", "no Parquet file"),
    "parquet-footer-of-gigabytes": (
        _file("data.parquet", b"PAR1" + b"\0" * 40 + b"\xff\xff\xff\x7fPAR1"), "data.parquet", "no Parquet file",
    ),
    "parquet-garbled-page": (_then(_parquet(_table()), _garble("data.parquet", 8)), "data.parquet", "no Parquet file"),
    "parquet-zeros": (
        _zeros_in_parquet, "data.parquet", "claims to unpack",
    ),
    "arrow-cut": (_then(_arrow(_table()), _cut("data.arrow", 400)), "data.arrow", "no Arrow file"),
    "arrow-text": (_file("data.arrow", "ARROW1 no"), "data.arrow", "no Arrow file"),
    "arrow-empty": (_file("data.arrow", b""), "data.arrow", "no Arrow file"),
    "arrow-garbled": (_then(_arrow(_table()), _garble("data.arrow", 300)), "data.arrow", "no Arrow file"),
}  # fmt: skip


def _hdf5(fill: Callable[[Any], None]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with h5py.File(folder / "data.h5", "w") as file:
            fill(file)

    return make


def _honest(file: Any) -> None:
    file["x"], file["y"] = X, Y


def _links(file: Any) -> None:
    _honest(file)
    file["loop"] = h5py.SoftLink("/loop")
    file["out"] = h5py.ExternalLink("/etc/passwd", "/x")
    file["group/inner"] = 1
    file["group/again"] = file["group"]


def _endless(file: Any) -> None:
    file.create_dataset("x", (10**12, 6), "f4", chunks=(1000, 6))
    file.create_dataset("y", (10**12,), "i8", chunks=(1000,))


def _half_written(file: Any) -> None:
    file.create_dataset("x", (192, 6), "f4", chunks=(48, 6))[:96] = X
    file["y"] = np.tile(Y, 2)


def _outside(file: Any) -> None:
    file.create_dataset("x", (96, 6), "f4", external=[("/etc/passwd", 0, 2304)])
    file["y"] = Y


def _group(fill: Callable[[Any], None], **change: Any) -> Callable[[Path], None]:
    """A Zarr group, with changes of the metadata of its array x."""

    def make(folder: Path) -> None:
        fill(zarr.open_group(str(folder / "data.zarr"), mode="w"))
        path = folder / "data.zarr" / "x" / "zarr.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    return make


def _arrays(group: Any) -> None:
    group.create_array("x", data=X, chunks=(48, 6))
    group.create_array("y", data=Y, chunks=(48,))


def _endless_array(group: Any) -> None:
    group.create_array("x", shape=(10**12, 6), chunks=(1000, 6), dtype="f4")


def _grid(*shape: int) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": list(shape)}}


def _missing_chunk(folder: Path) -> None:
    _group(_arrays)(folder)
    (folder / "data.zarr" / "x" / "c" / "1" / "0").unlink()


HALF = np.concatenate([X, np.zeros_like(X)])
CHUNK = np.concatenate([X[:48], np.zeros_like(X[:48])])
# What makes the data, their name, and what is said: None where they are read, as the rows that follow, with a notice.
ARRAYS: dict[str, tuple[Callable[[Path], object], str, str | None, np.ndarray | None]] = {
    "hdf5-honest": (_hdf5(_honest), "data.h5", None, X),
    "hdf5-links": (_hdf5(_links), "data.h5", None, X),
    "hdf5-endless": (_hdf5(_endless), "data.h5", "claims to unpack", None),
    "hdf5-half-written": (_hdf5(_half_written), "data.h5", None, HALF),
    "hdf5-values-in-other-files": (_hdf5(_outside), "data.h5", "values in other files", None),
    "hdf5-text": (_file("data.h5", "no HDF5"), "data.h5", "no HDF5 file", None),
    "hdf5-cut": (_then(_hdf5(_honest), _cut("data.h5", 2100)), "data.h5", "no HDF5 file", None),
    "hdf5-signature-alone": (_file("data.h5", b"\x89HDF\r\n\x1a\n"), "data.h5", "no HDF5 file", None),
    "zarr-honest": (_group(_arrays), "data.zarr", None, X),
    "zarr-missing-chunk": (_missing_chunk, "data.zarr", None, CHUNK),
    "zarr-endless": (_group(_endless_array), "data.zarr", "claims to unpack|no field|nothing", None),
    "zarr-negative-shape": (_group(_arrays, shape=[-96, 6]), "data.zarr", "no Zarr array", None),
    "zarr-huge-shape": (_group(_arrays, shape=[10**30, 6]), "data.zarr", "claims to unpack", None),
    "zarr-chunks-of-nothing": (_group(_arrays, chunk_grid=_grid(0, 6)), "data.zarr", "no Zarr array", None),
    "zarr-huge-chunks": (_group(_arrays, chunk_grid=_grid(2**40, 2**20)), "data.zarr", "no Zarr array", None),
    "zarr-pickle": (_group(_arrays, codecs=[{"name": "numcodecs.pickle"}]), "data.zarr", "no Zarr array|codec", None),
    "zarr-no-codecs": (_group(_arrays, codecs=[]), "data.zarr", "no Zarr array", None),
    "zarr-other-type": (_group(_arrays, data_type="float64"), "data.zarr", "no Zarr array", None),
    "zarr-objects": (_group(_arrays, data_type="object"), "data.zarr", "no Zarr array", None),
    "zarr-empty": (lambda folder: (folder / "data.zarr").mkdir(), "data.zarr", "no Zarr array", None),
    "zarr-text": (_file("data.zarr", "no Zarr"), "data.zarr", "no Zarr array", None),
}


def _idx(kind: int, *shape: int, content: bytes = b"") -> bytes:
    return bytes([0, 0, kind, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape) + content


IDX = {
    "empty-ubyte": (b"", "no header of an idx file"),
    "claims-ubyte": (_idx(8, 2**32 - 1, 2**32 - 1, 28, content=b"\0" * 99), "its header claims"),
    "type-ubyte": (_idx(7, 96, 6), "no header of an idx file"),
    "axes-ubyte": (_idx(8, *[1] * 255), "no header of an idx file"),
    "cut-ubyte": (_idx(13, 96, 6, content=X.astype(">f4").tobytes()[:-4]), "its header claims"),
    "bomb-ubyte.gz": (gzip.compress(_idx(13, 2**26, 6) + b"\0" * 10**7), "bytes of data, and its header claims|gets"),
    "no-gzip-ubyte.gz": (b"no gzip", "no idx file"),
    "honest.idx": (_idx(13, 96, 6, content=X.astype(">f4").tobytes()), None),
}


def _tar(members: dict[str, bytes], **change: Any) -> Callable[[Path], None]:
    return lambda folder: tar(folder / "data.tar", members, **change)


def _samples(**changes: bytes) -> dict[str, bytes]:
    """The honest rows as samples of arrays and classes; those of the second one changed."""
    members = {}
    for row in range(96):
        parts = {"x.npy": _saved(X[row]), "cls": str(Y[row]).encode()} | (changes if row == 1 else {})
        members |= {f"{row:03}.{extension}": content for extension, content in parts.items()}
    return members


TARS: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "honest": (_tar(_samples()), None),
    "text": (_file("data.tar", "no tar" * 200), "no tar file"),
    "empty": (_file("data.tar", b""), "no tar file|no samples"),
    "cut": (_then(_tar(_samples()), _cut("data.tar", 3000)), "no tar file"),
    "gzip": (_file("data.tar", gzip.compress(b"tar")), "no tar file"),
    "links": (_tar(_samples(), type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0), "link|no samples"),
    "devices": (_tar(_samples(), type=tarfile.CHRTYPE, size=0), "device|no samples"),
    "class-of-64-digits": (_tar(_samples(cls=b"9" * 64)), "which is no class"),
    "class-in-words": (_tar(_samples(cls=b"cat")), "which is no class"),
    "array-that-claims-gigabytes": (_tar(_samples(**{"x.npy": npy(f"({2**30},)")})), "no NumPy array"),
    "array-of-objects": (_tar(_samples(**{"x.npy": OBJECTS.getvalue()})), "no NumPy array"),
    "first-array-broken": (_tar({"000.x.npy": npy("(9999999999,)"), "000.cls": b"1"}), "no NumPy array"),
    "array-of-other-shape": (_tar(_samples(**{"x.npy": _saved(X[0, :3])})), "shapes"),
}


def _png(image: Any, kind: str = "png", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


PIXELS = np.random.default_rng(3).integers(0, 256, (96, 2, 3), dtype=np.uint8)


def _images(**changes: bytes | Callable[[Path], object]) -> Callable[[Path], None]:
    """A folder of classes of images of 2 × 3 pixels for the honest model, one of them changed."""

    def make(folder: Path) -> None:
        body = "r = Reshape(x, s)\n a = MatMul(r, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
        proto = build(body, x="float[N,1,2,3] x", s=np.array([-1, 6]), **WEIGHTS)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())
        for row in range(96):
            place = folder / "images" / f"class{Y[row]}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{row:03}.png").write_bytes(_png(Image.fromarray(PIXELS[row])))
        for name, content in changes.items():
            path = folder / "images" / "class1" / name.replace("_", ".")
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                content(path)

    return make


_GRAY = Image.fromarray(PIXELS[0])
_TIFF = _png(_GRAY, "tiff")
IMAGES: dict[str, tuple[dict[str, Any], str | None]] = {
    "honest": ({}, None),
    "empty": ({"a_png": b""}, "a.png: no image"),
    "text": ({"a_jpg": b"no image"}, "a.jpg: no image"),
    "cut": ({"a_png": _png(_GRAY)[:50]}, "a.png"),
    "bomb": ({"a_png": _png(Image.new("1", (40_000, 40_000)))}, "more than 67,108,864 pixels"),
    "postscript": ({"a_png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 3\n"}, "a.png: no image"),
    "sixteen-bits": ({"a_png": _png(Image.fromarray(np.zeros((2, 3), np.uint16)))}, "more than 8 bits"),
    "floats": ({"a_tif": _png(Image.fromarray(np.zeros((2, 3), np.float32)), "tiff")}, "more than 8 bits"),
    "colours": ({"a_png": _png(Image.new("RGB", (3, 2)))}, "--color gray"),
    "other-size": ({"a_png": _png(Image.new("L", (4, 2)))}, "2 × 4"),
    "huge-canvas-of-gif": ({"a_gif": _png(_GRAY, "gif")[:6] + b"\xff" * 4 + _png(_GRAY, "gif")[10:]}, "pixels|a.gif"),
    "garbled-tiff": ({"a_tif": _TIFF[:8] + b"\xff" * 30 + _TIFF[38:]}, "a.tif"),
    "fifo": ({"a_png": os.mkfifo}, "a.png"),
    "broken-link": ({"a_png": lambda path: path.symlink_to("nowhere")}, "a.png"),
    "folder-that-links-to-itself": ({"loop": lambda path: path.symlink_to(".")}, "link"),
    "terminal-codes-in-a-name": ({"\x1b[31m\u202e_png": b"no image"}, "no image"),
}

# Places that are no data at all.
PLACES: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda folder: None, "nothing.npz", "nothing.npz: No such file"),
    "folder-of-a-file-name": (lambda folder: (folder / "d.npz").mkdir(), "d.npz", "d.npz"),
    "fifo": (lambda folder: os.mkfifo(folder / "d.npy"), "d.npy", "no regular file"),
    "device": (lambda folder: (folder / "d.npy").symlink_to("/dev/zero"), "d.npy", "d.npy"),
    "unknown-kind": (_file("d.xyz", "?"), "d.xyz", "unknown kind"),
    "model-as-data": (lambda folder: None, "model.onnx", "unknown kind"),
    "empty-folder": (lambda folder: (folder / "d").mkdir(), "d", "holds no images"),
    "empty-name": (lambda folder: None, "", "onnxrich"),
    "long-name": (lambda folder: None, "n" * 5000 + ".npz", "File name too long|npz"),
    "line-feed-in-a-name": (lambda folder: None, "a\n\x1b[31mb.npz", "No such file"),
    "lfs-pointer": (_file("d.npz", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n"), "d.npz", "d.npz"),
}

IMAGE_OPTIONS = ("--scale", "1/255", "--layout", "NCHW")

CASES = [
    *(
        Case(f"data-npy-{name}", _file("data.npy", content), _run("data.npy"), says=says, rows=READ.get(name, X))
        for name, (content, says) in NPY.items()
    ),
    *(Case(f"data-npz-{name}", make, says=says) for name, (make, says) in ARCHIVES.items()),
    Case("data-npz-one-row", _npz(x=X[:1], y=Y[:1]), notice="too_few_rows"),
    Case("data-npz-equal-rows", _npz(x=np.ones_like(X)), notice="constant_features"),
    *(Case(f"data-labels-{name}", _npz(y=labels), says=says) for name, (labels, says) in LABELS.items()),
    *(
        Case(f"data-csv-{name}", _file("data.csv", content), _run("data.csv", "--labels", "y"), says=says, rows=X)
        for name, (content, says) in CSV.items()
    ),
    *(
        Case(f"data-json-{name}", _file(name, content), _run(name), says=says, rows=X)
        for name, (content, says) in JSON.items()
    ),
    *(
        Case(f"data-{name}", make, _run(data, "--labels", "y"), says=says, rows=X)
        for name, (make, data, says) in COLUMNS.items()
    ),
    *(
        Case(
            f"data-{name}", make, _run(data, "--labels", "y"), says=says, rows=rows,
            notice="parts_filled_in" if rows is HALF or rows is CHUNK else "",
        )
        for name, (make, data, says, rows) in ARRAYS.items()
    ),
    *(
        Case(f"data-idx-{name}", _file(name, content), _run(name), says=says, rows=X)
        for name, (content, says) in IDX.items()
    ),
    *(Case(f"data-tar-{name}", make, _run("data.tar"), says=says, rows=X) for name, (make, says) in TARS.items()),
    *(
        Case(f"data-images-{name}", _images(**changes), _run("images", *IMAGE_OPTIONS), says=says)
        for name, (changes, says) in IMAGES.items()
    ),
    *(Case(f"data-place-{name}", make, _run(data), says=says) for name, (make, data, says) in PLACES.items()),
]  # fmt: skip
