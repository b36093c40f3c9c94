"""The worker process: the same answer as without it, and an end, always, at once, with one line that says why."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from cli import _models
from cli._processes import LIMIT, PATIENCE, after, end, is_over, let_work, until, with_modules, workers

import onnxrich
from onnxrich.engine.runtime import cuda_missing
from onnxrich.errors import DataError, DeviceError, HeadError, ModelError, OnnxrichError, WorkerError
from onnxrich.isolation import limits, supervisor
from onnxrich.progress import Progress

# A program whose worker is started by it, and which says how far it is; behind it come model, data and batch size.
PARENT = """
import sys, onnxrich
onnxrich.run(sys.argv[1], sys.argv[2], isolate=True, device="cpu", batch_size=int(sys.argv[3]),
             progress=lambda progress: print(progress.stage, flush=True))
print("done", flush=True)
"""
LOADING = "loading the model on cpu"


def parent_command(model: Path, data: Path, *, batch_size: int = 16) -> list[str]:
    return [sys.executable, "-P", "-c", PARENT, str(model), str(data), str(batch_size)]


@contextmanager
def parent_at(stage: str, model: Path, data: Path, **options: Any) -> Iterator[tuple[subprocess.Popen, psutil.Process]]:
    """A parent whose worker is at a stage, and that worker."""
    command = parent_command(model, data, batch_size=options.pop("batch_size", 16))
    parent = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **options
    )
    try:
        assert parent.stdout is not None
        until(lambda: parent.stdout.readline().decode().strip() in (stage, ""))
        (worker,) = workers(parent.pid)
        yield parent, worker
    finally:
        end(parent)


def at(stage: str, act: Callable[[psutil.Process], Any]) -> Callable[[Progress], None]:
    """A listener that acts on the worker's process once, when a stage is reported."""
    acted = threading.Event()

    def listen(progress: Progress) -> None:
        if progress.stage.endswith(stage) and not acted.is_set():
            acted.set()
            (worker,) = workers(os.getpid())
            act(worker)

    return listen


class Clock:
    """The clock of the supervisor, which a test sets ahead."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """The time in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that deadlines are measured by, which stands still but for the test."""
    by_hand = Clock()
    for module in (supervisor, limits):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=by_hand.monotonic))
    return by_hand


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """A worker that nobody ends fails its test instead of holding up all others."""
    timer = threading.Timer(PATIENCE, lambda: [worker.kill() for worker in workers(os.getpid())])
    timer.start()
    yield
    timer.cancel()
    timer.join()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return _models.data(tmp_path)


def same(one: onnxrich.Analysis, other: onnxrich.Analysis) -> bool:
    """Whether two analyses are equal to the bit, the time apart."""
    documents = [analysis.to_dict() for analysis in (one, other)]
    for document in documents:
        document["runtime"].pop("seconds")
        document["runtime"].pop("profile")
    arrays = [(one.moments.matrix, other.moments.matrix), (one.moments.shift, other.moments.shift)]
    arrays += [(getattr(one.curves, field.name), getattr(other.curves, field.name)) for field in fields(one.curves)]
    equal = all(np.array_equal(a, b) and np.asarray(a).dtype == np.asarray(b).dtype for a, b in arrays)
    return equal and documents[0] == documents[1] and one.moments._kind == other.moments._kind


# --- the answer ------------------------------------------------------------------------------------------------------


def test_same_to_the_bit() -> None:
    """An isolated run gives what the run in this process gives, to the bit."""
    model, data = onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz")
    here, there = (onnxrich.run(model, data, device="cpu", isolate=isolate) for isolate in (False, True))
    assert type(there) is onnxrich.Analysis
    assert same(here, there)
    assert not same(here, onnxrich.run(onnxrich.demo_file("lazy.onnx"), data, device="cpu"))


def test_same_without_labels(tmp_path: Path, data: Path) -> None:
    """What is null or absent arrives as such, and so do the warnings."""
    model = _models.model(tmp_path)
    np.save(tmp_path / "x.npy", np.load(data)["x"])
    here, there = (onnxrich.run(model, tmp_path / "x.npy", device="cpu", isolate=isolate) for isolate in (False, True))
    assert there.curves.quality is None and there.metrics["nc1"] is None
    assert same(here, there)


def test_progress_arrives(tmp_path: Path, data: Path) -> None:
    """The worker's progress reaches the caller's listener, in order, in the caller's thread."""
    heard: list[tuple[Progress, int]] = []
    onnxrich.run(
        _models.model(tmp_path), data, device="cpu", isolate=True,
        progress=lambda progress: heard.append((progress, threading.get_ident())),
    )  # fmt: skip
    stages = [progress.stage for progress, _ in heard]
    assert heard[-1][0].rows == 0, "no rows are gone through there"
    assert stages[0] == "reading the model" and stages[-1] == "computing the metrics" and LOADING in stages
    assert {thread for _, thread in heard} == {threading.get_ident()}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ModelError, {"model": "nothing.onnx"}),
        (ModelError, {"model": "part.onnx"}),
        (DataError, {"data": "nothing.npz"}),
        (HeadError, {"features": "no such tensor"}),
        pytest.param(
            DeviceError, {"device": "cuda"}, marks=pytest.mark.skipif(cuda_missing() is None, reason="a GPU exists")
        ),
    ],
)
def test_errors_keep_their_class(
    tmp_path: Path, data: Path, kind: type[OnnxrichError], options: dict[str, str]
) -> None:
    """An error in the worker arrives as the one that the run in this process raises, with the worker's traceback."""
    model = _models.model(tmp_path)
    (tmp_path / "part.onnx").write_bytes(model.read_bytes()[:-40])
    paths = {"model": model, "data": data} | {
        name: tmp_path / value for name, value in options.items() if name in ("model", "data")
    }
    others = {name: value for name, value in options.items() if name not in paths}
    errors = []
    for isolate in (False, True):
        with pytest.raises(kind) as caught:
            onnxrich.run(**paths, **({"device": "cpu"} | others), isolate=isolate)  # type: ignore[arg-type]
        errors.append(caught.value)
    here, there = errors
    assert type(there) is type(here)
    assert (there.found, there.needed, there.remedy) == (here.found, here.needed, here.remedy)
    assert "Traceback" in there.__notes__[0] and "pipelines" in there.__notes__[0]


def test_objects_are_refused(tmp_path: Path) -> None:
    """An isolated run takes paths: objects would have to be pickled."""
    model = _models.model(tmp_path)
    with pytest.raises(DataError, match=r"data of type ndarray for an isolated run; needed: the path of a file\. "):
        onnxrich.run(model, np.zeros((3, 4), np.float32), isolate=True)
    with pytest.raises(DataError, match="model of type bytes for an isolated run"):
        onnxrich.run(model.read_bytes(), isolate=True)


def test_listener_that_raises(tmp_path: Path, data: Path) -> None:
    """An exception of the caller's listener reaches the caller, and the worker is ended."""
    caught: list[psutil.Process] = []

    def listen(_: Progress) -> None:
        caught.extend(workers(os.getpid()))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        onnxrich.run(_models.model(tmp_path), data, isolate=True, progress=listen)
    assert len(caught) == 1 and not caught[0].is_running()


# --- crashes and ends from outside -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("trouble", "stage"), [("crash_loading", LOADING), ("crash_running", "running")])
def test_native_crash(tmp_path: Path, data: Path, trouble: str, stage: str) -> None:
    """A model that kills the runtime is one line that names the signal and the stage; this process lives on."""
    with pytest.raises(WorkerError) as caught:
        onnxrich.run(_models.model(tmp_path, trouble), data, device="cpu", isolate=True)
    assert str(caught.value) == (
        f"native code crashed (SIGFPE) while {stage}; needed: a model that the runtime can take. "
        "The model makes ONNX Runtime crash: simplify or export it again, and don't deploy it."
    )


@pytest.mark.slow
def test_native_crash_late(tmp_path: Path) -> None:
    """A crash in the middle of the data names that stage."""
    rows = np.full((24_000, 4), 2, np.float32)
    rows[-1] = -1
    np.save(tmp_path / "late.npy", rows)
    with pytest.raises(WorkerError, match=r"^native code crashed \(SIGFPE\) while running; "):
        onnxrich.run(
            _models.model(tmp_path, "crash_late"), tmp_path / "late.npy", device="cpu", batch_size=1, isolate=True
        )


def test_crash_leaves_no_core(tmp_path: Path, data: Path) -> None:
    """A crash writes no image of the worker's memory into the current folder, even where the system allows it."""
    model, folder = _models.model(tmp_path, "crash_loading"), tmp_path / "empty"
    folder.mkdir()
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    setup = f"import resource; resource.setrlimit(resource.RLIMIT_CORE, ({most}, {most}))"
    command = after(setup, parent_command(model, data))
    completed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "SIGFPE" in completed.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("trouble", "stage"), [("slow_loading", LOADING), ("endless_running", "running"), ("rows", "running")]
)
def test_worker_killed(tmp_path: Path, data: Path, trouble: str, stage: str) -> None:
    """SIGKILL of the worker from outside, as by the kernel's memory guard, is one line that names the stage."""

    def work_and_kill(worker: psutil.Process) -> None:
        let_work(worker)
        worker.kill()

    kill = at(stage, work_and_kill)
    with pytest.raises(WorkerError) as caught:
        if trouble == "rows":
            rows = _models.many_rows(tmp_path)
            onnxrich.run(_models.model(tmp_path), rows, device="cpu", batch_size=1, isolate=True, progress=kill)
        else:
            onnxrich.run(_models.model(tmp_path, trouble), data, device="cpu", isolate=True, progress=kill)
    assert str(caught.value) == (
        f"the worker was killed while {stage}; needed: a run to its end. "
        "If memory ran out, pass a smaller --batch-size; else run it again."
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGRTMIN + 3])
def test_worker_ended_by_signal(tmp_path: Path, data: Path, number: int) -> None:
    """Any other signal that ends the worker is named, and is not called a crash."""
    ask = at("running", lambda worker: worker.send_signal(number))
    with pytest.raises(WorkerError, match=rf"^the worker was ended by signal {int(number)} \(.+\) while running; "):
        onnxrich.run(_models.model(tmp_path, "endless_running"), data, device="cpu", isolate=True, progress=ask)


def test_worker_killed_in_its_answer() -> None:
    """Half an answer is no answer: a worker that dies while it writes one is reported like any other."""

    def wait_and_kill(worker: psutil.Process) -> None:
        # The answer is larger than a pipe: it is under way, and stuck, once the worker waits and does nothing any more.
        until(lambda: worker.cpu_percent(0.3) == 0.0 and worker.status() == psutil.STATUS_SLEEPING)
        worker.kill()

    with pytest.raises(WorkerError, match=r"^the worker was killed while computing the metrics; "):
        onnxrich.run(
            onnxrich.demo_file("rich.onnx"), onnxrich.demo_file("evaluation.npz"), device="cpu", isolate=True,
            progress=at("computing the metrics", wait_and_kill),
        )  # fmt: skip


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trouble", "stage"), [("slow_loading", LOADING), ("endless_running", "running")])
def test_timeout(tmp_path: Path, data: Path, clock: Clock, trouble: str, stage: str) -> None:
    """A deadline ends native code that never comes back."""
    ended: list[psutil.Process] = []

    def pass_the_deadline(worker: psutil.Process) -> None:
        ended.append(worker)
        clock.now = 3601

    with pytest.raises(WorkerError) as caught:
        onnxrich.run(
            _models.model(tmp_path, trouble), data, device="cpu", isolate=True, timeout=3600,
            progress=at(stage, pass_the_deadline),
        )  # fmt: skip
    assert str(caught.value) == (
        f"not done after 3600 s, while {stage}; needed: an end within --timeout. "
        "Pass a larger --timeout, or fewer rows, such as --limit 10000."
    )
    assert not ended[0].is_running()


def test_timeout_of_checkpoints(tmp_path: Path, data: Path, clock: Clock) -> None:
    """The message names the checkpoint that was measured when the time was over."""

    def pass_the_deadline(_: psutil.Process) -> None:
        clock.now = 3601

    model = _models.model(tmp_path, "endless_running")
    with pytest.raises(WorkerError, match=r"^not done after 3600 s, while checkpoint 1 of 1: running; "):
        onnxrich.track(model, data, device="cpu", isolate=True, timeout=3600, progress=at("running", pass_the_deadline))


def test_end_before_the_deadline(tmp_path: Path, data: Path, clock: Clock) -> None:
    """Up to its last second a run is not ended."""

    def reach_the_deadline(_: psutil.Process) -> None:
        clock.now = 3600

    listen = at("computing the metrics", reach_the_deadline)
    model = _models.model(tmp_path)
    assert onnxrich.run(model, data, device="cpu", isolate=True, timeout=3600, progress=listen).moments.n == 64
    assert clock.now == 3600


@pytest.mark.parametrize("trouble", ["bomb_loading", "bomb_running"])
def test_max_memory(tmp_path: Path, data: Path, trouble: str) -> None:
    """A model that fills the memory is ended, and the message says how much was in use, and when."""
    with pytest.raises(WorkerError) as caught:
        onnxrich.run(_models.model(tmp_path, trouble), data, device="cpu", isolate=True, max_memory=600 << 20)
    assert caught.value.needed == "at most 600 MiB, the limit of --max-memory"
    # Whether the runtime folds the bomb while it loads, or first when it runs, is its own affair.
    used, stage = caught.value.found.split(" MiB of memory in use, while ")
    assert stage in (LOADING, "running")
    # Smaller batches don't make a model smaller that is loaded.
    smaller = "smaller --batch-size or a " if stage == "running" else ""
    assert caught.value.remedy == f"Pass a {smaller}larger --max-memory."
    # The message has whole MiB. All of the bomb has 4,096, and the libraries some 50.
    assert 600 <= float(used.replace(",", "")) < 4400


@pytest.mark.parametrize("more", [0, 1])
def test_memory_at_the_limit(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    """As much memory as the limit is allowed, and one byte more ends the run."""
    limit = 600 << 20
    used = SimpleNamespace(rss=limit + (100 << 20) + more, shared=100 << 20)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _: used)
    model = _models.model(tmp_path)
    if not more:
        assert onnxrich.run(model, data, device="cpu", isolate=True, max_memory=limit).moments.n == 64
        return
    with pytest.raises(WorkerError, match=r"^600 MiB of memory in use, while "):
        onnxrich.run(model, data, device="cpu", isolate=True, max_memory=limit)


def test_limits_that_hold(tmp_path: Path, data: Path) -> None:
    """Limits that are not reached change nothing."""
    model = _models.model(tmp_path)
    free = onnxrich.run(model, data, device="cpu", isolate=True)
    assert same(free, onnxrich.run(model, data, device="cpu", isolate=True, timeout=PATIENCE, max_memory=2 << 30))


# --- the end of the parent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("trouble", ["slow_loading", "endless_running", "rows"])
def test_no_orphan(tmp_path: Path, data: Path, trouble: str, number: int) -> None:
    """The worker ends with its parent, be it in native code or in Python."""
    python = trouble == "rows"
    model = _models.model(tmp_path, "none" if python else trouble)
    rows = _models.many_rows(tmp_path) if python else data
    with parent_at("running" if python else LOADING, model, rows, batch_size=1 if python else 16) as (parent, worker):
        let_work(worker)
        parent.send_signal(number)
        assert parent.wait(PATIENCE) == -number
        until(lambda: is_over(worker))


def test_interrupt(tmp_path: Path, data: Path) -> None:
    """An interrupt of the caller amidst the work is a KeyboardInterrupt, and the worker is gone by then."""
    with parent_at(LOADING, _models.model(tmp_path, "slow_loading"), data) as (parent, worker):
        let_work(worker)
        os.killpg(parent.pid, signal.SIGINT)
        _, printed = parent.communicate(timeout=PATIENCE)
        assert printed.decode().strip().endswith("KeyboardInterrupt")
        assert not worker.is_running()


def test_parent_is_process_one(tmp_path: Path, data: Path) -> None:
    """The entry point of a container has the number 1, and its worker works all the same."""
    inside = ["unshare", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process namespaces: install util-linux, and allow user namespaces, or run as root")
    command = [*inside, *parent_command(_models.model(tmp_path), data)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stdout.splitlines()[-1:]) == (0, ["done"]), completed.stderr


# --- surroundings ----------------------------------------------------------------------------------------------------


def test_native_prints_stay_off_stdout(tmp_path: Path, data: Path) -> None:
    """What is printed below Python in the worker neither breaks the talk of the two nor reaches standard output."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Printer:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime':\n"
        "            os.write(1, b'*** EP Error ***')\n"
        "            print('printed by Python', flush=True)\n"
        f"            open({str(tmp_path / 'printed')!r}, 'w').close()\n"
        "sys.meta_path.insert(0, Printer())\n"
    )
    command = parent_command(_models.model(tmp_path), data)
    completed = subprocess.run(command, capture_output=True, text=True, check=False, env=with_modules(tmp_path))
    assert (tmp_path / "printed").exists()
    assert completed.returncode == 0 and completed.stdout.endswith("done\n") and completed.stderr == ""
    assert "Error" not in completed.stdout and "printed" not in completed.stdout


def test_crash_keeps_native_prints(tmp_path: Path, data: Path) -> None:
    """What native code printed before it crashed is a note of the error, for those who debug."""
    (tmp_path / "sitecustomize.py").write_text("import os; os.write(2, b'last words')\n")
    command = parent_command(_models.model(tmp_path, "crash_loading"), data)
    completed = subprocess.run(command, capture_output=True, text=True, check=False, env=with_modules(tmp_path))
    assert "last words" in completed.stderr and "WorkerError" in completed.stderr
    assert "Fatal Python error: Floating point exception" in completed.stderr, "and which code was running"


def test_current_folder_shadows_nothing(tmp_path: Path, data: Path) -> None:
    """Modules in the current folder, which may have come with the model, are not imported."""
    for name in ("numpy", "onnxrich", "json", "onnx", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write({name!r})\n")
    completed = subprocess.run(
        parent_command(_models.model(tmp_path), data), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert completed.stdout.endswith("done\n"), completed.stderr
    assert not (tmp_path / "imported").exists()


def test_runtime_settings_stay_outside(tmp_path: Path, data: Path) -> None:
    """ORT_* variables, which change what the runtime does, don't reach the worker; other variables do."""
    settings = {"ORT_LOAD_CONFIG_FROM_MODEL": "1", "ORT_DEBUG_NODE_IO_DUMP_INPUT_DATA": "1", "ONNXRICH_TEST": "kept"}
    model = _models.model(tmp_path, "endless_running")
    with parent_at(LOADING, model, data, env=os.environ | settings) as (_, worker):
        seen = worker.environ()
    assert seen["ONNXRICH_TEST"] == "kept"
    assert {name: value for name, value in seen.items() if name.startswith("ORT_")} == {"ORT_DISABLE_TELEMETRY": "1"}


def test_no_place_for_temporary_files(tmp_path: Path, data: Path) -> None:
    """A machine on which no file can be written can run an analysis."""
    command = after(LIMIT.format("FSIZE", "0"), parent_command(_models.model(tmp_path), data))
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.stdout.endswith("done\n"), completed.stderr


def test_concurrent_runs(tmp_path: Path, data: Path) -> None:
    """Runs at the same time, from threads other than the main one, don't disturb each other."""
    good, bad = _models.model(tmp_path), _models.model(tmp_path, "crash_loading")
    endless = _models.model(tmp_path, "endless_running")
    alone = onnxrich.run(good, data, device="cpu")

    def run(model: Path, **options: Any) -> onnxrich.Analysis | str:
        try:
            return onnxrich.run(model, data, device="cpu", isolate=True, **options)
        except WorkerError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        first, crash, late, second = (
            pool.submit(run, good), pool.submit(run, bad), pool.submit(run, endless, timeout=3), pool.submit(run, good)
        )  # fmt: skip
    assert "SIGFPE" in str(crash.result()) and "not done after 3 s" in str(late.result())
    for analysis in (first.result(), second.result()):
        assert isinstance(analysis, onnxrich.Analysis) and same(alone, analysis)
    assert workers(os.getpid()) == []


def test_nothing_stays_open(tmp_path: Path, data: Path) -> None:
    """Runs, good or bad, leave no open file, no thread and no child behind."""
    good, bad = _models.model(tmp_path), _models.model(tmp_path, "crash_loading")
    process = psutil.Process()
    onnxrich.run(good, data, device="cpu", isolate=True)
    before = process.num_fds(), threading.active_count()
    onnxrich.run(good, data, device="cpu", isolate=True)
    with pytest.raises(WorkerError):
        onnxrich.run(bad, data, device="cpu", isolate=True)
    assert (process.num_fds(), threading.active_count()) == before
    assert workers(os.getpid()) == []
