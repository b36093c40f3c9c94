"""All hostile cases. `python -m hostile.corpus FOLDER`, run in the folder `tests`, writes their files to look at."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from hostile import data, models, surroundings
from hostile.case import Case, make_base

CASES: dict[str, Case] = {case.name: case for module in (models, data, surroundings) for case in module.CASES}


def main() -> None:
    """Write the files of each case into a folder of its own, and the command line beside them."""
    for name, case in CASES.items():
        folder = Path(sys.argv[1]) / name / "case"
        folder.mkdir(parents=True)
        make_base(folder)
        case.make(folder)
        (folder.parent / "command.txt").write_text(shlex.join(["onnxrich", *case.command]) + "\n")


if __name__ == "__main__":
    main()
