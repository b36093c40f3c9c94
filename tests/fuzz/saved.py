"""Variants of the files that onnxrich itself writes: archives of arrays, and JSON documents."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fuzz.mutations import EDGES, FLOATS, NAMES, mutate_bytes

Path = tuple[str | int, ...]

# Values that no place, or only some, can hold.
VALUES: tuple[Any, ...] = (
    None, True, False, *EDGES, *FLOATS, 10**30, 1e308, *NAMES, [], {}, [[]], [None], {"a": 1}, [1, 2], "9" * 200,
)  # fmt: skip
# Text that is no document, or one that is hard to read.
TEXTS = (
    "", " ", "{}", "[]", "null", "\ufeff{}", "[" * 100_000, '{"a":' * 5_000, "1" * 100_000, '{"a": 1, "a": 2}', "{",
    '{"n": 1e400}', '{"n": NaN}', '{"n": -Infinity}', '{"n": "\\ud800"}',
)  # fmt: skip
TYPES = ("f2", "f4", "f8", ">f8", "c16", "i1", "i8", "u1", "?", "U1", "U40", "S3", "M8[s]", "f8,i4")
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def mutate_value(rng: random.Random, value: Any) -> Any:
    """A JSON value in which some entries are replaced, left out, repeated or exchanged."""
    changed = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        paths = [path for path in _paths(changed) if path]
        if not paths:
            return rng.choice(VALUES)
        *parents, last = rng.choice(paths)
        holder = changed
        for step in parents:
            holder = holder[step]
        match rng.randrange(6):
            case 0:
                del holder[last]
            case 1 if isinstance(holder, list):
                holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(holder[last]))
            case 2:
                other = rng.choice(paths)
                holder[last] = copy.deepcopy(_entry(value, other, rng.choice(VALUES)))
            case 3 if isinstance(holder[last], int | float) and not isinstance(holder[last], bool):
                holder[last] = rng.choice((holder[last] + 1, -holder[last], holder[last] * 1.01, holder[last] - 1))
            case _:
                holder[last] = rng.choice(VALUES)
    return changed


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from _paths(entry, (*path, key))


def _entry(value: Any, path: Path, default: Any) -> Any:
    try:
        for step in path:
            value = value[step]
    except (KeyError, IndexError, TypeError):
        return default
    return value


def to_json(rng: random.Random, value: Any) -> str:
    """JSON text, or what is nearly some."""
    text = json.dumps(value)
    return rng.choice(TEXTS) if rng.random() < 0.05 else text


def mutate_archive(
    rng: random.Random, content: bytes, change: Callable[[random.Random, dict[str, Any]], dict[str, Any]]
) -> bytes:
    """An archive of arrays with other bytes, arrays or members.

    Args:
        rng: where chance comes from.
        content: the archive.
        change: gives the arrays with another text in one of them.
    """
    way = rng.random()
    if way < 0.3:
        return mutate_bytes(rng, content)
    with np.load(io.BytesIO(content)) as archive:
        arrays: dict[str, Any] = dict(archive)
    if way < 0.6:
        arrays = change(rng, arrays)
    elif way < 0.9:
        name = rng.choice(list(arrays))
        arrays[name] = _mutate_array(rng, arrays[name])
    else:
        _rename(rng, arrays)
    return _write(rng, {name: array for name, array in arrays.items() if array is not None})


def _mutate_array(rng: random.Random, array: Any) -> Any:
    array = np.array(array)
    match rng.randrange(7):
        case 0:
            return None
        case 1:
            return np.zeros(array.shape, rng.choice(TYPES))
        case 2:
            return rng.choice((array.T, array[None], array[..., None], array.ravel()[:-1], np.asfortranarray(array)))
        case 3 if array.dtype.kind == "f":
            return array * rng.choice((-1.0, 0.0, 1.01, 1e-200, 2.0))
        case 4:
            return np.array(rng.choice((True, *EDGES, *FLOATS, *NAMES)))
        case _ if array.size and array.dtype.kind in "iuf":
            # What does not fit into the type leaves the array as it is.
            with contextlib.suppress(ValueError, OverflowError), np.errstate(all="ignore"):
                array.flat[rng.randrange(array.size)] = rng.choice(
                    (*FLOATS, *EDGES[:20]) if array.dtype.kind == "f" else EDGES[:8]
                )
            return array
        case _:
            return array


def _rename(rng: random.Random, arrays: dict[str, Any]) -> None:
    name = rng.choice(list(arrays))
    arrays[rng.choice((*list(arrays), *NAMES[6:12], f"/{name}", f"../{name}"))] = arrays.pop(name)


def _write(rng: random.Random, arrays: dict[str, Any]) -> bytes:
    """An archive, now and then with other methods, members twice, or none that are arrays."""
    stream = io.BytesIO()
    usual = rng.random() < 0.8
    method = zipfile.ZIP_STORED if usual else rng.choice(METHODS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(stream, "w", method) as archive:
            for name, array in arrays.items():
                member = io.BytesIO()
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
                for _ in range(1 if usual else rng.choice((1, 1, 1, 2))):
                    archive.writestr(f"{name}.npy", member.getvalue())
            if not usual:
                archive.writestr(f"x{rng.choice(NAMES)}", rng.randbytes(8))
    return stream.getvalue()
