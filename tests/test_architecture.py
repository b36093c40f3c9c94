"""Dependencies point one way, from room to room, and nothing heavy is loaded before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import onnxrich

PACKAGE = Path(onnxrich.__file__).parent
STANDARD = set(sys.stdlib_module_names)
BOTTOM = {"errors", "progress", "_utils"}

# What the modules of a room may import: other rooms, and other people's packages. A folder inside a room has the rules
# of the room unless it is listed itself.
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "errors": ({"_utils"}, set()),
    "progress": (set(), set()),
    "_utils": ({"errors"}, {"numpy", "psutil", "threadpoolctl"}),
    "_utils.text": (set(), set()),
    "moments": (BOTTOM, {"numpy", "scipy"}),
    "metrics": (BOTTOM | {"moments"}, {"numpy", "scipy"}),
    "model": (BOTTOM | {"moments"}, {"numpy", "onnx", "google"}),
    "data": (BOTTOM | {"model", "moments"}, {"numpy", "onnx", "xxhash"}),
    "engine": (BOTTOM | {"data", "model", "moments", "metrics"}, {"numpy", "onnx", "psutil"}),
    "engine.runtime": (BOTTOM | {"model", "moments"}, {"numpy", "onnxruntime"}),
    "frameworks": (BOTTOM | {"engine", "data", "model", "moments"}, {"numpy", "onnx"}),
    "results": (BOTTOM | {"metrics", "moments"}, {"numpy", "cattrs"}),
    "report": (BOTTOM | {"results", "metrics", "moments"}, {"numpy", "rich", "jinja2", "matplotlib"}),
    "pipelines": (
        BOTTOM | {"frameworks", "engine", "data", "model", "results", "metrics", "moments"},
        {"numpy", "onnx"},
    ),
    "isolation": (BOTTOM | {"pipelines", "results", "moments"}, {"numpy", "psutil"}),
    "api": (
        BOTTOM | {"isolation", "pipelines", "frameworks", "data", "results", "report", "metrics", "moments"},
        {"numpy"},
    ),
    "cli": (BOTTOM | {"api", "pipelines", "results", "report", "metrics", "data", "engine", "demo"}, {"click", "rich"}),
    "demo": (set(), set()),
}
# The one upward import: a result draws, writes and loads itself, by imports inside of its methods.
UPWARD = {"results": {"report", "pipelines", "api"}}
# ONNX and its runtime take longer to import than all the rest: the command line and the public verbs must not load
# them before they are needed, so these rooms import such rooms inside of functions alone.
LIGHT = {"cli", "api", "isolation"}
HEAVY = {"pipelines", "frameworks", "engine", "model", "report"}
# What they may import of these rooms: the declaration of the options, and the table of the verbs.
DECLARATIONS = ("onnxrich.pipelines.options", "onnxrich.pipelines.pipeline")
# Only these write ONNX graphs, and only this room knows the runtime.
GRAPHS = {"model", "frameworks", "engine/batch_axis.py"}


def room_of(file: Path) -> str:
    """The room of a module: the longest prefix of its dotted name that has rules."""
    parts = list(file.relative_to(PACKAGE).with_suffix("").parts)
    while parts and ".".join(parts) not in ROOMS:
        parts.pop()
    return ".".join(parts)


def statements(tree: ast.AST, *, inside: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements of a module: those at its top level, or those inside of functions; none for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            if not inside:
                yield node
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if inside:
                yield from (each for each in ast.walk(node) if isinstance(each, ast.Import | ast.ImportFrom))
        else:
            yield from statements(node, inside=inside)


def imported(file: Path, *, inside: bool = False) -> set[str]:
    """Dotted names that a module imports."""
    names: set[str] = set()
    for node in statements(ast.parse(file.read_text()), inside=inside):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def rooms_among(names: set[str]) -> set[str]:
    """The rooms of onnxrich among imported names."""
    rooms = {name.split(".")[1] for name in names if name.startswith("onnxrich.")}
    return rooms - {"__version__"}


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [file for file in FILES if file.parent != PACKAGE or file.stem in ROOMS]


def label(file: Path) -> str:
    return str(file.relative_to(PACKAGE).with_suffix(""))


def test_nothing_lies_flat() -> None:
    """Only errors and progress lie beside the rooms, and each room has rules."""
    flat = {path.name for path in PACKAGE.glob("*.py")}
    assert flat == {"__init__.py", "__main__.py", "errors.py", "progress.py"}
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms | {"errors", "progress"} == {name for name in ROOMS if "." not in name}


@pytest.mark.parametrize("file", MODULES, ids=label)
def test_imports_point_one_way(file: Path) -> None:
    """A module imports only what the table grants to its room, at its top level and inside of functions."""
    room = room_of(file)
    own = room.split(".")[0]
    allowed, packages = ROOMS[room]
    top, late = imported(file), imported(file, inside=True)
    assert rooms_among(top) <= allowed | {own}, f"{room} imports {rooms_among(top) - allowed - {own}}"
    beyond = rooms_among(late) - allowed - {own} - UPWARD.get(own, set())
    assert not beyond, f"{room} imports {beyond} inside of a function"
    others = {name.split(".")[0] for name in top} - {"onnxrich"} - STANDARD
    assert others <= packages, f"{room} imports {others - packages}"


@pytest.mark.parametrize("file", [file for file in MODULES if room_of(file) in LIGHT], ids=label)
def test_light_rooms_load_heavy_ones_late(file: Path) -> None:
    """The command line and the public verbs import heavy rooms inside of functions alone."""
    names = {name for name in imported(file) if not name.startswith(DECLARATIONS)}
    assert not rooms_among(names) & HEAVY


@pytest.mark.parametrize("file", MODULES, ids=label)
def test_runtime_and_graphs_have_their_rooms(file: Path) -> None:
    """Only `engine.runtime` imports ONNX Runtime; only `model`, `frameworks` and `batch_axis` build ONNX graphs."""
    names = imported(file) | imported(file, inside=True)
    place = file.relative_to(PACKAGE).as_posix()
    if room_of(file) != "engine.runtime":
        assert not any(name.split(".")[0] == "onnxruntime" for name in names)
    builders = {"onnx.helper", "onnx.GraphProto", "onnx.NodeProto"}
    assert not names & builders or any(place.startswith(allowed) for allowed in GRAPHS), place


def test_import_loads_nothing_heavy() -> None:
    """`import onnxrich` and the command line's `--help` load no NumPy, no ONNX, no runtime and no framework."""
    heavy = ["numpy", "scipy", "onnx", "onnxruntime", "matplotlib", "rich", "torch", "tensorflow", "jax", "sklearn"]
    program = f"import sys, onnxrich, onnxrich.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_core_loads_no_framework() -> None:
    """A whole run in this process imports no framework, even where one is installed, and none of SciPy's statistics."""
    program = (
        "import sys, onnxrich; onnxrich.run(onnxrich.demo_file('rich.onnx'), onnxrich.demo_file('evaluation.npz'))\n"
        "heavy = ('torch', 'tensorflow', 'jax', 'sklearn', 'matplotlib', 'scipy.stats')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
