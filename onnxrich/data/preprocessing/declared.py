"""Where preprocessing is declared: by options, in `onnxrich.toml`, in the model, in a file beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnxrich.data.discovery import settings
from onnxrich.data.paths import DataPath
from onnxrich.data.preprocessing.steps import RESAMPLINGS, Preprocessing, ResolvedPreprocessing
from onnxrich.errors import DataError, prefix_errors
from onnxrich.model.file import Model

CONFIG = "preprocessor_config.json"
# Steps of such a file that are done here; others, such as padding, would be left out without a word.
_STEPS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_flip_channel_order")
LARGEST_CONFIG = 2**20

# ONNX's image metadata (docs/MetadataProps.md of the ONNX specification): what turns bytes into the stated range.
_FORMATS = {"Gray8": "gray", "Rgb8": "rgb", "Bgr8": "bgr", "Rgba8": "rgb", "Bgra8": "bgr"}
_RANGES: dict[str, dict[str, Any]] = {
    "NominalRange_0_255": {"scale": 1.0},
    "Normalized_0_1": {"scale": 1 / 255},
    "Normalized_1_1": {"scale": 2 / 255, "mean": (1.0,)},
    "NominalRange_16_235": {"scale": 219 / 255, "mean": (-16.0,)},
}


@dataclass(frozen=True)
class DeclaredPreprocessing:
    """What was declared for a model and its data.

    Attributes:
        by_user: from options and `onnxrich.toml`: it holds for whatever the data are.
        for_bytes: the same, then what the model or a file of Hugging Face says of images: it holds for bytes, which
            such declarations speak of; arrays of floats are taken as already prepared.
        model: path of the model.
        others: the same for further models that are to take the same rows.
    """

    by_user: ResolvedPreprocessing
    for_bytes: ResolvedPreprocessing
    model: str = ""
    others: Sequence[DeclaredPreprocessing] = field(default=())


def find_declared(
    model: Model, others: Sequence[Model], place: DataPath | None, options: Preprocessing
) -> DeclaredPreprocessing:
    """What is declared for a model, and for others that are to take the same rows.

    Raises:
        DataError: when something is that is not understood.
    """
    alike = []
    for other in others:
        with prefix_errors(other.path):
            alike.append(_declared(other, place, options))
    return replace(_declared(model, place, options), others=tuple(alike))


def _declared(model: Model, place: DataPath | None, options: Preprocessing) -> DeclaredPreprocessing:
    """Preprocessing, each step from the first that declares it: options, `onnxrich.toml`, the model's metadata,
    `preprocessor_config.json` in the folder of the data, then in that of the model.

    Raises:
        DataError: when one of these says what is not understood.
    """
    table = settings(model).get("preprocessing")
    user = [("options", options), ("onnxrich.toml", Preprocessing.of(table, "[preprocessing] of onnxrich.toml"))]
    config = _config(model, place)
    others = [
        ("model metadata", from_metadata(model)),
        (CONFIG, from_config(config, ResolvedPreprocessing.merged(user).steps)),
    ]
    return DeclaredPreprocessing(
        ResolvedPreprocessing.merged(user), ResolvedPreprocessing.merged(user + others), model.path
    )


def from_metadata(model: Model) -> Preprocessing:
    """What ONNX's image metadata say.

    Raises:
        DataError: when they say what the specification doesn't know.
    """
    said = {entry.key: entry.value for entry in model.proto.metadata_props}
    steps: dict[str, Any] = {}
    for key, known in (("Image.BitmapPixelFormat", _FORMATS), ("Image.NominalPixelRange", _RANGES)):
        value = said.get(key)
        if value is not None and value not in known:
            raise DataError(
                f"the model's metadata {key} = {value!r}",
                f"one of {', '.join(known)}",
                "Pass the preprocessing as options, and mend the metadata.",
            )
    if "Image.BitmapPixelFormat" in said:
        steps["color"] = _FORMATS[said["Image.BitmapPixelFormat"]]
    return Preprocessing(**steps, **_RANGES.get(said.get("Image.NominalPixelRange", ""), {}))


def from_config(config: Mapping[str, Any], known: Preprocessing) -> Preprocessing:
    """What a `preprocessor_config.json` of Hugging Face says.

    Args:
        config: its content.
        known: steps that are declared elsewhere and need not be understood here.

    Raises:
        DataError: when it asks for what is not understood: nothing is guessed.
    """
    steps: dict[str, Any] = {}
    if not any(key.startswith("do_") for key in config):
        return Preprocessing()
    _check_steps(config, known)
    if config.get("do_resize") and known.resize is None:
        steps |= _config_size(config)
    if config.get("do_center_crop") and known.crop is None:
        steps["crop"] = _sides(config, "crop_size")
    if config.get("do_rescale", True):
        steps["scale"] = config.get("rescale_factor", 1 / 255)
    if config.get("do_normalize"):
        steps |= {"mean": config.get("image_mean"), "std": config.get("image_std")}
    if config.get("do_flip_channel_order") or config.get("do_convert_rgb"):
        steps["color"] = "bgr" if config.get("do_flip_channel_order") else "rgb"
    return Preprocessing.of({name: value for name, value in steps.items() if value is not None}, CONFIG)


def _check_steps(config: Mapping[str, Any], known: Preprocessing) -> None:
    """Refuse steps that are not done here, unless an option says what is done instead."""
    others = [key for key in ("rescale_offset", "offset") if config.get(key) and known.scale is None]
    if known.resize is None and known.crop is None:
        others += [key for key, value in config.items() if key.startswith("do_") and value and key not in _STEPS]
    if others:
        raise DataError(
            f"{CONFIG} asks for {', '.join(others)}",
            f"no steps but {', '.join(_STEPS)}",
            "Pass --resize, --crop and --scale as in training, or prepare the images yourself.",
        )


def _config_size(config: Mapping[str, Any]) -> dict[str, Any]:
    if "crop_pct" in config:
        raise _not_understood(f"crop_pct = {config['crop_pct']!r}")
    numbers = {number: name for name, number in RESAMPLINGS.items()}
    resample = config.get("resample")
    if resample is not None and not (type(resample) is int and resample in numbers):
        raise _not_understood(f"resample = {resample!r}")
    size = config.get("size")
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        sides: Any = size["shortest_edge"]
    else:
        sides = _sides(config, "size")
    return {"resize": sides, "resample": None if resample is None else numbers[resample]}


def _sides(config: Mapping[str, Any], key: str) -> tuple[int, int]:
    size = config.get(key)
    if key == "crop_size" and isinstance(size, int):
        return size, size
    if not isinstance(size, Mapping) or set(size) != {"height", "width"}:
        raise _not_understood(f"{key} = {size!r}")
    return size["height"], size["width"]


def _not_understood(what: str) -> DataError:
    return DataError(
        f"{CONFIG} says {what}, which has several meanings",
        "height and width, or shortest_edge",
        "Pass --resize and --crop as in training.",
    )


def _config(model: Model, place: DataPath | None) -> Mapping[str, Any]:
    """The configuration in the folder of the data, else of the model; empty where there is none."""
    places = [] if place is None else [place.child(CONFIG) if place.is_folder() else place.beside(CONFIG)]
    if model.folder is not None:
        places.append(DataPath(str(model.folder)).child(CONFIG))
    found = next((candidate for candidate in places if candidate.is_file()), None)
    if found is None:
        return {}
    with found.open("a readable JSON file") as file:
        content = file.read(LARGEST_CONFIG)
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{found.url} is no JSON", "a whole JSON file", "Mend or remove it.") from error
    return config if isinstance(config, Mapping) else {}
