"""Words, numbers and names as all renderers show them. Names come from untrusted files: `printable` in every one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from onnxrich.errors import printable
from onnxrich.metrics.registry import FAMILIES, METRICS
from onnxrich.moments.matrix import Moments
from onnxrich.results.analysis import Analysis
from onnxrich.results.provenance import DataInfo, HeadInfo, RuntimeInfo

SYNTHETIC = "SYNTHETIC DATA: the inputs are random. A smoke test, not a measurement."
NOT_PERFORMANCE = "Richness is how a model learned, not how well: it says nothing about accuracy."

# Upper end of a fifth of the scale, where that is, and what it means. Whether a model was trained at all can't be seen.
_VERDICTS = (
    (0.2, "near the rich end", "the features hold little more than the outputs use, as rich training leaves them"),
    (0.4, "towards the rich end", "the features hold more than the outputs use, though not much more"),
    (0.6, "between rich and lazy", "the features hold what the outputs use and a good deal more"),
    (0.8, "towards the lazy end", "the features hold much more than the outputs use"),
    (2.0, "near the lazy end", "the features hold far more than the outputs use, as initialisation leaves them"),
)

_REASONS = {"rank_gap_above": "No output function was kept.", "rank_gap_below": "None was taken for noise."}
_UNREAD = "The head's weights can't be read from the graph, or don't fit the classes."
# For metrics that nothing in the data makes undefined.
_MISSING = {
    "d_lr_debiased": "It needs at least four blocks of rows in random order.",
    "nc3": _UNREAD, "nc3_zhu": _UNREAD, "nc2_zhu": _UNREAD, "head_norm": _UNREAD,
    "parameter_norm": "Its weights lie outside the file: name it in --metrics to have them read.",
    **dict.fromkeys(
        ("nc4", "nearest_mean_accuracy", "probe_accuracy"), "It takes a run over data that can be read twice."
    ),
    "alpha_req": "It needs at least 21 directions.",
    "probe_r2_adjusted": "It needs more rows than features.",
}  # fmt: skip

# An interval of which one side is so many times as long as the other is no "±".
_LOPSIDED = 2.0

_RICHNESS_CODES = frozenset({"too_few_rows", "constant_features", "constant_outputs"})


def series(results: Sequence[Analysis]) -> list[Analysis]:
    """All that is drawn: each model's results, and behind them those of its other data."""
    return [each for result in results for each in (result, result.evaluation) if each is not None]


def labels(results: Sequence[Analysis], *, limit: int = 60) -> list[str]:
    """A short name for each: the file's, its path where names of files repeat, its data or a number where paths do."""
    pairs = [(result.record.model.path, result.record.data.source) for result in results]
    # Of one path with several data the data tell which is which.
    told = {path for path, _ in pairs if len({data for other, data in pairs if other == path}) > 1}
    files = Counter(_last(path) for path in {path for path, _ in pairs if path in told})
    files += Counter(_last(path) for path, _ in pairs if path not in told)
    names = []
    for path, data in pairs:
        name = path if files[_last(path)] > 1 else _last(path) or "model"
        names.append(f"{name} on {_last(data)}" if path in told else name)
    seen: Counter[str] = Counter()
    unique = []
    for name in (shorten(printable(name), limit) for name in names):
        seen[name] += 1
        unique.append(f"{name} ({seen[name]})" if seen[name] > 1 else name)
    return unique


def verdict(results: Analysis) -> tuple[str, str]:
    """Where D_LR lies on the scale, and one plain sentence of what that means."""
    d_lr = results.metrics["d_lr"]
    if d_lr is None:
        return "undefined", reason(results, "d_lr")
    place, meaning = next((place, meaning) for end, place, meaning in _VERDICTS if d_lr < end)
    if results.record.data.synthetic:
        return place, "But the inputs are random numbers, so this says nothing about how the model was trained."
    sentence = f"{meaning[0].upper()}{meaning[1:]}."
    return place, f"{sentence}{_doubt(results)}"


def _doubt(results: Analysis) -> str:
    """What makes the verdict doubtful: too few rows, which make any model look rich."""
    debiased = results.metrics.get("d_lr_debiased")
    if not any(notice.code == "few_rows" for notice in results.notices):
        return ""
    if debiased is None:
        return " But there are too few rows to say so: they make every model look rich."
    return f" But there are few rows; without their bias D_LR is {richness(debiased)}."


def richness(value: float | None) -> str:
    """D_LR in four decimals, so that models can be compared by eye."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value >= 1e-3 or value == 0 else f"{value:.1e}"


def number(value: float | int | None) -> str:
    """A metric in four significant digits; "-" where it is undefined."""
    if value is None:
        return "-"
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e9):
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:.3e}"


def metric(results: Analysis, name: str) -> str:
    """The metric of that name as text, with half its 95 % interval where there is one."""
    return f"{value(name, results.metrics[name])}{spread(results, name)}"


def value(name: str, measured: float | int | None) -> str:
    """A value of the metric of that name as text."""
    return richness(measured) if name.startswith("d_lr") else number(measured)


def spread(results: Analysis, name: str) -> str:
    """Half the 95 % interval, such as " ± 0.012"; its ends where it is lopsided; nothing where it has no width."""
    sure, value = results.uncertainty, results.metrics[name]
    found = None if sure is None else sure.intervals.get(name)
    # Blocks that all say the same, as of an accuracy of 1, don't tell how far another sample would be from it.
    if found is None or value is None or found.low == found.high:
        return ""
    below, above = value - found.low, found.high - value
    if max(below, above) > _LOPSIDED * min(below, above):
        return f" ({found.low:.2g} … {found.high:.2g})"
    return f" ± {found.half:.2g}"


def sure(results: Analysis) -> str:
    """How sure D_LR is, or why that is not known."""
    if results.uncertainty is not None:
        return results.uncertainty.summary
    blocks = results.record.runtime.blocks
    had = "is one" if blocks == 1 else f"are {blocks}"
    return f"No error bars: they need the sums of at least four blocks of rows (--blocks), and there {had}."


def reason(results: Analysis, name: str) -> str:
    """Why the metric of that name is null."""
    if name in _REASONS:
        return _REASONS[name]
    family, targets = METRICS[name].family, results.moments.targets
    if targets != "classes" and (family in ("collapse", "readouts") or name in ("accuracy", "cross_entropy")):
        return "It needs class labels."
    if targets is None and (family in ("probe", "performance") or name == "kernel_target_alignment"):
        return "It needs labels."
    if METRICS[name].depends_on_numbering and results.record.misnumbered:
        return "The classes may have other numbers than the outputs."
    if family == "performance":
        return "Outputs and targets don't correspond one to one."
    if family == "readouts" and not results.moments.has_accuracy:
        return "Outputs and classes don't correspond one to one."
    codes = {"nc1_undefined"} if family in ("collapse", "readouts") else _RICHNESS_CODES
    said = [notice.message for notice in results.notices if notice.code in codes]
    if said:
        return printable(said[0])
    return _MISSING.get(name, "It is undefined for these data.")


def families(results: Sequence[Analysis]) -> dict[str, list[str]]:
    """The metrics of several results, by family."""
    listed = {family: [name for name in results[0].metrics if METRICS[name].family == family] for family in FAMILIES}
    return {family: names for family, names in listed.items() if names}


def shared_reason(results: Sequence[Analysis], names: Sequence[str]) -> str | None:
    """Why all of some metrics are null for all models, when it is one reason: a line then says it for all."""
    if (
        len(names) < 2
        or "d_lr" in names
        or any(result.metrics[name] is not None for result in results for name in names)
    ):
        return None
    reasons = {reason(result, name) for result in results for name in names}
    return reasons.pop() if len(reasons) == 1 else None


def facts(results: Analysis) -> dict[str, str]:
    """Where the numbers come from, in words: model, head, data and runtime."""
    model, head, data, runtime = results.record.model, results.record.head, results.record.data, results.record.runtime
    words = {
        "model": model.path,
        "made by": f"{model.producer or 'unknown'}, opset {model.opset}, {model.parameters:,} parameters",
        "head": f"{head.features} → {head.outputs} ({head.kind}), p = {head.p:,} features, C = {head.C:,} outputs",
        "checked": _checked(head),
        "data": f"{'SYNTHETIC: ' if data.synthetic else ''}{data.source}, fingerprint {data.fingerprint[:12]}",
        "prepared": _prepared(data),
        "rows": f"n = {data.n:,}, n/p = {number(results.moments.n / results.moments.p)}, one a {head.rows}; "
        + _targets(results.moments)
        + (f" ({_some(data.class_names)})" if data.class_names else ""),
        "device": _device(runtime),
        "speed": _speed(data, runtime),
    }
    return {name: printable(text) for name, text in words.items()}


def _targets(moments: Moments) -> str:
    """What the labels are; of classes how many occur, where that is not all that the targets tell apart."""
    if moments.targets != "classes":
        return "no labels" if moments.targets is None else "real-valued targets"
    # The mean of a class's column is its share of the rows, up to rounding.
    occur = int((moments.mean("targets") > 1e-9).sum())
    return f"{'' if occur == moments.K else f'{occur:,} of '}{moments.K:,} classes"


def _speed(data: DataInfo, runtime: RuntimeInfo) -> str:
    # Rows are counted at the end, samples on the way: of the rows that a checkpoint brought only the share is known.
    fresh = data.n * (1 - runtime.resumed / data.samples)
    rate = f", {fresh / runtime.seconds:,.0f} rows/s" if fresh and runtime.seconds > 0 else ""
    before = f"; {runtime.resumed:,} of {data.samples:,} samples were in the checkpoint" if runtime.resumed else ""
    return f"batches of {runtime.batch_size:,}, {runtime.seconds:.3g} s{rate}{before}"


def _device(runtime: RuntimeInfo) -> str:
    several = f" {', '.join(map(str, runtime.devices))}" if len(runtime.devices) > 1 else ""
    why = f" ({runtime.reason})" if runtime.reason and runtime.reason != "asked for" else ""
    # Nodes that fell to another provider are told by number: what a person takes for a GPU's work may be the CPU's.
    nodes = ", ".join(f"{count:,} nodes on {name}" for name, count in runtime.nodes.items())
    return f"{runtime.device}{several}{why}, {nodes or ', '.join(runtime.providers)}, onnxruntime {runtime.onnxruntime}"


def _some(names: Sequence[str], limit: int = 10) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")


def _prepared(data: DataInfo) -> str:
    """What was done to the rows, and by whose word."""
    steps = {name: value for name, value in (data.preprocessing or {}).items() if name != "declared_by"}
    if not steps:
        return "nothing was done to the rows"
    origins = sorted(set((data.preprocessing or {}).get("declared_by", {}).values()))
    told = ", ".join(f"{name} {_value(value)}" for name, value in steps.items())
    return told + (f" (declared by {', '.join(origins)})" if origins else "")


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_value, value))
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _checked(head: HeadInfo) -> str:
    if head.verified:
        distance = "" if head.residual is None else f" to {head.residual:.1e}"
        return f"verified by running: outputs = W·features + b{distance}"
    distance = "" if head.residual is None else f" (residual {head.residual:.1e})"
    return f"chosen by the user, not verified{distance}"


def _last(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def shorten(name: str, limit: int) -> str:
    """The name with its middle left out where it is longer than so many characters."""
    return name if len(name) <= limit else f"{name[: limit // 2]}…{name[-(limit // 2 - 1) :]}"
