"""SavedModels, loaded without running what a stranger may have put into them.

A SavedModel is a program of TensorFlow's operators, some of which write files, read them, or call Python, and parts of
it run as it is loaded. So only programs that need none of that pass:

1. The program is of TensorFlow 2: functions, and objects that name them. The graph around them is not run.
2. All functions that objects name, and those that they call, consist of operators that tf2onnx knows, and of operators
   that pass variables and calls on. Functions that save and restore consist of others, but no object names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxrich._utils.inside import check_tree
from onnxrich.errors import AdapterError
from onnxrich.frameworks.untrusted import read_bytes

# The most bytes of a protobuf file.
LARGEST_PROTO = 2**31 - 1
# Operators that tf2onnx no longer sees, because variables became constants and calls their bodies. `Assert` may raise.
_PLUMBING = frozenset({
    "Const", "Placeholder", "NoOp", "PartitionedCall", "StatefulPartitionedCall", "VarHandleOp", "ReadVariableOp",
    "VarIsInitializedOp", "DisableCopyOnRead", "ResourceGather", "Assert", "StopGradient", "PreventGradient",
    "EnsureShape", "Erfc", "StatelessIf", "StatelessWhile", "StatelessRandomGetKeyCounter", "StatelessRandomGetAlg",
    "StatelessRandomUniformV2",
})  # fmt: skip


def load_saved_model(path: Path) -> Any:
    """Load the model of a folder.

    Raises:
        AdapterError: when the folder holds no SavedModel, links out of it, or operators that do more than compute.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    check_tree(path, AdapterError)
    content = read_bytes(path / "saved_model.pb", "a readable SavedModel", LARGEST_PROTO)
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise AdapterError(
            f"{path} holds no SavedModel in its saved_model.pb",
            "a folder that tf.saved_model.save wrote",
            "Save the model again.",
        ) from error
    if len(proto.meta_graphs) != 1 or not proto.meta_graphs[0].HasField("object_graph_def"):  # Case 1
        raise _refusal(path, "a graph of TensorFlow 1")
    unknown = sorted(set(_callable_operators(proto.meta_graphs[0])) - _known_operators())
    if unknown:  # Case 2
        raise _refusal(path, f"the operator {unknown[0]}")
    return tf.saved_model.load(str(path))


def _known_operators() -> frozenset[str]:
    from tf2onnx import tfonnx  # this import registers the operators

    domains = tfonnx.handler.tf_op.get_opsets().values()
    return _PLUMBING | frozenset(name for opsets in domains for opset in opsets for name in opset)


def _callable_operators(graph: Any) -> Iterator[str]:
    """Operators of all functions that objects of the model name, and of the functions that these call."""
    library: Mapping[str, Any] = {function.signature.name: function for function in graph.graph_def.library.function}
    pending, seen = list(graph.object_graph_def.concrete_functions), set[str]()
    while pending:
        name = pending.pop()
        if name in seen or name not in library:
            continue
        seen.add(name)
        for node in library[name].node_def:
            if node.op in library:
                pending.append(node.op)
            else:
                yield node.op
            for value in node.attr.values():
                pending.extend(function.name for function in (value.func, *value.list.func) if function.name)


def _refusal(path: Path, content: str) -> AdapterError:
    return AdapterError(
        f"{path} holds {content}, and a SavedModel can run whatever its operators do",
        "functions of TensorFlow 2 that only compute",
        "If you trust the folder, load it in Python and pass the object: tf.saved_model.load(folder).",
    )
