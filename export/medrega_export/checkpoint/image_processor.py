"""How a checkpoint's own image processor makes the tower's input: its mean and deviation, and what else is refused.

The runtime stretches an image to the tower's square with a bicubic filter, as transformers' GotOcr2ImageProcessor does for
an InternVL without tiles. The original layout names CLIP's processor, which crops nothing: it gets squares.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from medrega_export.checkpoint.config import is_chat, read_json

FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"
NESTED = "image_processor"  # newer folders hold it in PROCESSOR_FILE, and then it wins
TILING = "InternVLProcessor"  # cuts tiles unless it is asked not to
BICUBIC = 3
TO_ONE = 1 / 255
# What transformers takes where the file is silent.
_CLIP_NUMBERS = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
_DEFAULTS = {
    "GotOcr2ImageProcessor": {"size": {"height": 384, "width": 384}, "crop_to_patches": False, "max_patches": 12},
    "CLIPImageProcessor": {"size": {"shortest_edge": 224}, "crop_size": 224},
}


def read(folder: Path, config: dict[str, Any], side: int) -> tuple[Preprocessing, tuple[Message, ...]]:
    """Return how images become the input of a tower of `side` pixels, and warnings; ImageNet's numbers without a file.

    Raises UsageError for what the runtime does not do.
    """
    nested = read_json(folder / PROCESSOR_FILE).get(NESTED)
    file = PROCESSOR_FILE if isinstance(nested, dict) else FILE
    given = nested if isinstance(nested, dict) else read_json(folder / FILE)
    if not given:
        return Preprocessing(side, IMAGENET_MEAN, IMAGENET_STD), ()
    name = "CLIPImageProcessor" if is_chat(config) else "GotOcr2ImageProcessor"
    kind = str(given.get("image_processor_type") or given.get("feature_extractor_type") or name)
    if kind.removesuffix("Fast").removesuffix("Pil").replace("FeatureExtractor", "ImageProcessor") != name:
        raise UsageError("export.image_processor_unknown", file=file, type=kind, known=name)
    values = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": BICUBIC, "rescale_factor": TO_ONE}
    values |= _CLIP_NUMBERS | _DEFAULTS[name] | given
    expected = {"do_resize": True, "do_rescale": True, "resample": BICUBIC, "size": side}
    found = {key: values[key] for key in expected} | {"size": _side(values["size"], is_chat(config))}
    if is_chat(config):
        expected["crop_size"], found["crop_size"] = side, _side(values["crop_size"], True)
    for key, wanted in expected.items():
        if found[key] != wanted:
            raise UsageError("export.image_processor", file=file, key=key, value=str(values[key]), expected=str(wanted))
    factor = values["rescale_factor"]
    if not (_is_number(factor) and math.isclose(factor, TO_ONE, rel_tol=1e-6)):
        raise UsageError("export.image_processor", file=file, key="rescale_factor", value=str(factor), expected="1/255")
    mean, std = (_channels(file, key, values) for key in ("image_mean", "image_std"))
    tiles = values.get("crop_to_patches") or TILING in (given.get("processor_class"), _processor_class(folder))
    many = bool(tiles) and not is_chat(config) and values["max_patches"] != 1
    return Preprocessing(side, mean, std), (Message("export.trained_on_tiles"),) if many else ()


def _processor_class(folder: Path) -> Any:
    return read_json(folder / PROCESSOR_FILE).get("processor_class")


def _channels(file: str, key: str, values: dict[str, Any]) -> tuple[float, float, float]:
    """Return three numbers; a file may give one for all. They are 0 and 1 where nothing is normalised."""
    least = -math.inf if key == "image_mean" else 0.0
    if not values["do_normalize"]:
        return (0.0, 0.0, 0.0) if key == "image_mean" else (1.0, 1.0, 1.0)
    given = values[key]
    numbers = given if isinstance(given, list) else [given] * 3
    if len(numbers) != 3 or not all(_is_number(number) and number > least for number in numbers):
        raise UsageError("export.image_processor", file=file, key=key, value=str(given), expected="0.5, 0.5, 0.5")
    red, green, blue = map(float, numbers)
    return red, green, blue


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _side(size: Any, is_cropped: bool) -> Any:
    """Return the side of a square; of the shortest edge where a crop makes it a square."""
    if isinstance(size, dict):
        sides = set(size.values())
        keys = ({"height", "width"}, {"shortest_edge"}) if is_cropped else ({"height", "width"},)
        return sides.pop() if len(sides) == 1 and set(size) in keys else None
    return size
