"""Linear layers on integers and in ONNX Runtime's own operators, as optimisers and quantisers write a head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxrich.model.constants import dequantize
from onnxrich.model.graph import Graph, attribute
from onnxrich.model.head.affine import (
    EIGHT_BITS,
    Affine,
    Axes,
    Reader,
    arithmetic_of,
    read_conv,
    read_gemm,
    read_matmul,
    to_double,
)
from onnxrich.model.validity import STANDARD
from onnxrich.moments.matrix import Array

MICROSOFT = "com.microsoft"

_COMPUTED = "its weight is computed from the input"


def read_quantized(graph: Graph, node: NodeProto) -> Affine | str | None:
    """Read the affine map of such a layer; returns the reason when it has none, None for a node of another kind."""
    reader = _READERS.get((node.domain if node.domain not in STANDARD else "", node.op_type))
    return None if reader is None else reader(graph, node)


def _constant_inputs(graph: Graph, node: NodeProto, *indices: int) -> list[NDArray[Any]] | None:
    """Read constant inputs by index, an absent one as zero; None when one is computed."""
    names = [node.input[index] if len(node.input) > index else "" for index in indices]
    if not all(graph.is_constant(name) for name in names if name):
        return None
    return [graph.constant(name) if name else np.zeros(()) for name in names]


def _dequantized(quantized: list[NDArray[Any]], axis: int) -> Array:
    """Dequantise a weight in double from its integers, scale and zero point: one for all, or one a slice on an axis."""
    integers, scale, zero = quantized
    return dequantize(integers, scale, zero, axis).astype(np.float64)


def _read_qlinear_matmul(graph: Graph, node: NodeProto) -> Affine | str:
    quantized = _constant_inputs(graph, node, 3, 4, 5)
    if quantized is None or quantized[0].ndim != 2:
        return _COMPUTED
    weight = _dequantized(quantized, 1).T
    return _integer_affine(node, Axes.features_last(graph.rank(node.input[0])), weight, np.zeros(len(weight)), scale=6)


def _read_qlinear_conv(graph: Graph, node: NodeProto) -> Affine | str:
    quantized = _constant_inputs(graph, node, 3, 4, 5)
    constants = _constant_inputs(graph, node, 1, 8)
    if quantized is None or constants is None:
        return _COMPUTED
    if any(size != 1 for size in quantized[0].shape[2:]) or attribute(node, "group", 1) != 1:
        return "its kernel is not 1×1"
    weight = _dequantized(quantized, 0)
    features_scale, integer_bias = constants
    bias_scale = to_double(features_scale) * to_double(quantized[1])
    bias = np.zeros(len(weight)) + to_double(integer_bias) * bias_scale.reshape(-1)
    affine = _integer_affine(node, Axes(weight.ndim, 1), weight.reshape(weight.shape[:2]), bias, scale=6)
    return replace(affine, has_bias=len(node.input) > 8)


def _read_qgemm(graph: Graph, node: NodeProto) -> Affine | str:
    quantized = _constant_inputs(graph, node, 3, 4, 5)
    constants = _constant_inputs(graph, node, 1, 6)
    if quantized is None or constants is None or attribute(node, "transA", 0):
        return _COMPUTED
    alpha = float(attribute(node, "alpha", 1.0))
    transposed = bool(attribute(node, "transB", 0))
    raw = _dequantized(quantized, 0 if transposed else 1)
    weight = alpha * (raw if transposed else raw.T)
    features_scale, integer_bias = (to_double(values) for values in constants)
    weight_scale = to_double(quantized[1]).reshape(-1)
    bias = np.zeros(len(weight)) + alpha * features_scale * weight_scale * integer_bias.reshape(-1)
    is_quantized = len(node.input) > 7 and bool(node.input[7])
    affine = _integer_affine(node, Axes(2, 1), weight, bias, scale=7 if is_quantized else None)
    return replace(affine, has_bias=len(node.input) > 6 and bool(node.input[6]))


def _integer_affine(node: NodeProto, axes: Axes, weight: Array, bias: Array, *, scale: int | None) -> Affine:
    """Build the affine map of a layer on integers.

    Args:
        node: the layer.
        axes: how φ and f lie.
        weight: float64 array of shape (C, p).
        bias: float64 array of shape (C,).
        scale: number of the input that is the scale of f; None when f are floats.
    """
    return Affine(
        node.op_type, node.input[0], axes, axes, weight, bias, "float32", quantization_step=EIGHT_BITS,
        features_scale=(node.input[1], node.input[2]),
        outputs_scale=() if scale is None else (node.input[scale], *(node.input[scale + 1 : scale + 2] or [""])),
    )  # fmt: skip


def _read_dynamic(graph: Graph, node: NodeProto) -> Affine | str | None:
    """Read Mul(Cast(MatMulInteger(quantised x, W)), scale of x · scale of W): a dynamically quantised layer."""
    for factor, scale in (node.input, node.input[::-1]):
        cast = graph.producer(factor)
        product = graph.producer(cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
        if product is not None and product.op_type in ("MatMulInteger", "ConvInteger"):
            return _read_integer_product(graph, product, scale)
    return None


def _read_integer_product(graph: Graph, product: NodeProto, scale: str) -> Affine | str:
    quantizer = graph.producer(product.input[0])
    scaling = graph.producer(scale)
    constants = _constant_inputs(graph, product, 1, 3)
    if quantizer is None or quantizer.op_type != "DynamicQuantizeLinear" or constants is None or scaling is None:
        return _COMPUTED
    factors = [name for name in scaling.input if graph.is_constant(name)]
    if scaling.op_type != "Mul" or len(factors) != 1:
        return "its scale is computed from the input"
    (integers, zero), weight_scale = constants, graph.constant(factors[0]).reshape(-1)
    is_convolution = product.op_type == "ConvInteger"
    if is_convolution and any(size != 1 for size in integers.shape[2:]):
        return "its kernel is not 1×1"
    weight = _dequantized([integers, weight_scale, zero], 0 if is_convolution else integers.ndim - 1)
    if is_convolution:
        axes = Axes(integers.ndim, 1)
        return _float_affine(product.op_type, quantizer.input[0], weight.reshape(weight.shape[:2]), axes)
    return _float_affine(product.op_type, quantizer.input[0], weight.T, _axes_of(graph, quantizer.input[0]))


def _axes_of(graph: Graph, features: str) -> Axes:
    return Axes.features_last(graph.rank(features))


def _float_affine(kind: str, features: str, weight: Array, axes: Axes) -> Affine:
    """Build the affine map, without a bias, of a layer that quantises its features itself and outputs floats."""
    bias = np.zeros(len(weight))
    return Affine(kind, features, axes, axes, weight, bias, "float32", quantization_step=EIGHT_BITS)


def _read_dynamic_matmul(graph: Graph, node: NodeProto) -> Affine | str:
    to_float = node.op_type == "MatMulIntegerToFloat"
    quantized = _constant_inputs(graph, node, *((1, 3, 5) if to_float else (1, 2, 3)))
    biases = _constant_inputs(graph, node, 6 if to_float else 4)
    if quantized is None or biases is None or quantized[0].ndim != 2:
        return _COMPUTED
    features = node.input[0]
    if to_float:
        quantizer = graph.producer(features)
        if quantizer is None or quantizer.op_type != "DynamicQuantizeLinear":
            return "its features are not quantised dynamically"
        features = quantizer.input[0]
    affine = _float_affine(node.op_type, features, _dequantized(quantized, 1).T, _axes_of(graph, features))
    return _with_bias(affine, biases[0])


def _with_bias(affine: Affine, bias: NDArray[Any]) -> Affine:
    """Add a bias, which is a scalar zero when the operator has none."""
    return replace(affine, bias=affine.bias + to_double(bias).reshape(-1), has_bias=bias.ndim > 0)


def _read_matmul_nbits(graph: Graph, node: NodeProto) -> Affine | str:
    constants = _constant_inputs(graph, node, 1, 2, 3, 5)
    if constants is None or (len(node.input) > 4 and node.input[4]):
        return "its weight is computed from the input, or its columns are reordered"
    packed, scales, zeros, bias = constants
    bits = int(attribute(node, "bits", 4))
    if bits not in (4, 8):
        return f"its weight has {bits} bits"
    rows, columns, block = (int(attribute(node, name)) for name in ("N", "K", "block_size"))
    blocks = -(-columns // block)
    integers = _unpack(packed, bits).reshape(rows, blocks, -1)[:, :, :block].astype(np.float64)
    zero_points = np.full((rows, blocks), 2.0 ** (bits - 1))
    if zeros.ndim:
        unpacked = _unpack(zeros.reshape(rows, -1), bits) if zeros.dtype == np.uint8 else zeros.reshape(rows, -1)
        zero_points = unpacked[:, :blocks].astype(np.float64)
    scaled = (integers - zero_points[:, :, None]) * to_double(scales).reshape(rows, blocks, 1)
    weight = scaled.reshape(rows, -1)[:, :columns]
    affine = _float_affine("MatMulNBits", node.input[0], weight, _axes_of(graph, node.input[0]))
    affine = replace(_with_bias(affine, bias), dtype=arithmetic_of(scales))
    # The weight is exact. The layer is less exact only when it rounds the activations too.
    rounds_activations = int(attribute(node, "accuracy_level", 0)) == 4
    return affine if rounds_activations else replace(affine, quantization_step=0.0)


def _unpack(packed: NDArray[Any], bits: int) -> NDArray[Any]:
    """Unpack numbers of 4 or 8 bits from bytes, the lower ones first, along the last axis."""
    if bits == 8:
        return packed
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def _read_fused_matmul(graph: Graph, node: NodeProto) -> Affine | str:
    if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0) or attribute(node, "transA", 0):
        return "its features are transposed"
    affine = read_matmul(graph, node, transposed=bool(attribute(node, "transB", 0)))
    if isinstance(affine, str):
        return affine
    return replace(affine, kind="FusedMatMul", weight=affine.weight * float(attribute(node, "alpha", 1.0)))


def _read_fused(graph: Graph, node: NodeProto) -> Affine | str:
    if attribute(node, "activation", b"") or len(node.input) > 3:
        return "the operators fused into it hide its outputs"
    return (read_gemm if node.op_type == "FusedGemm" else read_conv)(graph, node)


_READERS: dict[tuple[str, str], Reader] = {
    ("", "QLinearMatMul"): _read_qlinear_matmul,
    ("", "QLinearConv"): _read_qlinear_conv,
    ("", "Mul"): _read_dynamic,
    (MICROSOFT, "QGemm"): _read_qgemm,
    (MICROSOFT, "DynamicQuantizeMatMul"): _read_dynamic_matmul,
    (MICROSOFT, "MatMulIntegerToFloat"): _read_dynamic_matmul,
    (MICROSOFT, "MatMulNBits"): _read_matmul_nbits,
    (MICROSOFT, "FusedMatMul"): _read_fused_matmul,
    (MICROSOFT, "FusedGemm"): _read_fused,
    (MICROSOFT, "FusedConv"): _read_fused,
    (MICROSOFT, "NhwcFusedConv"): lambda graph, node: "its tensors are channels-last inside the runtime",
}
