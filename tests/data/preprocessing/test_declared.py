"""Where preprocessing is declared, which declaration comes first, and for which data each holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from zoo_text import build, read_all, refused

from onnxrich.data.open import open_source
from onnxrich.errors import DataError
from onnxrich.model.file import read_model

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), dtype=np.uint8)
HUB = {
    "do_resize": True, "size": {"shortest_edge": 5}, "resample": 3, "do_center_crop": True,
    "crop_size": {"height": 4, "width": 4}, "do_rescale": True, "rescale_factor": 0.00392156862745098,
    "do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "do_convert_rgb": True,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a folder of images."""
    (tmp_path / "net/photos").mkdir(parents=True)
    for at, image in enumerate(PIXELS):
        Image.fromarray(image).save(tmp_path / f"net/photos/{at}.png")
    return tmp_path / "net"


def source(folder: Path, data: Any = None, metadata: dict[str, str] | None = None, **steps: Any) -> Any:
    """The source for a model in the folder, with some metadata."""
    proto = build("h = Relu(x)", x="float[N,3,H,W] x", y="float[N,3,H,W] h")
    onnx.helper.set_model_props(proto, metadata or {})
    onnx.save_model(proto, folder / "net.onnx")
    return open_source(
        read_model(folder / "net.onnx"), folder / "photos" if data is None else data, preprocessing=steps
    )


def read(*arguments: Any, **options: Any) -> np.ndarray:
    return read_all(source(*arguments, **options), 2)[0]["x"].transpose(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("NominalRange_0_255", PIXELS), ("Normalized_0_1", PIXELS / 255), ("Normalized_1_1", PIXELS / 127.5 - 1),
        ("NominalRange_16_235", 16 + PIXELS * 219.0 / 255),
    ],
)  # fmt: skip
@pytest.mark.parametrize("format_", [None, "Rgb8", "Bgr8", "Rgba8", "Bgra8"])
def test_metadata(span: str, expected: np.ndarray, format_: str | None, folder: Path) -> None:
    """ONNX's image metadata say range and order of colours."""
    metadata = {"Image.NominalPixelRange": span} | ({"Image.BitmapPixelFormat": format_} if format_ else {})
    result = read(folder, metadata=metadata)
    wanted = expected[..., ::-1] if (format_ or "").startswith("Bgr") else expected
    np.testing.assert_allclose(result, wanted, rtol=1e-6, atol=1e-6)  # rounding to float32, of values up to 255


@pytest.mark.parametrize(
    ("key", "known"),
    [("Image.BitmapPixelFormat", "Gray8, Rgb8, Bgr8"), ("Image.NominalPixelRange", "NominalRange_0_255, Normal")],
)
def test_unknown_metadata(key: str, known: str, folder: Path) -> None:
    """What the specification doesn't know is refused."""
    with refused(DataError, f"the model's metadata have {key} = 'Odd'; needed: one of {known}"):
        source(folder, metadata={key: "Odd"})


@pytest.mark.parametrize("where", ["photos", "."])
def test_config(where: str, folder: Path) -> None:
    """A `preprocessor_config.json` of Hugging Face, in the folder of the data or of the model, is followed."""
    (folder / where / "preprocessor_config.json").write_text(json.dumps(HUB))
    result = source(folder)
    small = [np.asarray(Image.fromarray(image).resize((5, 5), 3)) for image in PIXELS]
    # (5 − 4)/2 = 0.5 rounds to 0, the even side.
    cut = np.stack(small)[:, :4, :4]
    expected = (cut * HUB["rescale_factor"] - HUB["image_mean"]) / HUB["image_std"]  # type: ignore[operator]
    rows = read_all(result, 2)[0]["x"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(rows, expected, rtol=2**-23, atol=2**-24)
    assert result.preprocessing["declared_by"] == dict.fromkeys(
        ("color", "resize", "resample", "crop", "scale", "mean", "std"), "preprocessor_config.json"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 224}, "says size = 224, which has several meanings; needed: height and width, or shortest_edge."),
        ({"size": {"shortest_edge": 5, "longest_edge": 9}}, "says size = {'longest_edge': 9, 'shortest_edge': 5}"),
        ({"crop_pct": 0.9}, "says crop_pct = 0.9, which has several meanings"),
        ({"crop_size": [4, 4]}, "says crop_size = [4, 4], which has"),
        ({"resample": 9}, "says resample = 9, which has"),
        ({"resample": [3]}, "says resample = [3], which has"),
        ({"rescale_factor": 10**400}, "is no JSON (a number beyond those of 64 bits)"),
        ({"rescale_offset": True}, "asks for rescale_offset; needed: no steps but do_resize, do_center_crop"),
        ({"do_pad": True, "do_thumbnail": False}, "asks for do_pad; needed: no steps but do_resize"),
        ({"image_mean": "none"}, "mean 'none'; needed: finite numbers"),
    ],
)
def test_configs_that_are_refused(change: dict[str, Any], message: str, folder: Path) -> None:
    """What a configuration says in a way that has several meanings is refused, unless an option says it."""
    (folder / "preprocessor_config.json").write_text(json.dumps(HUB | change))
    with refused(DataError, message):
        source(folder)


def test_options_excuse_a_config(folder: Path) -> None:
    """Where an option says it, the configuration needs not be understood."""
    (folder / "preprocessor_config.json").write_text(json.dumps(HUB | {"size": 224}))
    result = source(folder, resize=5)
    assert result.preprocessing["resize"] == 5
    assert result.preprocessing["declared_by"]["resize"] == "options"
    (folder / "preprocessor_config.json").write_text(json.dumps(HUB | {"rescale_offset": True, "do_pad": True}))
    assert source(folder, resize=5, scale=1 / 255).preprocessing["scale"] == 1 / 255
    with refused(DataError, "asks for rescale_offset; needed"):
        source(folder, resize=5)


def test_old_configs(folder: Path) -> None:
    """Configurations from before `do_rescale` rescaled always; `crop_size` may be one number."""
    old = {name: value for name, value in HUB.items() if "rescale" not in name} | {"crop_size": 4}
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    result = source(folder).preprocessing
    assert (result["scale"], result["crop"]) == (1 / 255, (4, 4))


@pytest.mark.parametrize("content", ["{", "[1]", '"text"', "{}", '{"feature_size": 80, "sampling_rate": 16000}'])
def test_configs_of_something_else(content: str, folder: Path) -> None:
    """A configuration that says nothing of images declares nothing; one that is no JSON is refused."""
    (folder / "preprocessor_config.json").write_text(content)
    if content == "{":
        with refused(
            DataError,
            "preprocessor_config.json is no JSON (Expecting property name",
            "a whole JSON file. Fix or remove it.",
        ):
            source(folder, scale=1.0)
    else:
        assert source(folder, scale=1.0).preprocessing == {"scale": 1.0, "declared_by": {"scale": "options"}}


def test_order(folder: Path) -> None:
    """Each step comes from the first of options, onnxrich.toml, the model and the configuration that declares it."""
    (folder / "onnxrich.toml").write_text("[preprocessing]\nscale = 0.5\nmean = [1, 2, 3]\ncrop = 2")
    (folder / "preprocessor_config.json").write_text(json.dumps(HUB))
    metadata = {"Image.NominalPixelRange": "Normalized_1_1", "Image.BitmapPixelFormat": "Bgr8"}
    result = source(folder, metadata=metadata, scale=0.25).preprocessing
    assert result == {
        "color": "bgr", "resize": 5, "resample": "bicubic", "crop": 2, "scale": 0.25, "mean": (1, 2, 3),
        "std": (0.2, 0.3, 0.4),
        "declared_by": {
            "color": "model metadata", "resize": "preprocessor_config.json", "resample": "preprocessor_config.json",
            "crop": "onnxrich.toml", "scale": "options", "mean": "onnxrich.toml", "std": "preprocessor_config.json",
        },
    }  # fmt: skip


def test_floats_are_taken_as_prepared(folder: Path) -> None:
    """What the model or a configuration says holds for bytes; what the user says holds for floats too."""
    (folder / "preprocessor_config.json").write_text(json.dumps(HUB))
    floats = np.random.default_rng(1).random((5, 3, 6, 6), dtype=np.float32)
    metadata = {"Image.NominalPixelRange": "Normalized_0_1"}
    result = source(folder, floats, metadata)
    np.testing.assert_array_equal(read_all(result, 2)[0]["x"], floats)
    assert result.preprocessing is None
    result = source(folder, floats, metadata, scale=2.0)
    np.testing.assert_array_equal(read_all(result, 2)[0]["x"], floats * 2)
    bytes_ = PIXELS.transpose(0, 3, 1, 2)
    assert source(folder, bytes_, metadata).preprocessing["scale"] == 1 / 255


def test_resample_of_another_resize(folder: Path) -> None:
    """A filter goes with the size of a configuration, but not where that does not hold: for floats."""
    (folder / "preprocessor_config.json").write_text(json.dumps(HUB))
    assert source(folder, resample="box").preprocessing["resample"] == "box"
    with refused(DataError, "resample 'box' is declared without resize"):
        source(folder, np.ones((5, 3, 6, 6), np.float32), resample="box")


def test_images_are_not_spoken_of_where_there_are_none(tmp_path: Path) -> None:
    """What the model says of images is left out for other rows; what `onnxrich.toml` says is refused there."""
    proto = build("c = Cast<to = 1>(x)\n h = Relu(c)", x="float[N,6] x", y="float[N,6] h")
    proto.metadata_props.add(key="Image.BitmapPixelFormat", value="Gray8")
    proto.metadata_props.add(key="Image.NominalPixelRange", value="Normalized_0_1")
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    flat = np.arange(30, dtype=np.uint8).reshape(5, 6)
    result = open_source(read_model(tmp_path / "net.onnx"), flat)
    assert result.preprocessing == {"scale": 1 / 255, "declared_by": {"scale": "model metadata"}}
    (tmp_path / "onnxrich.toml").write_text("[preprocessing]\nresize = 4")
    with refused(
        DataError,
        "resize in onnxrich.toml can't be applied to 'array', whose rows are 6; needed",
        "Leave out resize in ",
    ):
        open_source(read_model(tmp_path / "net.onnx"), flat)


def test_settings_without_data(folder: Path) -> None:
    """`onnxrich.toml` may say preprocessing alone; the data are then those that are given, or lie beside the model."""
    (folder / "onnxrich.toml").write_text("[preprocessing]\nscale = 0.5")
    np.savez(folder / "net.npz", x=PIXELS.transpose(0, 3, 1, 2))
    source(folder)
    result = open_source(read_model(folder / "net.onnx"), None)
    np.testing.assert_array_equal(read_all(result, 2)[0]["x"], PIXELS.transpose(0, 3, 1, 2) * np.float32(0.5))


def test_settings_that_make_no_sense(folder: Path) -> None:
    """A step that is none is refused with where it stands."""
    (folder / "onnxrich.toml").write_text("[preprocessing]\nzoom = 2")
    with refused(DataError, "[preprocessing] of onnxrich.toml holds 'zoom'; needed: steps out of color, resize"):
        source(folder)


def test_settings_are_written_as_options(folder: Path) -> None:
    """`onnxrich.toml` takes what the command line takes."""
    (folder / "onnxrich.toml").write_text('[preprocessing]\nscale = "1/255"\nresize = "4x5"\nmean = "0.5,0.4,0.3"')
    result = source(folder).preprocessing
    assert (result["scale"], result["resize"], result["mean"]) == (1 / 255, (4, 5), (0.5, 0.4, 0.3))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('scale = "1/"', "scale '1/'; needed: finite numbers, scale and std not 0. Write scale as 0.5 or \"1/255\"."),
        ("resize = 2.5", "resize 2.5; needed: a side from 1 to 16,384, or height and width. Write resize as 28, ["),
        ('color = "grey"', "color 'grey'; needed: one of rgb, bgr, gray."),
    ],
)
def test_settings_that_are_wrong(line: str, message: str, folder: Path) -> None:
    """A wrong value is refused with the file in which it stands, and how to write it."""
    (folder / "onnxrich.toml").write_text(f"[preprocessing]\n{line}")
    with refused(DataError, f"[preprocessing] of onnxrich.toml: {message}"):
        source(folder)
