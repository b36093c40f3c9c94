"""The command `python -m fuzz`, run in the folder `tests`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fuzz.harness import TESTS, clear, fuzz
from fuzz.targets import TARGETS


def main() -> int:
    """Fuzz the targets one after the other, print their counts, and return 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Check onnxrich with broken and hostile files.")
    parser.add_argument("--target", action="append", choices=TARGETS, help="a target; all when left out")
    parser.add_argument("--minutes", type=float, help="time for all targets together; 60 unless --inputs is given")
    parser.add_argument("--inputs", type=int, help="inputs of each target")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="gives the same inputs again")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--folder", type=Path, default=TESTS.parent / "build" / "fuzz", help="where findings go")
    given = parser.parse_args()
    targets = given.target or list(TARGETS)
    minutes = 60.0 if given.minutes is None and given.inputs is None else given.minutes
    share = None if minutes is None else minutes / len(targets)
    print(f"seed {given.seed}; findings go to {given.folder}", flush=True)
    found = 0
    for target in targets:
        clear(given.folder / target)
        tally = fuzz(
            target, seed=given.seed, inputs=given.inputs, minutes=share, first=given.first, folder=given.folder
        )
        found += len(tally.findings)
        print(tally, flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
