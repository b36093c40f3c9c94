"""Put in place what hides tensors: local functions, branches that a constant decides, activations fused into a layer.

A tensor inside any of these can't be an output of the graph. Models that hold one are written anew, the original is
never changed; all others go to the runtime as the bytes they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx.checker
import onnx.inliner
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxrich.errors import ModelError

# Operators that treat rows alike whatever axes are put before them; Softmax along the last axis alone.
MOVABLE = {"Gemm", "MatMul", "Add", "Sub", "Mul", "Div", "Identity", "Relu", "Sigmoid", "Tanh", "Softmax", "LogSoftmax"}
LOOPS = ("Loop", "Scan")


def lift(proto: ModelProto) -> bool:
    """Move tails out of the loops of a model's main graph, in place; whether there was one to move."""
    nodes, moved = [], False
    for node in proto.graph.node:
        tails = _lifted(proto.graph, node) if node.op_type in LOOPS and node.domain in ("", "ai.onnx") else []
        nodes += [node, *tails]
        moved = moved or bool(tails)
    if moved:
        kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del proto.graph.node[:]
        proto.graph.node.extend(kept)
    return moved


def _lifted(graph: GraphProto, node: NodeProto) -> list[NodeProto]:
    """The nodes that a loop's body gives away, in the order in which they have to stand behind it."""
    body = next((entry.g for entry in node.attribute if entry.name == "body"), None)
    scanned = next((entry.i for entry in node.attribute if entry.name == "num_scan_inputs"), None)
    if body is None:
        return []
    states = len(node.input) - scanned if scanned is not None else len(node.input) - 2
    ahead = 0 if scanned is not None else 1  # the first output of a Loop's body is its condition
    result: list[NodeProto] = []
    for at in range(max(states, 0), len(node.output)):
        if node.output[at] and at + ahead < len(body.output):
            result += _tail(graph, node, body, at, at + ahead)
    return result


def _tail(graph: GraphProto, node: NodeProto, body: GraphProto, at: int, inner: int) -> list[NodeProto]:
    producers = {name: made for made in body.node for name in made.output}
    inside = set(producers) | {value.name for value in body.input}
    tail: list[NodeProto] = []
    tensor = body.output[inner].name
    while tensor in producers:
        made = producers[tensor]
        data = [name for name in made.input if name in inside]
        if made.op_type not in MOVABLE or len(data) != 1 or not _by_row(made, data[0]):
            break
        tail.append(made)
        tensor = data[0]
    if not any(made.op_type in ("Gemm", "MatMul") for made in tail):
        return []
    return _placed(graph, node, body, (at, inner), tensor, tail[::-1])


def _by_row(node: NodeProto, data: str) -> bool:
    """Whether an operator of the list treats rows alike, whatever axes come before them."""
    given = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    if node.op_type in ("Softmax", "LogSoftmax"):
        return bool(given.get("axis") == -1)
    if node.op_type == "Gemm" and (
        given.get("transA", 0) or given.get("alpha", 1.0) != 1 or given.get("beta", 1.0) != 1
    ):
        return False
    return node.op_type not in ("Gemm", "MatMul", "Div") or node.input[0] == data


def _without_gemm(node: NodeProto) -> list[NodeProto]:
    """A Gemm, which takes two axes alone, as a product and a sum, which take any number."""
    if node.op_type != "Gemm":
        return [node]
    made, weight = node.output[0], node.input[1]
    nodes = []
    if any(entry.name == "transB" and entry.i for entry in node.attribute):
        nodes.append(helper.make_node("Transpose", [weight], [f"{made}/weight"], perm=[1, 0]))
        weight = f"{made}/weight"
    bias = node.input[2] if len(node.input) > 2 else ""
    product = f"{made}/product" if bias else made
    nodes.append(helper.make_node("MatMul", [node.input[0], weight], [product]))
    return nodes + ([helper.make_node("Add", [product, bias], [made])] if bias else [])


def _placed(
    graph: GraphProto, node: NodeProto, body: GraphProto, at: tuple[int, int], tensor: str, tail: list[NodeProto]
) -> list[NodeProto]:
    outer, inner = at
    final = node.output[outer]
    mark = f"{final}/lifted/"
    hoisted = {}
    for weight in body.initializer:
        hoisted[weight.name] = f"{mark}{weight.name}"
        outside = graph.initializer.add()
        outside.CopyFrom(weight)
        outside.name = hoisted[weight.name]
    kind = body.output[inner].type.tensor_type.elem_type
    # Through an Identity: the runtime does not take an input of the body for an output.
    body.node.append(helper.make_node("Identity", [tensor], [f"{mark}stacked"]))
    body.output[inner].CopyFrom(helper.make_tensor_value_info(f"{mark}stacked", kind, None))
    node.output[outer] = f"{mark}{tensor}"
    names = {tensor: node.output[outer]}
    placed: list[NodeProto] = []
    for made in tail:
        copy = NodeProto()
        copy.CopyFrom(made)
        last = made is tail[-1]
        names[made.output[0]] = final if last else f"{mark}{made.output[0]}"
        inputs = [names.get(name, hoisted.get(name, name)) for name in made.input]
        del copy.input[:]
        copy.input.extend(inputs)
        copy.output[0] = names[made.output[0]]
        placed += _without_gemm(copy)
    return placed


FUSED = {"FusedGemm": "Gemm", "FusedConv": "Conv"}
# Activations that can be fused, with the names of their parameters.
ACTIVATIONS = {
    "Relu": (), "Sigmoid": (), "Tanh": (), "Softplus": (), "LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"),
}  # fmt: skip
DEEPEST = 16


def simplify(proto: ModelProto, path: str) -> ModelProto | None:
    """The model with functions, decided branches, fused activations and tails of loops put in place; None without any.

    Raises:
        ModelError: when functions are not defined or call themselves.
    """
    loops = any(node.op_type in LOOPS for node in proto.graph.node)
    hidden = any(_is_decided(proto.graph, node) or _is_fused(node) for node in proto.graph.node)
    if not (proto.functions or hidden or loops):
        return None
    result = _inlined(proto, path) if proto.functions else ModelProto.FromString(proto.SerializeToString())
    for _ in range(DEEPEST):
        if not any(_is_decided(result.graph, node) or _is_fused(node) for node in result.graph.node):
            break
        nodes = [made for node in result.graph.node for made in _in_place(result.graph, node)]
        del result.graph.node[:]
        result.graph.node.extend(nodes)
    lifted = lift(result)
    return result if proto.functions or hidden or lifted else None


def _inlined(proto: ModelProto, path: str) -> ModelProto:
    # Exporters disagree with themselves on the version of a function's own domain, which then is not put in place.
    proto = ModelProto.FromString(proto.SerializeToString())
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    for function in proto.functions:
        for entry in function.opset_import:
            if entry.domain in {other.domain for other in proto.functions}:
                entry.version = versions.get(entry.domain, entry.version)
    _give_defaults(proto)
    try:
        return onnx.inliner.inline_local_functions(proto)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: its local functions can't be put in place: {(str(error).splitlines() or ['?'])[0]}",
            "functions that are defined and don't call themselves",
            "Export the model without functions.",
        ) from error


def _give_defaults(proto: ModelProto) -> None:
    """Write the default values of functions' attributes at each call: the inliner would leave them out."""
    defaults = {(function.domain, function.name): function.attribute_proto for function in proto.functions}
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    while nodes:
        node = nodes.pop()
        given = {entry.name for entry in node.attribute}
        missing = [entry for entry in defaults.get((node.domain, node.op_type), ()) if entry.name not in given]
        node.attribute.extend(missing)
        nodes.extend(inner for entry in node.attribute if entry.HasField("g") for inner in entry.g.node)


def _in_place(graph: GraphProto, node: NodeProto) -> Iterator[NodeProto]:
    if _is_fused(node):
        yield from _unfused(node)
    elif _is_decided(graph, node):
        yield from _branch(graph, node)
    else:
        yield node


def _is_fused(node: NodeProto) -> bool:
    known = _text(node, "activation") in ACTIVATIONS
    # A fourth input of a fused convolution is a tensor to be added: that is no linear layer.
    return node.domain == "com.microsoft" and node.op_type in FUSED and known and len(node.input) < 4


def _unfused(node: NodeProto) -> Iterator[NodeProto]:
    name = _text(node, "activation")
    inner = f"{node.output[0]}/before_{name}"
    linear = NodeProto()
    linear.CopyFrom(node)
    linear.op_type, linear.domain, linear.output[0] = FUSED[node.op_type], "", inner
    kept = [entry for entry in node.attribute if not entry.name.startswith("activation")]
    del linear.attribute[:]
    linear.attribute.extend(kept)
    values = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    listed = list(values.get("activation_params", []))
    given = {
        key: values.get(f"activation_{key}", listed[at] if at < len(listed) else None)
        for at, key in enumerate(ACTIVATIONS[name])
    }
    yield linear
    parameters = {key: value for key, value in given.items() if value is not None}
    yield helper.make_node(name, [inner], [node.output[0]], name=f"{node.name}/{name}", **parameters)


def _is_decided(graph: GraphProto, node: NodeProto) -> bool:
    if node.op_type != "If" or node.domain not in ("", "ai.onnx") or not node.input:
        return False
    decision = _decision(graph, node.input[0])
    branch = None if decision is None else _wanted(node, decision)
    return branch is not None and len(branch.output) == len(node.output)


def _wanted(node: NodeProto, decision: bool) -> GraphProto | None:
    name = "then_branch" if decision else "else_branch"
    return next((entry.g for entry in node.attribute if entry.name == name), None)


def _decision(graph: GraphProto, name: str) -> bool | None:
    """The value of a condition that is constant, None for any other."""
    given: list[TensorProto] = [tensor for tensor in graph.initializer if tensor.name == name]
    for node in graph.node:
        if node.op_type == "Constant" and name in node.output:
            given += [entry.t for entry in node.attribute if entry.name == "value"]
    if len(given) != 1 or given[0].data_location == TensorProto.EXTERNAL:
        return None
    value = numpy_helper.to_array(given[0])
    return bool(value.reshape(-1)[0]) if value.size == 1 else None


def _branch(graph: GraphProto, node: NodeProto) -> Iterator[NodeProto]:
    branch = _wanted(node, bool(_decision(graph, node.input[0])))
    assert branch is not None  # noqa: S101 - `_is_decided` saw it
    # Names inside a branch may stand in the other branch as well, never outside: they stay as they are.
    graph.initializer.extend(branch.initializer)
    graph.sparse_initializer.extend(branch.sparse_initializer)
    graph.value_info.extend(branch.value_info)
    yield from branch.node
    for inner, outer in zip(branch.output, node.output, strict=True):
        yield helper.make_node("Identity", [inner.name], [outer], name=f"{node.name}/{outer}")


def _text(node: NodeProto, name: str) -> str:
    return next((entry.s.decode("utf-8", "replace") for entry in node.attribute if entry.name == name), "")
