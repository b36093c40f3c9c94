"""A naive float64 oracle: the definitions of the literature, by n × n matrices and loops. Imports no onnxrich.

Sources: Nam et al. 2026 (arXiv 2410.04264) for D_LR and the curves, Papyan, Han & Donoho 2020 for NC1, Roy & Vetterli
2007 for the effective rank.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def centering(n: int) -> Array:
    """H = I − 11ᵀ/n."""
    return np.eye(n) - np.ones((n, n)) / n


def projector(functions: Array, tolerance: float) -> tuple[Array, int]:
    """The n × n orthogonal projector onto the span of the columns, and its rank."""
    u, s, _ = np.linalg.svd(functions, full_matrices=False)
    keep = s > tolerance * s[0] if s.size and s[0] > 0 else np.zeros(len(s), bool)
    return u[:, keep] @ u[:, keep].T, int(keep.sum())


def cka_distance(kernel: Array, other: Array) -> float:
    """1 − CKA of two n × n kernels."""
    H = centering(len(kernel))
    a, b = H @ kernel @ H, H @ other @ H
    return float(1 - np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def d_lr(features: Array, outputs: Array, tolerance: float = 1e-6) -> float:
    """D_LR = 1 − CKA(K, T_MP), T_MP = a₁11ᵀ + a₂P; a₁ = 3 and a₂ = 2 here, for neither may matter."""
    P, _ = projector(outputs, tolerance)
    n = len(features)
    return cka_distance(features @ features.T, 3 * np.ones((n, n)) / n + 2 * P)


def d_lr_centered(features: Array, outputs: Array, tolerance: float = 1e-6) -> float:
    """The same with the projector onto the span of the centred outputs."""
    H = centering(len(features))
    P, _ = projector(H @ outputs, tolerance)
    return cka_distance(features @ features.T, P)


def utilized_variance(features: Array, outputs: Array, tolerance: float = 1e-6) -> float:
    """tr(PT)/tr(T), T the centred kernel, P the projector onto the centred outputs."""
    H = centering(len(features))
    P, _ = projector(H @ outputs, tolerance)
    T = H @ features @ features.T @ H
    return float(np.trace(P @ T) / np.trace(T))


def curves(features: Array, functions: Array, tolerance: float = 1e-6) -> dict[str, Array]:
    """Intensity, and the two cumulative curves of a set of functions, from eigenvectors of the n × n kernel."""
    n, p = features.shape
    values, vectors = np.linalg.eigh(features @ features.T / n)
    order = np.argsort(values)[::-1][:p]
    rho, e = values[order], vectors[:, order]  # the columns of e have norm one in the plain inner product
    P, rank = projector(functions, tolerance)
    share = [float(np.sum((P @ e[:, k]) ** 2)) / rank for k in range(len(rho))]
    energy = []
    for k in range(len(rho)):
        of_each = [(e[:, k] @ g) ** 2 / (g @ g) for g in functions.T if g @ g > 0]
        energy.append(np.mean(of_each))
    return {"intensity": rho / rho[0], "span": np.cumsum(share), "variance": np.cumsum(energy), "rho": rho}


def nc1(features: Array, labels: Array) -> float:
    """tr(Σ_W Σ_B⁺)/K by loops over classes."""
    classes = np.unique(labels)
    mean = features.mean(axis=0)
    p = features.shape[1]
    within, between = np.zeros((p, p)), np.zeros((p, p))
    for c in classes:
        rows = features[labels == c]
        center = rows.mean(axis=0)
        between += np.outer(center - mean, center - mean) / len(classes)
        for row in rows:
            within += np.outer(row - center, row - center) / len(features)
    return float(np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / len(classes))


def spectrum(features: Array) -> dict[str, float]:
    """Effective rank, participation ratio and stable rank from the singular values of the centred features."""
    s = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    s = s[s > 1e-10 * s[0]]
    share = s / s.sum()
    return {
        "effective_rank": float(np.exp(-np.sum(share * np.log(share)))),
        "participation_ratio": float(np.sum(s**2) ** 2 / np.sum(s**4)),
        "stable_rank": float(np.sum(s**2) / s[0] ** 2),
    }


def collapse(features: Array, labels: Array, weight: Array) -> dict[str, float]:
    """NC1 without /K, NC2 and NC3 of Papyan, Han & Donoho 2020, and of Zhu et al. 2021, by loops over classes."""
    classes = np.unique(labels)
    K = len(classes)
    means = np.array([features[labels == c].mean(axis=0) - features.mean(axis=0) for c in classes])
    norms = [np.sqrt(mean @ mean) for mean in means]
    cosines = [means[i] @ means[j] / norms[i] / norms[j] for i in range(K) for j in range(i)]
    simplex = (np.eye(K) - np.ones((K, K)) / K) / np.sqrt(K - 1)
    gram, product = weight @ weight.T, weight @ means.T
    return {
        "nc1_unscaled": nc1(features, labels) * K,
        "nc2_equinorm": float(np.std(norms) / np.mean(norms)),
        "nc2_equiangle": float(np.mean([abs(cosine + 1 / (K - 1)) for cosine in cosines])),
        "nc2_angle_spread": float(np.std(cosines)),
        "nc3": float(np.linalg.norm(weight / np.linalg.norm(weight) - means / np.linalg.norm(means))),
        "nc2_zhu": float(np.linalg.norm(gram / np.linalg.norm(gram) - simplex)),
        "nc3_zhu": float(np.linalg.norm(product / np.linalg.norm(product) - simplex)),
    }


def cka(features: Array, functions: Array) -> float:
    """Linear CKA by n × n kernels."""
    return 1 - cka_distance(features @ features.T, functions @ functions.T)


def rankme(features: Array) -> float:
    """exp of the entropy of the singular values of the features as they are, mean and all (Garrido et al. 2023)."""
    s = np.linalg.svd(features, compute_uv=False)
    share = s[s > 1e-10 * s[0]] / s.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def alpha_req(features: Array) -> float:
    """Slope of log λ_i against log i over ranks 11 to 50, weights 1/i, by weighted least squares."""
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    ranks = np.arange(11, min(50, len(values)) + 1)
    return float(-np.polyfit(np.log(ranks), np.log(values[ranks - 1]), 1, w=1 / np.sqrt(ranks))[0])


def r_squared(features: Array, targets: Array) -> float:
    """1 − residual/total of all targets in least squares on the features and a constant."""
    design = np.column_stack([features, np.ones(len(features))])
    residual = targets - design @ np.linalg.lstsq(design, targets, rcond=None)[0]
    return float(1 - np.sum(residual**2) / np.sum((targets - targets.mean(axis=0)) ** 2))


def unbiased_squared_covariance(x: Array, y: Array, owners: Array) -> float:
    """‖Cov(x, y)‖² from products of rows of different blocks alone: n × n kernels, and all tuples of blocks.

    Args:
        x: rows, float64 array of shape (n, p).
        y: rows, float64 array of shape (n, q).
        owners: number of each row's block from 0, int array of shape (n,).
    """
    member = np.eye(owners.max() + 1)[owners]
    numbers = np.arange(member.shape[1])
    n, left, right = member.sum(axis=0), member.T @ x @ x.T @ member, member.T @ y @ y.T @ member
    chain = np.einsum("ib,ij,jc,jk,kd->bcd", member, x @ x.T, member, y @ y.T, member, optimize=True)
    b, c, d, e = np.meshgrid(numbers, numbers, numbers, numbers, indexing="ij", sparse=True)
    four = (b != c) & (b != d) & (b != e) & (c != d) & (c != e) & (d != e)
    three, two = four.any(axis=3), four.any(axis=(2, 3))
    pairs = member.T @ (x @ x.T * (y @ y.T)) @ member
    first = np.sum(pairs * two) / np.sum(np.outer(n, n) * two)
    second = np.sum(chain * three) / np.einsum("b,c,d,bcd->", n, n, n, three)
    third = np.einsum("bc,de,bcde->", left, right, four) / np.einsum("b,c,d,e,bcde->", n, n, n, n, four)
    return float(first - 2 * second + third)
