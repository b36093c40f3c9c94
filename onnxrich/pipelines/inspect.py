"""`inspect`: a model's signature, its possible heads, and the operators behind the chosen one."""

from __future__ import annotations

import math
import os

from onnx import ModelProto

from onnxrich.data.matching import takes_text
from onnxrich.data.synthetic import synthesize
from onnxrich.engine.prepared import probe_head
from onnxrich.engine.runtime import choose_device
from onnxrich.errors import OnnxrichError
from onnxrich.model.file import Input, Model, read_model
from onnxrich.model.graph import Graph
from onnxrich.model.head.head import Candidates, Head, allowed_residual, find_candidates
from onnxrich.model.head.layers import layer_tensors
from onnxrich.model.not_finite import explain_not_finite
from onnxrich.model.parameters import count_parameters, weights_sha256
from onnxrich.pipelines.options import InspectOptions
from onnxrich.results.inspection import Candidate, Inspection

# Rows of made-up input on which a head is verified, and operators behind it that are shown at most.
ROWS, MOST_OPERATORS = 8, 24


def inspect(model: str | os.PathLike[str] | bytes | ModelProto, options: InspectOptions) -> Inspection:
    """Look at a model without measuring it."""
    loaded = read_model(model)
    graph = Graph(loaded)
    found = find_candidates(graph, graph.outputs)
    heads, dead_ends = found.heads, [end for ends in found.dead_ends.values() for end in ends]
    return Inspection(
        model={
            "path": loaded.path,
            "sha256": loaded.sha256,
            "weights_sha256": weights_sha256(loaded),
            "producer": loaded.producer,
            "opset": loaded.opset,
            "ir_version": loaded.proto.ir_version,
            "parameters": count_parameters(loaded),
        },
        inputs=tuple(
            {
                "name": entry.name,
                "type": _type_name(entry),
                "shape": None if entry.declared_shape is None else list(entry.declared_shape),
            }
            for entry in loaded.inputs
        ),
        outputs=graph.outputs,
        candidates=tuple(
            _candidate(graph, found, number, head, verify=options.verify) for number, head in enumerate(heads, 1)
        ),
        rejected=tuple({"tensor": end.tensor, "reason": end.reason} for end in dead_ends),
        tail=_tail(graph, heads[0]) if heads else (),
        layers=_layers(graph, heads[0]) if heads else (),
    )


def _type_name(entry: Input) -> str | None:
    if entry.dtype is None:
        return None
    return "string" if takes_text(entry) else entry.dtype.name


def _layers(graph: Graph, head: Head) -> tuple[dict[str, str], ...]:
    return tuple(
        {"name": layer.tensor, "scope": layer.scope, "operator": layer.operator} for layer in layer_tensors(graph, head)
    )


def _candidate(graph: Graph, found: Candidates, number: int, head: Head, *, verify: bool) -> Candidate:
    count = len(found.heads)
    residual, rows, problem = _verified(graph.model, head) if verify else (None, None, "not verified")
    verified = residual is not None and residual <= allowed_residual(head)
    is_finite = residual is None or math.isfinite(residual)
    if problem:
        reason = f"not verified: {problem}" if verify else problem
    elif not is_finite:
        cause = explain_not_finite(graph, head.outputs.tensor)
        reason = "not verified: its outputs are no finite numbers on made-up inputs, or not those of its constants"
        reason += "" if cause is None else f"; {cause}"
    elif not verified:
        reason = f"its constants explain the outputs only to {residual:.1e}"
    elif not found.is_unique:
        reason = f"one of {count} heads: pass --head {number}"
    elif found.has_other_outputs:
        reason = "the only head, and not that of all outputs"
    else:
        reason = "the only head of the model"
    return Candidate(
        number=number,
        kind=head.kind,
        features=head.features.tensor,
        outputs=head.outputs.tensor,
        p=head.p,
        C=head.C,
        rows=rows,
        residual=residual if is_finite else None,
        verified=verified,
        chosen=found.is_unique and (verified or residual is None),
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
        if node is None or tensor in seen or len(way) > MOST_OPERATORS:
            continue
        seen.add(tensor)
        made = (node.op_type, tensor)
        ways += [(("", name), made, *way[1:]) for name in node.input if name and not graph.is_constant(name)]
    return ()
