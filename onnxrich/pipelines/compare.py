"""`compare`: several models in one pass over the same data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from onnx import ModelProto

from onnxrich.data.open import open_source
from onnxrich.data.preprocessing.steps import Preprocessing
from onnxrich.data.selection import Selection
from onnxrich.data.shared import adapt_source, choose_leader
from onnxrich.data.source import Source
from onnxrich.engine.joint_pass import measure_jointly
from onnxrich.engine.runtime import choose_device
from onnxrich.errors import DataError, Notice
from onnxrich.metrics.row_order import ORDER_CODES
from onnxrich.model.file import Model
from onnxrich.model.head.head import Head, UnmeasuredHead
from onnxrich.pipelines.evaluate import evaluate_pass, parameter_norm_of, with_profile
from onnxrich.pipelines.load import load_saved
from onnxrich.pipelines.models import load_head
from onnxrich.pipelines.options import PassOptions, SeriesOptions, WorkOptions
from onnxrich.progress import Progress, Stage, Timing
from onnxrich.results.analysis import Analysis
from onnxrich.results.comparison import Comparison
from onnxrich.results.differences import Pair, Similarity, similarities, with_initial
from onnxrich.results.paths import moments_of

# What stands for a model: a file of one, of saved moments, the folder of a report, or the model itself.
ModelLike = str | os.PathLike[str] | bytes | ModelProto

NO_PRODUCTS = Notice(
    "saved_moments", "Saved moments hold no products of two models' features: there is no CKA with these."
)


def compare(models: Sequence[ModelLike], options: SeriesOptions) -> Comparison:
    """Compare several models; the initial model is added as the last one where it is none of them."""
    models, initial = _with_initial(models, options.init)
    if len(models) < 2:
        raise DataError(f"{len(models) or 'no'} model", "two or more to compare", "Pass another one, or run it alone.")
    saved = {
        number: load_saved(model, options.metrics)
        for number, model in enumerate(models)
        if moments_of(model) is not None
    }
    if len(saved) == len(models):
        check_unused(options)
        analyses = [saved[number] for number in range(len(models))]
        return Comparison.of(_with_anchor(analyses, initial), initial=initial, notices=[NO_PRODUCTS])
    fresh = {number: model for number, model in enumerate(models) if number not in saved}
    measured = _measure(fresh, len(models), options)
    analyses = [saved[number] if number in saved else measured.analyses[number] for number in range(len(models))]
    return Comparison.of(
        _with_anchor(analyses, initial),
        initial=initial,
        cka=measured.cka,
        notices=[*measured.notices, *([NO_PRODUCTS] if saved else [])],
        memory=measured.memory,
    )


def _with_anchor(analyses: Sequence[Analysis], initial: int | None) -> list[Analysis]:
    """Give each analysis the initial model to be read against, where there is one, and it saw the same data."""
    if initial is None:
        return list(analyses)
    start = analyses[initial]

    def is_read_against(analysis: Analysis) -> bool:
        return analysis is not start and analysis.record.data.fingerprint == start.record.data.fingerprint

    return [with_initial(analysis, start) if is_read_against(analysis) else analysis for analysis in analyses]


@dataclass(frozen=True)
class _Measured:
    """What one joint pass says of the models that ran: by their numbers among all models.

    Attributes:
        analyses: the analysis of each model.
        cka: linear CKA of pairs of models.
        notices: what a reader should know of the pairs.
        memory: bytes of all sums.
    """

    analyses: dict[int, Analysis]
    cka: dict[Pair, Similarity]
    notices: tuple[Notice, ...]
    memory: int


def _measure(models: Mapping[int, ModelLike], count: int, options: SeriesOptions) -> _Measured:
    """Measure the models that have no saved moments, by their numbers among so many."""
    timing = Timing()
    device = choose_device(options.device, options.provider)
    with timing.measure(Stage.READING_MODEL):
        loaded = []
        for number, model in models.items():
            options.listen(Progress(f"reading model {number + 1} of {count}"))
            loaded.append(load_head(model, options))
        leader = choose_leader([model for model, _ in loaded])
        source = _open_data(loaded, leader, options)
    joint = measure_jointly(
        loaded,
        source,
        leader,
        device=device,
        batch_size=options.batch_size,
        blocks=options.blocks,
        mask=options.mask,
        timing=timing,
        listen=options.listen,
    )
    analyses: dict[int, Analysis] = {}
    with timing.measure(Stage.METRICS):
        for number, (own, _), result in zip(models, loaded, joint.passes, strict=True):
            norm = parameter_norm_of(own, options)
            rows = adapt_source(own, source, leader)
            analyses[number], _ = evaluate_pass(result, own, rows, device, options, parameter_norm=norm)
        moments, blocks = ([getattr(result, name) for result in joint.passes] for name in ("moments", "blocks"))
        ordered = [any(notice.code in ORDER_CODES for notice in analysis.notices) for analysis in analyses.values()]
        estimates = similarities(moments, blocks, joint.products, ordered=ordered)
    numbers = list(models)
    return _Measured(
        {number: with_profile(analysis, timing.seconds) for number, analysis in analyses.items()},
        {(numbers[a], numbers[b]): estimate for (a, b), estimate in estimates.items()},
        joint.notices,
        joint.memory,
    )


def _open_data(loaded: Sequence[tuple[Model, Head | UnmeasuredHead]], leader: Model, options: PassOptions) -> Source:
    """Open the data for the inputs of the leading model; all others take the same rows."""
    ordered = sorted(loaded, key=lambda pair: pair[0] is not leader)
    return open_source(
        leader,
        options.data,
        options.labels,
        ignored_label=options.ignore_label,
        others=[model for model, _ in ordered[1:]],
        widths=[head.C for _, head in ordered],
        seed=options.seed,
        reading=options.reading,
        preprocessing=options.preprocessing,
    )


def check_unused(options: PassOptions, *, init: Any = None) -> None:
    """Check that no option was passed that saved moments alone have no use for: there is nothing to run.

    Args:
        options: options of the verb.
        init: the initial model, where the verb has no use for it.

    Raises:
        DataError: when one was; the message names it.
    """
    used = {"metrics", "init", "reading", "preprocessing", *(field.name for field in fields(WorkOptions))}
    names = [name for name in options.given() if name not in used]
    names += [] if init is None else ["init"]
    names += [field.name for field in fields(Selection) if _differs(Selection.of(options.reading), field)]
    names += Preprocessing.of(options.preprocessing).declared()
    if names:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in names)
        raise DataError(
            f"{flags} for saved moments alone",
            "a model to run",
            "Leave out what they can't use, or pass the ONNX files they were measured with.",
        )


def _differs(selection: Selection, field: Field[Any]) -> bool:
    return bool(getattr(selection, field.name) != field.default)


def _with_initial(models: Sequence[ModelLike], init: Any) -> tuple[list[ModelLike], int | None]:
    """Add the initial model as the last one where it is none of the models, and return its number."""
    listed = list(models)
    if init is None:
        return listed, None
    number = next((number for number, model in enumerate(listed) if _is_same(model, init)), None)
    return (listed, number) if number is not None else ([*listed, init], len(listed))


def _is_same(model: ModelLike, init: Any) -> bool:
    if isinstance(model, str | os.PathLike) and isinstance(init, str | os.PathLike):
        return Path(model).absolute() == Path(init).absolute()
    return model is init
