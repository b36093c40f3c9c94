"""tf2onnx with the operator that Keras' GELU needs, and an error where it would write an operator that ONNX lacks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxrich.errors import AdapterError
from onnxrich.frameworks.registry import quiet

if TYPE_CHECKING:
    from onnx import ModelProto

# The highest that tf2onnx writes.
OPSET = 18


def convert(function: Callable[..., Any], signature: Sequence[Any]) -> ModelProto:
    """The ONNX model of a function of tensors that returns tensors by name.

    Args:
        function: takes tensors.
        signature: a TensorSpec for each, with its name.

    Raises:
        AdapterError: when tf2onnx doesn't know one of its operators.
    """
    import onnx
    import tensorflow as tf
    import tf2onnx

    try:
        # It logs what it tries and gives up; what matters is raised.
        with quiet("tf2onnx", logging.CRITICAL):
            model: ModelProto = tf2onnx.convert.from_function(
                tf.function(function, autograph=False),
                input_signature=signature,
                opset=OPSET,
                custom_op_handlers={"Erfc": (_erfc, [])},
            )[0]
    except Exception as error:
        raise AdapterError(
            f"tf2onnx can't convert the model: {type(error).__name__}: {str(error).strip().splitlines()[0]}",
            "operators that tf2onnx knows",
            "Replace the layer that it names, or export the model yourself.",
        ) from error
    unknown = [node for node in model.graph.node if not onnx.defs.has(node.op_type, OPSET, node.domain)]
    if unknown:
        raise AdapterError(
            f"tf2onnx has no ONNX operator for {unknown[0].op_type}, at {unknown[0].name}",
            "operators that ONNX has",
            "Replace the layer with others of the same function, or export the model yourself.",
        )
    return model


def _erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """Writes erfc(x) as 1 − erf(x): where that cancels, the result is within float32's eps of 0, which GELU adds up."""
    output = node.output[0]
    kind, shape = context.get_dtype(output), context.get_shape(output)
    context.remove_node(name)
    erf = context.make_node("Erf", [node.input[0]], dtypes=[kind], shapes=[shape])
    one = context.make_const(f"{name}_one", np.array(1, np.float32))
    cast = context.make_node("CastLike", [one.output[0], erf.output[0]], dtypes=[kind], shapes=[[]])
    context.make_node(
        "Sub", [cast.output[0], erf.output[0]], outputs=[output], name=name, dtypes=[kind], shapes=[shape]
    )
