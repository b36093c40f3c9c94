"""What is done to rows before a model sees them, as somebody declared it: what nobody declared is not done."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from onnxrich.errors import DataError, naming

COLORS, LAYOUTS = ("rgb", "bgr", "gray"), ("NCHW", "NHWC")
# Filters of Pillow, in the numbers that it and Hugging Face's configurations give them.
RESAMPLINGS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
LARGEST_SIDE = 2**14
# How values are written, wherever steps are declared: the text of each form means the same as the number.
_FORMS = {
    **dict.fromkeys(("resize", "crop"), '28, [28, 32] or "28x32"'),
    "scale": '0.5 or "1/255"',
    **dict.fromkeys(("mean", "std"), '0.5, [0.4, 0.5, 0.6] or "0.4,0.5,0.6"'),
}
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
        for name in _FORMS:
            object.__setattr__(self, name, _understood(name, getattr(self, name)))
        for name in ("resize", "crop"):
            _check_sides(name, getattr(self, name))
        for name, allowed in (("color", COLORS), ("layout", LAYOUTS), ("resample", tuple(RESAMPLINGS))):
            value = getattr(self, name)
            if value is not None and value not in allowed:
                raise DataError(f"{name} {value!r}", f"one of {', '.join(allowed)}", f"Pass {name} as one of these.")
        numbers = {"scale": (self.scale,), "mean": self.mean, "std": self.std}
        for name, values in numbers.items():
            wrong = [value for value in values or () if value is not None and not _is_number(value)]
            if wrong or values == () or (name != "mean" and 0 in (values or ())):
                raise DataError(
                    f"{name} {getattr(self, name)!r}",
                    "finite numbers, scale and std not 0",
                    f"Write {name} as {_FORMS[name]}.",
                )

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
        with naming(where):
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
            # A single side of an image is that of the shorter one, whatever becomes of the other.
            resize=self.resize if isinstance(self.resize, int) else _both(self.resize),
            resample=None if self.resize is None else self.resample or "bilinear",
            crop=_both(self.crop),
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
class Recipe:
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

    def without(self, names: Collection[str]) -> Recipe:
        """The same, but for some steps."""
        steps = replace(self.steps, **dict.fromkeys(names))
        return Recipe(steps, {name: origin for name, origin in self.origins.items() if name not in names})

    @property
    def told(self) -> str:
        """The steps for people, with who declared them."""
        steps = ", ".join(f"{name} {value}" for name, value in self.steps.declared().items())
        return f"{steps}, declared by {', '.join(sorted(set(self.origins.values())))}"

    def record(self) -> dict[str, Any] | None:
        """What was applied, JSON-able; None when nothing was."""
        steps = self.steps.declared()
        return {**steps, "declared_by": dict(self.origins)} if steps else None


def _understood(name: str, value: Any) -> Any:
    """A value as numbers: what can't be read as such stays what it is, and is refused as such."""
    # NumPy's numbers and arrays too.
    value = value.tolist() if hasattr(value, "tolist") else value
    value = tuple(value) if isinstance(value, list) else value
    if name in ("resize", "crop"):
        return _sides(value) if isinstance(value, str) else value
    if name == "scale":
        return _number(value)
    values = tuple(value.split(",")) if isinstance(value, str) else value
    values = (values,) if _is_number(values) else values
    numbers = tuple(map(_number, values)) if isinstance(values, tuple) else values
    return numbers if isinstance(numbers, tuple) and all(map(_is_number, numbers)) else value


def _both(side: int | tuple[int, ...] | None) -> tuple[int, int] | None:
    """Height and width of a square's side too."""
    sides = (side,) if isinstance(side, int) else side
    return None if sides is None else (sides[0], sides[-1])


def _without(neutral: int, values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Numbers of all channels as one where they are the same; None where that changes nothing."""
    single = values[:1] if values is not None and len(set(values)) == 1 else values
    return None if single == (neutral,) else single


def _number(value: Any) -> Any:
    """The number of a text such as 0.5 or 1/255."""
    if not isinstance(value, str):
        return value
    above, slash, below = value.partition("/")
    try:
        return float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        return value


def _sides(text: str) -> Any:
    """The side of a text such as 28, or height and width of one such as 28x32."""
    parts = text.lower().split("x")
    if not all(part.isascii() and part.isdigit() and len(part) <= len(str(LARGEST_SIDE)) for part in parts):
        return text
    return int(text) if len(parts) == 1 else tuple(map(int, parts))


def _is_number(value: Any) -> bool:
    # Integers beyond the range of floats are finite, and none that anything can be multiplied by.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _check_sides(name: str, value: Any) -> None:
    sides = value if isinstance(value, tuple) else (value,)
    whole = all(isinstance(side, int) and 1 <= side <= LARGEST_SIDE for side in sides)
    if value is not None and not (whole and len(sides) in (1, 2) and not isinstance(value, bool)):
        raise DataError(
            f"{name} {value!r}",
            f"a side from 1 to {LARGEST_SIDE:,}, or height and width",
            f"Write {name} as {_FORMS[name]}.",
        )
