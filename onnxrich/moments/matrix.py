"""The moment matrix: the one sufficient statistic from which every number of a model follows.

Shapes are named once, here, for the whole package: n rows, p features, C outputs, K targets, d = 1 + p + C + K.
"""

from __future__ import annotations

import contextlib
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, combinations_with_replacement, pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxrich.errors import DataError
from onnxrich.moments.precision import EPS, GRAM_FLOOR
from onnxrich.moments.targets import TargetKind, finite_table, one_hot

Array = NDArray[np.float64]


def from_tiles(tiles: Sequence[Array]) -> Array:
    """The symmetric matrix of which the tiles on and above the diagonal are given, row by row."""
    count = (math.isqrt(8 * len(tiles) + 1) - 1) // 2
    edges = np.cumsum([0, *(tile.shape[1] for tile in tiles[:count])]).tolist()
    matrix = np.empty((edges[-1], edges[-1]))
    sides = [slice(start, stop) for start, stop in pairwise(edges)]
    for tile, (rows, columns) in zip(tiles, combinations_with_replacement(sides, 2), strict=True):
        if rows == columns:
            matrix[rows, columns] = np.triu(tile) + np.triu(tile, 1).T
        else:
            matrix[rows, columns], matrix[columns, rows] = tile, tile.T
    return matrix


def with_outputs(matrix: Array, weight: Array) -> Array:
    """The moment matrix of z = [1, φ, f, y] from that of [1, φ, y], for outputs f = Wφ about the shift W·(that of φ).

    Args:
        matrix: float64 array of shape (1 + p + K, 1 + p + K).
        weight: W, float64 array of shape (C, p).
    """
    C, p = weight.shape
    f, y = slice(1 + p, 1 + p + C), slice(1 + p + C, None)
    across = matrix[:, 1 : 1 + p] @ weight.T
    whole = np.empty((len(matrix) + C,) * 2)
    whole[: 1 + p, : 1 + p], whole[: 1 + p, y] = matrix[: 1 + p, : 1 + p], matrix[: 1 + p, 1 + p :]
    whole[y, : 1 + p], whole[y, y] = matrix[1 + p :, : 1 + p], matrix[1 + p :, 1 + p :]
    whole[: 1 + p, f], whole[y, f] = across[: 1 + p], across[1 + p :]
    whole[f, : 1 + p], whole[f, y] = across[: 1 + p].T, across[1 + p :].T
    own = weight @ across[1 : 1 + p]
    whole[f, f] = (own + own.T) / 2
    return whole


# What is summed over the rows of a classifier beside second moments: rows whose largest output is that of their class,
# and the cross-entropy log Σ exp f − f_class in nats. A single output is the logit of the second of two classes.
TALLIES = ("correct", "cross_entropy")


def tallied(f: Array, y: Array, weights: ArrayLike | None) -> dict[str, float]:
    """The sums of `TALLIES` of some rows: outputs of shape (n, C), one-hot classes of shape (n, K)."""
    scores = f if f.shape[1] > 1 else np.hstack([np.zeros_like(f), f])
    hits = scores.argmax(axis=1) == y.argmax(axis=1)
    highest = scores.max(axis=1, initial=-np.inf)
    losses = highest + np.log(np.exp(scores - highest[:, None]).sum(axis=1)) - (scores * y).sum(axis=1)
    scale = np.ones(len(f)) if weights is None else np.asarray(weights, dtype=np.float64)
    return dict(zip(TALLIES, (float((hits * scale).sum()), float((losses * scale).sum())), strict=True))


BlockName = Literal["one", "features", "outputs", "targets"]

SCHEMA = "onnxrich.moments/1"
# Key of the metadata in which an instrumented model says how its accumulators are read.
METADATA = "onnxrich.moments"


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of the rows z = [1, features, outputs, targets] about a fixed shift.

    Laws: `merge` is associative and commutative, `empty` is its identity, and the moments of a data set do not depend
    on how its rows are ordered or cut into batches; each up to rounding (some 1e-16 of the largest entry).

    Raw second moments lose log10(mean²/variance) digits, so the sums run around a pilot shift, usually the mean of the
    first rows (Chan, Golub & LeVeque 1983, section 3); `raw` and `centered` take it out again.
    Cost: memory O(d²), and O(n·d²) time to accumulate. Rows themselves are never kept.

    Attributes:
        matrix: float64 array of shape (d, d), Σ w (z − shift)(z − shift)ᵀ.
        shift: float64 array of shape (d,); its first entry is 0.
        p: number of features.
        C: number of outputs.
        K: number of targets, 0 without labels.
        targets: "classes" when targets are one-hot, "values" when they are real, None without labels.
        dtype: name of the arithmetic the head computed in; decides what counts as rounding noise.
        residual: relative residual of the check that the outputs are affine in the features.
        tallies: sums over the rows of numbers that are no second moments, by name, as in `onnxrich.tallies`; empty
            where outputs and classes don't correspond.
    """

    matrix: Array
    shift: Array
    p: int
    C: int
    K: int = 0
    targets: TargetKind | None = None
    dtype: str = "float64"
    residual: float = 0.0
    tallies: Mapping[str, float] = field(default_factory=dict)
    _slices: Mapping[str, slice] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        d = 1 + self.p + self.C + self.K
        if self.matrix.shape != (d, d) or self.shift.shape != (d,):
            raise DataError(
                f"moments of shape {self.matrix.shape} with a shift of shape {self.shift.shape}",
                f"shapes ({d}, {d}) and ({d},) for p = {self.p}, C = {self.C}, K = {self.K}",
                "The file or array is damaged; compute the moments again.",
            )
        if self.dtype not in EPS:
            raise DataError(f"arithmetic {self.dtype!r} of a head", f"one of {', '.join(EPS)}", "Pass one as dtype.")
        starts = accumulate((1, self.p, self.C, self.K), initial=0)
        slices = {name: slice(*edges) for name, edges in zip(get_args(BlockName), pairwise(starts), strict=True)}
        object.__setattr__(self, "_slices", slices)

    @classmethod
    def empty(cls, p: int, C: int, K: int = 0, **kind: Any) -> Moments:
        """Moments of no rows: the identity of `merge`."""
        d = 1 + p + C + K
        return cls(np.zeros((d, d)), np.zeros(d), p, C, K, **kind)

    @classmethod
    def from_rows(
        cls,
        features: ArrayLike,
        outputs: ArrayLike,
        targets: ArrayLike | None = None,
        *,
        weights: ArrayLike | None = None,
        shift: ArrayLike | None = None,
    ) -> Moments:
        """Moments of rows that are at hand as arrays.

        Args:
            features: array of shape (n, p).
            outputs: array of shape (n, C); its dtype is taken as the arithmetic of the head.
            targets: integer class indices of shape (n,), or real targets of shape (n,) or (n, K).
            weights: non-negative array of shape (n,); ones when left out.
            shift: array of shape (d,); the mean of the first 1024 rows when left out.

        Raises:
            DataError: when numbers of rows differ, or an array is no table of finite numbers.

        >>> m = Moments.from_rows([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[1.0], [2.0], [3.0]])
        >>> m.n, m.mean("features").round(3).tolist()
        (3.0, [0.667, 0.667])
        """
        phi, f = finite_table(features, "features"), finite_table(outputs, "outputs")
        y, kind = one_hot(targets, C=f.shape[1])
        y = np.empty((len(phi), 0)) if y is None else y
        if not len(phi) == len(f) == len(y):
            raise DataError(
                f"{len(phi)} rows of features, {len(f)} of outputs, {len(y)} of targets",
                "the same number of each",
                "Pass arrays of the same samples.",
            )
        rows = np.concatenate([np.ones((len(phi), 1)), phi, f, y], axis=1)
        first = rows[:1024].mean(axis=0) if len(rows) else np.zeros(rows.shape[1])
        pilot = np.array(first if shift is None else shift, dtype=np.float64)
        pilot[0] = 0.0
        rows = rows - pilot
        scaled = rows if weights is None else rows * np.asarray(weights, dtype=np.float64)[:, None]
        dtype, widths = np.asarray(outputs).dtype.name, (phi.shape[1], f.shape[1], y.shape[1])
        moments = cls.empty(*widths, targets=kind, dtype=dtype if dtype in EPS else "float64")
        tallies = tallied(f, y, weights) if moments.has_accuracy else {}
        return replace(moments, matrix=scaled.T @ rows, shift=pilot, tallies=tallies)

    @classmethod
    def from_accumulators(cls, accumulated: Sequence[ArrayLike], metadata: Mapping[str, str]) -> Moments:
        """Moments from the accumulators of a model that `onnxrich instrument` wrote.

        Args:
            accumulated: the last values of its accumulators, in the order of the outputs.
            metadata: the model's metadata, as `InferenceSession.get_modelmeta().custom_metadata_map` gives it.

        Raises:
            DataError: when the model was not written by `onnxrich instrument`, or the arrays don't fit it.
        """
        try:
            told = json.loads(metadata[METADATA])
            p, C = told["sizes"]
            matrix = from_tiles([np.asarray(tile, dtype=np.float64) for tile in accumulated])
            shift = np.asarray(told["shift"], dtype=np.float64)
            return cls(matrix, shift, p, C, dtype=told["dtype"], residual=told["residual"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                "metadata or accumulators of another model",
                "those of a model that `onnxrich instrument` wrote",
                "Pass its custom_metadata_map, and the outputs whose names end in `.next`.",
            ) from error

    @property
    def n(self) -> float:
        """Number of rows, or the sum of their weights."""
        return float(self.matrix[0, 0])

    @property
    def resolution(self) -> float:
        """Relative size below which a singular value of the outputs is noise: 8 eps of the head's arithmetic."""
        return max(8 * EPS[self.dtype], self.residual, GRAM_FLOOR)

    @property
    def has_accuracy(self) -> bool:
        """Whether outputs and classes correspond: one output a class, or one output (positive or not) for two."""
        return self.targets == "classes" and (self.C == self.K > 1 or (self.C, self.K) == (1, 2))

    def mean(self, block: BlockName) -> Array:
        """Mean of a block over the rows, about zero: float64 array of shape (block width,)."""
        part = self._slices[block]
        return self.matrix[0, part] / self.n + self.shift[part]

    def centered(self, a: BlockName, b: BlockName) -> Array:
        """Σ (a − mean a)(b − mean b)ᵀ: float64 array of shape (width of a, width of b)."""
        rows, columns = self._slices[a], self._slices[b]
        return self.matrix[rows, columns] - np.outer(self.matrix[rows, 0], self.matrix[0, columns]) / self.n

    def raw(self, a: BlockName, b: BlockName) -> Array:
        """Σ a bᵀ about zero: float64 array of shape (width of a, width of b)."""
        return self.centered(a, b) + self.n * np.outer(self.mean(a), self.mean(b))

    def merge(self, other: Moments) -> Moments:
        """Moments of the rows of both, about the shift of the first that holds rows; neither operand is changed.

        Raises:
            DataError: when the two don't describe rows of the same kind.
        """
        if self._kind != other._kind:
            raise DataError(
                f"moments of kind {self._kind} and {other._kind}",
                "the same p, C, K, targets and dtype",
                "Merge moments of one model and one kind of labels only.",
            )
        residual = max(self.residual, other.residual)
        if self.n == 0:
            return replace(other, residual=residual)
        if other.n == 0:
            return replace(self, residual=residual)
        both = self.tallies.keys() & other.tallies.keys()
        tallies = {name: self.tallies[name] + other.tallies[name] for name in sorted(both)}
        return replace(self, matrix=self.matrix + other.about(self.shift).matrix, residual=residual, tallies=tallies)

    def about(self, shift: Array) -> Moments:
        """The same moments about another shift.

        z − new = (z − old) + (old − new)·1, and the 1 is the first entry of z, so the change of shift is the congruence
        with T = I + [0, old − new] eᵀ₀: exact algebra, no second look at the rows.
        """
        if np.array_equal(self.shift, shift):
            return self
        move = self.shift - shift
        move[0] = 0.0
        matrix = self.matrix + np.outer(move, self.matrix[0])
        matrix += np.outer(matrix[:, 0], move)
        return replace(self, matrix=(matrix + matrix.T) / 2, shift=np.asarray(shift, dtype=np.float64).copy())

    @property
    def _kind(self) -> tuple[int, int, int, str | None, str]:
        return self.p, self.C, self.K, self.targets, self.dtype

    def save(self, file: str | Path | BinaryIO, record: Mapping[str, Any] | None = None) -> None:
        """Write the moments as `.npz`, with a JSON record of where they come from.

        Args:
            file: path or binary file.
            record: JSON-able description (model, head, data, runtime), read back by `load_record`.
        """
        np.savez(
            file,
            schema=np.array(SCHEMA),
            matrix=self.matrix,
            shift=self.shift,
            sizes=np.array([self.p, self.C, self.K]),
            targets=np.array(self.targets or ""),
            dtype=np.array(self.dtype),
            residual=np.array(self.residual),
            tallies=np.array(json.dumps(dict(self.tallies))),
            record=np.array(json.dumps(dict(record or {}))),
        )

    @classmethod
    def load(cls, file: str | Path | BinaryIO) -> Moments:
        """Moments read from a file that `save` wrote.

        Raises:
            DataError: when the file is missing, is no such file, or is damaged.
        """
        return load_record(file)[0]


def load_record(file: str | Path | BinaryIO) -> tuple[Moments, dict[str, Any]]:
    """Moments and the JSON record that was saved with them.

    Raises:
        DataError: when the file is missing, is no such file, or is damaged.
    """
    try:
        # np.load leaves a damaged file open: it is opened, and closed, here.
        opened = contextlib.nullcontext(file) if hasattr(file, "read") else Path(file).open("rb")  # noqa: SIM115
        with opened as source, np.load(source, allow_pickle=False) as npz:
            if str(npz["schema"]) != SCHEMA:
                raise ValueError(f"schema {npz['schema']!s}")
            p, C, K = (int(size) for size in npz["sizes"])
            kind: Any = str(npz["targets"]) or None
            if kind not in ("classes", "values", None):
                raise ValueError(f"targets of kind {kind}")
            matrix, shift = npz["matrix"].astype(np.float64), npz["shift"].astype(np.float64)
            tallies = {str(name): float(value) for name, value in json.loads(str(npz["tallies"])).items()}
            moments = Moments(matrix, shift, p, C, K, kind, str(npz["dtype"]), float(npz["residual"]), tallies)
            return moments, dict(json.loads(str(npz["record"])))
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        known: dict[type, str] = {FileNotFoundError: "it is not there", IsADirectoryError: "it is a folder without one"}
        reason = known.get(type(error), f"it can't be read ({type(error).__name__})")
        raise DataError(
            f"moments file {str(file)!r}: {reason}",
            f"a whole `moments.npz` of schema {SCHEMA}",
            "Pass the moments.npz that `onnxrich run --output DIR` wrote.",
        ) from error


def merge_all(parts: Sequence[Moments]) -> Moments:
    """Moments of the rows of all parts, at least one, merged on a fixed tree: the order of the parts decides every bit.

    Rounding grows with the depth of the tree, log₂ of their number, instead of with their number, and so does memory.
    """
    if len(parts) == 1:
        return parts[0]
    half = 1 << ((len(parts) - 1).bit_length() - 1)
    return merge_all(parts[:half]).merge(merge_all(parts[half:]))
