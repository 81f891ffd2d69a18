"""Structural similarity of two pictures: SSIM of Wang, Bovik, Sheikh and Simoncelli (IEEE Trans. Image Process. 2004)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

_SIGMA, _RADIUS = 1.5, 5  # the paper's Gaussian window of 11 x 11 pixels
_C1, _C2 = 0.01**2, 0.03**2  # the paper's constants for values 0..1
_SIDE = 256  # the paper's authors reduce a picture until its shorter side is about this
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def ssim(a: Floats, b: Floats) -> float:
    """Return the mean SSIM of two pictures `[height, width]` with values 0..1; each side has 11 pixels or more.

    Windows that leave the picture are not counted.
    """
    mean_a, mean_b = _windowed(a), _windowed(b)
    var_a, var_b = _windowed(a * a) - mean_a**2, _windowed(b * b) - mean_b**2
    covariance = _windowed(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return float((luminance * (2 * covariance + _C2) / (var_a + var_b + _C2)).mean())


def viewed(pixels: Floats) -> Floats:
    """Return the brightness of a picture `[height, width, 1 or 3]` at the size at which SSIM is meant to be measured."""
    grey = pixels @ _LUMA if pixels.shape[2] == 3 else pixels[..., 0]
    factor = max(1, round(min(grey.shape) / _SIDE))
    height, width = (side // factor for side in grey.shape)
    blocks = grey[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _windowed(values: Floats) -> Floats:
    """Means under the Gaussian window, `[height - 10, width - 10]`."""
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2)).astype(np.float32)
    weights /= weights.sum()
    for axis in (0, 1):
        size = values.shape[axis] - 2 * _RADIUS
        parts = (weight * values.take(range(k, k + size), axis) for k, weight in enumerate(weights))
        values = np.asarray(sum(parts), np.float32)
    return values
