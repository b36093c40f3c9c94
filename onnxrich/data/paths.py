"""Where data lie: a local file or folder, or an fsspec URL. Both are opened, listed and named in the same way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from onnxrich._utils.files import open_regular
from onnxrich._utils.optional import import_optional
from onnxrich.errors import DataError


@dataclass(frozen=True)
class DataPath:
    """A file or a folder.

    Attributes:
        url: path of a local one, or an fsspec URL such as `s3://bucket/file.parquet`.
    """

    url: str

    @property
    def remote(self) -> bool:
        """Whether fsspec opens it."""
        return "://" in self.url

    @property
    def name(self) -> str:
        """The last part of it, as a person would name it."""
        return PurePosixPath(self.url).name if self.remote else Path(self.url).name or self.url

    @property
    def path(self) -> Path:
        """The local path.

        Raises:
            DataError: when it is remote.
        """
        if self.remote:
            raise DataError(f"{self.url} is no local file", "a local file for this kind of data", "Download it first.")
        return Path(self.url)

    def child(self, name: str) -> DataPath:
        """Something inside this folder."""
        return DataPath(f"{self.url.rstrip('/')}/{name}" if self.remote else os.path.join(self.url, name))  # noqa: PTH118

    def beside(self, name: str) -> DataPath:
        """Another file of the same folder."""
        if self.remote:
            return DataPath(f"{self.url.rpartition('/')[0]}/{name}")
        return DataPath(os.fspath(self.path.parent / name))

    def is_folder(self) -> bool:
        """Whether it is a folder."""
        if not self.remote:
            return os.path.isdir(self.url)  # noqa: PTH112 - unlike pathlib it answers for names that no file can have
        system, path = self.filesystem()
        return bool(system.isdir(path))

    def is_file(self) -> bool:
        """Whether it is a regular file."""
        if not self.remote:
            return os.path.isfile(self.url)  # noqa: PTH113 - as above
        system, path = self.filesystem()
        return bool(system.isfile(path))

    def open(self, what: str) -> IO[bytes]:
        """The file, opened for reading at any position.

        Args:
            what: what it should be, for the message.

        Raises:
            DataError: when it is missing, unreadable, or no regular file.
        """
        if not self.remote:
            return open_regular(Path(self.url), DataError, what)
        system, path = self.filesystem()
        try:
            opened: IO[bytes] = system.open(path, "rb")
        except (OSError, ValueError) as error:
            raise _unreachable(self.url, error, what) from error
        return opened

    def walk(self) -> Iterator[str]:
        """Names of the files below this folder, as paths relative to it with `/`, in the order of their names."""
        if not self.remote:
            yield from _walk(Path(self.url), "")
            return
        system, path = self.filesystem()
        root = path.rstrip("/") + "/"
        try:
            found = sorted(system.find(path))
        except (OSError, ValueError) as error:
            raise _unreachable(self.url, error, "a readable folder") from error
        yield from (name.removeprefix(root) for name in found)

    def filesystem(self) -> tuple[Any, str]:
        """The fsspec file system of a URL, and the path in it.

        Raises:
            DataError: when fsspec, or what it needs for this protocol, is not installed, or the URL is none.
        """
        fsspec = import_optional("fsspec", "cloud", f"{self.url}")
        try:
            system, path = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError, OSError) as error:
            raise _unreachable(self.url, error, "a URL that fsspec opens") from error
        return system, path


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{folder}: {error.strerror}", "a readable folder", "Check the folder and its permissions."
        ) from error
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
        elif entry.is_dir():
            # Followed, it could lead anywhere, or round in a circle; left out, a class would be missing without a word.
            raise DataError(
                f"{entry.path} is a link to a folder", "folders themselves", "Put the folder itself in its place."
            )
        else:
            yield prefix + entry.name


def _unreachable(url: str, error: BaseException, what: str) -> DataError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return DataError(
        f"{url}: {reason}", what, "Check the URL, and that fsspec and its package for this protocol are installed."
    )
