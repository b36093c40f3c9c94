"""Words, numbers and names as all formats show them.

Names come from untrusted files, so every function that returns one escapes its control characters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from onnxrich._utils.text import display, printable
from onnxrich.metrics.registry import FAMILIES, METRICS
from onnxrich.moments.matrix import Moments
from onnxrich.results.analysis import Analysis
from onnxrich.results.differences import Estimate, Similarity
from onnxrich.results.provenance import DataInfo, HeadInfo, RuntimeInfo

SYNTHETIC = "SYNTHETIC DATA: the inputs are random. A smoke test, not a measurement."
NOT_PERFORMANCE = "Richness is how a model learned, not how well: it says nothing about accuracy."
DIFFERENCES = "Differences are to the first model, with half their 95 % interval; * marks those that leave out 0."

_REASONS = {"rank_gap_above": "No output function was kept.", "rank_gap_below": "None was taken for noise."}
_UNREADABLE = "The head's weights can't be read from the graph, or don't fit the classes."
# Reasons that lie neither in the labels nor in the features.
_MISSING = {
    "d_lr_debiased": "It needs at least five blocks of rows in random order.",
    "nc3": _UNREADABLE, "nc3_zhu": _UNREADABLE, "nc2_zhu": _UNREADABLE, "head_norm": _UNREADABLE,
    "parameter_norm": "Its weights lie outside the file: name it in --metrics to have them read.",
    **dict.fromkeys(
        ("nc4", "nearest_mean_accuracy", "probe_accuracy"), "It takes a run over data that can be read twice."
    ),
    "alpha_req": "It needs at least 21 directions.",
    "probe_r2_adjusted": "It needs more rows than features.",
}  # fmt: skip

# From this ratio of its two sides on, an interval is shown by its ends, not as "±".
_LOPSIDED = 2.0

_RICHNESS_CODES = frozenset({"too_few_rows", "constant_features", "constant_outputs"})


def labels(analyses: Sequence[Analysis], *, limit: int = 60) -> list[str]:
    """Name each analysis briefly and uniquely.

    The name is that of the model's file. Where two paths end in the same name, it is the path. Where one path has
    several data sets, the data follow. Where all of that repeats, a number follows.
    """
    models = [(analysis.record.model.path, analysis.record.data.source) for analysis in analyses]
    sources: dict[str, set[str]] = {}
    for path, source in models:
        sources.setdefault(path, set()).add(source)
    # One path with several data sets is one model; two analyses of one path and one data set are two.
    paths = [path for path in sources if len(sources[path]) > 1]
    paths += [path for path, _ in models if len(sources[path]) == 1]
    files = Counter(map(_last_part, paths))
    names = []
    for path, source in models:
        name = path if files[_last_part(path)] > 1 else _last_part(path) or "model"
        names.append(f"{name} on {_last_part(source)}" if len(sources[path]) > 1 else name)
    repeats: Counter[str] = Counter()
    unique = []
    for name in (display(name, limit) for name in names):
        repeats[name] += 1
        unique.append(f"{name} ({repeats[name]})" if repeats[name] > 1 else name)
    return unique


def richness(value: float | None) -> str:
    """Format D_LR in four decimals, so that models can be compared by eye."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value >= 1e-3 or value == 0 else f"{value:.1e}"


def number(value: float | int | None) -> str:
    """Format a metric in four significant digits; "-" where it is undefined."""
    if value is None:
        return "-"
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e9):
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:.3e}"


def metric(analysis: Analysis, name: str) -> str:
    """Format a metric with half its 95 % interval."""
    return f"{metric_value(name, analysis.metrics[name])}{spread(analysis, name)}"


def metric_value(name: str, value: float | int | None) -> str:
    """Format a value of the metric of that name."""
    return richness(value) if name.startswith("d_lr") else number(value)


def spread(analysis: Analysis, name: str) -> str:
    """Format half the 95 % interval, such as " ± 0.012", or the ends of a lopsided one; "" without an interval."""
    uncertainty, value = analysis.uncertainty, analysis.metrics[name]
    interval = None if uncertainty is None else uncertainty.intervals.get(name)
    # Blocks that all agree, as on an accuracy of 1, don't tell how far another sample would be from it.
    if interval is None or value is None or interval.low == interval.high:
        return ""
    below, above = value - interval.low, interval.high - value
    if max(below, above) > _LOPSIDED * min(below, above):
        return f" ({interval.low:.2g} … {interval.high:.2g})"
    return f" ± {interval.half_width:.2g}"


def difference(estimate: Estimate | None) -> str:
    """Format a difference with its sign, half its interval, and a star when the interval leaves out 0."""
    if estimate is None:
        return ""
    interval = "" if estimate.interval is None else f" ± {estimate.interval.half_width:.2g}"
    return f"{estimate.value:+.3g}{interval}{' *' if estimate.clear else ''}".replace("-", "−", 1)


def similarity(estimate: Similarity | None) -> str:
    """Format a linear CKA with half its interval, without the bias of few rows where that is known."""
    if estimate is None:
        return "-"
    if estimate.value == 1:
        return "1"
    best = estimate.best
    interval = "" if best.interval is None else f" ± {best.interval.half_width:.2g}"
    return f"{best.value:.4f}{interval}{'' if estimate.debiased is None else f' ({estimate.value:.4f})'}"


def certainty(analysis: Analysis) -> str:
    """Say how well D_LR is known, or why that is not known; nothing of made-up inputs."""
    if analysis.record.data.synthetic:
        return ""
    if analysis.uncertainty is not None:
        return analysis.uncertainty.summary
    blocks = analysis.record.runtime.blocks
    count = "is one" if blocks == 1 else f"are {blocks}"
    return f"No error bars: they need the sums of at least four blocks of rows (--blocks), and there {count}."


def undefined_reason(analysis: Analysis, name: str) -> str:
    """Say why a metric is null."""
    if name in _REASONS:
        return _REASONS[name]
    family, targets = METRICS[name].family, analysis.moments.targets
    if targets != "classes" and (family in ("collapse", "readouts") or name in ("accuracy", "cross_entropy")):
        return "It needs class labels."
    if targets is None and (family in ("probe", "performance") or name == "kernel_target_alignment"):
        return "It needs labels."
    if METRICS[name].depends_on_numbering and analysis.record.misnumbered:
        return "The classes may have other numbers than the outputs."
    if family == "performance":
        return "Outputs and targets don't correspond one to one."
    if family == "readouts" and not analysis.moments.has_accuracy:
        return "Outputs and classes don't correspond one to one."
    codes = {"nc1_undefined"} if family in ("collapse", "readouts") else _RICHNESS_CODES
    messages = [notice.message for notice in analysis.notices if notice.code in codes]
    if messages:
        return messages[0]
    return _MISSING.get(name, "It is undefined for these data.")


def families(analyses: Sequence[Analysis]) -> dict[str, list[str]]:
    """Group the names of the metrics by family."""
    names = {family: [name for name in analyses[0].metrics if METRICS[name].family == family] for family in FAMILIES}
    return {family: members for family, members in names.items() if members}


def shared_reason(analyses: Sequence[Analysis], names: Sequence[str]) -> str | None:
    """Find the one reason why all of some metrics are null for all models; None without one, or for D_LR."""
    if (
        len(names) < 2
        or "d_lr" in names
        or any(analysis.metrics[name] is not None for analysis in analyses for name in names)
    ):
        return None
    reasons = {undefined_reason(analysis, name) for analysis in analyses for name in names}
    return reasons.pop() if len(reasons) == 1 else None


def facts(analysis: Analysis) -> dict[str, str]:
    """Describe where the numbers come from: model, head, data and runtime."""
    record, moments = analysis.record, analysis.moments
    model, head, data, runtime = record.model, record.head, record.data, record.runtime
    words = {
        "model": model.path,
        "made by": f"{model.producer or 'unknown'}, opset {model.opset}, {model.parameters:,} parameters",
        "head": f"{head.features} → {head.outputs} ({head.kind}), p = {head.p:,} features, C = {head.C:,} outputs",
        "checked": _verification(head),
        "data": f"{'SYNTHETIC: ' if data.synthetic else ''}{data.source}, fingerprint {data.fingerprint[:12]}",
        "prepared": _preprocessing(data),
        "rows": f"n = {data.n:,}, n/p = {number(moments.n / moments.p)}, one a {head.rows}; {_targets(moments)}"
        + (f" ({_first_names(data.class_names)})" if data.class_names else ""),
        "curves": _reach(analysis),
        "device": _device(runtime),
        "speed": _speed(data, runtime),
    }
    return {name: printable(text) for name, text in words.items()}


def _reach(analysis: Analysis) -> str:
    """Say up to which rank the curves go."""
    stops_at, p = analysis.curves.stops_at, analysis.moments.p
    if stops_at is None:
        return f"rank k = 1 to {p:,}, the number of features"
    return f"they stop at rank k = {stops_at:,} of {p:,}: further eigenvalues of the features are at rounding level"


def _targets(moments: Moments) -> str:
    """Describe the labels; of classes, count those that occur where not all do."""
    if moments.targets != "classes":
        return "no labels" if moments.targets is None else "real-valued targets"
    # The mean of a class's column is its share of the rows, up to rounding.
    present = int((moments.mean("targets") > 1e-9).sum())
    return f"{'' if present == moments.K else f'{present:,} of '}{moments.K:,} classes"


def _speed(data: DataInfo, runtime: RuntimeInfo) -> str:
    # Rows are counted at the end, samples on the way: for the rows of a checkpoint only their share is known.
    fresh = data.n * (1 - runtime.resumed / data.samples)
    rate = f", {fresh / runtime.seconds:,.0f} rows/s" if fresh and runtime.seconds > 0 else ""
    before = f"; {runtime.resumed:,} of {data.samples:,} samples were in the checkpoint" if runtime.resumed else ""
    return f"batches of {runtime.batch_size:,}, {runtime.seconds:.3g} s{rate}{before}"


def _device(runtime: RuntimeInfo) -> str:
    devices = f" {', '.join(map(str, runtime.devices))}" if len(runtime.devices) > 1 else ""
    reason = f" ({runtime.reason})" if runtime.reason and runtime.reason != "asked for" else ""
    # Counts of nodes show where another provider took over: work that seems to be the GPU's may be the CPU's.
    nodes = ", ".join(f"{count:,} nodes on {name}" for name, count in runtime.nodes.items())
    providers = nodes or ", ".join(runtime.providers)
    return f"{runtime.device}{devices}{reason}, {providers}, onnxruntime {runtime.onnxruntime}"


def _first_names(names: Sequence[str], limit: int = 10) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def _preprocessing(data: DataInfo) -> str:
    """Describe the preprocessing steps, and who declared them."""
    steps = {name: value for name, value in (data.preprocessing or {}).items() if name != "declared_by"}
    if not steps:
        return "nothing was done to the rows"
    origins = sorted(set((data.preprocessing or {}).get("declared_by", {}).values()))
    text = ", ".join(f"{name} {_step_value(value)}" for name, value in steps.items())
    return text + (f" (declared by {', '.join(origins)})" if origins else "")


def _step_value(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_step_value, value))
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _verification(head: HeadInfo) -> str:
    if head.verified:
        distance = "" if head.residual is None else f" to {head.residual:.1e}"
        return f"verified by running: outputs = W·features + b{distance}"
    distance = "" if head.residual is None else f" (residual {head.residual:.1e})"
    return f"chosen by the user, not verified{distance}"


def _last_part(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]
