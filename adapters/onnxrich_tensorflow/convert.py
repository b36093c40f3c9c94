"""Conversion by tf2onnx, with the operator of Keras' GELU, and an error where its model holds a non-ONNX operator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from onnxrich.errors import AdapterError
from onnxrich.frameworks.exporters import explain_errors, quiet

# The highest version of the operator set that tf2onnx writes.
OPSET = 18


def convert_function(function: Callable[..., Any], signature: Sequence[Any]) -> ModelProto:
    """Convert a function of tensors that returns tensors by name.

    Args:
        function: the function.
        signature: a TensorSpec with a name for each argument.

    Raises:
        AdapterError: when tf2onnx doesn't know one of its operators.
    """
    import tensorflow as tf
    import tf2onnx

    explanation = (
        "tf2onnx can't convert the model",
        "operators that tf2onnx knows",
        "Replace the layer that tf2onnx names, or export the model yourself.",
    )
    # It logs each attempt that it gives up; failures are raised.
    with explain_errors(*explanation), quiet("tf2onnx", logging.CRITICAL):
        model: ModelProto = tf2onnx.convert.from_function(
            tf.function(function, autograph=False),
            input_signature=signature,
            opset=OPSET,
            custom_op_handlers={"Erfc": (_convert_erfc, [])},
        )[0]
    unknown = [node for node in model.graph.node if not onnx.defs.has(node.op_type, OPSET, node.domain)]
    if unknown:
        raise AdapterError(
            f"tf2onnx has no ONNX operator for {unknown[0].op_type}, at {unknown[0].name}",
            "operators that ONNX has",
            "Replace the layer with others of the same function, or export the model yourself.",
        )
    return model


def _convert_erfc(context: Any, node: Any, name: str, _: Any) -> None:
    """Write erfc(x) as 1 − erf(x): where this cancels, the result is within float32's eps of 0, which GELU adds up."""
    output = node.output[0]
    dtype, shape = context.get_dtype(output), context.get_shape(output)
    context.remove_node(name)
    erf = context.make_node("Erf", [node.input[0]], dtypes=[dtype], shapes=[shape])
    one = context.make_const(f"{name}_one", np.array(1, np.float32))
    cast = context.make_node("CastLike", [one.output[0], erf.output[0]], dtypes=[dtype], shapes=[[]])
    context.make_node(
        "Sub", [cast.output[0], erf.output[0]], outputs=[output], name=name, dtypes=[dtype], shapes=[shape]
    )
