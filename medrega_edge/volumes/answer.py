"""The answer about a whole volume: objects with their box in three dimensions and their boxes slice by slice."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from statistics import fmean
from typing import Any

from medrega_edge.answer import ImageFacts, ModelFacts, Region, mask_data, measures_data, warning_data
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import NOTICE, Language
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.masks import Mask
from medrega_edge.measures import Measures
from medrega_edge.volumes.linking import SliceBox

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class VolumeRegion:
    """One object of a volume. `boxes` are in pixels, at most one a slice, in the order of slices.

    `depth_mm` is its extent across slices; None where their distance is unknown. `masks` has the mask in each box, None for
    an empty one, and is empty where none was asked for; `measures` are theirs. `millilitres` is the volume of the masks.
    """

    label: str
    boxes: tuple[SliceBox, ...]
    depth_mm: float | None
    masks: tuple[Mask | None, ...] = ()
    millilitres: float | None = None
    measures: tuple[Measures | None, ...] = ()

    @property
    def longest(self) -> tuple[int, Measures] | None:
        """The slice with the longest diameter of all slices, and what its mask measures; None without masks."""
        found = [(one.slice, each) for one, each in zip(self.boxes, self.measures, strict=False) if each is not None]
        if not found:
            return None
        return max(found, key=lambda pair: pair[1].longest.length)

    @property
    def box(self) -> PixelBox:
        """The box around the boxes of all slices."""
        lefts, tops, rights, bottoms = zip(*(one.box for one in self.boxes), strict=True)
        return PixelBox(min(lefts), min(tops), max(rights), max(bottoms))

    @property
    def first(self) -> int:
        """The first slice that shows it."""
        return self.boxes[0].slice

    @property
    def last(self) -> int:
        """The last slice that shows it."""
        return self.boxes[-1].slice

    @property
    def key_slice(self) -> int:
        """The slice that shows most of it: the one with the largest box, each weighted by its confidence."""
        return max(self.boxes, key=lambda one: one.confidence * one.box.area).slice

    @property
    def is_best_guess(self) -> bool:
        """Whether most of its boxes are best guesses in their slices."""
        return 2 * sum(one.is_guess for one in self.boxes) > len(self.boxes)

    @property
    def confidence(self) -> float:
        """Mean confidence of its boxes."""
        return fmean(one.confidence for one in self.boxes)


@dataclass(frozen=True)
class VolumeAnswer:
    """The answer to a question about a volume of `count` slices. `image` are the facts of its middle slice.

    `text` is for a person. `absent` are the names that no object was found for.
    """

    text: str
    language: Language
    count: int
    step_mm: float | None
    regions: tuple[VolumeRegion, ...]
    absent: tuple[str, ...]
    image: ImageFacts
    model: ModelFacts
    device: str
    seconds: float
    warnings: tuple[Message, ...]

    def to_dict(self, include_identifiers: bool = False) -> dict[str, Any]:
        """Return the answer as JSON data; without `include_identifiers` the path of the volume is null."""
        image = asdict(self.image) | ({} if include_identifiers else {"path": None})
        return {
            "schema_version": SCHEMA_VERSION,
            "text": self.text,
            "task": "detect_volume",
            "language": self.language,
            "slices": self.count,
            "slice_step_mm": self.step_mm,
            "regions": [self._region(region) for region in self.regions],
            "absent": list(self.absent),
            "image": image | {"slice": None},
            "model": asdict(replace(self.model, certified=None)),
            "device": self.device,
            "seconds": round(self.seconds, 3),
            "warnings": [str(warning) for warning in self.warnings],
            "warning_details": [warning_data(warning, self.language) for warning in self.warnings],
            "notice": NOTICE,
        }

    def size_mm(self, region: VolumeRegion) -> tuple[float, float, float] | None:
        """Return width, height and depth of a region in millimetres, None where pixel size or step is unknown."""
        flat = self.image.in_millimetres(region.box)
        if flat is None or region.depth_mm is None:
            return None
        return flat[2] - flat[0], flat[3] - flat[1], region.depth_mm

    def _region(self, region: VolumeRegion) -> dict[str, Any]:
        size = self.size_mm(region)
        return {
            "label": region.label,
            "slices": [region.first, region.last],
            "key_slice": region.key_slice,
            "box": [round(value, 2) for value in region.box],
            "size_mm": None if size is None else [round(value, 1) for value in size],
            "confidence": round(region.confidence, 4),
            "best_guess": region.is_best_guess,
            "volume_ml": None if region.millilitres is None else round(region.millilitres, 1),
            "longest": None if region.longest is None else _longest(*region.longest),
            "boxes": [
                {"slice": one.slice, "box": [round(v, 2) for v in one.box], "confidence": round(one.confidence, 4)}
                | mask_data(mask, measures, self.image)
                for one, mask, measures in zip_longest(region.boxes, region.masks, region.measures)
            ],
        }


def _longest(number: int, measures: Measures) -> dict[str, Any]:
    """The slice of the longest diameter, and what was measured there, in the shape that a mask has it."""
    return {"slice": number} | measures_data(measures)


@dataclass(frozen=True)
class ShownSlice:
    """One slice to draw: its number, its picture, and what it shows of the objects, with their numbers."""

    number: int
    image: MedicalImage
    regions: tuple[tuple[int, Region], ...]
