"""`onnxrich.export` and `onnxrich export` write a framework's model, whole and checked, and never load a pickle."""

from __future__ import annotations

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli._processes import onnxrich as command
from fake_plugin import FAKE, install

import onnxrich
from onnxrich.errors import AdapterError, OutputError

ROWS = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
EXAMPLE = (ROWS, np.zeros(8, np.int64))


@pytest.fixture
def fake(site: Path) -> Path:
    """The fake adapter, installed, and a model of it in a file."""
    install(site)
    (site / "net.fake").write_text("")
    return site


def test_export(fake: Path) -> None:
    """The file passes the checker, says where it comes from, and the result says how far it is from the framework."""
    done = onnxrich.export(fake / "net.fake", fake / "net.onnx", EXAMPLE, step=12)
    proto = onnx.load(done.path)
    onnx.checker.check_model(proto, full_check=True)
    marks = {entry.key: entry.value for entry in proto.metadata_props}
    assert marks == {"onnxrich.framework": "fake", "onnxrich.framework_version": "1.0", "onnxrich.step": "12"}
    assert (done.path, done.inputs, done.outputs) == (fake / "net.onnx", ("x",), ("logits",))
    assert done.framework == "fake 1.0"
    assert 0 <= done.error <= done.allowed < 1e-4
    assert [path.name for path in fake.iterdir() if path.name.startswith(".")] == []


def test_nothing_is_replaced(fake: Path) -> None:
    """A file that is there stays, unless asked otherwise; a failed export leaves nothing behind."""
    (fake / "net.onnx").write_text("mine")
    with pytest.raises(OutputError, match=r"net\.onnx already exists.*a new file"):
        onnxrich.export(fake / "net.fake", fake / "net.onnx", EXAMPLE)
    assert (fake / "net.onnx").read_text() == "mine"
    onnxrich.export(fake / "net.fake", fake / "net.onnx", EXAMPLE, force=True)
    with pytest.raises(OutputError, match="is a folder"):
        onnxrich.export(fake / "net.fake", fake, EXAMPLE)
    (fake / "fake.py").write_text(FAKE.replace('"N", 1.0', '"N", 2.0'))
    sys.modules.pop("fake")
    onnxrich.frameworks.registry.load_adapters.cache_clear()
    with pytest.raises(AdapterError, match="differs from fake"):
        onnxrich.export(fake / "net.fake", fake / "other.onnx", EXAMPLE)
    assert not (fake / "other.onnx").exists()
    with pytest.raises(OutputError, match="nowhere: No such file"):
        onnxrich.export(fake / "net.fake", fake / "nowhere" / "net.onnx", EXAMPLE)


def test_weights_beside_are_not_replaced(site: Path, tmp_path: Path) -> None:
    """A file of weights that is there is not replaced either, unless asked to be."""
    install(
        site, code=FAKE.replace('return "fake 1.0"', 'path.with_name(path.name + ".data").touch(); return "fake 1.0"')
    )
    (tmp_path / "model.fake").touch()
    weights, model = tmp_path / "model.onnx.data", tmp_path / "model.onnx"
    weights.write_text("of another model")
    with pytest.raises(OutputError, match=r"model\.onnx\.data already exists.*a new file"):
        onnxrich.export(tmp_path / "model.fake", model, EXAMPLE)
    assert (weights.read_text(), model.exists()) == ("of another model", False)
    onnxrich.export(tmp_path / "model.fake", model, EXAMPLE, force=True)
    assert (weights.read_text(), model.exists()) == ("", True)


def test_exporter_that_fails(fake: Path) -> None:
    """What a framework's exporter raises becomes one line, with its cause kept."""
    broken = onnxrich.frameworks.registry.load_model(fake / "net.fake")[1]
    broken.W = "no array"
    with pytest.raises(AdapterError, match=r"Model can't be exported: AttributeError: 'str' object") as caught:
        onnxrich.export(broken, fake / "net.onnx", EXAMPLE)
    assert isinstance(caught.value.__cause__, AttributeError)
    with pytest.raises(onnxrich.ModelError, match=r"^Model: it fails on this batch"):
        onnxrich.export(fake / "net.fake", fake / "net.onnx", (ROWS[:, :3], EXAMPLE[1]))


def test_functions_that_build(fake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:name` is a function that gives a model, or a model and an example; or the model itself."""
    monkeypatch.chdir(fake)
    (fake / "training.py").write_text(
        "import numpy as np, fake\n"
        "def model(): return fake.load(type('P', (), {'suffix': '.fake'}))\n"
        "def both(): return model(), (np.ones((3, 4), np.float32), np.zeros(3, int))\n"
        "ready = model()\n"
        "def nothing(): return 3\n"
    )
    onnxrich.export("training:both", "both.onnx")
    onnxrich.export("training:model", "model.onnx", EXAMPLE)
    onnxrich.export("training:ready", "ready.onnx", EXAMPLE)
    assert Path("both.onnx").read_bytes() == Path("model.onnx").read_bytes() == Path("ready.onnx").read_bytes()
    with pytest.raises(AdapterError, match=r"training:nothing: a model of type builtins\.int is taken by no adapter"):
        onnxrich.export("training:nothing", "nothing.onnx")
    with pytest.raises(
        AdapterError, match=r"training:absent can't be imported: module 'training' has no attribute 'absent'"
    ):
        onnxrich.export("training:absent", "nothing.onnx")
    with pytest.raises(AdapterError, match=r"absent:build can't be imported: No module named 'absent'"):
        onnxrich.export("absent:build", "nothing.onnx")
    with pytest.raises(AdapterError, match=r"absent\.keras: no such file.*package\.module:function"):
        onnxrich.export("absent.keras", "nothing.onnx")


class Boom:
    """What a pickle can do to who loads it."""

    def __reduce__(self) -> tuple:
        return Path.touch, (Path("loaded"),)


@pytest.mark.parametrize("name", ["model.pt", "model.pkl", "model.joblib", "model.dat", "model.zip"])
def test_pickles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A pickle is known by its name or its content, and never loaded; the message says why and what to do."""
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(Boom())
    if name == "model.zip":
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        Path(name).write_bytes(content)
    with pytest.raises(AdapterError, match=r"is a pickle, and loading a pickle can run any code.*weights_only=True"):
        onnxrich.export(name, "model.onnx")
    done = command("export", name, "-o", "model.onnx")
    assert done.returncode == 1
    assert done.stderr.startswith(f"onnxrich: {name} is a pickle")
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_no_adapter_reads_it(tmp_path: Path) -> None:
    """A file of no framework is named."""
    (tmp_path / "model.txt").write_text("text")
    with pytest.raises(AdapterError, match=r"model\.txt is read by no adapter.*an ONNX model, or a model of .*torch"):
        onnxrich.export(tmp_path / "model.txt", tmp_path / "model.onnx")
