"""Model files are described as they are, and broken or hostile ones end in an error."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper
from zoo_text import build, refused, two_layers, whole, within

import onnxrich
from onnxrich._utils.files import open_regular
from onnxrich.errors import ModelError, OutputError
from onnxrich.model.file import Input, read_model
from onnxrich.model.parameters import count_parameters
from onnxrich.model.traversal import is_external, iter_tensors

BYTES = two_layers().SerializeToString()


def written(folder: Path, proto: ModelProto) -> Path:
    (folder / "net.onnx").write_bytes(proto.SerializeToString())
    return folder / "net.onnx"


def external(location: str | None, **entries: object) -> ModelProto:
    """A model whose first weight lies in another file."""
    proto = two_layers()
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == "w1")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in ({} if location is None else {"location": location}).items() | entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return proto


# What a model says of itself


@pytest.mark.parametrize("kind", ["path", "text", "bytes", "proto"])
def test_sources_of_a_model(kind: str, tmp_path: Path) -> None:
    """A path, its text, bytes and a ModelProto give the same model; the digest is that of the bytes as given."""
    path = written(tmp_path, two_layers())
    source = {"path": path, "text": str(path), "bytes": BYTES, "proto": two_layers()}[kind]
    model = read_model(source)
    assert model.sha256 == hashlib.sha256(BYTES).hexdigest()
    assert model.data == BYTES
    assert model.proto == two_layers()
    in_memory = kind in ("bytes", "proto")
    assert model.path == {"bytes": "<bytes>", "proto": "<ModelProto>"}.get(kind, str(path))
    assert model.folder == (None if in_memory else tmp_path)


def test_digest_of_a_model_that_is_simplified() -> None:
    """Where functions are put in place, the digest stays that of the file."""
    proto = with_function(lambda _: None)
    model = read_model(proto.SerializeToString())
    assert not model.proto.functions
    assert model.sha256 == hashlib.sha256(proto.SerializeToString()).hexdigest()
    assert model.data == model.proto.SerializeToString()


def test_reading_changes_nothing() -> None:
    """The ModelProto that was passed is as it was."""
    proto = with_function(lambda _: None)
    before = proto.SerializeToString()
    read_model(proto)
    assert proto.SerializeToString() == before


@pytest.mark.parametrize(
    ("imports", "opset"),
    [([("", 17)], 17), ([("ai.onnx.ml", 3), ("", 9)], 9), ([("ai.onnx", 13), ("com.microsoft", 99)], 13)],
)
def test_opset(imports: list[tuple[str, int]], opset: int) -> None:
    """The version is that of the default operator set, under either of its names."""
    proto = two_layers()
    del proto.opset_import[:]
    proto.opset_import.extend(helper.make_opsetid(*entry) for entry in imports)
    assert read_model(proto).opset == opset


@pytest.mark.parametrize(
    ("name", "version", "expected"),
    [("pytorch", "2.6.0", "pytorch 2.6.0"), ("tf2onnx", "", "tf2onnx"), ("", "", "unknown"), ("", "7", "7")],
)
def test_producer(name: str, version: str, expected: str) -> None:
    """The exporter is named as the file states it."""
    proto = two_layers()
    proto.producer_name, proto.producer_version = name, version
    assert read_model(proto).producer == expected


@pytest.mark.parametrize(
    ("text", "dtype", "shape"),
    [
        ("float[N,6] x", "float32", ("N", 6)), ("double[2,?] x", "float64", (2, None)), ("float x", "float32", ()),
        ("float16[N] x", "float16", ("N",)), ("bfloat16[N] x", "bfloat16", ("N",)), ("int8[0] x", "int8", (0,)),
        ("bool[1] x", "bool", (1,)), ("string[N] x", "object", ("N",)), ("seq(float[N]) x", None, None),
        ("optional(float[N]) x", None, None), ("map(int64, float[N]) x", None, None), ("float[] x", "float32", None),
        ("sparse_tensor(float[N]) x", None, None), ("complex64[N] x", "complex64", ("N",)),
    ],
)  # fmt: skip
def test_inputs(text: str, dtype: str | None, shape: tuple[object, ...] | None) -> None:
    """Inputs have their type and shape; an input that is no tensor has no type."""
    proto = build("y = MatMul(h, w2)", x=f"float[N,8] h, {text}")
    entry = read_model(proto).inputs[1]
    assert entry.name == "x"
    assert (None if entry.dtype is None else entry.dtype.name) == dtype
    if text != "float[] x":  # the parser takes empty brackets for a scalar's
        assert entry.shape == shape


def test_input_without_a_type() -> None:
    """An input about which the file says nothing has neither type nor shape."""
    proto = two_layers()
    proto.graph.input[0].ClearField("type")
    assert read_model(proto).inputs == (Input("x", None, None),)


@pytest.mark.parametrize("size", [-1, -(2**63)])
def test_negative_sizes_are_unknown(size: int) -> None:
    """A negative size is what some exporters write for a free one."""
    proto = two_layers()
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    assert read_model(proto).inputs[0].shape == (None, 6)


def test_initializers_are_no_inputs() -> None:
    """Old models list their weights as inputs too: they need not be fed."""
    proto = two_layers()
    proto.graph.input.append(helper.make_tensor_value_info("w1", TensorProto.FLOAT, [6, 8]))
    assert [entry.name for entry in read_model(proto).inputs] == ["x"]


# Files that are no models

NO_MODEL = "is not an ONNX model, or only part of one ("
NO_GRAPH = "holds no graph with nodes and outputs; needed: a whole ONNX model. Export or copy the model again."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file; needed: a whole ONNX model. Export or copy the model again."),
        (b"\x08\x08hello", f"{NO_MODEL}7 bytes); needed: a whole ONNX protobuf file. Export or copy the model"),
        (b"hello world\n" * 9, "is text, such as an error page"),
        (b"PK\x03\x04" + b"\0" * 40, "is an archive or compressed; needed: an ONNX model. Unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
         "is a git-lfs pointer; needed: the model itself. Run `git lfs pull` first."),
        (onnx.ModelProto(ir_version=8, graph=onnx.GraphProto(name="g")).SerializeToString(), NO_GRAPH),
        (numpy_helper.from_array(whole(3, 4), "w").SerializeToString(), ""),
    ],
    ids=["empty", "damaged", "text", "zip", "lfs", "no graph", "tensor"],
)  # fmt: skip
def test_files_that_are_no_models(content: bytes, message: str, tmp_path: Path) -> None:
    """Empty files, texts, other formats and pointers are refused with what they are and what to do."""
    (tmp_path / "net.onnx").write_bytes(content)
    with refused(ModelError, str(tmp_path / "net.onnx"), message):
        read_model(tmp_path / "net.onnx")
    with refused(ModelError, "<bytes>", message):
        read_model(content)


def test_truncated_anywhere() -> None:
    """Cut off at any byte, a model is refused."""
    for length in range(len(BYTES)):
        with refused(ModelError, "<bytes>", "Export or copy the model again."):
            read_model(BYTES[:length])


def test_without_operator_set() -> None:
    """A model that ends before its operator set has another message than one without a graph."""
    proto = two_layers()
    del proto.opset_import[:]
    with refused(ModelError, "<ModelProto> holds no version of the operator set; needed: a whole ONNX model."):
        read_model(proto)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_is_an_error_or_none(data: st.DataObject) -> None:
    """Bytes changed at random give a model or a ModelError, never another exception."""
    content = bytearray(BYTES)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        model = read_model(bytes(content))
    except ModelError:
        return
    assert len(model.sha256) == 64
    assert all(isinstance(entry.name, str) for entry in model.inputs)
    assert isinstance(model.producer, str)
    assert isinstance(model.opset + count_parameters(model), int)


def test_fifo(tmp_path: Path) -> None:
    """A FIFO is refused at once: opening it would wait for ever."""
    os.mkfifo(tmp_path / "net.onnx")
    with within(5), refused(ModelError, "net.onnx is no regular file; needed: a readable ONNX file. Pass the path of"):
        read_model(tmp_path / "net.onnx")


def test_device() -> None:
    """A device that never ends is no regular file."""
    with within(5), refused(ModelError, "/dev/zero is no regular file"):
        read_model("/dev/zero")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.onnx", "none.onnx: No such file or directory; needed: a readable ONNX file. Check the path."),
        (".", " is a folder; needed: an ONNX model. Pass "),
        ("a\0b", "a\\x00b: no valid path; needed: a readable ONNX file. Check the file and its permissions."),
        ("\ud800", "\\ud800: no valid path; needed: a readable ONNX file."),
        ("x" * 300, ": File name too long; needed: a readable ONNX file. Check the file and its permissions."),
        ("net.onnx/x", ": Not a directory; needed: a readable ONNX file."),
        ("circle", ": Too many levels of symbolic links; needed: a readable ONNX file."),
    ],
)
def test_paths(name: str, message: str, tmp_path: Path) -> None:
    """A path at which no file can be read is refused with the reason."""
    written(tmp_path, two_layers())
    (tmp_path / "circle").symlink_to("circle")
    with refused(ModelError, message):
        read_model(f"{tmp_path}/{name}")


def test_file_beyond_protobuf(tmp_path: Path) -> None:
    """A file of more than 2 GiB is refused before it is read, with the way to save such models."""
    with (tmp_path / "net.onnx").open("wb") as file:
        file.truncate(2**31)
    with refused(
        ModelError,
        "net.onnx has 2,147,483,648 bytes; needed: at most 2 GiB in one protobuf file. Save the model with external",
    ):
        read_model(tmp_path / "net.onnx")


def test_open_regular_leaves_nothing_open(tmp_path: Path) -> None:
    """Refused files are closed again."""
    listing = Path("/proc/self/fd")
    if not listing.exists():
        pytest.skip("no /proc to count descriptors in")
    descriptors = len(list(listing.iterdir()))
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(ModelError):
            open_regular(path, ModelError, "a file")
    assert len(list(listing.iterdir())) == descriptors


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"\x01h", b"\x01\xff"), (b"\x01x", b"\x01\xfe"), (b"\x01y", b"\x01\xff"), (b"\x02w2", b"\x02w\xff"),
     (b"\x06MatMul", b"\x06MatM\xffl"), (b"\x01g", b"\x01\xff")],
    ids=["tensor", "input", "output", "weight", "operator", "graph"],
)  # fmt: skip
def test_names_that_are_no_text(old: bytes, new: bytes) -> None:
    """Names that are not UTF-8, which protobuf passes on as bytes, are refused with the name."""
    content = BYTES.replace(old, new)
    assert content != BYTES
    with refused(
        ModelError,
        f"<bytes> contains the name {new[1:]!r}, which is not UTF-8; needed: names in UTF-8. Export the model again.",
    ):
        read_model(content)


def test_names_in_subgraphs_and_functions() -> None:
    """Such names are found inside branches and functions too."""
    for proto in (with_branch(lambda _: None), with_function(lambda _: None)):
        content = proto.SerializeToString()
        assert content.count(b"\x06hidden")
        with refused(ModelError, "contains the name b'hidde\\xff', which is not UTF-8"):
            read_model(content.replace(b"\x06hidden", b"\x06hidde\xff"))


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """Control characters of a path or of a name arrive escaped in the message."""
    with refused(ModelError, "\\x1b[31mred"):
        read_model(f"{tmp_path}/\x1b[31mred")
    with refused(ModelError, "\\x1b[2J"):
        read_model(written(tmp_path, external("\x1b[2J")))


# External data


@pytest.mark.parametrize("location", ["w.bin", "./w.bin", "sub/../w.bin", "sub/w.bin", "link", "Ω b.bin"])
def test_external_data_inside(location: str, tmp_path: Path) -> None:
    """Data in the model's folder or below, also through links that stay there, are taken and not model."""
    (tmp_path / "sub").mkdir()
    for name in ("w.bin", "sub/w.bin", "Ω b.bin"):
        (tmp_path / name).write_bytes(whole(6, 8, seed=1).tobytes())
    (tmp_path / "link").symlink_to("sub/w.bin")
    model = read_model(written(tmp_path, external(location, offset=0, length=192)))
    assert model.folder == tmp_path
    assert next(t for t in model.proto.graph.initializer if t.name == "w1").data_location == TensorProto.EXTERNAL


@pytest.mark.parametrize("location", ["../w.bin", "{outside}/w.bin", "{inside}/w.bin", "sub/../../w.bin", "out", "",
                                      ".", None, "w.bin\0.txt", "\0", "circle", "circle/w.bin", "outer/w.bin",
                                      "x" * 300])  # fmt: skip
def test_external_data_outside(location: str | None, tmp_path: Path) -> None:
    """Absolute and climbing paths, links that lead out or nowhere, and no path at all are refused, unread."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for target in (tmp_path, folder):
        (target / "w.bin").write_bytes(whole(6, 8, seed=1).tobytes())
    for name, target in (("out", "../w.bin"), ("circle", "circle"), ("outer", "..")):
        (folder / name).symlink_to(target)
    location = location and location.format(outside=tmp_path, inside=folder)
    # The middle of a long name is cut out.
    named = "'xxx" if len(location or "") > 200 else f"{location or ''!r} lie outside"
    with refused(
        ModelError,
        f"net.onnx: external data {named}",
        "lie outside the model's folder, or have an absolute path; needed: external data beside the model. "
        "Move them beside the model and save it again. Nothing outside is rea",
    ):
        read_model(written(folder, external(location)))


@pytest.mark.parametrize("location", ["none.bin", "dangling", "folder", "fifo", "folder/none"])
def test_external_data_missing(location: str, tmp_path: Path) -> None:
    """Data that are not there, or are no regular file, are asked for by name; a FIFO is not waited for."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    with (
        within(5),
        refused(
            ModelError,
            f"net.onnx: external data {location!r} are missing; needed: that file beside the model. Copy it there too.",
        ),
    ):
        read_model(written(tmp_path, external(location)))


@pytest.mark.parametrize(
    ("entries", "needed"),
    [({"length": 192}, 192), ({"offset": 100, "length": 92}, 192), ({"offset": 10**12}, 10**12)],
)
def test_external_data_cut_off(entries: dict[str, int], needed: int, tmp_path: Path) -> None:
    """A file of weights that is shorter than the model says is an error before the runtime starts."""
    (tmp_path / "w.bin").write_bytes(bytes(191))
    with refused(
        ModelError,
        f"net.onnx: external data 'w.bin' have 191 bytes; needed: {needed:,} bytes. Copy the whole file again.",
    ):
        read_model(written(tmp_path, external("w.bin", **entries)))


@pytest.mark.parametrize("entries", [{"length": "abc"}, {"offset": "1e3"}, {"offset": "9" * 5000}, {"length": ""}])
def test_external_data_at_no_number(entries: dict[str, str], tmp_path: Path) -> None:
    """Offsets and lengths that are no numbers are refused."""
    (tmp_path / "w.bin").write_bytes(bytes(192))
    with refused(
        ModelError,
        "the position of external data 'w.bin' is no number from 0 on (",
        "needed: an offset and a length in bytes. Save the model",
    ):
        read_model(written(tmp_path, external("w.bin", **entries)))


def test_external_data_in_memory() -> None:
    """A model in memory has no folder in which its external data could lie."""
    with refused(
        ModelError,
        "A model in memory has external data 'w.bin'; needed: a model with its weights. Pass the path of the file.",
    ):
        read_model(external("w.bin"))


# Caches of Hugging Face


def cached(root: Path, location: str, *, folder: str = "onnx") -> Path:
    """A model in a cache of Hugging Face: links in a snapshot lead to files that are named by their hashes."""
    cache = root / "hub" / "models--org--name"
    snapshot = cache / "snapshots" / "0123abcd" / folder
    for each in (cache / "blobs", snapshot):
        each.mkdir(parents=True)
    for name, content in (
        ("net.onnx", external(location, offset=0, length=192).SerializeToString()),
        (location, whole(6, 8, seed=1).tobytes()),
    ):
        digest = hashlib.sha256(content).hexdigest()
        (cache / "blobs" / digest).write_bytes(content)
        link = snapshot / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(os.path.relpath(cache / "blobs" / digest, link.parent))
    return snapshot / "net.onnx"


X = {"x": whole(60, 6, seed=4)}


@pytest.mark.parametrize("folder", ["", "onnx", "onnx/fp32"])
@pytest.mark.parametrize("location", ["net.onnx_data", "weights/w.bin"])
def test_external_data_behind_links_of_a_cache(location: str, folder: str, tmp_path: Path) -> None:
    """The numbers are those of the model with its weights inside; the digest is that of the file."""
    path = cached(tmp_path, location, folder=folder)
    analysis = onnxrich.run(path, X, layers="all", device="cpu")
    np.testing.assert_array_equal(
        analysis.moments.matrix, onnxrich.run(two_layers(), X, layers="all", device="cpu").moments.matrix
    )
    assert read_model(path).file_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_cache_reached_through_a_link(tmp_path: Path) -> None:
    path = cached(tmp_path, "w.bin")
    (tmp_path / "elsewhere").symlink_to(path.parent)
    assert onnxrich.run(tmp_path / "elsewhere" / path.name, X, device="cpu").record.data.n == 60


def test_files_beside_a_model_in_a_cache_are_found(tmp_path: Path) -> None:
    """Data and settings lie beside the link, not beside the file that it leads to."""
    path = cached(tmp_path, "w.bin")
    np.savez(path.with_suffix(".npz"), **X)
    assert onnxrich.run(path, device="cpu").record.data.n == 60


def test_a_patched_model_of_a_cache_lies_where_its_weights_are_found(tmp_path: Path) -> None:
    path = cached(tmp_path, "w.bin")
    cache = tmp_path / "hub" / "models--org--name"
    with refused(OutputError, "an output in the same folder", f"Pass --output {cache / 'patched.onnx'}"):
        onnxrich.expose(path, path.with_name("patched.onnx"))
    onnxrich.expose(path, cache / "patched.onnx")
    assert onnxrich.run(cache / "patched.onnx", X, features="h", outputs="y", device="cpu").record.data.n == 60


@pytest.mark.parametrize("place", ["other cache", "no cache", "climbing"])
def test_links_out_of_a_cache_are_refused(place: str, tmp_path: Path) -> None:
    path = cached(tmp_path, "w.bin")
    link = path.with_name("w.bin")
    target = link.resolve()
    if place == "climbing":
        location = os.path.relpath(target, path.parent)
        path.unlink()
        path.write_bytes(external(location, offset=0, length=192).SerializeToString())
    elif place == "other cache":
        other = tmp_path / "hub" / "models--org--secret" / "blobs"
        other.mkdir(parents=True)
        link.unlink()
        link.symlink_to(target.rename(other / "w"))
    else:
        plain = tmp_path / "plain" / "snapshots" / "r"
        plain.mkdir(parents=True)
        path = path.resolve().rename(plain / "net.onnx")
        (plain / "w.bin").symlink_to(target)
    with refused(ModelError, "lie outside the model's folder", "Nothing outside is read"):
        read_model(path)


def with_constant(put: Callable[[TensorProto], None]) -> ModelProto:
    """A tensor in an attribute."""
    proto = two_layers()
    tensor = numpy_helper.from_array(whole(3), "t")
    put(tensor)
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["hidden"], value=tensor))
    return proto


def with_tensors(put: Callable[[TensorProto], None]) -> ModelProto:
    """A list of tensors in an attribute."""
    proto = two_layers()
    tensors = [numpy_helper.from_array(whole(3), name) for name in "ab"]
    put(tensors[1])
    attribute = AttributeProto(name="many", type=AttributeProto.TENSORS, tensors=tensors)
    node = onnx.NodeProto(op_type="Own", domain="own", output=["hidden"], attribute=[attribute])
    proto.graph.node.insert(0, node)
    return proto


def sparse(put: Callable[[TensorProto], None], part: str) -> onnx.SparseTensorProto:
    parts = {"values": numpy_helper.from_array(whole(2), "s"), "indices": numpy_helper.from_array(np.array([0, 1]))}
    put(parts[part])
    return onnx.SparseTensorProto(**parts, dims=[3])


def with_sparse(part: str) -> Callable[[Callable[[TensorProto], None]], ModelProto]:
    """A sparse initializer."""

    def make(put: Callable[[TensorProto], None]) -> ModelProto:
        proto = two_layers()
        proto.graph.sparse_initializer.append(sparse(put, part))
        return proto

    return make


def with_sparse_attribute(put: Callable[[TensorProto], None]) -> ModelProto:
    """A sparse tensor in an attribute."""
    proto = two_layers()
    attribute = AttributeProto(
        name="sparse_value", type=AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse(put, "values")
    )
    proto.graph.node.insert(0, onnx.NodeProto(op_type="Constant", output=["hidden"], attribute=[attribute]))
    return proto


def with_branch(put: Callable[[TensorProto], None], *, constant: bool = False) -> ModelProto:
    """An If that the input decides, with the tensor as an initializer or a constant of one branch."""
    tensor = numpy_helper.from_array(whole(3), "hidden")
    put(tensor)
    body = helper.make_graph([helper.make_node("Identity", ["hidden"], ["o"])], "body", [],
                             [helper.make_tensor_value_info("o", TensorProto.FLOAT, [3])])  # fmt: skip
    if constant:
        body.node.insert(0, helper.make_node("Constant", [], ["hidden"], value=tensor))
    else:
        body.initializer.append(tensor)
    other = helper.make_graph([helper.make_node("Identity", ["y"], ["p"])], "other", [],
                              [helper.make_tensor_value_info("p", TensorProto.FLOAT, None)])  # fmt: skip
    proto = two_layers()
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    proto.graph.node.append(helper.make_node("If", ["c"], ["z"], then_branch=other, else_branch=body))
    return proto


def with_graphs(put: Callable[[TensorProto], None]) -> ModelProto:
    """A list of graphs in an attribute."""
    proto = two_layers()
    tensor = numpy_helper.from_array(whole(3), "hidden")
    put(tensor)
    attribute = AttributeProto(name="many", type=AttributeProto.GRAPHS)
    attribute.graphs.add(name="g", initializer=[tensor])
    node = onnx.NodeProto(op_type="Own", domain="own", output=["z"], attribute=[attribute])
    proto.graph.node.insert(0, node)
    return proto


def with_function(put: Callable[[TensorProto], None], *, default: bool = False) -> ModelProto:
    """A local function that is used, with the tensor in a node of it, or as the default of an attribute."""
    tensor = numpy_helper.from_array(np.float32(1), "t")
    put(tensor)
    proto = two_layers()
    constant = helper.make_node("Constant", [], ["hidden"], value=tensor)
    attributes = []
    if default:
        constant = helper.make_node("Constant", [], ["hidden"])
        constant.attribute.add(name="value", ref_attr_name="k", type=AttributeProto.TENSOR)
        attributes = [helper.make_attribute("k", tensor)]
    nodes = [constant, helper.make_node("Mul", ["v", "hidden"], ["o"])]
    proto.functions.append(
        helper.make_function(
            "own", "Scale", ["v"], ["o"], nodes, [helper.make_opsetid("", 17)], attribute_protos=attributes
        )
    )
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node.insert(0, helper.make_node("Scale", ["x"], ["scaled"], domain="own"))
    return proto


HIDING_PLACES = {
    "constant": with_constant, "list": with_tensors, "sparse values": with_sparse("values"),
    "sparse indices": with_sparse("indices"), "sparse attribute": with_sparse_attribute, "branch": with_branch,
    "graphs": with_graphs,
    "branch constant": lambda put: with_branch(put, constant=True), "function": with_function,
    "function default": lambda put: with_function(put, default=True),
}  # fmt: skip


def put_outside(tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_tensors_in_hiding(place: str) -> None:
    """Every tensor is walked over, once, wherever one can be."""
    tensors = list(iter_tensors(HIDING_PLACES[place](put_outside)))
    assert sum(is_external(tensor) for tensor in tensors) == 1
    assert not any(is_external(tensor) for tensor in iter_tensors(HIDING_PLACES[place](lambda _: None)))


# The defaults of a function's attributes are gone when the function has been put in place: nothing reads them.
@pytest.mark.parametrize("place", sorted(HIDING_PLACES.keys() - {"function default"}))
def test_external_data_in_hiding(place: str, tmp_path: Path) -> None:
    """External data are refused wherever a tensor can be: attributes, subgraphs, functions, sparse tensors."""
    assert read_model(HIDING_PLACES[place](lambda _: None)).path == "<ModelProto>"
    with refused(ModelError, "net.onnx: external data '../secret' lie outside the model's folder"):
        read_model(written(tmp_path, HIDING_PLACES[place](put_outside)))
    with refused(ModelError, "A model in memory has external data '../secret'"):
        read_model(HIDING_PLACES[place](put_outside))
