"""Coverage of the 95 % intervals, and bias of D_LR: `python benchmarks/intervals.py [--repeats 300]`.

Each repeat draws new rows of a synthetic model whose population is known, cuts them into 16 blocks, and asks for every
interval. It covers when it holds the mean of the metric over all repeats (its expectation for so many rows); that of
`d_lr_debiased` when it holds D_LR of the population. Prints one table a model; no test, no timing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from onnxrich.metrics.base import Sample
from onnxrich.metrics.jackknife import Interval, estimate
from onnxrich.metrics.registry import evaluate, select
from onnxrich.moments.matrix import Moments

BLOCKS = 16
Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Case:
    """A synthetic model: how its rows are drawn, how many at a time, and D_LR of its population."""

    name: str
    draw: Draw
    n: int
    d_lr: float


def gaussian(name: str, spectrum: np.ndarray, C: int, n: int) -> Case:
    """Gaussian features of a spectrum; outputs read C of their directions, and targets are noisy classes of these."""
    p = len(spectrum)
    directions = np.linalg.qr(np.random.default_rng(1).standard_normal((p, C)))[0]
    cross = spectrum[:, None] * directions

    def draw(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        features = rng.standard_normal((rows, p)) * np.sqrt(spectrum)
        outputs = features @ directions
        scale = np.sqrt(np.mean(spectrum))
        classes = (outputs + scale * rng.standard_normal(outputs.shape)).argmax(axis=1)
        return features, outputs, classes

    inverse = np.linalg.inv(directions.T @ cross)
    numerator = np.trace(cross @ inverse @ cross.T)
    return Case(name, draw, n, float(1 - numerator / np.linalg.norm(spectrum) / np.sqrt(C)))


def mixture(name: str, spread: float, p: int, C: int, n: int) -> Case:
    """Classes around means of their own, outputs linear in the features with a bias, features with a mean."""
    rng = np.random.default_rng(2)
    means, weight = rng.standard_normal((C, p)), rng.standard_normal((C, p)) / np.sqrt(p)

    def draw(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        classes = rng.integers(0, C, rows)
        features = means[classes] + spread * rng.standard_normal((rows, p)) + 0.5
        return features, (features - means.mean(axis=0)) @ (weight + means).T + 0.3, classes

    # D_LR of the population from its moments: rows are classes with equal odds, and isotropic noise.
    mean = means.mean(axis=0)
    covariance = (means - mean).T @ (means - mean) / C + spread**2 * np.eye(p)
    reading = weight + means
    offset = reading @ np.full(p, 0.5) + 0.3
    second = reading @ covariance @ reading.T + np.outer(offset, offset)
    cross = covariance @ reading.T
    inverse = np.linalg.inv(second)
    own = reading @ covariance @ reading.T @ inverse
    scale = np.sqrt(np.trace(own @ own))
    return Case(name, draw, n, float(1 - np.trace(cross @ inverse @ cross.T) / np.linalg.norm(covariance) / scale))


CASES = [
    gaussian("isotropic, p = 64, C = 5", np.ones(64), 5, 1280),
    gaussian("power law, p = 128, C = 10", np.arange(1, 129) ** -1.0, 10, 1280),
    gaussian("few rows: isotropic, p = 256, C = 10", np.ones(256), 10, 512),
    mixture("rich mixture, p = 64, C = 8", 0.3, 64, 8, 1000),
    mixture("lazy mixture, p = 64, C = 8", 1.5, 64, 8, 1000),
]


def blocks(rows: tuple[np.ndarray, np.ndarray, np.ndarray], weights: np.ndarray) -> list[Moments]:
    """Moments of consecutive blocks of unequal size."""
    cuts = np.round(np.cumsum(weights / weights.sum()) * len(rows[0])).astype(int)[:-1]
    parts = zip(*(np.split(each, cuts) for each in rows), strict=True)
    K = rows[1].shape[1]
    return [Moments.from_rows(*part) if part[2].max() < K else Moments.empty(1, 1) for part in parts]


def study(case: Case, repeats: int, names: tuple[str, ...]) -> dict[str, tuple[float, float, float, float]]:
    """By metric: its mean, its standard deviation, the mean jackknife error, and the share of intervals that cover."""
    values: dict[str, list[float]] = {name: [] for name in names}
    intervals: dict[str, list[Interval]] = {name: [] for name in names}
    sizes = np.linspace(0.7, 1.3, BLOCKS)
    for repeat in range(repeats):
        parts = blocks(case.draw(np.random.default_rng(1000 + repeat), case.n), sizes)
        sample = Sample.from_moments(reduce(Moments.merge, parts), parts)
        found, _ = evaluate(sample, names)
        errors = estimate(sample, names)
        assert errors is not None
        for name, interval in errors.intervals.items():
            value = found[name]
            assert value is not None
            values[name].append(value)
            intervals[name].append(interval)
    table = {}
    for name in names:
        if values[name]:
            truth = case.d_lr if name == "d_lr_debiased" else float(np.mean(values[name]))
            covers = np.mean([interval.low <= truth <= interval.high for interval in intervals[name]])
            error = float(np.mean([interval.error for interval in intervals[name]]))
            table[name] = (float(np.mean(values[name])), float(np.std(values[name])), error, float(covers))
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    names = select(["all"])
    for case in CASES:
        print(f"\n{case.name}, n = {case.n}, D_LR of the population {case.d_lr:.4f}, {repeats} repeats")
        print(f"{'metric':26}{'mean':>10}{'std':>10}{'jackknife':>11}{'coverage':>10}")
        for name, (mean, std, error, covers) in study(case, repeats, names).items():
            print(f"{name:26}{mean:10.4f}{std:10.4f}{error:11.4f}{100 * covers:9.1f}%", flush=True)


if __name__ == "__main__":
    main()
