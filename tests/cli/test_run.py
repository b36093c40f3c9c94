"""`onnxrich run`: what it prints, the document that it promises, and the files that it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli._processes import onnxrich

import onnxrich as library
from onnxrich.errors import DataError
from onnxrich.metrics.registry import select

NUMBER = (int, float)
# Keys and types of schema onnxrich.analysis/1, as the design promises them; a tuple with None may be null.
SCHEMA: dict[str, Any] = {
    "model": {"path": str, "sha256": str, "producer": str, "opset": int, "parameters": int},
    "head": {
        "features": str, "outputs": str, "kind": str, "rows": str, "p": int, "C": int, "verified": bool,
        "residual": (*NUMBER, None),
    },
    "data": {"source": str, "n": int, "classes": (int, None), "synthetic": bool},
    "runtime": {"device": str, "providers": list, "onnxruntime": str, "batch_size": int, "seconds": NUMBER,
                "reason": str, "devices": list, "nodes": dict, "blocks": int, "profile": dict},
}  # fmt: skip
METRICS = {
    "d_lr", "d_lr_centered", "utilized_variance", "rank_outputs", "effective_rank", "participation_ratio",
    "stable_rank", "nc1",
}  # fmt: skip
CURVES = {"k", "utilization", "quality", "intensity", "utilization_variance", "quality_variance"}


def document(text: str) -> dict[str, Any]:
    """The one JSON document that a text is: strict JSON, in ASCII, so that no terminal and no encoding is steered."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert text.isascii() and text.endswith("}\n")
    parsed: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return parsed


def is_one_of(value: object, kinds: Any) -> bool:
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    allowed = tuple(type(None) if kind is None else kind for kind in kinds)
    return isinstance(value, allowed) and (bool in kinds or not isinstance(value, bool))


def assert_schema(found: dict[str, Any], *, labels: bool) -> None:
    """A document keeps the promises of schema onnxrich.analysis/1."""
    assert found["schema"] == "onnxrich.analysis/1"
    for part, keys in SCHEMA.items():
        for key, kinds in keys.items():
            assert is_one_of(found[part][key], kinds), f"{part}.{key} = {found[part][key]!r}"
    assert set(found["metrics"]) >= METRICS
    assert all(is_one_of(value, (*NUMBER, None)) for value in found["metrics"].values())
    assert set(found["curves"]) >= CURVES
    length = len(found["curves"]["k"])
    for name in CURVES:
        curve = found["curves"][name]
        assert (curve is None) == (name.startswith("quality") and not labels)
        assert curve is None or (len(curve) == length and all(is_one_of(value, NUMBER) for value in curve))
    assert (found["metrics"]["nc1"] is None) == (not labels)
    assert all(set(warning) == {"code", "message"} for warning in found["warnings"])


@pytest.fixture(scope="module")
def written(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder that a run wrote, with a new parent, and the process that wrote it."""
    target = tmp_path_factory.mktemp("results") / "new" / "report"
    return target, onnxrich("run", folder / "none.onnx", "--data", folder / "data.npz", "--json", "-o", target)


def test_json(folder: Path, written: tuple[Path, Any]) -> None:
    """`--json` prints one document of the promised schema, the one of the library's twin."""
    done = written[1]
    assert done.returncode == 0
    found = document(done.stdout)
    assert_schema(found, labels=True)
    twin = library.run(folder / "none.onnx", folder / "data.npz").to_dict()
    for each in (found, twin):
        each["runtime"].pop("seconds")
        each["runtime"].pop("profile")
    assert found == twin


def test_json_without_data(folder: Path, tmp_path: Path) -> None:
    """Without data the document says that the rows were made up; what needs labels is null."""
    (tmp_path / "model.onnx").write_bytes((folder / "none.onnx").read_bytes())
    done = onnxrich("run", tmp_path / "model.onnx", "--json")
    found = document(done.stdout)
    assert_schema(found, labels=False)
    assert found["data"]["synthetic"] and "synthetic_data" in {warning["code"] for warning in found["warnings"]}
    assert (done.returncode, done.stderr) == (0, "")


def test_in_python_without_data(folder: Path) -> None:
    """What a notebook shows of a run without data says so too; one head is one number."""
    model, data = folder / "none.onnx", folder / "data.npz"
    assert repr(library.run(model)).endswith(", SYNTHETIC DATA>")
    assert "SYNTHETIC" not in repr(library.run(model, data))
    with pytest.raises(DataError, match="head 'all'; needed: a whole number from 1"):
        library.run(model, data, head="all")  # type: ignore[arg-type]


def test_table(folder: Path) -> None:
    """Without `--json` the table names model, head, rows and every metric; stderr is quiet when it is no terminal."""
    done = onnxrich("run", folder / "none.onnx", "--data", folder / "data.npz")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("none.onnx", "phi", "p = 6", "C = 3", "n = 64", "cpu", "rich 0", "lazy 1", *select()):
        assert text in done.stdout, text
    assert "\x1b" not in done.stdout


def test_table_without_data(folder: Path, tmp_path: Path) -> None:
    """Made-up rows are announced loudly, above and below the numbers."""
    (tmp_path / "model.onnx").write_bytes((folder / "none.onnx").read_bytes())
    done = onnxrich("run", tmp_path / "model.onnx", "--in-process")
    lines = done.stdout.rstrip().splitlines()
    assert lines[0].startswith("!!!") and lines[-1].endswith("!!!")
    assert (done.returncode, done.stderr) == (0, "")


def test_output(written: tuple[Path, Any]) -> None:
    """`--output` makes the folder, writes the five files, and says so on stderr, the page last."""
    target, done = written
    names = {"analysis.json", "moments.npz", "report.html", "figure.png", "figure.svg"}
    assert {path.name for path in target.iterdir()} == {".onnxrich.json", *names}
    assert json.loads((target / "analysis.json").read_text()) == document(done.stdout)
    lines = done.stderr.splitlines()
    assert {Path(line.removeprefix("wrote ")).name for line in lines} == names
    assert lines[-1] == f"wrote {target / 'report.html'}"


@pytest.mark.slow
def test_force_over_an_earlier_report(folder: Path, tmp_path: Path) -> None:
    """A report with other data to evaluate on gives way to one without, also for `render`; other files stay."""
    run = ("run", folder / "none.onnx", "--data", folder / "data.npz", "-o", tmp_path / "out", "--json")
    assert onnxrich(*run, "--eval-data", folder / "data.npz").returncode == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert onnxrich(*run, "--labels", "nothing", "--force").returncode == 1
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert document(onnxrich(*run, "--force").stdout)["evaluation"] is None
    assert document(onnxrich("render", tmp_path / "out", "--json").stdout)["evaluation"] is None
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_render(written: tuple[Path, Any], tmp_path: Path) -> None:
    """`onnxrich render moments.npz` gives the numbers of the run, without model and data, and the same files."""
    target, run = written
    done = onnxrich("render", target / "moments.npz", "--json", "-o", tmp_path / "again")
    assert done.returncode == 0
    found, before = document(done.stdout), document(run.stdout)
    assert found == before
    assert {path.name for path in (tmp_path / "again").iterdir()} == {path.name for path in target.iterdir()}
    for name in ("analysis.json", "report.html", "figure.svg"):
        assert (tmp_path / "again" / name).read_bytes() == (target / name).read_bytes()


def test_render_a_folder(written: tuple[Path, Any], tmp_path: Path) -> None:
    """The folder of a report stands for the moments in it; one without them says what is missing."""
    target, run = written
    for more in ([], ["--in-process"]):
        assert document(onnxrich("render", target, "--json", *more).stdout) == document(run.stdout)
    none = onnxrich("render", tmp_path)
    assert (
        none.returncode == 1
        and f"the moments file {str(tmp_path)!r} cannot be read: it is a folder that holds none; needed" in none.stderr
    )


def test_render_table(written: tuple[Path, Any], folder: Path) -> None:
    """`onnxrich render` prints the table of the run."""
    rendered = onnxrich("render", written[0] / "moments.npz")
    run = onnxrich("run", folder / "none.onnx", "--data", folder / "data.npz", "--in-process")

    def without_time(text: str) -> list[str]:
        return [line for line in text.splitlines() if "rows/s" not in line]

    assert (rendered.returncode, rendered.stderr) == (0, "")
    assert without_time(rendered.stdout) == without_time(run.stdout)


def test_options_reach_the_analysis(folder: Path) -> None:
    """Every option of the command is the argument of the same name."""
    options = ["--labels", "labels", "--features", "phi", "--outputs", "y", "--batch-size", "7", "--device", "cpu"]
    options += ["--seed", "3", "--timeout", "60", "--max-memory", "4GiB"]
    done = onnxrich("run", folder / "none.onnx", "--data", folder / "data.npz", "--json", *options)
    found = document(done.stdout)
    assert found["runtime"]["batch_size"] == 7
    assert (found["head"]["features"], found["head"]["outputs"]) == ("phi", "y")
    twin = library.run(
        folder / "none.onnx", folder / "data.npz", "labels", features="phi", outputs="y", batch_size=7, device="cpu",
    )  # fmt: skip
    assert found["metrics"] == twin.to_dict()["metrics"]


def test_same_in_process(folder: Path) -> None:
    """`--in-process` gives the document of the worker."""
    command = ["run", folder / "none.onnx", "--data", folder / "data.npz", "--json"]
    there, here = document(onnxrich(*command).stdout), document(onnxrich(*command, "--in-process").stdout)
    for found in (here, there):
        found["runtime"].pop("seconds")
        found["runtime"].pop("profile")
    assert here == there


def test_seed(folder: Path, tmp_path: Path) -> None:
    """The rows that are made up follow the seed."""
    (tmp_path / "model.onnx").write_bytes((folder / "none.onnx").read_bytes())
    command = ["run", tmp_path / "model.onnx", "--json", "--in-process"]
    one, again, other = (document(onnxrich(*command, *seed).stdout)["metrics"] for seed in (
        ["--seed", "1"], ["--seed", "1"], ["--seed", "2"],
    ))  # fmt: skip
    assert one == again != other


def test_profile(folder: Path, tmp_path: Path) -> None:
    """`--profile` adds up to what it says, and has no verdict on a pass that a checkpoint held as a whole."""
    command = ["run", folder / "none.onnx", "--data", folder / "data.npz", "--checkpoint", tmp_path / "saved"]
    ran, held = (onnxrich(*command, "--profile", "--json") for _ in range(2))
    for done, verdict in ((ran, 1), (held, 0)):
        lines = done.stderr.splitlines()
        stages = document(done.stdout)["runtime"]["profile"]
        assert lines[0] == f"profile of {folder / 'none.onnx'}"
        told = {line[:32].strip(): line[32:].split() for line in lines[1 : 1 + len(stages)]}
        assert {stage: float(words[0]) for stage, words in told.items()} == pytest.approx(stages, abs=6e-4)
        assert sum(int(words[2].rstrip("%")) for words in told.values()) == pytest.approx(100, abs=5)
        assert [line.split(": ")[0] for line in lines[1 + len(stages) :]] == ["  reading against running"] * verdict
