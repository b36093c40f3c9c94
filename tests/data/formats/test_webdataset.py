"""WebDataset: samples of a tar, and what is refused because a header says so."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from data.formats.files import X, npy, png, tar
from zoo_text import build, read_all, refused, source_of, two_layers, within

from onnxrich.errors import DataError

IMAGES = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="uint8[N,1,2,2] x", y="float[N,1,2,2] h")


def test_tar_is_never_unpacked(tmp_path: Path) -> None:
    """Names that lead elsewhere are only names; folders are passed over; nothing is written."""
    (tmp_path / "in").mkdir()
    path = tar(tmp_path / "in/d.tar", {"../../evil.png": png(7), "/abs.png": png(9)})
    with tarfile.open(path, "a") as opened:
        folder = tarfile.TarInfo("folder.png")
        folder.type = tarfile.DIRTYPE
        opened.addfile(folder)
    rows, _ = read_all(source_of(IMAGES, path), 2)
    assert rows["x"][:, 0, 0, 0].tolist() == [7, 9]
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["d.tar", "in"]


@pytest.mark.parametrize(
    ("kind", "description"),
    [
        (tarfile.SYMTYPE, "a link to '/etc/passwd'"), (tarfile.LNKTYPE, "a link to '/etc/passwd'"),
        (tarfile.FIFOTYPE, "a device or a sparse file"), (tarfile.CHRTYPE, "a device or a sparse file"),
    ],
)  # fmt: skip
def test_links_in_a_tar(kind: bytes, description: str, tmp_path: Path) -> None:
    """They are not followed, and their sample is not left out without a word."""
    path = tar(tmp_path / "d.tar", {"a.png": png(7)})
    with tarfile.open(path, "a") as opened:
        info = tarfile.TarInfo("b.png")
        info.type, info.linkname = kind, "/etc/passwd"
        opened.addfile(info)
    with refused(DataError, f"d.tar holds 'b.png', which is {description}; needed: files with their content. Pack it"):
        source_of(IMAGES, path)


def test_samples_of_a_tar(tmp_path: Path) -> None:
    """Consecutive files of one name up to the first dot are a sample; one that lacks a file is left out, or stops."""
    files = {
        "a.png": png(1), "a.cls": b"3", "b.png": png(2), "c.png": png(3), "c.cls": b"x", "d.png": b"", "d.cls": b"1",
        "e.png": png(5), "e.cls": b"0",
    }  # fmt: skip
    path = tar(tmp_path / "d.tar", files)
    with refused(DataError, "d.tar, b: no file .cls; needed: items that can be read."):
        read_all(source_of(IMAGES, path, reading={"max_errors": 0}), 5)
    source = source_of(IMAGES, path, reading={"max_errors": 3})
    batches = list(source.batches(5))
    assert [batch.inputs["x"][:, 0, 0, 0].tolist() for batch in batches] == [[1, 5]]
    assert [batch.labels.tolist() for batch in batches if batch.labels is not None] == [[3, 0]]
    assert {reason for _, reason in source.skipped.items if ".cls" in reason} == {
        "no file .cls", "'x' in .cls, which is no class",
    }  # fmt: skip


def test_arrays_of_different_shapes_in_a_tar(tmp_path: Path) -> None:
    """Rows of two shapes can't be one batch, and the message says which shapes."""
    path = tar(tmp_path / "d.tar", {"0.x.npy": npy(X[0]), "1.x.npy": npy(X[1, :3])})
    with refused(DataError, "d.tar holds arrays 'x' of shapes (3,) and (6,); needed: arrays of one shape within"):
        read_all(source_of(two_layers(), path), 4)


def test_pickles_in_a_tar(tmp_path: Path) -> None:
    """Python objects in a NumPy array are never unpickled."""
    path = tar(tmp_path / "d.tar", {"a.x.npy": npy(X[0]), "b.x.npy": npy(np.array([print], dtype=object))})
    with refused(DataError, "d.tar, b: no NumPy array of numbers in .npy"):
        read_all(source_of(two_layers(), path), 5)


@pytest.mark.parametrize("size", [b"77777777777\0", b"\xff" * 10 + b"\xfc\0"], ids=["8 GiB", "-1024"])
def test_a_tar_that_claims_much(size: bytes, tmp_path: Path) -> None:
    """A file whose header claims more than the tar holds, or less than nothing, is refused at once."""
    path = tar(tmp_path / "d.tar", {"a.png": png(1)})
    content = bytearray(path.read_bytes())
    content[124:136] = size
    checksum = sum(content[:148]) + 8 * 32 + sum(content[156:512])
    content[148:156] = b"%06o\0 " % checksum
    path.write_bytes(content)
    with within(10), refused(DataError, "d.tar is damaged or no tar file ("):
        source_of(IMAGES, path)


def test_a_class_that_is_none_beside_a_good_image(tmp_path: Path) -> None:
    """A sample that is left out for its class is left out with its image."""
    path = tar(tmp_path / "d.tar", {"a.png": png(1), "a.cls": b"x", "b.png": png(2), "b.cls": b"1"})
    (batch,) = source_of(IMAGES, path, reading={"max_errors": 1}).batches(5)
    assert batch.inputs["x"][:, 0, 0, 0].tolist() == [2]
    assert batch.labels is not None and batch.labels.tolist() == [1]


def test_arrays_that_claim_gigabytes(tmp_path: Path) -> None:
    """An array in a tar is refused before anything is set aside for what its header claims, the first one too."""
    claims = npy(X[0]).replace(b"(6,), ", b"(99999999999,), ")[:128] + X[0].tobytes()
    with refused(DataError, "d.tar, a: no NumPy array of numbers in .npy"):
        source_of(two_layers(), tar(tmp_path / "d.tar", {"a.x.npy": claims}))
    with refused(DataError, "d.tar, b: no NumPy array of numbers in .npy"):
        read_all(source_of(two_layers(), tar(tmp_path / "d.tar", {"a.x.npy": npy(X[0]), "b.x.npy": claims})), 2)


def test_classes_beyond_64_bits(tmp_path: Path) -> None:
    """A class of 19 digits is none."""
    files = {"a.x.npy": npy(X[0]), "a.cls": b"9" * 19}
    with refused(DataError, "which is no class"):
        read_all(source_of(two_layers(), tar(tmp_path / "d.tar", files)), 2)
