"""Simplification of models whose tensors are hidden: a hidden tensor can't be an output of the graph.

Local functions, branches, activations fused into a layer and the bodies of loops hide tensors.
A model with any of them is copied and rewritten. All others go to the runtime unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import onnx.checker
import onnx.inliner
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxrich.errors import ModelError
from onnxrich.model.validity import STANDARD, refuse_malformed

LOOPS = ("Loop", "Scan")
# Operators that treat rows alike, whatever axes come before them; Softmax only along the last axis.
MOVABLE = {"Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Identity", "Relu", "Sigmoid", "Tanh", "Softmax", "LogSoftmax"}
# Operators with a fused activation, and what they are without it.
FUSED = {"FusedGemm": "Gemm", "FusedConv": "Conv"}
# Activations that can be fused, with the names of their parameters.
FUSED_ACTIVATIONS = {
    "Relu": (), "Sigmoid": (), "Tanh": (), "Softplus": (), "LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"),
}  # fmt: skip
# Operators that pass on a condition of one element, or its opposite.
PASSES_CONDITION = {"Cast", "Identity", "Not", "Reshape", "Squeeze", "Unsqueeze"}
# Branches inside one another, at most.
MAX_NESTED_BRANCHES = 16


@refuse_malformed("A function, branch or loop")
def simplify(proto: ModelProto, path: str) -> ModelProto | None:
    """Copy a model and inline its functions, decided branches, fused activations and tails of loops and branches.

    Args:
        proto: the model, which is not changed.
        path: its name in errors.

    Returns:
        The simplified model; None when nothing is to be inlined.

    Raises:
        ModelError: when functions are undefined or call themselves.
    """
    has_loops = any(node.op_type in (*LOOPS, "If") for node in proto.graph.node)
    has_hidden = _has_hidden(proto.graph)
    if not (proto.functions or has_hidden or has_loops):
        return None
    result = _inline_functions(proto, path) if proto.functions else _copy(proto)
    for _ in range(MAX_NESTED_BRANCHES):
        if not _has_hidden(result.graph):
            break
        _replace_nodes(result.graph, [new for node in result.graph.node for new in _expand(result.graph, node)])
    is_lifted = lift_tails(result)
    return result if proto.functions or has_hidden or is_lifted else None


def lift_tails(proto: ModelProto) -> bool:
    """Move tails out of the loops and branches of a model's main graph, in place. Returns whether a tail was moved.

    A tail is the operators of a loop's body that lead to one of its stacked outputs, a linear layer among them. They
    treat rows alike, so that they can run once behind the loop instead of in each iteration. Of an If it is the
    operators with which both branches end alike.
    """
    nodes, is_lifted = [], False
    for node in proto.graph.node:
        tails: list[NodeProto] = []
        if node.domain in STANDARD:
            tails = _lift_from(proto.graph, node) if node.op_type in LOOPS else []
            tails = _lift_from_branches(proto.graph, node) if node.op_type == "If" else tails
        nodes += [node, *tails]
        is_lifted = is_lifted or bool(tails)
    if is_lifted:
        _replace_nodes(proto.graph, nodes)
    return is_lifted


def _copy(proto: ModelProto) -> ModelProto:
    return ModelProto.FromString(proto.SerializeToString())


def _replace_nodes(graph: GraphProto, nodes: list[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]  # deletion invalidates the originals
    del graph.node[:]
    graph.node.extend(copies)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


# Functions


def _inline_functions(proto: ModelProto, path: str) -> ModelProto:
    # Some exporters state two versions of a function's own domain. The inliner skips such functions.
    proto = _copy(proto)
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    domains = {function.domain for function in proto.functions}
    for function in proto.functions:
        for entry in function.opset_import:
            if entry.domain in domains:
                entry.version = versions.get(entry.domain, entry.version)
    _write_defaults(proto)
    try:
        return onnx.inliner.inline_local_functions(proto)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"The local functions of {path} can't be inlined: {(str(error).splitlines() or ['?'])[0]}",
            "functions that are defined and don't call themselves",
            "Export the model without functions.",
        ) from error


def _write_defaults(proto: ModelProto) -> None:
    """Write the default values of functions' attributes at each call, because the inliner drops them."""
    defaults = {(function.domain, function.name): function.attribute_proto for function in proto.functions}
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    while nodes:
        node = nodes.pop()
        names = {entry.name for entry in node.attribute}
        missing = [entry for entry in defaults.get((node.domain, node.op_type), ()) if entry.name not in names]
        node.attribute.extend(missing)
        nodes.extend(inner for entry in node.attribute if entry.HasField("g") for inner in entry.g.node)


# Decided branches and fused activations


def _has_hidden(graph: GraphProto) -> bool:
    return any(_is_fused(node) or _decided_branch(graph, node) is not None for node in graph.node)


def _expand(graph: GraphProto, node: NodeProto) -> Iterator[NodeProto]:
    """Replace a node with a fused activation or a decided branch by what it computes; keep any other."""
    branch = _decided_branch(graph, node)
    if _is_fused(node):
        yield from _unfuse(node)
    elif branch is not None:
        yield from _inline_branch(graph, node, branch)
    else:
        yield node


def _is_fused(node: NodeProto) -> bool:
    is_known = _fused_activation(node) in FUSED_ACTIVATIONS
    # A fused convolution adds its fourth input, a tensor, so that it is no linear layer.
    return node.domain == "com.microsoft" and node.op_type in FUSED and is_known and len(node.input) < 4


def _fused_activation(node: NodeProto) -> str:
    return next((entry.s.decode("utf-8", "replace") for entry in node.attribute if entry.name == "activation"), "")


def _unfuse(node: NodeProto) -> Iterator[NodeProto]:
    name, attributes = _fused_activation(node), _attributes(node)
    inner = f"{node.output[0]}/before_{name}"
    linear = NodeProto()
    linear.CopyFrom(node)
    linear.op_type, linear.domain, linear.output[0] = FUSED[node.op_type], "", inner
    del linear.attribute[:]
    linear.attribute.extend(entry for entry in node.attribute if not entry.name.startswith("activation"))
    yield linear
    listed = zip_longest(FUSED_ACTIVATIONS[name], attributes.get("activation_params", []))
    values = {key: attributes.get(f"activation_{key}", value) for key, value in listed if key is not None}
    parameters = {key: value for key, value in values.items() if value is not None}
    yield helper.make_node(name, [inner], [node.output[0]], name=f"{node.name}/{name}", **parameters)


def _decided_branch(graph: GraphProto, node: NodeProto) -> GraphProto | None:
    """Find the branch that an If always takes; None for another node, and when its condition is not constant."""
    if node.op_type != "If" or node.domain not in STANDARD or not node.input:
        return None
    condition = _constant_condition(graph, node.input[0])
    name = "then_branch" if condition else "else_branch"
    branch = next((entry.g for entry in node.attribute if entry.name == name), None)
    if condition is None or branch is None or len(branch.output) != len(node.output):
        return None
    return branch


def _constant_condition(graph: GraphProto, name: str, depth: int = 0) -> bool | None:
    """Read a condition that is constant, at most moved, cast or negated; None for any other."""
    maker = next((node for node in graph.node if name in node.output), None)
    if maker is not None and maker.op_type in PASSES_CONDITION and depth < MAX_NESTED_BRANCHES:
        value = _constant_condition(graph, maker.input[0], depth + 1)
        return not value if maker.op_type == "Not" and value is not None else value
    tensors: list[TensorProto] = [tensor for tensor in graph.initializer if tensor.name == name]
    for node in graph.node:
        if node.op_type == "Constant" and name in node.output:
            tensors += [entry.t for entry in node.attribute if entry.name == "value"]
    if len(tensors) != 1 or tensors[0].data_location == TensorProto.EXTERNAL:
        return None
    array = numpy_helper.to_array(tensors[0])
    return bool(array.reshape(-1)[0]) if array.size == 1 else None


def _inline_branch(graph: GraphProto, node: NodeProto, branch: GraphProto) -> Iterator[NodeProto]:
    # Only the other branch can use the names inside a branch too, so that they need not change.
    graph.initializer.extend(branch.initializer)
    graph.sparse_initializer.extend(branch.sparse_initializer)
    graph.value_info.extend(branch.value_info)
    yield from branch.node
    for inner, outer in zip(branch.output, node.output, strict=True):
        yield helper.make_node("Identity", [inner.name], [outer], name=f"{node.name}/{outer}")


# Tails of loops


def _lift_from(graph: GraphProto, loop: NodeProto) -> list[NodeProto]:
    """Move the tails out of a loop's body; returns their nodes, in the order in which they must follow the loop."""
    body = next((entry.g for entry in loop.attribute if entry.name == "body"), None)
    scanned = next((entry.i for entry in loop.attribute if entry.name == "num_scan_inputs"), None)
    if body is None:
        return []
    # A Loop takes a trip count and a condition before its states, and its body outputs a condition first.
    states, offset = (len(loop.input) - 2, 1) if scanned is None else (len(loop.input) - scanned, 0)
    nodes: list[NodeProto] = []
    for outer in range(max(states, 0), len(loop.output)):
        final, inner = loop.output[outer], outer + offset
        if not final or inner >= len(body.output):
            continue
        source, tail = _find_tail(body, body.output[inner].name)
        if any(node.op_type in ("Gemm", "MatMul") for node in tail):
            prefix = f"{final}/lifted/"
            loop.output[outer] = f"{prefix}{source}"
            nodes += _copy_tail(graph, body, tail, source=source, prefix=prefix, final=final)
            _stack(body, inner, source, f"{prefix}stacked")
    return nodes


def _lift_from_branches(graph: GraphProto, node: NodeProto) -> list[NodeProto]:
    """Move the tails with which both branches of an If end alike behind it; returns their nodes."""
    branches = [entry.g for entry in node.attribute if entry.name in ("then_branch", "else_branch")]
    nodes: list[NodeProto] = []
    if len(branches) != 2:
        return nodes
    for index, final in enumerate(list(node.output)):
        tails = [_find_tail(branch, branch.output[index].name) for branch in branches]
        described = [_described(branch, *tail) for branch, tail in zip(branches, tails, strict=True)]
        count = _common_end(*described)
        tail = tails[0][1][len(tails[0][1]) - count :]
        if not final or not any(part.op_type in ("Gemm", "MatMul") for part in tail):
            continue
        sources = [_source_of(source, all_nodes, count) for source, all_nodes in tails]
        prefix = f"{final}/lifted/"
        node.output[index] = f"{prefix}{sources[0]}"
        nodes += _copy_tail(graph, branches[0], tail, source=sources[0], prefix=prefix, final=final)
        for branch, source in zip(branches, sources, strict=True):
            _stack(branch, index, source, f"{prefix}{branch.name}/features")
    return nodes


def _described(body: GraphProto, source: str, tail: list[NodeProto]) -> list[tuple[object, ...]]:
    """Describe the nodes of a tail so that equal ones compute the same: by values of weights, not by their names."""
    weights = {
        tensor.name: numpy_helper.to_array(tensor).tobytes()
        for tensor in body.initializer
        if tensor.data_location != TensorProto.EXTERNAL
    }
    described: list[tuple[object, ...]] = []
    for node in tail:
        inputs = tuple(None if name == source else weights.get(name, name) for name in node.input)
        attributes = tuple(sorted(entry.SerializeToString() for entry in node.attribute))
        described.append((node.op_type, node.domain, attributes, inputs))
        source = node.output[0]
    return described


def _common_end(left: list[tuple[object, ...]], right: list[tuple[object, ...]]) -> int:
    """Count the entries with which two lists end alike."""
    pairs = zip(reversed(left), reversed(right), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _source_of(source: str, tail: list[NodeProto], count: int) -> str:
    """The tensor before the last nodes of a tail."""
    return source if count == len(tail) else str(tail[-count - 1].output[0])


def _find_tail(body: GraphProto, output: str) -> tuple[str, list[NodeProto]]:
    """Find the movable operators that lead to an output of a body, in order, and the tensor before them."""
    producers = {name: node for node in body.node for name in node.output}
    inside = set(producers) | {value.name for value in body.input}
    tail: list[NodeProto] = []
    tensor = output
    while tensor in producers:
        node = producers[tensor]
        sources = [name for name in node.input if name in inside]
        if node.op_type not in MOVABLE or len(sources) != 1 or not _treats_rows_alike(node, sources[0]):
            break
        tail.append(node)
        tensor = sources[0]
    return tensor, tail[::-1]


def _treats_rows_alike(node: NodeProto, source: str) -> bool:
    """Whether a movable operator treats rows alike, whatever axes come before them."""
    attributes = _attributes(node)
    if node.op_type in ("Softmax", "LogSoftmax"):
        return bool(attributes.get("axis") == -1)
    scales = attributes.get("alpha", 1.0) != 1 or attributes.get("beta", 1.0) != 1
    if node.op_type == "Gemm" and (attributes.get("transA", 0) or scales):
        return False
    return node.op_type not in ("Gemm", "MatMul", "Div") or node.input[0] == source


def _stack(body: GraphProto, index: int, tensor: str, name: str) -> None:
    """Let an output of a loop's body stack another tensor, under a new name."""
    elements = body.output[index].type.tensor_type.elem_type
    # Behind an Identity, because the runtime does not accept an input of the body as its output.
    body.node.append(helper.make_node("Identity", [tensor], [name]))
    body.output[index].CopyFrom(helper.make_tensor_value_info(name, elements, None))


def _copy_tail(
    graph: GraphProto, body: GraphProto, tail: list[NodeProto], *, source: str, prefix: str, final: str
) -> list[NodeProto]:
    """Copy a tail to the main graph.

    Args:
        graph: the main graph, which gets the weights of the body.
        body: the body of the loop.
        tail: its nodes, in order.
        source: the tensor before the tail.
        prefix: begins the new names of tensors.
        final: the new name of the last tensor.
    """
    used = {name for node in tail for name in node.input}
    renamed = _copy_weights(graph, body, prefix, used) | {source: f"{prefix}{source}"}
    copies: list[NodeProto] = []
    for node in tail:
        copy = NodeProto()
        copy.CopyFrom(node)
        renamed[node.output[0]] = final if node is tail[-1] else f"{prefix}{node.output[0]}"
        del copy.input[:]
        copy.input.extend(renamed.get(name, name) for name in node.input)
        copy.output[0] = renamed[node.output[0]]
        copies += _without_gemm(copy)
    return copies


def _copy_weights(graph: GraphProto, body: GraphProto, prefix: str, used: set[str]) -> dict[str, str]:
    """Copy used initializers of a body to the main graph; returns their new names by the old ones."""
    weights = [weight for weight in body.initializer if weight.name in used]
    names = {weight.name: f"{prefix}{weight.name}" for weight in weights}
    for weight in weights:
        copy = graph.initializer.add()
        copy.CopyFrom(weight)
        copy.name = names[weight.name]
    return names


def _without_gemm(node: NodeProto) -> list[NodeProto]:
    """Rewrite a Gemm, which takes two axes only, as a product and a sum, which take any number."""
    if node.op_type != "Gemm":
        return [node]
    output, weight = node.output[0], node.input[1]
    nodes = []
    if any(entry.name == "transB" and entry.i for entry in node.attribute):
        nodes.append(helper.make_node("Transpose", [weight], [f"{output}/weight"], perm=[1, 0]))
        weight = f"{output}/weight"
    bias = node.input[2] if len(node.input) > 2 else ""
    product = f"{output}/product" if bias else output
    nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product]))
    return nodes + ([helper.make_node("Add", [product, bias], [output])] if bias else [])
