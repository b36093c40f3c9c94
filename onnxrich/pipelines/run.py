"""`run`: load the model, find its head, open the data, pass them through the model, evaluate."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from onnx import ModelProto

from onnxrich.data.open import align_classes_with, open_source
from onnxrich.data.source import Source
from onnxrich.engine.layers import LayerRequest
from onnxrich.engine.runtime import choose_device
from onnxrich.engine.single_pass import measure_one
from onnxrich.errors import DataError, Notice
from onnxrich.metrics.base import Sample
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead
from onnxrich.pipelines.evaluate import evaluate_pass, parameter_norm_of, with_profile
from onnxrich.pipelines.layers import evaluate_layers
from onnxrich.pipelines.models import load_head
from onnxrich.pipelines.options import ALL_LAYERS, RunOptions
from onnxrich.progress import Progress, Stage, Timing
from onnxrich.results.analysis import Analysis

if TYPE_CHECKING:
    from onnxrich.pipelines.initial import InitialModel


def run(model: Any, options: RunOptions) -> Analysis:
    """Measure a model, also one of a framework, which is exported for the run.

    A worker process takes ONNX files alone: to load the folder of a framework may run code that lies in it.
    """
    if options.isolate:
        return run_onnx(model, options)
    # A worker process does without the modules of frameworks.
    from onnxrich.frameworks.conversion import as_onnx, convert_data, load_folder

    model = load_folder(model)
    with as_onnx(model, options.data, options.labels) as converted:
        eval_data, eval_labels = convert_data(model, options.eval_data, options.eval_labels)
        data, labels = converted.data, converted.labels
        return run_onnx(
            converted.model,
            replace(options, data=data, labels=labels, eval_data=eval_data, eval_labels=eval_labels),
            name=converted.name,
            notices=converted.notices,
        )


def run_onnx(
    model: str | os.PathLike[str] | bytes | ModelProto,
    options: RunOptions,
    *,
    name: str | None = None,
    notices: tuple[Notice, ...] = (),
) -> Analysis:
    """Measure an ONNX model.

    Args:
        model: the model.
        options: those of the run.
        name: what results and messages call the model; None: its path.
        notices: what is known of the model before the run, for the result.
    """
    timing = Timing()
    device = choose_device(options.device, options.provider)
    with timing.measure(Stage.READING_MODEL):
        options.listen(Progress(Stage.READING_MODEL))
        loaded, head = load_head(model, options, name=name)
        initial = None if options.init is None else _load_initial(options)
        sources = _open_sources(loaded, head, options)
    norm = parameter_norm_of(loaded, options)
    fitted: Sample | None = None
    analyses: list[Analysis] = []
    for source in sources:
        first = not analyses
        result = measure_one(
            loaded,
            head,
            source,
            device=device,
            batch_size=options.batch_size,
            blocks=options.blocks,
            mask=options.mask,
            checkpoint=options.checkpoint if first else None,
            layers=_layer_request(options) if first else None,
            memory=options.memory_limit,
            timing=timing,
            listen=options.listen,
        )
        layers, of_layers = evaluate_layers(result, timing=timing, listen=options.listen)
        result = replace(result, notices=(*notices, *result.notices, *of_layers))
        with timing.measure(Stage.METRICS):
            analysis, sample = evaluate_pass(
                result,
                loaded,
                source,
                device,
                options,
                parameter_norm=norm,
                layers=layers,
                fitted=fitted,
            )
        analyses.append(analysis)
        fitted = fitted or sample
    analysis, *evaluation = analyses
    if initial is not None and not analysis.record.data.synthetic:
        analysis = initial.beside(analysis, sources[0], loaded, options, timing=timing)
    return with_profile(replace(analysis, evaluation=evaluation[0] if evaluation else None), timing.seconds)


def _load_initial(options: RunOptions) -> InitialModel:
    # Few runs have an untrained network: nothing of this is imported for the others.
    from onnxrich.pipelines.initial import load_initial

    return load_initial(options)


def _open_sources(model: Model, head: Head | UnmeasuredHead, options: RunOptions) -> list[Source]:
    """Open the data, and the data to evaluate on where there are some."""

    def open_data(data: Any, labels: Any) -> Source:
        return open_source(
            model,
            data,
            labels,
            ignored_label=options.ignore_label,
            widths=[head.C],
            seed=options.seed,
            reading=options.reading,
            preprocessing=options.preprocessing,
        )

    source = open_data(options.data, options.labels)
    if options.eval_data is not None:
        return [source, align_classes_with(open_data(options.eval_data, options.eval_labels), source)]
    if options.eval_labels is not None:
        raise DataError("labels to evaluate on without data", "both, or none", "Pass --eval-data FILE as well.")
    return [source]


def _layer_request(options: RunOptions) -> LayerRequest | None:
    if options.layers is None:
        return None
    names = None if tuple(options.layers) == (ALL_LAYERS,) else tuple(options.layers)
    return LayerRequest(names, options.token, options.mask)
