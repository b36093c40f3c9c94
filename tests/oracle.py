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
    share = [float(np.sum((P @ e[:, k]) ** 2)) / rank for k in range(p)]
    energy = []
    for k in range(p):
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
