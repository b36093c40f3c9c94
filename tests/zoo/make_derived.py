"""Makes the derived family: models of the other families, quantised, optimised and rewritten.

The truth is that of the model they come from. So a quantised model is right to its number format's error: the tolerance is
stated for each kind, and was measured (the recorder refuses a model whose outputs are further off).
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from importlib.metadata import version

import numpy as np
import onnx
from onnxruntime.quantization import QuantFormat, QuantType

import _optimise as o
import _rewrites as r
from _record import ROOT, Array, Head, Spec, Zoo, run

ORT = f"onnxruntime {version('onnxruntime-gpu')}"
# Errors are the largest over all values, relative to the largest value. Measured: at most 0.05 for 8 bits and 0.22 for 4;
# processors without 8-bit dot products saturate a little earlier. The tensor in front of a dropped ReLU is off by 0.9.
EIGHT_BITS = {"rtol": 1e-1, "why": "8 bits: half a step in 255 for weights and activations of every layer; 0.05 measured"}
FOUR_BITS = {"rtol": 3e-1, "why": "4 bits: half a step in 15 for the weights of every layer; 0.22 measured"}
HALF = {"rtol": 5e-3, "why": "float16: 5 eps"}
SHORT = {"rtol": 2e-2, "why": "bfloat16 weights: eps 8e-3, half a unit for each of the layers"}


@dataclass(frozen=True)
class Case:
    """A base entry, the rewrite, and how far the result may be off."""

    name: str
    base: str
    rewrite: Callable[[onnx.ModelProto], onnx.ModelProto]
    by: str = "onnx"
    rtol: float | None = None
    why: str = ""
    notes: str = ""


def record(zoo: Zoo, case: Case, index: dict[str, dict[str, object]]) -> None:
    """Rewrites one model and adds the entry."""
    line = index[case.base]
    model = onnx.load(ROOT / f"{case.base}.onnx")
    truth = dict(np.load(ROOT / f"{case.base}.npz"))
    inputs = inputs_of(truth)
    new = case.rewrite(model)
    heads = [Head(truth[key], truth[key.replace("features", "logits")]) for key in sorted(truth) if key.startswith("features")]
    base = {f.name: line[f.name] for f in fields(Spec) if f.name in line}
    spec = Spec(**base | {"name": case.name, "exporter": f"{case.by}, from {case.base} ({line['exporter']})", "notes": case.notes})
    if case.rtol is not None:
        spec = spec.loosened(case.rtol, case.why)
    wanted = run(ROOT / f"{case.base}.onnx", inputs, batch=spec.batch)
    zoo.add(spec, new, as_declared(new, inputs), heads=heads, outputs=wanted, mask=truth.get("mask"))


def inputs_of(truth: dict[str, Array]) -> dict[str, Array]:
    """The inputs in an entry's arrays, by name."""
    return {key.removeprefix("input/"): array for key, array in truth.items() if key.startswith("input/")}


def as_declared(model: onnx.ModelProto, inputs: dict[str, Array]) -> dict[str, Array]:
    """The inputs in the types that the model declares: a converter may have narrowed them."""
    kinds = {value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in model.graph.input}
    return {name: array.astype(kinds[name]) for name, array in inputs.items()}


def quantised() -> list[Case]:
    """Static, dynamic and weight-only quantisation."""
    qdq, operators = {"quant_format": QuantFormat.QDQ}, {"quant_format": QuantFormat.QOperator}
    signed = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QInt8}
    unsigned = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt8}
    wide = {"weight_type": QuantType.QInt8, "activation_type": QuantType.QUInt16}

    def static(name: str, base: str, **options: object) -> Case:
        inputs = inputs_of(dict(np.load(ROOT / f"{base}.npz")))
        return Case(name, base, o.static(inputs, **options), ORT, **EIGHT_BITS)

    def dynamic(name: str, base: str, **options: object) -> Case:
        return Case(name, base, o.dynamic(**options), ORT, **EIGHT_BITS)

    return [
        static("qdq_mlp", "torch/mlp_dynamo", **qdq, **signed),
        static("qdq_mlp_per_channel", "torch/softmax_legacy", **qdq, **signed, per_channel=True),
        static("qdq_mlp_16_bit_activations", "torch/mlp_dynamo", **qdq, **wide),
        static("qdq_cnn", "torch/cnn_dynamo", **qdq, **signed),
        static("qdq_pool_then_conv", "torch/pool_then_conv_legacy", **qdq, **unsigned),
        static("qdq_squeezenet_linear", "torch/squeezenet_linear_legacy", **qdq, **signed, per_channel=True),
        static("qdq_keras", "tensorflow/mlp_softmax", **qdq, **unsigned),
        static("qdq_tokens", "torch/tagger_transposed_legacy", **qdq, **signed),
        static("qoperator_mlp", "torch/mlp_dynamo", **operators, **unsigned),
        static("qoperator_cnn", "torch/cnn_dynamo", **operators, **unsigned),
        static("qoperator_segmentation", "torch/segmentation_legacy", **operators, **unsigned),
        static("qoperator_keras", "tensorflow/mlp_softmax", **operators, **unsigned),
        static("qoperator_jax", "jax/nnx_mlp", **operators, **unsigned),
        dynamic("dynamic_mlp", "torch/mlp_dynamo"),
        dynamic("dynamic_mlp_per_channel", "torch/softmax_dynamo", per_channel=True, weight_type=QuantType.QUInt8),
        dynamic("dynamic_keras", "tensorflow/mlp_softmax"),
        dynamic("dynamic_tokens", "torch/token_classification_legacy"),
        dynamic("dynamic_language", "torch/language_masked_dynamo"),
        Case("four_bits_keras", "tensorflow/mlp_softmax", o.few_bits(4), ORT, **FOUR_BITS),
        Case("four_bits_language", "torch/language_tied_legacy", o.few_bits(4, symmetric=False), ORT, **FOUR_BITS),
        Case("four_bits_tokens_qdq", "torch/token_classification_dynamo", o.few_bits(4, qdq=True), ORT, **FOUR_BITS),
        Case("eight_bit_blocks_tokens", "torch/token_classification_legacy", o.few_bits(8), ORT, **EIGHT_BITS),
        Case("float16_kept_io", "torch/mlp_dynamo", o.half(keep_io=True), ORT, **HALF),
        Case("float16_all", "torch/resnet_dynamo", o.half(keep_io=False), ORT, **HALF),
        Case("float16_transformer", "torch/vit_legacy", o.half(keep_io=True, blocked=("LayerNormalization",)), ORT, **HALF),
        Case("bfloat16_weights", "torch/mlp_dynamo", o.bfloat16_weights, **SHORT),
    ]


def optimised() -> list[Case]:
    """ONNX Runtime at every level, its transformer optimiser, slimmers."""
    fused = "The head's operator carries the activation: no tensor holds the logits."

    def level(name: str, base: str, kind: str, *, notes: str = "") -> Case:
        return Case(name, base, o.optimised(kind), ORT, notes=notes)

    return [
        level("basic_vit", "torch/vit_legacy", "BASIC"),
        level("basic_cnn", "torch/cnn_legacy", "BASIC"),
        level("basic_keras_tokens", "tensorflow/dense_per_token", "BASIC"),
        level("extended_mlp", "torch/mlp_dynamo", "EXTENDED"),
        level("extended_sigmoid", "torch/sigmoid_multilabel", "EXTENDED", notes=fused),
        level("extended_squeezenet", "torch/squeezenet_dynamo", "EXTENDED", notes=fused),
        level("extended_squeezenet_linear", "torch/squeezenet_linear_legacy", "EXTENDED"),
        level("extended_vit", "torch/vit_dynamo", "EXTENDED"),
        level("extended_temperature", "torch/temperature_legacy", "EXTENDED"),
        level("extended_two_heads", "torch/two_heads_shared_legacy", "EXTENDED"),
        level("all_resnet", "torch/resnet_dynamo", "ALL"),
        level("all_language", "torch/language_tied_dynamo", "ALL"),
        level("all_keras_cnn", "tensorflow/cnn", "ALL"),
        level("all_jax_transposed", "jax/plain_transposed_weight", "ALL"),
        level("all_local_function", "jax/local_function_around", "ALL"),
        Case("transformer_optimiser", "torch/token_classification_legacy", o.for_transformers, ORT),
        Case("transformer_optimiser_language", "torch/language_masked_legacy", o.for_transformers, ORT),
        Case("slim_vit", "torch/vit_legacy", o.slimmed, f"onnxslim {version('onnxslim')}"),
        Case("slim_segmentation", "tensorflow/segmentation", o.slimmed, f"onnxslim {version('onnxslim')}"),
        Case("simplified_attention", "tensorflow/attention", o.simplified, f"onnxsim {version('onnxsim')}"),
        Case("simplified_language", "torch/language_tied_legacy", o.simplified, f"onnxsim {version('onnxsim')}"),
    ]


def after_quantisation() -> list[Case]:
    """Quantised models that ONNX Runtime then fuses; they need the entries of `quantised`."""

    def level(name: str, base: str) -> Case:
        return Case(name, base, o.optimised("EXTENDED"), ORT, **EIGHT_BITS)

    return [
        level("extended_qdq_mlp", "derived/qdq_mlp"),
        level("extended_qdq_cnn", "derived/qdq_cnn"),
        level("extended_qdq_keras", "derived/qdq_keras"),
        level("extended_dynamic_mlp", "derived/dynamic_mlp"),
        level("extended_dynamic_tokens", "derived/dynamic_tokens"),
        Case("extended_four_bits_qdq", "derived/four_bits_tokens_qdq", o.optimised("EXTENDED"), ORT, **FOUR_BITS),
    ]


def rewritten() -> list[Case]:
    """Graph surgery that changes nothing."""
    folder = ROOT / "derived"
    identity, drop = r.node("Identity"), r.node("Dropout")
    double, single = r.node("Cast", to=onnx.TensorProto.DOUBLE), r.node("Cast", to=onnx.TensorProto.FLOAT)
    turn = r.node("Transpose", perm=[1, 0])
    mlp = "torch/mlp_dynamo"
    return [
        Case("identities", mlp, r.surrounded([identity, identity], [identity])),
        Case("cast_and_back", mlp, r.surrounded([double, single], [double, single])),
        Case("transpose_and_back", mlp, r.surrounded([turn, turn], [turn, turn])),
        Case("flatten_and_dropout", mlp, r.surrounded([r.node("Flatten", axis=1), drop], [drop])),
        Case("constant_nodes", mlp, r.constants_as_nodes),
        Case("constant_nodes_cnn", "torch/cnn_legacy", r.constants_as_nodes),
        Case("initializers_as_inputs", "torch/mlp_legacy", r.initializers_as_inputs),
        Case("meaningless_names", "torch/vit_dynamo", r.meaningless_names),
        Case("sparse_weights", "jax/plain", r.sparse_weights),
        Case("function_tail", "torch/softmax_dynamo", r.in_function(-2)),
        Case("function_whole_vit", "torch/vit_dynamo", r.in_function(0)),
        Case("function_nested", "torch/temperature_dynamo", r.in_function(-3, nested=True)),
        Case("function_after_head", "torch/temperature_dynamo", r.in_function(-2)),
        Case("unused_branch", mlp, r.unused_branch),
        Case("external_one_file", mlp, r.external(folder, "external_one_file", one_file=True)),
        Case("external_file_each", "torch/vgg_dynamo", r.external(folder, "external_file_each", one_file=False)),
        Case("opset_8", "torch/mlp_legacy", r.lifted_to_opset(8, ir=4)),
        Case("opset_10", "torch/mlp_legacy", r.lifted_to_opset(10, ir=5)),
        Case("opset_19", "torch/resnet_legacy", r.lifted_to_opset(19, ir=9)),
        Case("opset_21", "tensorflow/mlp_softmax", r.lifted_to_opset(21, ir=10)),
        Case("opset_23", "torch/cnn_dynamo", r.lifted_to_opset(23, ir=10)),
        Case("opset_25", "torch/vit_dynamo", r.lifted_to_opset(25, ir=11)),
        Case("opset_26", "torch/mlp_dynamo", r.lifted_to_opset(26, ir=13)),
    ]


def main(only: list[str]) -> None:
    """Writes all entries, or tries those named without touching the index."""
    logging.disable(logging.WARNING)
    zoo = Zoo("derived")
    for group in (quantised, optimised, after_quantisation, rewritten):
        index = {f"{line['family']}/{line['name']}": line for line in json.loads((ROOT / "zoo.json").read_text())}
        index |= {f"derived/{line['name']}": line for line in zoo.lines}
        for case in group():
            if not only or case.name in only:
                record(zoo, case, index)
    if not only:
        zoo.write()


if __name__ == "__main__":
    main(sys.argv[1:])
