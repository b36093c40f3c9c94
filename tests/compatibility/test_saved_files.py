"""Files that onnxrich 0.1.0 wrote are still read, and give the numbers that it gave: reports, records, checkpoints."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import onnxrich

HERE = Path(__file__).parent
SAVED = HERE / "0.1.0"
GROKKING = HERE.parents[1] / "examples" / "grokking"
EXPECTED: dict[str, Any] = json.loads((SAVED / "expected.json").read_text())

REPORTS = (
    "labelled", "unlabelled", "values", "tokens", "compared/mlp", "compared/other", "compared/init",
    "training/step-9", "training/step-30", "training/step-100",
)  # fmt: skip
RECORDS = ("step-00000000", "step-00000010", "step-00000200")

# The same moments, in float64: another LAPACK rounds otherwise in the last digits.
AGAIN = 1e-12
# Rows are exact in float32 (`make_fixtures.py`), so that passes add the same numbers, maybe in another order; curves
# are of eigenvectors, which magnify rounding.
PASSED = 1e-9
# Examples are of any numbers: float32 through ten layers, on another processor; D_LR is smooth in the features.
THROUGH_FLOAT32 = 1e-4

# What is for people, or differs from run to run; of all these the keys are compared alone.
FOR_PEOPLE = ("message", "choices", "summary")
OF_THE_RUN = ("seconds", "profile", "onnxruntime", "nodes", "memory")

# Since 0.2.0 the singular values beside the cut are those of outputs in units of their own. The rank is the same.
IN_OTHER_UNITS = ("rank_gap_above", "rank_gap_below")
# Since 0.2.0 it is an average over more tuples of blocks, needs five of them, and has its interval on the plain scale.
ESTIMATED_ANEW, ANEW = "d_lr_debiased", 0.05
# Codes of warnings that are no warnings any more: where the curves stop is `curves.stops_at`.
GIVEN_UP = ("curves_stop",)

# Goes on with the records of a training, by the adapter that stands in its path.
GOES_ON = """
import onnxrich
import recorded_adapter as framework

recorder = onnxrich.Recorder(framework.sample(), "records", force=True)
for step in (200, 3000):
    recorder(framework.at_step(step), step)
"""


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths of models are part of what is saved: they start from the folder of the fixtures."""
    monkeypatch.chdir(SAVED)


def onnxrich_says(*arguments: str, cwd: Path = SAVED) -> str:
    """What the command prints, in a process of its own."""
    command = [sys.executable, "-m", "onnxrich", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_metrics(found: Mapping[str, Any], recorded: Mapping[str, Any], rtol: float = AGAIN) -> None:
    """Each metric that was recorded is there, as near as can be asked, and of the same kind."""
    for name, text in recorded.items():
        if isinstance(text, str):
            if name == ESTIMATED_ANEW and found[name] is None:
                continue
            value = float.fromhex(text)
            assert isinstance(found[name], float), name
            if name in IN_OTHER_UNITS:
                continue
            tolerance = ANEW if name == ESTIMATED_ANEW else rtol
            assert found[name] == pytest.approx(value, rel=tolerance, abs=tolerance), name
        else:
            assert found[name] == text, name


def check_document(found: Any, recorded: Any, *, ignored: tuple[str, ...] = (), at: str = "") -> None:
    """All that was recorded is there: keys, lists of the same length, and numbers up to rounding; more keys may be."""
    if isinstance(recorded, dict):
        assert isinstance(found, dict), at
        lost = recorded.keys() - found.keys()
        assert lost <= {ESTIMATED_ANEW}, (at, lost)
        for name, value in recorded.items():
            if name not in (*FOR_PEOPLE, *IN_OTHER_UNITS, *ignored, *lost):
                check_document(found[name], value, ignored=ignored, at=f"{at}.{name}")
    elif isinstance(recorded, list | tuple):
        if at.endswith(".warnings"):
            recorded = [warning for warning in recorded if warning["code"] not in GIVEN_UP]
        assert isinstance(found, list | tuple) and len(found) == len(recorded), at
        for number, (now, then) in enumerate(zip(found, recorded, strict=True)):
            check_document(now, then, ignored=ignored, at=f"{at}[{number}]")
    elif isinstance(recorded, float) and not (found is None and ESTIMATED_ANEW in at):
        tolerance = ANEW if ESTIMATED_ANEW in at else PASSED
        assert found == pytest.approx(recorded, rel=tolerance, abs=tolerance), at
    elif not (found is None and ESTIMATED_ANEW in at):
        assert found == recorded and type(found) is type(recorded), (at, found, recorded)


def document(path: str) -> Any:
    """A JSON file of the fixtures."""
    return json.loads((SAVED / path).read_text())


def test_everything_is_tested() -> None:
    """Each report and record of the fixtures is in the lists above, and has numbers that are expected."""
    reports = {str(path.parent.relative_to(SAVED)) for path in SAVED.rglob("moments.npz")}
    assert reports == set(REPORTS)
    assert {path.stem for path in (SAVED / "records").iterdir()} == set(RECORDS)
    assert {*REPORTS, *(f"records/{name}.npz" for name in RECORDS)} < EXPECTED.keys()


@pytest.mark.parametrize("name", REPORTS)
def test_reports(name: str) -> None:
    """The folder of a report gives its metrics again, of the data to evaluate on too, and all of its document."""
    loaded = onnxrich.Analysis.load(name)
    check_metrics(loaded.metrics, EXPECTED[name]["metrics"])
    assert (loaded.evaluation is None) == ("evaluation" not in EXPECTED[name])
    if loaded.evaluation is not None:
        check_metrics(loaded.evaluation.metrics, EXPECTED[name]["evaluation"])
    check_document(loaded.to_dict(), document(f"{name}/analysis.json"))


def test_report_in_a_process_of_its_own() -> None:
    """An isolated reading gives the same."""
    loaded = onnxrich.Analysis.load("labelled", isolate=True)
    check_metrics(loaded.metrics, EXPECTED["labelled"]["metrics"])
    assert loaded.evaluation is not None
    check_metrics(loaded.evaluation.metrics, EXPECTED["labelled"]["evaluation"])
    check_document(loaded.to_dict(), document("labelled/analysis.json"))


def test_files_of_a_report() -> None:
    """The two files of moments are taken by their own names as well, alone or together."""
    moments, evaluation = "labelled/moments.npz", Path("labelled/evaluation.npz")
    alone, other = onnxrich.Analysis.load(moments), onnxrich.Analysis.load(evaluation)
    both = [onnxrich.Analysis.load(moments, evaluation=each).evaluation for each in (evaluation, "labelled")]
    assert alone.evaluation is None and other.evaluation is None
    check_metrics(alone.metrics, EXPECTED["labelled"]["metrics"])
    for each in (other, *both):
        assert each is not None
        check_metrics(each.metrics, EXPECTED["labelled"]["evaluation"])


def test_other_metrics_of_a_report() -> None:
    """Metrics and families that nobody asked for before are computed from the moments that were saved."""
    expected = EXPECTED["labelled"]["metrics"]
    loaded = onnxrich.Analysis.load("compared/mlp", metrics=["collapse", "rankme"])
    collapse = {each["name"] for each in onnxrich.metric_list() if each["family"] == "collapse"}
    assert collapse and {*collapse, "rankme", "d_lr"} <= loaded.metrics.keys()
    # Two of the family take the model's weights, which are not there; the rows are the same, in other blocks.
    lacking = {"nc2_zhu", "nc3_zhu"}
    check_metrics(loaded.metrics, {name: expected[name] for name in {*collapse, "rankme", "d_lr"} - lacking})
    assert {name for name in collapse if loaded.metrics[name] is None} == lacking
    assert "not_saved" in [notice.code for notice in loaded.notices]


@pytest.mark.parametrize("given", ["labelled", "tokens/moments.npz"])
def test_render(given: str) -> None:
    """`onnxrich render --json` prints the document of the report."""
    name = given.removesuffix("/moments.npz")
    printed = json.loads(onnxrich_says("render", given, "--json"))
    check_metrics(printed["metrics"], EXPECTED[name]["metrics"])
    check_document(printed, document(f"{name}/analysis.json"))


def test_earlier_report_is_replaced(tmp_path: Path) -> None:
    """With `force` the files that 0.1.0 listed go, but for those that somebody changed; what else is there stays."""
    folder = tmp_path / "report"
    shutil.copytree("labelled", folder)
    (folder / "report.html").write_text("notes")
    (folder / "mine.npz").write_text("mine")
    with pytest.raises(onnxrich.OutputError):
        onnxrich.Analysis.load("unlabelled").save(folder)
    onnxrich.Analysis.load("unlabelled").save(folder, force=True)
    assert not (folder / "evaluation.npz").exists()
    assert (folder / "mine.npz").read_text() == "mine"
    again = onnxrich.Analysis.load(folder)
    check_metrics(again.metrics, EXPECTED["unlabelled"]["metrics"])
    check_document(json.loads((folder / "analysis.json").read_text()), document("unlabelled/analysis.json"))
    assert {path.name for path in folder.iterdir()} >= {
        ".onnxrich.json", "analysis.json", "moments.npz", "report.html", "figure.png", "figure.svg",
    }  # fmt: skip


def test_evaluation_that_was_changed_stays(tmp_path: Path) -> None:
    """A listed file that is not any more what was written is the user's."""
    folder = tmp_path / "report"
    shutil.copytree("labelled", folder)
    (folder / "evaluation.npz").write_bytes(b"mine")
    onnxrich.Analysis.load("unlabelled").save(folder, force=True)
    assert (folder / "evaluation.npz").read_bytes() == b"mine"


def test_comparison_of_saved_moments() -> None:
    """Folders and files of reports are compared as before, in Python and by the command."""
    found = onnxrich.compare(["compared/mlp", Path("compared/other/moments.npz")], init="compared/init").to_dict()
    printed = onnxrich_says("compare", "compared/mlp", "compared/other", "--init", "compared/init", "--json")
    for each in (found, json.loads(printed)):
        check_document(each, document("compare-saved.json"))
        for result, name in zip(each["analyses"], ("mlp", "other", "init"), strict=True):
            check_metrics(result["metrics"], EXPECTED[f"compared/{name}"]["metrics"])


def test_training_of_saved_moments() -> None:
    """Reports of a training are followed as before: steps of the models, changes with paired errors, transitions."""
    recorded = document("track-saved.json")
    assert len(recorded["transitions"]) == 1
    check_document(onnxrich.track("training/step-*/moments.npz").to_dict(), recorded)
    check_document(json.loads(onnxrich_says("track", "training/step-*/moments.npz", "--json")), recorded)


def test_analysis_by_its_document() -> None:
    """The document of a report stands for the moments beside it."""
    loaded = onnxrich.Analysis.load("compared/mlp/analysis.json")
    check_document(loaded.to_dict(), onnxrich.Analysis.load("compared/mlp").to_dict())
    compared = onnxrich.compare(["compared/mlp/analysis.json", "compared/other"], init="compared/init").to_dict()
    check_document(compared, document("compare-saved.json"))


@pytest.mark.parametrize("name", RECORDS)
def test_records(name: str) -> None:
    """What an `onnxrich.Recorder` wrote is read as a report is."""
    loaded = onnxrich.Analysis.load(f"records/{name}.npz")
    check_metrics(loaded.metrics, EXPECTED[f"records/{name}.npz"]["metrics"])
    check_document(loaded.to_dict(), document(f"records/{name}.json"))


def test_training_of_records() -> None:
    """A folder of records is a training, and its CSV has the columns and numbers that it had."""
    recorded = list(csv.DictReader(io.StringIO((SAVED / "track-records.csv").read_text())))
    for text in (onnxrich.track("records").to_csv(), onnxrich_says("track", "records", "--csv")):
        check_table(list(csv.DictReader(io.StringIO(text))), recorded, PASSED)


def check_table(found: list[dict[str, str]], recorded: list[dict[str, str]], tolerance: float) -> None:
    """All columns that were recorded are there, in their order, with their numbers."""
    assert len(found) == len(recorded)
    assert [name for name in found[0] if name in recorded[0]] == list(recorded[0])
    for now, then in zip(found, recorded, strict=True):
        for name, text in then.items():
            if name in IN_OTHER_UNITS:
                continue
            try:
                assert float(now[name]) == pytest.approx(float(text), rel=tolerance, abs=tolerance), name
            except ValueError:
                assert now[name] == text, name


def test_records_go_on(tmp_path: Path) -> None:
    """A recorder goes on in the folder of an earlier one, with an adapter that was written for 0.1.0."""
    shutil.copytree("records", tmp_path / "records")
    path = os.pathsep.join([str(SAVED / "adapter"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    command = [sys.executable, "-B", "-c", GOES_ON]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = onnxrich.track(tmp_path / "records")
    assert found.steps == (0, 10, 200, 3000) and found.origin == "metadata"
    for name in RECORDS:
        again = onnxrich.Analysis.load(tmp_path / "records" / f"{name}.npz")
        check_metrics(again.metrics, EXPECTED[f"records/{name}.npz"]["metrics"], PASSED)


def test_moments_without_a_record() -> None:
    """`Moments.load` reads what `Moments.save` wrote, and all metrics follow from it."""
    metrics, _ = onnxrich.measure(onnxrich.Moments.load("rows.npz"), metrics="all")
    check_metrics(metrics, EXPECTED["rows.npz"]["metrics"])
    assert None not in (metrics["alpha_req"], metrics["rank_gap_below"])


def test_instrumented_model() -> None:
    """A model that 0.1.0 instrumented still runs, and sums that it gave, then and now, become moments."""
    expected = EXPECTED["instrumented.onnx"]["metrics"]
    session = ort.InferenceSession("instrumented.onnx", providers=["CPUExecutionProvider"])
    with np.load("sums.npz") as saved:
        then = [saved[str(number)] for number in range(len(saved))]
    with np.load("data/train.npz") as data:
        rows = data["x"]
    metadata = {entry.key: entry.value for entry in onnx.load("instrumented.onnx").metadata_props}
    names = [
        each.name for each in session.get_inputs() if f"{each.name}.next" in {o.name for o in session.get_outputs()}
    ]
    assert len(names) == len(then)
    sums = dict(zip(names, map(np.zeros_like, then), strict=True))
    for batch in np.array_split(rows, 3):
        sums = dict(zip(names, session.run([f"{name}.next" for name in names], {"x": batch, **sums}), strict=True))
    check_metrics(onnxrich.measure(onnxrich.Moments.from_accumulators(then, metadata))[0], expected)
    now = onnxrich.Moments.from_accumulators(list(sums.values()), session.get_modelmeta().custom_metadata_map)
    check_metrics(onnxrich.measure(now)[0], expected, PASSED)


@pytest.mark.parametrize("name", ["unfinished", "layers-unfinished", "finished"])
def test_checkpoints(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that was killed under 0.1.0 goes on from its checkpoint, and ends with the numbers of a whole one."""
    shutil.copytree("checkpoints", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    expected = EXPECTED[f"checkpoints/{name}"]
    found = onnxrich.run("mlp.onnx", "data.npz", device="cpu", checkpoint=name, **expected["options"])
    resumed, samples = found.record.runtime.resumed, found.record.data.samples
    assert 0 < resumed <= samples == 20_000
    assert (resumed == samples) == (name == "finished")
    check_metrics(found.metrics, expected["metrics"], PASSED)
    layers = {layer["name"]: layer["metrics"] for layer in found.to_dict()["layers"]}
    assert [layer for layer, _ in expected["layers"]] == list(layers)
    for layer, metrics in expected["layers"]:
        check_metrics(layers[layer], metrics, PASSED)


def test_checkpoint_on_the_command_line(tmp_path: Path) -> None:
    """`--checkpoint` reads the file as well."""
    shutil.copytree("checkpoints", tmp_path, dirs_exist_ok=True)
    command = ["run", "mlp.onnx", "--data", "data.npz", "--batch-size", "500", "--device", "cpu", "--json"]
    found = json.loads(onnxrich_says(*command, "--checkpoint", "finished", cwd=tmp_path))
    assert found["runtime"]["resumed"] == 20_000
    check_metrics(found["metrics"], EXPECTED["checkpoints/finished"]["metrics"], PASSED)


def test_checkpoint_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other options are told from those of a checkpoint of 0.1.0."""
    shutil.copytree("checkpoints", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(onnxrich.DataError, match="batch size 1 then, 7 now"):
        onnxrich.run("mlp.onnx", "data.npz", device="cpu", batch_size=7, checkpoint="unfinished")


@pytest.mark.parametrize(
    ("name", "model", "data", "options"),
    [
        (
            "labelled",
            "mlp",
            "train",
            {"eval_data": "data/test.npz", "layers": "all", "blocks": 8, "metrics": ["all"]},
        ),
        ("unlabelled", "mlp", "plain", {}),
        ("values", "mlp", "values", {"blocks": 0}),
        ("tokens", "tokens", "tokens", {"blocks": 4}),
        ("training/step-100", "step-100", "train", {}),
    ],
)
def test_runs(name: str, model: str, data: str, options: dict[str, Any]) -> None:
    """The same model, data and options give the same document, fingerprints and warnings included."""
    found = onnxrich.run(f"models/{model}.onnx", f"data/{data}.npz", device="cpu", batch_size=10, **options)
    check_metrics(found.metrics, EXPECTED[name]["metrics"], PASSED)
    # Rows that are needed follow from the debiased estimate.
    ignored = OF_THE_RUN if found.metrics[ESTIMATED_ANEW] is not None else (*OF_THE_RUN, "needed")
    check_document(found.to_dict(), document(f"{name}/analysis.json"), ignored=ignored)


def test_comparison() -> None:
    """The same models and data give the same comparison."""
    found = onnxrich.compare(
        ["models/mlp.onnx", "models/other.onnx"], "data/train.npz", init="models/init.onnx", device="cpu", batch_size=10
    )
    check_document(found.to_dict(), document("compared/comparison.json"), ignored=OF_THE_RUN)


def test_training() -> None:
    """The example of a training is followed as before: steps, metrics, what is noted, S_init, and the transition."""
    recorded = document("tracked/track.json")
    paths = [GROKKING / name for name in recorded["models"]]
    track = onnxrich.track(paths, GROKKING / "test.npz", init=paths[0], blocks=4, batch_size=25, device="cpu")
    found = track.to_dict()
    for name in ("schema", "steps", "step_origin", "noted"):
        assert found[name] == recorded[name]
    assert recorded["metrics"].keys() <= found["metrics"].keys()
    assert found["metrics"]["d_lr"] == pytest.approx(recorded["metrics"]["d_lr"], abs=THROUGH_FLOAT32)
    s_init = [[each["value"] for each in document["s_init"]] for document in (found, recorded)]
    assert s_init[0] == pytest.approx(s_init[1], abs=THROUGH_FLOAT32)
    ends = [[(each["from"], each["to"]) for each in document["transitions"]] for document in (found, recorded)]
    assert ends[0] == ends[1] == [(1600, 3000)]
    columns = next(csv.reader(io.StringIO((SAVED / "tracked/track.csv").read_text())))
    columns = [name for name in columns if not name.startswith(f"{ESTIMATED_ANEW}_")]
    assert [name for name in next(csv.reader(io.StringIO(track.to_csv()))) if name in columns] == columns
