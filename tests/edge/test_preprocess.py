"""The tensor of the vision tower: an image stretched to its square, or fitted into it."""

import numpy as np
import pytest
from PIL import Image

from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.images.preprocess import Preprocessing, fitted_size, preprocess

RNG = np.random.default_rng(0)
PAD = Preprocessing(64, (127 / 255,) * 3, (128 / 255,) * 3, "pad")


def image(width, height, channels=3):
    pixels = RNG.integers(0, 256, (height, width, channels)).astype(np.uint8)
    return MedicalImage(np.broadcast_to(pixels, (height, width, 3)), None)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_stretched_image_fills_the_square(channels):
    settings, given = Preprocessing(64), image(100, 37, channels)
    values, geometry = preprocess(given, settings)
    resized = Image.fromarray(np.ascontiguousarray(given.pixels)).resize((64, 64), Image.Resampling.BICUBIC)
    mean, std = (np.asarray(numbers, np.float32) * 255.0 for numbers in (settings.mean, settings.std))
    expected = ((np.asarray(resized).astype(np.float32) - mean) / std).transpose(2, 0, 1)
    assert values.dtype == np.float32
    assert np.array_equal(values[0], expected)  # to the bit
    assert (geometry.width, geometry.height, geometry.extent) == (100, 37, (1.0, 1.0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("width", "height"), [(100, 37), (37, 100), (30, 30), (128, 64), (500, 3)])
def test_a_fitted_image_keeps_its_proportions_and_the_rest_is_the_mean(width, height, channels):
    given = image(width, height, channels)
    values, geometry = preprocess(given, PAD)
    across, down = fitted_size(width, height, PAD)
    assert max(across, down) == 64
    assert geometry.extent == (across / 64, down / 64)
    part = Image.fromarray(np.ascontiguousarray(given.pixels)).resize((across, down), Image.Resampling.BICUBIC)
    grey_levels = values[0].transpose(1, 2, 0) * 128 + 127
    assert np.abs(grey_levels[:down, :across] - np.asarray(part)).max() < 0.01
    assert not values[..., down:, :].any()
    assert not values[..., across:].any()


def test_the_thinnest_image_has_a_pixel():
    assert fitted_size(1000, 1, PAD) == (64, 1)
    assert fitted_size(1, 1000, PAD) == (1, 64)
