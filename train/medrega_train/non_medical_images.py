"""Pictures that are no medical images: noise, blanks, pages of text, drawings, clouds of colour.

They are drawn, not photographed, and teach the model to say that an image is no medical one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Picture = npt.NDArray[np.uint8]


def foreign_picture(size: int, rng: np.random.Generator) -> Picture:
    """Draw one picture, RGB uint8 `[size, size, 3]`."""
    draw = (_blank, _noise, _page, _shapes, _clouds, _stripes)[int(rng.integers(6))]
    picture = draw(size, rng)
    return picture if rng.random() < 0.6 else np.repeat(picture.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


def _blank(size: int, rng: np.random.Generator) -> Picture:
    start, end = rng.integers(0, 256, (2, 3))
    ramp = np.linspace(0, 1, size)[:, None, None] * float(rng.random() < 0.5)
    row = start * (1 - ramp) + end * ramp
    picture = np.broadcast_to(row, (size, size, 3)).astype(np.uint8)
    return np.ascontiguousarray(picture.swapaxes(0, 1) if rng.random() < 0.5 else picture)


def _noise(size: int, rng: np.random.Generator) -> Picture:
    side = size // int(rng.choice([1, 2, 4, 8]))
    if rng.random() < 0.5:
        grain = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
    else:
        grain = np.clip(rng.normal(rng.uniform(60, 200), rng.uniform(10, 60), (side, side, 3)), 0, 255).astype(np.uint8)
    return _resized(grain, size, Image.Resampling.NEAREST)


def _page(size: int, rng: np.random.Generator) -> Picture:
    dark = rng.random() < 0.2
    picture = Image.new("RGB", (size, size), (20, 20, 20) if dark else (255 - int(rng.integers(30)),) * 3)
    pen = ImageDraw.Draw(picture)
    height = int(rng.integers(5, 16))
    y = int(rng.integers(2, 30))
    ink = (230,) * 3 if dark else tuple(int(c) for c in rng.integers(0, 90, 3))
    while y < size - height:
        x = int(rng.integers(4, 24))
        stop = size - int(rng.integers(4, size // 2 if rng.random() < 0.2 else 30))
        while x < stop:
            width = int(rng.integers(1, 7)) * height // 2
            for letter in range(x, min(x + width, stop), max(2, height // 2)):
                points = rng.uniform(0, 1, (3, 2)) * [height * 0.45, height * 0.9] + [letter, y]
                pen.line([tuple(map(float, point)) for point in points], fill=ink, width=max(1, height // 8))
            x += width + height // 2
        y += int(height * rng.uniform(1.2, 1.8))
    return np.asarray(picture)


def _shapes(size: int, rng: np.random.Generator) -> Picture:
    picture = Image.new("RGB", (size, size), tuple(int(c) for c in rng.integers(0, 256, 3)))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(3, 25))):
        x, y = rng.uniform(-0.2, 1.0, 2) * size
        w, h = rng.uniform(0.05, 0.7, 2) * size
        fill = tuple(int(c) for c in rng.integers(0, 256, 3))
        (pen.rectangle if rng.random() < 0.5 else pen.ellipse)((x, y, x + w, y + h), fill=fill)
    return np.asarray(picture)


def _clouds(size: int, rng: np.random.Generator) -> Picture:
    """Noise of every scale at once, the coarse louder: the statistics of landscapes and walls."""
    total = np.zeros((size, size, 3), np.float32)
    tint = rng.uniform(0.2, 1.0, 3)
    for octave in range(1, 7):
        grain = rng.integers(0, 256, (2**octave, 2**octave, 3)).astype(np.uint8)
        total += _resized(grain, size, Image.Resampling.BICUBIC) * tint * 0.6**octave
    total -= total.min()
    return (total / max(1.0, float(total.max())) * 255).astype(np.uint8)


def _stripes(size: int, rng: np.random.Generator) -> Picture:
    y, x = np.mgrid[0:size, 0:size] / size
    angle = rng.uniform(0, np.pi)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(10, 120)) > rng.uniform(-0.5, 0.5)
    colours = rng.integers(0, 256, (2, 3))
    return np.asarray(colours[wave.astype(int)], np.uint8)


def _resized(pixels: Picture, size: int, how: Image.Resampling) -> Picture:
    return np.asarray(Image.fromarray(pixels).resize((size, size), how))
