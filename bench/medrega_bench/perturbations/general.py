"""What happens to pictures of every kind on their way: to their sharpness, values, size, edges, and what is laid over them.

Each function takes a picture, a strength, and a seeded generator, from which it draws the same whatever the strength.
"""

from __future__ import annotations

import io
import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from medrega_bench.perturbations.picture import Perturbed, Pixels, Placement, from_image, to_image, turn
from medrega_edge.boxes import PixelBox
from medrega_edge.output.overlay import FONT

_BURNT_IN = ("R", "L", "SUPINE", "120 kV", "512x512", "MI 0.9", "12.4 cm", "W 400", "ZOOM 1.2", "SE 3", "IM 45", "12:34:56")
_TEXT_COLUMNS, _TEXT_ROWS = 4, 16  # places for words


def blur(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Blur by a Gaussian whose standard deviation is `strength` of the longer side."""
    radius = strength * max(pixels.shape[:2])
    return Perturbed(from_image(to_image(pixels).filter(ImageFilter.GaussianBlur(radius))))


def noise(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Add Gaussian noise; `strength` is its standard deviation."""
    return Perturbed(pixels + strength * rng.standard_normal(pixels.shape, np.float32))


def jpeg(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Compress as JPEG of quality 100 / `strength`."""
    buffer = io.BytesIO()
    to_image(pixels).save(buffer, "JPEG", quality=round(100 / strength))
    return Perturbed(from_image(Image.open(buffer)))


def gamma(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Raise the values to a power of e^strength, which darkens, or e^-strength, which brightens."""
    return Perturbed(pixels ** np.float32(math.exp(_either(rng) * strength)))


def contrast(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Draw all values towards their mean by a share of `strength`."""
    return Perturbed(pixels + np.float32(strength) * (pixels.mean() - pixels))


def resampling(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Reduce both sides by a factor of 1 + `strength`, then enlarge the picture to its size again."""
    height, width = pixels.shape[:2]
    small = (max(1, round(width / (1 + strength))), max(1, round(height / (1 + strength))))
    reduced = to_image(pixels).resize(small, Image.Resampling.BILINEAR)
    return Perturbed(from_image(reduced.resize((width, height), Image.Resampling.BICUBIC)))


def occlusion(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Lay a grey patch of `strength` of the area somewhere onto the picture."""
    height, width = pixels.shape[:2]
    stretch = rng.uniform(0.8, 1.25)  # how much broader than the picture's own shape
    across, down = (min(1.0, math.sqrt(strength) * by) for by in (stretch, 1 / stretch))
    x, y = rng.uniform() * (1 - across) * width, rng.uniform() * (1 - down) * height
    patch = PixelBox(round(x), round(y), round(x + across * width), round(y + down * height))
    covered = pixels.copy()
    covered[int(patch.y1) : int(patch.y2), int(patch.x1) : int(patch.x2)] = 0.5
    return Perturbed(covered, hidden=patch)


def text_overlay(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Burn words into the picture, as devices do, at `strength` of the places in a grid of 4 x 16."""
    height, width = pixels.shape[:2]
    drawn = to_image(pixels)
    pen, font = ImageDraw.Draw(drawn), _font(max(8, height // 20))
    places = rng.permutation(_TEXT_COLUMNS * _TEXT_ROWS)
    white, black = (255, 0) if drawn.mode == "L" else ((255, 255, 255), (0, 0, 0))
    for place in places[: round(strength * len(places))]:
        row, column = divmod(int(place), _TEXT_COLUMNS)
        at = (column * width / _TEXT_COLUMNS + 2, row * height / _TEXT_ROWS)
        pen.text(at, _BURNT_IN[int(place) % len(_BURNT_IN)], fill=white, font=font, stroke_width=1, stroke_fill=black)
    return Perturbed(from_image(drawn))


def crop(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Cut `strength` off width and height, at random sides."""
    height, width = pixels.shape[:2]
    down, across = round(strength * height), round(strength * width)
    y, x = round(rng.uniform() * down), round(rng.uniform() * across)
    kept = pixels[y : y + height - down, x : x + width - across]
    return Perturbed(np.ascontiguousarray(kept), Placement(x0=-x, y0=-y))


def rotation(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Turn the picture about its centre by `strength` degrees to either side; what comes in from outside is black."""
    degrees = _either(rng) * strength
    height, width = pixels.shape[:2]
    turned = from_image(to_image(pixels).rotate(degrees, Image.Resampling.BICUBIC))
    return Perturbed(turned, turn(degrees, height, width))


def shift(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Move the picture by `strength` of its width and height, each to either side; what comes in is black."""
    height, width = pixels.shape[:2]
    dx, dy = (round(_either(rng) * strength * side) for side in (width, height))
    moved = np.zeros_like(pixels)
    moved[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = pixels[
        max(0, -dy) : height + min(0, -dy), max(0, -dx) : width + min(0, -dx)
    ]
    return Perturbed(moved, Placement(x0=dx, y0=dy))


def border(pixels: Pixels, strength: float, rng: np.random.Generator) -> Perturbed:
    """Frame the picture in black, at each side by `strength` of its width or height."""
    height, width = pixels.shape[:2]
    down, across = round(strength * height), round(strength * width)
    return Perturbed(np.pad(pixels, ((down, down), (across, across), (0, 0))), Placement(x0=across, y0=down))


def _either(rng: np.random.Generator) -> int:
    """1 or -1."""
    return 1 if rng.uniform() < 0.5 else -1


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), size)
