"""Exit codes and messages: one line of three parts on stderr, nothing on stdout, a traceback only when asked for."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli._processes import LIMIT, ONNXRICH, PATIENCE, end, is_over, let_work, onnxrich, until, workers

from onnxrich import instrument
from onnxrich.engine.runtime import cuda_missing

# What was found; what was needed. What to do next.
THREE_PARTS = re.compile(r"onnxrich: \S[^;]*(?:;[^;]+)*; needed: [^.]+(?:\.\w[^.]*)*\. [A-Z][^\n]+[.?]\n")

FAILURES = {
    "no model": (["run", "nothing.onnx"], "nothing.onnx: No such file or directory; needed: a readable ONNX file"),
    "folder": (["run", "."], ". is a folder; needed: an ONNX model. Pass "),
    "part of a model": (["run", "part.onnx"], "part.onnx is not an ONNX model, or only part of one"),
    "no data": (["run", "none.onnx", "--data", "nothing.npz"], "nothing.npz: No such file or directory"),
    "kind of data": (["run", "none.onnx", "--data", "none.onnx"], "none.onnx is of an unknown kind"),
    "no tensor": (["run", "none.onnx", "--data", "data.npz", "--features", "psi"], "psi"),
    "no labels": (["run", "none.onnx", "--data", "data.npz", "--labels", "no"], "data.npz has no field 'no'"),
    "no model to inspect": (["inspect", "nothing.onnx"], "nothing.onnx: No such file or directory"),
    "no model to expose": (["expose", "nothing.onnx", "-o", "new.onnx"], "nothing.onnx: No such file or directory"),
    "crash of inspect": (["inspect", "crash_loading.onnx"], "native code crashed (SIGFPE) while "),
    "crash": (["run", "crash_loading.onnx", "--data", "data.npz"], "native code crashed (SIGFPE) while loading"),
    "deadline": (
        ["run", "endless_running.onnx", "--data", "data.npz", "--timeout", "1"], "not done after 1 s, while "
    ),
    "memory": (["run", "bomb_loading.onnx", "--max-memory", "300M"], "MiB of memory in use, while "),
    "full folder": (["run", "none.onnx", "-o", "."], "folder . is not empty; needed: a new or empty folder"),
    "full folder of demo": (["demo", "-o", "."], "folder . is not empty; needed: a new or empty folder"),
    "full folder of render": (["render", "data.npz", "-o", "."], "folder . is not empty; needed: a new or empty"),
    "no moments": (["render", "nothing.npz"], "moments file 'nothing.npz' cannot be read: it does not exist; needed: "),
    "other moments": (["render", "data.npz"], "moments file 'data.npz' cannot be read: it has another format"),
    "data among models": (["compare", "none.onnx", "data.npz"], "wrote, or DIR. Data are given by --data."),
    "instrumented": (["run", "instrumented.onnx", "--data", "data.npz"], "instrumented.onnx is instrumented already"),
    "layer": (["run", "none.onnx", "--data", "data.npz", "--layers", "psi"], "The model has no layer 'psi'"),
}  # fmt: skip


@pytest.fixture
def here(folder: Path, tmp_path: Path) -> Path:
    """A folder with models and data of its own, for commands that run in it."""
    for name in ("none", "crash_loading", "endless_running", "bomb_loading"):
        shutil.copy(folder / f"{name}.onnx", tmp_path)
    shutil.copy(folder / "data.npz", tmp_path)
    instrument(tmp_path / "none.onnx", tmp_path / "instrumented.onnx")
    (tmp_path / "part.onnx").write_bytes((folder / "none.onnx").read_bytes()[:-40])
    return tmp_path


@pytest.mark.parametrize("name", FAILURES)
def test_failure(here: Path, name: str) -> None:
    """A failure is exit code 1, one line of three parts on stderr, nothing on stdout, and no file."""
    command, text = FAILURES[name]
    before = sorted(here.iterdir())
    done = onnxrich(*command, cwd=here)
    assert (done.returncode, done.stdout) == (1, "")
    assert text in done.stderr
    assert THREE_PARTS.fullmatch(done.stderr), done.stderr
    assert sorted(here.iterdir()) == before


@pytest.mark.skipif(cuda_missing() is None, reason="a GPU exists")
def test_no_cuda(here: Path) -> None:
    """CUDA that is asked for and not there is a failure, never a silent run on the CPU."""
    done = onnxrich("run", "none.onnx", "--data", "data.npz", "--device", "cuda", cwd=here)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"onnxrich: no CUDA device is usable: .+; needed: CUDA\. Run `onnxrich doctor`, or .+\n", done.stderr
    )


@pytest.mark.parametrize("debug", [["--debug", "run"], ["run", "--debug"]])
def test_debug(here: Path, debug: list[str]) -> None:
    """`--debug`, before or behind the command, shows the tracebacks of both processes above the same last line."""
    quiet = onnxrich("run", "part.onnx", cwd=here)
    done = onnxrich(*debug, "part.onnx", cwd=here)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"\n{quiet.stderr}")
    assert done.stderr.count("Traceback (most recent call last)") >= 2
    assert "pipelines" in done.stderr and "DecodeError" in done.stderr
    assert "Traceback" not in quiet.stderr


USAGE = {
    "no command": [[], "Usage: onnxrich"],
    "unknown command": [["measure"], "No such command 'measure'."],
    "unknown option": [["run", "none.onnx", "--quick"], "No such option"],
    "no model": [["run"], "Missing argument 'MODEL'."],
    "batch size": [["run", "none.onnx", "--batch-size", "0"], "'--batch-size'"],
    "seed": [["run", "none.onnx", "--seed", "-1"], "'--seed'"],
    "seed of several": [["compare", "none.onnx", "--seed", "-1"], "'--seed'"],
    "data as an argument": [["run", "none.onnx", "data.npz"], "(data.npz). Data are an option: --data data.npz"],
    "device": [["run", "none.onnx", "--device", "tpu"], "'--device'"],
    "timeout": [["run", "none.onnx", "--timeout", "0"], "'--timeout'"],
    "no number of seconds without progress": [
        ["run", "none.onnx", "--stall-timeout", "0"],
        "neither seconds nor `none`",
    ],
    "stall timeout in this process": [
        ["run", "none.onnx", "--in-process", "--stall-timeout", "9"],
        "--stall-timeout needs the worker process",
    ],
    "no number of seconds": [["run", "none.onnx", "--timeout", "nan"], "--timeout nan is no number of seconds"],
    "endless timeout": [["inspect", "none.onnx", "--timeout", "inf"], "--timeout inf is no number of seconds"],
    "size": [["run", "none.onnx", "--max-memory", "much"], "'much' is no size; write 512M or 4G"],
    "no size": [["run", "none.onnx", "--max-memory", "0"], "'0' is no size; write 512M or 4G"],
    "provider": [
        ["run", "none.onnx", "--provider", "nothing"],
        "ONNX Runtime has no execution provider 'nothing'; needed",
    ],
    "provider's option": [
        ["compare", "none.onnx", "--provider", "cpu:fast"],
        "provider option 'fast' has no value; needed: key=value",
    ],
    "device and provider": [
        ["track", "none.onnx", "--device", "cuda", "--provider", "cpu"],
        "--device cuda and --provider cpu are two answers: leave one out.",
    ],
    "huge size": [["run", "none.onnx", "--max-memory", "9" * 400], "is no size"],
    "one checkpoint for all heads": [
        ["run", "none.onnx", "--head", "all", "--checkpoint", "saved"],
        "--checkpoint is of one head",
    ],
    "features of all heads": [["run", "none.onnx", "--head", "all", "--features", "h"], "--features is of one head"],
    "one model to compare": [["compare", "none.onnx", "--data", "data.npz"], "One model: pass two or more to compare"],
    "metric": [["run", "none.onnx", "--metrics", "d_rl"], "no metric is called 'd_rl'; needed: a metric, a family of"],
    "metric of moments": [["render", "nothing.npz", "--metrics", "d_rl"], "Did you mean d_lr"],
    "step": [["run", "none.onnx", "--data", "nothing.npz", "--std", "0"], "std '0'; needed: finite numbers"],
    "step of several": [["track", "none.onnx", "--crop", "99999"], "crop '99999'; needed: a side from 1 to 16,384"],
    "text alone": [["run", "none.onnx", "--text", "review"], "--text COLUMN and --tokenizer FILE belong together"],
    "token alone": [["run", "none.onnx", "--token", "1"], "--token is of --layers: pass both, or none of them."],
    "labels alone": [["run", "none.onnx", "--eval-labels", "y"], "--eval-labels is of --eval-data: pass both"],
    "limits in process": [
        ["run", "none.onnx", "--in-process", "--timeout", "9"],
        "--timeout and --max-memory need the worker process: leave --in-process out.",
    ],
    **{
        f"nothing to force in {command[0]}": [[*command, "--force"], "--force is of the files of --output: pass -o DIR"]
        for command in (
            ["run", "none.onnx"],
            ["compare", "none.onnx", "none.onnx"],
            ["track", "none.onnx"],
            ["render", "moments.npz"],
            ["demo"],
        )
    },
}


@pytest.mark.parametrize("name", USAGE)
def test_wrong_usage(here: Path, name: str) -> None:
    """Wrong usage is exit code 2, a message on stderr, nothing on stdout."""
    command, text = USAGE[name]
    done = onnxrich(*command, cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_output_is_checked_first(here: Path) -> None:
    """A folder that is not empty is refused before the run, which here would never end."""
    (here / "report").mkdir()
    (here / "report" / "notes.txt").write_text("mine")
    command = ["run", "endless_running.onnx", "--data", "data.npz", "-o", "report"]
    done = onnxrich(*command, cwd=here)
    assert done.returncode == 1 and "folder report is not empty" in done.stderr and "Pass --force" in done.stderr


def test_force(here: Path) -> None:
    """`--force` writes into the folder, replaces what has our names, and leaves the rest alone."""
    (here / "report").mkdir()
    (here / "report" / "notes.txt").write_text("mine")
    (here / "report" / "report.html").write_text("old")
    done = onnxrich("run", "none.onnx", "--data", "data.npz", "-o", "report", "--force", cwd=here)
    assert done.returncode == 0
    assert (here / "report" / "notes.txt").read_text() == "mine"
    assert (here / "report" / "report.html").read_text().startswith("<!doctype html>")


def test_file_limit(here: Path) -> None:
    """Files that can't grow are one clear line, and nothing is left behind."""
    done = onnxrich(
        "run", "none.onnx", "--data", "data.npz", "-o", "report", cwd=here, setup=LIMIT.format("FSIZE", 8192)
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert THREE_PARTS.fullmatch(done.stderr) and "report: File too large" in done.stderr
    assert not (here / "report").exists()


def test_full_disk(here: Path) -> None:
    """A full disk is one clear line, and nothing is left behind."""
    (here / "disk").mkdir()
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o size=64k tmpfs disk && "
    possible = (
        shutil.which("unshare")
        and not subprocess.run([*inside, mount + "true"], cwd=here, capture_output=True, check=False).returncode
    )
    if not possible:
        pytest.skip("no mount namespaces: install util-linux, and allow user namespaces, or run as root")
    script = mount + '"$0" run none.onnx --data data.npz -o disk/report; echo "code $?"; find disk'
    done = subprocess.run([*inside, script, ONNXRICH], cwd=here, capture_output=True, text=True, check=False)
    assert THREE_PARTS.fullmatch(done.stderr) and "disk/report: no space left on the device" in done.stderr
    assert done.stdout == "code 1\ndisk\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, a device of Linux")
@pytest.mark.parametrize("command", [["run", "none.onnx", "--json"], ["run", "none.onnx"], ["doctor"], ["--help"]])
def test_full_stdout(here: Path, command: list[str]) -> None:
    """A standard output that takes nothing is one clear line, and no second error at exit."""
    with Path("/dev/full").open("w") as full:
        done = onnxrich(*command, cwd=here, stdout=full)
    assert done.returncode == 1
    assert THREE_PARTS.fullmatch(done.stderr)
    assert "standard output: No space left on device" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams(here: Path, closed: str) -> None:
    """Standard streams that are closed are no failure."""
    script = f'"$0" run none.onnx --data data.npz {closed}'
    done = subprocess.run(["sh", "-c", script, ONNXRICH], cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")


def test_narrow_encoding(here: Path) -> None:
    """A standard output that knows few characters gets a table in those."""
    (here / "none.onnx").rename(here / "φ.onnx")
    for option in ([], ["--json"]):
        done = onnxrich("run", "φ.onnx", *option, cwd=here, env=os.environ | {"PYTHONIOENCODING": "ascii"})
        assert (done.returncode, done.stderr) == (0, "")
        assert "\\u03c6.onnx" in done.stdout


def test_module(here: Path) -> None:
    """`python -m onnxrich` is the command."""
    command = [sys.executable, "-m", "onnxrich", "run", "none.onnx", "--data", "data.npz", "--json"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("{")
    assert subprocess.run([*command[:3], "run"], capture_output=True, check=False).returncode == 2


def test_terminated(here: Path) -> None:
    """SIGTERM ends the command as it ends any other, and its worker with it."""
    command = [ONNXRICH, "run", "endless_running.onnx", "--data", "data.npz"]
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        (worker,) = until(lambda: workers(process.pid))
        let_work(worker, 1)
        process.terminate()
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
        assert process.returncode == -signal.SIGTERM
        until(lambda: is_over(worker))
    finally:
        end(process)
