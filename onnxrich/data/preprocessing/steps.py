"""What is done to rows before a model sees them, as somebody declared it: what nobody declared is not done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, Literal, Self

from onnxrich.errors import DataError, prefix_errors

COLORS, LAYOUTS = ("rgb", "bgr", "gray"), ("NCHW", "NHWC")
# Filters of Pillow, in the numbers that it and Hugging Face's configurations give them.
RESAMPLINGS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
LARGEST_SIDE = 2**14
# Steps that only images know; the others are done to any numbers.
OF_IMAGES = ("resize", "resample", "crop", "color", "layout")


@dataclass(frozen=True)
class Preprocessing:
    """Steps in the order in which they are done; None leaves one out.

    Values may be texts as on the command line, such as "1/255" for a scale and "28x32" for a size.

    Attributes:
        color: order of the colours that the model takes: "rgb", "bgr" or "gray".
        resize: side to which the shorter side of an image is scaled, or (height, width) of the result.
        resample: filter of the resizing, "bilinear" when left out; it smooths when it makes smaller.
        crop: side of the square that is cut out of the middle, or its (height, width).
        scale: factor of all values; 1/255 brings bytes to 0…1.
        mean: what is subtracted after that, one number or one a channel.
        std: what is divided by after that, one number or one a channel.
        layout: where the model takes the channels: "NCHW" or "NHWC".
    """

    color: Literal["rgb", "bgr", "gray"] | None = None
    resize: int | tuple[int, int] | None = None
    resample: str | None = None
    crop: int | tuple[int, int] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None

    def __post_init__(self) -> None:
        for name, form in _FORMS.items():
            value = getattr(self, name)
            # NumPy's numbers and arrays too.
            value = value.tolist() if hasattr(value, "tolist") else value
            try:
                object.__setattr__(self, name, None if value is None else form.read(value))
            except (ValueError, ZeroDivisionError) as error:
                raise DataError(f"{name} {value!r}", form.needed, f"Write {name} as {form.written}.") from error

    @classmethod
    def of(cls, declared: Any, where: str = "") -> Self:
        """What a mapping declares, as options, `onnxrich.toml` and JSON hold it.

        Args:
            declared: the mapping, a `Preprocessing`, or None for no steps.
            where: what it stands in, for messages.

        Raises:
            DataError: when it holds something else, or no valid step.
        """
        if declared is None or isinstance(declared, cls):
            return declared or cls()
        known = [field.name for field in fields(cls)]
        if not isinstance(declared, Mapping) or any(name not in known for name in declared):
            shown = ", ".join(map(repr, declared)) if isinstance(declared, Mapping) else repr(declared)
            found = f"{where or 'preprocessing'} with {shown}"
            raise DataError(found, f"steps out of {', '.join(known)}", "Leave the others out.")
        with prefix_errors(where):
            return cls(**declared)

    def declared(self) -> dict[str, Any]:
        """The steps that are there, JSON-able."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def normal(self, layout: Literal["NCHW", "NHWC"] | None) -> Self:
        """The steps in one form, in which those that do the same are equal.

        Args:
            layout: the one that is taken where none is declared.
        """
        return replace(
            self,
            # `resize` stays: its single side is that of an image's shorter one, whatever becomes of the other.
            resample=None if self.resize is None else self.resample or "bilinear",
            crop=(self.crop, self.crop) if isinstance(self.crop, int) else self.crop,
            scale=None if self.scale == 1 else self.scale,
            mean=_without(0, self.mean),
            std=_without(1, self.std),
            layout=self.layout or layout,
        )

    @property
    def reshapes(self) -> bool:
        """Whether it changes the size or the colours of images, which takes an image library."""
        return self.resize is not None or self.crop is not None or self.color == "gray"

    @property
    def changes_values(self) -> bool:
        """Whether it says how numbers become those that the model takes."""
        return self.scale is not None or self.mean is not None or self.std is not None


@dataclass(frozen=True)
class ResolvedPreprocessing:
    """Preprocessing, and who declared each step."""

    steps: Preprocessing
    origins: Mapping[str, str]

    @classmethod
    def merged(cls, declared: Sequence[tuple[str, Preprocessing]]) -> Self:
        """Each step from the first that declares it."""
        steps: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for origin, preprocessing in declared:
            for name, value in preprocessing.declared().items():
                if name not in steps:
                    steps[name], origins[name] = value, origin
        return cls(Preprocessing(**steps), origins)

    def without(self, names: Collection[str]) -> ResolvedPreprocessing:
        """The same, but for some steps."""
        steps = replace(self.steps, **dict.fromkeys(names))
        return ResolvedPreprocessing(
            steps, {name: origin for name, origin in self.origins.items() if name not in names}
        )

    @property
    def told(self) -> str:
        """The steps for people, with who declared them."""
        steps = ", ".join(f"{name} {value}" for name, value in self.steps.declared().items())
        return f"{steps}, declared by {', '.join(sorted(set(self.origins.values())))}"

    def record(self) -> dict[str, Any] | None:
        """What was applied, JSON-able; None when nothing was."""
        steps = self.steps.declared()
        return {**steps, "declared_by": dict(self.origins)} if steps else None


def _without(neutral: int, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Numbers of all channels as one where they are the same; None where that changes nothing."""
    single = values[:1] if values is not None and len(set(values)) == 1 else values
    return None if single == (neutral,) else single


def _number(value: Any) -> float:
    """The number of 0.5, or of a text such as "0.5" or "1/255"."""
    if isinstance(value, str):
        above, slash, below = value.partition("/")
        value = float(above) / (float(below) if slash else 1.0)
    # Integers beyond the range of floats are finite, and none that anything can be multiplied by.
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        raise ValueError(value)
    return value


def _factor(value: Any) -> float:
    number = _number(value)
    if not number:
        raise ValueError(value)
    return number


def _each(read: Callable[[Any], float], value: Any) -> tuple[float, ...]:
    """The numbers of 0.5, of [0.4, 0.5], or of a text such as "0.4,0.5"."""
    values = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ValueError(value)
    return tuple(map(read, values))


def _sides(value: Any) -> int | tuple[int, int]:
    """The side of 28 or "28", or height and width of [28, 32] or "28x32"."""
    if isinstance(value, str) and "x" in value.lower():
        value = value.lower().split("x")
    if not isinstance(value, list | tuple):
        return _side(value)
    height, width = value
    return _side(height), _side(width)


def _side(value: Any) -> int:
    # int() takes other digits than ASCII's too, and much time for thousands of them.
    whole = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(LARGEST_SIDE))
    side = int(value) if whole else value
    if type(side) is not int or not 1 <= side <= LARGEST_SIDE:
        raise ValueError(value)
    return side


def _one_of(allowed: Collection[str], value: Any) -> str:
    if value not in allowed:
        raise ValueError(value)
    return str(value)


@dataclass(frozen=True)
class _Form:
    """How a step is written, wherever it is declared: the text of each form means the same as the number.

    Attributes:
        read: gives its value; raises ValueError or ZeroDivisionError for what is none.
        needed: what it has to be.
        written: examples.
    """

    read: Callable[[Any], Any]
    needed: str
    written: str


_SIDES = _Form(_sides, f"a side from 1 to {LARGEST_SIDE:,}, or height and width", '28, [28, 32] or "28x32"')
_FINITE, _LIST = "finite numbers, scale and std not 0", '0.5, [0.4, 0.5, 0.6] or "0.4,0.5,0.6"'
_FORMS = {
    **{
        name: _Form(partial(_one_of, allowed), f"one of {', '.join(allowed)}", "one of these")
        for name, allowed in (("color", COLORS), ("layout", LAYOUTS), ("resample", tuple(RESAMPLINGS)))
    },
    "resize": _SIDES,
    "crop": _SIDES,
    "scale": _Form(_factor, _FINITE, '0.5 or "1/255"'),
    "mean": _Form(partial(_each, _number), _FINITE, _LIST),
    "std": _Form(partial(_each, _factor), _FINITE, _LIST),
}
