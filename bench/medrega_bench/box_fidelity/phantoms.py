"""Pictures of many sizes with one nameable thing each, whose box is known to the pixel. Seeded: always the same pixels."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from medrega_bench.datasets.quick_set import Canvas, Mask, box_of
from medrega_edge.boxes import PixelBox
from medrega_edge.evaluation.bootstrap import SEED

SIZES = ((224, 224), (448, 448), (640, 480), (1024, 768), (1600, 400), (400, 1600), (2048, 2048))
LEAST_SIDE, MOST_SIDE = 64, 4096  # pixels of an image: in a smaller one the thing cannot be seen
_MARGIN = 0.02  # of a side, which no thing enters
_SIZE = 0.14  # of the geometric mean of width and height, from which a thing is up to twice as long


@dataclass(frozen=True)
class Phantom:
    """A picture in a file format, and where the thing in it lies."""

    name: str
    label: str
    width: int
    height: int
    box: PixelBox
    data: bytes
    mime: str


def _places(rng: np.random.Generator, width: int, height: int, each: int) -> list[PixelBox]:
    """Things of many shapes, spread evenly along both sides; none is a square."""
    unit = _SIZE * math.sqrt(width * height)
    spread = [(rng.permutation(each) + rng.uniform(0.2, 0.8, each)) / each for _ in range(2)]
    places = []
    for across, down in zip(*spread, strict=True):
        long, short = rng.uniform(1.6, 2.0) * unit, rng.uniform(1.0, 1.3) * unit
        wide, high = (long, short) if rng.uniform() < 0.5 else (short, long)
        left, top = (
            _MARGIN * side + where * (side * (1 - 2 * _MARGIN) - size)
            for where, side, size in ((across, width, wide), (down, height, high))
        )
        places.append(PixelBox(left, top, left + wide, top + high))
    return places


_Colours = tuple[tuple[int, int, int], tuple[int, int, int]]
# name -> colours of the thing and of the ground, and how the thing is drawn
_SHAPES: dict[str, tuple[_Colours, Callable[[ImageDraw.ImageDraw, Sequence[float]], None]]] = {
    "red rectangle": (((214, 32, 32), (255, 255, 255)), lambda draw, box: draw.rectangle(list(box), fill=255)),
    "white ellipse": (((255, 255, 255), (0, 0, 0)), lambda draw, box: draw.ellipse(list(box), fill=255)),
    "blue triangle": (
        ((30, 60, 200), (225, 225, 225)),
        lambda draw, box: draw.polygon([(box[0], box[3]), ((box[0] + box[2]) / 2, box[1]), (box[2], box[3])], fill=255),
    ),
    "yellow ellipse": (((245, 205, 20), (20, 60, 50)), lambda draw, box: draw.ellipse(list(box), fill=255)),
}


def _shape(number: int, place: PixelBox, width: int, height: int) -> tuple[str, Image.Image, PixelBox]:
    name = list(_SHAPES)[number % len(_SHAPES)]
    (colour, ground), draw = _SHAPES[name]
    mask = Image.new("L", (width, height))
    draw(ImageDraw.Draw(mask), [round(value) for value in place])
    picture = Image.new("RGB", (width, height), ground)
    picture.paste(colour, mask=mask)
    return name, picture, PixelBox(*map(float, mask.getbbox() or (0, 0, 0, 0)))


def _skin_lesion(canvas: Canvas, x: float, y: float, rx: float, ry: float) -> Mask:
    lesion = canvas.paint(canvas.blob(x, y, rx, ry, 0.12), (0.38, 0.22, 0.16), 0.9)
    canvas.grain(0.03)
    return lesion


def _breast_lesion(canvas: Canvas, x: float, y: float, rx: float, ry: float) -> Mask:
    canvas.paint(canvas.blob(0.5, 0.0, 1.2, 0.14), (0.62, 0.62, 0.62))  # skin and fat
    lesion = canvas.paint(canvas.blob(x, y, rx, ry, 0.08), (0.08, 0.08, 0.08))
    canvas.speckle(0.35)
    return lesion


def _optic_disc(canvas: Canvas, x: float, y: float, rx: float, ry: float) -> Mask:
    canvas.paint(canvas.blob(0.5, 0.5, 0.49, 0.49), (0.72, 0.33, 0.14))
    for _ in range(5):  # vessels, which all pass the disc
        canvas.paint(canvas.blob(x, canvas.near(y, 0.03), canvas.near(0.25, 0.05), 0.008), (0.45, 0.12, 0.08))
    disc = canvas.paint(canvas.blob(x, y, rx, ry), (0.95, 0.75, 0.42))
    canvas.paint(canvas.blob(x, y, 0.45 * rx, 0.45 * ry), (1.0, 0.92, 0.7))
    canvas.grain(0.02)
    return disc


def _white_blood_cell(canvas: Canvas, x: float, y: float, rx: float, ry: float) -> Mask:
    cell = canvas.paint(canvas.blob(x, y, rx, ry, 0.03), (0.75, 0.68, 0.85))
    canvas.paint(canvas.blob(x, y, 0.65 * rx, 0.65 * ry, 0.1), (0.42, 0.25, 0.6))
    canvas.grain(0.015)
    return cell


_FINDINGS: dict[str, tuple[tuple[float, float, float], Callable[[Canvas, float, float, float, float], Mask]]] = {
    "skin lesion": ((0.87, 0.68, 0.58), _skin_lesion),
    "breast lesion": ((0.42, 0.42, 0.42), _breast_lesion),
    "optic disc": ((0.01, 0.01, 0.01), _optic_disc),
    "white blood cell": ((0.95, 0.92, 0.9), _white_blood_cell),
}


def _finding(number: int, place: PixelBox, width: int, height: int) -> tuple[str, Image.Image, PixelBox]:
    name = list(_FINDINGS)[number % len(_FINDINGS)]
    ground, draw = _FINDINGS[name]
    canvas = Canvas(np.random.default_rng((SEED, number, width, height)), width, height, ground)
    x1, y1, x2, y2 = place
    mask = draw(canvas, (x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / 2 / width, (y2 - y1) / 2 / height)
    return name, canvas.picture(), PixelBox(*box_of(mask))


# How one is drawn, and its file format: findings carry noise, so a PNG of 2048 x 2048 would take 12 MB.
SETS = {"shapes": (_shape, "PNG"), "medical": (_finding, "JPEG")}


def drawn(name: str, sizes: Sequence[tuple[int, int]], each: int) -> Iterator[Phantom]:
    """Draw `each` phantoms of every size of the set `name`."""
    draw, form = SETS[name]
    for width, height in sizes:
        rng = np.random.default_rng((SEED, width, height))
        for number, place in enumerate(_places(rng, width, height, each)):
            label, picture, box = draw(number, place, width, height)
            file = io.BytesIO()
            picture.save(file, format=form, quality=92)
            identity = f"{name}-{width}x{height}-{number}"
            yield Phantom(identity, label, width, height, box, file.getvalue(), f"image/{form.lower()}")
