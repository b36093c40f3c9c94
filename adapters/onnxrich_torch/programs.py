"""Exported programs of PyTorch (.pt2), loaded without running what a stranger may have put into the file.

`torch.export.load` trusts its file: it unpickles what the file marks as pickled, loads compiled libraries, looks up any
attribute of `torch` that a node names, and evaluates expressions of sizes. So only files that need none of that pass:

1. Records are the program's JSON, raw weights, the descriptions of these, and example inputs.
2. Nothing is marked as pickled; example inputs load with `weights_only=True`.
3. Nodes name operators of PyTorch's own sets, or arithmetic.
4. Expressions of sizes hold symbols, numbers, and known functions.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from onnxrich.errors import AdapterError
from onnxrich.frameworks.exporters import summarize
from onnxrich.frameworks.untrusted import read_bytes, walk_entries

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
# Sizes are written as constructors of SymPy's expressions.
_NAME = re.compile(r"'(?:[suz]f?\d+|[\d.]+)'")
_WORD = re.compile(
    r"Symbol|Integer|Rational|Float|Add|Mul|Pow|Max|Min|Mod|PythonMod|FloorDiv|CleanDiv|CeilDiv|CeilToInt|FloorToInt"
    r"|TruncToInt|ToFloat|Where|IntTrueDiv|FloatTrueDiv|PowByNatural|Eq|Ne|Le|Lt|Ge|Gt|Equality|Unequality"
    r"|(Strict)?(Less|Greater)Than|And|Or|Not|True|False|true|false|int_oo|[suz]f?\d+"
    r"|positive|nonnegative|negative|integer|precision"
)
_BETWEEN = re.compile(r"[\d\s()+\-*/,.<>=&|~]*")


def load_program(path: Path) -> Any:
    """Load the program of a file.

    Raises:
        AdapterError: when the file is no such archive, or holds what PyTorch would run code to read.
    """
    import torch
    from torch.export.pt2_archive._package import PT2ArchiveReader

    content = read_bytes(path, "a readable .pt2 file")
    try:
        with PT2ArchiveReader(io.BytesIO(content)) as archive:
            _check_archive(path, archive)
        return torch.export.load(io.BytesIO(content))
    except AdapterError:
        raise
    except (RuntimeError, ValueError, KeyError, AssertionError, TypeError) as error:
        raise AdapterError(
            f"{path} can't be read: {summarize(error)}",
            "a file that torch.export.save wrote",
            "Save the program again with this PyTorch.",
        ) from error


def check_open_batch(program: Any) -> None:
    """Check that a program takes batches of any size.

    Args:
        program: a `torch.export.ExportedProgram`.

    Raises:
        AdapterError: when the first axis of none of its inputs is open.
    """
    inputs = program.graph_signature.user_inputs
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    sizes = [value.shape[0] for value in values if getattr(value, "ndim", 0)]
    if sizes and all(isinstance(size, int) for size in sizes):
        raise AdapterError(
            f"the program takes only batches of {sizes[0]} rows",
            "an open batch size",
            "Export it again with dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), an entry for each input, and an "
            "example of two rows or more; then torch.export.save.",
        )


def _check_archive(path: Path, archive: Any) -> None:
    import torch

    for name in archive.get_file_names():
        if not _RECORDS.fullmatch(name):  # Case 1
            raise _refusal(path, f"the record {name!r}")
        if name.startswith("data/sample_inputs/"):  # Case 2
            try:
                torch.load(io.BytesIO(archive.read_bytes(name)), weights_only=True)
            except Exception as error:  # after any error PyTorch would go on with pickle
                raise _refusal(path, "example inputs that only pickle reads") from error
        elif name.endswith(".json"):
            for key, value in walk_entries(json.loads(archive.read_bytes(name))):
                _check_entry(path, key, value)


def _check_entry(path: Path, key: str, value: Any) -> None:
    if key == "use_pickle" and value:  # Case 2
        raise _refusal(path, "pickled weights")
    if key == "target" and isinstance(value, str) and not _TARGETS.fullmatch(value):  # Case 3
        raise _refusal(path, f"the operator {value!r}")
    if key == "expr_str" and not _is_size(value):  # Case 4
        raise _refusal(path, f"the size {value!r}")
    if key == "range_constraints" and not all(map(_is_size, value)):
        raise _refusal(path, "a range of no symbol")


def _is_size(expression: Any) -> bool:
    """Whether an expression holds only symbols, numbers and known functions."""
    rest = _NAME.sub("", str(expression))
    words = re.findall(r"[^\W\d]\w*", rest)
    return all(map(_WORD.fullmatch, words)) and bool(_BETWEEN.fullmatch(re.sub(r"[^\W\d]\w*", "", rest)))


def _refusal(path: Path, content: str) -> AdapterError:
    return AdapterError(
        f"{path} holds {content}, which PyTorch would run code to read",
        "a program of PyTorch's own operators with plain tensors",
        "If you trust the file, export it in Python: onnxrich.export(torch.export.load(…), 'model.onnx').",
    )
