"""Hostile models: files of other kinds, broken graphs, killers of the runtime, memory bombs, and external data."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from zoo_text import build

from hostile.case import WEIGHTS, Case, X

HONEST = "a = MatMul(z, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
# Whatever the runtime says about a model that it does not load or run.
ANY = r"model\.onnx|onnxrich: "


def _save(folder: Path, proto: onnx.ModelProto) -> None:
    (folder / "model.onnx").write_bytes(proto.SerializeToString())


def _trouble(text: str, **weights: np.ndarray) -> Callable[[Path], None]:
    """A model in which `text` makes z from its input x before the first layer."""

    def make(folder: Path) -> None:
        _save(folder, build(f"{text}\n {HONEST}", opset=20, **WEIGHTS, **weights))

    return make


def _changed(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], None]:
    """The honest model, changed."""

    def make(folder: Path) -> None:
        proto = onnx.load(folder / "model.onnx")
        change(proto)
        _save(folder, proto)

    return make


def _written(content: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.onnx").write_bytes(content)


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(folder: Path) -> None:
        (folder / "model.onnx").unlink()
        make(folder / "model.onnx")

    return replace


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({"w": 1}))
        file.writestr("archive/version", "3")


def _saved_model(path: Path) -> None:
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"\x08\x01")


def _sparse(size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(b"")
        os.truncate(path, size)

    return make


_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FILES = {
    "empty": lambda path: path.write_bytes(b""),
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "broken-link": lambda path: path.symlink_to("nowhere"),
    "link-to-itself": lambda path: path.symlink_to("model.onnx"),
    "text": lambda path: path.write_text("not a model\n" * 50),
    "html": lambda path: path.write_text("<!DOCTYPE html><html><body>404</body></html>"),
    "pickle": lambda path: path.write_bytes(pickle.dumps({"w": list(range(99))})),
    "pytorch": _zip,
    "saved-model": _saved_model,
    "lfs-pointer": lambda path: path.write_bytes(_POINTER),
    "gzip": lambda path: path.write_bytes(gzip.compress(b"model")),
    "json": lambda path: path.write_text(json.dumps({"graph": {}})),
    "hdf5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 500),
    "safetensors": lambda path: path.write_bytes((2**60).to_bytes(8, "little") + b"{}"),
    "zeros": lambda path: path.write_bytes(b"\0" * 4096),
    "hole-of-3-gib": _sparse(3 << 30),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
}

_INT = {"least": np.array([-(2**31)], np.int32), "minus": np.array([-1], np.int32), "zero": np.array([0], np.int32)}
_LONG = {"least": np.array([-(2**63)]), "minus": np.array([-1]), "zero": np.array([0])}
_AROUND = "s = ReduceSum<keepdims=0>(x)\n i = Cast<to={}>(s)\n o = Sub(i, i)\n l = Add(least, o)\n"


def _arithmetic(kind: int, operator: str, right: str, *, folded: bool) -> Callable[[Path], None]:
    left = "least" if folded else "l"
    before = "" if folded else _AROUND.format(kind)
    text = f"{before} q = {operator}({left}, {right})\n f = Cast<to=1>(q)\n z = Add(x, f)"
    return _trouble(text, **(_INT if kind == 6 else _LONG))


KILLERS = {
    f"{operator.lower()}-{right}-{'int32' if kind == 6 else 'int64'}-{'folded' if folded else 'run'}": _arithmetic(
        kind, operator, right, folded=folded
    )
    for kind in (6, 7)
    for operator, right in (("Div", "minus"), ("Div", "zero"), ("Mod", "zero"), ("Mod", "minus"))
    for folded in (True, False)
}

_IMAGE = "i = Reshape(x, four)\n {}\n z = Reshape(c, two)"
_SHAPES = {"four": np.array([-1, 6, 1, 1]), "two": np.array([-1, 6])}
_KERNEL = {"k": np.ones((6, 6, 1, 1), np.float32)}
# Attributes that count, divide or repeat, at 0, below 0 and huge.
_ATTRIBUTES = {
    "conv-group": ("c = Conv<group={}>(i, k)", _KERNEL),
    "conv-stride": ("c = Conv<strides=[{0},{0}]>(i, k)", _KERNEL),
    "conv-pads": ("c = Conv<pads=[{0},{0},{0},{0}]>(i, k)", _KERNEL),
    "pool-kernel": ("c = MaxPool<kernel_shape=[{0},{0}]>(i)", {}),
    "depth-to-space": ("c = DepthToSpace<blocksize={}>(i)", {}),
    "space-to-depth": ("c = SpaceToDepth<blocksize={}>(i)", {}),
    "split": ("c, d = Split<axis=1, num_outputs={}>(i)", {}),
    "group-norm": ("c = GroupNormalization<num_groups={}>(i, g, g)", {"g": np.ones(6, np.float32)}),
    "lrn": ("c = LRN<size={}>(i)", {}),
    "concat-axis": ("c = Concat<axis={}>(i, i)", {}),
    "softmax-axis": ("c = Softmax<axis={}>(i)", {}),
}
ATTRIBUTES = {
    f"{name}-{label}": _trouble(_IMAGE.format(text.format(value)), **_SHAPES, **weights)
    for name, (text, weights) in _ATTRIBUTES.items()
    for label, value in (("zero", 0), ("negative", -(2**31)), ("huge", 2**31 - 1))
    if (name, label) != ("lrn", "huge")  # hours of work, which the limits of time end
}

# Tensors that no machine holds: 2^52 numbers.
BOMBS = {
    "constant-of-shape": ("b = ConstantOfShape(huge)\n s = ReduceMax<keepdims=0>(b)\n z = Add(x, s)", {}),
    "expand": ("b = Expand(x, wide)\n s = ReduceMax<keepdims=0>(b)\n z = Add(x, s)", {}),
    "tile": ("b = Tile(x, times)\n s = ReduceMax<keepdims=0>(b)\n z = Add(x, s)", {}),
    "range": (
        "r = Range(from, to, step)\n f = Cast<to=1>(r)\n s = ReduceMax<keepdims=0>(f)\n z = Add(x, s)",
        {"from": np.array(0), "to": np.array(2**52), "step": np.array(1)},
    ),
    "one-hot": (
        "i = Cast<to=7>(x)\n b = OneHot(i, depth, pair)\n s = ReduceMax<keepdims=0>(b)\n z = Add(x, s)",
        {"depth": np.array(2**52), "pair": np.array([0, 1], np.float32)},
    ),
    "pad": ("b = Pad(x, pads)\n s = ReduceMax<keepdims=0>(b)\n z = Add(x, s)", {"pads": np.array([2**52, 0, 0, 0])}),
    "random": ("b = RandomNormal<shape=[67108864, 67108864]>()\n s = ReduceMax<keepdims=0>(b)\n z = Add(x, s)", {}),
    "eye": ("b = EyeLike(c)\n s = ReduceMax<keepdims=0>(b)\n c = ConstantOfShape(huge)\n z = Add(x, s)", {}),
}
_HUGE = {"huge": np.array([2**26, 2**26]), "wide": np.array([2**52, 1, 6]), "times": np.array([2**50, 1])}


def _external(
    location: str, *, place: Callable[[Path], object] | None = None, **entries: int
) -> Callable[[Path], None]:
    """The honest model with the first weight in another file."""

    def make(folder: Path) -> None:
        if place is not None:
            place(folder)

        def change(proto: onnx.ModelProto) -> None:
            tensor = proto.graph.initializer[0]
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in {"location": location, **entries}.items():
                tensor.external_data.add(key=key, value=str(value))

        _changed(change)(folder)

    return make


def _weights(path: Path) -> None:
    path.write_bytes(WEIGHTS["w1"].tobytes())


def _link_outside(folder: Path) -> None:
    _weights(folder.parent / "outside.bin")
    (folder / "w.bin").symlink_to(folder.parent / "outside.bin")


EXTERNAL = {
    "parent": _external("../outside.bin", place=lambda folder: _weights(folder.parent / "outside.bin")),
    "absolute": _external("/etc/passwd"),
    "missing": _external("w.bin"),
    "link-outside": _external("w.bin", place=_link_outside),
    "beyond-the-end": _external("w.bin", place=lambda folder: _weights(folder / "w.bin"), offset=2**40, length=192),
    "negative-offset": _external("w.bin", place=lambda folder: _weights(folder / "w.bin"), offset=-8, length=192),
    "other-length": _external("w.bin", place=lambda folder: _weights(folder / "w.bin"), offset=0, length=7),
    "fifo": _external("w.bin", place=lambda folder: os.mkfifo(folder / "w.bin")),
    "folder": _external("w.bin", place=lambda folder: (folder / "w.bin").mkdir()),
    "device": _external("/dev/zero"),
    "nul": _external("w.bin\0.txt", place=lambda folder: _weights(folder / "w.bin")),
    "lfs-pointer": _external("w.bin", place=lambda folder: (folder / "w.bin").write_bytes(_POINTER)),
    "empty-location": _external(""),
    "url": _external("https://example.org/w.bin"),
}


def _rename(proto: onnx.ModelProto, name: str) -> None:
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if old == "h" else old for old in names]


def _deep(proto: onnx.ModelProto, depth: int = 20) -> None:
    """The model's input through an If inside an If inside an If."""
    body = helper.make_graph([helper.make_node("Identity", ["x"], ["z0"])], "g0", [], [_output("z0")])
    for level in range(1, depth):
        node = helper.make_node(
            "If", ["yes"], [f"z{level}"], then_branch=body, else_branch=body if level < 3 else _leaf(level)
        )
        body = helper.make_graph([node], f"g{level}", [], [_output(f"z{level}")])
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    first = helper.make_node("If", ["yes"], ["z"], then_branch=body, else_branch=_leaf(depth))
    proto.graph.node[0].input[0] = "z"
    proto.graph.node.insert(0, first)


def _leaf(level: int) -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], [f"l{level}"])], f"leaf{level}", [], [_output(f"l{level}")]
    )


def _output(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 6])


def _functions(count: int, calls: int) -> Callable[[onnx.ModelProto], None]:
    """Functions that each call the next one some times: `calls` ** `count` operators when they are expanded."""

    def change(proto: onnx.ModelProto) -> None:
        opset = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
        for number in range(count):
            operator, domain = ("Identity", "") if number == count - 1 else (f"F{number + 1}", "f")
            names = ["i", *(f"t{at}" for at in range(calls - 1)), "o"]
            nodes = [helper.make_node(operator, [names[at]], [names[at + 1]], domain=domain) for at in range(calls)]
            proto.functions.append(helper.make_function("f", f"F{number}", ["i"], ["o"], nodes, opset))
        proto.opset_import.append(helper.make_opsetid("f", 1))
        proto.graph.node[0].input[0] = "z"
        proto.graph.node.insert(0, helper.make_node("F0", ["x"], ["z"], domain="f"))

    return change


def _recursive(proto: onnx.ModelProto) -> None:
    _functions(1, 1)(proto)
    proto.functions[0].node[0].op_type, proto.functions[0].node[0].domain = "F0", "f"


def _non_finite(value: float) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        weight = WEIGHTS["w2"].copy()
        weight[0, 0] = value
        proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "w2"))

    return change


def _dims(*dims: int) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.initializer[0].dims[:] = dims

    return change


def _cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "y"


def _many_initializers(proto: onnx.ModelProto) -> None:
    for number in range(20_000):
        proto.graph.initializer.add(name=f"i{number}", data_type=TensorProto.FLOAT, dims=[1], raw_data=b"\0" * 4)


def _metadata(proto: onnx.ModelProto) -> None:
    config = json.dumps({"session_options": {"enable_profiling": 1, "optimized_model_filepath": "written.onnx"}})
    proto.metadata_props.add(key="ort_config", value=config)


def _input_type(kind: int) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.elem_type = kind

    return change


def _sequence(proto: onnx.ModelProto) -> None:
    entry = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, ["N", 6])
    proto.graph.input[0].CopyFrom(entry)


# Graphs, whether they must be refused, and what says so: None where they run.
GRAPHS: dict[str, tuple[Callable[[onnx.ModelProto], object], str | None]] = {
    "ir-version-99": (lambda proto: setattr(proto, "ir_version", 99), ANY),
    "no-opset": (lambda proto: proto.ClearField("opset_import"), ANY),
    "opset-999": (lambda proto: setattr(proto.opset_import[0], "version", 999), ANY),
    "negative-opset": (lambda proto: setattr(proto.opset_import[0], "version", -1), ANY),
    "no-graph": (lambda proto: proto.ClearField("graph"), ANY),
    "no-nodes": (lambda proto: proto.graph.ClearField("node"), ANY),
    "no-inputs": (lambda proto: proto.graph.ClearField("input"), ANY),
    "no-outputs": (lambda proto: proto.graph.ClearField("output"), ANY),
    "unknown-operator": (lambda proto: setattr(proto.graph.node[1], "op_type", "Evil"), ANY),
    "unknown-domain": (lambda proto: setattr(proto.graph.node[1], "domain", "evil.com"), ANY),
    "cycle": (_cycle, ANY),
    "undefined-tensor": (lambda proto: proto.graph.node[0].input.__setitem__(0, "nothing"), ANY),
    "two-outputs-of-a-name": (lambda proto: proto.graph.node.append(proto.graph.node[0]), ANY),
    "short-weights": (lambda proto: setattr(proto.graph.initializer[0], "raw_data", b"\0" * 8), ANY),
    "negative-dimension": (_dims(-6, -8), ANY),
    "huge-dimension": (_dims(2**62, 8), ANY),
    "overflowing-dimensions": (_dims(2**32, 2**32), ANY),
    "zero-dimension": (_dims(0, 8), ANY),
    "type-of-weights": (lambda proto: setattr(proto.graph.initializer[0], "data_type", 77), ANY),
    "type-of-input": (_input_type(16), ANY),
    "complex-input": (_input_type(14), ANY),
    "sequence-input": (_sequence, ANY),
    "nan-weight": (_non_finite(float("nan")), ANY),
    "infinite-weight": (_non_finite(float("inf")), ANY),
    "recursive-function": (_recursive, ANY),
    "deep-functions": (_functions(300, 1), ANY),
    "exponential-functions": (_functions(40, 2), ANY),
    "deep-subgraphs": (_deep, None),
    "many-initializers": (_many_initializers, None),
    "terminal-codes-in-a-name": (lambda proto: _rename(proto, "\x1b[31mred\x1b]0;owned\x07\u202e\x85"), None),
    "name-of-a-megabyte": (lambda proto: _rename(proto, "n" * 2**20), None),
    "script-in-a-name": (lambda proto: _rename(proto, "</script><script>alert(1)</script>"), None),
    "empty-producer": (lambda proto: setattr(proto, "producer_name", "\x1b[2J\n\n" * 99), None),
    "configuration-of-the-runtime": (_metadata, None),
}


def _many_outputs(folder: Path) -> None:
    weights = WEIGHTS | {"w2": np.random.default_rng(1).standard_normal((8, 3000)).astype(np.float32)}
    body = "a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    _save(folder, build(body, y="float[N,3000] y", **weights))


CASES = [
    *(Case(f"model-file-{name}", _replaced(make), says=r"model\.onnx") for name, make in FILES.items()),
    *(Case(f"model-arithmetic-{name}", make, says=ANY, may_work=True) for name, make in KILLERS.items()),
    *(Case(f"model-attribute-{name}", make, says=ANY, may_work=True) for name, make in ATTRIBUTES.items()),
    *(
        Case(f"model-bomb-{name}", _trouble(text, **_HUGE, **weights), says=ANY, may_work=True)
        for name, (text, weights) in BOMBS.items()
    ),
    *(Case(f"model-external-{name}", make, says=r"model\.onnx|w\.bin|w1") for name, make in EXTERNAL.items()),
    *(
        Case(
            f"model-graph-{name}",
            _changed(change),
            says=says,
            may_work=name == "deep-functions",
            rows=X if says is None else None,
        )
        for name, (change, says) in GRAPHS.items()
    ),
    *(
        Case(
            f"model-inspected-{name}",
            _changed(GRAPHS[name][0]),
            ("inspect", "model.onnx", "--json"),
            says=ANY,
            may_work=True,
        )
        for name in ("nan-weight", "exponential-functions", "recursive-function", "terminal-codes-in-a-name", "cycle")
    ),
    Case("model-graph-outputs-without-labels", _many_outputs),
]
