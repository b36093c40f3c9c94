"""Models and data that the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli import _models


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every model, and data; tests don't write into it."""
    models = tmp_path_factory.mktemp("models")
    for trouble in _models.TROUBLE:
        _models.model(models, trouble)
    _models.data(models)
    return models
