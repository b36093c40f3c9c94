"""Load a SavedModel without running what somebody may have put into it.

A SavedModel is a program of TensorFlow's operators, some of which write files, read them, or call Python, and parts of
it run as it is loaded. So only programs that need none of that are handed on:

1. It is of TensorFlow 2: functions, and objects that name them; the graph around them is not run.
2. All functions that can be called, and those that they call, are made of operators that tf2onnx knows, and of what
   passes variables and calls on. What saves and restores is made of others, and can't be called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxrich._utils.files import open_regular
from onnxrich.errors import AdapterError

# What tf2onnx sees no more, because variables became constants and calls their bodies. `Assert` may raise.
_PLUMBING = frozenset({
    "Const", "Placeholder", "NoOp", "PartitionedCall", "StatefulPartitionedCall", "VarHandleOp", "ReadVariableOp",
    "VarIsInitializedOp", "DisableCopyOnRead", "ResourceGather", "Assert", "StopGradient", "PreventGradient",
    "EnsureShape", "Erfc", "StatelessIf", "StatelessWhile", "StatelessRandomGetKeyCounter", "StatelessRandomGetAlg",
    "StatelessRandomUniformV2",
})  # fmt: skip


def load(path: Path) -> Any:
    """The model of a folder.

    Raises:
        AdapterError: when it is none, or holds operators that do more than compute.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel()
    with open_regular(path / "saved_model.pb", AdapterError, "a readable SavedModel") as file:
        content = file.read()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise _refused(path, "no SavedModel in its saved_model.pb") from error
    if len(proto.meta_graphs) != 1 or not proto.meta_graphs[0].HasField("object_graph_def"):  # Case 1
        raise _refused(path, "a graph of TensorFlow 1")
    strange = sorted(set(_callable(proto.meta_graphs[0])) - _known())
    if strange:  # Case 2
        raise _refused(path, f"the operator {strange[0]}")
    return tf.saved_model.load(str(path))


def _known() -> frozenset[str]:
    from tf2onnx import tfonnx  # which registers its operators

    domains = tfonnx.handler.tf_op.get_opsets().values()
    return _PLUMBING | frozenset(name for opsets in domains for opset in opsets for name in opset)


def _callable(graph: Any) -> Iterator[str]:
    """The operators of all functions that objects of the model name, and of those that these call."""
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
                pending.extend(part.name for part in (value.func, *value.list.func) if part.name)


def _refused(path: Path, what: str) -> AdapterError:
    return AdapterError(
        f"{path} holds {what}, and a SavedModel can run whatever its operators do",
        "functions of TensorFlow 2 that only compute",
        "Load it in Python, where you trust it, and pass the object: tf.saved_model.load(folder).",
    )
