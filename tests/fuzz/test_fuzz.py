"""Mutated files of every target: none ends in anything but a result or a refusal in words. And the harness itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import harness
from fuzz.harness import fuzz, replay
from fuzz.targets import TARGETS, load_target

FINDINGS = Path(__file__).parent / "findings"
# Bytes of a file that is kept, at most.
LARGEST_KEPT = 50_000


def _files(target: str) -> list[Path]:
    return sorted(path for path in (FINDINGS / target).glob("*") if path.is_file())


@pytest.mark.parametrize("target", TARGETS)
def test_some_inputs(target: str) -> None:
    """Every target works, and its first inputs give no finding."""
    tally = fuzz(target, seed=0, inputs=12)
    assert tally.inputs == 12 and not tally.findings, str(tally)


@pytest.mark.extensive
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("target", TARGETS)
def test_many_inputs(target: str, seed: int) -> None:
    """So many inputs that each mutation meets many seeds; fewer where each input needs a process."""
    tally = fuzz(target, seed=seed, inputs=2 * getattr(load_target(target), "BATCH", harness.BATCH))
    assert tally.inputs and not tally.findings, str(tally)


@pytest.mark.parametrize("target", TARGETS)
def test_earlier_findings(target: str) -> None:
    """What was found once is accepted or refused now."""
    files = _files(target)
    tally = replay(target, files)
    assert tally.inputs == len(files) and not tally.findings, str(tally)


def test_kept_files() -> None:
    """Kept files are small, and belong to a target."""
    kept = [path for path in FINDINGS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in kept} <= set(TARGETS)
    assert all(path.stat().st_size <= LARGEST_KEPT for path in kept)


# The harness


def test_outcomes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of fault is a finding of its own, also what ends a child; the inputs behind it are checked too."""
    monkeypatch.setattr(harness, "CPU_LIMIT", 4.0)
    monkeypatch.setattr(harness, "MEMORY_LIMIT", 400 << 20)
    order = [
        "accept",
        "crash",
        "raise",
        "refuse",
        "hang",
        "unexpected",
        "warn",
        "fill",
        "hide_warning",
        "accept",
    ]
    files = [tmp_path / f"{number}.txt" for number in range(len(order))]
    for file, fault in zip(files, order, strict=True):
        file.write_text(fault)
    tally = replay("fuzz._faults", files)
    assert tally.outcomes == {"accepted": 3, "refused": 1, "finding": 6}
    assert tally.refusals == {"ModelError": 1}
    found = {Path(finding.label).stem: finding.kind for finding in tally.findings.values()}
    expected = {"1": "crash", "2": "KeyError", "4": "hang", "5": "did not expect", "6": "RuntimeWarning", "7": "memory"}
    assert found == expected
    crash = next(finding for finding in tally.findings.values() if finding.kind == "crash")
    assert "SIGABRT" in crash.message and "_crash" in crash.trace


def test_inputs_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed and number give the same input again, whatever was checked before; its file lies in the folder."""
    monkeypatch.setattr(harness, "CPU_LIMIT", 4.0)
    many = fuzz("fuzz._faults", seed=5, inputs=40)
    finding = next(finding for finding in many.findings.values() if finding.kind == "KeyError")
    again = fuzz("fuzz._faults", seed=5, first=int(finding.label), inputs=1, folder=tmp_path)
    assert [each.content for each in again.findings.values()] == [finding.content]
    written = tmp_path / "fuzz._faults" / f"KeyError-5-{finding.label}.input.txt"
    assert written.read_bytes() == finding.content
    assert "_raise" in written.with_name(f"KeyError-5-{finding.label}.trace").read_text()
