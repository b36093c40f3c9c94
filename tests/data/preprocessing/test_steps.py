"""Steps of preprocessing: their written forms, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from zoo_text import refused

from onnxrich import Preprocessing
from onnxrich.errors import DataError

STEPS = ("color", "resize", "resample", "crop", "scale", "mean", "std", "layout")


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"color": "cmyk"}, "color 'cmyk'; needed: one of rgb, bgr, gray."),
        ({"layout": "CHW"}, "layout 'CHW'; needed: one of NCHW, NHWC."),
        ({"resample": "best"}, "resample 'best'; needed: one of nearest, lanczos, bilinear, bicubic, box, hamming."),
        ({"resize": 0}, "resize 0; needed: a side from 1 to 16,384, or height and width."),
        ({"resize": 10**6}, "resize 1000000; needed: a side from 1 to 16,384"),
        ({"crop": (1, 2, 3)}, "crop (1, 2, 3); needed: a side"),
        ({"crop": 2.5}, "crop 2.5; needed: a side"),
        ({"scale": 0}, "scale 0; needed: finite numbers, scale and std not 0."),
        ({"scale": float("nan")}, "scale nan; needed: finite numbers"),
        ({"std": (1.0, 0.0)}, "std (1.0, 0.0); needed: finite numbers"),
        ({"mean": ()}, "mean (); needed: finite numbers"),
        ({"mean": ("a",)}, "mean ('a',); needed: finite numbers"),
        ({"resize": [28]}, "resize [28]; needed: a side from 1 to 16,384, or height and width."),
        ({"crop": True}, "crop True; needed: a side"),
        ({"std": [True]}, "std [True]; needed: finite numbers"),
        ({"color": ["rgb"]}, "color ['rgb']; needed: one of rgb, bgr, gray."),
        *(({name: empty}, f"{name} {empty!r}; needed: ") for empty in ("", " ", []) for name in STEPS),
        ({"scala": 1.0}, "preprocessing holds 'scala'; needed: steps out of color, resize, resample, crop, sc"),
        ("1/255", "preprocessing holds '1/255'; needed: steps out of color"),
    ],
)  # fmt: skip
def test_steps_that_are_none(steps: Any, message: str) -> None:
    """A step that makes no sense is refused with what it may be."""
    with refused(DataError, message):
        Preprocessing.of(steps)


@pytest.mark.parametrize("value", [np.float32(0.5), np.array([0.25, 0.5]), np.array(2)])
def test_numbers_of_numpy(value: Any) -> None:
    """NumPy's numbers and arrays are those that they hold."""
    assert Preprocessing(mean=value).mean == tuple(float(number) for number in np.ravel(value))


def test_one_number_for_all() -> None:
    """A single mean or deviation needs no list around it, and lists are as good as tuples."""
    assert Preprocessing.of({"mean": 0.5, "std": [1, 2]}) == Preprocessing(mean=(0.5,), std=(1, 2))
    assert Preprocessing.of({"resize": [2, 3], "scale": None}) == Preprocessing(resize=(2, 3))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"scale": "1/255"}, {"scale": 1 / 255}),
        ({"scale": " 0.5 "}, {"scale": 0.5}),
        ({"resize": "28x32", "crop": "28"}, {"resize": (28, 32), "crop": 28}),
        ({"mean": "0.5", "std": "1/4,0.5"}, {"mean": (0.5,), "std": (0.25, 0.5)}),
        ({"mean": ["1/2", 1]}, {"mean": (0.5, 1)}),
    ],
)
def test_texts_of_the_command_line(written: Any, meant: Any) -> None:
    """What the command line takes is taken in mappings and by the class itself."""
    assert Preprocessing.of(written) == Preprocessing(**written) == Preprocessing(**meant)


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("scale", "1/", '0.5 or "1/255"'), ("scale", "1/0", '0.5 or "1/255"'), ("scale", "nan", '0.5 or "1/255"'),
        ("std", "1,,2", '0.5, [0.4, 0.5, 0.6] or "0.4,0.5,0.6"'), ("mean", "a,b", '0.5, [0.4, 0.5, 0.6]'),
        ("resize", "28x", '28, [28, 32] or "28x32"'), ("crop", "28 by 28", '28, [28, 32] or "28x32"'),
        ("crop", "9" * 5000, '28, [28, 32] or "28x32"'), ("resize", "0x4", '28, [28, 32] or "28x32"'),
    ],
)  # fmt: skip
def test_texts_that_are_no_values(name: str, text: str, form: str) -> None:
    """A text that is none is refused with the forms that work."""
    with refused(DataError, f"{name} ", f"Write {name} as {form}"):
        Preprocessing.of({name: text})
