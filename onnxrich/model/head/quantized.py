"""Linear layers on integers and in ONNX Runtime's own operators: what optimisers and quantisers make of a head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from onnxrich.model.constants import STANDARD, dequantize
from onnxrich.model.graph import Graph, attribute
from onnxrich.model.head.affine import (
    EIGHT_BITS,
    Affine,
    Axes,
    Reader,
    arithmetic,
    double,
    read_conv,
    read_gemm,
    read_matmul,
)
from onnxrich.moments.matrix import Array

MICROSOFT = "com.microsoft"


def read(graph: Graph, node: NodeProto) -> Affine | str | None:
    """The affine map of such a node, the reason why it is none, or None for a node of another kind."""
    reader = _READERS.get((node.domain if node.domain not in STANDARD else "", node.op_type))
    return None if reader is None else reader(graph, node)


def _constants(graph: Graph, node: NodeProto, *indices: int) -> list[NDArray[Any]] | None:
    """Constant inputs by index; None when one is computed. An absent one is zero."""
    names = [node.input[index] if len(node.input) > index else "" for index in indices]
    if not all(graph.is_constant(name) for name in names if name):
        return None
    return [graph.constant(name) if name else np.zeros(()) for name in names]


def _weight(values: list[NDArray[Any]], axis: int) -> Array:
    """A quantised weight in double: values, scale and zero point, one for all or one a slice along an axis."""
    weight, scale, zero = values
    return dequantize(weight, scale, zero, axis).astype(np.float64)


_COMPUTED = "its weight is computed from the input"


def _qlinear_matmul(graph: Graph, node: NodeProto) -> Affine | str:
    values = _constants(graph, node, 3, 4, 5)
    if values is None or values[0].ndim != 2:
        return _COMPUTED
    weight = _weight(values, 1).T
    rank = graph.rank(node.input[0])
    axes = Axes(rank, -1 if rank is None else rank - 1)
    return _integer("QLinearMatMul", node, axes, axes, weight, np.zeros(len(weight)), scale=(6, 7))


def _qlinear_conv(graph: Graph, node: NodeProto) -> Affine | str:
    values = _constants(graph, node, 3, 4, 5)
    scale = _constants(graph, node, 1, 8)
    if values is None or scale is None:
        return _COMPUTED
    if any(size != 1 for size in values[0].shape[2:]) or attribute(node, "group", 1) != 1:
        return "its kernel is not 1×1"
    raw = _weight(values, 0)
    steps = double(scale[0]) * double(values[1])
    axes = Axes(raw.ndim, 1)
    biased = len(node.input) > 8
    bias = np.zeros(len(raw)) + double(scale[1]) * steps.reshape(-1)
    return _integer("QLinearConv", node, axes, axes, raw.reshape(raw.shape[:2]), bias, scale=(6, 7), biased=biased)


def _qgemm(graph: Graph, node: NodeProto) -> Affine | str:
    values = _constants(graph, node, 3, 4, 5)
    added = _constants(graph, node, 1, 6)
    if values is None or added is None or attribute(node, "transA", 0):
        return _COMPUTED
    alpha = float(attribute(node, "alpha", 1.0))
    swapped = bool(attribute(node, "transB", 0))
    raw = _weight(values, 0 if swapped else 1)
    weight = alpha * (raw if swapped else raw.T)
    bias = np.zeros(len(weight)) + alpha * double(added[0]) * double(values[1]).reshape(-1) * double(added[1]).reshape(
        -1
    )
    scale = (7, 8) if len(node.input) > 7 and node.input[7] else None
    biased = len(node.input) > 6 and bool(node.input[6])
    return _integer("QGemm", node, Axes(2, 1), Axes(2, 1), weight, bias, scale=scale, biased=biased)


def _integer(
    kind: str,
    node: NodeProto,
    inner: Axes,
    outer: Axes,
    weight: Array,
    bias: Array,
    *,
    scale: tuple[int, int] | None,
    biased: bool = False,
) -> Affine:
    made = () if scale is None else (node.input[scale[0]], node.input[scale[1]] if len(node.input) > scale[1] else "")
    return Affine(
        kind, node.input[0], inner, outer, weight, bias, "float32", biased,
        quantization_step=EIGHT_BITS, features_scale=(node.input[1], node.input[2]), outputs_scale=made,
    )  # fmt: skip


def _dynamic(graph: Graph, node: NodeProto) -> Affine | str | None:
    """Mul(Cast(MatMulInteger(quantised x, W)), scale of x · scale of W): a dynamically quantised layer."""
    for one, other in (node.input, node.input[::-1]):
        cast = graph.producer(one)
        product = graph.producer(cast.input[0]) if cast is not None and cast.op_type == "Cast" else None
        if product is not None and product.op_type in ("MatMulInteger", "ConvInteger"):
            return _integer_product(graph, product, other)
    return None


def _integer_product(graph: Graph, product: NodeProto, scale: str) -> Affine | str:
    quantizer = graph.producer(product.input[0])
    scaled = graph.producer(scale)
    values = _constants(graph, product, 1, 3)
    if quantizer is None or quantizer.op_type != "DynamicQuantizeLinear" or values is None or scaled is None:
        return _COMPUTED
    constant = [name for name in scaled.input if graph.is_constant(name)]
    if scaled.op_type != "Mul" or len(constant) != 1:
        return "its scale is computed from the input"
    raw, factor = values[0], graph.constant(constant[0]).reshape(-1)
    convolution = product.op_type == "ConvInteger"
    if convolution and any(size != 1 for size in raw.shape[2:]):
        return "its kernel is not 1×1"
    weight = _weight([raw, factor, values[1]], 0 if convolution else raw.ndim - 1)
    weight = weight.reshape(weight.shape[:2]) if convolution else weight.T
    return _float_features(graph, product.op_type, quantizer.input[0], weight, raw.ndim if convolution else None)


def _float_features(graph: Graph, kind: str, features: str, weight: Array, conv_rank: int | None = None) -> Affine:
    rank = conv_rank or graph.rank(features)
    axes = Axes(rank, 1 if conv_rank else -1 if rank is None else rank - 1)
    return Affine(kind, features, axes, axes, weight, np.zeros(len(weight)), "float32", quantization_step=EIGHT_BITS)


def _dynamic_matmul(graph: Graph, node: NodeProto) -> Affine | str:
    to_float = node.op_type == "MatMulIntegerToFloat"
    values = _constants(graph, node, *((1, 3, 5) if to_float else (1, 2, 3)))
    bias = _constants(graph, node, 6 if to_float else 4)
    if values is None or bias is None or values[0].ndim != 2:
        return _COMPUTED
    features = node.input[0]
    if to_float:
        quantizer = graph.producer(features)
        if quantizer is None or quantizer.op_type != "DynamicQuantizeLinear":
            return "its features are not quantised as they come"
        features = quantizer.input[0]
    result = _float_features(graph, node.op_type, features, _weight(values, 1).T)
    return replace(result, bias=result.bias + double(bias[0]).reshape(-1), biased=bias[0].ndim > 0)


def _nbits(graph: Graph, node: NodeProto) -> Affine | str:
    values = _constants(graph, node, 1, 2, 3, 5)
    if values is None or (len(node.input) > 4 and node.input[4]):
        return "its weight is computed from the input, or reordered"
    packed, scales, zeros, bias = values
    rows, columns = int(attribute(node, "N")), int(attribute(node, "K"))
    bits, block = int(attribute(node, "bits", 4)), int(attribute(node, "block_size"))
    if bits not in (4, 8):
        return f"its weight has {bits} bits"
    blocks = -(-columns // block)
    table = _unpack(packed, bits).reshape(rows, blocks, -1)[:, :, :block].astype(np.float64)
    middle = np.full((rows, blocks), 2.0 ** (bits - 1))
    if zeros.ndim:
        integers = _unpack(zeros.reshape(rows, -1), bits) if zeros.dtype == np.uint8 else zeros.reshape(rows, -1)
        middle = integers[:, :blocks].astype(np.float64)
    weight = ((table - middle[:, :, None]) * double(scales).reshape(rows, blocks, 1)).reshape(rows, -1)[:, :columns]
    result = _float_features(graph, "MatMulNBits", node.input[0], weight)
    # The weight is exact; only where the activations are rounded as well would the layer be less than that.
    exact = replace(result, bias=result.bias + double(bias).reshape(-1), biased=bias.ndim > 0, dtype=arithmetic(scales))
    return exact if int(attribute(node, "accuracy_level", 0)) == 4 else replace(exact, quantization_step=0.0)


def _unpack(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Numbers of some bits from bytes, the lower ones first, along the last axis."""
    if bits == 8:
        return values
    return np.stack([values & 15, values >> 4], axis=-1).reshape(*values.shape[:-1], -1)


def _fused_matmul(graph: Graph, node: NodeProto) -> Affine | str:
    if attribute(node, "transBatchA", 0) or attribute(node, "transBatchB", 0) or attribute(node, "transA", 0):
        return "its features are transposed"
    plain = read_matmul(graph, node, swapped=bool(attribute(node, "transB", 0)))
    if isinstance(plain, str):
        return plain
    return replace(plain, kind="FusedMatMul", weight=plain.weight * float(attribute(node, "alpha", 1.0)))


def _fused(graph: Graph, node: NodeProto) -> Affine | str:
    if attribute(node, "activation", b"") or len(node.input) > 3:
        return "its outputs before the operators fused into it are no tensor"
    return (read_gemm if node.op_type == "FusedGemm" else read_conv)(graph, node)


_READERS: dict[tuple[str, str], Reader] = {
    ("", "QLinearMatMul"): _qlinear_matmul,
    ("", "QLinearConv"): _qlinear_conv,
    ("", "Mul"): _dynamic,
    (MICROSOFT, "QGemm"): _qgemm,
    (MICROSOFT, "DynamicQuantizeMatMul"): _dynamic_matmul,
    (MICROSOFT, "MatMulIntegerToFloat"): _dynamic_matmul,
    (MICROSOFT, "MatMulNBits"): _nbits,
    (MICROSOFT, "FusedMatMul"): _fused_matmul,
    (MICROSOFT, "FusedGemm"): _fused,
    (MICROSOFT, "FusedConv"): _fused,
    (MICROSOFT, "NhwcFusedConv"): lambda graph, node: "its tensors are channels-last inside the runtime",
}
