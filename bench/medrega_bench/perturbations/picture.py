"""A perturbed picture, and where a box of the original lies in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from medrega_edge.boxes import Geometry, PixelBox

Pixels = npt.NDArray[np.float32]  # [height, width, 1 or 3], 0..1; one channel where the picture is grey
FEWEST_VISIBLE = 0.5  # share of a box that has to be seen, or its object has left the picture


class Placement(NamedTuple):
    """Where a point of the original lies: x' = xx * x + xy * y + x0, and y' = yx * x + yy * y + y0, in pixels."""

    xx: float = 1.0
    xy: float = 0.0
    x0: float = 0.0
    yx: float = 0.0
    yy: float = 1.0
    y0: float = 0.0


def turn(degrees: float, height: int, width: int) -> Placement:
    """Return where the points of a picture lie after a turn about its centre, counter-clockwise as one sees it."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = width / 2, height / 2
    return Placement(cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)


@dataclass(frozen=True, eq=False)
class Perturbed:
    """A perturbed picture. `hidden` is what something covers, in its own pixels."""

    pixels: Pixels
    placement: Placement = Placement()
    hidden: PixelBox | None = None

    def box(self, original: PixelBox) -> PixelBox | None:
        """Return a box of the original as far as it is in this picture; None where less than half of it can be seen.

        A turned box is the smallest one around the ellipse that fills the original: organs and lesions are rounder than
        their boxes, and the box around the turned corners would be larger than the object.
        """
        p = self.placement
        x, y = (original.x1 + original.x2) / 2, (original.y1 + original.y2) / 2
        rx, ry = (original.x2 - original.x1) / 2, (original.y2 - original.y1) / 2
        across, down = math.hypot(p.xx * rx, p.xy * ry), math.hypot(p.yx * rx, p.yy * ry)
        x, y = p.xx * x + p.xy * y + p.x0, p.yx * x + p.yy * y + p.y0
        whole = PixelBox(x - across, y - down, x + across, y + down)
        height, width = self.pixels.shape[:2]
        inside = Geometry(width, height).within(whole)
        covered = _shared(inside, self.hidden) if self.hidden else 0.0
        return inside if inside.area - covered >= FEWEST_VISIBLE * whole.area else None


def _shared(a: PixelBox, b: PixelBox) -> float:
    return max(0.0, min(a.x2, b.x2) - max(a.x1, b.x1)) * max(0.0, min(a.y2, b.y2) - max(a.y1, b.y1))


def from_bytes(pixels: npt.NDArray[np.uint8]) -> Pixels:
    """Turn RGB `[height, width, 3]`, 0..255, into a picture, of one channel where it is grey."""
    is_grey = (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    return (pixels[..., :1] if is_grey else pixels).astype(np.float32) / np.float32(255)


def to_bytes(pixels: Pixels) -> npt.NDArray[np.uint8]:
    """Turn a picture into RGB `[height, width, 3]`, 0..255."""
    values = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def to_image(pixels: Pixels) -> Image.Image:
    """Turn a picture into one of pillow, "L" where it is grey and "RGB" where not."""
    values = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.shape[2] == 1 else values)


def from_image(image: Image.Image) -> Pixels:
    """Turn one of pillow's pictures, "L" or "RGB", back."""
    values = np.asarray(image, np.float32) / np.float32(255)
    return values[..., None] if values.ndim == 2 else values
