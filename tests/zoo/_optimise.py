"""Rewrites by tools: ONNX Runtime's quantisers and optimisers, slimmers, float16 converters."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto
from onnxruntime import quantization as q
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from _record import Arrays
from _rewrites import Rewrite, copied


class Calibration(q.CalibrationDataReader):
    """Hands the inputs of an entry to the quantiser, once."""

    def __init__(self, inputs: Arrays) -> None:
        self.batches: Iterator[Arrays] = iter([inputs])

    def get_next(self) -> Arrays | None:
        """The next batch, None at the end."""
        return next(self.batches, None)


def optimised(level: str) -> Rewrite:
    """What ONNX Runtime writes at a level; the blocked channel layout is left out, as it fits one kind of processor only."""

    def rewrite(model: ModelProto) -> ModelProto:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            options.optimized_model_filepath = str(path)
            ort.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=["NchwcTransformer"]
            )
            return onnx.load(path)

    return rewrite


def for_transformers(model: ModelProto) -> ModelProto:
    """ONNX Runtime's transformer optimiser: Attention, SkipLayerNormalization, FastGelu."""
    from onnxruntime.transformers.optimizer import optimize_model

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        new = optimize_model(str(path), model_type="bert", num_heads=2, hidden_size=16, opt_level=0).model
    if "com.microsoft" not in {entry.domain for entry in new.opset_import}:
        new.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))  # which `save_model_to_file` leaves out too
    return new


def static(inputs: Arrays, **options: object) -> Rewrite:
    """Static quantisation, calibrated on the entry's own inputs."""

    def rewrite(model: ModelProto) -> ModelProto:
        with tempfile.TemporaryDirectory() as folder:
            source, ready, target = (Path(folder) / f"{name}.onnx" for name in ("a", "b", "c"))
            onnx.save(model, source)
            q.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
            q.quantize_static(str(ready), str(target), Calibration(inputs), **options)
            return onnx.load(target)

    return rewrite


def dynamic(**options: object) -> Rewrite:
    """Dynamic quantisation. It turns weights around and stumbles over the shapes noted for them, so those go first."""

    def rewrite(model: ModelProto) -> ModelProto:
        model = copied(model)
        del model.graph.value_info[:]
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
            onnx.save(model, source)
            q.quantize_dynamic(str(source), str(target), **options)
            return onnx.load(target)

    return rewrite


def few_bits(bits: int, *, qdq: bool = False, symmetric: bool = True) -> Rewrite:
    """Weight-only quantisation in blocks of 16: MatMulNBits, or DequantizeLinear with a block size."""

    def rewrite(model: ModelProto) -> ModelProto:
        form = q.QuantFormat.QDQ if qdq else q.QuantFormat.QOperator
        config = DefaultWeightOnlyQuantConfig(block_size=16, is_symmetric=symmetric, quant_format=form, bits=bits)
        quantizer = MatMulNBitsQuantizer(copied(model), algo_config=config)
        quantizer.process()
        return quantizer.model.model

    return rewrite


def half(*, keep_io: bool, blocked: tuple[str, ...] = ()) -> Rewrite:
    """ONNX Runtime's float16 converter, with the nodes sorted afterwards, which it leaves undone."""

    def rewrite(model: ModelProto) -> ModelProto:
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        new = convert_float_to_float16(copied(model), keep_io_types=keep_io, op_block_list=list(blocked) or None)
        OnnxModel(new).topological_sort()
        return new

    return rewrite


def slimmed(model: ModelProto) -> ModelProto:
    """onnxslim."""
    import onnxslim

    return onnxslim.slim(copied(model))


def simplified(model: ModelProto) -> ModelProto:
    """onnxsim."""
    import onnxsim

    new, right = onnxsim.simplify(copied(model))
    assert right, "onnxsim changed what the model computes"
    return new


def bfloat16_weights(model: ModelProto) -> ModelProto:
    """Every float matrix is stored as bfloat16, with a Cast in front of its use: the runtime's CPU has no bfloat16 products."""
    import ml_dtypes
    from onnx import TensorProto, helper, numpy_helper

    new = copied(model)
    casts = []
    for tensor in new.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2:
            name = tensor.name
            short = numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(short), f"{name}_short"))
            casts.append(helper.make_node("Cast", [f"{name}_short"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *(node.__deepcopy__() for node in new.graph.node)]
    del new.graph.node[:]
    new.graph.node.extend(nodes)
    return new
