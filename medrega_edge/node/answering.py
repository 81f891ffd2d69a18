"""One job -> the objects that go back: an instance, every frame of it, or a series as volume.

The model is asked about every frame of a file. Frames with a region get objects. Where no frame has one, the middle frame
gets objects, so that an archive sees that the file was answered. The objects say so.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medrega_edge import __version__
from medrega_edge.domain import Language
from medrega_edge.errors import ChoiceError, ImageError, InternalError, MedregaError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.header import read_header
from medrega_edge.images.dicom.numbers import number_or_infinity
from medrega_edge.images.medical_image import MedicalImage, View
from medrega_edge.images.reader import read_file, read_image
from medrega_edge.node.config import Rule
from medrega_edge.node.made import MadeObject
from medrega_edge.node.records import Instance
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.window_words import window_preset_for

if TYPE_CHECKING:
    from medrega_edge.answer import Answer
    from medrega_edge.engine import EncodedImage, Engine
    from medrega_edge.output.dicom.writer import Place
    from medrega_edge.tasks.base import TaskRequest
    from medrega_edge.volumes.reader import Volume

_LARGEST_NUMBER = 200_000  # of an instance, so that with its frame it is a number of DICOM
_MOST_FRAMES = 10_000


def answered(engine: Engine, instances: Sequence[Instance], rule: Rule, language: str) -> list[MadeObject]:
    """Ask what a rule asks about one instance, or about a series as volume, and return the objects that it names.

    Objects of a kind about the pictures of one series are one series too. Raises ImageError for files that cannot be used,
    UsageError for a rule that such files do not allow, ResourceError where memory or a library is missing, InternalError for
    a fault of the program. A segmentation is left out where nothing was found; so the list is empty only for a rule that
    asks for that alone.
    """
    from medrega_edge.output.dicom.writer import check_libraries

    try:
        check_libraries(rule.outputs)
        if rule.volume:
            return _about_volume(engine, instances, rule, Language(language))
        (instance,) = instances
        return _about_file(engine, instance.path, rule, Language(language))
    except MedregaError:
        raise
    except MemoryError:
        raise ResourceError("batch.image_memory") from None
    except Exception as error:
        raise InternalError(error) from None


def _about_file(engine: Engine, path: Path, rule: Rule, language: Language) -> list[MadeObject]:
    data = read_file(path)
    view = View(default_preset=window_preset_for(_words(rule)))
    try:
        image = engine.open(data, view)
    except ChoiceError as several:
        return _about_frames(engine, data, [replace(view, frame=number) for number in range(several.count)], rule, language)
    return _objects(engine, _asked(engine, image, rule, language), data, image.image, rule)


def _about_frames(engine: Engine, data: bytes, views: list[View], rule: Rule, language: Language) -> list[MadeObject]:
    if rule.outputs == ("seg",):
        raise UsageError("output.seg_of_frames")
    middle = views[len(views) // 2]
    shown: list[tuple[View, Answer]] = []
    about_middle = None
    for view in views:
        answer = _asked(engine, engine.open(data, view), rule, language)
        if answer.regions:
            shown.append((view, answer))
        if view == middle:
            about_middle = answer
    if shown:
        note = Message("node.frames_with_region", asked=len(views), shown=len(shown))
    else:
        assert about_middle is not None
        shown, note = [(middle, about_middle)], Message("node.no_frame_with_region", asked=len(views))
    notes = [note, *([Message("node.no_seg_of_frames")] if "seg" in rule.outputs else [])]
    made = []
    for view, answer in shown:
        told = replace(answer, warnings=(*answer.warnings, *notes))
        made += _objects(engine, told, data, read_image(data, view), rule)  # not encoded again: it is drawn only
    return made


def _objects(engine: Engine, answer: Answer, data: bytes, image: MedicalImage, rule: Rule) -> list[MadeObject]:
    """Make the objects about one picture."""
    from medrega_edge.output.dicom.writer import made_objects
    from medrega_edge.output.overlay import draw_answer

    can_have_masks = image.frame is None and any(region.mask is not None for region in answer.regions)
    kinds = [kind for kind in rule.outputs if kind != "seg" or can_have_masks]
    picture, places = draw_answer(image, answer), _places(answer, data, rule)
    return _made(made_objects(answer, data, picture, kinds, _words(rule), places, engine.terminology.english))


def _places(answer: Answer, data: bytes, rule: Rule) -> dict[str, Place]:
    """Where the objects of each kind stand: beside those about the other pictures of the series that one rule is asked of.

    Else an archive would hold a series for each object about each slice. The number is that of the instance; of a file with
    frames it is followed by the frame, in four digits.
    """
    from medrega_edge.output.dicom.common import same_uid
    from medrega_edge.output.dicom.writer import Place

    header = read_header(data, Message("image.given"), ("StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"))
    place = [str(header.get(keyword)) for keyword in ("StudyInstanceUID", "SeriesInstanceUID")]
    asked = [rule.name, _words(rule), str(rule.min_confidence), answer.language, answer.model.sha256, __version__]
    try:
        number = number_or_infinity(header.get("InstanceNumber"))
    except (TypeError, ValueError, OverflowError):  # pydicom reads no whole number in it
        number = 0
    of_file = int(number) if 0 < number < _LARGEST_NUMBER else 0
    of_object = of_file if answer.image.frame is None else of_file * _MOST_FRAMES + answer.image.frame + 1
    return {kind: Place(same_uid(*place, *asked, kind), max(of_object, 1)) for kind in rule.outputs}


def _about_volume(engine: Engine, instances: Sequence[Instance], rule: Rule, language: Language) -> list[MadeObject]:
    from medrega_edge.output.dicom.writer import VOLUME_KINDS, made_volume_objects
    from medrega_edge.volumes.locate import locate_in_volume
    from medrega_edge.volumes.reader import open_series

    if wrong := [kind for kind in rule.outputs if kind not in VOLUME_KINDS]:
        raise UsageError("volume.objects", name=wrong[0], names=list(VOLUME_KINDS))
    if rule.min_confidence:
        raise UsageError("node.volume_min_confidence")
    if gone := sum(not instance.path.is_file() for instance in instances):
        raise ImageError("node.slices_gone", count=gone)
    folder = instances[0].path.parent
    names = [os.path.relpath(instance.path, folder) for instance in instances]
    volume = open_series(folder, names, View(default_preset=window_preset_for(_words(rule))))
    request = _request(engine, engine.encode(volume.read(volume.count // 2)), rule)
    kinds, notes = _kinds_of_volume(volume, rule)
    answer = locate_in_volume(engine, volume, request, language)
    if not any(any(region.masks) for region in answer.regions):
        kinds = [kind for kind in kinds if kind != "seg"]
    told = replace(answer, warnings=(*answer.warnings, *notes))
    return _made(made_volume_objects(told, volume.files, kinds, _words(rule), engine.terminology.english))


def _kinds_of_volume(volume: Volume, rule: Rule) -> tuple[list[str], list[Message]]:
    """The objects to make of a volume, and what to say of those that cannot be made."""
    if "seg" not in rule.outputs or all(frame is None for _, frame in volume.files):
        return list(rule.outputs), []
    if rule.outputs == ("seg",):
        raise UsageError("output.seg_of_frames")
    return [kind for kind in rule.outputs if kind != "seg"], [Message("node.no_seg_of_frames")]


def _words(rule: Rule) -> str:
    """What the rule asks, in words."""
    return rule.question or ", ".join(rule.segment)


def _request(engine: Engine, image: EncodedImage, rule: Rule) -> TaskRequest:
    request = Segment(rule.segment) if rule.segment else engine.request(image, rule.question)
    if "seg" in rule.outputs and not request.wants_masks:
        raise UsageError("output.no_mask_for_seg")
    return request


def _asked(engine: Engine, image: EncodedImage, rule: Rule, language: Language) -> Answer:
    return engine.run(image, _request(engine, image, rule), language, min_confidence=rule.min_confidence)


def _made(objects: dict[str, bytes]) -> list[MadeObject]:
    made = []
    for kind, data in objects.items():
        header = read_header(data, Message("image.given"), ("SOPClassUID", "SOPInstanceUID"))
        made.append(MadeObject(kind, str(header.SOPClassUID), str(header.SOPInstanceUID), data))
    return made
