"""Read an exported program (.pt2) without running what somebody may have put into it.

`torch.export.load` trusts its file: it unpickles what the file marks as pickled, loads compiled libraries, looks up any
attribute of `torch` that a node names, and evaluates the expressions of sizes. So only files that need none of that are
handed on:

1. Records are the program's JSON, raw weights, the descriptions of these, and example inputs.
2. Nothing is marked as pickled; example inputs load with `weights_only=True`.
3. Nodes name operators of PyTorch's own sets, or arithmetic.
4. Expressions of sizes hold symbols, numbers, and known functions.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxrich._utils.files import open_regular
from onnxrich.errors import AdapterError

_RECORDS = re.compile(
    r"models/\w+\.json|data/weights/weight_\d+|data/weights/\w+_config\.json|data/constants/tensor_\d+"
    r"|data/constants/\w+_config\.json|data/sample_inputs/\w+\.pt|archive_format|archive_version|byteorder"
    r"|\.data/\w+|\.format_version|\.storage_alignment"
)
_TARGETS = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|torchvision|quantized_decomposed)(\._?[A-Za-z](_?[A-Za-z0-9])*_?){1,2}"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|sqrt|trunc)|torch\.sym_(int|float|max|min|not|sum|ite)"
)
# Sizes are written as the constructors of SymPy's expressions.
_NAME = re.compile(r"'(?:[suz]f?\d+|[\d.]+)'")
_WORD = re.compile(
    r"Symbol|Integer|Rational|Float|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|CeilToInt|FloorToInt"
    r"|TruncToInt|ToFloat|Where|IntTrueDiv|FloatTrueDiv|PowByNatural|Eq|Ne|Le|Lt|Ge|Gt|Equality|Unequality"
    r"|(Strict)?(Less|Greater)Than|And|Or|Not|True|False|true|false|int_oo|[suz]f?\d+"
    r"|positive|nonnegative|negative|integer|precision"
)
_BETWEEN = re.compile(r"[\d\s()+\-*/,.<>=&|~]*")


def load(path: Path) -> Any:
    """The program of a file.

    Raises:
        AdapterError: when the file is no such archive, or holds what only code could read.
    """
    import torch
    from torch.export.pt2_archive._package import PT2ArchiveReader

    with open_regular(path, AdapterError, "a readable .pt2 file") as file:
        content = file.read()
    try:
        with PT2ArchiveReader(io.BytesIO(content)) as archive:
            _check(path, archive)
        return torch.export.load(io.BytesIO(content))
    except (RuntimeError, ValueError, KeyError, AssertionError, TypeError) as error:
        if isinstance(error, AdapterError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AdapterError(
            f"{path} can't be read: {reason}", "what torch.export.save writes", "Save it again with this PyTorch."
        ) from error


def _check(path: Path, archive: Any) -> None:
    import torch

    names = archive.get_file_names()
    for name in names:
        if not _RECORDS.fullmatch(name):  # Case 1
            raise _refused(path, f"the record {name!r}")
        if name.startswith("data/sample_inputs/"):  # Case 2
            try:
                torch.load(io.BytesIO(archive.read_bytes(name)), weights_only=True)
            except Exception as error:  # whatever it is, PyTorch would go on with pickle
                raise _refused(path, "example inputs that only pickle reads") from error
        elif name.endswith(".json"):
            for key, value in _walk(json.loads(archive.read_bytes(name))):
                _check_entry(path, key, value)


def _check_entry(path: Path, key: str, value: Any) -> None:
    if key == "use_pickle" and value:  # Case 2
        raise _refused(path, "pickled weights")
    if key == "target" and isinstance(value, str) and not _TARGETS.fullmatch(value):  # Case 3
        raise _refused(path, f"the operator {value!r}")
    if key == "expr_str" and not _plain(value):  # Case 4
        raise _refused(path, f"the size {value!r}")
    if key == "range_constraints" and not all(map(_plain, value)):
        raise _refused(path, "a range of no symbol")


def _plain(expression: Any) -> bool:
    rest = _NAME.sub("", str(expression))
    words = re.findall(r"[^\W\d]\w*", rest)
    return all(map(_WORD.fullmatch, words)) and bool(_BETWEEN.fullmatch(re.sub(r"[^\W\d]\w*", "", rest)))


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys of a document with their values."""
    pending = [value]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            yield from part.items()
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _refused(path: Path, what: str) -> AdapterError:
    return AdapterError(
        f"{path} holds {what}, which PyTorch would run code to read",
        "a program of PyTorch's own operators with plain tensors",
        "Export it in Python, where you trust it: onnxrich.export(torch.export.load(…), 'model.onnx').",
    )
