"""Nothing that users of onnxrich 0.1.0 call, type or read is lost, or has another default; more may be there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compatibility import surface

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("surface.json").read_text())

# Seconds for a first checkpoint, which is due a second after the first rows.
PATIENCE = 60.0

# Started in the background, a process ignores interrupts, and so would all that it starts.
INTERRUPTIBLE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from onnxrich.cli import main
main(sys.argv[1:])
"""


def lost(recorded: Iterable[str], found: Iterable[str]) -> list[str]:
    """What was recorded and is not found."""
    return sorted(set(recorded) - set(found))


def check_parameters(found: list[list[str]] | None, recorded: list[list[str]] | None, where: str) -> None:
    """The same parameters, by name, kind and default; what can be passed by name alone may be new, with a default."""
    assert (found is None) == (recorded is None), f"{where}: was {recorded}, is {found}"
    if found is None or recorded is None:
        return
    now, then = ({name: rest for name, *rest in each} for each in (found, recorded))
    in_order = [[name for name, (kind, _) in each.items() if kind != "KEYWORD_ONLY"] for each in (now, then)]
    assert in_order[0] == in_order[1], where
    assert {name: now.get(name) for name in then} == then, where
    assert None not in [now[name][1] for name in now.keys() - then.keys()], f"{where}: new without a default"


def check_entries(
    found: Mapping[str, Any], recorded: Mapping[str, Any], check: Callable[[Any, Any, str], None], where: str = ""
) -> None:
    """All entries are there, and pass a check each."""
    assert not lost(recorded, found), where
    for name, then in recorded.items():
        check(found[name], then, f"{where}.{name}".lstrip("."))


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    """What stands where in the JSON of each command."""
    return surface.documents()


def test_the_record_is_whole() -> None:
    """The file has each part, with about as much in it as 0.1.0 had: an empty record would let everything pass."""
    assert RECORDED["version"] == "0.1.0"
    sizes = {name: len(part) for name, part in RECORDED.items() if name != "version"}
    least = {"names": 30, "attributes": 25, "adapters": 6, "commands": 12, "metrics": 35, "documents": 7, "endings": 40}
    assert sizes.keys() == least.keys()
    assert not [name for name, size in least.items() if sizes[name] < size], sizes


def test_names() -> None:
    """Public names are there, are called as before, and errors can be caught as before."""

    def check(now: dict[str, Any], then: dict[str, Any], where: str) -> None:
        assert now["is"] == then["is"], where
        assert not lost(then.get("bases", ()), now.get("bases", ())), where
        check_parameters(now.get("parameters"), then.get("parameters"), where)

    check_entries(surface.names(), RECORDED["names"], check)


def test_attributes() -> None:
    """Results have the attributes and methods that they had, and the objects that they are made of."""

    def check(now: dict[str, Any], then: dict[str, Any], where: str) -> None:
        check_entries(now, then, check_parameters, where)

    check_entries(surface.attributes(), RECORDED["attributes"], check)


def test_adapters() -> None:
    """Each framework has its adapter, a module of the same name with the same verbs."""

    def check(now: dict[str, Any], then: dict[str, Any], where: str) -> None:
        assert now["module"] == then["module"], where
        check_entries(now["verbs"], then["verbs"], check_parameters, where)

    check_entries(surface.adapters(), RECORDED["adapters"], check)


@pytest.mark.parametrize("name", RECORDED["commands"])
def test_commands(name: str) -> None:
    """A command has its arguments, and its options with their names, kinds and defaults."""
    then, found = RECORDED["commands"][name], surface.commands()
    assert name in found
    now = found[name]
    assert now["arguments"] == then["arguments"] and now["hidden"] == then["hidden"]

    def check(now: dict[str, Any], then: dict[str, Any], where: str) -> None:
        assert not lost(then["names"], now["names"]), where
        assert not lost(then["choices"] or (), now["choices"] or ()), where
        assert (now["choices"] is None) == (then["choices"] is None), where
        for fact in then.keys() - {"names", "choices"}:
            assert now[fact] == then[fact], f"{where}: {fact} was {then[fact]!r}, is {now[fact]!r}"

    check_entries(now["options"], then["options"], check, name)
    new = {option: now["options"][option] for option in now["options"].keys() - then["options"].keys()}
    assert not [option for option, fact in new.items() if fact["required"]], "new options can't be required"


def test_metrics() -> None:
    """Each metric is listed in its family, and is computed by itself where it was."""
    found = {each["name"]: each for each in surface.metrics()}
    assert not lost((each["name"] for each in RECORDED["metrics"]), found)
    assert [found[each["name"]] for each in RECORDED["metrics"]] == RECORDED["metrics"]


@pytest.mark.parametrize("name", RECORDED["documents"])
def test_documents(name: str, documents: dict[str, Any]) -> None:
    """All places of a JSON document are there, with the kinds of values that stood in them."""
    assert name in documents
    now, then = documents[name], RECORDED["documents"][name]
    assert not lost(then, now)
    assert {place: now[place] for place in then} == then


@pytest.mark.parametrize("name", RECORDED["endings"])
def test_endings(name: str) -> None:
    """A command line ends with its code: 0 done, 1 it could not be done, 2 wrong usage."""
    done = surface.onnxrich_command(surface.ENDINGS[name])
    assert done.returncode == RECORDED["endings"][name], done.stderr
    # A failure is told in words, and never by a traceback.
    assert (done.returncode == 0) or done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C ends a command with 130, and what is said names the checkpoint that goes on from there."""
    # Tens of seconds in batches of one row; the first checkpoint is there after a second.
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).integers(0, 4, (500_000, 6)).astype(np.uint8))
    options = ["--data", "data.npz", "--batch-size", "1", "--device", "cpu", "--checkpoint", "kept"]
    command = [sys.executable, "-c", INTERRUPTIBLE, "run", surface.MLP, *options]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        until = time.monotonic() + PATIENCE
        while not (tmp_path / "kept").exists() and running.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        printed, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, said
    assert "interrupted" in said and "'kept'" in said and not printed
