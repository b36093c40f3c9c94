"""Makes the hand-written family: ONNX text, one idiom in each model.

The truth is computed in double precision with NumPy from the same weights, by the formula beside each text and not from the
graph. What every text may use: input `x` (N, 10), hidden features `h` = relu(x A + a) (N, 16), weights `W` (16, 5) and
`Wt` (5, 16), bias `b` (5), and the arrays that a case adds.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import numpy_helper, parser

import _text_graphs
import _text_heads
from _record import Array, Head, Spec, Zoo, rows
from _text_case import Case, Weights, weights

HIDDEN = "h0 = MatMul(x, A)\n h1 = Add(h0, a)\n h = Relu(h1)\n "


def model(case: Case, arrays: Weights) -> onnx.ModelProto:
    """Parses the text and adds the arrays that it mentions as initializers."""
    header = f'<ir_version: {case.ir}, opset_import: ["" : {case.opset}{case.domains}]>\n'
    body = case.text if case.whole else f"zoo (float[N, 10] x) => ({case.output} y) {{\n {HIDDEN}{case.text}\n}}"
    proto = parser.parse_model(header + body + case.functions)
    words = set(re.findall(r"\w+", body))
    for name in sorted(words & set(arrays)):
        if name in case.sparse:
            proto.graph.sparse_initializer.append(sparse(arrays[name], name))
        else:
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(arrays[name]), name))
    return proto


def sparse(array: Array, name: str) -> onnx.SparseTensorProto:
    """The non-zero entries of an array."""
    places = np.flatnonzero(array).astype(np.int64)
    values = numpy_helper.from_array(array.ravel()[places], name)
    return onnx.helper.make_sparse_tensor(values, numpy_helper.from_array(places, f"{name}_places"), list(array.shape))


def record(zoo: Zoo, case: Case) -> None:
    """Builds one model and adds the entry."""
    rng = np.random.default_rng(sum(case.name.encode()))
    arrays = weights(rng)
    arrays |= case.arrays(rng, arrays)
    inputs = case.inputs(rng)
    double = {name: np.asarray(a, np.float64) if a.dtype.kind == "f" else a for name, a in (arrays | inputs).items()}
    truth = case.truth(double) if case.truth else []
    heads = [Head(rows(features), rows(logits)) for features, logits in truth]
    expected = {0: "refuse", 1: "head"}.get(len(heads), "several")
    spec = Spec(case.name, "onnx.parser", expected=expected, rows=case.rows, **case.more)  # type: ignore[arg-type]
    wanted = case.returns(double, [logits for _, logits in truth]) if case.returns else []
    zoo.add(spec, model(case, arrays), inputs, heads=heads, outputs=wanted)


def cases() -> Iterator[Case]:
    """All of them."""
    groups: list[Callable[[], list[Case]]] = [*_text_heads.GROUPS, *_text_graphs.GROUPS]
    for group in groups:
        yield from group()


def main(only: list[str]) -> None:
    """Writes all entries, or tries those named without touching the index."""
    zoo = Zoo("text")
    for case in cases():
        if not only or case.name in only:
            record(zoo, case)
    if not only:
        zoo.write()


if __name__ == "__main__":
    main(sys.argv[1:])
