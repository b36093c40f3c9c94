"""Models of a verb: read, and with the head that its options mean."""

from __future__ import annotations

import os
from dataclasses import replace

from onnx import ModelProto

from onnxrich.errors import prefix_errors
from onnxrich.model.file import Model, read_model
from onnxrich.model.head.head import Head, UnmeasuredHead, find_head
from onnxrich.model.patch.instrument import check_not_instrumented
from onnxrich.pipelines.options import PassOptions

ModelLike = str | os.PathLike[str] | bytes | ModelProto


def load_head(
    model: ModelLike, options: PassOptions, *, name: str | None = None
) -> tuple[Model, Head | UnmeasuredHead]:
    """Read a model and find the head that the options mean.

    Args:
        model: the model.
        options: they name the head.
        name: what results and messages call the model; its path when left out.
    """
    loaded = read_model(model, batch_axis=options.batch_axis)
    check_not_instrumented(loaded)
    loaded = loaded if name is None else replace(loaded, path=name)
    with prefix_errors(loaded.path):
        return loaded, find_head(loaded, features=options.features, outputs=options.outputs, number=options.head)
