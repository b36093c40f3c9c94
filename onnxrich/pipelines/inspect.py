"""What a model is, before it is measured: its signature, its possible heads, and what stands behind the chosen one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from onnx import ModelProto

from onnxrich._utils import validation as checked
from onnxrich.data.synthetic import synthesize
from onnxrich.engine.prepared import probe_head
from onnxrich.engine.runtime import choose_device
from onnxrich.errors import OnnxrichError
from onnxrich.isolation import supervisor as supervise
from onnxrich.model import file as models
from onnxrich.model.file import Model
from onnxrich.model.graph import Graph
from onnxrich.model.head.head import Head, allowed_residual, candidates
from onnxrich.model.head.layers import layer_tensors

# Rows of made-up input on which a head is verified, and operators behind it that are drawn at most.
ROWS, DRAWN = 8, 24


@dataclass(frozen=True)
class Candidate:
    """A possible head.

    Attributes:
        number: what to pass as `head`.
        kind: operators that make the outputs from the features.
        features: tensor of the penultimate layer.
        outputs: tensor of the outputs.
        p: number of features.
        C: number of outputs.
        rows: "sample", "token" or "position"; None where the model could not be run.
        residual: relative distance of the outputs from Wφ + b on made-up inputs; None where it could not be run.
        verified: whether the residual is what rounding explains.
        chosen: whether `onnxrich run` takes it without being told.
        reason: why it was chosen or not, or why it could not be verified.
    """

    number: int
    kind: str
    features: str
    outputs: str
    p: int
    C: int
    rows: str | None
    residual: float | None
    verified: bool
    chosen: bool
    reason: str


@dataclass(frozen=True)
class Inspection:
    """What a model is.

    Attributes:
        model: path, sha256, producer, opset, IR version and number of parameters.
        inputs: name, type and shape of each input.
        outputs: names of the outputs.
        candidates: possible heads.
        rejected: tensors at which the search ended without one, each with the reason.
        tail: operators from the penultimate layer to an output, each as (operator, tensor that it makes).
        layers: tensor, scope and operator of each layer before the first head, as `onnxrich.run` takes them.
    """

    model: dict[str, Any]
    inputs: tuple[dict[str, Any], ...]
    outputs: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    rejected: tuple[dict[str, str], ...]
    tail: tuple[tuple[str, str], ...]
    layers: tuple[dict[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The inspection as JSON-able values, of schema `onnxrich.inspection/1`."""
        return {"schema": "onnxrich.inspection/1", **asdict(self)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """The inspection from what `to_dict` gave."""
        return cls(
            model=dict(document["model"]),
            inputs=tuple(document["inputs"]),
            outputs=tuple(document["outputs"]),
            candidates=tuple(Candidate(**entry) for entry in document["candidates"]),
            rejected=tuple(document["rejected"]),
            tail=tuple((operator, tensor) for operator, tensor in document["tail"]),
            layers=tuple(document["layers"]),
        )


def inspect(
    model: str | os.PathLike[str] | bytes | ModelProto,
    *,
    verify: bool = True,
    isolate: bool = False,
    timeout: float | None = None,
    max_memory: int | None = None,
) -> Inspection:
    """Look at a model: what goes in and out, which heads it has, and why one is chosen. The twin of `onnxrich inspect`.

    Args:
        model: path of an ONNX file, its bytes, or a ModelProto.
        verify: whether to run the model on a few made-up rows to verify each head.
        isolate: look at it in a process of its own, that an untrusted model can crash or hang alone. Needs a path.
        timeout: seconds after which that is ended.
        max_memory: bytes of memory at which that is ended.

    Raises:
        ModelError: when the model can't be read.
        WorkerError: when the isolated process crashed, or a limit is given without one.

    >>> import onnxrich
    >>> found = onnxrich.inspect(onnxrich.demo_file("rich.onnx"))
    >>> [(head.features, head.outputs, head.p, head.verified) for head in found.candidates]
    [('h3', 'logits', 160, True)]
    """
    checked.check_limits(isolate=isolate, timeout=timeout, max_memory=max_memory)
    if isolate:
        request = {"model": supervise.path_of(model), "verify": verify}
        document, _ = supervise.call("inspect", request, timeout=timeout, max_memory=max_memory)
        return Inspection.from_dict(document)
    read = models.read(model)
    graph = Graph(read)
    heads, dead_ends = candidates(graph, graph.outputs)
    listed = tuple(_candidate(read, head, at + 1, len(heads), verify) for at, head in enumerate(heads))
    return Inspection(
        model={
            "path": read.path,
            "sha256": read.sha256,
            "producer": read.producer,
            "opset": read.opset,
            "ir_version": read.proto.ir_version,
            "parameters": read.parameters,
        },
        inputs=tuple(
            {
                "name": entry.name,
                "type": None if entry.dtype is None else entry.dtype.name,
                "shape": None if entry.shape is None else list(entry.shape),
            }
            for entry in read.inputs
        ),
        outputs=graph.outputs,
        candidates=listed,
        rejected=tuple({"tensor": end.tensor, "reason": end.reason} for end in dead_ends),
        tail=_tail(graph, heads[0]) if heads else (),
        layers=_layers(graph, heads[0]) if heads else (),
    )


def _layers(graph: Graph, head: Head) -> tuple[dict[str, str], ...]:
    found = layer_tensors(graph, head)
    return tuple({"name": site.tensor, "scope": site.scope, "operator": site.operator} for site in found)


def _candidate(model: Model, head: Head, number: int, count: int, verify: bool) -> Candidate:
    residual, rows, problem = _verified(model, head) if verify else (None, None, "not verified")
    verified = residual is not None and residual <= allowed_residual(head)
    if problem:
        reason = f"not verified: {problem}" if verify else problem
    elif not verified:
        reason = f"its constants explain the outputs only to {residual:.1e}"
    elif count > 1:
        reason = f"one of {count} heads: pass --head {number}"
    else:
        reason = "the only head of the model"
    return Candidate(
        number=number,
        kind=head.kind,
        features=head.features.tensor,
        outputs=head.outputs.tensor,
        p=head.p or 0,
        C=head.C or 0,
        rows=rows,
        residual=residual,
        verified=verified,
        chosen=count == 1 and (verified or residual is None),
        reason=reason,
    )


def _verified(model: Model, head: Head) -> tuple[float | None, str | None, str]:
    """Residual and kind of rows on made-up inputs; or the reason why the model could not be run on such."""
    try:
        source = synthesize(model, seed=0, rows=ROWS)
        residual, rows = probe_head(model, head, source, device=choose_device("cpu"))
    except OnnxrichError as error:
        return None, None, error.found
    return residual, rows, ""


def _tail(graph: Graph, head: Head) -> tuple[tuple[str, str], ...]:
    """The shortest way back from an output of the model to the features, told forwards."""
    goal = head.features.tensor
    ways: list[tuple[tuple[str, str], ...]] = [(("output", name),) for name in graph.outputs]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        tensor = way[0][1]
        if tensor == goal:
            return (("features", goal), *way[1:-1], way[-1]) if len(way) > 1 else way
        node = graph.producer(tensor)
        if node is None or tensor in seen or len(way) > DRAWN:
            continue
        seen.add(tensor)
        made = (node.op_type, tensor)
        ways += [(("", name), made, *way[1:]) for name in node.input if name and not graph.is_constant(name)]
    return ()


def drawing(tail: Sequence[tuple[str, str]]) -> list[str]:
    """The tail of a graph as lines for people: tensors, and between them the operators."""
    lines = []
    for operator, tensor in tail:
        if operator not in ("features", "output"):
            lines.append(f"   ↓ {operator}")
        lines.append(f"  {tensor}")
    return lines
