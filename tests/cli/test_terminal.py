"""At a terminal and in a pipe: the live line, Ctrl-C, readers that leave early, and names that try to steer."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli import _models
from cli._processes import ONNXRICH, PATIENCE, end, let_work, on_terminal, onnxrich, until, workers
from rich.cells import cell_len

from onnxrich.cli.progress import _rounded, fit, progress_line
from onnxrich.progress import Progress

# Sets the title, clears the screen, starts a line; the last one is a control sequence in one byte.
HOSTILE = "\x1b]0;title\x07\x1b[2J\nfake: line\r\x9b31m"
CONTROL = {*map(chr, range(32)), *map(chr, range(127, 160))} - {"\n"}


def test_live_line(folder: Path, tmp_path: Path) -> None:
    """At a terminal stderr shows model, rows, speed and the running D_LR."""
    rows = _models.many_rows(tmp_path)
    with on_terminal("run", folder / "none.onnx", "--data", rows, "--batch-size", "1") as terminal:
        for text in ("none.onnx running", " rows, ", "/s, D_LR 0."):
            terminal.wait_for(text.encode())


def test_result_at_a_terminal(folder: Path) -> None:
    """At a terminal stdout holds the result alone, and stderr the live line."""
    with on_terminal("run", folder / "none.onnx", "--data", folder / "data.npz", "--json") as terminal:
        shown = terminal.rest()
        result = json.loads(terminal.process.stdout.read())
        assert terminal.process.wait(PATIENCE) == 0
    assert result["data"]["n"] == _models.ROWS
    assert b"none.onnx " in shown


def shown_at(width: int, name: str, *reports: Progress, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that a terminal of this width shows; 1.1 s pass after each report but the last."""
    now = 0.0
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("rich.console.monotonic", lambda: now)
    for variable, value in {"TERM": "xterm", "COLUMNS": str(width), "NO_COLOR": "1"}.items():
        monkeypatch.setenv(variable, value)
    with progress_line(name) as listen:
        for progress in reports[:-1]:
            listen(progress)
            now += 1.1
            # The line is drawn again and again, by a thread: the second time from now on it shows what is new.
            for _ in range(2):
                drawn = len(screen.getvalue())
                until(lambda drawn=drawn: len(screen.getvalue()) > drawn)  # type: ignore[misc]
        listen(reports[-1])
    return [line.strip() for line in re.split(r"\x1b\[[\d;?]*[A-Za-z]|[\r\n]", screen.getvalue()) if line.strip()]


LONG = "a-model-whose-name-is-long-step-003000.onnx"


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, "━ 50% 1.2M 12k/s D_LR 0.1234 read-bound -:--:--"),
        (80, "…3000.onnx running ━ 50% 1.2M rows, 12k/s, D_LR 0.1234, read-bound -:--:--"),
        (120, "…me-is-long-step-003000.onnx running ━ 50% 1,234,567 rows, 12,345/s, D_LR 0.1234, read-bound "
              "(99% waiting) -:--:--"),
    ],
)  # fmt: skip
def test_live_line_fits(width: int, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow terminal shortens the line before it loses bar, share, rows, speed, D_LR, bottleneck or time left."""
    running = Progress("running", 1_234_567, 2_469_134, 12_345.0, 0.1234, 0.99)
    lines = shown_at(width, LONG, Progress("reading the model"), running, monkeypatch=monkeypatch)
    # The bar takes what the texts leave; without colours its part that is still to come is blank.
    bars = {re.sub("[━╸]+ +", "━ ", shown): re.search("[━╸]+ +", shown) for shown in lines}
    bar = bars[line]
    assert bar and len(bar[0]) > 5
    assert all(len(shown) <= width for shown in lines)
    assert any(re.fullmatch(r".*\.onnx reading the model 0:00:0\d", shown) for shown in lines)


@pytest.mark.parametrize(("rows", "text"), [(999_999, "1.0M"), (9_999, "10k"), (1_234, "1.2k"), (999, "999")])
def test_rounded_numbers(rows: int, text: str) -> None:
    """A short number has its unit after it was rounded."""
    assert _rounded(rows) == text


@pytest.mark.parametrize("name", ["", "m.onnx", LONG, "模型" * 30])
@pytest.mark.parametrize("width", [*range(58, 130, 8), 200])
def test_no_form_is_too_long(width: int, name: str) -> None:
    """Every name, number and stage fits, beside a bar of five cells, a percentage of four, and a time of eight."""
    for progress in (
        Progress("running", 10_000_000, None, 9_960.0, 0.1234, 0.1),
        Progress("running", 5, 10, 0.4),
        Progress("counting decisions", 999_999, 10**7),
        Progress("looking whether the batch size is"),
    ):
        description, numbers = fit(name, progress, width)
        columns = [description, "━" * 5, "%" * 4, numbers, "t" * 8] if progress.rows else [description, "t" * 8]
        assert sum(map(cell_len, columns)) + len(columns) - 1 <= width
        assert description.endswith(progress.stage) or (width < 70 and not description)


def test_live_line_without_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that goes through no rows shows its name and its own time alone: no speed, no bar, no bottleneck."""
    passes = [Progress("running", 500, 1000, 250.0, 0.5), Progress("counting decisions", 500, 1000)]
    lines = shown_at(200, "m.onnx", *passes, Progress("computing the metrics"), monkeypatch=monkeypatch)
    assert lines[0] == "m.onnx starting 0:00:00"
    assert "500 rows, 250/s, D_LR 0.5000, compute-bound" in "\n".join(lines)
    counting = [line for line in lines if "counting" in line]
    assert counting and all("50% 500 rows " in line and "/s" not in line for line in counting)
    last = {line for line in lines if "computing the metrics" in line}
    assert last == {"m.onnx computing the metrics 0:00:00"}


@pytest.mark.parametrize(
    ("trouble", "stage"),
    [("slow_loading", b" loading the model"), ("endless_running", b" running"), ("rows", b" running")],
)
def test_ctrl_c(folder: Path, tmp_path: Path, trouble: str, stage: bytes) -> None:
    """Ctrl-C amidst the work ends the command with code 130, the worker with it; nothing is written."""
    model, data = folder / f"{trouble}.onnx", folder / "data.npz"
    if trouble == "rows":
        model, data = folder / "none.onnx", _models.many_rows(tmp_path)
    with on_terminal("run", model, "--data", data, "--batch-size", "1", "-o", tmp_path / "report") as terminal:
        terminal.wait_for(stage)
        (worker,) = workers(terminal.process.pid)
        let_work(worker)
        terminal.press(b"\x03")
        assert terminal.process.wait(PATIENCE) == 130
        assert not worker.is_running()
        shown = terminal.rest()
        assert terminal.process.stdout.read() == b""
    assert shown.rstrip().endswith(b"onnxrich: interrupted; no result was written.")
    assert b"Traceback" not in shown
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("kept", [False, True])
def test_interrupt_without_terminal(folder: Path, tmp_path: Path, kept: bool) -> None:
    """SIGINT to the process group, as a pipeline sends it, does the same; a checkpoint that is there is named."""
    saved = tmp_path / "saved"
    told = json.dumps({"schema": "onnxrich.checkpoint/2", "about": {}, "batches": 3, "samples": 1200}).encode()
    np.savez(tmp_path / "kept.npz", checkpoint=np.frombuffer(told, np.uint8))
    command = [ONNXRICH, "run", folder / "slow_loading.onnx", "--data", folder / "data.npz", "--checkpoint", saved]
    if kept:
        (tmp_path / "kept.npz").rename(saved)
    else:
        saved.write_text("something else")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        (worker,) = until(lambda: workers(process.pid))
        let_work(worker, 1)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        end(process)
    goes_on = f" 1,200 samples are in '{saved}': the same command, with the same --batch-size and --blocks, goes on"
    said = f"\nonnxrich: interrupted; no result was written.{f'{goes_on} from there.' if kept else ''}\n"
    assert (process.returncode, out, err.decode()) == (130, b"", said)
    assert not worker.is_running()


@pytest.mark.parametrize(("command", "reader"), [("demo --json", "head -1"), ("demo", "true"), ("doctor", "true")])
def test_reader_leaves(command: str, reader: str, tmp_path: Path) -> None:
    """`| head -1`, of more than a pipe holds, and `| true` are no error: no traceback, no message, exit code 0."""
    script = f'{{ "$0" {command}; echo "code $?" >&2; }} | {reader}'
    done = subprocess.run(["sh", "-c", script, ONNXRICH], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stderr == "code 0\n"
    assert len(done.stdout.splitlines()) == (reader != "true")


def test_reader_leaves_with_stderr(folder: Path, tmp_path: Path) -> None:
    """A reader of both streams that leaves does not keep the files from being written."""
    script = f'"$0" run {folder}/none.onnx --data {folder}/data.npz -o report 2>&1 | true'
    subprocess.run(["sh", "-c", script, ONNXRICH], capture_output=True, cwd=tmp_path, check=True)
    assert (tmp_path / "report" / "analysis.json").exists()


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A model whose file name and penultimate layer carry control characters."""
    path = tmp_path / f"{HOSTILE.replace('/', '')}.onnx"
    _models.model(tmp_path, features=HOSTILE).rename(path)
    _models.data(tmp_path)
    return path


def assert_harmless(text: str) -> None:
    """No control character but the newline is in a text, and no line that a name has begun."""
    assert not CONTROL & set(text), ascii(text)
    assert not [line for line in text.splitlines() if line.startswith("fake: line")]


def test_hostile_names_in_results(hostile: Path, tmp_path: Path) -> None:
    """Names from a model are printed with their control characters escaped."""
    table = onnxrich("run", hostile, "--data", tmp_path / "data.npz", "-o", tmp_path / f"to{HOSTILE}")
    assert table.returncode == 0
    assert "\\x1b[2J" in table.stdout and "\\x1b[2J" in table.stderr
    document = onnxrich("run", hostile, "--data", tmp_path / "data.npz", "--json")
    for text in (table.stdout, table.stderr, document.stdout, document.stderr):
        assert_harmless(text)
    assert json.loads(document.stdout)["head"]["features"] == HOSTILE


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize("name", ["tensor", "operator", "model", "moments"])
def test_hostile_names_in_errors(hostile: Path, tmp_path: Path, name: str, debug: list[str]) -> None:
    """The same in errors, where candidates and files are listed, and in tracebacks."""
    strange = onnx.load(hostile)
    strange.graph.node[0].op_type = HOSTILE
    onnx.save(strange, tmp_path / "strange.onnx")
    command = {
        "operator": ["run", tmp_path / "strange.onnx", "--data", tmp_path / "data.npz"],
        "tensor": ["run", hostile, "--data", tmp_path / "data.npz", "--features", f"x{HOSTILE}"],
        "model": ["run", tmp_path / f"no{HOSTILE}"],
        "moments": ["render", tmp_path / f"no{HOSTILE}"],
    }[name]
    done = onnxrich(*command, *debug)
    assert (done.returncode, done.stdout) == (1, "")
    assert "\\x1b]0;title\\x07\\x1b[2J" in done.stderr
    assert not CONTROL & set(done.stderr), ascii(done.stderr)
    assert debug or done.stderr.count("\n") == 1


def test_hostile_names_in_usage_errors() -> None:
    """The same for wrong arguments, which a shell's `*` may have found."""
    with on_terminal("run", "model.onnx", HOSTILE) as terminal:
        shown = terminal.rest()
    assert b"\\x1b]0;title" in shown and not CONTROL & set(shown.decode().replace("\r\n", "\n"))


def test_hostile_names_in_live_line(hostile: Path, tmp_path: Path) -> None:
    """The same in the live line, which writes control characters of its own."""
    shutil.copy(hostile, tmp_path / "plain.onnx")
    with on_terminal("run", hostile, "--data", tmp_path / "data.npz", stdout=pty.STDOUT_FILENO) as terminal:
        shown = terminal.rest()
        assert terminal.process.wait(PATIENCE) == 0
    assert b"\\x1b[2J" in shown
    for raw in (b"\x1b[2J", b"\x1b]0;", b"\nfake", b"\xc2\x9b"):
        assert raw not in shown


def test_name_that_is_no_text(folder: Path, tmp_path: Path) -> None:
    """A file name that is no UTF-8 is a name all the same, in the document and in the files."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/m\xff.onnx")
    Path(path).write_bytes((folder / "none.onnx").read_bytes())
    done = onnxrich(
        "run", path, "--data", folder / "data.npz", "--json", "-o", tmp_path / "report",
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"]["path"] == path
    assert json.loads((tmp_path / "report" / "analysis.json").read_text()) == json.loads(done.stdout)
