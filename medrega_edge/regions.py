"""Detections -> the regions of an answer: boxes in pixels of the image, with confidences, masks, measures and intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from medrega_edge.answer import BoxInterval, Region
from medrega_edge.boxes import Geometry
from medrega_edge.domain import Modality
from medrega_edge.errors import UsageError
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.inference import memory
from medrega_edge.inference.confidence import calibrated
from medrega_edge.inference.mask_head import MaskHead
from medrega_edge.masks import Mask
from medrega_edge.measures import measure
from medrega_edge.package import intervals
from medrega_edge.package.intervals import BOX_LENGTHS, DIAMETERS, MASK_LENGTHS, Group, Intervals
from medrega_edge.package.package import Package
from medrega_edge.tasks.base import Detection
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.terminology import BilingualName


class RegionMaker:
    """What a package knows of its boxes: how sure they are, how far they may be off, and the masks in them."""

    def __init__(self, package: Package, labels: Sequence[BilingualName], threads: int, device: str) -> None:
        """Read the intervals; raises PackageError for a file of them that cannot be read.

        `threads` and `device` are those of the mask head, which is loaded when a mask is first asked for.
        """
        self._package, self._threads, self._device = package, threads, device
        self._english = {shown: english for english, chinese in reversed(labels) for shown in (chinese, english)}
        self._intervals = intervals.find(package)
        self._mask_head: MaskHead | None = None

    def english(self, shown: str) -> str | None:
        """Return the English name of a label of the package; None for another name."""
        return self._english.get(shown)

    def confidence(self, modality: Modality | None, english: str, score: float, doubt: float = 0.0) -> float:
        """Return the probability that a box of this name with this raw score is right in an image of this kind.

        `doubt` is that of a `Detection`.
        """
        manifest = self._package.manifest
        shifts = manifest.calibration_shifts.get(modality or "", {})
        return calibrated(score, manifest.calibration, shifts.get(english, shifts.get("", 0.0)) - doubt)

    def regions(self, detections: Sequence[Detection], geometry: Geometry, modality: Modality | None) -> tuple[Region, ...]:
        """Map detections to pixels of the original image, and their scores to probabilities."""
        regions = []
        for each in detections:
            name, score = self.english(each.label) or "", each.score
            confidence = None if score is None else self.confidence(modality, name, score, each.doubt)
            regions.append(Region(each.label, geometry.to_pixels(each.box), confidence))
        return tuple(regions)

    def with_masks(self, image: MedicalImage, regions: Sequence[Region]) -> tuple[tuple[Region, ...], list[str]]:
        """Add a mask to each region, and take the box around it; also returns the labels whose masks are wrong.

        Raises UsageError for a package without a mask head, ResourceError where too little memory is free for it.
        """
        spec = self._package.manifest.masks
        if spec is None:
            raise UsageError("task.no_masks")
        labels = dict.fromkeys(region.label for region in regions)
        without = [label for label in labels if self.english(label) in spec.wrong]
        if all(label in without for label in labels):
            return tuple(regions), without
        if self._mask_head is None:
            memory.check_masks()
            self._mask_head = MaskHead(self._package, self._threads, self._device)
        masks = self._mask_head.segment(image, [region.box for region in regions if region.label not in without])
        return tuple(r if r.label in without else _masked(r, next(masks), image) for r in regions), without

    def with_intervals(
        self, regions: Sequence[Region], modality: Modality | None, image: MedicalImage, geometry: Geometry
    ) -> tuple[Region, ...]:
        """Add intervals to regions whose box is the model's, where some were fitted for the package."""
        found = self._intervals
        if found is None:
            return tuple(regions)
        bounded = []
        for region in regions:
            if region.confidence is not None:  # else the box is the user's
                group = Group(modality, region.confidence, is_finding(self.english(region.label) or ""))
                region = _with_intervals(region, found, group, image, geometry)
            bounded.append(region)
        return tuple(bounded)


def _with_intervals(region: Region, found: Intervals, group: Group, image: MedicalImage, geometry: Geometry) -> Region:
    """Add intervals to a box of the model, or the one around its mask, and to diameters; none is larger than the image."""
    of_length = partial(found.of_length, group=group)
    around = found.around(region.box, group, of_mask=region.mask is not None)
    sides = region.box.x2 - region.box.x1, region.box.y2 - region.box.y1
    width, height = map(of_length, sides, MASK_LENGTHS if region.mask else BOX_LENGTHS)
    if around is not None and width is not None and height is not None:
        inner, outer = around
        width, height = (width[0], min(width[1], geometry.width)), (height[0], min(height[1], geometry.height))
        region = replace(region, interval=BoxInterval(found.level, inner, geometry.within(outer), width, height))
    if (measures := region.measures) is None:
        return region
    across, down = (measures.unit == "mm" and image.spacing_mm) or (1.0, 1.0)
    diagonal = math.hypot(geometry.width * across, geometry.height * down)
    longest, perpendicular = (
        replace(diameter, interval=(limits[0], min(limits[1], diagonal)))
        if (limits := of_length(diameter.length, name))
        else diameter
        for diameter, name in zip((measures.longest, measures.perpendicular), DIAMETERS, strict=True)
    )
    return replace(region, measures=replace(measures, longest=longest, perpendicular=perpendicular))


def _masked(region: Region, mask: Mask | None, image: MedicalImage) -> Region:
    """Add a mask and its measures. A box of the model becomes the one around its mask, which is nearer to the truth."""
    if mask is None:
        return region
    box = region.box if region.confidence is None else mask.box
    return replace(region, box=box, mask=mask, measures=measure(mask.inside(), mask.box, image))
