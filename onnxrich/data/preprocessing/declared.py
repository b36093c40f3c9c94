"""Where preprocessing is declared: options, `onnxrich.toml`, the model's metadata, or a file beside model or data."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnxrich.data.discovery import read_settings
from onnxrich.data.paths import DataPath
from onnxrich.data.preprocessing.steps import RESAMPLINGS, Preprocessing, ResolvedPreprocessing
from onnxrich.errors import DataError, prefix_errors
from onnxrich.model.file import Model

CONFIG = "preprocessor_config.json"
LARGEST_CONFIG = 2**20
# Steps of such a file that onnxrich applies; others, such as padding, are refused rather than left out silently.
_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_flip_channel_order")

# ONNX's image metadata (docs/MetadataProps.md of the ONNX specification): colours, and steps that turn bytes into the
# stated range.
_FORMATS = {"Gray8": "gray", "Rgb8": "rgb", "Bgr8": "bgr", "Rgba8": "rgb", "Bgra8": "bgr"}
_RANGES: dict[str, dict[str, Any]] = {
    "NominalRange_0_255": {"scale": 1.0},
    "Normalized_0_1": {"scale": 1 / 255},
    "Normalized_1_1": {"scale": 2 / 255, "mean": (1.0,)},
    "NominalRange_16_235": {"scale": 219 / 255, "mean": (-16.0,)},
}


@dataclass(frozen=True)
class DeclaredPreprocessing:
    """The preprocessing that is declared for a model and its data.

    Attributes:
        by_user: steps from options and `onnxrich.toml`: they hold for all data.
        for_bytes: the same, then those of the model and of Hugging Face's file. The latter speak of images, and hold
            for bytes alone: arrays of floats are taken as already prepared.
        model: path of the model.
        others: the same for further models that take the same rows.
    """

    by_user: ResolvedPreprocessing
    for_bytes: ResolvedPreprocessing
    model: str = ""
    others: Sequence[DeclaredPreprocessing] = field(default=())


def find_declared(
    model: Model, others: Sequence[Model], data: DataPath | None, options: Preprocessing
) -> DeclaredPreprocessing:
    """Find the declared preprocessing of a model, and of others that take the same rows.

    Args:
        model: the model.
        others: the other models.
        data: path of the data, None for data in memory.
        options: steps that the user passed.

    Raises:
        DataError: when a declaration can't be interpreted.
    """
    declared_for_others = []
    for other in others:
        with prefix_errors(other.path):
            declared_for_others.append(_find_declared_for_one(other, data, options))
    return replace(_find_declared_for_one(model, data, options), others=tuple(declared_for_others))


def _find_declared_for_one(model: Model, data: DataPath | None, options: Preprocessing) -> DeclaredPreprocessing:
    """Take each step from the first that declares it: options, `onnxrich.toml`, the model's metadata,
    `preprocessor_config.json` in the folder of the data, then in that of the model.
    """
    settings = Preprocessing.of(read_settings(model).get("preprocessing"), "[preprocessing] of onnxrich.toml")
    by_user = [("options", options), ("onnxrich.toml", settings)]
    config = _read_config(model, data)
    for_images = [
        ("model metadata", from_metadata(model)),
        (CONFIG, from_config(config, ResolvedPreprocessing.merged(by_user).steps)),
    ]
    return DeclaredPreprocessing(
        ResolvedPreprocessing.merged(by_user), ResolvedPreprocessing.merged(by_user + for_images), model.path
    )


def from_metadata(model: Model) -> Preprocessing:
    """Return the steps of ONNX's image metadata.

    Raises:
        DataError: when they hold a value that the specification doesn't define.
    """
    metadata = {entry.key: entry.value for entry in model.proto.metadata_props}
    for key, defined in (("Image.BitmapPixelFormat", _FORMATS), ("Image.NominalPixelRange", _RANGES)):
        value = metadata.get(key)
        if value is not None and value not in defined:
            raise DataError(
                f"the model's metadata have {key} = {reprlib.repr(value)}",
                f"one of {', '.join(defined)}",
                "Pass the preprocessing as options, and fix the metadata.",
            )
    steps: dict[str, Any] = dict(_RANGES.get(metadata.get("Image.NominalPixelRange", ""), {}))
    if "Image.BitmapPixelFormat" in metadata:
        steps["color"] = _FORMATS[metadata["Image.BitmapPixelFormat"]]
    return Preprocessing(**steps)


def from_config(config: Mapping[str, Any], known: Preprocessing) -> Preprocessing:
    """Return the steps of a `preprocessor_config.json` of Hugging Face.

    Args:
        config: its content.
        known: steps that are declared elsewhere: those of the file are ignored.

    Raises:
        DataError: when it holds a step that onnxrich doesn't apply, or a value with several meanings.
    """
    steps: dict[str, Any] = {}
    if not any(key.startswith("do_") for key in config):
        return Preprocessing()
    _check_steps(config, known)
    if config.get("do_resize") and known.resize is None:
        steps |= _resizing(config)
    if config.get("do_center_crop") and known.crop is None:
        steps["crop"] = _height_and_width(config, "crop_size")
    if config.get("do_rescale", True):
        steps["scale"] = config.get("rescale_factor", 1 / 255)
    if config.get("do_normalize"):
        steps |= {"mean": config.get("image_mean"), "std": config.get("image_std")}
    if config.get("do_flip_channel_order") or config.get("do_convert_rgb"):
        steps["color"] = "bgr" if config.get("do_flip_channel_order") else "rgb"
    return Preprocessing.of({name: value for name, value in steps.items() if value is not None}, CONFIG)


def _check_steps(config: Mapping[str, Any], known: Preprocessing) -> None:
    """Refuse steps that onnxrich doesn't apply, unless an option replaces them."""
    unknown = [key for key in ("rescale_offset", "offset") if config.get(key) and known.scale is None]
    if known.resize is None and known.crop is None:
        unknown += [key for key, value in config.items() if key.startswith("do_") and value and key not in _STEPS]
    if unknown:
        raise DataError(
            f"{CONFIG} asks for {', '.join(name[:50] for name in unknown[:3])}",
            f"no steps but {', '.join(_STEPS)}",
            "Pass --resize, --crop and --scale as in training, or prepare the images yourself.",
        )


def _resizing(config: Mapping[str, Any]) -> dict[str, Any]:
    if "crop_pct" in config:
        raise _ambiguous(f"crop_pct = {reprlib.repr(config['crop_pct'])}")
    filters = {number: name for name, number in RESAMPLINGS.items()}
    resample = config.get("resample")
    if resample is not None and not (type(resample) is int and resample in filters):
        raise _ambiguous(f"resample = {reprlib.repr(resample)}")
    size = config.get("size")
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        resize: Any = size["shortest_edge"]
    else:
        resize = _height_and_width(config, "size")
    return {"resize": resize, "resample": None if resample is None else filters[resample]}


def _height_and_width(config: Mapping[str, Any], key: str) -> tuple[int, int]:
    size = config.get(key)
    if key == "crop_size" and isinstance(size, int):
        return size, size
    if not isinstance(size, Mapping) or set(size) != {"height", "width"}:
        raise _ambiguous(f"{key} = {reprlib.repr(size)}")
    return size["height"], size["width"]


def _ambiguous(setting: str) -> DataError:
    return DataError(
        f"{CONFIG} says {setting}, which has several meanings",
        "height and width, or shortest_edge",
        "Pass --resize and --crop as in training.",
    )


def _read_config(model: Model, data: DataPath | None) -> Mapping[str, Any]:
    """Read the configuration in the folder of the data, or else of the model; empty where neither has one."""
    candidates = [] if data is None else [data.child(CONFIG) if data.is_folder() else data.beside(CONFIG)]
    if model.home is not None:
        candidates.append(DataPath(str(model.home)).child(CONFIG))
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    return {} if path is None else path.read_json(LARGEST_CONFIG, "Fix or remove it.")
