"""What ONNX prescribes and protobuf does not check: each fault is refused in words, before anything is analysed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from zoo_text import refused, two_layers

from onnxrich.errors import ModelError
from onnxrich.model.file import read_model
from onnxrich.model.traversal import iter_tensors
from onnxrich.model.validity import MOST_PARTS, byte_count

FUNCTION_SETS = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]


def with_functions(count: int, calls: Callable[[int], list[int]]) -> ModelProto:
    """A model whose Relu is behind functions: function k calls those that `calls` names, the last one a Relu."""
    proto = two_layers()
    proto.opset_import.append(helper.make_opsetid("f", 1))
    for index in range(count):
        called = calls(index)
        names = ["x", *(f"t{step}" for step in range(len(called)))]
        nodes = [
            helper.make_node(f"f{each}", [names[step]], [names[step + 1]], domain="f")
            if each < count
            else helper.make_node("Relu", [names[step]], [names[step + 1]])
            for step, each in enumerate(called)
        ]
        proto.functions.append(helper.make_function("f", f"f{index}", ["x"], [names[-1]], nodes, FUNCTION_SETS))
    relu = next(node for node in proto.graph.node if node.op_type == "Relu")
    relu.op_type, relu.domain = "f0", "f"
    return proto


@pytest.mark.parametrize(
    ("calls", "count", "message"),
    [
        (lambda index: [index], 1, "the function 'f0' calls itself"),
        (lambda index: [(index + 1) % 3], 3, "calls itself"),
        (lambda index: [index + 1], 101, "calls others over more than 100 levels"),
        (lambda index: [index + 1] * 2, 16, f"has 65,538 operators; needed: at most {MOST_PARTS:,}"),
        (lambda index: [index + 1] * 2, 90, "has 10^27 operators"),
    ],
    ids=["itself", "one another", "deep", "too many", "exponential"],
)
def test_functions_that_do_not_end(calls: Callable[[int], list[int]], count: int, message: str) -> None:
    """Functions are counted without expanding them."""
    with refused(ModelError, message):
        read_model(with_functions(count, calls))


def test_functions_that_end() -> None:
    """A function may call others and the same one often: 2¹³ operators, and a chain of 90 functions."""
    often, deep = with_functions(13, lambda k: [k + 1] * 2), with_functions(90, lambda k: [k + 1])
    for functions, relus in ((often, 2**13), (deep, 1)):
        assert sum(node.op_type == "Relu" for node in read_model(functions).proto.graph.node) == relus


@pytest.mark.parametrize("field", ["node", "initializer"])
def test_sizes(field: str) -> None:
    """More operators or initializers than ONNX Runtime takes in a minute are refused; as many as that are read."""
    proto = two_layers()
    extra = {
        "node": lambda k: helper.make_node("Relu", ["x"], [f"extra{k}"]),
        "initializer": lambda k: TensorProto(name=f"extra{k}", data_type=TensorProto.FLOAT, dims=[0]),
    }[field]
    entries = getattr(proto.graph, field)
    entries.extend(extra(k) for k in range(MOST_PARTS - len(entries)))
    assert len(getattr(read_model(proto).proto.graph, field)) == MOST_PARTS
    entries.append(extra(-1))
    with refused(ModelError, f"<ModelProto> has 65,537 {'operators' if field == 'node' else 'initializers'}"):
        read_model(proto)


def _add_transpose(proto: ModelProto) -> onnx.NodeProto:
    proto.graph.node.append(helper.make_node("Transpose", ["y"], ["z"], name="turn", perm=[1, 0]))
    return proto.graph.node[-1]


def _attribute_type(proto: ModelProto) -> None:
    _add_transpose(proto).attribute[0].CopyFrom(helper.make_attribute("perm", 1.5))


def _attribute_twice(proto: ModelProto) -> None:
    _add_transpose(proto).attribute.append(helper.make_attribute("perm", [0, 1]))


def _attribute_missing(proto: ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Cast", ["y"], ["z"], name="turn"))


def _attribute_empty(proto: ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Constant", [], ["z"], name="turn"))
    proto.graph.node[-1].attribute.add(name="value", type=onnx.AttributeProto.TENSOR)


def _too_many_inputs(proto: ModelProto) -> None:
    _add_transpose(proto).input.extend(["y", "y"])


def _no_outputs(proto: ModelProto) -> None:
    del _add_transpose(proto).output[:]


def _branch(proto: ModelProto) -> None:
    branch = helper.make_graph([], "empty", [], [])
    proto.graph.node.append(helper.make_node("If", ["w1"], ["z"], name="turn", then_branch=branch, else_branch=branch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_attribute_type, "Transpose 'turn' whose attribute 'perm' has the type FLOAT; needed: INTS."),
        (_attribute_twice, "contains the operator Transpose 'turn' with an attribute twice; needed: each once."),
        (_attribute_missing, "contains the operator Cast 'turn' without its attribute 'to'; needed: it."),
        (_attribute_empty, "the operator Constant 'turn' whose attribute 'value' is empty; needed: its value."),
        (_too_many_inputs, "contains the operator Transpose 'turn' with 3 inputs; needed: at most 1."),
        (_no_outputs, "contains the operator Transpose 'turn' with 0 outputs; needed: at least 1."),
        (_branch, "contains the operator If 'turn' whose else_branch has 0 outputs; needed: 1, as the operator has."),
    ],
)  # fmt: skip
def test_operators(change: Callable[[ModelProto], None], message: str) -> None:
    """An operator that ONNX forbids is named; ONNX's own checker refuses each of them too."""
    proto = two_layers()
    change(proto)
    with refused(ModelError, message):
        read_model(proto)
    with pytest.raises((onnx.checker.ValidationError, onnx.shape_inference.InferenceError)):
        onnx.checker.check_model(proto, full_check=True)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto(data_type=99, dims=[1], raw_data=b"1234"), "has the unknown type 99; needed: a type of ONNX."),
        (TensorProto(data_type=1, dims=[-1], raw_data=b"1234"), "has the shape (-1); needed: up to 64 axes"),
        (TensorProto(data_type=1, dims=[1] * 65, raw_data=b"1234"), "has the shape (1, 1, 1, 1, 1, 1, 1, 1, …)"),
        (TensorProto(data_type=1, dims=[2], raw_data=b"1234"), "of shape (2) holds 4 bytes; needed: 8."),
        (TensorProto(data_type=22, dims=[3], raw_data=b"1"), "of shape (3) holds 1 bytes; needed: 2."),
        (TensorProto(data_type=1, dims=[2**40, 2**40]), "holds 0 values; needed: 1,208,925,819,614,629,174,706,176."),
        (TensorProto(data_type=14, dims=[2], float_data=[1, 2, 3]), "of shape (2) holds 3 values; needed: 4."),
    ],
    ids=["type", "negative", "axes", "bytes", "four bits", "claimed", "complex"],
)  # fmt: skip
def test_tensors(tensor: TensorProto, message: str) -> None:
    """A tensor that holds other values than its type and shape say is refused, wherever it lies."""
    for place in ("initializer", "attribute"):
        proto = two_layers()
        if place == "initializer":
            proto.graph.initializer.append(tensor)
        else:
            proto.graph.node.append(helper.make_node("Constant", [], ["z"], value=tensor))
        with refused(ModelError, message):
            read_model(proto)


@pytest.mark.parametrize("value", [value for value in TensorProto.DataType.values() if value not in (0, 8)])
@pytest.mark.parametrize("raw", [True, False])
def test_every_type_is_read(value: int, raw: bool) -> None:
    """What ONNX itself writes is accepted, for each type, and takes as many bytes as it says."""
    zeros = np.zeros(5, helper.tensor_dtype_to_np_dtype(value))
    tensor = numpy_helper.from_array(zeros, "t") if raw else helper.make_tensor("t", value, [5], zeros.tolist())
    assert tensor.data_type == value and tensor.HasField("raw_data") == raw
    if raw and byte_count(tensor) is not None:
        assert byte_count(tensor) == len(tensor.raw_data)
    proto = two_layers()
    proto.graph.initializer.append(tensor)
    assert any(each.name == "t" for each in iter_tensors(read_model(proto).proto))


def test_external_data_shorter_than_the_shape(tmp_path: Path) -> None:
    """A shape that claims more than the file of external data holds is refused, though the file states no length."""
    path = tmp_path / "model.onnx"
    onnx.save_model(two_layers(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    proto = onnx.load(path, load_external_data=False)
    tensor = proto.graph.initializer[0]
    entries = [entry for entry in tensor.external_data if entry.key == "location"]
    del tensor.external_data[:]
    tensor.external_data.extend(entries)
    tensor.dims[:] = [10**5, 10**5]
    path.write_bytes(proto.SerializeToString())
    with refused(ModelError, "needed: 40,000,000,000 bytes"):
        read_model(path)
