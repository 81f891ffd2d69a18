"""MedicalImage -> input tensor of the vision encoder, and the Geometry that maps boxes back to the original pixels.

The image becomes one tile, stretched to a square, as InternVL-Chat-V1-2 and this project's own weights take it. Training,
export and benchmark call the same function, so that a trained model gets the same input everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from medrega_edge.boxes import Geometry
from medrega_edge.images.medical_image import MedicalImage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Input of a vision encoder: a square of `image_size` pixels, RGB scaled to 0..1, then normalised per channel."""

    image_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def resize(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Stretch RGB `[height, width, 3]` to `[size, size, 3]`, bicubic with antialiasing."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC), dtype=np.uint8)


def normalise(pixels: npt.NDArray[np.uint8], settings: Preprocessing) -> npt.NDArray[np.float32]:
    """Turn RGB uint8 `[size, size, 3]` into float32 `[3, size, size]`."""
    mean = np.asarray(settings.mean, np.float32) * 255.0
    std = np.asarray(settings.std, np.float32) * 255.0
    return np.ascontiguousarray(((pixels.astype(np.float32) - mean) / std).transpose(2, 0, 1))


def preprocess(image: MedicalImage, settings: Preprocessing) -> tuple[npt.NDArray[np.float32], Geometry]:
    """Return pixel values `[1, 3, size, size]` and the geometry of the original image."""
    values = normalise(resize(image.pixels, settings.image_size), settings)
    return values[None], Geometry(image.width, image.height)
