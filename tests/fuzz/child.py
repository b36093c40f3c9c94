"""The process that checks inputs, `python -m fuzz.child`: started by `harness`, which ends it at a limit.

It writes one JSON line before each input and one behind it, so that the parent knows which input is under way.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memory import peak_memory

from fuzz.targets import Target, load_target
from onnxrich.errors import OnnxrichError

# Warnings that Python shows to nobody by default.
HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
# Characters of a message of onnxrich, at most, and those of the name of the file in it.
LONGEST_MESSAGE = 600


def main() -> None:
    """Check the inputs that the request names: numbers of a seed, or files."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what native code prints is no answer
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (request["address_space"], request["address_space"]))
    target = load_target(request["target"])
    for label, content in _inputs(target, request):
        path = Path(request["folder"]) / f"input{target.SUFFIX}"
        path.write_bytes(content)
        print(json.dumps({"input": label}), file=answer, flush=True)
        verdict = judge(target, path)
        peak = max(peak_memory(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10)
        if peak > request["memory"]:
            verdict = _finding("memory", "", f"{peak:,} bytes", "")
        if verdict["outcome"] == "finding":
            verdict["content"] = content.hex()
        print(json.dumps(verdict), file=answer, flush=True)
        if peak > request["memory"]:
            break  # it never falls again
    os._exit(0)


def _inputs(target: Target, request: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    for name in request["files"]:
        yield name, Path(name).read_bytes()
    seeds = target.seeds() if request["numbers"] else []
    for number in request["numbers"]:
        rng = random.Random(f"{request['target']} {request['seed']} {number}")
        yield str(number), target.mutate(rng, rng.choice(seeds))


def judge(target: Target, path: Path) -> dict[str, str]:
    """Check one input: whether it was accepted or refused, or what is wrong."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in HIDDEN:
            warnings.simplefilter("ignore", kind)
        verdict = _checked(target, path)
    if caught and verdict["outcome"] != "finding":
        first = caught[0]
        where = f"{_in_package(first.filename)}:{first.lineno}"
        return _finding(first.category.__name__, where, f"warning: {first.message}", where)
    return verdict


def _checked(target: Target, path: Path) -> dict[str, str]:
    try:
        target.check(path)
    except OnnxrichError as error:
        return _refused(error)
    except (Exception, RecursionError) as error:  # noqa: BLE001 - whatever it is, it is what we look for
        text = "".join(traceback.format_exception(error))[-6000:]
        return _finding(type(error).__name__, _frame(error), str(error), text)
    return {"outcome": "accepted"}


def _refused(error: OnnxrichError) -> dict[str, str]:
    text = str(error)
    trace = "".join(traceback.format_exception(error))[-6000:]
    if "did not expect" in text:
        notes = "\n".join(getattr(error, "__notes__", ()))
        lines = [line for line in notes.splitlines() if "/onnxrich/" in line]
        where = lines[-1].strip() if lines else _frame(error)
        return _finding("did not expect", where, text, notes)
    if len(text) > LONGEST_MESSAGE:
        return _finding("long message", _frame(error), f"{len(text)} characters: {text[:200]}", trace)
    if not text.isprintable():
        return _finding("unprintable message", _frame(error), repr(text), trace)
    return {"outcome": "refused", "kind": type(error).__name__, "message": text}


def _finding(kind: str, where: str, message: str, trace: str) -> dict[str, str]:
    return {"outcome": "finding", "kind": kind, "where": where, "message": message[:400], "trace": trace}


def _frame(error: BaseException) -> str:
    """The innermost function of onnxrich in a traceback, or the last function of all."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/onnxrich" in frame.filename]
    last = (own or frames)[-1]
    return f"{_in_package(last.filename)}:{last.name}"


def _in_package(filename: str) -> str:
    _, found, rest = filename.rpartition("/onnxrich/")
    return f"onnxrich/{rest}" if found else "/".join(Path(filename).parts[-3:])


if __name__ == "__main__":
    main()
