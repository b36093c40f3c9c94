"""A report's `analysis.json` beside its moments: read with limits, compared, and never the source of a number."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import onnxrich
from onnxrich._utils import parsing
from onnxrich.errors import DataError

SAVED = Path(__file__).parents[1] / "compatibility" / "0.1.0"
REMEDY = "Pass the moments.npz itself"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A copy of a report, with data to evaluate on."""
    folder = tmp_path / "report"
    shutil.copytree(SAVED / "labelled", folder)
    return folder


def edit(report: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Edit the document of a report."""
    path = report / "analysis.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def loads(report: Path) -> list[Callable[[], Any]]:
    """All ways in which a report stands for its moments."""
    return [
        lambda: onnxrich.Analysis.load(report),
        lambda: onnxrich.Analysis.load(report / "analysis.json"),
        lambda: onnxrich.compare([report, SAVED / "compared" / "other"]),
        lambda: onnxrich.track([report / "analysis.json"]),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[]", b"null", b"\xff", b'{"schema": "onnxrich.analysis/2", "evaluation": null}', b"[" * 10**5,
        b'{"schema": NaN}', b'{"a": 1, "a": 1}', b'{"schema": "onnxrich.analysis/1", "evaluation": 5}',
        b'{"schema": "onnxrich.analysis/1", "evaluation": null}', b"9" * 10**5,
    ],
)  # fmt: skip
def test_damaged_documents(report: Path, content: bytes) -> None:
    """What is no document is refused, and the moments themselves are still read."""
    (report / "analysis.json").write_bytes(content)
    for load in loads(report):
        with pytest.raises(DataError, match=REMEDY) as refused:
            load()
        assert "analysis.json" in str(refused.value) and len(str(refused.value)) < 400
    assert onnxrich.Analysis.load(report / "moments.npz").metrics["d_lr"] == pytest.approx(0.3851, abs=0.002)


def test_cut_documents(report: Path) -> None:
    """A document that was cut anywhere is refused."""
    path = report / "analysis.json"
    content = path.read_bytes()
    for length in range(0, len(content) - 2, 4001):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=REMEDY):
            onnxrich.Analysis.load(report)


def test_large_documents(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document of gigabytes is not read: so many bytes at most."""
    monkeypatch.setattr(parsing, "LARGEST", 1000)
    with pytest.raises(DataError, match="is damaged or no document"):
        onnxrich.Analysis.load(report)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document["model"].update(sha256="0" * 64),
        lambda document: document["data"].update(n=4000),
        lambda document: document["uncertainty"]["intervals"]["d_lr"].update(low=0.384),
        lambda document: document["layers"][0]["metrics"].update(d_lr=0.1),
        lambda document: document["evaluation"]["data"].update(source="another.npz"),
    ],
)
def test_documents_of_another_run(report: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """What a document says word for word as its moments is compared word for word."""
    edit(report, change)
    with pytest.raises(DataError, match=r"analysis.json and the moments beside it differ in '\w+'.*" + REMEDY):
        onnxrich.Analysis.load(report)


@pytest.mark.parametrize("value", [0.01, "0.38", [], True])
def test_edited_numbers(report: Path, value: object) -> None:
    """Numbers are those of the moments, and a notice says that the document has others."""
    expected = onnxrich.Analysis.load(report)
    edit(report, lambda document: document["metrics"].update(d_lr=value, nc1=0.5))
    edit(report, lambda document: document["evaluation"]["metrics"].update(d_lr=value))
    loaded = onnxrich.Analysis.load(report)
    assert loaded.metrics == expected.metrics and loaded.evaluation is not None
    for analysis in (loaded, loaded.evaluation):
        assert [notice.code for notice in analysis.notices].count("other_numbers") == 1
    assert "says another d_lr than the moments beside it give, 0.38" in loaded.notices[-1].message
    assert "other_numbers" not in [notice.code for notice in expected.notices]


def test_what_is_added_is_no_fault(report: Path) -> None:
    """Notes of a user beside the numbers, curves and warnings, which follow from the moments, change nothing."""
    expected = onnxrich.Analysis.load(report).to_dict()
    edit(report, lambda document: document.update(notes=["mine"], curves=None, warnings=5))
    assert onnxrich.Analysis.load(report).to_dict() == expected


def test_no_regular_file(report: Path) -> None:
    """A FIFO, which would wait for ever, and a link to nowhere."""
    for make in (os.mkfifo, lambda path: Path(path).symlink_to("nowhere"), os.mkdir):
        path = report / "analysis.json"
        path.unlink()
        make(path)
        with pytest.raises(DataError, match=r"analysis\.json"):
            onnxrich.Analysis.load(report)
        if path.is_dir():
            path.rmdir()
