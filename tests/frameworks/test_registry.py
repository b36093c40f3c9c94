"""Adapters are found through entry points, also those of other distributions; none and two are errors."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_plugin import FAKE, install
from repository import ROOT

import onnxrich
from onnxrich.errors import AdapterError
from onnxrich.frameworks import registry as plugins


def test_own_adapters_import_no_framework() -> None:
    """All adapters of this distribution are found, and finding them loads no framework."""
    program = (
        "import sys; from onnxrich.frameworks import registry as plugins; print(len(plugins.adapters()))\n"
        "print([name for name in ('torch', 'transformers', 'tensorflow', 'jax', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, loaded = done.stdout.split("\n")[:2]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert int(count) == len(project["entry-points"][plugins.GROUP])
    assert loaded == "[]"


def test_discovery_is_cached(site: Path) -> None:
    """Entry points are read once in a process."""
    assert plugins.adapters() is plugins.adapters()


def test_third_party(site: Path) -> None:
    """An adapter of another distribution serves `onnxrich.run`, with the name of the model's class in the result."""
    import numpy as np

    install(site, "fake")
    import fake  # type: ignore[import-not-found]
    from oracle import d_lr

    rng = np.random.default_rng(0)
    model = fake.Model(*(rng.standard_normal(shape).astype(np.float32) for shape in ((4, 3), (3,))))
    x = rng.standard_normal((300, 4)).astype(np.float32)
    pairs = list(zip(np.split(x, 3), np.split(rng.integers(0, 3, 300), 3), strict=True))
    for loader in (pairs, iter(pairs)):
        analysis = onnxrich.run(model, loader)
        # float32 through two layers, against the same features in float64: some eps of a number of order one.
        features = np.tanh(x.astype(np.float64))
        assert analysis.metrics["d_lr"] == pytest.approx(d_lr(features, features @ model.W + model.b), abs=1e-6)
        assert analysis.metrics["accuracy"] is not None
        assert (analysis.record.model.path, analysis.record.data.n) == ("Model", 300)
    assert list(map(len, plugins.find_adapter(model).batches(model, pairs))) == [2, 2, 2]


def test_no_adapter() -> None:
    """A model that nobody takes is named by its type, with what could be passed instead."""
    with pytest.raises(AdapterError, match=r"a model of type builtins\.dict; needed: an ONNX model, or one of .*torch"):
        onnxrich.run({})


def test_two_adapters(site: Path) -> None:
    """Two distributions that take the same model are an error that names both."""
    install(site, "fake")
    install(site, "other", "from fake import *")
    import fake

    with pytest.raises(AdapterError, match=r"fake\.Model, which fake \(fake\) and other \(other\) both take"):
        plugins.find_adapter(fake.Model(None, None))
    with pytest.raises(AdapterError, match=r"a\.fake, which fake \(fake\) and other \(other\) both take"):
        plugins.load_model(Path("a.fake"))


def test_broken_adapter(site: Path) -> None:
    """An adapter that can't be imported is named with its distribution."""
    install(site, "broken", "import nothing_of_this_name")
    with pytest.raises(AdapterError, match=r"adapter broken of broken can't be imported: No module named .nothing_of"):
        plugins.adapters()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('BATCH, SCALE = "N"', "BATCH, SCALE = 4"), r"input 'x' of the exported model takes batches of 4 alone"),
        (('"N", 1.0', '"N", 1.001'), r"the ONNX model of Model differs from fake 1.0 by 1\.0e-03; needed: at most"),
    ],
)
def test_wrong_export(site: Path, change: tuple[str, str], message: str) -> None:
    """An export with a fixed batch size, or with other outputs than the framework's, is refused."""
    import numpy as np

    install(site, "fake", FAKE.replace(*change))
    import fake

    rows = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
    with pytest.raises(AdapterError, match=message):
        onnxrich.run(fake.load(Path("a.fake")), [(rows, np.zeros(8, np.int64))])


def test_no_rows(site: Path) -> None:
    """A loader without items can't show what the model takes."""
    install(site, "fake")
    import fake

    with pytest.raises(onnxrich.DataError, match="no rows in the data"):
        onnxrich.run(fake.load(Path("a.fake")), [])


def test_file_for_a_framework_model(site: Path) -> None:
    """A data file says nothing of the model's inputs before the export: the message says what to pass."""
    install(site, "fake")
    import fake

    with pytest.raises(onnxrich.DataError, match=r"a model of type Model and a data file.*onnxrich\.export"):
        onnxrich.run(fake.load(Path("a.fake")), "test.npz")


def test_framework_that_is_not_installed(site: Path) -> None:
    """A file of a framework that is not installed says what to install."""
    install(site, code=FAKE.replace("def load(path):", "def load(path):\n    import framework_of_nobody\n"))
    with pytest.raises(AdapterError, match=r"no package framework_of_nobody; needed: it, to read a\.fake\. Install it"):
        plugins.load_model(Path("a.fake"))


def test_data_sets_are_read_whole(site: Path) -> None:
    """A data set with a shape, as those of Hugging Face have, is iterated over; it is not taken for one array."""
    import numpy as np

    install(site)
    import fake

    class DataSet:
        shape = (8, 2)

        def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            rows = np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32)
            return iter([(rows, np.zeros(8, np.int64))] * 3)

    assert onnxrich.run(fake.load(Path("a.fake")), DataSet()).record.data.n == 24
