"""Libraries that only some kinds of data need: imported when such data are read, and named when they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from onnxrich.errors import DataError


def import_optional(module: str, extra: str, what: str) -> Any:
    """A module of an optional dependency.

    Args:
        module: dotted name.
        extra: the extra of onnxrich that installs it.
        what: what it is needed for, for the message.

    Raises:
        DataError: when it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise DataError(
            f"{what}, and no package {package!r}",
            f"{package}, which reads such data",
            f'Install it: `pip install "onnxrich[{extra}]"`.',
        ) from error
