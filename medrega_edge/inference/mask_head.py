"""The mask head: an image and a box become a mask. Its encoder runs once an image, its decoder once a box.

head.encode(image) -> MaskFeatures -> head.segment(features, box) -> Mask
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from medrega_edge.boxes import PixelBox
from medrega_edge.errors import PackageError
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.images.preprocess import Preprocessing, fit_image
from medrega_edge.inference.confidence import calibrated
from medrega_edge.inference.devices import check_shape, open_session
from medrega_edge.masks import Mask
from medrega_edge.package.manifest import MASK_DECODER, MASK_ENCODER, MaskSpec
from medrega_edge.package.package import Package

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class MaskFeatures:
    """What the encoder makes of an image of `width` x `height` pixels: `embedding` `[1, P, W]`.

    The image fills `fitted` columns and rows of the encoder's square, at the upper left.
    """

    embedding: Floats
    width: int
    height: int
    fitted: tuple[int, int]


class MaskHead:
    """The two graphs of a package's mask head."""

    def __init__(self, package: Package, threads: int, device: str) -> None:
        """Check and load both; raises PackageError or ResourceError."""
        spec = package.manifest.masks
        if spec is None:
            raise PackageError("package.missing_role", role=MASK_ENCODER)
        self.spec: MaskSpec = spec
        contents, side = package.read_masks(), spec.side
        self._encoder = open_session(contents, MASK_ENCODER, threads, device, {spec.pixels}, {spec.embedding}, mapped=False)
        inputs, outputs = {spec.embedding, spec.box}, {spec.logits, spec.quality}
        self._decoder = open_session(contents, MASK_DECODER, threads, device, inputs, outputs, mapped=False)
        check_shape(self._encoder, MASK_ENCODER, spec.pixels, (1, 3, side, side))
        for name, shape in ((spec.box, (1, 4)), (spec.logits, (1, side, side)), (spec.quality, (1, 1))):
            check_shape(self._decoder, MASK_DECODER, name, shape)

    def encode(self, image: MedicalImage) -> MaskFeatures:
        """Encode an image; raises PackageError where the graph does not fit its input."""
        square, fitted = prepare(image, self.spec.side)
        try:
            (embedding,) = self._encoder.run([self.spec.embedding], {self.spec.pixels: square})
        except Exception:  # onnxruntime's exceptions share no base class
            raise PackageError("inference.graph_not_as_in_manifest", role=MASK_ENCODER) from None
        return MaskFeatures(embedding, image.width, image.height, fitted)

    def segment(self, features: MaskFeatures, box: PixelBox) -> Mask | None:
        """Return the mask of what lies in a box, in pixels of the original image; None where it has no pixel.

        Raises PackageError where the graph does not fit its inputs.
        """
        spec = self.spec
        scale = spec.side / max(features.width, features.height)
        inputs = {spec.embedding: features.embedding, spec.box: np.asarray([box], np.float32) * np.float32(scale)}
        try:
            logits, quality = self._decoder.run([spec.logits, spec.quality], inputs)
        except Exception:  # onnxruntime's exceptions share no base class
            raise PackageError("inference.graph_not_as_in_manifest", role=MASK_DECODER) from None
        score = calibrated(min(1.0, max(0.0, float(quality[0, 0]))), spec.calibration)
        return Mask.of(enlarge(logits[0], features), score)


def prepare(image: MedicalImage, side: int) -> tuple[Floats, tuple[int, int]]:
    """Return an image as the encoder takes it `[1, 3, side, side]`, and how many columns and rows it fills."""
    pixels, _ = fit_image(image, Preprocessing(side, fit="pad"))
    height, width = pixels.shape[:2]
    low, high = int(pixels.min()), int(pixels.max())
    square = np.zeros((1, 3, side, side), np.float32)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    square[0, :, :height, :width] = (planes - np.float32(low)) / np.float32(max(high - low, 1))
    return square, (width, height)


def enlarge(logits: Floats, features: MaskFeatures) -> npt.NDArray[np.bool_]:
    """Return which pixels of the original image `[height, width]` are inside, from the logits of the square's places."""
    width, height = features.fitted
    cut = Image.fromarray(np.ascontiguousarray(logits[:height, :width]))
    whole = cut.resize((features.width, features.height), Image.Resampling.BILINEAR)
    return np.asarray(whole) > 0
