"""NumPy files, never trusted: `.npz` is read member by member as a stream, `.npy` is mapped into memory."""

from __future__ import annotations

import io
import os
import pickle
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from zoo_text import blocks_of, build, read_all, refused, source_of, table_of, two_layers, within

from onnxrich.errors import DataError

ROWS = 40
X = np.random.default_rng(0).standard_normal((ROWS, 6)).astype(np.float32)
METHODS = {
    "stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA
}  # fmt: skip


def npy_bytes(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """A zip file with the given members."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def claim(shape: str, data: bytes = b"", descr: str = "<f4", fortran: bool = False) -> bytes:
    """An npy file whose header claims a shape."""
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def read(path: Path, size: int = 7) -> np.ndarray:
    """All rows that the one input of a model gets from a file."""
    return read_all(source_of(two_layers(), path), size)[0]["x"]


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("method", METHODS)
def test_methods_of_compression(method: str, tmp_path: Path) -> None:
    """Every method of compression that zip files have is read."""
    np.testing.assert_array_equal(read(archive(tmp_path / "d.npz", {"x.npy": npy_bytes(X)}, METHODS[method])), X)


def test_second_version_of_the_header(tmp_path: Path) -> None:
    """Headers of version 2, for long ones, are read too."""
    np.testing.assert_array_equal(read(archive(tmp_path / "d.npz", {"x.npy": npy_bytes(X, version=(2, 0))})), X)


@pytest.mark.parametrize("compressed", [False, True])
def test_memory_does_not_grow_with_rows(compressed: bool, tmp_path: Path) -> None:
    """Reading sixteen times the rows takes the same memory, and less than the array itself."""
    peaks = []
    for rows in (2_000, 32_000):
        x = np.random.default_rng(0).standard_normal((rows, 6)).astype(np.float32).repeat(10, axis=0)
        (np.savez_compressed if compressed else np.savez)(tmp_path / "d.npz", x=x)
        size = x.nbytes
        del x
        tracemalloc.start()
        for _ in source_of(two_layers(), tmp_path / "d.npz").batches(512):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A batch has 12 KiB; zip and zlib hold some blocks of 64 KiB at most.
    assert peaks[1] < peaks[0] + 2**16
    assert peaks[1] < size / 10


def test_names_that_climb_are_harmless(tmp_path: Path) -> None:
    """Members are read in place and never extracted: `..` and absolute names are only names."""
    (tmp_path / "in").mkdir()
    before = set(tmp_path.rglob("*"))
    for name in ("../x.npy", f"{tmp_path}/x.npy", "..\\..\\x.npy"):
        path = archive(tmp_path / "in/d.npz", {name: npy_bytes(X)})
        np.testing.assert_array_equal(read(path), X)
    assert set(tmp_path.rglob("*")) - before == {path}


@pytest.mark.parametrize(
    "make",
    [
        lambda canary: npy_bytes(np.array([canary] * 3, object), allow_pickle=True),
        lambda canary: npy_bytes(np.array([(1, canary)], [("a", "i4"), ("b", "O")]), allow_pickle=True),
        lambda canary: claim("(3,)", pickle.dumps(canary), "|O"),
        lambda canary: claim("()", pickle.dumps(canary), "|O"),
        lambda canary: claim("(3, 6)", pickle.dumps(canary), "|O", fortran=True),
    ],
    ids=["objects", "record", "bare", "scalar", "by columns"],
)
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_nothing_is_unpickled(make: Callable[[Canary], bytes], suffix: str, tmp_path: Path) -> None:
    """Arrays of Python objects are refused without unpickling them, and without advice to allow it."""
    content = make(Canary(tmp_path / "sung"))
    path = tmp_path / f"d.{suffix}"
    archive(path, {"x.npy": content}) if suffix == "npz" else path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert not (tmp_path / "sung").exists()
    assert "allow_pickle" not in str(caught.value)
    assert "unpickling could run code, so onnxrich never does" in str(caught.value)
    assert str(caught.value).endswith("Convert it to a numeric array and save it again.")


@pytest.mark.parametrize("name", ["x", "x.pkl", "x.npy.txt", "x.NPY", "folder/"])
def test_member_that_is_no_array(name: str, tmp_path: Path) -> None:
    """Anything but arrays in the archive is refused by name, pickles too."""
    path = archive(tmp_path / "d.npz", {"x.npy": npy_bytes(X), name: pickle.dumps(Canary(tmp_path / "sung"))})
    with refused(DataError, f"d.npz holds a file {name!r}; needed: NumPy arrays only. Save it with numpy.savez."):
        read(path)
    assert not (tmp_path / "sung").exists()


def test_a_name_twice(tmp_path: Path) -> None:
    """Two members of one name are refused: which of them counts is nobody's guess."""
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("x.npy", npy_bytes(X))
        file.writestr("x.npy", npy_bytes(X + 1))
    with refused(DataError, "d.npz holds 'x' twice; needed: one array of each name. Save it again with numpy.savez."):
        read(tmp_path / "d.npz")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 10, b"\x93NUMPY" * 20])
def test_no_zip(content: bytes, tmp_path: Path) -> None:
    """A file that is no zip file is refused by its name."""
    (tmp_path / "d.npz").write_bytes(content)
    with refused(
        DataError, "d.npz is damaged or no .npz file (File is not a zip file); needed: a whole .npz file. Save"
    ):
        read(tmp_path / "d.npz")


def test_empty_archive(tmp_path: Path) -> None:
    """An archive without arrays is refused with what the model needs."""
    with refused(DataError, "d.npz holds no arrays, and nothing for 'x'; needed: arrays named as the model's inputs"):
        read(archive(tmp_path / "d.npz", {}))


@pytest.mark.parametrize("method", METHODS)
def test_truncated(method: str, tmp_path: Path) -> None:
    """Cut off anywhere, the file is refused and never read in part."""
    whole = archive(tmp_path / "whole.npz", {"x.npy": npy_bytes(X)}, METHODS[method]).read_bytes()
    for length in range(0, len(whole), 61):
        (tmp_path / "d.npz").write_bytes(whole[:length])
        with refused(DataError, "d.npz", "needed: a whole .npz file. Save or copy it again."):
            read(tmp_path / "d.npz")


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_damage_in_the_middle(method: str, fortran: bool, tmp_path: Path) -> None:
    """A flipped bit in the middle of the data is found while they stream, by the checksum at the latest."""
    x = np.random.default_rng(0).standard_normal((4000, 6)).astype(np.float32)
    path = archive(tmp_path / "d.npz", {"x.npy": npy_bytes(np.asfortranarray(x) if fortran else x)}, METHODS[method])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    got = 0
    with refused(DataError, "d.npz, array 'x' is damaged or no .npz file ("):
        for batch in source_of(two_layers(), path).batches(100):
            got += batch.rows
    assert fortran or method not in ("stored", "deflated") or got >= 1000
    assert got < 4000


def test_encrypted(tmp_path: Path) -> None:
    """An encrypted archive is an error of its own, not a question for a password."""
    path = archive(tmp_path / "d.npz", {"x.npy": npy_bytes(X)})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x03\x04") + 6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with refused(DataError, "d.npz, array 'x' is damaged or no .npz file (File ", "is encrypted, password required"):
        read(path)


def test_unknown_method(tmp_path: Path) -> None:
    """A method of compression that nobody knows is an error."""
    path = archive(tmp_path / "d.npz", {"x.npy": npy_bytes(X)})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x03\x04") + 8] = 99
    content[content.index(b"PK\x01\x02") + 10] = 99
    path.write_bytes(content)
    with refused(DataError, "d.npz, array 'x' is damaged or no .npz file (That compression method is not supported)"):
        read(path)


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize(
    "shape", ["(1000000000,)", "(2, 536870912)", "(0, -1)", "(-1, 6)", "(-2, -2)", "(99999, 99999)"]
)
def test_header_claims_too_much(shape: str, fortran: bool, tmp_path: Path) -> None:
    """A header that claims gigabytes over some bytes is refused before anything is set aside for it."""
    path = archive(tmp_path / "d.npz", {"x.npy": claim(shape, b"\0" * 96, fortran=fortran)})
    tracemalloc.start()
    with refused(DataError, "d.npz, array 'x' has 96 bytes of data, and its header claims ", "needed: a whole file."):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("rows", [2**28, 2**50])
@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("method", ["stored", "deflated"])
def test_archive_claims_too_much(method: str, fortran: bool, rows: int, tmp_path: Path) -> None:
    """An archive that lies about its sizes as the header does ends in an error, and in no row of what it claims."""
    content = claim(f"({rows}, 6)", b"\0" * 96, fortran=fortran)
    with zipfile.ZipFile(tmp_path / "d.npz", "w", METHODS[method]) as file:
        file.writestr("x.npy", content)
        file.infolist()[0].file_size = len(content) - 96 + rows * 24
    with refused(DataError, "d.npz has ", " bytes, and claims to unpack to ", "at most 1,000 times its size"):
        read(tmp_path / "d.npz", 512)


def test_columns_first_beyond_memory(tmp_path: Path) -> None:
    """An array that lies columns first is read whole; where memory doesn't suffice, the error says how to save it."""
    content = claim(f"({2**37}, 6)", fortran=True)
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as file:
        file.writestr("x.npy", content)
        # A hole in the file holds the zeros of the array.
        entry = file.infolist()[0]
        entry.file_size = entry.compress_size = len(content) + 2**37 * 24
        file.start_dir += 2**37 * 24
    with refused(
        DataError,
        "d.npz, array 'x' has 3,298,534,883,328 bytes, columns first; needed: as much memory, or rows first, "
        "which are read block by block. Save numpy.ascontiguousarray(array).",
    ):
        read(tmp_path / "d.npz")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x93NUMPY", b"text", b"\x93NUMPY\x07\x00\x10\x00" + b" " * 16, npy_bytes(X)[:70],
        claim("(3"), claim("3"), claim("('a',)"), claim("(1.5,)"), claim("(", b""), claim("(1,)", descr="x9"),
        claim("(" * 400), claim("(3,)\0"), claim("[" * 3000 + "]" * 3000), claim("(1,)).a((0"), claim("{}"),
    ],
    ids=range(16),
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_header_that_is_none(content: bytes, suffix: str, tmp_path: Path) -> None:
    """A header that can't be understood is refused, whatever NumPy's reader trips over."""
    path = tmp_path / f"d.{suffix}"
    archive(path, {"x.npy": content}) if suffix == "npz" else path.write_bytes(content)
    with refused(
        DataError, " is no NumPy array, or only a part of one; needed: a whole array. Save or copy the file a"
    ):
        read(path)


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.zeros(3, [("a", "f4"), ("b", "i4")]), "[('a', '<f4'), ('b', '<i4')]"),
        (np.zeros(3, complex), "complex128"), (np.array([b"ab"]), "|S2"),
        (np.zeros(3, "V4"), "|V4"), (np.zeros(3, "M8[s]"), "datetime64[s]"), (np.zeros(3, "m8[s]"), "timedelta64[s]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_no_numbers(array: np.ndarray, dtype: str, suffix: str, tmp_path: Path) -> None:
    """Records, complex numbers, bytes and dates are refused with their type."""
    path = tmp_path / f"d.{suffix}"
    np.savez(path, x=array) if suffix == "npz" else np.save(path, array)
    with refused(
        DataError,
        f" has type {dtype}; needed: numbers, or words for labels. Convert it to a numeric array and save it again.",
    ):
        read(path)


def test_missing_input(tmp_path: Path) -> None:
    """Arrays of other names are an error that says what is there and what is needed."""
    np.savez(tmp_path / "d.npz", a=X, b=X)
    with refused(
        DataError,
        "d.npz holds 'a', 'b', and nothing for 'x'; needed: arrays named as the model's inputs: 'x'. "
        "Rename the fields, or save them with numpy.savez(file, NAME=array, …).",
    ):
        read(tmp_path / "d.npz")


def test_rows_that_differ(tmp_path: Path) -> None:
    """Inputs and labels of different length are an error with all lengths."""
    np.savez(tmp_path / "d.npz", x=X, labels=np.zeros(3, int))
    with refused(
        DataError,
        "d.npz holds different numbers of rows: 40 of 'x', 3 of 'labels'; needed: the same "
        "number of rows in each. Save arrays",
    ):
        read(tmp_path / "d.npz")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_no_rows(suffix: str, order: Any, tmp_path: Path) -> None:
    """An array without rows is refused."""
    path = tmp_path / f"d.{suffix}"
    empty = np.zeros((0, 6), np.float32, order=order)
    np.savez(path, x=empty) if suffix == "npz" else np.save(path, empty)
    with refused(DataError, f"d.{suffix} holds no rows; needed: at least one row. Pass data with rows."):
        read(path)


def test_rows_without_columns(tmp_path: Path) -> None:
    """Rows of no values don't fit a model that wants some, and are counted all the same."""
    np.savez(tmp_path / "d.npz", x=np.zeros((5, 0), np.float32))
    assert [block.shape for block in blocks_of(table_of(tmp_path / "d.npz"), "x", 2)] == [(2, 0), (2, 0), (1, 0)]
    with refused(DataError, "input 'x' gets data of shape 5 × 0; needed: shape N × 6."):
        read(tmp_path / "d.npz")


def test_fifo(tmp_path: Path) -> None:
    """A FIFO is refused at once: opening it would wait for ever."""
    for suffix in ("npz", "npy"):
        os.mkfifo(tmp_path / f"d.{suffix}")
        with within(5), refused(DataError, f"d.{suffix} is no regular file; needed: a readable .{suffix} file."):
            read(tmp_path / f"d.{suffix}")


@pytest.mark.parametrize("name", ["d.npz", "d.npy", "d.idx"])
def test_folder(name: str, tmp_path: Path) -> None:
    """A folder is refused as one."""
    (tmp_path / name).mkdir()
    with refused(DataError, f"{name} is a folder; needed: a ", "Pass the path of the file itself."):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["d.npz", "d.npy", "d.txt", "no/d.npz", "a\0b.npz", "x" * 300 + ".npz"])
def test_missing(name: str, tmp_path: Path) -> None:
    """A path at which there is no file is refused with the reason."""
    reason = {"a\0b.npz": "no valid path"}.get(name, "No such file or directory")
    with refused(DataError, "File name too long" if len(name) > 255 else reason, "needed: a "):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["d.txt", "d.npz.gz", "npz"])
def test_unknown_suffix(name: str, tmp_path: Path) -> None:
    """Another kind of file is refused with those that are read."""
    np.savez(tmp_path / "d.npz", x=X)
    (tmp_path / "d.npz").rename(tmp_path / name)
    with refused(
        DataError,
        f"{name} is of an unknown kind; needed: one of .npz, .npy, ",
        "Put its kind before it: one of npz, npy, ",
    ):
        read(tmp_path / name)


@pytest.mark.parametrize("method", METHODS)
def test_any_damage_is_an_error_or_none(method: str, tmp_path: Path) -> None:
    """Bytes changed at random give the rows or a DataError, never another exception."""
    members = {"x": X[:8], "f": np.asfortranarray(X[:8]), "s": np.array(3.0)}
    whole = archive(
        tmp_path / "whole.npz", {f"{n}.npy": npy_bytes(a) for n, a in members.items()}, METHODS[method]
    ).read_bytes()
    chance = random.Random(0)
    refusals = 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        (tmp_path / "d.npz").write_bytes(content)
        try:
            table = table_of(tmp_path / "d.npz")
            for name in table.fields:
                for _ in blocks_of(table, name, 3):
                    pass
        except DataError:
            refusals += 1
    assert refusals > 50


@pytest.mark.parametrize("order", ["C", "F"])
def test_mapped_not_read(order: Any, tmp_path: Path) -> None:
    """Blocks are views of the mapped file, and can't be written to."""
    np.save(tmp_path / "d.npy", np.asarray(X, order=order))
    block = next(blocks_of(table_of(tmp_path / "d.npy"), "d", 5))
    assert isinstance(block, np.memmap)
    assert not block.flags.writeable
    np.testing.assert_array_equal(block, X[:5])


def test_a_sparse_giant(tmp_path: Path) -> None:
    """A file of 64 GiB, nearly all of it a hole, opens at once: rows are read as they are used."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2863311530, 6), }"
    header += b" " * (128 - 10 - len(header) - 1) + b"\n"
    with (tmp_path / "d.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        file.truncate(128 + 2863311530 * 24)
    source = source_of(two_layers(), tmp_path / "d.npy")
    assert source.n == 2863311530
    assert not next(source.batches(100)).inputs["x"].any()


@pytest.mark.parametrize("order", ["C", "F"])
def test_truncated_of_npy(order: Any, tmp_path: Path) -> None:
    """Cut off anywhere, the file is refused."""
    np.save(tmp_path / "whole.npy", np.asarray(X, order=order))
    whole = (tmp_path / "whole.npy").read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / "d.npy").write_bytes(whole[:length])
        with refused(DataError, "d.npy", "needed: a whole"):
            source_of(two_layers(), tmp_path / "d.npy")
    (tmp_path / "d.npy").write_bytes(whole[:-1])
    with refused(
        DataError,
        "d.npy has 959 bytes of data, and its header claims 960; needed: a whole file. Save or copy it again.",
    ):
        source_of(two_layers(), tmp_path / "d.npy")


def test_bytes_after_the_end(tmp_path: Path) -> None:
    """A file longer than its header says is no whole file either."""
    np.save(tmp_path / "d.npy", X)
    with (tmp_path / "d.npy").open("ab") as file:
        file.write(b"more")
    with refused(DataError, "d.npy has 964 bytes of data, and its header claims 960"):
        source_of(two_layers(), tmp_path / "d.npy")


@pytest.mark.parametrize("shape", ["(1073741824, 1)", "(-1, 6)", "(0, -1)", "(4294967296, 4294967296)"])
def test_header_claims_too_much_of_npy(shape: str, tmp_path: Path) -> None:
    """A header that claims gigabytes over some bytes is refused."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (128 - 10 - len(header) - 1) + b"\n"
    (tmp_path / "d.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 96)
    with refused(DataError, "d.npy has 96 bytes of data, and its header claims "):
        source_of(two_layers(), tmp_path / "d.npy")


def test_several_inputs_of_npy(tmp_path: Path) -> None:
    """One array can't feed two inputs."""
    np.save(tmp_path / "d.npy", X)
    proto = build("h = Add(x, b)", x="float[N,6] x, float[N,6] b", y="float[N,6] h")
    with refused(
        DataError, "d.npy holds 'd', and nothing for 'x', 'b'; needed: arrays named as the model's inputs: 'x"
    ):
        source_of(proto, tmp_path / "d.npy")


def test_any_damage_of_npy(tmp_path: Path) -> None:
    """Headers changed at random give the rows or a DataError, never another exception."""
    np.save(tmp_path / "whole.npy", X[:8])
    whole = (tmp_path / "whole.npy").read_bytes()
    chance = random.Random(0)
    refusals = 0
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            content[chance.randrange(80)] = chance.choice(b"()[]{}'\",:0123456789OUSVfic<>|\0\n\xff #\\")
        (tmp_path / "d.npy").write_bytes(content)
        try:
            read_all(source_of(two_layers(), tmp_path / "d.npy"), 3)
        except DataError:
            refusals += 1
    assert refusals > 200


@pytest.mark.parametrize("shape", [f"({'9' * 4000}, {'9' * 4000})", f"(0, {2**62})", f"(0, {2**63})", f"({2**63}, 6)"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_shapes_that_no_array_has(suffix: str, shape: str, tmp_path: Path) -> None:
    """A shape beyond 2^63 bytes is refused, also one without entries or of thousands of digits."""
    if suffix == "npy":
        (tmp_path / "d.npy").write_bytes(claim(shape))
    else:
        archive(tmp_path / "d.npz", {"x.npy": claim(shape)})
    with refused(DataError, "header claims a shape that no array has; needed: a whole file."):
        read(tmp_path / f"d.{suffix}")


def test_header_of_python_2(tmp_path: Path) -> None:
    """Headers that Python 2 wrote are read without a warning."""
    (tmp_path / "d.npy").write_bytes(claim(f"({len(X)}L, 6L)", X.tobytes()))
    np.testing.assert_array_equal(read(tmp_path / "d.npy"), X)


def test_booleans_of_other_bytes(tmp_path: Path) -> None:
    """A boolean of a file is any byte, and the model gets 0 or 1."""
    proto = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="bool[N,2] x", y="float[N,2] h")
    (tmp_path / "d.npy").write_bytes(claim("(3, 2)", bytes([0, 1, 2, 255, 0, 128]), descr="|b1"))
    rows, _ = read_all(source_of(proto, tmp_path / "d.npy"), 2)
    assert rows["x"].view(np.uint8).tolist() == [[0, 1], [1, 1], [0, 1]]


def test_zeros_that_unpack_to_gigabytes(tmp_path: Path) -> None:
    """An archive of a thousand times its size is refused where that is much; one of a few megabytes is read."""
    zeros = np.zeros((100_000, 6), np.float32)
    np.savez_compressed(tmp_path / "small.npz", x=zeros)
    assert (tmp_path / "small.npz").stat().st_size * 500 < zeros.nbytes
    assert len(read(tmp_path / "small.npz", 4096)) == len(zeros)
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as file, file.open("x.npy", "w") as member:
        member.write(claim("(20000000, 6)"))
        for _ in range(480):
            member.write(b"\0" * 10**6)
    with refused(
        DataError, "d.npz has ", "and claims to unpack to 480,000,128", "needed: at most 1,000 times its size"
    ):
        read(tmp_path / "d.npz")
