"""Rewrites of ONNX models that change the graph and not what it computes; each takes a model and returns a new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Rewrite = Callable[[ModelProto], ModelProto]


def copied(model: ModelProto) -> ModelProto:
    """A deep copy."""
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def head_index(model: ModelProto) -> int:
    """Where the last node with a constant matrix stands; the models rewritten here have theirs in plain sight."""
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) >= 2}
    owners = [i for i, node in enumerate(model.graph.node) if weights & set(node.input) and node.op_type in ("Gemm", "MatMul", "Conv")]
    return owners[-1]


def surrounded(before: Iterable[NodeProto], after: Iterable[NodeProto]) -> Rewrite:
    """Puts chains of nodes in front of the head's input and behind its output; chains run from `in` to `out`."""

    def rewrite(model: ModelProto) -> ModelProto:
        new = copied(model)
        head = new.graph.node[head_index(new)]
        nodes = list(new.graph.node)
        place = nodes.index(head)
        behind = _chain(after, source=f"{head.output[0]}_bare", target=head.output[0], mark="after")
        front = _chain(before, source=head.input[0], target=f"{head.input[0]}_same", mark="before")
        if front:
            head.input[0] = f"{head.input[0]}_same"
        if behind:
            head.output[0] = f"{head.output[0]}_bare"
        nodes[place : place + 1] = [*front, head, *behind]
        return _with_nodes(new, nodes)

    return rewrite


def _chain(nodes: Iterable[NodeProto], *, source: str, target: str, mark: str) -> list[NodeProto]:
    """The nodes with fresh names between them."""
    chain = [node.__deepcopy__() for node in nodes]
    names = [source, *(f"{mark}_{i}" for i in range(len(chain) - 1)), target]
    for node, start, end in zip(chain, names, names[1:], strict=False):
        node.input[0], node.output[0] = start, end
    return chain


def _with_nodes(model: ModelProto, nodes: list[NodeProto]) -> ModelProto:
    kept = [node.__deepcopy__() for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def node(op: str, **attributes: object) -> NodeProto:
    """A link for `surrounded`."""
    return helper.make_node(op, ["in"], ["out"], **attributes)


def constants_as_nodes(model: ModelProto) -> ModelProto:
    """Every initializer becomes a Constant node."""
    new = copied(model)
    constants = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in new.graph.initializer]
    del new.graph.initializer[:]
    return _with_nodes(new, [*constants, *new.graph.node])


def initializers_as_inputs(model: ModelProto) -> ModelProto:
    """Every initializer is listed as an input too, as IR version 3 wanted."""
    new = copied(model)
    known = {value.name for value in new.graph.input}
    new.graph.input.extend(
        helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in new.graph.initializer if t.name not in known
    )
    new.ir_version = 3
    return new


def meaningless_names(model: ModelProto) -> ModelProto:
    """Every tensor that is no input or output gets a number as its name, every node none."""
    new = copied(model)
    fixed = {value.name for value in [*new.graph.input, *new.graph.output]}
    names = {"": ""} | {name: name for name in fixed}
    for tensor in new.graph.initializer:
        tensor.name = names.setdefault(tensor.name, str(len(names)))
    for item in new.graph.node:
        item.name = ""
        item.input[:] = [names.setdefault(name, str(len(names))) for name in item.input]
        item.output[:] = [names.setdefault(name, str(len(names))) for name in item.output]
        del item.metadata_props[:]
    del new.graph.value_info[:]
    return new


def sparse_weights(model: ModelProto) -> ModelProto:
    """The matrices become sparse initializers, all of whose entries are listed."""
    new = copied(model)
    dense = [tensor for tensor in new.graph.initializer if len(tensor.dims) != 2]
    for tensor in new.graph.initializer:
        if len(tensor.dims) == 2:
            array = numpy_helper.to_array(tensor)
            values = numpy_helper.from_array(array.ravel(), tensor.name)
            places = numpy_helper.from_array(np.arange(array.size, dtype=np.int64), f"{tensor.name}_places")
            new.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, list(tensor.dims)))
    kept = [tensor.__deepcopy__() for tensor in dense]
    del new.graph.initializer[:]
    new.graph.initializer.extend(kept)
    return new


def in_function(first: int, *, nested: bool = False) -> Rewrite:
    """Moves all nodes from index `first` (negative counts from the end) into a local function; twice where nested."""

    def rewrite(model: ModelProto) -> ModelProto:
        new = copied(model)
        nodes = list(new.graph.node)
        moved, kept = nodes[first:], nodes[:first]
        made = [name for item in moved for name in item.output]
        inputs = list(dict.fromkeys(name for item in moved for name in item.input if name and name not in made))
        outputs = [value.name for value in new.graph.output if value.name in made]
        opsets = list(new.opset_import)
        new.functions.append(helper.make_function("zoo", "Tail", inputs, outputs, moved, opsets))
        called = "Tail"
        if nested:
            inner = helper.make_node("Tail", inputs, outputs, domain="zoo")
            scope = [*opsets, helper.make_opsetid("zoo", 1)]
            new.functions.append(helper.make_function("zoo", "Outer", inputs, outputs, [inner], scope))
            called = "Outer"
        call = helper.make_node(called, inputs, outputs, domain="zoo")
        new.opset_import.append(helper.make_opsetid("zoo", 1))
        new.ir_version = max(new.ir_version, 8)
        return _with_nodes(new, [*kept, call])

    return rewrite


def lifted_to_opset(version: int, *, ir: int) -> Rewrite:
    """The version converter's work."""

    def rewrite(model: ModelProto) -> ModelProto:
        new = onnx.version_converter.convert_version(model, version)
        new.ir_version = ir
        return new

    return rewrite


def external(folder: Path, name: str, *, one_file: bool) -> Rewrite:
    """Moves the weights of 256 bytes and more into one file beside the model, or into a file each."""

    def rewrite(model: ModelProto) -> ModelProto:
        new = copied(model)
        offset, whole = 0, b""
        for k, tensor in enumerate(new.graph.initializer):
            raw = numpy_helper.to_array(tensor).tobytes()
            if len(raw) < 256:
                continue
            location = f"{name}.bin" if one_file else f"{name}.{k}.bin"
            tensor.CopyFrom(TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims))
            tensor.data_location = TensorProto.EXTERNAL
            place = {"location": location, "offset": str(offset if one_file else 0), "length": str(len(raw))}
            tensor.external_data.extend(onnx.StringStringEntryProto(key=key, value=value) for key, value in place.items())
            whole, offset = whole + raw, offset + len(raw)
            (folder / location).write_bytes(whole if one_file else raw)
        return new

    return rewrite


def unused_branch(model: ModelProto) -> ModelProto:
    """Adds a linear layer on the features whose result no output needs: a trap for whoever takes the last node."""
    new = copied(model)
    head = new.graph.node[head_index(new)]
    wide = next(t for t in new.graph.initializer if t.name == head.input[1])
    p = numpy_helper.to_array(wide).shape[1]
    weight = np.random.default_rng(0).normal(size=(p, 3)).astype(np.float32)
    new.graph.initializer.append(numpy_helper.from_array(weight, "unused_weight"))
    new.graph.node.append(helper.make_node("MatMul", [head.input[0], "unused_weight"], ["unused_scores"]))
    return new
