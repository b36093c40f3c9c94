"""Adapters are found through entry points, also those of other distributions; none and two are errors."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fake_plugin import FAKE, install
from repository import ROOT

import onnxrich
from onnxrich.errors import AdapterError
from onnxrich.frameworks.registry import GROUP, find_adapter, load_adapters, load_model


def test_own_adapters_import_no_framework() -> None:
    """All adapters of this distribution are found, and finding them loads no framework."""
    program = (
        "import sys; from onnxrich.frameworks.registry import load_adapters; print(len(load_adapters()))\n"
        "print([name for name in ('torch', 'transformers', 'tensorflow', 'jax', 'sklearn') if name in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, frameworks = process.stdout.split("\n")[:2]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert int(count) == len(project["entry-points"][GROUP])
    assert frameworks == "[]"


def test_discovery_is_cached(site: Path) -> None:
    """Entry points are read once in a process."""
    assert load_adapters() is load_adapters()


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
    assert list(map(len, find_adapter(model).batches(model, pairs))) == [2, 2, 2]


def test_no_adapter() -> None:
    """A model without an adapter is named by its type, with what could be passed instead."""
    message = r"a model of type builtins\.dict is taken by no adapter.*an ONNX model, or a model of .*torch"
    with pytest.raises(AdapterError, match=message):
        onnxrich.run({})


def test_two_adapters(site: Path) -> None:
    """Two distributions that take the same model are an error that names both."""
    install(site, "fake")
    install(site, "other", "from fake import *")
    import fake

    with pytest.raises(AdapterError, match=r"fake\.Model is taken by 2 adapters, fake \(fake\) and other \(other\)"):
        find_adapter(fake.Model(None, None))
    with pytest.raises(AdapterError, match=r"a\.fake is read by 2 adapters, fake \(fake\) and other \(other\)"):
        load_model(Path("a.fake"))


def test_broken_adapter(site: Path) -> None:
    """An adapter that can't be imported is named with its distribution."""
    install(site, "broken", "import nothing_of_this_name")
    with pytest.raises(AdapterError, match=r"adapter broken of broken can't be imported: No module named .nothing_of"):
        load_adapters()


def test_missing_framework(site: Path) -> None:
    """A file of a framework that is not installed says what to install."""
    install(site, code=FAKE.replace("def load(path):", "def load(path):\n    import framework_of_nobody\n"))
    message = r"the package framework_of_nobody is needed to read a\.fake and is not installed.*Install it: pip install"
    with pytest.raises(AdapterError, match=message):
        load_model(Path("a.fake"))
