"""Locate names in a whole volume: every slice is asked, and the boxes of each name are linked to one object."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, zip_longest

from medrega_edge.answer import Answer, ImageFacts, Region
from medrega_edge.domain import Language, Task
from medrega_edge.engine import Engine
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.masks import Mask
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.detection import Detect
from medrega_edge.volumes.answer import ShownSlice, VolumeAnswer, VolumeRegion
from medrega_edge.volumes.linking import SliceBox, best_chain
from medrega_edge.volumes.reader import Volume

MOST_SHOWN = 4  # slices of a montage for each object


def locate_in_volume(
    engine: Engine,
    volume: Volume,
    request: TaskRequest,
    language: Language,
    on_slice: Callable[[int], None] = lambda _: None,
) -> VolumeAnswer:
    """Ask every slice for boxes and link them; `on_slice` receives the number of slices that are done.

    Raises UsageError for a request that is not about boxes, ImageError for a slice that cannot be read.
    """
    if request.task is not Task.DETECT:
        raise UsageError("volume.only_places")
    if request.wants_masks and not engine.has_masks:
        raise UsageError("task.no_masks")
    begun = time.perf_counter()
    boxes: dict[str, list[SliceBox]] = {}
    middle: Answer | None = None
    shared: set[Message] | None = None  # warnings of every slice
    names = {engine.terminology.name(name[0], language): None for name in engine.terminology.find(request.words)}
    for index, answer in enumerate(_answers(engine, volume, request, language)):
        shared = set(answer.warnings) if shared is None else shared & set(answer.warnings)
        for label, one in _boxes(index, answer):
            names[label] = None
            boxes.setdefault(label, []).append(one)
        if index == volume.count // 2:
            middle = answer
        on_slice(index + 1)
    assert middle is not None
    assert shared is not None
    regions = tuple(_region(label, chain, volume) for label in boxes if (chain := best_chain(boxes[label])))
    wrong: list[str] = []
    if request.wants_masks:
        regions, wrong = _with_masks(engine, volume, regions, middle.image)
    found = {region.label for region in regions}
    absent = tuple(name for name in names if name not in found)
    return VolumeAnswer(
        text=_text(regions, absent, language),
        language=language,
        count=volume.count,
        step_mm=volume.step_mm,
        regions=regions,
        absent=absent,
        image=middle.image,
        model=middle.model,
        device=middle.device,
        seconds=time.perf_counter() - begun,
        warnings=(
            *volume.notes,
            *(warning for warning in middle.warnings if warning in shared),
            *(Message("task.wrong_mask", name=label) for label in wrong),
        ),
    )


def slices_to_show(region: VolumeRegion) -> list[int]:
    """Return a few slices of an object, spread evenly, its first and last among them."""
    numbers = [one.slice for one in region.boxes]
    if len(numbers) <= MOST_SHOWN:
        return numbers
    return [numbers[round(k * (len(numbers) - 1) / (MOST_SHOWN - 1))] for k in range(MOST_SHOWN)]


def slices_of_objects(volume: Volume, answer: VolumeAnswer) -> list[ShownSlice]:
    """Return slices that show each object, with the boxes and masks of all objects in them."""
    shown: dict[int, list[tuple[int, Region]]] = {n: [] for region in answer.regions for n in slices_to_show(region)}
    for number, region in enumerate(answer.regions):
        for one, mask in zip_longest(region.boxes, region.masks):
            if one.slice in shown:
                shown[one.slice].append((number, Region(region.label, one.box, one.confidence, mask)))
    return [ShownSlice(number, volume.read(number), tuple(regions)) for number, regions in sorted(shown.items())]


def _answers(engine: Engine, volume: Volume, request: TaskRequest, language: Language) -> Iterator[Answer]:
    boxes = Detect(request.words) if request.wants_masks else request  # masks only where a chain has its boxes
    for index in range(volume.count):
        try:
            yield engine.run(engine.encode(volume.read(index)), boxes, language)
        except ImageError as error:
            raise ImageError("volume.unreadable_slice", slice=index, reason=error.message) from None


def _boxes(index: int, answer: Answer) -> Iterator[tuple[str, SliceBox]]:
    for region in answer.regions:
        if region.box.is_ordered and region.confidence is not None:
            yield region.label, SliceBox(index, region.box, region.confidence)


def _region(label: str, chain: list[SliceBox], volume: Volume) -> VolumeRegion:
    return VolumeRegion(label, tuple(chain), volume.thickness_mm(chain[0].slice, chain[-1].slice))


def _with_masks(
    engine: Engine, volume: Volume, regions: tuple[VolumeRegion, ...], facts: ImageFacts
) -> tuple[tuple[VolumeRegion, ...], list[str]]:
    """Add the masks of all boxes, and the millilitres that they hold; also returns the labels that get none."""
    masks: dict[str, list[Mask | None]] = {region.label: [] for region in regions}
    without: list[str] = []
    for number in sorted({one.slice for region in regions for one in region.boxes}):
        here = [Region(region.label, one.box, None) for region in regions for one in region.boxes if one.slice == number]
        masked, without = engine.with_masks(engine.encode(volume.read(number)), here)
        for region in masked:
            masks[region.label].append(region.mask)
    unmasked = {region.label for region in regions if not any(masks[region.label])}
    measured = tuple(
        region
        if region.label in unmasked
        else replace(
            region,
            masks=tuple(masks[region.label]),
            millilitres=millilitres(region.boxes, masks[region.label], volume, facts.spacing_mm),
        )
        for region in regions
    )
    return measured, sorted(unmasked)


def millilitres(
    boxes: Sequence[SliceBox], masks: Sequence[Mask | None], volume: Volume, spacing_mm: tuple[float, float] | None
) -> float | None:
    """Return the volume of the masks in the slices of `boxes`, None where the size of a voxel is unknown.

    Between two slices, also where some between have no mask, the area changes evenly; at each end half a step is added.
    """
    if spacing_mm is None or volume.step_mm is None:
        return None
    areas = [0 if mask is None else mask.area for mask in masks]
    total = (areas[0] + areas[-1]) / 2 * volume.step_mm
    for (one, area), (other, next_area) in pairwise(zip(boxes, areas, strict=True)):
        distance = volume.thickness_mm(one.slice, other.slice)
        assert distance is not None
        total += (area + next_area) / 2 * (distance - volume.step_mm)
    return total * spacing_mm[0] * spacing_mm[1] / 1000


def _text(regions: tuple[VolumeRegion, ...], absent: tuple[str, ...], language: Language) -> str:
    messages = []
    for r in regions:
        messages.append(Message("volume.found", name=r.label, first=r.first, last=r.last, key=r.key_slice))
        if r.millilitres is not None:
            messages.append(Message("volume.millilitres", value=r.millilitres))
    messages += [Message("volume.not_found", name=name) for name in absent]
    return ("" if language is Language.ZH else " ").join(message.text(language) for message in messages)
