"""CSV: lines, quotes, numbers and encodings that are none, against Python's own reader."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import numpy as np

from fuzz.mutations import NAMES, mutate_bytes
from fuzz.rows import COLUMNS, X, Y, check_rows

SUFFIX = ".csv"
CELLS = (
    "", " ", "NA", "nan", "inf", "-Infinity", "1e999", "1e-999", "0x10", "+1", "1_000",
    "٣", "1,5", '"1,5"', '"1"', '"', '"1"2',
    "99999999999999999999", "9223372036854775808", "-0", "1.", ".5", "1d0", "true", "null", "\0", "1;2",
    "1\t", "\r", "#1", "1e", "--1", "1 2", "1" * 400, *NAMES,
)  # fmt: skip


def seeds() -> list[bytes]:
    """A line of names, rows and labels as numbers and as words."""
    lines = [",".join((*COLUMNS, "y"))]
    numbers = [f"{','.join(map(str, row))},{label}" for row, label in zip(X.tolist(), Y, strict=True)]
    words = [f'{",".join(map(str, row))},"class {label}"' for row, label in zip(X.tolist(), Y, strict=True)]
    texts = ("\n".join(lines + rows) + "\n" for rows in (numbers, words))
    return [text.encode() for text in texts]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Change cells, lines, separators or the encoding."""
    if rng.random() < 0.2:
        return mutate_bytes(rng, content)
    lines = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        line = rng.choice(lines)
        match rng.randrange(8):
            case 0:
                line.append(rng.choice(CELLS))
            case 1:
                line.clear()
            case 2:
                lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            case 3:
                lines.insert(rng.randrange(len(lines)), ["# a comment"])
            case _:
                if line:
                    line[rng.randrange(len(line))] = rng.choice(CELLS)
    text = rng.choice(("\n", "\n", "\n", "\r\n", "\r")).join(",".join(line) for line in lines)
    text = rng.choice(("", "", "", "\ufeff")) + text + rng.choice(("\n", "\n", "", '"', "\n\n", "\x1a"))
    return text.encode(rng.choice(("utf-8",) * 6 + ("utf-16", "latin-1")), "replace")


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert not any("_" in value for row in rows for value in row.values()), "Python takes 1_000 for a number"
    x = np.array([[float(row[name]) for name in rows[0] if name != "y"] for row in rows])
    return x, np.array([float(row["y"]) for row in rows])


def check(path: Path) -> None:
    """Rows and labels are those of the module csv, where these are numbers."""
    check_rows(path, _read)
