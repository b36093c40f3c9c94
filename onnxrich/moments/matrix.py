"""The moment matrix of features, outputs and targets: the sufficient statistic of every number of a model.

The package names its shapes here, once: n rows, p features, C outputs, K targets, d = 1 + p + C + K. Moments hold no
entry of z that the others determine: outputs that are Wφ + b, and classes of which no row is.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from itertools import accumulate, combinations_with_replacement, pairwise
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxrich._utils.archive import Archive, ArchiveError, open_archive
from onnxrich._utils.files import open_regular
from onnxrich._utils.parsing import LARGEST, parse_json
from onnxrich.errors import DataError
from onnxrich.moments.invariants import find_violation
from onnxrich.moments.precision import EPS, GRAM_FLOOR
from onnxrich.moments.targets import TargetKind, have_accuracy, one_hot, to_finite_table

Array = NDArray[np.float64]
BlockName = Literal["one", "features", "outputs", "targets"]

SCHEMA = "onnxrich.moments/1"
# That of files whose matrix lacks entries of z, which version 0.1.0 can't read.
PARTIAL_SCHEMA = "onnxrich.moments/2"
# Metadata key under which an instrumented model describes its accumulators.
METADATA = "onnxrich.moments"
# The mean of so many rows is the pilot shift of rows that are given as arrays.
_PILOT_ROWS = 1024

# The most characters of the short texts in a moments file.
_LONGEST_NAME = 64

# Numbers that the outputs of one part hold at most, see `Moments.split_outputs`.
_PART_NUMBERS = 2**22

# Scores of a classifier's row, summed beside the second moments: 1 if the largest output is that of the row's class,
# and the cross-entropy log Σ exp f − f_class in nats. A single output is the logit of the second of two classes.
SCORES = ("correct", "cross_entropy")


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of the rows z = [1, features, outputs, targets] about a fixed shift.

    Laws: `merge` is associative and commutative, `empty` is its identity, and the order of rows and their division into
    batches do not matter; each up to rounding (some 1e-16 of the largest entry).

    Raw second moments lose log10(mean²/variance) digits. The sums therefore run around a pilot shift, usually the mean
    of the first rows (Chan, Golub & LeVeque 1983, section 3), and `raw` and `centered` remove it again.
    Cost: memory O(d²), and time O(n·d²) to accumulate. No row is kept.

    Attributes:
        matrix: float64 array of shape (d, d), Σ w (z − shift)(z − shift)ᵀ; without the outputs where `weight` is given.
        shift: float64 array of shape (d,); its first entry is 0.
        p: number of features.
        C: number of outputs.
        K: number of targets, 0 without labels.
        targets: "classes" if targets are one-hot, "values" if they are real, None without labels.
        dtype: name of the format that the head computed in, which sets the level of rounding noise.
        residual: relative residual of the outputs as an affine function of the features.
        tallies: sums of `SCORES` over the rows, by name; empty if outputs and classes do not correspond.
        weight: W of f = Wφ + b, float64 array of shape (C, p), if the moments of the outputs follow from those of the
            features; b follows from the shift. None if the matrix contains the outputs.
        classes: numbers of the classes that the matrix contains, ascending, int64 array; no row is of another class.
            None if it contains all K targets. Only the targets that it contains count in d.
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
    _: KW_ONLY
    weight: np.ndarray[Any, np.dtype[np.float64]] | None = None
    classes: np.ndarray[Any, np.dtype[np.int64]] | None = None

    def __post_init__(self) -> None:
        d = 1 + self.p + self.C + self.target_width
        side = d if self.weight is None else d - self.C
        if self.matrix.shape != (side, side) or self.shift.shape != (d,):
            raise DataError(
                f"the moment matrix has shape {self.matrix.shape} and its shift has shape {self.shift.shape}",
                f"shapes ({side}, {side}) and ({d},) for p = {self.p}, C = {self.C}, K = {self.K}",
                "The file or array is damaged. Compute the moments again.",
            )
        if self.dtype not in EPS:
            raise DataError(
                f"the head has the arithmetic {self.dtype!r}", f"one of {', '.join(EPS)}", "Pass one of them as dtype."
            )

    @classmethod
    def empty(cls, p: int, C: int, K: int = 0, **kind: Any) -> Moments:
        """Moments of no rows: the identity of `merge`.

        Args:
            p: number of features.
            C: number of outputs.
            K: number of targets.
            kind: targets, dtype, residual, weight and classes, as the attributes.
        """
        classes = kind.get("classes")
        d = 1 + p + C + (K if classes is None else len(classes))
        side = d if kind.get("weight") is None else d - C
        return cls(np.zeros((side, side)), np.zeros(d), p, C, K, **kind)

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
        """Compute moments of rows from arrays.

        Args:
            features: array of shape (n, p).
            outputs: array of shape (n, C). Its dtype counts as the arithmetic of the head.
            targets: integer class indices of shape (n,), or real targets of shape (n,) or (n, K).
            weights: non-negative array of shape (n,); ones by default.
            shift: array of shape (d,); the mean of the first 1024 rows by default.

        Raises:
            DataError: if the numbers of rows differ, or an array is no table of finite numbers.

        >>> m = Moments.from_rows([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[1.0], [2.0], [3.0]])
        >>> m.n, m.mean("features").round(3).tolist()
        (3.0, [0.667, 0.667])
        """
        phi, f = to_finite_table(features, "features"), to_finite_table(outputs, "outputs")
        y, kind = one_hot(targets, C=f.shape[1])
        y = np.empty((len(phi), 0)) if y is None else y
        if not len(phi) == len(f) == len(y):
            raise DataError(
                f"there are {len(phi)} rows of features, {len(f)} of outputs, {len(y)} of targets",
                "the same number of each",
                "Pass arrays of the same samples.",
            )
        rows = np.concatenate([np.ones((len(phi), 1)), phi, f, y], axis=1)
        pilot = _pilot_shift(rows) if shift is None else np.array(shift, dtype=np.float64)
        pilot[0] = 0.0
        rows = rows - pilot
        weighted = rows if weights is None else rows * np.asarray(weights, dtype=np.float64)[:, None]
        dtype, widths = np.asarray(outputs).dtype.name, (phi.shape[1], f.shape[1], y.shape[1])
        moments = cls.empty(*widths, targets=kind, dtype=dtype if dtype in EPS else "float64")
        tallies = sum_scores(f, y, weights) if moments.has_accuracy else {}
        return replace(moments, matrix=weighted.T @ rows, shift=pilot, tallies=tallies)

    @classmethod
    def from_accumulators(cls, accumulated: Sequence[ArrayLike], metadata: Mapping[str, str]) -> Moments:
        """Compute moments from the accumulators of a model that `onnxrich instrument` wrote.

        Args:
            accumulated: the last values of its accumulators, in the order of the outputs.
            metadata: the model's metadata: `InferenceSession.get_modelmeta().custom_metadata_map`.

        Raises:
            DataError: if `onnxrich instrument` did not write the model, or the arrays do not fit it.
        """
        try:
            description = json.loads(metadata[METADATA])
            p, C = description["sizes"]
            matrix = from_tiles([np.asarray(tile, dtype=np.float64) for tile in accumulated])
            shift = np.asarray(description["shift"], dtype=np.float64)
            return cls(matrix, shift, p, C, dtype=description["dtype"], residual=description["residual"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                "the metadata or the accumulators belong to another model",
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
        """Whether outputs and classes correspond: one output for each class, or one output for two classes."""
        return have_accuracy(self.targets, self.C, self.K)

    @property
    def target_width(self) -> int:
        """Number of targets that the matrix contains."""
        return self.K if self.classes is None else len(self.classes)

    @property
    def target_numbers(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Numbers of the targets that the matrix contains: int64 array of shape (width of targets,)."""
        return np.arange(self.K) if self.classes is None else self.classes

    @property
    def matrix_shift(self) -> Array:
        """The entries of the shift that the matrix was summed about: float64 array, one entry for each of its rows."""
        return self.shift if self.weight is None else np.delete(self.shift, self._slices["outputs"])

    @cached_property
    def _slices(self) -> dict[str, slice]:
        """Entries of the shift that belong to each block of z."""
        return self._edges(self.C)

    @cached_property
    def _sides(self) -> dict[str, slice]:
        """Rows of the matrix that belong to each block of z."""
        return self._edges(self.C if self.weight is None else 0)

    def _edges(self, outputs: int) -> dict[str, slice]:
        starts = accumulate((1, self.p, outputs, self.target_width), initial=0)
        return {name: slice(*edges) for name, edges in zip(get_args(BlockName), pairwise(starts), strict=True)}

    def mean(self, block: BlockName) -> Array:
        """Mean of a block over the rows, about zero: float64 array of shape (block width,)."""
        return self._sums(block) / self.n + self.shift[self._slices[block]]

    def _sums(self, block: BlockName) -> Array:
        """Σ (a − shift) of a block: float64 array of shape (block width,)."""
        if block == "outputs" and self.weight is not None:
            sums: Array = self.weight @ self._sums("features")
            return sums
        return self.matrix[0, self._sides[block]]

    def is_finite(self, block: BlockName) -> bool:
        """Whether the sums of products with a block are finite."""
        if block == "outputs" and self.weight is not None:
            with np.errstate(all="ignore"):
                return bool(np.isfinite(self._sums(block)).all())
        own = self.matrix[self._sides[block], self._sides[block]]
        return bool(np.isfinite(own).all() and np.isfinite(self.matrix[0, self._sides[block]]).all())

    def centered(self, a: BlockName, b: BlockName) -> Array:
        """Σ (a − mean a)(b − mean b)ᵀ: float64 array of shape (width of a, width of b)."""
        if self.weight is not None and "outputs" in (a, b):
            return self._through_weight(self.centered, a, b)
        rows, columns = self._sides[a], self._sides[b]
        return self.matrix[rows, columns] - np.outer(self.matrix[rows, 0], self.matrix[0, columns]) / self.n

    def shifted(self, a: BlockName, b: BlockName | None = None) -> Array:
        """Σ (a − shift)(b − shift)ᵀ as it was summed, b = a by default: float64 array of shape (widths of a and b)."""
        b = b or a
        if self.weight is not None and "outputs" in (a, b):
            return self._through_weight(self.shifted, a, b)
        return self.matrix[self._sides[a], self._sides[b]]

    def _through_weight(self, products: Callable[[BlockName, BlockName], Array], a: BlockName, b: BlockName) -> Array:
        """Products of the outputs with a block, from those of the features: f − shift = W(φ − shift)."""
        assert self.weight is not None  # noqa: S101 - callers ask for derived outputs only
        if a != "outputs":
            return products(a, "features") @ self.weight.T
        if b != "outputs":
            return self.weight @ products("features", b)
        square = self.weight @ products("features", "features") @ self.weight.T
        return (square + square.T) / 2

    def raw(self, a: BlockName, b: BlockName) -> Array:
        """Σ a bᵀ about zero: float64 array of shape (width of a, width of b)."""
        return self.centered(a, b) + self.n * np.outer(self.mean(a), self.mean(b))

    def variances(self, block: BlockName) -> Array:
        """Variance of each entry of a block, not below zero: float64 array of shape (block width,)."""
        if block == "outputs" and self.weight is not None:
            return self._output_squares(self.centered("features", "features")) / self.n
        rows = self._sides[block]
        squares = np.diagonal(self.matrix)[rows] - self.matrix[0, rows] ** 2 / self.n
        return np.clip(squares, 0, None) / self.n

    def mean_squares(self, block: BlockName) -> Array:
        """Mean of (a − shift)² of each entry of a block: float64 array of shape (block width,)."""
        if block == "outputs" and self.weight is not None:
            return self._output_squares(self.shifted("features")) / self.n
        squares: Array = np.diagonal(self.matrix)[self._sides[block]] / self.n
        return squares

    def _output_squares(self, square: Array) -> Array:
        """The diagonal of W·square·Wᵀ, not below zero: float64 array of shape (C,)."""
        assert self.weight is not None  # noqa: S101 - callers ask for derived outputs only
        parts = [np.einsum("ij,ij->i", part @ square, part) for part in split_rows(self.weight)]
        squares: Array = np.clip(np.concatenate(parts), 0, None)
        return squares

    def split_outputs(self) -> Iterator[Moments]:
        """Yield the moments with some of the outputs each, so few that (p, outputs) is small; a matrix is not split."""
        if self.weight is None:
            yield self
            return
        start, f = 0, self._slices["outputs"]
        for part in split_rows(self.weight):
            stop = start + len(part)
            shift = np.concatenate([self.shift[: f.start], self.shift[f][start:stop], self.shift[f.stop :]])
            yield replace(self, C=len(part), weight=part, shift=shift)
            start = stop

    def without_outputs(self, columns: Sequence[int]) -> Moments:
        """The same moments with some outputs set to zero, which no span of functions contains."""
        if not columns:
            return self
        shift, index = self.shift.copy(), 1 + self.p + np.asarray(columns)
        shift[index] = 0.0
        if self.weight is not None:
            weight = self.weight.copy()
            weight[np.asarray(columns)] = 0.0
            return replace(self, weight=weight, shift=shift)
        matrix = self.matrix.copy()
        matrix[index, :] = matrix[:, index] = 0.0
        return replace(self, matrix=matrix, shift=shift)

    def merge(self, other: Moments) -> Moments:
        """Moments of the rows of both, about the shift of the first that has rows. Neither operand changes.

        Raises:
            DataError: if the two describe rows of different kinds.
        """
        if self._kind != other._kind or not _are_equal(self.weight, other.weight):
            raise DataError(
                f"the moments are of different kinds, {self._kind} and {other._kind}",
                "the same p, C, K, targets, dtype and weight",
                "Merge only moments of one model with one kind of labels.",
            )
        if not _are_equal(self.classes, other.classes):
            union = np.union1d(self.target_numbers, other.target_numbers)
            return self._with_classes(union).merge(other._with_classes(union))
        residual = max(self.residual, other.residual)
        if self.n == 0:
            return replace(other, residual=residual)
        if other.n == 0:
            return replace(self, residual=residual)
        names = self.tallies.keys() & other.tallies.keys()
        tallies = {name: self.tallies[name] + other.tallies[name] for name in sorted(names)}
        return replace(self, matrix=self.matrix + other.about(self.shift).matrix, residual=residual, tallies=tallies)

    def _with_classes(self, classes: np.ndarray[Any, np.dtype[np.int64]]) -> Moments:
        """The same moments with columns for these classes, among which are its own."""
        own, y = np.searchsorted(classes, self.target_numbers), self._sides["targets"].start
        kept = np.concatenate([np.arange(y), y + own])
        matrix = np.zeros((y + len(classes),) * 2)
        matrix[np.ix_(kept, kept)] = self.matrix
        shift = np.concatenate([self.shift[: self._slices["targets"].start], np.zeros(len(classes))])
        return replace(self, matrix=matrix, shift=shift, classes=classes if len(classes) < self.K else None)

    def about(self, shift: Array) -> Moments:
        """The same moments about another shift.

        z − new = (z − old) + (old − new)·1, and the 1 is the first entry of z. So the change of shift is the congruence
        with T = I + [0, old − new] eᵀ₀: exact algebra that needs no row.
        """
        if np.array_equal(self.shift, shift):
            return self
        moved = replace(self, shift=np.array(shift, dtype=np.float64))
        change = self.matrix_shift - moved.matrix_shift
        change[0] = 0.0
        matrix = self.matrix + np.outer(change, self.matrix[0])
        matrix += np.outer(matrix[:, 0], change)
        return replace(moved, matrix=(matrix + matrix.T) / 2)

    @property
    def _kind(self) -> tuple[int, int, int, str | None, str]:
        return self.p, self.C, self.K, self.targets, self.dtype

    def save(self, file: str | Path | BinaryIO, record: Mapping[str, Any] | None = None) -> None:
        """Write the moments as `.npz`, with a JSON record of their origin.

        The file holds W where the moments of the outputs follow from it, in float32 where that is exact.

        Args:
            file: path or binary file.
            record: JSON-able description of model, head, data and runtime. `load_record` reads it back.
        """
        partial: dict[str, Any] = {}
        if self.weight is not None:
            partial["weight"] = _narrow(self.weight)
        if self.classes is not None:
            partial["classes"] = self.classes
        np.savez(
            file,
            schema=np.array(PARTIAL_SCHEMA if partial else SCHEMA),
            matrix=self.matrix,
            shift=self.shift,
            sizes=np.array([self.p, self.C, self.K]),
            targets=np.array(self.targets or ""),
            dtype=np.array(self.dtype),
            residual=np.array(self.residual, dtype=np.float64),
            tallies=np.array(json.dumps(dict(self.tallies))),
            record=np.array(json.dumps(dict(record or {}))),
            **partial,
        )

    @classmethod
    def load(cls, file: str | Path | BinaryIO) -> Moments:
        """Read moments from a file that `save` wrote.

        Raises:
            DataError: if the file does not exist, has another format, or is damaged.
        """
        return load_record(file)[0]


def _pilot_shift(rows: Array) -> Array:
    """Mean of the first rows: float64 array of shape (d,), zeros without rows."""
    return np.asarray(rows[:_PILOT_ROWS].mean(axis=0) if len(rows) else np.zeros(rows.shape[1]))


def merge_all(parts: Sequence[Moments]) -> Moments:
    """Merge moments, at least one, along a fixed binary tree: the order of the parts decides every bit.

    Rounding and memory grow with the depth of the tree, log₂ of the number of parts, instead of with that number.
    """
    if len(parts) == 1:
        return parts[0]
    half = 1 << ((len(parts) - 1).bit_length() - 1)
    return merge_all(parts[:half]).merge(merge_all(parts[half:]))


def load_record(file: str | Path | BinaryIO) -> tuple[Moments, dict[str, Any]]:
    """Read moments and the JSON record that was saved with them.

    A file takes as much memory as it is long.

    Raises:
        DataError: if the file does not exist, has another format, or is damaged, or if no rows have such moments.
    """
    # What the caller opened stays open.
    opened = _open_moments(Path(file)) if isinstance(file, str | Path) else contextlib.nullcontext(file)
    name = f"the moments file {str(file)!r}" if isinstance(file, str | Path) else "the moments file"
    with opened as source:
        try:
            with open_archive(source) as archive:
                moments, record = _parse_moments(archive), _parse_object(archive, "record")
        except (AttributeError, TypeError, ValueError) as error:
            cause = f": {error}" if isinstance(error, ArchiveError) else ""
            raise _unreadable(f"{name} cannot be read: it has another format or is damaged{cause}") from error
    violation = find_violation(moments)
    if violation is not None:
        raise _unreadable(f"{name} holds moments that no rows have: {violation}")
    return moments, record


def _open_moments(path: Path) -> BinaryIO:
    try:
        return open_regular(path, DataError, "")
    except DataError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            cause = "it does not exist"
        else:
            # `Path.is_dir` raises for a name that is too long.
            is_folder = os.path.isdir(path)  # noqa: PTH112
            cause = "it is a folder that holds none" if is_folder else error.found
        raise _unreadable(f"the moments file {str(path)!r} cannot be read: {cause}") from error


def _unreadable(found: str) -> DataError:
    return DataError(
        found,
        f"a whole `moments.npz` of schema {SCHEMA}",
        "Pass the moments.npz that `onnxrich run --output DIR` wrote, or DIR.",
    )


def _parse_moments(archive: Archive) -> Moments:
    """Convert the entries of a moments file to moments.

    Raises:
        TypeError, ValueError: if an entry is missing or has another form.
    """
    schema = archive.read_text("schema", most=_LONGEST_NAME)
    if schema not in (SCHEMA, PARTIAL_SCHEMA):
        raise ArchiveError("its schema is another one")
    p, C, K = archive.read("sizes", "i", (3,)).tolist()
    if min(p, C) < 1 or K < 0:
        raise ArchiveError(f"p = {p}, C = {C}, K = {K}")
    targets: Any = archive.read_text("targets", most=_LONGEST_NAME) or None
    if targets not in (*get_args(TargetKind), None):
        raise ArchiveError("its targets are of another kind")
    dtype = archive.read_text("dtype", most=_LONGEST_NAME)
    if dtype not in EPS:
        raise ArchiveError("the arithmetic of its head is another one")
    # The cross-entropy of classes that a model excludes is infinite.
    tallies = _parse_object(archive, "tallies", is_finite=False)
    if not all(type(value) in (int, float) for value in tallies.values()):
        raise ArchiveError("its tallies are no numbers")
    residual = float(archive.read("residual", "f8", ()))
    weight, classes = (None, None) if schema == SCHEMA else _parse_partial(archive, p, C, K)
    d = 1 + p + C + (K if classes is None else len(classes))
    side = d if weight is None else d - C
    matrix, shift = archive.read("matrix", "f8", (side, side)), archive.read("shift", "f8", (d,))
    return Moments(matrix, shift, p, C, K, targets, dtype, residual, tallies, weight=weight, classes=classes)


def _parse_partial(
    archive: Archive, p: int, C: int, K: int
) -> tuple[Array | None, np.ndarray[Any, np.dtype[np.int64]] | None]:
    """W and the numbers of the classes that the matrix contains; None for each that is missing.

    Raises:
        ValueError: if one has another form.
    """
    weight = archive.read("weight", "f", (C, p)).astype(np.float64) if "weight" in archive else None
    classes = archive.read("classes", "i8", most=8 * K) if "classes" in archive else None
    if weight is not None and not np.isfinite(weight).all():
        raise ArchiveError("its weight holds NaN or infinity")
    if classes is not None and ((classes < 0) | (classes >= K) | (np.diff(classes, prepend=-1) <= 0)).any():
        raise ArchiveError("its classes are no ascending numbers below their count")
    return weight, classes


def _parse_object(archive: Archive, name: str, *, is_finite: bool = True) -> dict[str, Any]:
    value = parse_json(archive.read_text(name, most=LARGEST), is_finite=is_finite)
    if not isinstance(value, dict):
        raise ArchiveError(f"{name!r} is no JSON object")
    return value


def from_tiles(tiles: Sequence[Array]) -> Array:
    """Assemble a symmetric matrix from its tiles on and above the diagonal, listed row by row."""
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


def with_outputs(moments: Moments, weight: Array, shift: Array) -> Moments:
    """The moments of the same rows with other outputs g, whose g − shift is weight·(φ − its shift), in the matrix.

    Args:
        moments: of the rows; the matrix does not contain their outputs.
        weight: float64 array of shape (width of g, p).
        shift: of g, float64 array of shape (width of g,).
    """
    C, p = weight.shape
    matrix = moments.matrix
    f, y = slice(1 + p, 1 + p + C), slice(1 + p + C, None)
    cross = matrix[:, 1 : 1 + p] @ weight.T
    extended = np.empty((len(matrix) + C,) * 2)
    extended[: 1 + p, : 1 + p], extended[: 1 + p, y] = matrix[: 1 + p, : 1 + p], matrix[: 1 + p, 1 + p :]
    extended[y, : 1 + p], extended[y, y] = matrix[1 + p :, : 1 + p], matrix[1 + p :, 1 + p :]
    extended[: 1 + p, f], extended[y, f] = cross[: 1 + p], cross[1 + p :]
    extended[f, : 1 + p], extended[f, y] = cross[: 1 + p].T, cross[1 + p :].T
    square = weight @ cross[1 : 1 + p]
    extended[f, f] = (square + square.T) / 2
    before = moments.shift
    joined = np.concatenate([before[: 1 + p], shift, before[1 + p + moments.C :]])
    return replace(moments, matrix=extended, shift=joined, C=C, weight=None, tallies={})


def split_rows(weight: Array) -> Iterator[Array]:
    """Yield the rows of a weight in parts of a few megabytes: float64 arrays of shape (rows, p)."""
    size = max(1, _PART_NUMBERS // max(1, weight.shape[1]))
    return (weight[start : start + size] for start in range(0, max(1, len(weight)), size))


def _narrow(weight: Array) -> NDArray[Any]:
    """The same numbers in float32 where that loses none of them."""
    with np.errstate(over="ignore"):
        narrow = weight.astype(np.float32)
    return narrow if np.array_equal(narrow, weight) else weight


def _are_equal(a: NDArray[Any] | None, b: NDArray[Any] | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


def sum_scores(f: Array, y: Array, weights: ArrayLike | None) -> dict[str, float]:
    """Sums of `SCORES` over rows.

    Args:
        f: outputs, float64 array of shape (n, C).
        y: one-hot classes, float64 array of shape (n, K).
        weights: array of shape (n,); ones if None.
    """
    from scipy.special import logsumexp

    logits = f if f.shape[1] > 1 else np.hstack([np.zeros_like(f), f])
    correct = logits.argmax(axis=1) == y.argmax(axis=1)
    losses = logsumexp(logits, axis=1) - (logits * y).sum(axis=1)
    scale = np.ones(len(f)) if weights is None else np.asarray(weights, dtype=np.float64)
    return dict(zip(SCORES, (float((correct * scale).sum()), float((losses * scale).sum())), strict=True))
