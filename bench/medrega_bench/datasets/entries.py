"""Entries of others' files: a line or a list entry with the words that name its place, and what layouts share.

Whatever cannot be read is a UsageError that names the line, or the entry of a JSON list, counted from 1.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medrega_bench.datasets.questions import LeftOut, classify_question
from medrega_edge.boxes import Geometry
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import LabelledBoxes, Question, regions_text
from medrega_edge.i18n.message import Message

T = TypeVar("T")
Made = Iterator[Question | LeftOut]
_ORIENTATION = 0x0112  # the tag of Exif and TIFF; 1 is upright
_ON_THE_SIDE = (5, 6, 7, 8)  # orientations that exchange width and height


@dataclass(frozen=True)
class Entry:
    """One line or list entry: what it holds, and the words that name its place."""

    place: Message
    data: dict[str, Any]

    def text(self, key: str, default: str | None = None) -> str:
        """Return text, or a number as text; raises UsageError when it is neither or is not there."""
        value = self.data.get(key, default)
        if type(value) not in (str, int, float):
            raise UsageError("bench.needs_text", place=self.place, key=key)
        return str(value).strip()

    def image(self, folder: Path, key: str = "image") -> Path:
        """Return the path of the image that the entry names; raises UsageError when it is not there."""
        path = folder / self.text(key)
        if not path.is_file():
            raise UsageError("bench.image_missing", place=self.place, folder=folder.name)
        return path

    def choice(self, key: str, known: dict[str, T]) -> T:
        """Return what a word stands for; raises UsageError naming the words that are known."""
        word = self.text(key)
        if word not in known:
            raise UsageError("bench.unknown_word", place=self.place, word=word, key=key, known=list(known))
        return known[word]

    def geometry(self, image: Path, are_shares: bool = False) -> Geometry:
        """Return the size of the image as it is read, in whose pixels its boxes are.

        An entry whose boxes are shares of the sides may state a size in proportion.
        Raises UsageError where the entry states another size, or where a tag turns the image and the entry does not show
        whether its boxes were drawn before or after.
        """
        read, orientation = _upright(image)
        stated = self._stated_size()
        is_frame_known = orientation == 1
        if stated is not None:
            is_scaled = math.isclose(stated.width / stated.height, read.width / read.height, rel_tol=0.02)
            if stated != read and not (are_shares and is_scaled):
                sizes = [f"{size.width} x {size.height}" for size in (stated, read)]
                raise UsageError("bench.other_size", place=self.place, stated=sizes[0], found=sizes[1])
            is_frame_known |= stated.width != stated.height and orientation in _ON_THE_SIDE
        if not is_frame_known:
            raise UsageError("bench.turned_image", place=self.place)
        return read

    def _stated_size(self) -> Geometry | None:
        width, height = self.data.get("width"), self.data.get("height")
        if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
            return Geometry(width, height)
        return None

    def located(self, objects: Sequence[LabelledBoxes], geometry: Geometry) -> str:
        """Write objects as a model does; raises UsageError for a box that is inverted or outside the image."""
        for box in (box for one in objects for box in one.boxes):
            if not box.is_ordered:
                raise UsageError("bench.box_corners", place=self.place, box=box.as_list())
            if not geometry.overlaps(box):
                width, height = geometry.width, geometry.height
                raise UsageError("bench.box_outside", place=self.place, box=box.as_list(), width=width, height=height)
        return regions_text(objects, geometry)


def _upright(image: Path) -> tuple[Geometry, int]:
    """The size of an image as it is read, and the orientation that its tag states; 1 is upright."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(image) as picture:
            orientation = picture.getexif().get(_ORIENTATION, 1)
            size = picture.size[::-1] if orientation in _ON_THE_SIDE else picture.size
            return Geometry(*size), orientation
    except (UnidentifiedImageError, OSError):
        from medrega_edge.images.reader import read_image

        read = read_image(image)
        return Geometry(read.width, read.height), 1


def agreeing(made: list[Question | LeftOut]) -> Made:
    """Whether a data set's questions may have several labels shows only in all of them together."""
    several = any(isinstance(one, Question) and len(one.truth.labels) > 1 for one in made)
    for one in made:
        if several and isinstance(one, Question) and one.task is Task.CLASSIFY:
            one = classify_question(one.id, one.image, one.language, one.labels, one.truth.labels, several=True)
        yield one


def classified(
    entry: Entry, identity: str, image: Path, language: Language, candidates: Sequence[str], right: Sequence[str]
) -> Question:
    """Ask for labels of an image; raises UsageError for a right one that is no candidate."""
    known = {name.lower(): name for name in candidates}
    unknown = [label for label in right if label.lower() not in known]
    if unknown:
        raise UsageError("bench.unknown_label", place=entry.place, label=unknown[0])
    labels = [known[label.lower()] for label in right]
    return classify_question(identity, image, language, candidates, labels, several=len(labels) > 1)


def refuse_split(split: str | None) -> None:
    """Refuse a split where a layout has a file a split; raises UsageError."""
    if split is not None:
        raise UsageError("bench.split_is_a_file")


def json_of(path: Path) -> Any:
    """Read a JSON file; raises UsageError."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError("bench.data_unreadable", file=path.name, reason=error.strerror or "") from None
    except (ValueError, RecursionError) as error:
        raise UsageError("bench.not_json", file=path.name, problem=str(error)) from None


def listed(path: Path) -> Iterator[Entry]:
    """Read the entries of a JSON list; raises UsageError naming the one that is none."""
    yield from entries_of(json_of(path), Message("bench.entry"), path)


def entries_of(given: object, noun: Message, path: Path) -> Iterator[Entry]:
    """Return the entries of a list within a file, counted from 1; raises UsageError."""
    if not isinstance(given, list):
        raise UsageError("bench.not_a_list", file=path.name, noun=noun)
    for number, data in enumerate(given, 1):
        place = Message("bench.numbered", noun=noun, number=number, file=path.name)
        if not isinstance(data, dict):
            raise UsageError("bench.not_an_object", place=place)
        yield Entry(place, data)


def four_numbers(value: object, entry: Entry, key: str) -> list[float]:
    """Return four numbers; raises UsageError."""
    if not isinstance(value, list) or len(value) != 4 or any(type(one) not in (int, float) for one in value):
        raise UsageError("bench.four_numbers", place=entry.place, key=key)
    return value
