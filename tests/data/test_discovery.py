"""What lies beside a model is used when no data are given: `onnxrich.toml`, or a file of the model's name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from zoo_text import read_all, refused, two_layers, within

from onnxrich.data.open import open_source
from onnxrich.data.source import Source
from onnxrich.errors import DataError
from onnxrich.model.file import read_model

X = np.arange(60, dtype=np.float32).reshape(10, 6)
LABELS = np.arange(10) % 3
FORM = 'needed: `data = "FILE"`, and `labels = "KEY"` or `labels = "FILE"`. Fix it, or pass --data.'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model `net.onnx`."""
    (tmp_path / "models").mkdir()
    onnx.save_model(two_layers(), tmp_path / "models/net.onnx")
    return tmp_path / "models"


def beside(folder: Path, toml: str | bytes | None = None, labels: object = None) -> Source:
    """The source that the model of a folder gets when no data are given."""
    if toml is not None:
        (folder / "onnxrich.toml").write_bytes(toml if isinstance(toml, bytes) else toml.encode())
    return open_source(read_model(folder / "net.onnx"), None, labels)


def pair(folder: Path, *tomls: str) -> list[Source]:
    """The source that two models of one folder each get together, in both orders."""
    read = []
    for name, toml in zip("ab", tomls, strict=True):
        (folder / name).mkdir(exist_ok=True)
        onnx.save_model(two_layers(), folder / name / "net.onnx")
        (folder / name / "onnxrich.toml").write_text(toml)
        read.append(read_model(folder / name / "net.onnx"))
    return [open_source(one, None, others=[other]) for one, other in (read, read[::-1])]


def test_data_beside_one_of_two(tmp_path: Path) -> None:
    """They are those of both, whichever comes first."""
    (tmp_path / "a").mkdir()
    np.savez(tmp_path / "a/d.npz", x=X, digit=LABELS)
    for source in pair(tmp_path, 'data = "d.npz"\nlabels = "digit"', "[preprocessing]"):
        np.testing.assert_array_equal(read_all(source, 4)[1], LABELS)


def test_the_same_data_beside_two(tmp_path: Path) -> None:
    """Files of the same bytes are the same data and labels; others are refused, and so are those of another kind."""
    same = 'data = "d.npy"\nlabels = "labels.npy"'
    for name in "ab":
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "d.npy", X)
        np.save(tmp_path / name / "labels.npy", LABELS)
    for source in pair(tmp_path, same, same):
        np.testing.assert_array_equal(read_all(source, 4)[1], LABELS)
    for other in ('data = "d.npy"', 'data = "idx:d.npy"\nlabels = "labels.npy"', same.replace("labels.npy", "d.npy")):
        with refused(DataError, "d.npy beside ", "; needed: the same data for all models. Pass them by --data."):
            pair(tmp_path, same, other)
    for name, changed in (("labels.npy", LABELS + 1), ("d.npy", X + 1)):
        np.save(tmp_path / "b" / name, changed)
        for folder in "ab":  # nor do size and time tell files apart
            os.utime(tmp_path / folder / name, (0, 0))
        with refused(DataError, "d.npy beside ", "; needed: the same data for all models."):
            pair(tmp_path, same, same)
        np.save(tmp_path / "b" / name, changed - 1)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_file_of_the_models_name(suffix: str, folder: Path) -> None:
    """`net.npz` or `net.npy` beside `net.onnx` is its data."""
    path = folder / f"net.{suffix}"
    np.savez(path, x=X, labels=LABELS) if suffix == "npz" else np.save(path, X)
    source = beside(folder)
    rows, labels = read_all(source, 4)
    np.testing.assert_array_equal(rows["x"], X)
    assert source.name == f"net.{suffix}"
    assert not source.synthetic
    np.testing.assert_array_equal(labels, LABELS if suffix == "npz" else None)


def test_npz_comes_before_npy(folder: Path) -> None:
    """Of both files, the one that can hold labels is taken."""
    np.savez(folder / "net.npz", x=X)
    np.save(folder / "net.npy", X + 1)
    np.testing.assert_array_equal(read_all(beside(folder), 4)[0]["x"], X)


def test_found_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are sought beside the model, not where the command was given."""
    np.savez(folder / "evaluation.npz", x=X, kind=LABELS)
    np.save(folder / "marks.npy", LABELS + 1)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    source = beside(Path(".."), 'data = "evaluation.npz"\nlabels = "kind"')
    np.testing.assert_array_equal(read_all(source, 4)[1], LABELS)
    source = beside(Path(".."), 'data = "./evaluation.npz"\nlabels = "marks.npy"')
    np.testing.assert_array_equal(read_all(source, 4)[1], LABELS + 1)


def test_settings_come_before_the_name(folder: Path) -> None:
    """`onnxrich.toml` goes before a file of the model's name."""
    np.savez(folder / "net.npz", x=X + 1)
    np.savez(folder / "other.npz", x=X)
    np.testing.assert_array_equal(read_all(beside(folder, 'data = "other.npz"'), 4)[0]["x"], X)


def test_asked_for_labels_come_first(folder: Path) -> None:
    """Labels that are asked for go before those of `onnxrich.toml`, and before the usual keys."""
    np.savez(folder / "net.npz", x=X, a=LABELS, b=LABELS + 1, labels=LABELS + 2)
    np.testing.assert_array_equal(read_all(beside(folder, labels="b"), 4)[1], LABELS + 1)
    source = beside(folder, 'data = "net.npz"\nlabels = "a"', labels="b")
    np.testing.assert_array_equal(read_all(source, 4)[1], LABELS + 1)


def test_nothing_beside(folder: Path) -> None:
    """With nothing there, and for a model in memory, rows are made up and say so."""
    assert beside(folder).synthetic
    assert open_source(read_model(two_layers()), None, None).synthetic


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("", "data = None, labels = None"),
        ("data = 3", "data = 3, labels = None"),
        ('data = ["net.npz"]', "data = ['net.npz'], labels = None"),
        ('data = "net.npz"\nlabels = 3', "data = 'net.npz', labels = 3"),
        ('data = "a\\u0000b"', "'a\\x00b' is no path"),
        ('labels = "y"', "data = None, labels = 'y'"),
        ('labels = "y"\n[preprocessing]\nscale = 2', "data = None, labels = 'y'"),
    ],
    ids=["empty", "number", "list", "labels", "null", "no data", "no data but preprocessing"],
)
def test_settings_that_name_nothing(toml: str, message: str, folder: Path) -> None:
    """Settings without data are refused with what they hold and the form that they must have."""
    with refused(DataError, f"onnxrich.toml beside the model: {message}", FORM):
        beside(folder, toml)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("data = ", ": Invalid value (at end of document); needed: TOML. Fix or remove it."),
        (b'data = "\xff"', ": no UTF-8; needed: TOML. Fix or remove it."),
        ("data = " + "[" * 5000, "; needed: TOML. Fix or remove it."),
        (
            "[preprocesing]\nscale = 2",
            " has unknown keys: [preprocesing]; needed: data, labels and the table [preprocessing] alone.",
        ),
        ('data = "net.npz"\nlabel = "y"\n[foo]', " has unknown keys: label, [foo]; needed: data, labels and the table"),
    ],
    ids=["cut off", "bytes", "deep", "misspelled", "unknown"],
)
def test_settings_that_are_none(toml: str | bytes, message: str, folder: Path) -> None:
    """What can't be read, or is not known, is refused, and so it is where data are given."""
    (folder / "onnxrich.toml").write_bytes(toml if isinstance(toml, bytes) else toml.encode())
    for data in (None, X):
        with refused(DataError, "onnxrich.toml beside the model", message):
            open_source(read_model(folder / "net.onnx"), data)


@pytest.mark.parametrize("key", ["data", "labels"])
@pytest.mark.parametrize(
    "name",
    [
        "../secret.npz",
        "{outside}/secret.npz",
        "link.npz",
        "sub/../../secret.npz",
        "file:///secret.npz",
        "http://localhost/secret.npz",
        "hf://secret.npz",
    ],
)
def test_settings_that_point_outside(key: str, name: str, folder: Path) -> None:
    """Neither data nor labels are read from outside the model's folder on the word of a file beside the model."""
    np.savez(folder.parent / "secret.npz", x=X, labels=LABELS)
    np.savez(folder / "in.npz", x=X)
    (folder / "link.npz").symlink_to("../secret.npz")
    name = name.format(outside=folder.parent)
    toml = f'data = "{name}"' if key == "data" else f'data = "in.npz"\nlabels = "{name}"'
    with refused(
        DataError, f"onnxrich.toml names {name!r}; needed: a file inside the model's folder. Pass it by --data."
    ):
        beside(folder, toml)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.npz", "none.npz: No such file or directory; needed: a readable .npz file. Check the path."),
        ("", "models holds no images; needed: files that end in .jpg, "),
        ("onnxrich.toml", "onnxrich.toml is of an unknown kind; needed: one of .npz, .npy, "),
    ],
)
def test_settings_that_name_no_data(name: str, message: str, folder: Path) -> None:
    """A file that settings name is opened with the same care as any other."""
    with refused(DataError, message):
        beside(folder, f'data = "{name}"')


@pytest.mark.parametrize("name", ["onnxrich.toml", "preprocessor_config.json"])
def test_side_files_of_a_terabyte(name: str, folder: Path) -> None:
    """Files beside the model are refused unread where no honest one is so large."""
    with (folder / name).open("wb") as file:
        file.truncate(2**40)
    with refused(DataError, f"{name} has 1,099,511,627,776 bytes; needed: at most "):
        open_source(read_model(folder / "net.onnx"), X)


def test_settings_of_deep_keys(folder: Path) -> None:
    """A value that Python could not print is refused in words."""
    with refused(DataError, "onnxrich.toml beside the model: data = {'a': {'a': "):
        beside(folder, "data." + "a." * 5000 + "a = 1")


def test_links_in_a_circle(folder: Path) -> None:
    """Links that lead nowhere are an error."""
    (folder / "a.npz").symlink_to("a.npz")
    with refused(DataError, "a.npz"):
        beside(folder, 'data = "a.npz"')


def test_fifos_are_no_data(folder: Path) -> None:
    """FIFOs beside the model are passed over without waiting for them."""
    for name in ("onnxrich.toml", "net.npz", "net.npy"):
        os.mkfifo(folder / name)
    with within(5):
        assert beside(folder).synthetic
