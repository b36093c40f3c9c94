"""Preprocessing steps: what is applied to rows before the model gets them. Undeclared steps are not applied."""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, Literal, Self

from onnxrich._utils.formatting import name_list
from onnxrich.errors import DataError, prefix_errors

Layout = Literal["NCHW", "NHWC"]
COLORS, LAYOUTS = ("rgb", "bgr", "gray"), ("NCHW", "NHWC")
# Filters of Pillow, with the numbers that Pillow and Hugging Face's configurations give them.
RESAMPLINGS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
LARGEST_SIDE = 2**14
# Steps for images alone; the others apply to any numbers.
IMAGE_STEPS = ("resize", "resample", "crop", "color", "layout")
# Numbers of channels that identify the axis of channels: gray, colours, colours and transparency.
CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Preprocessing:
    """Steps in the order in which they are applied; None leaves one out.

    Values may be texts as on the command line, such as "1/255" for a scale and "28x32" for a size.

    Attributes:
        color: order of the colours that the model takes: "rgb", "bgr" or "gray".
        resize: side to which the shorter side of an image is scaled, or (height, width) of the result.
        resample: filter of the resizing, "bilinear" by default; it smooths when it makes an image smaller.
        crop: side of the square that is cut out of the middle, or its (height, width).
        scale: factor of all values; 1/255 brings bytes to 0…1.
        mean: number that is then subtracted, one for all channels or one for each.
        std: number that is then divided by, one for all channels or one for each.
        layout: position of the channels that the model takes: "NCHW" or "NHWC".
    """

    color: Literal["rgb", "bgr", "gray"] | None = None
    resize: int | tuple[int, int] | None = None
    resample: str | None = None
    crop: int | tuple[int, int] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: Layout | None = None

    def __post_init__(self) -> None:
        for name, form in _FORMS.items():
            value = getattr(self, name)
            # NumPy's numbers and arrays too.
            value = value.tolist() if hasattr(value, "tolist") else value
            try:
                object.__setattr__(self, name, None if value is None else form.parse(value))
            except (ValueError, ZeroDivisionError) as error:
                raise DataError(
                    f"{name} {reprlib.repr(value)}", form.needed, f"Write {name} as {form.examples}."
                ) from error

    @classmethod
    def of(cls, declared: Any, where: str = "") -> Self:
        """Return the steps of a mapping, as options, `onnxrich.toml` and JSON hold them.

        Args:
            declared: the mapping, a `Preprocessing`, or None for no steps.
            where: where the mapping stands, for messages.

        Raises:
            DataError: when it holds an unknown step, or an invalid value.
        """
        if declared is None or isinstance(declared, cls):
            return declared or cls()
        known = [field.name for field in fields(cls)]
        if not isinstance(declared, Mapping) or any(name not in known for name in declared):
            names = name_list(declared) if isinstance(declared, Mapping) else reprlib.repr(declared)
            raise DataError(
                f"{where or 'preprocessing'} holds {names}", f"steps out of {', '.join(known)}", "Leave the others out."
            )
        with prefix_errors(where):
            return cls(**declared)

    def declared(self) -> dict[str, Any]:
        """Return the steps that are not None, JSON-able."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def normal(self, layout: Layout | None) -> Self:
        """Return the steps in normal form, which is equal for steps with the same effect.

        Args:
            layout: the layout where none is declared.
        """
        return replace(
            self,
            # `resize` stays: a single side is that of the image's shorter side, whichever that is.
            resample=None if self.resize is None else self.resample or "bilinear",
            crop=(self.crop, self.crop) if isinstance(self.crop, int) else self.crop,
            scale=None if self.scale == 1 else self.scale,
            mean=_normal_values(self.mean, neutral=0),
            std=_normal_values(self.std, neutral=1),
            layout=self.layout or layout,
        )

    @property
    def reshapes(self) -> bool:
        """Whether it changes the size or the colours of images, which takes an image library."""
        return self.resize is not None or self.crop is not None or self.color == "gray"

    @property
    def changes_values(self) -> bool:
        """Whether it changes numbers."""
        return self.scale is not None or self.mean is not None or self.std is not None


@dataclass(frozen=True)
class ResolvedPreprocessing:
    """Preprocessing, and the origin of each step."""

    steps: Preprocessing
    origins: Mapping[str, str]

    @classmethod
    def merged(cls, declarations: Sequence[tuple[str, Preprocessing]]) -> Self:
        """Take each step from the first origin that declares it.

        Args:
            declarations: origins and their steps, in order of precedence.
        """
        steps: dict[str, Any] = {}
        origins: dict[str, str] = {}
        for origin, preprocessing in declarations:
            for name, value in preprocessing.declared().items():
                if name not in steps:
                    steps[name], origins[name] = value, origin
        return cls(Preprocessing(**steps), origins)

    def without(self, names: Collection[str]) -> ResolvedPreprocessing:
        """Return the preprocessing without some steps."""
        steps = replace(self.steps, **dict.fromkeys(names))
        return ResolvedPreprocessing(
            steps, {name: origin for name, origin in self.origins.items() if name not in names}
        )

    @property
    def description(self) -> str:
        """The steps and their origins, for people."""
        steps = ", ".join(f"{name} {value}" for name, value in self.steps.declared().items())
        return f"{steps}, declared by {', '.join(sorted(set(self.origins.values())))}"

    def to_dict(self) -> dict[str, Any] | None:
        """Return the steps and their origins, JSON-able; None without steps."""
        steps = self.steps.declared()
        return {**steps, "declared_by": dict(self.origins)} if steps else None


def layout_of(shape: tuple[Any, ...]) -> Layout | None:
    """Return the layout of a shape of four axes, None where it is ambiguous."""
    if len(shape) != 4:
        return None
    first, last = shape[1] in CHANNELS, shape[3] in CHANNELS
    return None if first == last else "NCHW" if first else "NHWC"


def channels_of(shape: tuple[Any, ...], steps: Preprocessing) -> int | None:
    """Return the number of channels of an input's shape, None where it is unknown."""
    if len(shape) == 3:
        return 1
    layout = steps.layout or layout_of(shape)
    size = None if layout is None or len(shape) != 4 else shape[1 if layout == "NCHW" else 3]
    return size if isinstance(size, int) else None


def _normal_values(values: tuple[float, ...] | None, *, neutral: int) -> tuple[float, ...] | None:
    """Return equal numbers of all channels as a single one, and numbers without effect as None."""
    single = values[:1] if values is not None and len(set(values)) == 1 else values
    return None if single == (neutral,) else single


def _parse_number(value: Any) -> float:
    """Parse 0.5, or a text such as "0.5" or "1/255"."""
    if isinstance(value, str):
        numerator, slash, denominator = value.partition("/")
        value = float(numerator) / (float(denominator) if slash else 1.0)
    # Integers beyond the range of floats are finite, but can't be multiplied with floats.
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
        raise ValueError(value)
    return value


def _parse_factor(value: Any) -> float:
    number = _parse_number(value)
    if not number:
        raise ValueError(value)
    return number


def _parse_numbers(parse: Callable[[Any], float], value: Any) -> tuple[float, ...]:
    """Parse 0.5, [0.4, 0.5], or a text such as "0.4,0.5"."""
    values = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ValueError(value)
    return tuple(map(parse, values))


def _parse_size(value: Any) -> int | tuple[int, int]:
    """Parse the side 28 or "28", or height and width such as [28, 32] or "28x32"."""
    if isinstance(value, str) and "x" in value.lower():
        value = value.lower().split("x")
    if not isinstance(value, list | tuple):
        return _parse_side(value)
    height, width = value
    return _parse_side(height), _parse_side(width)


def _parse_side(value: Any) -> int:
    # int() also accepts digits outside ASCII, and takes long for thousands of digits.
    digits = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(LARGEST_SIDE))
    side = int(value) if digits else value
    if type(side) is not int or not 1 <= side <= LARGEST_SIDE:
        raise ValueError(value)
    return side


def _parse_choice(allowed: Collection[str], value: Any) -> str:
    if value not in allowed:
        raise ValueError(value)
    return str(value)


@dataclass(frozen=True)
class _Form:
    """The written form of a step, which is the same in options and files: text means the same as a number.

    Attributes:
        parse: returns the value; raises ValueError or ZeroDivisionError for an invalid one.
        needed: what the value must be.
        examples: valid values.
    """

    parse: Callable[[Any], Any]
    needed: str
    examples: str


_SIZE = _Form(_parse_size, f"a side from 1 to {LARGEST_SIDE:,}, or height and width", '28, [28, 32] or "28x32"')
_FINITE, _LIST = "finite numbers, scale and std not 0", '0.5, [0.4, 0.5, 0.6] or "0.4,0.5,0.6"'
_FORMS = {
    **{
        name: _Form(partial(_parse_choice, allowed), f"one of {', '.join(allowed)}", "one of these")
        for name, allowed in (("color", COLORS), ("layout", LAYOUTS), ("resample", tuple(RESAMPLINGS)))
    },
    "resize": _SIZE,
    "crop": _SIZE,
    "scale": _Form(_parse_factor, _FINITE, '0.5 or "1/255"'),
    "mean": _Form(partial(_parse_numbers, _parse_number), _FINITE, _LIST),
    "std": _Form(partial(_parse_numbers, _parse_factor), _FINITE, _LIST),
}
