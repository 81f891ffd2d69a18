"""MedicalImage -> tensor for the vision tower, and the Geometry that leads back to the original pixels.

Knows one tile, stretched to a square, as InternVL-Chat-V1-2 and this project's own weights see it. Training, export and
benchmark call this same function; that is what makes the trained model and the run model agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from medrega_edge.boxes import Geometry
from medrega_edge.images.reader import MedicalImage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """What a tower expects: a square of `image_size` pixels, RGB scaled to 0..1, then normalised per channel."""

    image_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def resize(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Stretch RGB `[height, width, 3]` to `[size, size, 3]`, bicubic with antialiasing."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC), dtype=np.uint8)


def normalise(pixels: npt.NDArray[np.uint8], numbers: Preprocessing) -> npt.NDArray[np.float32]:
    """Turn RGB uint8 `[size, size, 3]` into float32 `[3, size, size]`."""
    mean = np.asarray(numbers.mean, np.float32) * 255.0
    std = np.asarray(numbers.std, np.float32) * 255.0
    return np.ascontiguousarray(((pixels.astype(np.float32) - mean) / std).transpose(2, 0, 1))


def preprocess(image: MedicalImage, numbers: Preprocessing) -> tuple[npt.NDArray[np.float32], Geometry]:
    """Return pixel values `[1, 3, size, size]` and the geometry of the original image."""
    values = normalise(resize(image.pixels, numbers.image_size), numbers)
    return values[None], Geometry(image.width, image.height)
