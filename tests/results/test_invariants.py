"""Records of saved moments: of the declared types, free of contradictions, and never the reason for a traceback."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import onnxrich
from onnxrich.errors import DataError, OnnxrichError

SAVED = Path(__file__).parents[1] / "compatibility" / "0.1.0"
LAWS = settings(max_examples=150, deadline=None, derandomize=True)
REPORTS = ("labelled", "unlabelled", "values", "tokens")
ARRAYS = {name: dict(np.load(SAVED / name / "moments.npz")) for name in REPORTS}
RECORDS: dict[str, Any] = {name: json.loads(str(arrays["record"])) for name, arrays in ARRAYS.items()}


def load(record: Any, folder: Path, name: str = "labelled") -> onnxrich.Analysis:
    """Load the moments of a report with another record."""
    path = folder / "edited.npz"
    np.savez(path, **{**ARRAYS[name], "record": np.array(json.dumps(record))})
    return onnxrich.Analysis.load(path)


def edited(*path: str | int, value: Any, name: str = "labelled") -> Any:
    """A record with another value at a path; a function gets the one that is there."""
    record = copy.deepcopy(RECORDS[name])
    holder = record
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value(holder[path[-1]]) if isinstance(value, Callable) else value
    return record


@pytest.mark.parametrize("name", REPORTS)
def test_saved_records_are_read(name: str, tmp_path: Path) -> None:
    """What was saved comes back, with more metrics and other results beside it."""
    expected = onnxrich.Analysis.load(SAVED / name / "moments.npz")
    record = RECORDS[name] | {"of_another_version": [1], "layers": RECORDS[name]["layers"]}
    assert load(record, tmp_path, name).to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("head", "p"), 8, "8 features and 3 outputs, and moments of 7 and 3"),
        (("head", "C"), 2, "7 features and 2 outputs"),
        (("head", "rows"), "galaxy", "rows of another kind"),
        (("head", "residual"), -0.1, "a residual of -0.1"),
        (("head", "residual"), None, "verified, without its residual"),
        (("data", "n"), 399, "399 rows in the record, and 400 in the moments"),
        (("data", "n"), 0, "0 rows"),
        (("data", "n"), -400, "-400 rows"),
        (("data", "samples"), 0, "400 rows of 0 samples"),
        (("data", "samples"), 10, "400 rows of 10 samples"),
        (("data", "classes"), 4, "4 classes in the record, and 3 in the moments"),
        (("data", "class_names"), ["a", "b", "c", "d"], "4 names of 3 classes"),
        (("data", "preprocessing"), {"declared_by": {"mean": 1}}, "preprocessing of another form"),
        (("data", "preprocessing"), {"mean": [[1]]}, "preprocessing of another form"),
        (("runtime", "batch_size"), 0, "batches of 0"),
        (("runtime", "runs"), -1, "-1 to each of 8 blocks"),
        (("runtime", "blocks"), 0, "blocks"),
        (("runtime", "blocks"), 7, "errors from 8 blocks, of 7"),
        (("runtime", "resumed"), 401, "401 of 400 samples from a checkpoint"),
        (("runtime", "seconds"), -1, "below zero"),
        (("runtime", "seconds"), 1e308, "too long"),
        (("model", "parameters"), -1, "-1 parameters"),
        (("asked",), ["d_lr", "d_lr"], "stands twice"),
        (("beyond", "d_lr_debiased"), 1.5, "d_lr_debiased = 1.5"),
        (("beyond", "parameter_norm"), -1, "parameter_norm = -1"),
        (("uncertainty", "shares"), lambda shares: [2 * share for share in shares], "don't add up"),
        (("uncertainty", "shares"), lambda shares: [0.5, 0.5], "2 shares"),
        (("uncertainty", "replicates", "d_lr"), lambda values: values[1:], "7 values of d_lr without each of 8 blocks"),
        (("uncertainty", "replicates", "d_lr", 0), 1e308, "values of d_lr"),
        (("uncertainty", "replicates"), {}, "intervals of other metrics"),
        (("uncertainty", "intervals", "d_lr", "error"), -0.1, "interval of d_lr that is none"),
        (("uncertainty", "rows", -1), 401, "convergence after other rows"),
        (("uncertainty", "convergence", "nc1"), [1.0], "the convergence of nc1"),
        (("uncertainty", "needed"), 0, "0 rows that are needed"),
        (("layers", 0, "p"), 0, "a layer of 0 features"),
        (("layers", 0, "metrics", "d_lr"), 2, "d_lr = 2 of a layer"),
        (("layers", 0, "metrics", "d_lr"), 0.1, "an interval of d_lr without its value"),
        (("layers", 0, "metrics"), {}, "lacks metrics"),
        (("layers", 0, "spectrum"), [0.9, 0.9], "spectrum"),
        (("layers",), lambda layers: layers[:1], "last one is not the head's features"),
    ],
)
def test_contradictions(path: tuple[str | int, ...], value: Any, reason: str, tmp_path: Path) -> None:
    """Numbers that can't stand beside each other are refused; the message says which."""
    with pytest.raises(DataError) as refused:
        load(edited(*path, value=value), tmp_path)
    assert reason in str(refused.value) and "Pass the moments.npz" in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "path"), 5),
        (("model", "path"), "x" * 200_000),
        (("model", "opset"), "17"),
        (("model", "opset"), 17.0),
        (("model", "opset"), True),
        (("model", "noted"), {"accuracy": "0.5"}),
        (("head", "verified"), 1),
        (("head", "residual"), "0"),
        (("data", "class_names"), "abc"),
        (("runtime", "seconds"), True),
        (("notices",), [{"code": 1, "message": "m"}]),
        (("beyond",), [1]),
        (("beyond", "nc3"), "1"),
        (("uncertainty",), []),
        (("uncertainty", "intervals", "d_lr"), [1]),
        (("uncertainty", "shares"), "12345678"),
        (("layers",), ""),
        (("layers", 0, "intervals"), "x"),
    ],
)
def test_other_types(path: tuple[str | int, ...], value: Any, tmp_path: Path) -> None:
    """Nothing is cast: a text is no number, a truth no count, and a text no list of its letters."""
    with pytest.raises(DataError, match="a record without a valid"):
        load(edited(*path, value=value), tmp_path)


def test_what_follows_from_the_moments_is_computed(tmp_path: Path) -> None:
    """Edited intervals, layers of the head's features, and metrics that moments give change nothing."""
    expected = onnxrich.Analysis.load(SAVED / "labelled" / "moments.npz").to_dict()
    record = edited("uncertainty", "intervals", "d_lr", value={"error": 0.5, "low": 0.0, "high": 1.0})
    record["layers"][-1]["metrics"]["d_lr"] = 0.36
    record["beyond"]["d_lr"] = 0.01
    assert load(record, tmp_path).to_dict() == expected


WRONG = (None, True, 0, -1, 2**63, 1e308, -1e308, 0.5, "", "x", "\u202e\x1b[31m", [], [1], {}, {"a": 1}, "y" * 200_000)


@LAWS
@given(name=st.sampled_from(REPORTS), seed=st.integers(0, 10**6), wrong=st.sampled_from([*WRONG, "drop", "repeat"]))
def test_any_edit(tmp_path_factory: pytest.TempPathFactory, name: str, seed: int, wrong: Any) -> None:
    """A value of any place that is replaced, left out or repeated: a document of finite numbers, or a refusal."""
    record, rng = copy.deepcopy(RECORDS[name]), random.Random(seed)
    holder, key = record, rng.choice(list(record))
    while isinstance(holder[key], dict | list) and holder[key] and rng.random() < 0.9:
        holder = holder[key]
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    if wrong == "drop":
        del holder[key]
    elif wrong == "repeat" and isinstance(holder, list):
        holder.insert(key, holder[key])
    else:
        holder[key] = wrong
    try:
        analysis = load(record, tmp_path_factory.mktemp("edited"), name)
    except OnnxrichError as error:
        assert len(str(error)) < 300
    else:
        expected = onnxrich.Analysis.load(SAVED / name / "moments.npz")
        assert analysis.metrics["d_lr"] == expected.metrics["d_lr"]
        json.loads(analysis.to_json())
