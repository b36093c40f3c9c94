"""Models to begin with, and mutations of their protobuf that leave it readable: what each target of models shares."""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from fuzz.mutations import EDGES, FLOATS, NAMES, mutate_bytes

ZOO = Path(__file__).parents[1] / "zoo"
# Bytes of a seed, at most.
LARGEST_SEED = 20_000
# Operators that a node is turned into, besides those of the model itself.
OPERATORS = (
    "Add", "ArgMax", "BatchNormalization", "Cast", "CastLike", "Clip", "Concat", "Constant", "ConstantOfShape",
    "Conv", "ConvTranspose", "DequantizeLinear", "Div", "Einsum", "Expand", "Flatten", "Gather", "GatherElements",
    "GatherND", "Gemm", "GlobalAveragePool", "Identity", "If", "LayerNormalization", "Loop", "MatMul", "Max", "Mul",
    "OneHot", "Pad", "Pow", "QuantizeLinear", "Range", "ReduceMax", "ReduceMean", "ReduceSum", "Relu", "Reshape",
    "Resize", "Scan", "ScatterElements", "SequenceConstruct", "Shape", "Slice", "Softmax", "Split", "Squeeze", "Sub",
    "Sum", "Tile", "TopK", "Transpose", "Unsqueeze", "Where", "MatMulNBits", "QGemm", "QLinearMatMul", "QLinearConv",
    "FusedGemm", "FusedConv", "DynamicQuantizeMatMul", "MatMulInteger", "LinearClassifier", "TreeEnsembleClassifier",
    "LSTM", "GRU", "Optional", "LpNormalization", "EyeLike", "Trilu", "BitShift", "StringConcat", "NonZero",
    "Compress", "Mod", "Size", "Sqrt",
)  # fmt: skip
ATTRIBUTES = (
    "activation", "alpha", "axes", "axis", "beta", "bits", "block_size", "body", "else_branch", "end", "epsilon",
    "equation", "group", "K", "keepdims", "N", "num_scan_inputs", "p", "perm", "shape", "sparse_value", "split",
    "start", "then_branch", "to", "transA", "transB", "value", "value_ints",
)  # fmt: skip
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "ai.onnx.preview.training", "local", "\udcff")
OPSETS = (-1, 0, 1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 18, 21, 23, 25, 26, 27, 10**6, 2**31, 2**63 - 1)
SYMBOLS = ("N", "batch", "n", "seq", "", "N", "N*2", "-1", "\n", "T")


def seeds() -> list[bytes]:
    """Small models: one of each folder's kinds in the zoo, those with functions and loops, and the hand-made below."""
    paths = sorted(path for path in ZOO.rglob("*.onnx") if path.stat().st_size < LARGEST_SEED)
    return [*(path.read_bytes() for path in paths), *(model.SerializeToString() for model in _written_models())]


def mutate(rng: random.Random, content: bytes) -> bytes:
    """Change a model once or some times, mostly as a protobuf, sometimes as bytes, sometimes as both."""
    way = rng.random()
    if way < 0.15:
        return mutate_bytes(rng, content)
    model = ModelProto.FromString(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        # A model, or what earlier mutations left of it, may have no place for one.
        with contextlib.suppress(Exception), np.errstate(all="ignore"):
            rng.choice(_MUTATIONS)(rng, model)
    mutated = _with_raw_names(rng, model.SerializeToString())
    return mutate_bytes(rng, mutated) if way > 0.95 else mutated


# Models of few nodes with what exporters seldom write


def _written_models() -> Iterator[ModelProto]:
    texts = (
        """<ir_version: 10, opset_import: ["" : 21, "local" : 1]>
        g (float[N,4] x) => (float[N,3] y)
        <float[4,5] w = {#20}, float[5,3] v = {#15}, float[3] b = {1, 2, 3}>
        { h = local.layer(x, w) r = Relu(h) z = MatMul(r, v) y = Add(z, b) }
        <domain: "local", opset_import: ["" : 21, "local" : 1]>
        layer (x, w) => (h) { m = local.product(x, w) h = Tanh(m) }
        <domain: "local", opset_import: ["" : 21]>
        product (x, w) => (h) { h = MatMul(x, w) }""",
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[N,4] x, bool c) => (float[N,3] y)
        <float[4,3] w = {#12}, float[3,3] v = {#9}>
        { h = Relu(x) m = MatMul(h, w)
          y = If (c) <then_branch = t () => (float[N,3] a) { a = MatMul(m, v) },
                      else_branch = e () => (float[N,3] a) { b = MatMul(m, v) a = Tanh(b) }> }""",
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[5,2,4] x) => (float[5,2,3] y)
        <float[4,3] w = {#12}, float[2,4] s = {#8}, int64 n = {5}, bool c = {1}>
        { last, y = Scan <num_scan_inputs = 1, body = b (float[2,4] s0, float[2,4] xi) => (float[2,4] s1, float[2,3] o)
            { s1 = Add(s0, xi) t = Tanh(s1) o = MatMul(t, w) }> (s, x) }""",
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[N,4] x) => (float[N,3] y)
        <int64[2] shape = {4, 3}, float[1] one = {1}, int64[2] perm = {1, 0}, int64[1] axes = {0}, int64 start = {0},
         int64 limit = {12}, int64 delta = {1}>
        { r = Relu(x) f = ConstantOfShape <value = float {0.5}> (shape) e = Expand(one, shape)
          i = Range(start, limit, delta) c = Cast <to = 1> (i) k = Reshape(c, shape) a = Add(f, e) w = Mul(a, k)
          y = MatMul(r, w) }""",
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[N,4] x) => (float[N,3] y)
        <int8[4,3] w = {1,2,3,4,5,6,7,8,9,10,11,12}, float[3] s = {0.1, 0.2, 0.3}, int8[3] z = {0, 1, 2},
         float[3] b = {1, 2, 3}>
        { r = Relu(x) d = DequantizeLinear <axis = 1> (w, s, z) m = Gemm <alpha = 0.5> (r, d, b) y = Softmax(m) }""",
        """<ir_version: 10, opset_import: ["" : 21]>
        g (float[1,3,6,6] x) => (float[1,4] y)
        <float[5,3,3,3] k = {#135}, float[4,5,1,1] h = {#20}, float[5] s = {1,1,1,1,1}, float[5] b = {0,0,0,0,0}>
        { c = Conv(x, k) n = BatchNormalization(c, s, b, b, s) r = Relu(n) o = Conv(r, h) p = GlobalAveragePool(o)
          y = Flatten(p) }""",
    )  # fmt: skip
    yield from (onnx.parser.parse_model(re.sub(r"#(\d+)", _numbers, text)) for text in texts)


def _numbers(count: re.Match[str]) -> str:
    return ", ".join(f"{0.1 * (index % 7) - 0.3:.1f}" for index in range(int(count[1])))


# Mutations of the protobuf


def _graphs(model: ModelProto) -> list[GraphProto]:
    """The main graph and those inside nodes of it and of functions, some levels deep."""
    found, nodes = [model.graph], [node for function in model.functions for node in function.node]
    for graph in found:
        nodes += graph.node
        if len(found) < 20:
            found += [entry.g for node in nodes for entry in node.attribute if entry.HasField("g")]
        nodes = []
    return found


def _graph(rng: random.Random, model: ModelProto) -> Any:
    """The main graph most of the time; else one inside a node, or a function, which has nodes too."""
    if rng.random() < 0.7:
        return model.graph
    return rng.choice([*_graphs(model), *model.functions])


def _node(rng: random.Random, model: ModelProto) -> NodeProto:
    nodes = _graph(rng, model).node
    # The end of a graph is what the search for a head looks at.
    return nodes[-1 - min(int(rng.expovariate(0.3)), len(nodes) - 1)] if rng.random() < 0.6 else rng.choice(nodes)


def _tensors(model: ModelProto) -> list[TensorProto]:
    constants = [entry.t for node in model.graph.node for entry in node.attribute if entry.HasField("t")]
    return [*(tensor for graph in _graphs(model) for tensor in graph.initializer), *constants]


def _names(model: ModelProto) -> list[str]:
    graph = model.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    return [*names, *(tensor.name for tensor in graph.initializer), *(value.name for value in graph.input), "new"]


def _set(field: Any, values: Iterable[Any]) -> None:
    """Replace the entries of a repeated field."""
    copies = list(values)
    del field[:]
    field.extend(copies)


def _copies(messages: Iterable[Any]) -> list[Any]:
    return [type(message).FromString(message.SerializeToString()) for message in messages]


def _drop_node(rng: random.Random, model: ModelProto) -> None:
    nodes = _graph(rng, model).node
    del nodes[rng.randrange(len(nodes))]


def _repeat_node(rng: random.Random, model: ModelProto) -> None:
    graph, node = _graph(rng, model), NodeProto()
    node.CopyFrom(_node(rng, model))
    if rng.random() < 0.5:
        _set(node.output, [f"{name}_2" for name in node.output])
    graph.node.insert(rng.randrange(len(graph.node) + 1), node)


def _reorder_nodes(rng: random.Random, model: ModelProto) -> None:
    graph = _graph(rng, model)
    nodes = _copies(graph.node)
    rng.shuffle(nodes)
    _set(graph.node, nodes if rng.random() < 0.5 else sorted(nodes, key=lambda node: node.op_type))


def _rewire_input(rng: random.Random, model: ModelProto) -> None:
    node = _node(rng, model)
    name = rng.choice((*_names(model), *node.output, "", rng.choice(NAMES)))
    node.input[rng.randrange(len(node.input))] = name.replace("\udcff", "")


def _rewire_output(rng: random.Random, model: ModelProto) -> None:
    node = _node(rng, model)
    node.output[rng.randrange(len(node.output))] = rng.choice((*_names(model), *node.input, ""))


def _count_of_inputs(rng: random.Random, model: ModelProto) -> None:
    node = _node(rng, model)
    field = rng.choice((node.input, node.output))
    way = rng.random()
    if way < 0.4:
        del field[rng.randrange(len(field)) :]
    elif way < 0.8:
        field.extend(rng.choices(_names(model), k=rng.choice((1, 2, 9, 300))))
    else:
        field.insert(0, rng.choice(_names(model)))


def _operator(rng: random.Random, model: ModelProto) -> None:
    node = _node(rng, model)
    own = [other.op_type for other in model.graph.node]
    node.op_type = rng.choice((rng.choice(OPERATORS), rng.choice(OPERATORS), rng.choice(own), rng.choice(NAMES)))


def _domain(rng: random.Random, model: ModelProto) -> None:
    _node(rng, model).domain = rng.choice(DOMAINS[:-1])


def _versions(rng: random.Random, model: ModelProto) -> None:
    way = rng.random()
    if way < 0.3:
        model.ir_version = rng.choice((*OPSETS, *range(1, 14)))
    elif way < 0.7:
        rng.choice(model.opset_import).version = rng.choice(OPSETS)
    elif way < 0.8:
        model.opset_import.add(domain=rng.choice(DOMAINS[:-1]), version=rng.choice(OPSETS))
    elif way < 0.9:
        rng.choice(model.opset_import).domain = rng.choice(DOMAINS[:-1])
    else:
        del model.opset_import[:]


def _value(rng: random.Random) -> Any:
    """A value of an attribute, of any type."""
    numbers = [rng.choice(EDGES) % 2**64 for _ in range(rng.choice((0, 1, 2, 4, 65)))]
    numbers = [number - 2**64 if number >= 2**63 else number for number in numbers]
    number = numbers[0] if numbers else -1
    floats = [rng.choice(FLOATS) for _ in range(rng.choice((1, 2, 5)))]
    texts = (b"", b"\xff\xfe", b"Relu", b"ij,jk->ik", b"...i,ij->...j", b"i" * 300, b"ij,jk->", b"->", b"SAME_UPPER")
    graph = GraphProto(name="empty")
    return rng.choice(
        (
            number, number, numbers, floats[0], floats, rng.choice(texts), [rng.choice(texts)], _tensor(rng), graph,
            helper.make_tensor_type_proto(rng.choice((0, 1, 7, 99)), ["N", 3]), helper.make_sparse_tensor(
                helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0]),
                helper.make_tensor("indices", TensorProto.INT64, [1], [rng.choice((0, 5, -1, 2**62))]), [3]),
        )
    )  # fmt: skip


def _tensor(rng: random.Random) -> TensorProto:
    dtype = rng.choice((np.float32, np.int64, np.int64, np.float64, np.bool_, np.int8, np.float16))
    shape = rng.choice(((), (0,), (1,), (2,), (2, 3), (1, 0, 4)))
    values = [rng.choice(EDGES) % 2**63 for _ in range(int(np.prod(shape)))]
    return numpy_helper.from_array(np.array(values, dtype=object).astype(np.float64).reshape(shape).astype(dtype), "t")


def _attribute(rng: random.Random, model: ModelProto) -> None:
    """Change the value or the type of an attribute, add one that some operator has, or drop one."""
    node = _node(rng, model)
    way = rng.random()
    if way < 0.25 or not node.attribute:
        node.attribute.append(helper.make_attribute(rng.choice(ATTRIBUTES), _value(rng)))
    elif way < 0.35:
        del node.attribute[rng.randrange(len(node.attribute))]
    elif way < 0.5:
        entry = rng.choice(node.attribute)
        entry.type = rng.choice(AttributeProto.AttributeType.values())
    elif way < 0.6:
        node.attribute.append(_copies([rng.choice(node.attribute)])[0])
    else:
        entry = rng.choice(node.attribute)
        if entry.type == AttributeProto.INT and rng.random() < 0.6:
            entry.i = int(helper.get_attribute_value(helper.make_attribute("i", rng.choice(EDGES[:-3]))))
        elif entry.type == AttributeProto.INTS and entry.ints and rng.random() < 0.7:
            entry.ints[rng.randrange(len(entry.ints))] = rng.choice((*EDGES[:-4], 2**63 - 1, -(2**63)))
        elif entry.HasField("t") and rng.random() < 0.5:
            _change_tensor(rng, entry.t)
        else:
            entry.CopyFrom(helper.make_attribute(entry.name, _value(rng)))


def _change_tensor(rng: random.Random, tensor: TensorProto) -> None:
    """Let a tensor's type, shape, and values contradict each other."""
    way = rng.randrange(8)
    if way == 0:
        tensor.data_type = rng.choice((*TensorProto.DataType.values(), 99, -1, 2**31 - 1))
    elif way == 1:
        raw = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
        tensor.raw_data = rng.choice((b"", raw[:-1], raw + b"\0", raw * 2, raw[: len(raw) // 2]))
    elif way == 2:
        large = [rng.choice((-1, 2**31, 2**62, 2**63 - 1))] * rng.choice((1, 2, 70))
        _set(tensor.dims, rng.choice(([], [0], [*tensor.dims, 1], [*tensor.dims, rng.choice(EDGES[:-4])], large)))
    elif way == 3:
        dims = list(tensor.dims)
        dims[rng.randrange(len(dims))] = rng.choice((*EDGES[:-4], 2**63 - 1, -(2**63)))
        _set(tensor.dims, dims)
    elif way == 4:
        values = np.array(numpy_helper.to_array(tensor))
        special = rng.choice(FLOATS) if values.dtype.kind == "f" else rng.choice(EDGES) % 2**7
        values.reshape(-1)[rng.randrange(values.size) :: rng.choice((1, 10**9))] = special
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values, name))
    elif way == 5:
        # Whole numbers are axes, shapes and sizes.
        values = np.array(numpy_helper.to_array(tensor))
        if values.dtype.kind not in "iu":
            raise ValueError("no whole numbers")
        limits = np.iinfo(values.dtype)
        values.reshape(-1)[rng.randrange(values.size)] = min(max(rng.choice(EDGES), limits.min), limits.max)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    elif way == 6:
        tensor.name = rng.choice(NAMES)
    else:
        tensor.segment.begin, tensor.segment.end = 0, rng.choice(EDGES[:-4])
        tensor.float_data.extend([1.0] * rng.choice((0, 1, 7)))
        tensor.string_data.append(b"\xff")


def _initializer(rng: random.Random, model: ModelProto) -> None:
    _change_tensor(rng, rng.choice(_tensors(model)))


def _initializer_list(rng: random.Random, model: ModelProto) -> None:
    """Drop, repeat or alias an initializer, or declare it as an input or output too."""
    graph, way = model.graph, rng.randrange(6)
    tensor = rng.choice(graph.initializer)
    value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
    if way == 0:
        graph.initializer.remove(tensor)
    elif way == 1:
        graph.initializer.append(_copies([tensor])[0])
    elif way == 2:
        tensor.name = rng.choice(_names(model))
    elif way == 3:
        graph.input.append(value)
    elif way == 4:
        graph.output.append(value)
    else:
        values = helper.make_tensor("values", TensorProto.FLOAT, [2], [1.0, 2.0])
        indices = helper.make_tensor("indices", TensorProto.INT64, [2], [0, rng.choice((1, 0, -1, 10**6, 2**62))])
        values.name = tensor.name
        dims = rng.choice((list(tensor.dims), [2**31, 2**31], [-1], []))
        graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, dims))
        graph.initializer.remove(tensor)


def _external(rng: random.Random, model: ModelProto) -> None:
    """Let a tensor's values lie in another file, which is missing, elsewhere, or the model itself."""
    tensor = rng.choice(_tensors(model))
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    locations = ("weights.bin", "input.onnx", "/etc/passwd", "../x", "", ".", "a\0b", "/dev/zero", "a" * 5000)
    entries = {"location": rng.choice(locations)}
    for key in ("offset", "length"):
        if rng.random() < 0.6:
            entries[key] = str(rng.choice((*EDGES, "x", "", "1e3", "9" * 5000, " 4", "-0", "٣")))
    for key, entry in entries.items():
        tensor.external_data.add(key=key, value=entry)


def _value_info(rng: random.Random, model: ModelProto) -> ValueInfoProto:
    graph = rng.choice(_graphs(model))
    return rng.choice([*graph.input, *graph.output, *graph.value_info])


def _shape(rng: random.Random, model: ModelProto) -> None:
    """Change the shape that the file states for a tensor."""
    value, way = _value_info(rng, model), rng.randrange(5)
    shape = value.type.tensor_type.shape
    if way == 0:
        value.type.tensor_type.ClearField("shape")
    elif way == 1:
        shape.dim.add(dim_value=rng.choice(EDGES[:-4]))
    elif way == 2:
        del shape.dim[rng.randrange(len(shape.dim)) :]
    else:
        dim = rng.choice(shape.dim)
        if rng.random() < 0.5:
            dim.dim_value = rng.choice((*EDGES[:-4], 2**63 - 1, -(2**63)))
        else:
            dim.dim_param = rng.choice((*SYMBOLS, rng.choice(NAMES)))


def _value_type(rng: random.Random, model: ModelProto) -> None:
    """Change the type that the file states for a tensor, or make it a sequence, map, optional or sparse tensor."""
    value, way = _value_info(rng, model), rng.randrange(6)
    inner = helper.make_tensor_type_proto(rng.choice((0, 1, 7, 8)), ["N"])
    if way < 2:
        value.type.tensor_type.elem_type = rng.choice((*TensorProto.DataType.values(), 99, -5))
    elif way == 2:
        value.type.CopyFrom(helper.make_sequence_type_proto(inner))
    elif way == 3:
        value.type.CopyFrom(helper.make_optional_type_proto(inner))
    elif way == 4:
        value.type.CopyFrom(helper.make_map_type_proto(rng.choice((7, 8, 1)), inner))
    else:
        value.ClearField("type")


def _inputs_and_outputs(rng: random.Random, model: ModelProto) -> None:
    """Drop, repeat, add or rename what goes in and out of a graph."""
    graph, way = rng.choice(_graphs(model)), rng.randrange(5)
    field = rng.choice((graph.input, graph.output))
    if way == 0:
        del field[rng.randrange(len(field))]
    elif way == 1:
        field.append(_copies([rng.choice(field)])[0])
    elif way == 2:
        rng.choice(field).name = rng.choice((*_names(model), *NAMES))
    elif way == 3:
        names = rng.choices(_names(model), k=rng.choice((1, 3)))
        field.extend(helper.make_tensor_value_info(name, 1, rng.choice((None, ["N", 3], []))) for name in names)
    else:
        model.graph.value_info.append(
            helper.make_tensor_value_info(rng.choice(_names(model)), 1, [rng.choice(EDGES[:-4])])
        )


def _rename(rng: random.Random, model: ModelProto) -> None:
    """Give a tensor another name wherever it stands."""
    old, new = rng.choice(_names(model)), rng.choice(NAMES)
    graph = model.graph
    for node in graph.node:
        _set(node.input, [new if name == old else name for name in node.input])
        _set(node.output, [new if name == old else name for name in node.output])
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        named.name = new if named.name == old else named.name


def _texts(rng: random.Random, model: ModelProto) -> None:
    """Write into the places for people: names, documentation, metadata, training, quantisation."""
    text, way = rng.choice(NAMES), rng.randrange(8)
    if way == 0:
        model.producer_name, model.producer_version = text, rng.choice(NAMES)
    elif way == 1:
        model.metadata_props.add(key=rng.choice(("onnxrich.step", "onnxrich.loss", "onnxrich.moments", text)),
                                 value=rng.choice((text, "1", "-1", "9" * 18, "1e99", "nan", "{}", "[]")))  # fmt: skip
    elif way == 2:
        _node(rng, model).name = text
    elif way == 3:
        _node(rng, model).metadata_props.add(
            key="pkg.torch.onnx.name_scopes", value=rng.choice((text, "['a'", "[" * 900))
        )
    elif way == 4:
        annotation = model.graph.quantization_annotation.add(tensor_name=rng.choice(_names(model)))
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value=rng.choice(_names(model)))
    elif way == 5:
        model.training_info.add().initialization.CopyFrom(model.graph)
    elif way == 6:
        model.graph.name, model.doc_string, model.domain = text, rng.choice(NAMES), text
    else:
        model.model_version = rng.choice((-1, 2**63 - 1))


def _nest(rng: random.Random, model: ModelProto) -> None:
    """Put the graph, or a part of it, into a branch or the body of a loop; also many times inside itself."""
    graph, depth = model.graph, rng.choice((1, 1, 2, 20, 60))
    body = GraphProto()
    body.CopyFrom(graph)
    del body.input[:]
    for level in range(depth):
        outer = GraphProto(name=f"level{level}")
        outer.output.extend(body.output)
        operator = rng.choice(("If", "If", "Loop", "Scan"))
        names = [value.name for value in body.output]
        if operator == "If":
            node = helper.make_node(
                "If", ["condition"], names, then_branch=body, else_branch=body if depth < 3 else outer
            )
        else:
            node = helper.make_node(operator, rng.choices(_names(model), k=rng.choice((1, 2, 3))), names, body=body)
        outer.node.append(node)
        body = outer
    if rng.random() < 0.7:
        graph.initializer.append(numpy_helper.from_array(np.array(rng.random() < 0.5), "condition"))
    _set(graph.node, _copies(body.node))


def _functions(rng: random.Random, model: ModelProto) -> None:
    """Add functions: that call themselves or each other, that expand exponentially, or that hide the last node."""
    way, last = rng.randrange(4), model.graph.node[-1]
    count = rng.choice((1, 2, 5, 30, 200))
    model.opset_import.add(domain="f", version=1)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("f", 1)]
    for index in range(count):
        called = {0: index, 1: (index + 1) % count}.get(way, index + 1)
        nodes = [helper.make_node(f"f{called}", ["x"], ["y"], domain="f")]
        if way == 2 and index < count - 1:
            nodes.append(helper.make_node(f"f{called}", ["y"], ["z"], domain="f"))
        elif way >= 2 and index == count - 1:
            nodes = [helper.make_node("Relu", ["x"], ["y"])]
        output = nodes[-1].output[0]
        model.functions.append(helper.make_function("f", f"f{index}", ["x"], [output], nodes, opsets))
    call = helper.make_node("f0", list(last.input[:1]), list(last.output[:1]), domain="f")
    model.graph.node[len(model.graph.node) - 1].CopyFrom(call)


def _many(rng: random.Random, model: ModelProto) -> None:
    """Make a graph long or wide: chains of operators, diamonds, initializers, inputs, outputs."""
    graph, way, count = model.graph, rng.randrange(6), rng.choice((40, 300, 2000))
    start = rng.choice(_names(model))
    operator = rng.choice(("Relu", "Identity", "Add", "Mul", "Neg", "Transpose", "Cast", "Softmax", "Sum"))
    if way < 2:
        # A chain before an output, or before the input of a node.
        sources = [start, *(f"chain{index}" for index in range(count))]
        for left, right in pairwise(sources):
            inputs = [left, left] if way or operator in ("Add", "Mul", "Sum") else [left]
            graph.node.append(helper.make_node(operator, inputs, [right], **({"to": 1} if operator == "Cast" else {})))
        _node(rng, model).input[0] = sources[-1]
        if rng.random() < 0.5:
            graph.output[0].name = sources[-1]
    elif way == 2:
        graph.initializer.extend(numpy_helper.from_array(np.ones(1, np.float32), f"many{k}") for k in range(count))
    elif way == 3:
        graph.output.extend(helper.make_tensor_value_info(rng.choice(_names(model)), 1, None) for _ in range(count))
    elif way == 4:
        graph.input.extend(helper.make_tensor_value_info(f"more{k}", 1, ["N", 2]) for k in range(count))
    else:
        node = _node(rng, model)
        node.input.extend([node.input[0]] * count)


def _constant_folding(rng: random.Random, model: ModelProto) -> None:
    """Let a weight be computed from constants: sizes that explode, operators that don't fit."""
    graph = model.graph
    name = rng.choice([tensor.name for tensor in graph.initializer])
    shape = rng.choice(([2], [4, 3], [-1], [0], [10**5, 10**5], [2**31], [2**62], [2] * 70, []))
    graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "fold_shape"))
    repeats = [rng.choice((1, 2, 10**4, 10**9, -1))] * rng.choice((1, 2))
    graph.initializer.append(numpy_helper.from_array(np.array(repeats, np.int64), "fold_repeats"))
    numbers = [rng.choice((0, 1, -1, 10**10, 2**62)) for _ in range(3)]
    for role, number in zip(("start", "limit", "delta"), numbers, strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array(number, np.int64), f"fold_{role}"))
    made = rng.choice(
        (
            helper.make_node("ConstantOfShape", ["fold_shape"], ["folded"], value=_tensor(rng)),
            helper.make_node("Expand", [name, "fold_shape"], ["folded"]),
            helper.make_node("Tile", [name, "fold_repeats"], ["folded"]),
            helper.make_node("Range", ["fold_start", "fold_limit", "fold_delta"], ["folded"]),
            helper.make_node("Reshape", [name, "fold_shape"], ["folded"]),
            helper.make_node("Gather", [name, "fold_shape"], ["folded"], axis=rng.choice((0, -1, 5))),
            helper.make_node("Slice", [name, "fold_shape", "fold_repeats"], ["folded"]),
            helper.make_node("Concat", [name] * rng.choice((1, 2, 500)), ["folded"], axis=rng.choice((0, -9, 2**40))),
            helper.make_node("Transpose", [name], ["folded"], perm=rng.choice(([1, 0], [0], [0, 0], [5, -1], []))),
            helper.make_node("Pow", [name, name], ["folded"]),
            helper.make_node("Split", [name], ["folded", "rest"], axis=rng.choice((0, 1, 7)), num_outputs=2),
            helper.make_node("Einsum", [name, name], ["folded"], equation="ij,kl->ijkl"),
            helper.make_node("Unsqueeze", [name, "fold_shape"], ["folded"]),
            helper.make_node("Cast", [name], ["folded"], to=rng.choice((*TensorProto.DataType.values(), 77))),
        )
    )  # fmt: skip
    graph.node.insert(0, made)
    for node in graph.node[1:]:
        _set(node.input, ["folded" if each == name else each for each in node.input])


def _with_raw_names(rng: random.Random, data: bytes) -> bytes:
    """Now and then break the UTF-8 of a name, which protobuf's own setters refuse."""
    if rng.random() > 0.05 or len(data) < 10:
        return data
    mutated = bytearray(data)
    letters = [index for index in range(len(data)) if 97 <= data[index] < 123]
    if letters:
        mutated[rng.choice(letters)] = rng.choice((0xFF, 0xC0, 0x80, 0x9B, 0x00))
    return bytes(mutated)


_MUTATIONS: tuple[Callable[[random.Random, ModelProto], None], ...] = (
    _drop_node, _repeat_node, _reorder_nodes, _rewire_input, _rewire_input, _rewire_output, _count_of_inputs, _operator,
    _operator, _domain, _versions, _attribute, _attribute, _attribute, _initializer, _initializer, _initializer,
    _initializer_list, _external, _shape, _shape, _value_type, _inputs_and_outputs, _rename, _texts, _nest, _functions,
    _many, _constant_folding, _constant_folding,
)  # fmt: skip
