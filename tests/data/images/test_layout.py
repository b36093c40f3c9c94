"""Rows of pixels as inputs take them: each step against NumPy and Pillow, and what makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from zoo_text import build, read_all, refused, source_of, two_layers

from onnxrich.errors import DataError

RNG = np.random.default_rng(0)
COLORED = RNG.integers(0, 256, (6, 10, 14, 3), dtype=np.uint8)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def takes(shape: str, kind: str = "float") -> Any:
    """A model with one input of a shape."""
    return build("c = Cast<to = 1>(x)\n h = Relu(c)", x=f"{kind}[{shape}] x", y=f"float[{shape}] h")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of colour images."""
    (tmp_path / "photos").mkdir()
    for at, image in enumerate(COLORED):
        Image.fromarray(image).save(tmp_path / f"photos/{at}.png")
    return tmp_path / "photos"


def read(shape: str, data: Any, kind: str = "float", **steps: Any) -> np.ndarray:
    return read_all(source_of(takes(shape, kind), data, preprocessing=steps), 4)[0]["x"]


def test_scale_mean_std(photos: Path) -> None:
    """(scale · x − mean) / std in each channel, in double, rounded once."""
    pixels = read("N,3,H,W", photos, scale=1 / 255, mean=MEAN, std=STD)
    expected = (COLORED.astype(np.float64) / 255 - MEAN) / STD
    # The product with 1/255 and the quotient by 255 differ by an ulp of double, which may tip a rounding to float32;
    # the difference with the mean, at least 0.0003 here, enlarges it by up to 10⁴ · 2⁻⁵³, far below float32's 2⁻²⁴.
    np.testing.assert_allclose(pixels, expected.transpose(0, 3, 1, 2), rtol=2**-23)
    assert pixels.dtype == np.float32


def test_bytes_become_what_a_division_gives() -> None:
    """A scale of 1/255 gives exactly the float32 quotient of each byte by 255, which training divides by."""
    every = np.arange(256, dtype=np.uint8).reshape(-1, 16, 16)
    pixels = read("N,1,16,16", every, scale=1 / 255)
    np.testing.assert_array_equal(pixels.reshape(-1), np.arange(256, dtype=np.float32) / np.float32(255))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("name", "value"), [("resize", 8), ("crop", 4), ("color", "gray"), ("layout", "NCHW")])
def test_steps_of_images(name: str, value: Any, dtype: Any) -> None:
    """Rows that are no images are not taken for resized ones, as arrays or as items."""
    rows = np.ones((6, 12), dtype)
    for data in (rows, [{"x": rows}]):
        with refused(
            DataError,
            f"--{name} can't be applied to ",
            "rows are 12; needed: images",
            f"Leave out --{name}, or save the",
        ):
            read("N,12", data, scale=0.5, **{name: value})


def test_resample_alone(photos: Path) -> None:
    """A filter without a size to resize to is refused."""
    with refused(
        DataError, "resample 'box' is declared without resize; needed: the size", "Pass --resize as well, or leave"
    ):
        read("N,3,H,W", photos, resample="box")


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_type_does_not_matter(dtype: Any) -> None:
    """Bytes, whose values are looked up, and floats, which are computed, give the same."""
    array = COLORED.transpose(0, 3, 1, 2)
    steps = {"scale": 1 / 255, "mean": MEAN, "std": STD}
    np.testing.assert_array_equal(read("N,3,H,W", array.astype(dtype), **steps), read("N,3,H,W", array, **steps))


def test_transparency_stays_last() -> None:
    """BGR with transparency is BGRA, not ABGR."""
    model = build("h = Relu(x)", x="float[N,4,2,2] x", y="float[N,4,2,2] h")
    data = np.broadcast_to(np.array([1, 2, 3, 4], np.uint8), (3, 2, 2, 4))
    source = source_of(model, data, preprocessing={"color": "bgr", "scale": 1.0})
    assert read_all(source, 2)[0]["x"][0, :, 0, 0].tolist() == [3, 2, 1, 4]


@pytest.mark.parametrize("layout", [None, "NCHW", "NHWC"])
@pytest.mark.parametrize("stored", ["folder", "NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["rgb", "bgr", None])
def test_layout_and_colors(layout: Any, stored: str, color: Any, photos: Path) -> None:
    """However images lie, they become what the model takes, where its shape or the layout says it."""
    data: Any = {"folder": photos, "NCHW": COLORED.transpose(0, 3, 1, 2), "NHWC": COLORED}[stored]
    shape = "N,3,H,W" if layout != "NHWC" else "N,H,W,3"
    steps = {name: value for name, value in {"layout": layout, "color": color, "scale": 1.0}.items() if value}
    expected = COLORED[..., ::-1] if color == "bgr" else COLORED
    if layout != "NHWC":
        expected = expected.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(read(shape, data, **steps), expected)


def test_layout_of_vectors(photos: Path) -> None:
    """Colours in a flat input follow the layout, which has to be said."""
    size = COLORED[0].size
    pixels = read(f"N,{size}", photos, scale=1.0, layout="NHWC")
    np.testing.assert_array_equal(pixels, COLORED.reshape(6, -1))
    pixels = read(f"N,{size}", photos, scale=1.0, layout="NCHW")
    np.testing.assert_array_equal(pixels, COLORED.transpose(0, 3, 1, 2).reshape(6, -1))
    with refused(DataError, "doesn't say where its channels are", "Pass --layout NCHW or --layout NHWC."):
        read(f"N,{size}", photos, scale=1.0)


def test_layout_unknown(photos: Path) -> None:
    """Where the model's shape doesn't say it, the layout has to be said."""
    with refused(DataError, "input 'x' of shape N × A × B × C doesn't say where its channels are"):
        read("N,A,B,C", photos, scale=1.0)


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_resize(resample: str, photos: Path) -> None:
    """Resizing is Pillow's, of the shorter side or of both, for files and for arrays of bytes."""
    number = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}[resample]
    for resize, (height, width) in ((5, (5, 7)), ((4, 6), (4, 6)), (20, (20, 28))):
        wanted = [np.asarray(Image.fromarray(image).resize((width, height), number)) for image in COLORED]
        for data in (photos, COLORED):
            pixels = read("N,H,W,3", data, "uint8", resize=resize, resample=resample)
            np.testing.assert_array_equal(pixels, np.stack(wanted))


def test_crop(photos: Path) -> None:
    """The middle is cut out; half pixels go to the even side, as in torchvision's CenterCrop."""
    np.testing.assert_array_equal(read("N,H,W,3", photos, "uint8", crop=4), COLORED[:, 3:7, 5:9])
    # (10 − 5)/2 = 2.5 → 2, (14 − 7)/2 = 3.5 → 4
    np.testing.assert_array_equal(read("N,H,W,3", photos, "uint8", crop=(5, 7)), COLORED[:, 2:7, 4:11])
    with refused(DataError, "0.png: 10 × 14 pixels, less than the crop 12 × 12"):
        read("N,H,W,3", photos, "uint8", crop=12)


def test_resize_comes_before_crop(photos: Path) -> None:
    """First the size, then the cut."""
    pixels = read("N,H,W,3", photos, "uint8", resize=20, crop=16)
    wanted = [np.asarray(Image.fromarray(image).resize((28, 20), 2))[2:18, 6:22] for image in COLORED]
    np.testing.assert_array_equal(pixels, np.stack(wanted))


@pytest.mark.parametrize("from_array", [False, True])
def test_gray(from_array: bool, photos: Path) -> None:
    """Gray is Pillow's luma, for files and for arrays of bytes."""
    pixels = read("N,H,W,1", COLORED if from_array else photos, "uint8", color="gray")
    wanted = [np.asarray(Image.fromarray(image).convert("L")) for image in COLORED]
    np.testing.assert_array_equal(pixels[..., 0], np.stack(wanted))


def test_colors_are_not_dropped(photos: Path) -> None:
    """Colour images for a model of one channel are refused, unless gray is asked for."""
    with refused(DataError, "0.png: colours (mode RGB) for a model of one channel: pass --color gray"):
        read("N,1,H,W", photos, scale=1.0)


def test_gray_images_for_colors(tmp_path: Path) -> None:
    """Gray images become three equal channels for a model that takes colours: nothing is lost."""
    (tmp_path / "d").mkdir()
    Image.fromarray(COLORED[0, ..., 0]).save(tmp_path / "d/0.png")
    pixels = read("N,3,H,W", tmp_path / "d", scale=1.0)
    np.testing.assert_array_equal(pixels, np.repeat(COLORED[:1, None, ..., 0], 3, axis=1))


def test_sizes_that_differ(tmp_path: Path) -> None:
    """Images of different sizes need to be brought to one."""
    (tmp_path / "d").mkdir()
    for at, size in enumerate(((4, 6), (5, 6))):
        Image.new("RGB", size).save(tmp_path / f"d/{at}.png")
    with refused(
        DataError,
        "d holds images of 6 × 4 × 3 and 6 × 5 × 3 (height × width × channels); needed: images of one size and one "
        "number of channels. Pass --resize and --crop as in training, and --color for colours.",
    ):
        read("N,3,H,W", tmp_path / "d", scale=1.0)


@pytest.mark.parametrize(
    ("shape", "steps", "remedy"),
    [
        ("N,3,24,24", {}, "Pass --resize 24 --crop 24, or the steps of the training."),
        ("N,24,24,3", {}, "Pass --resize 24 --crop 24, or"),
        ("N,3,8,12", {}, "Pass --resize 8x12, or the steps of the training."),
        ("N,24,24", {"color": "gray"}, "Pass --resize 24 --crop 24, or"),
        ("N,24,24,C", {"layout": "NHWC"}, "Pass --resize 24 --crop 24, or"),
        ("N,3,H,24", {}, "Pass --resize, --crop, --color and --layout as in training."),
    ],
)
def test_images_of_another_size(shape: str, steps: Any, remedy: str, photos: Path) -> None:
    """The message says what brings images to the size that the model takes."""
    with refused(DataError, "input 'x' gets data of shape ", "; needed: shape " + shape.replace(",", " × "), remedy):
        read(shape, photos, scale=1.0, **steps)


GRAY = COLORED[..., 0]
FLOATS = COLORED.astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "data", "steps", "remedy"),
    [
        ("N,3,10,14", "photos", {"color": "gray"}, "The model takes 3 channels: leave out --color gray."),
        ("N,10,14,3", COLORED, {"color": "gray"}, "The model takes 3 channels: leave out --color gray."),
        ("N,4,10,14", "photos", {"color": "bgr"}, "The model takes 4 channels: leave out --color bgr."),
        ("N,1,10,14", "photos", {"color": "rgb"}, "The model takes one channel: pass --color gray."),
        ("N,1,10,14", COLORED, {}, "The model takes one channel: pass --color gray."),
        ("N,10,14", COLORED, {}, "The model takes one channel: pass --color gray."),
        ("N,1,10,14", FLOATS, {}, "The model takes one channel: save gray images."),
        ("N,3,10,14", GRAY, {}, "takes 3 channels: save images that have as many, such as these gray ones repeated."),
        ("N,3,10,14", "photos", {"layout": "NHWC"}, "the channels first: leave out --layout, or pass --layout NCHW."),
        ("N,10,14,3", COLORED, {"layout": "NCHW"}, "the channels last: leave out --layout, or pass --layout NHWC."),
        ("N,3,8,8", COLORED, {"layout": "NHWC"}, "the channels first: leave out --layout, or pass --layout NCHW."),
        ("N,3,8,8", COLORED, {}, "Pass --resize 8 --crop 8, or the steps of the training."),
    ],
)  # fmt: skip
def test_true_cause(shape: str, data: Any, steps: Any, remedy: str, photos: Path) -> None:
    """What is wrong with the layout or the channels is not fixed by another size, and the message says so."""
    with refused(DataError, "input 'x' gets data of shape ", "; needed: shape " + shape.replace(",", " × "), remedy):
        read(shape, photos if isinstance(data, str) else data, scale=1.0, **steps)


@pytest.mark.parametrize(
    ("shape", "array", "layout", "remedy"),
    [
        ("N,3,10,14", FLOATS, "NCHW", "come last: pass --layout NCHW, or save array.transpose(0, 3, 1, 2)."),
        ("N,10,14,3", FLOATS.transpose(0, 3, 1, 2), "NHWC", "The channels come first: pass --layout NHWC, or save "),
        ("N,1,10,14", FLOATS[..., 0], "NCHW", "is missing: pass --layout NCHW, or save numpy.expand_dims(array, 1)."),
        ("N,10,14,1", FLOATS[..., 0], "NHWC", "is missing: pass --layout NHWC, or save numpy.expand_dims(array, 3)."),
    ],
)  # fmt: skip
def test_layout_that_helps(shape: str, array: np.ndarray, layout: str, remedy: str) -> None:
    """Arrays of floats, to which nothing is done unasked, are told the layout that makes them fit, and it does."""
    with refused(DataError, remedy):
        read(shape, array)
    expected = array[..., None] if array.ndim == 3 else FLOATS
    np.testing.assert_array_equal(
        read(shape, array, layout=layout), expected.transpose(0, 3, 1, 2) if layout == "NCHW" else expected
    )


@pytest.mark.parametrize(
    ("size", "remedy"),
    [(784, "--resize 28 --crop 28 --color gray"), (3 * 784, "--resize 28 --crop 28"), (64, "--resize 8 --crop 8 --co")],
)
def test_images_of_another_size_for_vectors(size: int, remedy: str, photos: Path) -> None:
    """An input of numbers may take images of as many pixels; that comes before scale and layout."""
    with refused(DataError, f"input 'x' gets images of 10 × 14 × 3; needed: shape N × {size}. Pass {remedy}"):
        read(f"N,{size}", photos)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [("N,6", "float"), ("N,49", "float"), ("N,L", "int64"), ("N,7,5,7", "float"), ("N,1,3,9,9", "float")],
)
def test_images_for_other_inputs(shape: str, kind: str, photos: Path) -> None:
    """An input that takes no images says so before it asks for their scale or layout."""
    message = f"input 'x' of shape {shape.replace(',', ' × ')} takes no images; needed: rows of numbers."
    with refused(DataError, message, "Pass an array or a table of these, or the model that the images are for."):
        read(shape, photos, kind)


def test_columns_of_a_table() -> None:
    """Mean and std hold for columns as well, one number each."""
    x = RNG.standard_normal((9, 6)).astype(np.float32)
    mean, std = tuple(range(6)), (1, 2, 4, 8, 16, 32)
    rows, _ = read_all(source_of(two_layers(), x, preprocessing={"mean": mean, "std": std}), 4)
    np.testing.assert_array_equal(rows["x"], ((x.astype(np.float64) - mean) / std).astype(np.float32))


def test_bytes_without_a_scale(photos: Path) -> None:
    """How bytes become floats is never guessed."""
    for data in (photos, COLORED):
        with refused(
            DataError, "input 'x' gets uint8 data; needed: float32. Say how bytes are scaled, as in training "
        ):
            read("N,3,H,W", data, layout="NCHW")


def test_several_inputs() -> None:
    """Preprocessing holds for the input of images, where there are others."""
    proto = build(
        "r = Flatten(i)\n a = MatMul(x, w1)\n h = Relu(a)", x="float[N,6] x, float[N,3,2,2] i", y="float[N,8] h"
    )
    x, images = RNG.standard_normal((5, 6)).astype(np.float32), RNG.integers(0, 256, (5, 3, 2, 2), dtype=np.uint8)
    rows, _ = read_all(source_of(proto, {"x": x, "i": images}, preprocessing={"scale": 0.5}), 3)
    np.testing.assert_array_equal(rows["x"], x)
    np.testing.assert_array_equal(rows["i"], images * np.float32(0.5))
    two = build("h = Add(a, b)", x="float[N,6] a, float[N,6] b", y="float[N,6] h")
    with refused(
        DataError, "preprocessing is declared for 'a', 'b'; needed: an input with four axes, or a single one."
    ):
        source_of(two, {"a": x, "b": x}, preprocessing={"scale": 0.5})


@pytest.mark.parametrize("steps", [{"resize": 4}, {"color": "gray"}, {"crop": 2}])
def test_floats_are_not_resized(steps: Any) -> None:
    """Only bytes are resized, as image libraries do it in training."""
    with refused(DataError, "images of type float32 can't be resized, cropped or made gray; needed: bytes (uint8)."):
        read("N,3,H,W", COLORED.astype(np.float32), **steps)


@pytest.mark.parametrize("steps", [{"resize": 4}, {"crop": 2, "color": "gray"}, {"layout": "NHWC", "scale": 2.0}])
@pytest.mark.parametrize("kind", ["array", "mapping", "iterable", "columns"])
def test_steps_of_images_for_other_rows(kind: str, steps: Any, tmp_path: Path) -> None:
    """Steps that would do nothing are refused rather than reported as done; those of any numbers are done."""
    x = RNG.standard_normal((9, 6)).astype(np.float32)
    data = {"array": x, "mapping": {"x": x}, "iterable": [{"x": x}], "columns": tmp_path / "d.csv"}[kind]
    (tmp_path / "d.csv").write_text("\n".join(",".join(map(str, row)) for row in [list("abcdef"), *x.tolist()]))
    options = " and ".join(f"--{name}" for name in steps if name != "scale")
    rows = "one number" if kind == "columns" else "6"
    with refused(
        DataError,
        f"{options} can't be applied to ",
        f"whose rows are {rows}; needed: images",
        f"Leave out {options}, or save",
    ):
        read_all(source_of(two_layers(), data, preprocessing=steps), 4)
    rows, _ = read_all(source_of(two_layers(), data, preprocessing={"scale": 2.0}), 4)
    np.testing.assert_array_equal(rows["x"], x * 2)


def test_layout_of_gray_arrays() -> None:
    """Channels are laid out where the model has an axis for them."""
    gray = COLORED[..., 0]
    assert read("N,10,14,1", gray, scale=1.0, layout="NHWC").shape == (6, 10, 14, 1)
    with refused(
        DataError,
        "--layout can't be applied to 'array', whose rows are 10 × 14; needed: images: height × width × channels.",
    ):
        read("N,10,14", gray, scale=1.0, layout="NHWC")


@pytest.mark.parametrize("mean", [(1.0, 2.0), (1.0,) * 4])
def test_means_that_do_not_fit(mean: Any, photos: Path) -> None:
    """Means are one, or one a channel."""
    with refused(
        DataError, f"mean or std has {len(mean)} numbers for 3 channels of input 'x'; needed: one number, or one"
    ):
        read("N,3,H,W", photos, scale=1.0, mean=mean)
