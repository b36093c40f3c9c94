"""Texts of graphs: tokens and pixels, control flow, functions, number formats, several heads, and models to be refused."""

from __future__ import annotations

import numpy as np

from _text_case import Case, Weights, hidden, linear, softmax

BIASED = linear()
CONTROL = {"opset": 17, "ir": 8}


def tokens(rng: np.random.Generator) -> Weights:
    """Eight sequences of six tokens."""
    return {"x": rng.normal(size=(8, 6, 10)).astype(np.float32)}


def pixels(rng: np.random.Generator) -> Weights:
    """Three images of 4×4 pixels and 10 channels, channels last."""
    return {"x": rng.normal(size=(3, 4, 4, 10)).astype(np.float32)}


def maps(rng: np.random.Generator) -> Weights:
    """Images of 10 channels, channels first, with means that differ."""
    return {"x": (rng.normal(size=(32, 10, 3, 3)) + rng.normal(size=(32, 10, 1, 1))).astype(np.float32)}


def kernels(rng: np.random.Generator, w: Weights) -> Weights:
    """The hidden layer's and the head's weights as 1×1 convolutions, and axes."""
    return {"Ak": np.ascontiguousarray(w["A"].T).reshape(16, 10, 1, 1), "Wk": w["Wt"].reshape(5, 16, 1, 1), "axes": np.array([2, 3], np.int64)}


def pooled(w: Weights) -> list[tuple[np.ndarray, np.ndarray]]:
    """The truth where the head's scores are averaged over the pixels with nothing between."""
    h = hidden({**w, "x": np.moveaxis(w["x"], 1, -1)}).mean((1, 2))
    return [(h, h @ w["W"] + w["b"])]


def positions() -> list[Case]:
    """One row for each token or pixel."""
    body = "h0 = MatMul(x, A)\n h1 = Add(h0, a)\n h = Relu(h1)\n "
    token, pixel = {"inputs": tokens, "whole": True, "rows": "token"}, {"inputs": pixels, "whole": True, "rows": "position"}
    sequence, image = "zoo (float[N, 6, 10] x) => (float[N, 6, 5] y) {\n " + body, "zoo (float[N, 4, 4, 10] x) => (float[N, 4, 4, 5] y) {\n " + body
    flat = lambda rng, w: {"flat": np.array([-1, 16], np.int64), "back": np.array([-1, 6, 5], np.int64)}
    convolved = "zoo (float[N, 10, 3, 3] x) => (float[N, 5] y) {\n c = Conv(x, Ak, a)\n h = Relu(c)\n f = Conv(h, Wk, b)\n "
    sample = {"inputs": maps, "whole": True, "arrays": kernels}
    every = lambda w: linear()({**w, "x": np.moveaxis(w["x"], 1, -1)[:3]})
    few = {**sample, "inputs": lambda rng: {"x": maps(rng)["x"][:3]}, "rows": "position"}
    return [
        Case("tokens_matmul", sequence + "m = MatMul(h, W)\n y = Add(m, b)\n}", BIASED, **token),
        Case("tokens_flattened", sequence + "r = Reshape(h, flat)\n g = Gemm(r, W, b)\n y = Reshape(g, back)\n}", BIASED, flat, **token),
        Case("tokens_flattened_dynamic", sequence + "r = Reshape(h, flat)\n g = MatMul(r, W)\n s = Shape <end = 2> (h)\n five = Constant <value_ints = [5]> ()\n"
             " t = Concat <axis = 0> (s, five)\n q = Reshape(g, t)\n y = Add(q, b)\n}", BIASED, flat, **token),
        Case("tokens_einsum", sequence + 'm = Einsum <equation = "ntp,cp->ntc"> (h, Wt)\n s = Add(m, b)\n y = Softmax(s)\n}', BIASED,
             returns=lambda w, f: [softmax(f[0])], **token),
        Case("tokens_scan", "zoo (float[N, 6, 10] x) => (float[N, 6, 5] y) {\n " + body + "y = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],\n"
             " body = step (float[N, 16] one) => (float[N, 5] scores) { scores = Gemm(one, W, b) }> (h)\n}", BIASED, **token),
        Case("pixels_channels_last", image + "m = MatMul(h, W)\n y = Add(m, b)\n}", BIASED, **pixel),
        Case("pixels_conv_between_transposes", image + "t = Transpose <perm = [0, 3, 1, 2]> (h)\n c = Conv(t, Wk, b)\n y = Transpose <perm = [0, 2, 3, 1]> (c)\n}",
             BIASED, kernels, **pixel),
        Case("conv_then_global_pool", convolved + "g = GlobalAveragePool(f)\n y = Flatten(g)\n}", pooled, **sample),
        Case("conv_then_mean", convolved + "g = ReduceMean <axes = [2, 3], keepdims = 0> (f)\n y = Softmax(g)\n}", pooled,
             returns=lambda w, f: [softmax(f[0])], **sample),
        Case("conv_relu_global_pool", convolved + "r = Relu(f)\n g = GlobalAveragePool(r)\n y = Flatten(g)\n}", every,
             returns=lambda w, f: [np.maximum(f[0], 0).mean((1, 2))], **few),
        Case("conv_then_max_pool", convolved + "g = GlobalMaxPool(f)\n y = Flatten(g)\n}", every, returns=lambda w, f: [f[0].max((1, 2))],
             more={"notes": "The maximum is not linear: rows are positions."}, **few),
        Case("global_pool_then_conv", "zoo (float[N, 10, 3, 3] x) => (float[N, 5] y) {\n c = Conv(x, Ak, a)\n h = Relu(c)\n g = GlobalAveragePool(h)\n"
             " f = Conv(g, Wk, b)\n y = Flatten(f)\n}", pooled, **sample),
    ]


def control() -> list[Case]:
    """Functions, If, Loop and Scan, before the head and around it."""
    yes = lambda rng, w: {"yes": np.array(True)}
    function = '\n<domain: "zoo", opset_import: ["" : 17]>\n'
    dense = function + "Dense (v, k, c) => (o) { m = MatMul(v, k)\n o = Add(m, c) }"
    square = lambda rng, w: {"S": (rng.normal(size=(16, 16)) / 4).astype(np.float32), "three": np.array(3, np.int64), "yes": np.array(True)}
    sums = "zoo (float[N, 6, 10] x) => (float[N, 5] y) {\n h0 = MatMul(x, A)\n h1 = Add(h0, a)\n h = Relu(h1)\n"
    local = {"functions": dense, "domains": ', "zoo" : 1', **CONTROL}

    def looped(w: Weights) -> list[tuple[np.ndarray, np.ndarray]]:
        h = hidden(w)
        for _ in range(3):
            h = np.tanh(h @ w["S"])
        return [(h, h @ w["W"] + w["b"])]

    def recurrent(w: Weights) -> list[tuple[np.ndarray, np.ndarray]]:
        steps, state = hidden(w), np.zeros((32, 16))
        for t in range(6):
            state = np.tanh(state / 2 + steps[:, t])
        return [(state, state @ w["W"] + w["b"])]

    return [
        Case("function_head", "y = zoo.Dense(h, W, b)", BIASED, **local),
        Case("function_inside_function", "y = zoo.Net(h, W, b)", BIASED, returns=lambda w, f: [softmax(f[0])],
             **{**local, "functions": dense + '\n<domain: "zoo", opset_import: ["" : 17, "zoo" : 1]>\nNet (v, k, c) => (o) { s = zoo.Dense(v, k, c)\n o = Softmax(s) }'}),
        Case("function_softmax_behind", "f = Gemm(h, W, b)\n y = zoo.Last(f)", BIASED, returns=lambda w, f: [softmax(f[0])],
             **{**local, "functions": function + "Last (v) => (o) { o = Softmax(v) }"}),
        Case("if_before", "c = If(yes) <then_branch = t () => (float[N, 16] u) { u = Tanh(h) }, else_branch = e () => (float[N, 16] v) { v = Identity(h) }>\n"
             " y = Gemm(c, W, b)", lambda w: [(np.tanh(hidden(w)), np.tanh(hidden(w)) @ w["W"] + w["b"])], yes),
        Case("if_around", "y = If(yes) <then_branch = t () => (float[N, 5] u) { u = Gemm(h, W, b) }, else_branch = e () => (float[N, 5] v) { v = MatMul(h, W) }>",
             BIASED, yes, more={"notes": "The head is inside the branch that a constant chooses."}),
        Case("if_behind", "f = Gemm(h, W, b)\n y = If(yes) <then_branch = t () => (float[N, 5] u) { u = Softmax(f) }, else_branch = e () => (float[N, 5] v) { v = Identity(f) }>",
             BIASED, yes, lambda w, f: [softmax(f[0])]),
        Case("loop_before", "l = Loop(three, yes, h) <body = step (int64 i, bool go, float[N, 16] s) => (bool on, float[N, 16] r)\n"
             " { on = Identity(go)\n m = MatMul(s, S)\n r = Tanh(m) }>\n y = Gemm(l, W, b)", looped, square),
        Case("scan_before", sums + " b0 = ReduceSum <keepdims = 0> (h, one)\n z = Sub(b0, b0)\n"
             " last = Scan <num_scan_inputs = 1, scan_input_axes = [1], body = step (float[N, 16] s, float[N, 16] v) => (float[N, 16] r)\n"
             " { g = Mul(s, half)\n k = Add(g, v)\n r = Tanh(k) }> (z, h)\n y = Gemm(last, W, b)\n}", recurrent,
             lambda rng, w: {"one": np.array([1], np.int64), "half": np.array(0.5, np.float32)},
             inputs=lambda rng: {"x": rng.normal(size=(32, 6, 10)).astype(np.float32)}, whole=True),
    ]


def formats() -> list[Case]:
    """Number formats, integer inputs, several heads."""
    def typed(kind: type, word: str, name: str, rtol: float) -> Case:
        def arrays(rng: np.random.Generator, w: Weights) -> Weights:
            return {key: value.astype(kind) for key, value in w.items()}

        text = f"zoo ({word}[N, 10] x) => ({word}[N, 5] y) {{\n h0 = MatMul(x, A)\n h1 = Add(h0, a)\n h = Relu(h1)\n m = MatMul(h, W)\n y = Add(m, b)\n}}"
        more = {"rtol_features": rtol, "rtol_logits": rtol, "tolerance": word}
        return Case(name, text, BIASED, arrays, inputs=lambda rng: {"x": rng.normal(size=(32, 10)).astype(kind)}, whole=True, more=more)

    bytes_in = "zoo (uint8[N, 10] x) => (float[N, 5] y) {\n c = Cast <to = 1> (x)\n s = Sub(c, mean)\n d = Div(s, spread)\n h0 = MatMul(d, A)\n h1 = Add(h0, a)\n h = Relu(h1)\n"
    scaled = lambda w: {**w, "x": (w["x"] - 127.5) / 60.0}
    names = lambda rng, w: {"V": (rng.normal(size=(16, 2)) / 4).astype(np.float32), "c": rng.normal(size=2).astype(np.float32)}
    three = "zoo (float[N, 10] x) => (float[N, 5] y, float[N, 2] z, float[N, 1] q) {\n h0 = MatMul(x, A)\n h1 = Add(h0, a)\n h = Relu(h1)\n"
    last = lambda rng, w: names(rng, w) | {"U": (rng.normal(size=(16, 1)) / 4).astype(np.float32)}
    deep = lambda w: np.tanh(hidden(w))
    return [
        typed(np.float64, "double", "float64", 1e-12),
        typed(np.float16, "float16", "float16", 5e-3),
        Case("bytes_in", bytes_in + " y = Gemm(h, W, b)\n}", lambda w: BIASED(scaled(w)),
             lambda rng, w: {"mean": np.array(127.5, np.float32), "spread": np.array(60, np.float32)},
             inputs=lambda rng: {"x": rng.integers(0, 256, (32, 10)).astype(np.uint8)}, whole=True),
        Case("three_heads", three + " f = Gemm(h, W, b)\n y = Softmax(f)\n t = Tanh(h)\n z = Gemm(t, V, c)\n k = MatMul(t, U)\n q = Sigmoid(k)\n}",
             lambda w: [(hidden(w), hidden(w) @ w["W"] + w["b"]), (deep(w), deep(w) @ w["V"] + w["c"]), (deep(w), deep(w) @ w["U"])],
             last, lambda w, f: [softmax(f[0]), f[1], 1 / (1 + np.exp(-f[2]))], whole=True),
        Case("two_heads_joined", "f = Gemm(h, W, b)\n g = Gemm(h, V, c)\n y = Concat <axis = 1> (f, g)",
             lambda w: [(hidden(w), np.concatenate([hidden(w) @ w["W"] + w["b"], hidden(w) @ w["V"] + w["c"]], 1))], names,
             output="float[N, 7]",
             more={"notes": "Two heads of the same features, concatenated to one output: one head with both weights side by side."}),
    ]


def refused() -> list[Case]:
    """Models without a head, and traps."""
    nothing = {"returns": None}
    image = "zoo (float[N, 10, 3, 3] x) => "
    scales = image + "(float[N, 5, M] y) {\n c = Conv(x, Ak, a)\n h = Relu(c)\n f = Conv(h, Wk, b)\n p = MaxPool <kernel_shape = [3, 3]> (h)\n g = Conv(p, Wk2, b)\n" \
        " f2 = Reshape(f, flat)\n g2 = Reshape(g, flat)\n y = Concat <axis = 2> (f2, g2)\n}"
    second = lambda rng, w: kernels(rng, w) | {"Wk2": rng.normal(size=(5, 16, 1, 1)).astype(np.float32), "flat": np.array([0, 5, -1], np.int64)}
    wide = lambda rng, w: {"K1": rng.normal(size=(8, 10, 3, 3)).astype(np.float32), "K2": rng.normal(size=(5, 8, 3, 3)).astype(np.float32)}
    centres = lambda rng, w: {"C": rng.normal(size=(5, 16)).astype(np.float32), "half": np.array(0.5, np.float32)}
    trees = lambda rng, w: {"F": np.eye(10, dtype=np.float32)[:, :7], "cut": rng.normal(size=7).astype(np.float32) / 2,
                            "path": rng.integers(-1, 2, (7, 8)).astype(np.float32), "hits": rng.integers(0, 3, 8).astype(np.float32),
                            "leaf": rng.normal(size=(8, 5)).astype(np.float32)}
    gates = lambda rng, w: {"V": rng.normal(size=(16, 5)).astype(np.float32), "U": rng.normal(size=(16, 1)).astype(np.float32)}
    hyper = lambda rng, w: {"V": rng.normal(size=(16, 80)).astype(np.float32), "mat": np.array([-1, 16, 5], np.int64),
                            "row": np.array([-1, 1, 16], np.int64), "out": np.array([-1, 5], np.int64)}
    table = lambda rng, w: {"T": rng.normal(size=(11, 5)).astype(np.float32)}
    ids = lambda rng: {"x": rng.integers(0, 11, 32).astype(np.int64)}
    distance = "q = ReduceSumSquare <axes = [1]> (h)\n m = Gemm <alpha = -2.0, transB = 1> (h, C)\n s = Mul(C, C)\n r = ReduceSum <keepdims = 0> (s, one)\n k = Add(m, r)\n"
    one = lambda rng, w: centres(rng, w) | {"one": np.array([1], np.int64)}
    return [
        Case("detector_two_scales", scales, None, second, inputs=maps, whole=True, **nothing),
        Case("convolutions_only", image + "(float[N, 5, 1, 1] y) {\n c = Conv <pads = [1, 1, 1, 1]> (x, K1)\n h = Relu(c)\n f = Conv <pads = [1, 1, 1, 1]> (h, K2)\n y = GlobalMaxPool(f)\n}",
             None, wide, inputs=maps, whole=True, more={"notes": "Ends in a 3×3 convolution."}, **nothing),
        Case("kmeans_distances", distance + " y = Add(k, q)", None, one, more={"notes": "Distances to centres, with a Gemm inside."}, **nothing),
        Case("kmeans_labels", distance + " d = Add(k, q)\n y = ArgMin <axis = 1, keepdims = 0> (d)", None, one, output="int64[N]", **nothing),
        Case("radial_basis", "q = ReduceSumSquare <axes = [1]> (h)\n m = Gemm <alpha = -2.0, transB = 1> (h, C)\n k = Add(m, q)\n n = Neg(k)\n y = Exp(n)", None, centres, **nothing),
        Case("trees_as_gemm", "zoo (float[N, 10] x) => (float[N, 5] y) {\n v = MatMul(x, F)\n l = Less(v, cut)\n d = Cast <to = 1> (l)\n p = MatMul(d, path)\n"
             " e = Equal(p, hits)\n g = Cast <to = 1> (e)\n y = MatMul(g, leaf)\n}", None, trees, whole=True,
             more={"notes": "A tree ensemble compiled to products: the last one looks up leaves by comparisons."}, **nothing),
        Case("gated_experts", "f = MatMul(h, W)\n g = MatMul(h, V)\n u = MatMul(h, U)\n s = Sigmoid(u)\n k = Mul(f, s)\n y = Add(k, g)", None, gates,
             more={"notes": "A sum of two linear maps, one times a computed gate."}, **nothing),
        Case("hypernetwork", "w = MatMul(h, V)\n k = Reshape(w, mat)\n r = Reshape(h, row)\n m = MatMul(r, k)\n y = Reshape(m, out)", None, hyper,
             more={"notes": "The last weights are computed from the input."}, **nothing),
        Case("product_of_two", "f = MatMul(h, W)\n g = MatMul(h, V)\n y = Mul(f, g)", None, gates, **nothing),
        Case("table_lookup", "zoo (int64[N] x) => (float[N, 5] y) {\n y = Gather(T, x)\n}", None, table, inputs=ids, whole=True, **nothing),
        Case("no_weights", "zoo (float[N, 10] x) => (float[N, 10] y) {\n y = Softmax(x)\n}", None, whole=True, **nothing),
    ]


GROUPS = (positions, control, formats, refused)
