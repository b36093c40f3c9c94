"""The sink: whole files or none, and nothing overwritten without being told."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from onnxrich._utils import files as writing
from onnxrich.errors import OutputError
from onnxrich.moments.matrix import load_record
from onnxrich.report import comparison, figure, files, html, track
from onnxrich.results.analysis import Analysis
from onnxrich.results.comparison import Comparison
from onnxrich.results.provenance import Provenance
from onnxrich.results.track import Track

# The hidden file lists the others.
NAMES = [".onnxrich.json", "analysis.json", "figure.png", "figure.svg", "moments.npz", "report.html"]


@pytest.fixture(autouse=True, scope="module")
def drawn_once() -> Iterator[None]:
    """The figures of the same results are the same bytes: each is drawn once, for it is what takes long."""
    kept: dict[tuple[object, ...], tuple[list[Analysis], bytes]] = {}
    real = figure.render

    def render(results: Sequence[Analysis], kind: Literal["png", "svg"]) -> bytes:
        key = (*map(id, results), kind)
        # The results are kept too, so that no others get their numbers.
        kept[key] = kept.get(key) or (list(results), real(results, kind))
        return kept[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure, "render", render)
        yield


def tree(folder: Path) -> list[str]:
    """Every file and folder below, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_save_writes_what_the_renderers_give(lazy: Analysis, tmp_path: Path) -> None:
    """All five files hold what they should, and the one that stands for the whole comes last."""
    written = files.save(lazy, tmp_path / "a" / "b")
    folder = tmp_path / "a" / "b"
    assert tree(folder) == NAMES
    assert sorted(path.name for path in written) == NAMES[1:]
    assert written[-1].name == "analysis.json"
    assert json.loads((folder / "analysis.json").read_text()) == lazy.to_dict()
    assert (folder / "report.html").read_text() == html.render([lazy])
    assert (folder / "figure.png").read_bytes() == figure.render([lazy], "png")
    assert (folder / "figure.svg").read_bytes() == figure.render([lazy], "svg")
    moments, record = load_record(folder / "moments.npz")
    assert np.array_equal(moments.matrix, lazy.moments.matrix)
    assert Provenance.from_dict(record) == lazy.record


def test_save_comparison_writes_a_folder_a_model(rich: Analysis, lazy: Analysis, tmp_path: Path) -> None:
    """The views of all models lie at the top, the numbers of each in a folder of its own."""
    files.save_comparison([rich, lazy], tmp_path)
    each = [f"{model}{name}" for model in ("lazy", "rich") for name in ("", "/analysis.json", "/moments.npz")]
    assert tree(tmp_path) == sorted([".onnxrich.json", "figure.png", "figure.svg", "report.html", *each])
    assert json.loads((tmp_path / "lazy" / "analysis.json").read_text()) == lazy.to_dict()
    assert (tmp_path / "report.html").read_text() == html.render([rich, lazy])


def test_files_get_ordinary_permissions(lazy: Analysis, tmp_path: Path) -> None:
    """Files follow the umask like any other, so that a server or a colleague can read them."""
    (tmp_path / "plain").touch()
    (report, *_) = files.save(lazy, tmp_path / "new")
    assert report.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_folder_names_are_safe_and_unique(maker: Callable[..., Analysis]) -> None:
    """No name leaves the folder, hides, repeats (whatever the case) or is one of our files."""
    paths = [
        "a/x.onnx",
        "b/X.onnx",
        "../..",
        "/",
        "c:\\m\\net.onnx",
        "a b;$(c)\x1b.onnx",
        "report.html.onnx",
        "y" * 300,
    ]
    base = maker("m.onnx")
    names = files.folder_names([_renamed(base, path) for path in paths])
    assert names == ["x", "X-2", "model", "model-2", "net", "a_b_c", "report.html-2", "y" * 60]


def _renamed(result: Analysis, path: str) -> Analysis:
    return replace(result, record=replace(result.record, model=replace(result.record.model, path=path)))


def test_hostile_names_are_written(hostile: Analysis, tmp_path: Path) -> None:
    """A path that is no UTF-8 gives a valid JSON document that says the same."""
    files.save(hostile, tmp_path / "one")
    assert json.loads((tmp_path / "one" / "analysis.json").read_text(encoding="utf-8")) == hostile.to_dict()
    files.save_comparison([hostile, hostile], tmp_path / "two")
    assert len(tree(tmp_path / "two")) == 4 + 2 * 3


def test_full_folder_is_refused_without_force(lazy: Analysis, tmp_path: Path) -> None:
    """What is there stays as it is, and the message names the way out."""
    (tmp_path / "notes.txt").write_text("mine")
    for refused in (lambda: files.save(lazy, tmp_path), lambda: files.check(tmp_path)):
        with pytest.raises(
            OutputError, match=r"is not empty; needed: a new or empty folder\. Pass --force \(force=True\)"
        ):
            refused()
    assert tree(tmp_path) == ["notes.txt"]


def test_force_replaces_our_files_alone(rich: Analysis, lazy: Analysis, tmp_path: Path) -> None:
    """With force, files of our names are replaced and all others are left alone."""
    files.save(rich, tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    files.check(tmp_path, force=True)
    files.save(lazy, tmp_path, force=True)
    assert tree(tmp_path) == sorted([*NAMES, "notes.txt"])
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert json.loads((tmp_path / "analysis.json").read_text()) == lazy.to_dict()


def test_force_removes_the_earlier_report(rich: Analysis, lazy: Analysis, tmp_path: Path) -> None:
    """Of a report that had other files nothing stays, so that `Analysis.load` of the folder reads the new one alone."""
    files.save(replace(rich, evaluation=rich), tmp_path)
    assert "evaluation.npz" in tree(tmp_path)
    files.save(lazy, tmp_path, force=True)
    assert tree(tmp_path) == NAMES
    assert Analysis.load(tmp_path).evaluation is None
    comparison.save(Comparison.of([rich, lazy]), tmp_path, force=True)
    assert "moments.npz" not in tree(tmp_path) and "rich/moments.npz" in tree(tmp_path)
    track.save(Track.of([1, 2], [rich, lazy]), tmp_path, force=True)
    views = ["figure.png", "figure.svg", "report.html"]
    assert tree(tmp_path) == sorted([".onnxrich.json", *views, "track.csv", "track.json"])
    files.save_comparison([rich, lazy], tmp_path, force=True)
    files.save(lazy, tmp_path, force=True)
    assert tree(tmp_path) == NAMES


def test_force_removes_nothing_of_the_user(rich: Analysis, lazy: Analysis, tmp_path: Path) -> None:
    """What an earlier report did not write stays: files of its names that are others, copies, and their folders."""
    files.save(replace(rich, evaluation=rich), tmp_path / "out")
    files.save_comparison([rich, lazy], tmp_path / "several")
    for folder in (tmp_path / "out", tmp_path / "several"):
        (folder / "kept").mkdir()
        (folder / "kept" / "moments.npz").write_bytes(b"a copy")
        (folder / "notes.txt").write_text("mine")
    (tmp_path / "out" / "evaluation.npz").write_bytes(b"data of the user")
    (tmp_path / "several" / "rich" / "notes.txt").write_text("mine")
    (tmp_path / "several" / "lazy").rename(tmp_path / "moved")
    (tmp_path / "several" / "lazy").symlink_to(tmp_path / "moved")
    for folder in (tmp_path / "out", tmp_path / "several"):
        files.save(lazy, folder, force=True)
    mine = ["kept", "kept/moments.npz", "notes.txt"]
    assert tree(tmp_path / "out") == sorted([*NAMES, *mine, "evaluation.npz"])
    assert tree(tmp_path / "several") == sorted([*NAMES, *mine, "lazy", "rich", "rich/notes.txt"])
    assert tree(tmp_path / "moved") == ["analysis.json", "moments.npz"]


@pytest.mark.parametrize(
    "name", ["../mine.npz", "/mine.npz", "a/../../mine.npz", "a/b/mine.npz", ".npz", "mine.txt", "notes"]
)
def test_listings_reach_nothing_else(lazy: Analysis, tmp_path: Path, name: str) -> None:
    """A listing that somebody else wrote names no file outside the folder, and none that a report can't have."""
    place = (tmp_path / "out" / name.lstrip("/")).resolve()
    for folder in (tmp_path / "out" / "a" / "b", place.parent):
        folder.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"mine")
    given = str(place) if name.startswith("/") else name
    listing = {"schema": files.LISTING_SCHEMA, "files": {given: hashlib.sha256(b"mine").hexdigest()}}
    (tmp_path / "out" / files.LISTING).write_text(json.dumps(listing))
    files.save(lazy, tmp_path / "out", force=True)
    assert place.read_bytes() == b"mine"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 1}', '{"files": ["a"]}', "[" * 10**5])
def test_damaged_listings_are_none(lazy: Analysis, tmp_path: Path, content: str) -> None:
    """A listing that can't be read removes nothing, and is replaced."""
    (tmp_path / files.LISTING).write_text(content)
    files.save(lazy, tmp_path, force=True)
    assert tree(tmp_path) == NAMES


def test_force_does_not_write_through_a_link(lazy: Analysis, tmp_path: Path) -> None:
    """A link of one of our names is replaced; the file that it points to is not touched."""
    (tmp_path / "elsewhere").write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "report.html").symlink_to(tmp_path / "elsewhere")
    files.save(lazy, folder, force=True)
    assert (tmp_path / "elsewhere").read_text() == "mine"
    assert not (folder / "report.html").is_symlink()


def test_file_in_place_of_the_folder_is_refused(lazy: Analysis, tmp_path: Path) -> None:
    """A file, a dangling link or a file among the parents is named in the message."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, found in (
        ("file", "file is no folder"),
        ("link", "link is no folder"),
        ("file/x/y", "file can't be written to"),
    ):
        for force in (False, True):
            with pytest.raises(OutputError, match=found):
                files.save(lazy, tmp_path / name, force=force)
    assert tree(tmp_path) == ["file", "link"]


def test_folder_of_our_names_is_refused(lazy: Analysis, tmp_path: Path) -> None:
    """A folder where a file belongs stops everything before any file is replaced."""
    (tmp_path / "figure.svg").mkdir()
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(OutputError, match=r"figure\.svg is a folder"):
        files.save(lazy, tmp_path, force=True)
    assert tree(tmp_path) == ["figure.svg", "report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_folder_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` says so before the long computation, for the folder and for a parent in which it is to be made."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    for path in (tmp_path, tmp_path / "new"):
        with pytest.raises(OutputError, match="can't be written to; needed: a folder with write permission"):
            files.check(path)


def test_check_makes_nothing(tmp_path: Path) -> None:
    """Asking leaves no folder behind."""
    files.check(tmp_path / "a" / "b")
    files.check(tmp_path)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("call", [0, 2, 5, 6])
def test_full_disk_leaves_nothing(lazy: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    """With no space left, at any file or at the folder itself, no file, temporary file or new folder stays."""
    _fail_at(monkeypatch, call, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(
        OutputError, match=r"no space left on the device; needed: room for the results\. Free some space"
    ):
        files.save(lazy, tmp_path / "a" / "b")
    assert tree(tmp_path) == []


def test_full_disk_keeps_old_results(
    rich: Analysis, lazy: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With force and no space left, the results that were there are still there, whole."""
    files.save(replace(rich, evaluation=rich), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    _fail_at(monkeypatch, 5, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    with pytest.raises(OutputError):
        files.save(lazy, tmp_path, force=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_failed_renaming_removes_nothing(
    rich: Analysis, lazy: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only the earlier report had goes last: it is there as long as the new files are not."""
    files.save(replace(rich, evaluation=rich), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def replace_(*_: Any) -> Path:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "replace", replace_)
    with pytest.raises(OutputError):
        files.save(lazy, tmp_path, force=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_stale_names_of_new_files_stay(tmp_path: Path) -> None:
    """A file that goes by its old name too, as where upper and lower case are the same, is no stale one."""
    (tmp_path / "Other").symlink_to(tmp_path / "other")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "moments.npz").write_bytes(b"old")
    new, stale = tmp_path / "other" / "moments.npz", [tmp_path / name / "moments.npz" for name in ("Other", "gone")]
    writing.write_files({new: b"new"}, tmp_path, stale)
    assert new.read_bytes() == b"new"
    assert tree(tmp_path) == ["Other", "other", "other/moments.npz"]


def test_listing_alone_is_an_empty_folder(lazy: Analysis, tmp_path: Path) -> None:
    """A report whose files were all removed leaves a hidden file, which nobody has to force away."""
    for path in files.save(lazy, tmp_path):
        path.unlink()
    assert tree(tmp_path) == [files.LISTING]
    files.save(lazy, tmp_path)
    assert tree(tmp_path) == NAMES


def test_interrupt_leaves_nothing(lazy: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle cleans up and goes on its way."""
    _fail_at(monkeypatch, 3, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        files.save_comparison([lazy, lazy], tmp_path / "out")
    assert tree(tmp_path) == []


def test_failed_rendering_touches_no_disk(lazy: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is rendered before the first folder is made."""

    def broken(*_: Any) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(figure, "render", broken)
    with pytest.raises(ZeroDivisionError):
        files.save(lazy, tmp_path / "out")
    assert tree(tmp_path) == []


def _fail_at(monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException) -> None:
    """Let the fsync of that number (from 0) fail: one for each file, then one for each folder."""
    real, calls = os.fsync, iter(range(100))

    def fsync(descriptor: int) -> None:
        if next(calls) == call:
            raise error
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
