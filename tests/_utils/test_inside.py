"""Links that may be followed, and folders that are too deep or too full to be listed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from zoo_text import refused

from onnxrich._utils import inside
from onnxrich._utils.inside import check_folder, check_inside, check_tree, find_root, walk
from onnxrich.errors import DataError


@pytest.mark.parametrize(
    ("folder", "target", "root"),
    [
        ("/a/b", "/a/b/c/d", "/a/b"),
        ("/a/b", "/a/bc", None),
        ("/a/b", "/a/c", None),
        ("/a/repo/b", "/a/repo/.dvc/cache/files/md5/ab/cd", "/a/repo"),
        ("/a/repo/b", "/a/.dvc/cache/x", "/a"),
        ("/a/repo/b", "/a/other/.dvc/cache/x", None),
        ("/a/repo/b", "/a/repo/.dvc/config", None),
        ("/a/repo/b", "/a/repo/.git/annex/objects/x/y", "/a/repo"),
        ("/a/repo/b", "/a/repo/.git/modules/s/annex/objects/y", "/a/repo"),
        ("/a/repo/b", "/a/repo/.git/config", None),
        ("/h/models--o--n/snapshots/r/onnx", "/h/models--o--n/blobs/x", "/h/models--o--n"),
        ("/h/spaces--o--n/snapshots/r", "/h/spaces--o--n/blobs/x", "/h/spaces--o--n"),
        ("/h/models--o--n/refs", "/h/models--o--n/blobs/x", None),
        ("/h/models--o--n/snapshots/r", "/h/models--o--n/snapshots/s/x", None),
        ("/h/models--o--n/snapshots/r", "/h/models--o--m/blobs/x", None),
        ("/h/plain/snapshots/r", "/h/plain/blobs/x", None),
        ("/h/models--o--n/snapshots/r", "/h/models--o--n", None),
    ],
)
def test_where_a_link_may_lead(folder: str, target: str, root: str | None) -> None:
    """Into the folder itself, and into the contents of the repository or cache that holds it; nowhere else."""
    assert find_root(Path(folder), Path(target)) == (None if root is None else Path(root))


def test_a_store_that_is_a_link_leads_out(tmp_path: Path) -> None:
    """Whoever made the folder also chose what its cache is called."""
    snapshot = tmp_path / "models--o--n" / "snapshots" / "r"
    snapshot.mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"")
    (tmp_path / "models--o--n" / "blobs").symlink_to(tmp_path / "secret")
    (snapshot / "x").symlink_to("../../blobs/key")
    with refused(DataError, "snapshots/r/x leads to", "secret/key, out of its folder", "cp -rL"):
        check_inside(snapshot, snapshot / "x", DataError)


def test_a_file_that_was_replaced(tmp_path: Path) -> None:
    """What was opened must be what was checked."""
    for name in "ab":
        (tmp_path / name).write_bytes(b"")
    with refused(DataError, "a was replaced while it was opened; needed: a file that stays. Try again."):
        check_inside(tmp_path, tmp_path / "a", DataError, opened=(tmp_path / "b").stat())


def test_deep_folders(tmp_path: Path) -> None:
    """A tree that is deeper than any honest one is refused, also where Python could not list it by recursion."""
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(sys.getrecursionlimit() + 1):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    try:
        with refused(DataError, "lies more than 100 folders deep; needed: a tree that is less deep."):
            list(walk(tmp_path, DataError))
    finally:
        # Python 3.11 removes folders by recursion, as pytest would do in the end.
        subprocess.run(["rm", "-r", tmp_path / "d"], check=True)


def test_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files than any collection has are not listed: of one folder, and of a tree."""
    monkeypatch.setattr(inside, "MOST_FILES", 3)
    for name in "abcd":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1").write_bytes(b"")
    (tmp_path / "d" / "1").unlink()
    with refused(DataError, f"{tmp_path} holds more than 3 files; needed: fewer. Pass a folder of fewer files."):
        list(walk(tmp_path, DataError))
    (tmp_path / "d").rmdir()
    assert [name for name, _ in walk(tmp_path, DataError)] == ["a/1", "b/1", "c/1"]
    for name in "23":
        (tmp_path / "c" / name).write_bytes(b"")
    with refused(DataError, "holds more than 3 files"):
        list(walk(tmp_path, DataError))


@pytest.mark.parametrize("target", [".", "..", "circle"])
def test_links_in_a_circle(target: str, tmp_path: Path) -> None:
    """They end the listing, or are a name that leads nowhere."""
    (tmp_path / "circle").symlink_to(target)
    if target == "circle":
        assert [name for name, _ in walk(tmp_path, DataError)] == ["circle"]
        for check in (check_tree, check_folder):
            with refused(DataError, "circle is no regular file"):
                check(tmp_path, DataError)
    else:
        with refused(DataError, "circle is a link to a folder; needed: folders themselves."):
            list(walk(tmp_path, DataError))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """Names that are not UTF-8, and such with control characters, are names."""
    names = [b"\xff.png", b"a\n\x1b[31m.png"]
    for name in names:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(b"")
    assert sorted(os.fsencode(name) for name, _ in walk(tmp_path, DataError)) == sorted(names)
