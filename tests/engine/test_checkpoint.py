"""A pass that is killed and resumed gives the bits of an uninterrupted one; a checkpoint of another pass is refused."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from clock import DEADLINE, Clock, wait_until
from zoo_text import build, refused

import onnxrich
from onnxrich.engine import checkpoint, memory, monitor
from onnxrich.engine.checkpoint import CheckpointState, CheckpointWriter
from onnxrich.engine.prepared import PreparedModel
from onnxrich.engine.runtime import Accumulator
from onnxrich.errors import DataError, OutputError, WorkerError

ROWS, BATCH = 1003, 20
X = np.random.default_rng(0).standard_normal((ROWS, 6)).astype(np.float32)
Y = np.arange(ROWS) % 3
START_ANEW = "Pass another --checkpoint, or remove the file to start anew."

# A run whose data kill their own process, as SIGKILL does it at any time: at once, with nothing to clean up. With a
# checkpoint behind every batch, they wait until one is on the disk.
VICTIM = f"""
import os, signal, sys, time
import numpy as np
import onnxrich
from onnxrich.engine import checkpoint

model, data, saved, last, pause = sys.argv[1:]
checkpoint.SAVE_SECONDS = checkpoint.FIRST_SECONDS = float(pause)

def items(x, y):
    for start in range(0, len(x), 20):
        if start // 20 == int(last):
            end = time.monotonic() + {DEADLINE}
            while float(pause) == 0 and not os.path.exists(saved) and time.monotonic() < end:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)
        yield {{"x": x[start:start + 20], "labels": y[start:start + 20]}}

with np.load(data) as arrays:
    x, y = arrays["x"], arrays["labels"]
analysis = onnxrich.run(model, items(x, y), batch_size=20, device="cpu", checkpoint=saved)
analysis.moments.save("done.npz")
print(analysis.metrics["d_lr"], analysis.moments.n)
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


def batches(rows: int, size: int = BATCH) -> Iterator[dict[str, np.ndarray]]:
    """The first so many rows."""
    for start in range(0, rows, size):
        yield {"x": X[start : start + size], "labels": Y[start : start + size]}


def record_staged(monkeypatch: pytest.MonkeyPatch) -> list[CheckpointState]:
    """The states that are written from now on."""
    states, stage_checkpoint = list[CheckpointState](), checkpoint.stage_checkpoint

    def stage(path: Path, description: dict, state: CheckpointState) -> Path:
        states.append(state)
        return stage_checkpoint(path, description, state)

    monkeypatch.setattr(checkpoint, "stage_checkpoint", stage)
    return states


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
    assert attempt(30, pause=np.inf).returncode == -signal.SIGKILL
    assert not (place / "saved").exists()
    assert float(attempt(-1, pause=np.inf).stdout.split()[1]) == ROWS


def test_a_finished_pass_is_not_run_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint of a finished pass gives its result again, to the bit, uncertainties included."""
    first = onnxrich.run("model.onnx", "data.npz", batch_size=BATCH, device="cpu", checkpoint="saved")
    add = Mock(side_effect=AssertionError("a batch is added again"))
    monkeypatch.setattr(Accumulator, "add", add)
    again = onnxrich.run("model.onnx", "data.npz", batch_size=BATCH, device="cpu", checkpoint="saved")
    np.testing.assert_array_equal(first.moments.matrix, again.moments.matrix)
    assert first.metrics == again.metrics
    assert (first.record.runtime.resumed, again.record.runtime.resumed) == (0, ROWS)
    assert not add.called


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
    ("options", "difference"),
    [
        ({"batch_size": 21}, "batch size 20 then, 21 now"),
        ({"blocks": 5}, "blocks 16 then, 5 now"),
        ({"features": "a", "outputs": "y"}, "features 'h' then, 'a' now"),
        ({"data": X}, "source 'data.npz' then, 'array'"),
    ],
)
def test_other_options_are_refused(place: Path, options: dict, difference: str) -> None:
    """A checkpoint is of one pass: what would mix two is refused in words, and the file is kept."""
    onnxrich.run("model.onnx", "data.npz", batch_size=BATCH, device="cpu", checkpoint="saved")
    before = (place / "saved").read_bytes()
    options = {"data": "data.npz", "batch_size": BATCH, "device": "cpu", "checkpoint": "saved"} | options
    with refused(DataError, f"checkpoint 'saved' belongs to another run: {difference}", START_ANEW):
        onnxrich.run("model.onnx", **options)
    assert (place / "saved").read_bytes() == before


def test_other_tokens_or_masks_of_layers_are_refused(tmp_path: Path) -> None:
    """Sums of a layer of tokens are of one mean, token or mask."""
    model = build(
        "m = Cast<to = 1>(attention_mask)\n u = Unsqueeze(m, last)\n g = MatMul(x, w1)\n k = Mul(g, u)\n "
        "h = ReduceSum<keepdims = 0>(k, middle)\n y = MatMul(h, w2)",
        x="float[N,5,6] x, int64[N,5] attention_mask", last=np.array([2]), middle=np.array([1]),
    )  # fmt: skip
    rng = np.random.default_rng(3)
    data = {"x": rng.standard_normal((200, 5, 6)).astype(np.float32), "attention_mask": rng.integers(0, 2, (200, 5))}
    options: dict = {"layers": ["g"], "device": "cpu", "checkpoint": tmp_path / "saved"}
    onnxrich.run(model, data, **options)
    for others in ({"token": 0}, {"mask": "none"}, {"mask": "not:attention_mask"}):
        with refused(DataError, "belongs to another run", START_ANEW):
            onnxrich.run(model, data, **options, **others)


def test_other_labels_are_refused(place: Path) -> None:
    """Whether there were labels, and how many targets they make, is told in words."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", **options)
    np.savez(place / "data.npz", x=X)
    with refused(DataError, "checkpoint 'saved' belongs to another run: labels were given then, none now;", START_ANEW):
        onnxrich.run("model.onnx", "data.npz", **options)
    with refused(DataError, "belongs to another run: 3 targets then, 5 now;"):
        onnxrich.run("model.onnx", "data.npz", np.arange(ROWS) % 5, **options)
    (place / "saved").unlink()
    onnxrich.run("model.onnx", "data.npz", **options)
    with refused(DataError, "belongs to another run: no labels were given then, but are now;"):
        onnxrich.run("model.onnx", "data.npz", Y, **options)


def test_labels_of_other_classes_are_refused(place: Path) -> None:
    """As many classes as before, but others: sums of one must not be added to the column of another."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", np.array([0, 5, 300])[Y], **options)
    with refused(DataError, "belongs to another run: classes that occur ", " then, ", " now; needed"):
        onnxrich.run("model.onnx", "data.npz", np.array([0, 7, 300])[Y], **options)


def test_other_models_are_refused(place: Path) -> None:
    """Hashes are told in as many digits as it takes."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", **options)
    before = (place / "model.onnx").read_bytes()
    after = before + onnx.ModelProto(producer_name="another").SerializeToString()
    (place / "model.onnx").write_bytes(after)
    then, now = (hashlib.sha256(content).hexdigest()[:12] for content in (before, after))
    with refused(DataError, f"belongs to another run: model {then} then, {now} now; needed"):
        onnxrich.run("model.onnx", "data.npz", **options)


def test_data_that_became_fewer_are_refused(place: Path) -> None:
    """Data that end before the checkpoint are not those that it was made with."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", **options)
    np.savez(place / "data.npz", x=X[:500], labels=Y[:500])
    with refused(DataError, "the first 25 batches hold 500 samples, and the 51 of the checkpoint 1,003"):
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
    with refused(DataError, "checkpoint 'saved' is damaged or no checkpoint: it is cut or damaged", START_ANEW):
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
    with refused(DataError, "checkpoint 'saved' is damaged or no checkpoint", START_ANEW):
        onnxrich.run("model.onnx", "data.npz", **options)


def test_first_rows_that_changed_are_refused(place: Path) -> None:
    """The same model, file and options, and other means of the first rows."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved", "layers": "all"}
    onnxrich.run("model.onnx", "data.npz", **options)
    np.savez(place / "data.npz", x=X + 1, labels=Y)
    with refused(DataError, "belongs to another run: the first rows give other features now;"):
        onnxrich.run("model.onnx", "data.npz", **options)


def test_resumed_sums_keep_their_shift(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first rows differ by rounding, as on another machine, the sums keep the shift that they began with."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    first, pilot_shift = onnxrich.run("model.onnx", "data.npz", **options), PreparedModel.pilot_shift
    monkeypatch.setattr(PreparedModel, "pilot_shift", lambda prepared: pilot_shift(prepared) * (1 + 1e-6))
    again = onnxrich.run("model.onnx", "data.npz", **options)
    np.testing.assert_array_equal(again.moments.shift, first.moments.shift)
    np.testing.assert_array_equal(again.moments.matrix, first.moments.matrix)
    monkeypatch.setattr(PreparedModel, "pilot_shift", lambda prepared: pilot_shift(prepared) * (1 + 1e-3))
    with refused(DataError, "belongs to another run: the first rows give other features now;"):
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
        scarce.setattr(memory, "_allowed_bytes", lambda _: 60_000)
        begun = onnxrich.run("model.onnx", "data.npz", checkpoint="saved", **options)
    assert 4 <= begun.record.runtime.blocks < 16
    resumed = onnxrich.run("model.onnx", "data.npz", checkpoint="saved", **options)
    assert (resumed.record.runtime.resumed, resumed.record.runtime.blocks) == (ROWS, begun.record.runtime.blocks)
    assert onnxrich.run("model.onnx", "data.npz", **options).record.runtime.blocks == 16


def test_rows_of_split_batches_are_known(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the model fixes its batch size, a checkpoint knows its rows all the same: others are refused."""
    monkeypatch.setattr(CheckpointWriter, "is_due", lambda _: True)
    # The size of a batch stands in the model, so that it can't be opened.
    body = "c = Add(x, rows)\n a = MatMul(c, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    model = build(body, x="float[8,6] x", y="float[8,3] y", rows=np.zeros((8, 6), np.float32))
    states = record_staged(monkeypatch)
    onnxrich.run(model, batches(480, 24), batch_size=24, device="cpu", checkpoint="saved")
    # One behind each batch of 24, and none inside, though the model runs 8 at a time.
    assert [state.samples for state in states] == list(range(24, 481, 24))
    assert None not in [state.fingerprint for state in states]
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
    with refused(
        DataError, "checkpoint 'data.npz' is damaged or no checkpoint", "; needed: a file of schema", START_ANEW
    ):
        onnxrich.run("model.onnx", "data.npz", device="cpu", checkpoint="data.npz")


def test_the_first_checkpoint_comes_soon(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that is killed every few seconds advances: its first rows are saved within a second, the next in five."""
    clock, states = Clock(), record_staged(monkeypatch)
    monkeypatch.setattr(monitor, "time", clock)

    def slow_batches() -> Iterator[dict[str, np.ndarray]]:
        for batch in batches(ROWS):
            clock.advance(0.05)
            yield batch

    onnxrich.run("model.onnx", slow_batches(), batch_size=BATCH, device="cpu", checkpoint="saved")
    assert len(states) == 2 and 0 < states[0].samples < states[1].samples == ROWS


def test_a_slow_disk_holds_up_no_pass(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk writes a checkpoint the pass goes on, and begins no other; the last one is on the disk."""
    monkeypatch.setattr(checkpoint, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SAVE_SHARE", 1e9)
    number, went_on, place_file = 0, list[bool](), checkpoint.place

    def slow_place(staged: Path, path: Path) -> None:
        # More batches than are read ahead: so the pass itself went on. A pass that waits here never gets there.
        start = number
        went_on.append(bool(went_on) or wait_until(lambda: number > start + 10))
        place_file(staged, path)

    def numbered_batches() -> Iterator[dict[str, np.ndarray]]:
        nonlocal number
        for number, batch in enumerate(batches(ROWS)):  # noqa: B007 - read by the disk
            yield batch

    monkeypatch.setattr(checkpoint, "place", slow_place)
    resumed = onnxrich.run("model.onnx", numbered_batches(), batch_size=BATCH, device="cpu", checkpoint="saved")
    assert all(went_on)
    with np.load("saved") as saved:
        assert json.loads(saved["checkpoint"].tobytes())["samples"] == ROWS
    whole = onnxrich.run("model.onnx", "data.npz", batch_size=BATCH, device="cpu")
    np.testing.assert_array_equal(resumed.moments.matrix, whole.moments.matrix)


def test_the_disk_rests_as_long_as_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a checkpoint that the disk took three seconds for, none is due for three seconds."""
    clock, state = Clock(), CheckpointState(1, 20, None, [np.zeros(1)])
    for module in (monitor, checkpoint):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(checkpoint, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "SAVE_SHARE", 1e9)
    monkeypatch.setattr(checkpoint, "place", lambda *_: clock.advance(3.0))
    with CheckpointWriter(tmp_path / "saved", {}, shapes=[], shifts=[np.zeros(1)], tolerance=0.0) as writer:
        assert writer.is_due()
        writer.save(lambda: state)
        writer.wait()
        clock.advance(2.5)
        assert not writer.is_due()
        clock.advance(0.5)
        assert writer.is_due()


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
    monkeypatch.setattr(checkpoint, "SAVE_SECONDS", 0.0)
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
    with refused(OutputError, "the folder does not exist", "Make the folder first."):
        onnxrich.run("model.onnx", "data.npz", device="cpu", checkpoint=Path("none") / "saved")


@pytest.mark.slow
def test_edited_checkpoints(place: Path) -> None:
    """Positions, counts and sums that no pass has are refused by name, and the file stays as it is."""
    options: dict = {"batch_size": BATCH, "device": "cpu", "checkpoint": "saved"}
    onnxrich.run("model.onnx", "data.npz", **options)
    with np.load("saved") as saved:
        arrays = dict(saved)
    header = json.loads(arrays["checkpoint"].tobytes())
    sums = arrays["0.0"]

    def changed(**values: object) -> dict[str, np.ndarray]:
        return {"checkpoint": np.frombuffer(json.dumps(header | values).encode(), np.uint8)}

    def edited(place: tuple[int, int], value: float) -> dict[str, np.ndarray]:
        matrix = sums.copy()
        matrix[place] = value
        return {"0.0": matrix}

    for edit, reason in (
        (changed(batches=-1), "it stands before the first batch"),
        (changed(batches=0), "it stands before the first batch"),
        (changed(samples=2.5), "it stands before the first batch"),
        (changed(samples="1003"), "it stands before the first batch"),
        (changed(fingerprint=None), "it has no fingerprint"),
        (changed(schema="onnxrich.checkpoint/1"), "its schema is another one"),
        (changed(about=[]), "is damaged or no checkpoint"),
        (changed(about={}), "is damaged or no checkpoint"),
        (changed(batches=10**6), "and the 1,000,000 of the checkpoint 1,003"),
        (changed(samples=1004), "it counts|1,004"),
        ({"checkpoint": np.frombuffer(b"[" * 100_000, np.uint8)}, "is damaged or no checkpoint"),
        ({"checkpoint": np.frombuffer(b'{"batches": NaN}', np.uint8)}, "is damaged or no checkpoint"),
        ({"0.0": sums * np.nan}, "'0.0' holds NaN or infinity"),
        ({"0.0": sums.astype(np.float32)}, "'0.0' has type float32"),
        ({"0.0": sums.astype(np.complex128)}, "'0.0' has type complex128"),
        ({"shift.0": arrays["shift.0"] + np.inf}, "'shift.0' holds NaN or infinity"),
        (edited((0, 0), -60), "it counts -60 to"),
        (edited((0, 0), 60_000), "rows in blocks"),
        (edited((2, 2), -1e6), "of its sums, sums of squares are below zero"),
        (edited((1, 2), 1e6), "of its sums, the matrix is not symmetric and positive semidefinite"),
    ):
        np.savez("edited.npz", **arrays | edit)
        content = Path("edited.npz").read_bytes()
        with pytest.raises(DataError, match=reason) as found:
            onnxrich.run("model.onnx", "data.npz", **options | {"checkpoint": "edited.npz"})
        assert len(str(found.value)) < 300
        assert Path("edited.npz").read_bytes() == content


def test_checkpoints_that_expand_or_block(place: Path) -> None:
    """A compressed archive can expand to any size, and a FIFO is never read."""
    options: dict = {"batch_size": BATCH, "device": "cpu"}
    onnxrich.run("model.onnx", "data.npz", checkpoint="saved", **options)
    with np.load("saved") as saved:
        np.savez_compressed("compressed.npz", **saved)
    os.mkfifo("fifo")
    for name, reason in (("compressed.npz", "it is compressed"), ("fifo", "no regular file")):
        for layers in (None, "all"):
            with refused(DataError, reason):
                onnxrich.run("model.onnx", "data.npz", checkpoint=name, layers=layers, **options)
