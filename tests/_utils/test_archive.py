"""Archives of arrays: what `numpy.savez` wrote is read, and nothing that expands, lies or leads elsewhere."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from onnxrich._utils.archive import LARGEST_READ, ArchiveError, open_archive

ARRAY = np.arange(6.0).reshape(2, 3)


def saved(**arrays: np.ndarray) -> bytes:
    """An archive as NumPy writes it."""
    stream = io.BytesIO()
    np.savez(stream, **{"a": ARRAY, "text": np.array("né"), **arrays})
    return stream.getvalue()


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive with any members."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, content in members:
                archive.writestr(name, content)
    return stream.getvalue()


def claiming(header: str, content: bytes = b"") -> bytes:
    """An archive whose array has this header."""
    text = header.encode()
    return zipped([("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content)])


def read(content: bytes, name: str = "a", dtype: str = "f8", shape: tuple[int, ...] | None = (2, 3)) -> np.ndarray:
    with open_archive(io.BytesIO(content)) as archive:
        return archive.read(name, dtype, shape, most=100)


def in_directory(content: bytes, offset: int, value: bytes) -> bytes:
    """An archive with other bytes at an offset of its first central header."""
    start = content.index(b"PK\x01\x02") + offset
    return content[:start] + value + content[start + len(value) :]


@pytest.mark.parametrize("array", [ARRAY, np.asfortranarray(ARRAY), ARRAY.astype(">f8")])
def test_arrays(array: np.ndarray) -> None:
    """Memory order and byte order are those of the machine afterwards."""
    got = read(saved(a=array))
    np.testing.assert_array_equal(got, ARRAY)
    assert got.dtype == np.float64 and got.dtype.isnative


@pytest.mark.parametrize("text", ["", "né", "a" * 50])
def test_text(text: str) -> None:
    """Text comes back, and a longer one than was asked for is refused before it is read."""
    with open_archive(io.BytesIO(saved(text=np.array(text)))) as archive:
        assert archive.read_text("text", most=50) == text
    with (
        pytest.raises(ArchiveError, match="more than 50 characters"),
        open_archive(io.BytesIO(saved(text=np.array("a" * 5000)))) as archive,
    ):
        archive.read_text("text", most=50)


@pytest.mark.parametrize("code", [0xD800, 0x110000])
def test_text_of_no_characters(code: int) -> None:
    """NumPy makes text of any four bytes."""
    array = np.array([code], np.uint32).view("<U1").reshape(())
    with pytest.raises(ArchiveError, match="'text' is no text"), open_archive(io.BytesIO(saved(text=array))) as archive:
        archive.read_text("text", most=5)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (ARRAY.astype("f4"), "type float32"),
        (ARRAY.astype("c16"), "type complex128"),
        (ARRAY.astype("U3"), "type str"),
        (np.zeros((2, 3), "f8,i4"), "type with fields"),
        (np.zeros((2, 3), "S0"), "type bytes"),
        (np.zeros((3, 2)), "shape of 'a'"),
        (np.zeros((1,) * 30), "shape of 'a'"),
    ],
)
def test_other_arrays(array: np.ndarray, reason: str) -> None:
    """Another type or shape than the caller's is refused in words."""
    with pytest.raises(ArchiveError, match=reason):
        read(saved(a=array))


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1, " * 70 + "), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '(2,3)<f8', 'fortran_order': False, 'shape': (2, 3), }",
        "[" * 5000,
        "{'descr': '<f8' if '\\d' else 1}",
        "",
    ],
)
@pytest.mark.parametrize("shape", [(2, 3), None])
def test_headers_that_lie(header: str, shape: tuple[int, ...] | None) -> None:
    """No memory is taken for what a header claims, and no exception of a parser gets out."""
    with pytest.raises(ArchiveError):
        read(claiming(header, b"\0" * 8), shape=shape)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_expands(method: int) -> None:
    """A compressed member is refused: a small file can expand to any size."""
    with pytest.raises(ArchiveError, match="compressed"):
        read(zipped([("a.npy", b"\0" * 10**6)], method))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (8, b"\x01\x00", "encrypted"),
        (10, b"\x63\x00", "compressed"),
        (20, b"\xff\xff\xff\x7f", "compressed"),
        (24, b"\xff\xff\xff\x7f", "compressed"),
        (20, b"\xff\xff\xff\x7f\xff\xff\xff\x7f", "longer than the file"),
        (42, b"\xff\xff\xff\x7f", "damaged"),
        (16, b"\x00\x00\x00\x00", "damaged"),
        (28, b"\xff\xff", "missing"),
    ],
)
def test_headers_of_members_that_lie(offset: int, value: bytes, reason: str) -> None:
    """Flags, sizes, offset, checksum and length of the name in the list of members."""
    with pytest.raises(ArchiveError, match=reason):
        read(in_directory(saved(), offset, value))


def test_two_arrays_of_a_name() -> None:
    """Which one counts would be the reader's choice."""
    member = zipfile.ZipFile(io.BytesIO(saved())).read("a.npy")
    with pytest.raises(ArchiveError, match="two arrays of a name"):
        read(zipped([("a.npy", member), ("a.npy", member)]))
    with pytest.raises(ArchiveError, match="two arrays of a name"):
        read(zipped([("a.npy", member), ("a", member)]))


def test_names_that_lead_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members are found by name and never written: other ones change nothing."""
    monkeypatch.chdir(tmp_path)
    member = zipfile.ZipFile(io.BytesIO(saved())).read("a.npy")
    others = [(name, b"x") for name in ("/etc/a", "../a", "..\\a", "C:/a")]
    np.testing.assert_array_equal(read(zipped([*others, ("a.npy", member)])), ARRAY)
    assert not list(tmp_path.iterdir())


def test_members_that_overlap() -> None:
    """All members at the place of the first one: the others have another name there."""
    content = bytearray(saved())
    place = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    content[place + 42 : place + 46] = b"\0\0\0\0"
    with pytest.raises(ArchiveError, match="damaged"), open_archive(io.BytesIO(bytes(content))) as archive:
        archive.read_text("text", most=50)


def test_many_members() -> None:
    """A list that is too long is not read at all; one that the caller expects is."""
    content = zipped([(f"{number}.npy", b"") for number in range(LARGEST_READ // 50)])
    with pytest.raises(ArchiveError, match="lists its arrays in more than"):
        read(content)
    with (
        pytest.raises(ArchiveError, match="'a' is missing"),
        open_archive(io.BytesIO(content), arrays=30_000) as archive,
    ):
        archive.read("a", "f8", (2, 3))


def test_cut_anywhere() -> None:
    """A file that is cut at any byte is refused."""
    content = saved()
    for length in range(len(content)):
        with pytest.raises(ArchiveError):
            read(content[:length])
