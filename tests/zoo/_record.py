"""Writes entries of the zoo: a model, the truth beside it, and a line in the index.

Every entry is proved before it is written: ONNX Runtime must run the model, its outputs must equal the framework's, and
the recorded logits must be the affine map W·features + b of the framework's own weights wherever those are passed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from numpy.typing import NDArray

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]

ROOT = Path(__file__).parent
MAX_BYTES = 1_000_000
# Float32 arithmetic in another order of summation: about sqrt(depth · width) · eps, with room for a deep model.
FLOAT32 = 1e-4
# Metadata that names layers; everything else that exporters note (stack traces, paths) is dropped.
KEPT_METADATA = ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy")
LEAKS = (b"site-packages", b"/work/", b"/home/", b"/tmp/", b"/root/", b"/usr/")


@dataclass(frozen=True)
class Head:
    """The truth about one head.

    Attributes:
        features: array of shape (n, p).
        logits: array of shape (n, C).
        weight: float64 array of shape (p, C), to prove that logits = features · weight + bias; None to skip.
        bias: float64 array of shape (C,).
    """

    features: Array
    logits: Array
    weight: Array | None = None
    bias: Array | None = None


@dataclass(frozen=True)
class Spec:
    """The index line of an entry; README.md says what each field means."""

    name: str
    exporter: str
    expected: str = "head"
    rows: str = "sample"
    rtol_features: float = FLOAT32
    rtol_logits: float = FLOAT32
    tolerance: str = "float32"
    scale_after: float | None = None
    shift_after: float | None = None
    batch: int | None = None
    mask_input: str | None = None
    tensor_order: str | None = None
    notes: str = ""

    def loosened(self, rtol: float, why: str) -> Spec:
        """The same line with both tolerances replaced."""
        return replace(self, rtol_features=rtol, rtol_logits=rtol, tolerance=why)


@dataclass
class Zoo:
    """One family: collects entries, and replaces the family's lines of the index when written."""

    family: str
    root: Path = ROOT
    lines: list[dict[str, object]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where the family's files lie."""
        path = self.root / self.family
        path.mkdir(exist_ok=True)
        return path

    def add(
        self,
        spec: Spec,
        model: onnx.ModelProto,
        inputs: Arrays,
        *,
        heads: Sequence[Head] = (),
        outputs: Sequence[Array | None] = (),
        mask: Array | None = None,
        chosen: Head | None = None,
    ) -> None:
        """Proves an entry and writes its files.

        Args:
            spec: the index line.
            model: the model, with its weights inside or in a file that lies in the family's folder already.
            inputs: arrays by input name, of more rows than the fixed batch where there is one.
            heads: the truth, one for each head; none for a model to be refused.
            outputs: what the framework returned, in the order of the graph's outputs; None skips one.
            mask: bool array of shape (n,), true where a row counts.
            chosen: the rows that reach the output, where one token is chosen behind the head.

        Raises:
            AssertionError: when the model doesn't do what the framework did; the message says by how much.
        """
        clean = stripped(model)
        blob = clean.SerializeToString()
        assert len(blob) <= MAX_BYTES, f"{spec.name}: {len(blob)} bytes"
        assert not (leak := [word for word in LEAKS if word in blob]), f"{spec.name}: names {leak}"
        assert (spec.expected == "refuse") == (not heads), spec.name
        path = self.folder / f"{spec.name}.onnx"
        path.write_bytes(blob)
        worst = _agree(spec, run(path, inputs, batch=spec.batch), outputs)
        for head in heads:
            _affine(spec, head)
        np.savez_compressed(path.with_suffix(".npz"), **_truth(inputs, heads, mask=mask, chosen=chosen))
        self.lines.append(_line(self.family, spec, clean, heads) | {"checker": _checks(path)})
        print(f"{self.family}/{spec.name}: {len(blob) / 1024:.0f} KiB, outputs agree to {worst:.1e}")

    def write(self) -> None:
        """Replaces this family's lines of zoo.json."""
        index = self.root / "zoo.json"
        old = json.loads(index.read_text()) if index.exists() else []
        kept = [line for line in old if line["family"] != self.family]
        lines = sorted([*kept, *self.lines], key=lambda line: (line["family"], line["name"]))
        index.write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")
        print(f"{self.family}: {len(self.lines)} entries")


def run(model: Path | onnx.ModelProto, inputs: Arrays, *, batch: int | None = None) -> list[Array]:
    """All outputs of a model, computed on the CPU with nothing optimised, in chunks of a fixed batch if there is one.

    The last chunk is filled up with its first row, and the filling cut off again.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    if batch is None:
        return _run(session, inputs)
    n = len(next(iter(inputs.values())))
    chunks = []
    for start in range(0, n, batch):
        part = {name: array[start : start + batch] for name, array in inputs.items()}
        short = len(next(iter(part.values())))
        full = {name: np.concatenate([a, np.repeat(a[:1], batch - short, axis=0)]) for name, a in part.items()}
        chunks.append([out[:short] for out in _run(session, full)])
    return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]


def _run(session: ort.InferenceSession, inputs: Arrays) -> list[Array]:
    if not any(array.dtype == ml_dtypes.bfloat16 for array in inputs.values()):
        return session.run(None, dict(inputs))
    raise TypeError("the runtime takes no bfloat16 arrays from NumPy: let the model cast")


def rows(array: Array, *, channel: int = -1) -> Array:
    """Flattens to (rows, channels) with the rows in row-major order of the other axes."""
    last = np.moveaxis(np.asarray(array), channel, -1)
    return last.reshape(-1, last.shape[-1])


def stripped(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without documentation strings and without metadata other than layer names."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for message in _messages(copy):
        if "doc_string" in message.DESCRIPTOR.fields_by_name:
            message.ClearField("doc_string")
        if "metadata_props" in message.DESCRIPTOR.fields_by_name:
            kept = [prop for prop in message.metadata_props if prop.key in KEPT_METADATA]
            kept = [onnx.StringStringEntryProto(key=prop.key, value=prop.value) for prop in kept]
            message.ClearField("metadata_props")
            message.metadata_props.extend(kept)
    return copy


def _messages(message: Message) -> Iterator[Message]:
    """A message and all messages inside it."""
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.type != FieldDescriptor.TYPE_MESSAGE:
            continue
        for child in [value] if isinstance(value, Message) else list(value):
            yield from _messages(child)


def worst(found: Array, wanted: Array) -> float:
    """The largest difference, relative to the largest value wanted."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape, f"shape {found.shape}, wanted {wanted.shape}"
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), np.finfo(np.float64).tiny))


def _checks(path: Path) -> bool:
    """Whether onnx.checker accepts the model, with shapes inferred: some exporters write what it doesn't."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def _agree(spec: Spec, found: Sequence[Array], wanted: Sequence[Array | None]) -> float:
    """The worst difference between the model's outputs and the framework's; raises above the tolerance."""
    assert len(wanted) in (0, len(found)), f"{spec.name}: {len(found)} outputs, {len(wanted)} wanted"
    pairs = [(a, b) for a, b in zip(found, wanted, strict=False) if b is not None]
    errors = [worst(a, b) for a, b in pairs]
    assert max(errors, default=0.0) <= spec.rtol_logits, f"{spec.name}: outputs differ by {errors}"
    return max(errors, default=0.0)


def _affine(spec: Spec, head: Head) -> None:
    """Raises when the recorded logits aren't the affine map of the recorded features."""
    for array in (head.features, head.logits):
        assert array.ndim == 2 and np.isfinite(np.asarray(array, np.float64)).all(), spec.name
        assert np.ptp(np.asarray(array, np.float64), axis=0).max() > 0, f"{spec.name}: constant over the rows"
    assert len(head.features) == len(head.logits), f"{spec.name}: {head.features.shape}, {head.logits.shape}"
    if head.weight is None:
        return
    bias = 0.0 if head.bias is None else np.asarray(head.bias, np.float64)
    predicted = np.asarray(head.features, np.float64) @ np.asarray(head.weight, np.float64) + bias
    error = worst(head.logits, predicted)
    assert error <= spec.rtol_logits, f"{spec.name}: logits are no affine map of the features, {error}"


def _truth(inputs: Arrays, heads: Sequence[Head], *, mask: Array | None, chosen: Head | None) -> dict[str, Array]:
    arrays: dict[str, Array] = {f"input/{name}": np.asarray(array) for name, array in inputs.items()}
    for k, head in enumerate(heads):
        end = f"/{k}" if len(heads) > 1 else ""
        wide = np.float64 if head.features.dtype == np.float64 else np.float32
        arrays[f"features{end}"] = np.asarray(head.features, wide)
        arrays[f"logits{end}"] = np.asarray(head.logits, wide)
    if chosen is not None:
        arrays |= {"chosen/features": chosen.features, "chosen/logits": chosen.logits}
    if mask is not None:
        arrays["mask"] = np.asarray(mask, bool)
    return arrays


def _line(family: str, spec: Spec, model: onnx.ModelProto, heads: Sequence[Head]) -> dict[str, object]:
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    facts = {
        "name": spec.name,
        "family": family,
        "file": f"{family}/{spec.name}.onnx",
        "truth": f"{family}/{spec.name}.npz",
        "opset": opsets.get("ai.onnx"),
        "ir_version": model.ir_version,
        "heads": [{"p": h.features.shape[1], "C": h.logits.shape[1], "n": len(h.features)} for h in heads],
    }
    rest = {key: value for key, value in asdict(spec).items() if value is not None and key != "name"}
    return facts | (rest if heads else {k: v for k, v in rest.items() if k not in ("rows", "tolerance") and "rtol" not in k})
