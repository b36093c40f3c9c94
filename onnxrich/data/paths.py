"""Paths of data: local files and folders or fsspec URLs, opened, listed and named in the same way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from onnxrich._utils.files import open_regular, read_limited
from onnxrich._utils.inside import check_inside, check_tree, walk
from onnxrich._utils.optional import import_optional
from onnxrich._utils.parsing import parse_json
from onnxrich.errors import DataError


@dataclass(frozen=True)
class DataPath:
    """A file or a folder.

    Attributes:
        url: a local path, or an fsspec URL such as `s3://bucket/file.parquet`.
        found_in: the local folder in which it was found, links resolved: it is opened only where it lies inside. None
            for a path that the user passed, whose links are followed.
    """

    url: str
    found_in: Path | None = None

    @property
    def remote(self) -> bool:
        """Whether fsspec opens it."""
        return "://" in self.url

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.url).name if self.remote else Path(self.url).name or self.url

    @property
    def path(self) -> Path:
        """Local path.

        Raises:
            DataError: when it is remote.
        """
        if self.remote:
            raise DataError(f"{self.url} is no local file", "a local file for this kind of data", "Download it first.")
        return Path(self.url)

    @cached_property
    def _root(self) -> Path:
        """The folder that what lies in this folder must not leave."""
        try:
            return Path(os.path.realpath(self.path)) if self.found_in is None else self.found_in
        except ValueError:  # for a name that no file can have
            return self.path

    def child(self, name: str) -> DataPath:
        """Return the path of a file or a folder inside this folder."""
        if self.remote:
            return DataPath(f"{self.url.rstrip('/')}/{name}")
        return DataPath(os.path.join(self.url, name), self._root)  # noqa: PTH118

    def beside(self, name: str) -> DataPath:
        """Return the path of another file in the same folder."""
        if self.remote:
            return DataPath(f"{self.url.rpartition('/')[0]}/{name}")
        return DataPath(os.fspath(self.path.parent), self.found_in).child(name)

    def is_folder(self) -> bool:
        """Tell whether it is a folder."""
        if not self.remote:
            return os.path.isdir(self.url)  # noqa: PTH112 - unlike pathlib it accepts names that no file can have
        system, path = self.filesystem()
        return bool(system.isdir(path))

    def is_file(self) -> bool:
        """Tell whether it is a regular file."""
        if not self.remote:
            return os.path.isfile(self.url)  # noqa: PTH113 - as above
        system, path = self.filesystem()
        return bool(system.isfile(path))

    def open(self, needed: str) -> IO[bytes]:
        """Open the file for reading at any position.

        Args:
            needed: what the file should be, for the message.

        Raises:
            DataError: when it is missing, unreadable, or no regular file, or leads out of the folder in which it was
                found.
        """
        if not self.remote:
            return open_regular(Path(self.url), DataError, needed, self.found_in)
        system, path = self.filesystem()
        try:
            file: IO[bytes] = system.open(path, "rb")
        except (OSError, ValueError) as error:
            raise _unreachable(self.url, error, needed) from error
        return file

    def opened_by_path(self, needed: str) -> str:
        """Check the file, and return the path by which a library may open it: without links where it was found.

        Raises:
            DataError: as `open`.
        """
        self.open(needed).close()
        return self.url if self.found_in is None else os.fspath(check_inside(self.found_in, self.path, DataError))

    def check_tree(self) -> None:
        """Check the files below this folder, for a library that reads the folder by itself; it may be remote.

        Raises:
            DataError: when one leads out of the folder, or is no regular file.
        """
        if not self.remote:
            check_tree(self.path, DataError)

    def read(self, needed: str, limit: int) -> bytes:
        """Read a whole file.

        Args:
            needed: what the file should be, for the message.
            limit: bytes that it may have at most.

        Raises:
            DataError: when the file can't be opened, or is larger.
        """
        with self.open(needed) as file:
            return read_limited(file, limit, DataError, self.url)

    def read_json(self, limit: int, remedy: str) -> dict[str, Any]:
        """Read a JSON object, empty where the file holds another JSON value.

        Args:
            limit: bytes that it may have at most.
            remedy: what to do about a file that is no JSON.

        Raises:
            DataError: when the file can't be opened, is larger, or is no JSON.
        """
        content = self.read("a readable JSON file", limit)
        try:
            document = parse_json(content, is_finite=False)
        except ValueError as error:
            raise DataError(f"{self.url} is no JSON ({first_line(error)})", "a whole JSON file", remedy) from error
        return document if isinstance(document, dict) else {}

    def walk(self) -> Iterator[str]:
        """Yield the files below this folder as relative paths with `/`, sorted by name."""
        if not self.remote:
            yield from (name for name, _ in walk(self.path, DataError))
            return
        system, path = self.filesystem()
        root = path.rstrip("/") + "/"
        try:
            names = sorted(system.find(path))
        except (OSError, ValueError) as error:
            raise _unreachable(self.url, error, "a readable folder") from error
        yield from (name.removeprefix(root) for name in names)

    def filesystem(self) -> tuple[Any, str]:
        """Return the fsspec file system of a URL, and the path in it.

        Raises:
            DataError: when fsspec or its package for this protocol is not installed, or the URL is none.
        """
        fsspec = import_optional("fsspec", "cloud", f"{self.url}")
        try:
            system, path = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError, OSError) as error:
            raise _unreachable(self.url, error, "a URL that fsspec opens") from error
        return system, path


def _unreachable(url: str, error: BaseException, needed: str) -> DataError:
    remedy = "Check the URL, and that fsspec and its package for this protocol are installed."
    return DataError(f"{url}: {first_line(error)}", needed, remedy)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, at most 200 characters; the name of its class when it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def refuse_damaged(name: str, kind: str, errors: tuple[type[BaseException], ...]) -> Iterator[None]:
    """Turn the errors of a library that reads damaged data into a DataError.

    Args:
        name: name of the data.
        kind: what they should be, such as "Parquet file".
        errors: classes of the errors.

    Raises:
        DataError: when one of them is raised inside.
    """
    try:
        yield
    except DataError:
        raise
    except errors as error:
        raise DataError(
            f"{name} is damaged or no {kind} ({first_line(error)})", f"a whole {kind}", "Save or copy it again."
        ) from error
