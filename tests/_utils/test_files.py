"""Files that nobody vouches for: their size is bounded before they are read, also where they grow."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from zoo_text import refused

from onnxrich._utils.files import read_limited
from onnxrich.errors import DataError


class Growing(io.BytesIO):
    """A file that has grown since its size was looked up."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return 3 if whence == io.SEEK_END else super().seek(offset, whence)


def test_a_file_of_a_terabyte(tmp_path: Path) -> None:
    """It is refused unread."""
    with (tmp_path / "f").open("w+b") as file:
        file.truncate(2**40)
        with refused(DataError, "f has 1,099,511,627,776 bytes; needed: at most 16. Check that it is the right file."):
            read_limited(file, 16, DataError, "f")


@pytest.mark.parametrize("opened", [io.BytesIO, Growing])
def test_the_limit_holds_while_a_file_grows(opened: type[io.BytesIO]) -> None:
    for size in (0, 3, 4, 16):
        assert read_limited(opened(b"x" * size), 16, DataError, "f") == b"x" * size
    with refused(DataError, "; needed: at most 16."):
        read_limited(opened(b"x" * 1000), 16, DataError, "f")
