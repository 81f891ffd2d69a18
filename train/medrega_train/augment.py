"""Views of an image: geometry and intensity change, boxes move along, and the patient's side stays right.

Boxes here are fractions `[x1, y1, x2, y2]` of the image, 0..1. A mirror image swaps the patient's sides. So a view is
mirrored only where the anatomy is symmetric, and then left and right swap in the names, or where it has no side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from medrega_edge.boxes import PixelBox
from medrega_edge.evaluation.records import Record
from medrega_train.records import area_of

Array = npt.NDArray[np.float32]

MIRROR_AREAS = frozenset({"head", "limb", "breast", "carotid", "fetus", "gut", "skin", "microscopy", "eye"})
TURN_AREAS = frozenset({"gut", "skin", "microscopy"})  # no up and down either
MIN_VISIBLE = 0.35  # a view drops a region if a smaller share of it is visible


@dataclass(frozen=True)
class ViewRegion:
    """A region in a view; `whole` is False when some of its boxes were cut away."""

    label_en: str
    label_zh: str
    boxes: Array  # [n, 4]
    whole: bool


@dataclass(frozen=True)
class View:
    """An augmented picture, RGB uint8 `[size, size, 3]`, and the regions that are left in it, sides renamed.

    `upright` is False where it was mirrored or turned: words about the image may be wrong then. `extent` is how far the
    image reaches to the right and down, in fractions of the picture: boxes are relative to the image.
    """

    pixels: npt.NDArray[np.uint8]
    regions: tuple[ViewRegion, ...]
    upright: bool = True
    extent: tuple[float, float] = (1.0, 1.0)


def swap_sides(label_en: str, label_zh: str) -> tuple[str, str]:
    """Exchange left and right in a name, in both languages."""
    en = {"left": "right", "right": "left"}
    words = [en.get(word, word) for word in label_en.split(" ")]
    return " ".join(words), label_zh.translate(str.maketrans("左右", "右左"))


def clean_view(record: Record, pixels: npt.NDArray[np.uint8], size: int) -> View:
    """The image as the runtime sees it, without any augmentation."""
    regions = tuple(ViewRegion(r.label_en, r.label_zh, _fractions(record, r.boxes), True) for r in record.regions)
    return View(_warp(pixels, np.eye(3), size), regions)


def random_view(
    record: Record, pixels: npt.NDArray[np.uint8], size: int, rng: np.random.Generator, strength: float = 1.0
) -> View:
    """Draw one augmented view. `pixels` is the stretched square RGB uint8 `[n, n, 3]`, of any size."""
    area = area_of(record)
    mirror = area in MIRROR_AREAS and rng.random() < 0.5
    turns = int(rng.integers(4)) if area in TURN_AREAS else 0
    matrix = _random_matrix(rng, mirror, turns, strength)  # view fraction -> source fraction
    inverse = np.linalg.inv(matrix)
    regions = []
    for region in record.regions:
        boxes = _move(_fractions(record, region.boxes), inverse)
        if len(boxes):
            names = (region.label_en, region.label_zh)
            whole = len(boxes) == len(region.boxes)
            regions.append(ViewRegion(*(swap_sides(*names) if mirror else names), boxes, whole))
    return View(_change_intensity(_warp(pixels, matrix, size), rng, strength), tuple(regions), not mirror and not turns)


def _fractions(record: Record, boxes: Sequence[PixelBox]) -> Array:
    sides = np.asarray([record.geometry.width, record.geometry.height] * 2, np.float32)
    return np.asarray(np.asarray([box.as_list() for box in boxes], np.float32).reshape(-1, 4) / sides, np.float32)


def _random_matrix(rng: np.random.Generator, mirror: bool, turns: int, strength: float) -> npt.NDArray[np.float64]:
    zoom = math.exp(rng.uniform(-0.30, 0.16) * strength)  # side of the view as a fraction of the image's
    aspect = math.exp(rng.uniform(-0.14, 0.14) * strength)
    angle = rng.normal(0.0, 0.07) * strength + turns * math.pi / 2
    slack = 0.10 * strength + abs(1.0 - zoom) / 2
    shift = rng.uniform(-slack, slack, 2)
    cos, sin = math.cos(angle), math.sin(angle)
    centre = np.array([[1, 0, 0.5 + shift[0]], [0, 1, 0.5 + shift[1]], [0, 0, 1.0]])
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    scale = np.diag([zoom * aspect * (-1 if mirror else 1), zoom / aspect, 1.0])
    return np.asarray(centre @ turn @ scale @ np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]]))


def _move(boxes: Array, matrix: npt.NDArray[np.floating[Any]]) -> Array:
    """Map boxes through an affine map; keep those that stay visible enough, clipped to the view.

    A turned box is replaced by the box of the ellipse that fills it: the box of its four corners would grow with every
    degree, and organs are round.
    """
    if not len(boxes):
        return boxes
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    halves = (boxes[:, 2:] - boxes[:, :2]) / 2
    moved = centres @ matrix[:2, :2].T + matrix[:2, 2]
    reach = np.sqrt((halves**2) @ (matrix[:2, :2] ** 2).T)
    whole = np.concatenate([moved - reach, moved + reach], axis=1)
    clipped = np.clip(whole, 0.0, 1.0)
    area = np.prod(np.maximum(clipped[:, 2:] - clipped[:, :2], 0), axis=1)
    keep = area / np.maximum(np.prod(whole[:, 2:] - whole[:, :2], axis=1), 1e-9) >= MIN_VISIBLE
    return np.asarray(clipped[keep], np.float32)


def _warp(pixels: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.uint8]:
    side = pixels.shape[0]
    if np.array_equal(matrix, np.eye(3)):
        picture = Image.fromarray(pixels)
        return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC) if side != size else picture)
    a = matrix[:2, :2] * side / size
    b = matrix[:2, 2] * side
    data = (a[0, 0], a[0, 1], b[0], a[1, 0], a[1, 1], b[1])
    view = Image.fromarray(pixels).transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(view)


def _change_intensity(pixels: npt.NDArray[np.uint8], rng: np.random.Generator, strength: float) -> npt.NDArray[np.uint8]:
    levels = np.arange(256, dtype=np.float32) / 255.0
    gamma = math.exp(rng.normal(0.0, 0.22) * strength)
    contrast = math.exp(rng.normal(0.0, 0.15) * strength)
    curve = np.clip((levels**gamma - 0.5) * contrast + 0.5 + rng.normal(0.0, 0.05) * strength, 0, 1)
    tint = np.exp(rng.normal(0.0, 0.05, 3) * strength) if np.ptp(pixels[::8, ::8], axis=2).max() > 12 else np.ones(3)
    tables = np.clip(curve[:, None] * tint[None] * 255.0, 0, 255).astype(np.uint8)
    out = np.stack([tables[pixels[..., c], c] for c in range(3)], axis=2)
    if rng.random() < 0.25 * strength:
        noise = rng.normal(0.0, rng.uniform(1.0, 8.0), (*out.shape[:2], 1)).astype(np.float32)
        out = np.clip(out + noise, 0, 255).astype(np.uint8)
    return out
