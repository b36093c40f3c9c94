"""A pass that is killed and started again gives the bits of one that never was; a checkpoint of another is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from zoo_text import build, refused

import onnxrich
from onnxrich.engine import accumulation as summing
from onnxrich.engine import checkpoint
from onnxrich.engine import checkpoint as keeping
from onnxrich.engine import memory as fitting
from onnxrich.errors import DataError, OutputError, WorkerError

ROWS, BATCH = 1003, 20
X = np.random.default_rng(0).standard_normal((ROWS, 6)).astype(np.float32)
Y = np.arange(ROWS) % 3
ANEW = "Pass another --checkpoint, or remove the file to begin anew."

# A run whose data kill their own process, as SIGKILL does it at any time: at once, with nothing to clean up.
VICTIM = """
import os, signal, sys
import numpy as np
import onnxrich
from onnxrich import keeping

def items(x, y, last):
    for at in range(0, len(x), 20):
        if at // 20 == last:
            os.kill(os.getpid(), signal.SIGKILL)
        yield {"x": x[at:at + 20], "labels": y[at:at + 20]}

model, data, saved, last, pause = sys.argv[1:]
keeping.SAVE_SECONDS = float(pause)
with np.load(data) as arrays:
    x, y = arrays["x"], arrays["labels"]
made = onnxrich.run(model, items(x, y, int(last)), batch_size=20, device="cpu", checkpoint=saved)
made.moments.save("done.npz")
print(made.metrics["d_lr"], made.moments.n)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and its data."""
    rng = np.random.default_rng(1)
    weights = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (("w", (6, 8)), ("v", (8, 3)))}
    proto = build("a = MatMul(x, w)\n h = Relu(a)\n y = MatMul(h, v)", **weights)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    np.savez(tmp_path / "data.npz", x=X, labels=Y)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def attempt(last: int, pause: float = 0.0) -> subprocess.CompletedProcess[str]:
    """A run in a process of its own that dies when batch number `last` is read; −1 for never."""
    arguments = [sys.executable, "-c", VICTIM, "model.onnx", "data.npz", "saved", str(last), str(pause)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def batches(rows: int, size: int = BATCH, pause: float = 0.0) -> Iterator[dict[str, np.ndarray]]:
    """The first so many rows, each batch after a pause."""
    for at in range(0, rows, size):
        time.sleep(pause)
        yield {"x": X[at : at + size], "labels": Y[at : at + size]}


def test_killed_again_and_again(place: Path) -> None:
    """Killed at several places and begun anew each time, a pass gives the same bits, and each row counts once."""
    for last in (9, 10, 30, 50):
        assert attempt(last).returncode == -signal.SIGKILL
        assert (place / "saved").is_file()
    done = attempt(-1)
    assert done.returncode == 0, done.stderr
    whole = onnxrich.run("model.onnx", "data.npz", batch_size=BATCH, device="cpu")
    with np.load("done.npz") as saved:
        np.testing.assert_array_equal(saved["matrix"], whole.moments.matrix)
    assert done.stdout.split() == [str(whole.metrics["d_lr"]), str(float(ROWS))]
    assert not [path for path in place.iterdir() if path.name.endswith(".tmp")]


def test_killed_before_the_first_checkpoint(place: Path) -> None:
    """Without a checkpoint the pass begins anew, and is whole all the same."""
    assert attempt(30, pause=60).returncode == -signal.SIGKILL
    assert not (place / "saved").exists()
    assert float(attempt(-1, pause=60).stdout.split()[1]) == ROWS


def test_a_finished_pass_is_not_run_again(place: Path) -> None:
    """The checkpoint of a finished pass gives its result again, to the bit, uncertainties included."""
    first, again = (
        onnxrich.run("model.onnx", "data.npz", batch_size=BATCH, device="cpu", checkpoint="saved") for _ in range(2)
    )
    np.testing.assert_array_equal(first.moments.matrix, again.moments.matrix)
    assert first.metrics == again.metrics
    assert (first.record.runtime.resumed, again.record.runtime.resumed) == (0, ROWS)
    assert again.record.runtime.profile["running"] < first.record.runtime.profile["running"]


def test_on_the_command_line(place: Path) -> None:
    """`--checkpoint` goes on from the file that is there."""
    command = [str(Path(sys.executable).with_name("onnxrich")), "run", "model.onnx", "--data", "data.npz"]
    for more in (["--json"], []):
        done = subprocess.run([*command, "--checkpoint", "saved", *more], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert re.search(r" s; 1,003 of 1,003 samples were in the\s+checkpoint\n", done.stdout)
    assert "rows/s" not in done.stdout
    assert (place / "saved").stat().st_size > 16 * 8 * 15**2 / 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"batch_size": 21}, "batch size 20 then, 21 now"),
        ({"blocks": 5}, "blocks 16 then, 5 now"),
        ({"features": "a", "outputs": "y"}, "features 'h' then, 'a' now"),
        ({"data": X}, "source 'data.npz' then, 'array'"),
    ],
)
def test_other_options_are_refused(place: Path, options: dict, told: str) -> None:
    """A checkpoint is of one pass: what would mix two is refused in words, and the file is kept."""
    onnxrich.run("model.onnx", "data.npz", batch_size=BATCH, device="cpu", checkpoint="saved")
    before = (place / "saved").read_bytes()
    given = {"data": "data.npz", "batch_size": BATCH, "device": "cpu", "checkpoint": "saved"} | options
    with refused(DataError, f"checkpoint 'saved' is of another run: {told}", ANEW):
        onnxrich.run("model.onnx", **given)
    assert (place / "saved").read_bytes() == before


def test_other_labels_are_refused(place: Path) -> None:
    """Whether there were labels, and how many targets they make, is told in words."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", **options)
    np.savez(place / "data.npz", x=X)
    with refused(DataError, "checkpoint 'saved' is of another run: labels were given then, none now;", ANEW):
        onnxrich.run("model.onnx", "data.npz", **options)
    with refused(DataError, "is of another run: 3 targets then, 5 now;"):
        onnxrich.run("model.onnx", "data.npz", np.arange(ROWS) % 5, **options)
    (place / "saved").unlink()
    onnxrich.run("model.onnx", "data.npz", **options)
    with refused(DataError, "is of another run: no labels were given then, but are now;"):
        onnxrich.run("model.onnx", "data.npz", Y, **options)


def test_other_models_are_refused(place: Path) -> None:
    """Hashes are told in as many digits as it takes."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", **options)
    before = (place / "model.onnx").read_bytes()
    after = before + onnx.ModelProto(producer_name="another").SerializeToString()
    (place / "model.onnx").write_bytes(after)
    then, now = (hashlib.sha256(content).hexdigest()[:12] for content in (before, after))
    with refused(DataError, f"is of another run: model {then} then, {now} now; needed"):
        onnxrich.run("model.onnx", "data.npz", **options)


def test_data_that_became_fewer_are_refused(place: Path) -> None:
    """Data that end before the checkpoint are not those that it was made with."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", **options)
    np.savez(place / "data.npz", x=X[:500], labels=Y[:500])
    with refused(DataError, "500 samples in the first 25 batches, and 1,003 in the 51 of the checkpoint"):
        onnxrich.run("model.onnx", "data.npz", **options)


def test_data_that_changed_are_refused(place: Path) -> None:
    """One number that is another in a row that was counted already, and the passes are not mixed."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", **options)
    before = (place / "saved").read_bytes()
    changed = X.copy()
    changed[517, 3] += 1
    np.savez(place / "data.npz", x=changed, labels=Y)
    with refused(DataError, "the first 1,003 samples differ from those of the checkpoint"):
        onnxrich.run("model.onnx", "data.npz", **options)
    assert (place / "saved").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x03\x04 half", None])
@pytest.mark.parametrize("layers", [None, "all"])
def test_damaged_checkpoint(place: Path, content: bytes | None, layers: str | None) -> None:
    """A file that is no checkpoint, or a part of one, is refused by name, and not replaced."""
    options: dict = {"device": "cpu", "checkpoint": "saved", "layers": layers}
    if content is None:
        onnxrich.run("model.onnx", "data.npz", **options)
        content = (place / "saved").read_bytes()[:-100]
    (place / "saved").write_bytes(content)
    with refused(DataError, "checkpoint 'saved' is damaged or none (saved", ANEW):
        onnxrich.run("model.onnx", "data.npz", **options)
    assert (place / "saved").read_bytes() == content


@pytest.mark.parametrize("name", ["3.0", "shift.0"])
def test_sums_of_another_shape_are_refused(place: Path, name: str) -> None:
    """An array of a checkpoint that somebody cut is no reason for a traceback."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", **options)
    with np.load("saved") as saved:
        arrays = dict(saved)
    arrays[name] = arrays[name][:-1]
    with Path("saved").open("wb") as file:
        np.savez(file, **arrays)
    with refused(DataError, "checkpoint 'saved' is damaged or none", ANEW):
        onnxrich.run("model.onnx", "data.npz", **options)


def test_first_rows_that_changed_are_refused(place: Path) -> None:
    """The same model, file and options, and other means of the first rows."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved", "layers": "all"}
    onnxrich.run("model.onnx", "data.npz", **options)
    np.savez(place / "data.npz", x=X + 1, labels=Y)
    with refused(DataError, "is of another run: the first rows give other features now;"):
        onnxrich.run("model.onnx", "data.npz", **options)


def test_sums_go_on_about_their_shift(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first rows come out otherwise by rounding, as on another machine, the sums keep what they run about."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    made, real = onnxrich.run("model.onnx", "data.npz", **options), summing.pilot_shift
    monkeypatch.setattr(summing, "pilot_shift", lambda *given: real(*given) * (1 + 1e-6))
    again = onnxrich.run("model.onnx", "data.npz", **options)
    np.testing.assert_array_equal(again.moments.shift, made.moments.shift)
    np.testing.assert_array_equal(again.moments.matrix, made.moments.matrix)
    monkeypatch.setattr(summing, "pilot_shift", lambda *given: real(*given) * (1 + 1e-3))
    with refused(DataError, "is of another run: the first rows give other features now;"):
        onnxrich.run("model.onnx", "data.npz", **options)


def test_other_layers_are_refused(place: Path) -> None:
    """Sums of one layer are not gone on with for another."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", layers=["a"], **options)
    with refused(DataError, "layers ['a'] then, ['x'] now"):
        onnxrich.run("model.onnx", "data.npz", layers=["x"], **options)


def test_blocks_are_those_of_the_checkpoint(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass with layers goes on with the blocks for which there was memory when it was begun."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "layers": ["a"]}
    with monkeypatch.context() as scarce:
        scarce.setattr(fitting, "_allowed", lambda _: 60_000)
        begun = onnxrich.run("model.onnx", "data.npz", checkpoint="saved", **options)
    assert 4 <= begun.record.runtime.blocks < 16
    resumed = onnxrich.run("model.onnx", "data.npz", checkpoint="saved", **options)
    assert (resumed.record.runtime.resumed, resumed.record.runtime.blocks) == (ROWS, begun.record.runtime.blocks)
    assert onnxrich.run("model.onnx", "data.npz", **options).record.runtime.blocks == 16


def test_rows_of_batches_that_were_cut_are_known(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model fixes its batch size, a checkpoint knows its rows all the same: others are refused."""
    monkeypatch.setattr(keeping, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "SAVE_SHARE", 1e9)
    # The rows of a batch are mixed, so that its size can't be opened.
    body = "m = ReduceMean<axes = [0]>(x)\n c = Sub(x, m)\n a = MatMul(c, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    model = build(body, x="float[8,6] x", y="float[8,3] y")

    written = list[checkpoint.CheckpointState]()

    def stage(path: Path, about: dict, state: checkpoint.CheckpointState) -> Path:
        written.append(state)
        return real(path, about, state)

    real = checkpoint.stage_checkpoint
    monkeypatch.setattr(checkpoint, "stage_checkpoint", stage)
    onnxrich.run(model, batches(480, 24, pause=0.02), batch_size=24, device="cpu", checkpoint="saved")
    # None lies inside of a batch of 24, though the model runs 8 at a time; how many there are is up to the disk.
    assert len(written) > 2 and {state.samples for state in written} <= set(range(24, 481, 24))
    assert None not in [state.fingerprint for state in written]
    monkeypatch.setattr(sys.modules[__name__], "X", X.copy())
    X[100] += 1
    with refused(DataError, "the first 480 samples differ from those of the checkpoint"):
        onnxrich.run(model, batches(480, 24), batch_size=24, device="cpu", checkpoint="saved")


def test_what_a_killed_process_left_is_removed(place: Path) -> None:
    """Half a checkpoint, of a process that was killed while it wrote, does not lie there forever; other files do."""
    (place / ".saved.0123456789abcdef.tmp").write_bytes(b"half")
    others = [".saved.tmp", ".saved.0123456789abcdeg.tmp", ".other.0123456789abcdef.tmp", "saved.0123456789abcdef.tmp"]
    for name in others:
        (place / name).write_bytes(b"")
    onnxrich.run("model.onnx", "data.npz", device="cpu", checkpoint="saved")
    assert {path.name for path in place.iterdir()} == {"model.onnx", "data.npz", "saved", *others}


def test_another_archive_is_no_checkpoint(place: Path) -> None:
    """An archive of arrays that is none of ours is refused by name."""
    with refused(DataError, "checkpoint 'data.npz' is damaged or none", "; needed: a file of schema", ANEW):
        onnxrich.run("model.onnx", "data.npz", device="cpu", checkpoint="data.npz")


def test_the_first_checkpoint_comes_soon(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that is ended every few seconds gets on: its first rows are kept within a second, long before the next."""
    written, real = list[int](), checkpoint.stage_checkpoint

    def stage(path: Path, about: dict, state: checkpoint.CheckpointState) -> Path:
        written.append(state.samples)
        return real(path, about, state)

    monkeypatch.setattr(checkpoint, "stage_checkpoint", stage)
    onnxrich.run("model.onnx", batches(ROWS, pause=0.05), batch_size=BATCH, device="cpu", checkpoint="saved")
    assert len(written) == 2 and 0 < written[0] < written[1] == ROWS


def test_a_slow_disk_holds_up_no_pass(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk takes its time for one checkpoint the pass goes on, and begins no other; the last is kept."""
    monkeypatch.setattr(keeping, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "SAVE_SHARE", 1e9)
    placed, at, real = list[tuple[int, int]](), 0, keeping.place

    def slow(staged: Path, path: Path) -> None:
        begun = at
        time.sleep(0.2)
        real(staged, path)
        placed.append((begun, at))

    def counted() -> Iterator[dict[str, np.ndarray]]:
        nonlocal at
        for at, batch in enumerate(batches(ROWS, pause=0.01)):  # noqa: B007 - read by the disk
            yield batch

    monkeypatch.setattr(keeping, "place", slow)
    made = onnxrich.run("model.onnx", counted(), batch_size=BATCH, device="cpu", checkpoint="saved")
    assert len(placed) < 8 and placed[0][1] - placed[0][0] > 2
    with np.load("saved") as saved:
        assert json.loads(saved["checkpoint"].tobytes())["samples"] == ROWS
    whole = onnxrich.run("model.onnx", "data.npz", batch_size=BATCH, device="cpu")
    np.testing.assert_array_equal(made.moments.matrix, whole.moments.matrix)


def test_a_full_disk_ends_the_pass(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the thread beside the pass can't write is told, and leaves the checkpoint that was there."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", batches(500), **options)
    before = (place / "saved").read_bytes()
    monkeypatch.setattr(os, "fsync", Mock(side_effect=OSError(errno.ENOSPC, "full")))
    with refused(OutputError, "saved: no space left on the device", "Free some space"):
        onnxrich.run("model.onnx", batches(ROWS), **options)
    assert (place / "saved").read_bytes() == before
    # Also where it is begun behind the last batch, and nothing comes after it.
    monkeypatch.setattr(keeping, "SAVE_SECONDS", 0.0)
    with refused(OutputError, "other: no space left on the device"):
        onnxrich.run("model.onnx", batches(BATCH), **options | {"checkpoint": "other"})
    assert not (place / "other").exists()
    assert not [path for path in place.iterdir() if path.name.endswith(".tmp")]


def test_a_deadline_leaves_what_was_summed(place: Path) -> None:
    """The message of a run that was ended names the checkpoint, and what goes on from it; without one it doesn't."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    limits: dict = {"isolate": True, "timeout": 0.01}
    with pytest.raises(WorkerError, match=r"not done after 0\.01 s") as ended:
        onnxrich.run("model.onnx", "data.npz", **options, **limits)
    assert "saved" not in str(ended.value)
    onnxrich.run("model.onnx", "data.npz", **options)
    with refused(WorkerError, "not done after 0.01 s", "1,003 samples are in 'saved': the same command", "goes on"):
        onnxrich.run("model.onnx", "data.npz", **options, **limits)


def test_nowhere(place: Path) -> None:
    """A folder that is not there is an error before the work, not after it."""
    with refused(OutputError, "no such folder", "Make the folder first."):
        onnxrich.run("model.onnx", "data.npz", device="cpu", checkpoint=Path("none") / "saved")
