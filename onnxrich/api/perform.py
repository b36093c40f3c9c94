"""Where a verb does its work: in this process, or in a worker process."""

from __future__ import annotations

from typing import Any

from onnxrich.isolation import supervisor
from onnxrich.pipelines import pipeline
from onnxrich.pipelines.options import WorkOptions


def perform(verb: str, subject: Any, options: WorkOptions) -> Any:
    """Do the work of a verb, in a worker process where the options ask for isolation.

    Args:
        verb: a key of `onnxrich.pipelines.VERBS`.
        subject: what the verb is about: a model, several, checkpoints, or a file of moments.
        options: those of the verb.
    """
    return supervisor.call(verb, subject, options) if options.isolate else pipeline(verb)(subject, options)
