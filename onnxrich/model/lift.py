"""Move what follows the last state of a Loop or a Scan out of its body, where its tensors can be read.

A body is run step by step and its outputs are stacked. Products with a constant weight, sums with a constant bias and
activations treat every row alike: applied to the stacked tensor behind the loop they give the same numbers.
"""

from __future__ import annotations

from onnx import GraphProto, ModelProto, NodeProto, helper

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
