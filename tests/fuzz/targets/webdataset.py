"""WebDataset: tar files of links, devices, holes and sizes that lie, and their samples, against tarfile and NumPy."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import numpy as np

from fuzz.mutations import NAMES, mutate_bytes
from fuzz.rows import X, Y, check_rows, npy
from fuzz.targets.npy import mutate as mutate_npy

SUFFIX = ".tar"
CLASSES = (b"", b"-1", b"9" * 64, b"1.5", b"cat", b"\xff", b" 1\n", b"01", "²".encode(), b"+1", b"1" * 19)
KINDS = (
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
    tarfile.GNUTYPE_SPARSE,
    b"x",
    b"K",
)


def seeds() -> list[bytes]:
    """Samples of an array and a class, in each dialect of tar."""
    return [_write(_members(), kind) for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]


def _members() -> list[tuple[str, bytes]]:
    parts = (
        ((f"{row:02}.x.npy", npy(X[row])) for row in range(24)),
        ((f"{row:02}.cls", str(Y[row]).encode()) for row in range(24)),
    )
    return sorted([*parts[0], *parts[1]])


def _write(
    members: list[tuple[str, bytes]], dialect: int, headers: dict[str, str] | None = None, **change: object
) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=dialect, errors="surrogateescape") as archive:
        for number, (name, content) in enumerate(members):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            if number == 3:
                entry.pax_headers = headers or {}
                for key, value in change.items():
                    setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Write another archive, or change bytes of one: mostly of a header."""
    choice = rng.random()
    if choice < 0.2:
        return mutate_bytes(rng, content)
    if choice < 0.4:
        at = 512 * rng.randrange(len(content) // 512)
        header = mutate_bytes(rng, content[at : at + 512])[:512].ljust(512, b"\0")
        return content[:at] + _summed(header) + content[at + 512 :]
    members = _members()
    at = rng.randrange(len(members))
    name, value = members[at]
    match rng.randrange(5):
        case 0:
            members[at] = (name, rng.choice(CLASSES) if name.endswith("cls") else mutate_npy(rng, value))
        case 1:
            members[at] = (
                rng.choice((*NAMES, ".npy", "a.", ".", "00.cls", "../00.cls", "/x.cls", "00.x.png", "00.txt")) or "n",
                value,
            )
        case 2:
            members.insert(at, rng.choice(members))
        case 3:
            return _write(members, tarfile.GNU_FORMAT, type=rng.choice(KINDS), linkname="/etc/passwd")
        case _:
            sizes = ("0", "-1", "99999999999", "a", "1e9", "9" * 5000)
            headers = {
                rng.choice(("size", "path", "GNU.sparse.realsize", "GNU.sparse.map", "GNU.sparse.major")): rng.choice(
                    sizes
                )
            }
            return _write(members, tarfile.PAX_FORMAT, headers)
    return _write(members, rng.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)))


def _summed(header: bytes) -> bytes:
    """A header with its checksum."""
    blank = header[:148] + b" " * 8 + header[156:]
    return header[:148] + b"%06o\0 " % sum(blank) + header[156:]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path, "r:") as archive:
        names = [entry.name for entry in archive]
        assert sorted(names) == sorted(name for name, _ in _members()), (
            "other names: samples are grouped in another way"
        )
        for entry in archive:
            file = archive.extractfile(entry)
            assert entry.isreg() and file is not None
            stem, _, extension = entry.name.partition(".")
            samples.setdefault(stem, {})[extension] = file.read()
    arrays = [np.load(io.BytesIO(sample["x.npy"])) for sample in samples.values()]
    return np.stack(arrays), np.array([int(sample["cls"]) for sample in samples.values()])


def check(path: Path) -> None:
    """Rows and labels are those of the archive's files."""
    check_rows(path, _read, labels=None)
