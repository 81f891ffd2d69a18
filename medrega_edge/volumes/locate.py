"""Locate names in a whole volume: every slice is asked, and the boxes of each name are linked to one object."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise, zip_longest
from typing import Any

from medrega_edge.answer import Answer, ImageFacts, Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.engine import Engine
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.masks import Mask
from medrega_edge.measures import Diameter, Measures
from medrega_edge.prompts.intent import Kind
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.several import Several
from medrega_edge.vocabulary.kind_names import KIND_NAMES
from medrega_edge.vocabulary.label_kinds import is_finding, is_of_many
from medrega_edge.volumes.answer import ShownSlice, VolumeAnswer, VolumeRegion
from medrega_edge.volumes.linking import SliceBox, chains
from medrega_edge.volumes.reader import Volume

ROWS = 3  # the form of the rows that an interrupted run leaves; another form is not taken up
_ANSWERED = (Kind.LOCATE, Kind.SEGMENT, Kind.PRESENCE, Kind.MEASURE, Kind.ORGANS)
MOST_SHOWN = 4  # slices of a montage for each object

Row = dict[str, Any]
Keep = Callable[[Callable[[], Row]], Row]  # returns the next row of an earlier run, else makes one and keeps it


def keep_nothing(make: Callable[[], Row]) -> Row:
    """Make each row."""
    return make()


def locate_in_volume(
    engine: Engine,
    volume: Volume,
    request: TaskRequest,
    language: Language,
    on_slice: Callable[[int], None] = lambda _: None,
    keep: Keep = keep_nothing,
) -> VolumeAnswer:
    """Ask every slice for boxes and link them; `on_slice` receives the number of slices that are done.

    `keep` is called for each slice, then for each slice with masks, always in the same order: rows of JSON that it returns
    from an earlier run are not made again. One slice is in memory at a time.

    Raises UsageError for a request that is not about boxes, ImageError for a slice that cannot be read.
    """
    if request.task is not Task.DETECT:
        raise UsageError("volume.only_places")
    if request.wants_masks and not engine.has_masks:
        raise UsageError("task.no_masks")
    begun = time.perf_counter()
    boxes: dict[str, list[SliceBox]] = {}
    boxes_only = Detect(request.words) if request.wants_masks else request  # masks only where a chain has its boxes
    middle = _asked(engine, volume, volume.count // 2, boxes_only, language)
    shared = set(middle.warnings)  # warnings of every slice
    names = {engine.terminology.name(name[0], language): None for name in engine.terminology.find(request.words)}
    for index in range(volume.count):
        row = keep(partial(_boxes_row, engine, volume, index, boxes_only, language))
        shared &= {Message.from_dict(warning) for warning in row["warnings"]}
        for label, corners, confidence, is_guess in row["boxes"]:
            names[label] = None
            boxes.setdefault(label, []).append(SliceBox(index, PixelBox(*corners), confidence, is_guess))
        on_slice(index + 1)
    regions = tuple(
        _region(label, chain, volume) for label in boxes for chain in chains(boxes[label], _may_be_several(engine, label))
    )
    wrong: list[str] = []
    if request.wants_masks:
        regions, wrong = _with_masks(engine, volume, regions, middle.image, keep)
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
            *_not_answered(request, language),
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
        for one, mask, measures in zip_longest(region.boxes, region.masks, region.measures):
            if one.slice in shown:
                shown[one.slice].append((number, Region(region.label, one.box, one.confidence, mask, measures)))
    return [ShownSlice(number, volume.read(number), tuple(regions)) for number, regions in sorted(shown.items())]


def _asked(engine: Engine, volume: Volume, index: int, request: TaskRequest, language: Language) -> Answer:
    try:
        return engine.run(engine.encode(volume.read(index)), request, language)
    except ImageError as error:
        raise ImageError("volume.unreadable_slice", slice=index, reason=error.message) from None


def _boxes_row(engine: Engine, volume: Volume, index: int, request: TaskRequest, language: Language) -> Row:
    """What is needed of the answer about one slice."""
    answer = _asked(engine, volume, index, request, language)
    boxes = [
        (region.label, list(region.box), region.confidence, answer.is_best_guess(region))
        for region in answer.regions
        if region.box.is_ordered and region.confidence is not None
    ]
    return {"boxes": boxes, "warnings": [warning.to_dict() for warning in answer.warnings]}


def _region(label: str, chain: list[SliceBox], volume: Volume) -> VolumeRegion:
    return VolumeRegion(label, tuple(chain), volume.thickness_mm(chain[0].slice, chain[-1].slice))


def _may_be_several(engine: Engine, label: str) -> bool:
    """Whether a body may have several objects of a label: findings, and what images show many of."""
    return any(is_finding(english) or is_of_many(english) for english, _ in engine.terminology.find(label))


def _not_answered(request: TaskRequest, language: Language) -> list[Message]:
    """Say which kind of question a volume does not answer: its answer tells where an object is, and how large."""
    asked = request.questions if isinstance(request, Several) else (request,)
    kinds = [each.intent.kind for each in asked if isinstance(each, Asked) and each.intent.kind not in _ANSWERED]
    names = [KIND_NAMES[kind].text(language) for kind in dict.fromkeys(kinds)]
    return [Message("task.also_asked", kinds=names)] if names else []


def _with_masks(
    engine: Engine, volume: Volume, regions: tuple[VolumeRegion, ...], facts: ImageFacts, keep: Keep
) -> tuple[tuple[VolumeRegion, ...], list[str]]:
    """Add the masks of all boxes, and the millilitres that they hold; also returns the labels that get none."""
    masks: list[list[Mask | None]] = [[] for _ in regions]
    measures: list[list[Measures | None]] = [[] for _ in regions]
    for number in sorted({one.slice for region in regions for one in region.boxes}):
        here = [
            (place, Region(region.label, one.box, None))
            for place, region in enumerate(regions)
            for one in region.boxes
            if one.slice == number
        ]
        row = keep(partial(_mask_row, engine, volume, number, [region for _, region in here]))
        for (place, _), (mask, measured) in zip(here, row["masks"], strict=True):
            masks[place].append(None if mask is None else _mask(mask))
            measures[place].append(None if measured is None else _measures(measured))
    measured = tuple(
        replace(
            region,
            boxes=_around(region.boxes, own),
            masks=tuple(own),
            measures=tuple(lengths),
            millilitres=millilitres(region.boxes, own, volume, facts.spacing_mm),
        )
        if any(own)
        else region
        for region, own, lengths in zip(regions, masks, measures, strict=True)
    )
    return measured, sorted({region.label for region in measured if not region.masks})


def _around(boxes: Sequence[SliceBox], masks: Sequence[Mask | None]) -> tuple[SliceBox, ...]:
    """Return the boxes around the masks, where there is one."""
    return tuple(replace(one, box=mask.box) if mask else one for one, mask in zip(boxes, masks, strict=True))


def _mask_row(engine: Engine, volume: Volume, number: int, regions: Sequence[Region]) -> Row:
    masked, _ = engine.with_masks(engine.encode(volume.read(number)), regions)
    return {"masks": [tuple(value and asdict(value) for value in (each.mask, each.measures)) for each in masked]}


def _mask(row: Row) -> Mask:
    x, y = row["centroid"]
    return Mask(**row | {"centroid": (x, y), "box": PixelBox(*row["box"])})


def _measures(row: Row) -> Measures:
    longest, perpendicular = (Diameter(row[key]["length"], tuple(row[key]["line"])) for key in ("longest", "perpendicular"))
    return Measures(longest, perpendicular, row["unit"], row["mean"], row["mean_unit"])


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
        if r.is_best_guess:
            messages.append(Message("volume.perhaps", name=r.label, first=r.first, last=r.last, key=r.key_slice))
        else:
            messages.append(Message("volume.found", name=r.label, first=r.first, last=r.last, key=r.key_slice))
        if r.millilitres is not None:
            messages.append(Message("volume.millilitres", value=r.millilitres))
        if (longest := r.longest) is not None:
            number, measures = longest
            long, short = measures.longest.length, measures.perpendicular.length
            messages.append(Message("volume.longest", longest=long, perpendicular=short, unit=measures.unit, slice=number))
    messages += [Message("volume.not_found", name=name) for name in absent]
    return ("" if language is Language.ZH else " ").join(message.text(language) for message in messages)
