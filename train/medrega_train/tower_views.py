"""Square views of an image for the tower: the clean one that the runtime sees, and augmented ones with their boxes.

The longest side of the image is fitted to the view, at the upper left; the rest is filled with 127. Left and right are
the patient's, so a view is mirrored only where nothing has a side.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import Record
from medrega_edge.images.reader import read_image
from medrega_train.records import area_of

Array = npt.NDArray[np.float32]
Picture = npt.NDArray[np.uint8]  # [height, width] where it is grey, [height, width, 3] where not

FILL = 127
SIDELESS_AREAS = frozenset({"limb", "breast", "carotid", "fetus", "gut", "skin", "microscopy", "eye"})
TURN_AREAS = frozenset({"gut", "skin", "microscopy"})  # no up and down either
MIN_VISIBLE = 0.35  # share of a box; with less of it in the view the box is dropped

_NO_PIXELS: Picture = np.zeros((0, 0), np.uint8)
_SCALE = (0.7, 1.3)
_SHIFT = 0.12  # of the side, beyond what centres the image or shows all parts of it
_MAX_TURN = math.radians(10)
_SLICES = frozenset({Modality.CT, Modality.MRI})
_MASS_SHARES = (0.5, 0.3)  # of the views of such slices that get a mass, and another one
_SHADE_SHARE = 0.25  # of the views of MRI


@dataclass(frozen=True)
class View:
    """A square picture, grey or RGB uint8, and for each region of the record the boxes that are left in it `[n, 4]`.

    Boxes are fractions of the view. A region that lies outside has none. `extent` is how far the image reaches to
    the right and down, in fractions of the view. `upright` is False where it was mirrored or turned: words about the image
    may be wrong then.
    """

    pixels: Picture
    boxes: tuple[Array, ...]
    extent: tuple[float, float]
    upright: bool = True


class PictureStore:
    """The decoded images of some records, in memory; grey ones with one channel."""

    def __init__(self, records: list[Record]) -> None:
        """Decode all of them: a few milliseconds and 0.1 to 0.7 MB an image."""
        with ThreadPoolExecutor(2) as pool:
            self._pictures = list(pool.map(lambda record: _compact(read_image(record.image).pixels), records))

    def __getitem__(self, index: int) -> Picture:
        """The picture of record number `index`."""
        return self._pictures[index]


@dataclass(frozen=True)
class Placement:
    """How an image lies in a view: source pixel x -> x * scale[0] + offset[0] pixels of the view, y likewise."""

    scale: tuple[float, float]
    offset: tuple[float, float]


def fitted(width: int, height: int, side: int) -> Placement:
    """The clean placement: the longest side fills the view."""
    scale = side / max(width, height)
    return Placement((max(1, round(width * scale)) / width, max(1, round(height * scale)) / height), (0.0, 0.0))


def clean_view(record: Record, picture: Picture | None, side: int) -> View:
    """The view that the runtime shows the tower; without its pixels where `picture` is None."""
    placement = fitted(record.width, record.height, side)
    pixels = _NO_PIXELS if picture is None else _draw(picture, placement, side)
    boxes = tuple(_placed(boxes, placement, side) for boxes in _boxes(record))
    return View(pixels, boxes, _extent(_placed(_whole(record), placement, side)))


def random_view(record: Record, picture: Picture | None, side: int, sideless: bool, rng: np.random.Generator) -> View:
    """Draw one augmented view, without its pixels where `picture` is None.

    `sideless` allows mirror images. The caller knows that no name in the image has a side.
    """
    placement = _random_placement(record.width, record.height, side, rng)
    angle = float(np.clip(rng.normal(0.0, _MAX_TURN / 2), -_MAX_TURN, _MAX_TURN)) if rng.random() < 0.5 else 0.0
    mirror = sideless and rng.random() < 0.5
    swap = sideless and area_of(record) in TURN_AREAS and rng.random() < 0.5

    def move(boxes: Array) -> Array:
        boxes = _placed(boxes, placement, side)
        boxes = turn_boxes(boxes, angle) if angle else boxes
        boxes = _mirrored(boxes) if mirror else boxes
        return boxes[:, [1, 0, 3, 2]] if swap else boxes

    boxes = tuple(visible(move(boxes)) for boxes in _boxes(record))
    pixels: Picture = _NO_PIXELS
    if picture is not None:
        pixels = _draw(picture, placement, side)
        if record.modality is Modality.MRI and pixels.ndim == 2 and rng.random() < _SHADE_SHARE:
            pixels = _shaded(pixels, rng)
        if angle:
            fill = FILL if pixels.ndim == 2 else (FILL,) * 3
            turned = Image.fromarray(pixels).rotate(math.degrees(angle), Image.Resampling.BILINEAR, fillcolor=fill)
            pixels = np.asarray(turned)
        pixels = pixels[:, ::-1] if mirror else pixels
        pixels = np.swapaxes(pixels, 0, 1) if swap else pixels
        if record.modality in _SLICES and pixels.ndim == 2 and not any(r.is_lesion for r in record.regions):
            for share in _MASS_SHARES:
                if rng.random() < share:
                    pixels = _with_mass(pixels, boxes, rng)
        pixels = _change_intensity(pixels, rng)
    return View(pixels, boxes, _extent(move(_whole(record))), upright=not (mirror or swap))


def _whole(record: Record) -> Array:
    return np.array([[0, 0, record.width, record.height]], np.float32)


def _extent(image: Array) -> tuple[float, float]:
    """How far the image `[1, 4]` reaches to the right and down in the view."""
    x, y = np.clip(image[0, 2:], 1e-3, 1.0)
    return float(x), float(y)


def turn_boxes(boxes: Array, angle: float) -> Array:
    """Boxes after the picture is turned about its centre, counter-clockwise by `angle` (radians).

    A box becomes the box of the turned ellipse that fills it: the box of its four corners would grow with every degree,
    and organs are round.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    matrix = np.array([[cos, sin], [-sin, cos]])  # y points down
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2 - 0.5) @ matrix.T + 0.5
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2
    reach = np.sqrt((halves**2) @ (matrix**2).T)
    return np.asarray(np.concatenate([centres - reach, centres + reach], axis=1), np.float32)


def visible(boxes: Array) -> Array:
    """Clip boxes to the view; drop a box if less than MIN_VISIBLE of it is left."""
    clipped = np.clip(boxes, 0.0, 1.0)
    area, whole = (np.prod(np.maximum(b[:, 2:] - b[:, :2], 0), axis=1) for b in (clipped, boxes))
    return np.asarray(clipped[area >= MIN_VISIBLE * np.maximum(whole, 1e-9)], np.float32)


def _compact(pixels: Picture) -> Picture:
    grey = (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    return np.ascontiguousarray(pixels[..., 0]) if grey else pixels


def _boxes(record: Record) -> list[Array]:
    return [np.asarray([b.as_list() for b in r.boxes], np.float32).reshape(-1, 4) for r in record.regions]


def _placed(boxes: Array, placement: Placement, side: int) -> Array:
    return np.asarray((boxes * (placement.scale * 2) + placement.offset * 2) / side, np.float32)


def _random_placement(width: int, height: int, side: int, rng: np.random.Generator) -> Placement:
    zoom = math.exp(rng.uniform(math.log(_SCALE[0]), math.log(_SCALE[1])))
    aspect = math.exp(rng.uniform(-0.08, 0.08))
    scale = side / max(width, height) * zoom
    scales = (scale * aspect, scale / aspect)
    offsets = []
    for length, factor in zip((width, height), scales, strict=True):
        free = side - length * factor  # negative where the image is larger than the view
        offsets.append(rng.uniform(min(0.0, free), max(0.0, free)) + rng.uniform(-_SHIFT, _SHIFT) * side / 2)
    return Placement(scales, (offsets[0], offsets[1]))


def _draw(picture: Picture, placement: Placement, side: int) -> Picture:
    """Draw the part of the picture that lies in the view, resampled once, with antialiasing."""
    spans = []
    for length, scale, offset in zip(picture.shape[1::-1], placement.scale, placement.offset, strict=True):
        first, last = max(0, round(offset)), min(side, round(offset + length * scale))
        spans.append((first, last, max(0.0, (first - offset) / scale), min(float(length), (last - offset) / scale)))
    (left, right, x1, x2), (top, bottom, y1, y2) = spans
    view = np.full((side, side, *picture.shape[2:]), FILL, np.uint8)
    if right > left and bottom > top and x2 > x1 and y2 > y1:
        size = (right - left, bottom - top)
        part = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC, box=(x1, y1, x2, y2))
        view[top:bottom, left:right] = np.asarray(part)
    return view


def _mirrored(boxes: Array) -> Array:
    return np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)


def _with_mass(pixels: Picture, boxes: tuple[Array, ...], rng: np.random.Generator) -> Picture:
    """Draw a soft ellipse of another grey into an organ, so that its box has to hold what is ill in it too."""
    organs = np.concatenate(boxes) if boxes else np.zeros((0, 4), np.float32)
    if not len(organs):
        return pixels
    lengths = np.sqrt(np.maximum(1e-6, np.prod(organs[:, 2:] - organs[:, :2], axis=1)))
    chosen = rng.choice(len(organs), p=lengths / lengths.sum())  # large ones more often
    left, top, right, bottom = organs[chosen] * len(pixels)
    length = float(lengths[chosen]) * len(pixels)
    radii = length * rng.uniform(0.08, 0.4) * np.exp(rng.normal(0.0, 0.2, 2))
    # The whole mass lies in the box, because a box that ends within it would be wrong; often it touches the box's edge.
    halves = np.array([(right - left) / 2, (bottom - top) / 2])
    radii = np.clip(radii, 1.5, np.maximum(1.5, halves))
    place = rng.uniform(-1.0, 1.0, 2)
    if rng.random() < 0.5:
        place[rng.integers(2)] = rng.choice([-1.0, 1.0])
    x, y = np.array([left + right, top + bottom]) / 2 + place * np.maximum(0.0, halves - radii)
    rows, columns = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
    distance = np.sqrt(((columns - x) / radii[0]) ** 2 + ((rows - y) / radii[1]) ** 2)
    cover = rng.uniform(0.5, 1.0) / (1 + np.exp(np.minimum(50.0, (distance - 1) * rng.uniform(6.0, 25.0))))
    grain = rng.normal(0.0, rng.uniform(0.0, 12.0), pixels.shape)
    return np.asarray(np.clip(pixels + cover * (rng.uniform(0, 255) + grain - pixels), 0, 255), np.uint8)


def _shaded(pixels: Picture, rng: np.random.Generator) -> Picture:
    """Brighten one side, as a surface coil does."""
    a, b, c = rng.normal(0.0, 0.25, 3)
    x = np.linspace(-1, 1, pixels.shape[1], dtype=np.float32)
    y = np.linspace(-1, 1, pixels.shape[0], dtype=np.float32)[:, None]
    gain = np.exp(a * x + b * y + c * (x * x + y * y - 0.7))
    return np.where(pixels == FILL, pixels, np.clip(pixels * gain, 0, 255)).astype(np.uint8)


def _change_intensity(pixels: Picture, rng: np.random.Generator) -> Picture:
    levels = np.arange(256, dtype=np.float32) / 255.0
    gamma, contrast = math.exp(rng.normal(0.0, 0.25)), math.exp(rng.normal(0.0, 0.2))
    curve = (levels**gamma - 0.5) * contrast + 0.5 + rng.normal(0.0, 0.06)
    tint = np.exp(rng.normal(0.0, 0.06, 1 if pixels.ndim == 2 else 3))
    tables = np.clip(curve[:, None] * tint * 255.0, 0, 255).astype(np.uint8)
    if pixels.ndim == 2:
        out: Picture = tables[:, 0][pixels]
    else:
        out = np.stack([tables[:, c][pixels[..., c]] for c in range(3)], axis=2)
    chance = rng.random()
    if chance < 0.15:
        noise = rng.normal(0.0, rng.uniform(2.0, 10.0), (*out.shape[:2], *(1,) * (out.ndim - 2))).astype(np.float32)
        return np.asarray(np.clip(out + noise, 0, 255), np.uint8)
    if chance < 0.3:
        blurred = Image.fromarray(out).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.5)))
        return np.asarray(blurred)
    return out
