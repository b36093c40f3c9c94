"""Texts of heads: products of every kind, weights behind every chain, and what may stand behind a head."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from _text_case import Case, Weights, hidden, linear, softmax

BIASED = linear()
BARE = linear(lambda w: (w["W"], 0.0))
CONTRIB = ', "com.microsoft" : 1'


def products() -> list[Case]:
    """Gemm, MatMul and Einsum in all their forms."""
    column = lambda rng, w: {"column": w["b"].reshape(5, 1)}
    one = lambda rng, w: {"one": np.array([1], np.int64), "two": np.array([2], np.int64)} | column(rng, w)
    scale = lambda rng, w: {"scale": rng.uniform(0.5, 2, 5).astype(np.float32)}
    return [
        Case("gemm", "y = Gemm(h, W, b)", BIASED),
        Case("gemm_trans_b", "y = Gemm <transB = 1> (h, Wt, b)", BIASED, opset=13),
        Case("gemm_trans_a", "t = Transpose <perm = [1, 0]> (h)\n y = Gemm <transA = 1> (t, W, b)", BIASED),
        Case("gemm_alpha_beta", "y = Gemm <alpha = 0.5, beta = 2.0, transB = 1> (h, Wt, b)", linear(lambda w: (w["W"] / 2, 2 * w["b"]))),
        Case("gemm_without_bias", "y = Gemm <alpha = 3.0> (h, W)", linear(lambda w: (3 * w["W"], 0.0))),
        Case("gemm_scalar_bias", "y = Gemm(h, W, s)", linear(lambda w: (w["W"], w["s"])), lambda rng, w: {"s": np.array(0.7, np.float32)}),
        Case("gemm_row_bias", "y = Gemm(h, W, row)", BIASED, lambda rng, w: {"row": w["b"].reshape(1, 5)}),
        Case("gemm_weight_left", "l = Gemm <transB = 1> (Wt, h, column)\n y = Transpose(l)", BIASED, column),
        Case("matmul", "y = MatMul(h, W)", BARE),
        Case("matmul_add", "m = MatMul(h, W)\n y = Add(m, b)", BIASED),
        Case("matmul_bias_first", "m = MatMul(h, W)\n y = Add(b, m)", BIASED),
        Case("matmul_sub", "m = MatMul(h, W)\n y = Sub(m, b)", linear(lambda w: (w["W"], -w["b"]))),
        Case("matmul_sub_from", "m = MatMul(h, W)\n y = Sub(b, m)", linear(lambda w: (-w["W"], w["b"]))),
        Case("matmul_mul_add", "m = MatMul(h, W)\n k = Mul(m, scale)\n y = Add(k, b)", linear(lambda w: (w["W"] * w["scale"], w["b"])), scale),
        Case("matmul_add_mul", "m = MatMul(h, W)\n k = Add(m, b)\n y = Mul(scale, k)",
             linear(lambda w: (w["W"] * w["scale"], w["b"] * w["scale"])), scale,
             more={"notes": "The scale of each output is counted to the head."}),
        Case("matmul_div", "m = MatMul(h, W)\n k = Div(m, scale)\n y = Add(k, b)", linear(lambda w: (w["W"] / w["scale"], w["b"])), scale),
        Case("matmul_two_biases", "m = MatMul(h, W)\n k = Add(m, b)\n y = Sub(k, scale)", linear(lambda w: (w["W"], w["b"] - w["scale"])), scale),
        Case("matmul_weight_left", "t = Transpose(h)\n m = MatMul(Wt, t)\n k = Add(m, column)\n y = Transpose(k)", BIASED, column),
        Case("matmul_vector_batch", "u = Unsqueeze(h, two)\n m = MatMul(Wt, u)\n k = Add(m, column)\n y = Squeeze(k, two)", BIASED, one),
        Case("matmul_row_batch", "u = Unsqueeze(h, one)\n m = MatMul(u, W)\n k = Squeeze(m, one)\n y = Add(k, b)", BIASED, one),
        Case("einsum", 'm = Einsum <equation = "np,pc->nc"> (h, W)\n y = Add(m, b)', BIASED),
        Case("einsum_weight_first", 'm = Einsum <equation = "cp, np -> nc"> (Wt, h)\n y = Add(m, b)', BIASED),
        Case("einsum_implicit", 'y = Einsum <equation = "ij,jk"> (h, W)', BARE, opset=12),
        Case("einsum_turned", 'm = Einsum <equation = "np,pc->cn"> (h, W)\n t = Transpose(m)\n y = Add(t, b)', BIASED),
        Case("fused_matmul", "m = com.microsoft.FusedMatMul <transB = 1, alpha = 0.5> (h, Wt)\n y = Add(m, b)",
             linear(lambda w: (w["W"] / 2, w["b"])), domains=CONTRIB),
        Case("fused_gemm", 'y = com.microsoft.FusedGemm <activation = "Sigmoid", transB = 1> (h, Wt, b)', BIASED, domains=CONTRIB,
             returns=lambda w, f: [1 / (1 + np.exp(-f[0]))], more={"notes": "No tensor holds the logits."}),
        Case("conv_on_vector", "s = Shape(h)\n ones = Constant <value = int64[2] {1, 1}> ()\n t = Concat <axis = 0> (s, ones)\n u = Reshape(h, t)\n"
             " m = Conv <kernel_shape = [1, 1]> (u, K, b)\n y = Flatten <axis = 1> (m)", BIASED, lambda rng, w: {"K": w["Wt"].reshape(5, 16, 1, 1)}),
    ]


def chains() -> list[Case]:
    """Weights that are computed from constants."""
    def q8(rng: np.random.Generator, w: Weights) -> Weights:
        return {"Q": rng.integers(-127, 128, (16, 5)).astype(np.int8), "step": np.array(0.004, np.float32), "zero": np.array(3, np.int8),
                "steps": rng.uniform(0.002, 0.006, 5).astype(np.float32), "zeros": rng.integers(-9, 9, 5).astype(np.int8)}

    def qt(rng: np.random.Generator, w: Weights) -> Weights:
        more = q8(rng, w)
        return more | {"Qt": np.ascontiguousarray(more["Q"].T)}

    lift = lambda kind: lambda rng, w: {"V": w["W"].astype(kind)}
    flat = lambda rng, w: {"V": w["W"].ravel(), "shape": np.array([16, 5], np.int64)}
    order = lambda rng, w: {"order": rng.permutation(16).astype(np.int64)}
    halves = lambda rng, w: {"top": w["W"][:7].copy(), "low": w["W"][7:].copy()}
    pruned = lambda rng, w: {"keep": (rng.random((16, 5)) < 0.5).astype(np.float32)}
    thin = lambda rng, w: {"Z": w["W"] * (rng.random((16, 5)) < 0.3)}
    add = "\n y = Add(m, b)"
    step = "y = Gemm(h, V, b)"
    return [
        Case("weight_transpose", "V = Transpose <perm = [1, 0]> (Wt)\n m = MatMul(h, V)" + add, BIASED),
        Case("weight_cast_double", "D = Cast <to = 1> (V)\n m = MatMul(h, D)" + add, BIASED, lift(np.float64)),
        Case("weight_cast_half", "D = Cast <to = 1> (V)\n m = MatMul(h, D)" + add, linear(lambda w: (w["V"], w["b"])), lift(np.float16)),
        Case("weight_reshape", "D = Reshape(V, shape)\n m = MatMul(h, D)" + add, BIASED, flat),
        Case("weight_squeeze", "V = Squeeze(D)\n m = MatMul(h, V)" + add, BIASED, lambda rng, w: {"D": w["W"].reshape(1, 16, 5)}),
        Case("weight_identity", "V = Identity(W)\n c = Identity(b)\n y = Gemm(h, V, c)", BIASED),
        Case("weight_long_chain", "T = Transpose(V)\n D = Cast <to = 1> (T)\n I = Identity(D)\n m = MatMul(h, I)" + add,
             BIASED, lambda rng, w: {"V": w["Wt"].astype(np.float64)}),
        Case("weight_of_shape", "V = ConstantOfShape <value = float[1] {0.25}> (shape)\n m = MatMul(h, V)\n y = Add(m, s)",
             linear(lambda w: (np.full((16, 1), 0.25), w["s"])), lambda rng, w: {"shape": np.array([16, 1], np.int64), "s": np.ones(1, np.float32)},
             output="float[N, 1]"),
        Case("bias_of_shape", "c = ConstantOfShape <value = float[1] {0.5}> (shape)\n y = Gemm(h, W, c)", linear(lambda w: (w["W"], 0.5)),
             lambda rng, w: {"shape": np.array([5], np.int64)}),
        Case("weight_concat", "V = Concat <axis = 0> (top, low)\n " + step, BIASED, halves),
        Case("weight_gather", "V = Gather(W, order)\n " + step, linear(lambda w: (w["W"][w["order"].astype(int)], w["b"])), order),
        Case("weight_mask", "V = Mul(W, keep)\n " + step, linear(lambda w: (w["W"] * w["keep"], w["b"])), pruned),
        Case("weight_norm", "l = ReduceL2 <axes = [0]> (W)\n u = Div(W, l)\n V = Mul(u, b)\n m = MatMul(h, V)" + add,
             linear(lambda w: (w["W"] / np.linalg.norm(w["W"], axis=0) * w["b"], w["b"]))),
        Case("weight_quantised", "V = DequantizeLinear(Q, step, zero)\n m = MatMul(h, V)" + add,
             linear(lambda w: ((w["Q"] - 3.0) * w["step"], w["b"])), q8),
        Case("weight_quantised_columns", "V = DequantizeLinear <axis = 1> (Q, steps, zeros)\n m = MatMul(h, V)" + add,
             linear(lambda w: ((w["Q"] - w["zeros"].astype(float)) * w["steps"], w["b"])), q8),
        Case("weight_quantised_turned", "D = DequantizeLinear <axis = 0> (Qt, steps, zeros)\n V = Transpose(D)\n " + step,
             linear(lambda w: ((w["Q"] - w["zeros"].astype(float)) * w["steps"], w["b"])), qt),
        Case("weight_sparse", "m = MatMul(h, Z)" + add, linear(lambda w: (w["Z"], w["b"])), thin, sparse=("Z",)),
        Case("weight_constant_node", "V = Constant <value = float[16, 1] {0.5, -0.25, 1.5, -2, 0.75, 0.1, -0.6, 0.9, 1.1, -1.3, 0.2, 0.3, -0.4, 0.8, -0.7, 0.05}> ()\n"
             " m = MatMul(h, V)\n c = Constant <value_floats = [0.5]> ()\n y = Add(m, c)", linear(lambda w: (CONSTANT, 0.5)), output="float[N, 1]"),
    ]


CONSTANT = np.array([[0.5, -0.25, 1.5, -2, 0.75, 0.1, -0.6, 0.9, 1.1, -1.3, 0.2, 0.3, -0.4, 0.8, -0.7, 0.05]]).T


def endings() -> list[Case]:
    """What stands behind the head."""
    head = "f = Gemm(h, W, b)\n "
    probabilities: Callable[[Weights, list[np.ndarray]], list[np.ndarray | None]] = lambda w, f: [softmax(f[0])]
    two = lambda rng, w: {"V": w["W"][:, :1].copy(), "c": w["b"][:1].copy(), "one": np.ones(1, np.float32)}
    logistic = lambda f: 1 / (1 + np.exp(-f))
    word = "zoo (float[N, 10] x) => (string[N] word, float[N, 5] y) {\n h0 = MatMul(x, A)\n h1 = Add(h0, a)\n h = Relu(h1)\n"
    return [
        Case("softmax_decomposed", head + "t = ReduceMax <axes = [1]> (f)\n s = Sub(f, t)\n e = Exp(s)\n z = ReduceSum(e, one)\n y = Div(e, z)",
             BIASED, lambda rng, w: {"one": np.array([1], np.int64)}, probabilities),
        Case("softmax_short", head + "e = Exp(f)\n z = ReduceSum(e, one)\n r = Reciprocal(z)\n y = Mul(e, r)",
             BIASED, lambda rng, w: {"one": np.array([1], np.int64)}, probabilities),
        Case("log_softmax_decomposed", head + "z = ReduceLogSumExp <axes = [1]> (f)\n y = Sub(f, z)", BIASED,
             returns=lambda w, f: [np.log(softmax(f[0]))]),
        Case("softmax_opset_7", head + "d = Dropout <ratio = 0.3> (f)\n y = Softmax <axis = 1> (d)", BIASED, returns=probabilities, opset=7, ir=4),
        Case("softmax_opset_26", head + "y = Softmax(f)", BIASED, returns=probabilities, opset=26, ir=10),
        Case("softmax_transposed", head + "t = Transpose(f)\n s = Softmax <axis = 0> (t)\n y = Transpose(s)", BIASED, returns=probabilities),
        Case("binary_two_columns", "f = Gemm(h, V, c)\n q = Sigmoid(f)\n n = Sub(one, q)\n y = Concat <axis = 1> (n, q)",
             linear(lambda w: (w["V"], w["c"])), two, lambda w, f: [np.concatenate([1 - logistic(f[0]), logistic(f[0])], 1)], output="float[N, 2]"),
        Case("hard_sigmoid", head + "y = HardSigmoid <alpha = 0.2, beta = 0.5> (f)", BIASED, returns=lambda w, f: [np.clip(0.2 * f[0] + 0.5, 0, 1)]),
        Case("threshold", head + "q = Sigmoid(f)\n g = Greater(q, half)\n y = Cast <to = 1> (g)", BIASED,
             lambda rng, w: {"half": np.array(0.5, np.float32)}, lambda w, f: [(f[0] > 0).astype(np.float32)]),
        Case("argmax_one_hot", head + "k = ArgMax <axis = 1, keepdims = 0> (f)\n y = OneHot(k, depth, ends)", BIASED,
             lambda rng, w: {"depth": np.array(5, np.int64), "ends": np.array([0, 1], np.float32)}, lambda w, f: [np.eye(5)[f[0].argmax(1)]]),
        Case("unit_length", head + "y = LpNormalization <axis = 1, p = 2> (f)", BIASED,
             returns=lambda w, f: [f[0] / np.linalg.norm(f[0], axis=1, keepdims=True)]),
        Case("temperature", head + "d = Div(f, heat)\n y = Softmax(d)", BIASED, lambda rng, w: {"heat": np.array(1.7, np.float32)},
             lambda w, f: [softmax(f[0] / 1.7)], more={"scale_after": 1 / 1.7}),
        Case("zipmap", head + "s = Softmax(f)\n y = ai.onnx.ml.ZipMap <classlabels_int64s = [0, 1, 2, 3, 4]> (s)", BIASED,
             returns=None, output="seq(map(int64, float))", domains=', "ai.onnx.ml" : 3', opset=15),
        Case("label_encoder", word + head + "k = ArgMax <axis = 1, keepdims = 0> (f)\n y = Softmax(f)\n"
             ' word = ai.onnx.ml.LabelEncoder <keys_int64s = [0, 1, 2, 3, 4], values_strings = ["a", "b", "c", "d", "e"]> (k)\n}',
             BIASED, whole=True, returns=lambda w, f: [None, softmax(f[0])], domains=', "ai.onnx.ml" : 3'),
        Case("features_and_scores", "y = Identity(h)\n z = Gemm(h, W, b)", lambda w: [(hidden(w), hidden(w) @ w["W"] + w["b"])],
             returns=lambda w, f: [f[0], hidden(w)], output="float[N, 5] z, float[N, 16]"),
    ]


GROUPS = (products, chains, endings)
