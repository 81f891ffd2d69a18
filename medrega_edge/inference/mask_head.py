"""The mask head: boxes of an image become masks.

It reads each box with a margin around it, stretched to a square, so that every object fills the same share of what is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from medrega_edge.boxes import PixelBox
from medrega_edge.errors import PackageError
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.images.windowing import without_copies
from medrega_edge.inference.confidence import calibrated
from medrega_edge.inference.devices import check_shape, open_session
from medrega_edge.masks import Inside, Mask
from medrega_edge.package.manifest import MASK_HEAD, MaskSpec
from medrega_edge.package.package import Package

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

_AT_ONCE = 8  # boxes in one run of the graph


class MaskHead:
    """The graph of a package's mask head."""

    def __init__(self, package: Package, threads: int, device: str) -> None:
        """Check and load it; raises PackageError or ResourceError."""
        spec = package.manifest.masks
        if spec is None:
            raise PackageError("package.missing_role", role=MASK_HEAD)
        self.spec: MaskSpec = spec
        contents = package.read_masks()
        self._graph = open_session(contents, MASK_HEAD, threads, device, {spec.pixels}, {spec.logits}, mapped=False)
        check_shape(self._graph, MASK_HEAD, spec.pixels, (1, 3, spec.side, spec.side))
        check_shape(self._graph, MASK_HEAD, spec.logits, (1, spec.places, spec.places))

    def segment(self, image: MedicalImage, boxes: Sequence[PixelBox]) -> Iterator[Mask | None]:
        """Yield the mask of what lies in each box, in pixels of the original image; None where it has no pixel.

        Raises PackageError where the graph does not fit its input.
        """
        pixels = without_copies(image.pixels)
        areas = [surroundings(box, self.spec.margin, image.width, image.height) for box in boxes]
        for start in range(0, len(areas), _AT_ONCE):
            chosen = areas[start : start + _AT_ONCE]
            squares = np.stack([spread(cut_out(pixels, area, self.spec.side)) for area in chosen])
            plain = [_is_plain(pixels, area) for area in chosen]
            try:
                (logits,) = self._graph.run([self.spec.logits], {self.spec.pixels: squares})
            except Exception:  # onnxruntime's exceptions share no base class
                raise PackageError("inference.graph_not_as_in_manifest", role=MASK_HEAD) from None
            for area, nothing_stands_out, one in zip(chosen, plain, logits, strict=True):
                if nothing_stands_out:  # whatever the graph makes of it
                    yield None
                    continue
                score = calibrated(expected_iou(one), self.spec.calibration)
                yield Mask.of(placed(one, area, image.width, image.height), score)


def surroundings(box: PixelBox, margin: float, width: int, height: int) -> PixelBox:
    """Return the part of a box that lies in the image, with `margin` of its sides around it, also beyond the image."""
    x1, y1, x2, y2 = box
    return PixelBox(max(0.0, x1), max(0.0, y1), min(float(width), x2), min(float(height), y2)).grown(margin)


def _is_plain(pixels: Pixels, area: PixelBox) -> bool:
    """Whether the part of an area that lies in the image has one value alone."""
    inside = pixels[max(0, math.floor(area.y1)) : math.ceil(area.y2), max(0, math.floor(area.x1)) : math.ceil(area.x2)]
    return inside.size == 0 or bool((inside == inside[0, 0]).all())


def cut_out(pixels: Pixels, area: PixelBox, side: int) -> Pixels:
    """Return an area of an image, grey `[H, W]` or RGB `[H, W, 3]`, stretched to a square; black beyond the image."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = math.floor(area.x1), math.floor(area.y1), math.ceil(area.x2), math.ceil(area.y2)
    inside = pixels[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    beyond = [(max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0))]
    whole = np.pad(inside, beyond + [(0, 0)] * (pixels.ndim - 2))
    exact = (area.x1 - left, area.y1 - top, area.x2 - left, area.y2 - top)
    return np.asarray(Image.fromarray(whole).resize((side, side), Image.Resampling.BILINEAR, box=exact))


def spread(square: Pixels) -> Floats:
    """Return a square as the graph takes it `[3, side, side]`, its values spread over 0..1."""
    planes = np.broadcast_to(square, (3, *square.shape)) if square.ndim == 2 else square.transpose(2, 0, 1)
    low, high = int(square.min()), int(square.max())
    return (planes - np.float32(low)) / np.float32(max(high - low, 1))


def expected_iou(logits: Floats) -> float:
    """Return the IoU that the logits of a mask promise: as if each place were inside with its own probability."""
    shares = 1 / (1 + np.exp(-logits.clip(-30, 30)))
    inside = logits > 0
    return float(shares[inside].sum() / max(inside.sum() + shares[~inside].sum(), 1e-6))


def placed(logits: Floats, area: PixelBox, width: int, height: int) -> Inside:
    """Return which pixels of the image `[height, width]` are inside, from the logits of places over an area of it."""
    whole = np.zeros((height, width), np.bool_)
    left, right = max(0, math.ceil(area.x1)), min(width, math.floor(area.x2))
    top, bottom = max(0, math.ceil(area.y1)), min(height, math.floor(area.y2))
    if left < right and top < bottom:
        rows, columns = logits.shape
        across, down = columns / (area.x2 - area.x1), rows / (area.y2 - area.y1)
        # Floats may pass the end by a trifle, which Pillow refuses.
        ends = min((right - area.x1) * across, float(columns)), min((bottom - area.y1) * down, float(rows))
        exact = ((left - area.x1) * across, (top - area.y1) * down, *ends)
        source = Image.fromarray(np.ascontiguousarray(logits, np.float32))
        values = source.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=exact)
        whole[top:bottom, left:right] = np.asarray(values) > 0
    return whole
