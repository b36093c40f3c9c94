"""Dependencies point one way, and nothing heavy is loaded before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import onnxrich

PACKAGE = Path(onnxrich.__file__).parent
STANDARD = set(sys.stdlib_module_names)

# What each part of the package may import at module level: other parts of it, and other people's packages.
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), set()),
    "files": ({"errors"}, set()),
    "cores": (set(), {"threadpoolctl"}),
    "extras": ({"errors"}, set()),
    "preprocessing": ({"errors"}, set()),
    "pictures": ({"errors", "extras", "preprocessing"}, {"numpy"}),
    "decoder": ({"errors", "files", "pictures", "preprocessing"}, {"numpy"}),
    "progress": (set(), set()),
    "targets": ({"errors"}, {"numpy"}),
    "precision": (set(), {"numpy"}),
    "tiles": (set(), {"numpy"}),
    "tallies": ({"tiles"}, {"numpy"}),
    "moments": ({"errors", "tiles", "precision", "tallies", "targets"}, {"numpy"}),
    "metrics": ({"errors", "moments", "metrics", "options", "precision"}, {"numpy"}),
    "curves": ({"errors", "moments", "metrics", "precision"}, {"numpy"}),
    "layers": ({"cores", "metrics", "moments", "order", "uncertainty"}, {"numpy"}),
    "student": (set(), set()),
    "order": ({"errors", "metrics", "moments"}, {"numpy"}),
    "uncertainty": ({"errors", "moments", "metrics", "student"}, {"numpy"}),
    "saved": (set(), set()),
    "record": ({"errors", "layers", "metrics", "uncertainty"}, set()),
    "results": (
        {"cores", "errors", "layers", "moments", "metrics", "curves", "order", "record", "uncertainty"},
        {"numpy"},
    ),
    "compared": ({"errors", "metrics", "moments", "results", "uncertainty"}, {"numpy"}),
    "series": ({"errors", "saved"}, set()),
    "tracked": ({"compared", "errors", "results", "series", "student"}, set()),
    "writing": ({"errors"}, set()),
    "options": ({"errors"}, set()),
    "report": (
        {"compared", "errors", "layers", "metrics", "moments", "curves", "record", "results"}
        | {"report", "saved", "tracked", "uncertainty"}
        | {"writing"},
        {"numpy", "rich", "jinja2"},
    ),
    "model": ({"errors", "files", "simplify"}, {"numpy", "onnx", "google"}),
    "lift": (set(), {"onnx"}),
    "simplify": ({"errors", "lift"}, {"onnx"}),
    "head": ({"errors", "model", "moments", "head", "precision"}, {"numpy", "onnx"}),
    "rewrite": ({"errors", "head", "model", "moments", "tiles", "rewrite", "tallies"}, {"numpy", "onnx"}),
    "timing": (set(), set()),
    "session": ({"cores", "errors", "moments", "rewrite", "session"}, {"numpy", "onnxruntime"}),
    "sources": (
        {"cores", "decoder", "errors", "extras", "files", "head", "model", "options", "pictures", "preprocessing"}
        | {"sources", "targets"},
        {"numpy", "onnx"},
    ),
    "labelled": ({"errors", "moments", "sources"}, {"numpy"}),
    "fingerprint": (set(), {"numpy", "xxhash"}),
    "batching": ({"errors", "fingerprint", "head", "model", "sources", "timing"}, {"numpy"}),
    "feeding": ({"batching", "errors", "moments", "rewrite", "sources", "targets"}, {"numpy"}),
    "unfix": (
        {"batching", "errors", "head", "model", "moments", "precision", "rewrite", "session", "sources"},
        {"numpy", "onnx"},
    ),
    "live": (
        {"batching", "cores", "errors", "feeding", "head", "model", "moments", "progress", "rewrite", "session"}
        | {"sources", "targets"},
        {"numpy", "psutil"},
    ),
    "depth": (
        {"batching", "errors", "feeding", "fitting", "head", "layers", "live", "metrics", "moments", "rewrite"}
        | {"sources"},
        {"numpy", "onnx"},
    ),
    "fitting": ({"batching", "errors", "rewrite"}, {"psutil"}),
    "checkpoint": ({"errors", "moments", "sources", "writing"}, {"numpy"}),
    "looking": ({"moments", "progress", "session", "timing"}, set()),
    "keeping": ({"batching", "checkpoint", "errors", "looking", "moments", "writing"}, set()),
    "summing": (
        {"batching", "checkpoint", "cores", "errors", "head", "keeping", "live", "looking", "metrics", "moments"}
        | {"progress", "session", "sources", "timing"},
        {"numpy"},
    ),
    "stream": (
        {"batching", "checkpoint", "cores", "depth", "errors", "feeding", "fingerprint", "fitting", "head", "layers"}
        | {"live", "model", "moments", "progress", "session", "sources", "summing", "timing", "unfix"},
        set(),
    ),
    "readouts": (
        {"batching", "feeding", "live", "metrics", "moments", "progress", "rewrite", "sources"},
        {"numpy"},
    ),
    "parameters": ({"errors", "head", "model"}, {"numpy", "onnx"}),
    "pipeline": (
        {
            "depth",
            "errors",
            "head",
            "labelled",
            "metrics",
            "model",
            "parameters",
            "readouts",
            "progress",
            "record",
            "results",
            "rewrite",
            "session",
            "sources",
            "stream",
            "timing",
        },
        {"onnx"},
    ),
    "joint": (
        {"batching", "errors", "feeding", "fitting", "head", "live", "looking", "model", "moments", "progress"}
        | {"rewrite", "session", "sources", "stream", "summing", "timing"},
        {"numpy"},
    ),
    "comparing": (
        {"compared", "errors", "head", "joint", "metrics", "model", "moments", "pipeline", "progress", "record"}
        | {"results", "rewrite", "saved", "session", "sources", "timing"},
        {"onnx"},
    ),
    "following": (
        {"compared", "comparing", "errors", "pipeline", "progress", "results", "saved", "series", "tracked"},
        set(),
    ),
    "tracking": ({"metrics", "options", "progress", "report", "supervise", "tracked"}, set()),
    "comparison": ({"compared", "errors", "metrics", "options", "progress", "report", "supervise"}, set()),
    "supervise": ({"errors", "moments", "progress", "record", "results"}, {"psutil"}),
    "worker": (set(), set()),
    "inspection": ({"errors", "head", "live", "model", "options", "session", "sources", "supervise"}, {"onnx"}),
    "patching": (
        {
            "errors",
            "head",
            "live",
            "model",
            "moments",
            "options",
            "rewrite",
            "session",
            "sources",
            "supervise",
            "writing",
        },
        {"onnx"},
    ),
    "plugins": ({"errors"}, {"numpy"}),
    "specs": ({"errors", "files", "plugins"}, set()),
    "parity": ({"errors", "model", "plugins", "precision", "session"}, {"numpy"}),
    "exporting": (
        {"errors", "model", "options", "parity", "plugins", "sources", "specs", "supervise", "writing"},
        {"numpy", "onnx"},
    ),
    "swapping": (set(), {"numpy", "onnx"}),
    "loggers": (set(), set()),
    "recording": ({"errors", "loggers", "plugins", "writing"}, {"numpy"}),
    "native": ({"errors", "exporting", "plugins"}, {"onnx"}),
    "analysis": (
        {"errors", "metrics", "moments", "options", "progress", "record", "report", "results", "saved"} | {"supervise"},
        set(),
    ),
    "demo": (set(), set()),
    "doctor": ({"errors"}, set()),
    "cli": ({"cli", "errors", "progress"}, {"click"}),
}


def imported(file: Path) -> set[str]:
    """Dotted names that a module imports at its top level, type-checking blocks left out."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)).removesuffix(".py")
)
def test_imports_point_one_way(file: Path) -> None:
    """A module imports only what the table above grants to its part of the package."""
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part in ("__init__", "__main__"):
        return_parts, packages = {"cli"}, set()
    else:
        return_parts, packages = ALLOWED[part]
    for name in imported(file):
        first, *rest = name.split(".")
        if first == "onnxrich":
            assert rest[0] in return_parts | {"__version__"}, f"{part} imports onnxrich.{rest[0]}"
        else:
            assert first in packages | STANDARD, f"{part} imports {first}"


def test_import_loads_nothing_heavy() -> None:
    """`import onnxrich` and the command line's `--help` load no NumPy, no ONNX, no runtime and no framework."""
    heavy = ["numpy", "scipy", "onnx", "onnxruntime", "matplotlib", "rich", "torch", "tensorflow", "jax", "sklearn"]
    program = f"import sys, onnxrich, onnxrich.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_core_loads_no_framework() -> None:
    """A whole run in this process imports no framework, even where one is installed."""
    program = (
        "import sys, onnxrich; onnxrich.run(onnxrich.demo_file('rich.onnx'), onnxrich.demo_file('evaluation.npz'))\n"
        "print([name for name in ('torch', 'tensorflow', 'jax', 'sklearn', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
