"""Who is to blame for the end of a worker: a changed file, a limit of the system, a reader of data, or the model."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli import _models
from cli._processes import LIMIT, ONNXRICH, onnxrich, with_modules

import onnxrich as library
from onnxrich.errors import DataError, WorkerError
from onnxrich.progress import Progress

UNEXPECTED = "an error that onnxrich did not expect"
# Rows of the data that change: some seconds of work in batches of eight.
ROWS = 200_000


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Many rows in a file that is mapped."""
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(5).standard_normal((ROWS, 4)).astype(np.float32))
    return path


def run_and(act: Callable[[], None], model: Path, data: Path) -> library.Analysis:
    """A run amidst which something happens, once."""
    acted: list[Progress] = []

    def listen(progress: Progress) -> None:
        if progress.stage == "running" and progress.rows and not acted:
            acted.append(progress)
            act()

    return library.run(model, data, device="cpu", isolate=True, batch_size=8, progress=listen)


# --- files that change -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1_000_000])
def test_data_cut_while_read(tmp_path: Path, rows: Path, size: int) -> None:
    """Data that become shorter in the middle of a run are to blame, and not the model."""
    with pytest.raises(WorkerError) as caught:
        run_and(lambda: os.truncate(rows, size), _models.model(tmp_path), rows)
    assert caught.value.found == f"{rows} became shorter while it was read (SIGBUS), while running"
    assert caught.value.needed == "files that stay as they are"
    assert len(str(caught.value)) < 300


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(bytes(100))


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    shutil.copy(path, other)
    other.replace(path)


@pytest.mark.parametrize("change", [overwrite, replace, Path.unlink])
def test_data_changed_while_read(tmp_path: Path, rows: Path, change: Callable[[Path], None]) -> None:
    """Rows of a file that is written, replaced or removed amidst the run may be a mixture: no number is given."""
    with pytest.raises(DataError) as caught:
        run_and(lambda: change(rows), _models.model(tmp_path), rows)
    assert str(caught.value) == (
        f"{rows} was changed while it was read; needed: data that stay as they are. "
        "Run it again once nobody writes them, or pass a copy."
    )


def test_archive_cut_while_read(tmp_path: Path) -> None:
    """What a reader says of data that were cut under it is not the cause."""
    path = tmp_path / "rows.npz"
    np.savez(path, x=np.random.default_rng(5).standard_normal((ROWS, 4)).astype(np.float32))
    with pytest.raises(DataError, match=r"rows\.npz was changed while it was read; "):
        run_and(lambda: os.truncate(path, 1_000_000), _models.model(tmp_path), path)


@pytest.mark.slow
def test_weights_cut_while_read(tmp_path: Path, rows: Path) -> None:
    """Weights in another file, mapped by the runtime, that become shorter: the file is named, or the run goes on."""
    model = onnx.load(_models.model(tmp_path))
    wide = np.random.default_rng(6).standard_normal((4, 4_000_000)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(wide, "wide"))
    model.graph.node.insert(0, onnx.helper.make_node("Gather", ["wide", "column"], ["one"], axis=1))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(3_999_999), "column"))
    model.graph.node.insert(1, onnx.helper.make_node("Add", ["x", "one"], ["shifted"]))
    for node in model.graph.node:
        if node.op_type == "Identity":
            node.input[0] = "shifted"
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=1000)
    try:
        run_and(lambda: os.truncate(tmp_path / "weights.bin", 1000), path, rows)
    except WorkerError as error:
        assert error.found == f"{tmp_path / 'weights.bin'} became shorter while it was read (SIGBUS), while running"


# --- limits of the system --------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with a model that works, one that does not end, and data."""
    _models.data(tmp_path)
    for trouble in ("none", "endless_running"):
        _models.model(tmp_path, trouble)
    return tmp_path


@pytest.mark.parametrize("seconds", [1, 3])
def test_processor_time(here: Path, seconds: int) -> None:
    """A limit of processor time is no lack of memory; the command itself takes a fraction of a second."""
    setup = f"import resource; resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))"
    done = onnxrich("run", "endless_running.onnx", "--data", "data.npz", cwd=here, setup=setup)
    assert done.returncode == 1
    assert "the limit of processor time is used up while " in done.stderr and "`ulimit -t`" in done.stderr


@pytest.mark.parametrize("files", range(5, 17))
def test_open_files(here: Path, files: int) -> None:
    """However few files may be open, the run gives its result or names the limit."""
    setup = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))"
    done = onnxrich("run", "none.onnx", "--data", "data.npz", cwd=here, setup=setup)
    if done.returncode:
        assert "too many files are open" in done.stderr and "`ulimit -n`" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert files < 16 or done.returncode == 0


@pytest.mark.parametrize(("name", "option", "size"), [("AS", "-v", 200 << 20), ("DATA", "-d", 100 << 20)])
def test_address_space(here: Path, name: str, option: str, size: int) -> None:
    """Too little address space is said as such, before the libraries are loaded and behind it."""
    done = onnxrich("run", "none.onnx", "--data", "data.npz", cwd=here, setup=LIMIT.format(name, size))
    assert done.returncode == 1 and UNEXPECTED not in done.stderr
    assert "memory ran out under a limit of the process" in done.stderr and f"`ulimit {option}`" in done.stderr


def test_size_of_files(here: Path) -> None:
    """A checkpoint or a result that may not become so large names the limit."""
    setup = LIMIT.format("FSIZE", 2048)
    for option in (["--checkpoint", "sums.npz"], ["-o", "report"]):
        done = onnxrich("run", "none.onnx", "--data", "data.npz", *option, cwd=here, setup=setup)
        assert done.returncode == 1 and UNEXPECTED not in done.stderr
        assert "File too large" in done.stderr and "ulimit -f" in done.stderr


NO_THREADS = """
import sys, threading
def start(self):
    raise RuntimeError("can't start new thread")
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            threading.Thread.start = start
sys.meta_path.insert(0, Forbid())
"""


def test_threads(here: Path) -> None:
    """Threads that can't be started are a limit of the system."""
    (here / "modules").mkdir()
    (here / "modules" / "sitecustomize.py").write_text(NO_THREADS)
    done = onnxrich("run", "none.onnx", "--data", "data.npz", cwd=here, env=with_modules(here / "modules"))
    assert done.returncode == 1
    assert "no further thread or process can be started" in done.stderr and "`ulimit -u`" in done.stderr


# --- crashes ---------------------------------------------------------------------------------------------------------


def test_reader_crash(here: Path) -> None:
    """Native code of a library that reads data crashes: the data are to blame."""
    fake = here / "modules" / "h5py"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("import os, signal\ndef File(*_):\n    os.kill(os.getpid(), signal.SIGSEGV)\n")
    (here / "rows.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    done = onnxrich("run", "none.onnx", "--data", "rows.h5", cwd=here, env=with_modules(here / "modules"))
    assert "native code crashed (SIGSEGV) while reading the model, in a reader of data; needed: " in done.stderr
    assert "ONNX Runtime" not in done.stderr


def test_no_place_for_anything(here: Path) -> None:
    """No home, no folder for temporary files, a current folder that is gone: a run needs none of them."""
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "TMPDIR")}
    environment |= {"HOME": "/nonexistent", "TMPDIR": "/nonexistent"}
    gone = here / "gone"
    gone.mkdir()
    setup = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})"
    done = onnxrich("run", here / "none.onnx", "--data", here / "data.npz", "--json", env=environment, setup=setup)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_read_only_output(here: Path) -> None:
    """A disk that takes no writes is one clear line."""
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount -t tmpfs -o ro tmpfs disk && "
    (here / "disk").mkdir()
    if not shutil.which("unshare") or subprocess.run([*inside, mount + "true"], cwd=here, check=False).returncode:
        pytest.skip("no mount namespaces: install util-linux, and allow user namespaces, or run as root")
    for option in ("-o disk/report", "--checkpoint disk/sums.npz"):
        script = f'{mount}"$0" run none.onnx --data data.npz {option}'
        done = subprocess.run([*inside, script, ONNXRICH], cwd=here, capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "disk" in done.stderr and "Choose another folder" in done.stderr
        assert UNEXPECTED not in done.stderr and len(done.stderr.splitlines()) == 1
