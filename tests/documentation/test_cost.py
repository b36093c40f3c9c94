"""The cost model: its formulas count what a patch really holds, and docs/SCALE.md shows what they give."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from repository import ROOT

from onnxrich.engine.sizing import choose_block_count
from onnxrich.model.file import read_model
from onnxrich.model.head import head
from onnxrich.model.patch import instrument as rewrite

sys.path.insert(0, str(ROOT / "benchmarks"))

import cost


def patch_of(p: int, C: int, K: int, memory: str) -> rewrite.Patch:
    """The patch of a model with so many features and outputs, as a run would make it."""
    weight = numpy_helper.from_array(np.ones((p, C), np.float32), "v")
    nodes = [helper.make_node("Relu", ["x"], ["phi"]), helper.make_node("MatMul", ["phi", "v"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", k]) for name, k in (("x", p), ("y", C))]
    graph = helper.make_graph(nodes, "head", values[:1], values[1:], [weight])
    read = read_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    return rewrite.instrument(read, head.find_head(read), K=K, derived=p < C, memory=memory)


@pytest.mark.parametrize(("p", "C", "K"), [(5, 3, 0), (512, 10, 10), (1024, 10, 10), (700, 900, 0), (2048, 1000, 1000)])
@pytest.mark.parametrize("memory", ["cpu", "cuda"])
def test_formulas_count_what_a_patch_holds(p: int, C: int, K: int, memory: str) -> None:
    """Width, share of the square, flops and memory are those of the accumulators of the patch."""
    patch = patch_of(p, C, K, memory)
    shapes, d = patch.shapes, cost.width(p, C=C, K=K)
    assert patch.edges[-1] == d
    elements = sum(rows * columns for rows, columns in shapes)
    # Tiles are cut at whole columns, so that they differ by one at most from equal ones.
    assert cost.product_flops(d, memory) == pytest.approx(2 * elements, rel=1 / d)
    assert cost.bytes_held(d, 16, 2, memory) == pytest.approx(18 * 8 * elements, rel=1 / d)


def test_flops_of_a_perceptron() -> None:
    """Two flops for each weight."""
    widths = (784, 1024, 1024, 1024, 10)
    assert cost.mlp_flops(widths) == 2 * sum(a * b for a, b in pairwise(widths)) == 5_820_416


def test_small_batches_share_a_product() -> None:
    """On the CPU the ratio doesn't depend on the batch size from 32 rows on, and rises with the width."""
    ratios = {
        (p, batch): cost.on_cpu(cost.mlp_flops((784, 1024, 1024, p, 10)), cost.width(p, C=10, K=10), batch)
        for p in (1024, 2048, 4096)
        for batch in (32, 128, 512)
    }
    for p in (1024, 2048, 4096):
        assert ratios[p, 32] == ratios[p, 128] == ratios[p, 512]
    assert 1 < ratios[1024, 512] < ratios[2048, 512] < ratios[4096, 512]


@pytest.mark.parametrize("table", ["work_table", "hours_table"])
def test_the_page_shows_what_the_formulas_give(table: str) -> None:
    """docs/SCALE.md holds both tables as they are computed."""
    assert getattr(cost, table)() in (ROOT / "docs" / "SCALE.md").read_text()


def test_blocks_of_the_tasks() -> None:
    """Sixteen blocks of ImageNet-1k's moments don't fit into 1 GiB, so there are fewer; CIFAR-10's do."""
    assert choose_block_count(cost.width(512, C=10, K=10), None) == 16
    assert 4 <= choose_block_count(cost.width(2048, C=1000, K=1000), None) < 16


@pytest.mark.slow
def test_the_models_cost_what_is_said() -> None:
    """The flops of the models of the benchmarks, counted from their graphs, are those of the tasks."""
    from models import resnet18, resnet50, vit

    for proto, task in ((resnet18(), cost.TASKS[0]), (resnet50(), cost.TASKS[1]), (vit(), cost.TASKS[2])):
        assert flops(proto) == pytest.approx(task.flops, rel=0.03)


def flops(proto: onnx.ModelProto) -> float:
    """Two for each multiplication of Conv, Gemm and MatMul, for one row."""
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output, *inferred.input)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    total = 0.0
    for node in inferred.node:
        if node.op_type == "Conv":
            total += 2.0 * np.prod(shapes[node.output[0]]) * np.prod(shapes[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            total += 2.0 * np.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]
    return total
