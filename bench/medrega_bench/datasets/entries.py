"""Entries of others' files: a line or a list entry with the words that name its place, and what layouts share.

Whatever cannot be read is a UsageError that names the line, or the entry of a JSON list, counted from 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from medrega_bench.datasets.questions import LeftOut, classify_question
from medrega_edge.boxes import Geometry
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import LabelledBoxes, Question, regions_text

T = TypeVar("T")
Made = Iterator[Question | LeftOut]


@dataclass(frozen=True)
class Entry:
    """One line or list entry: what it holds, and the words that name its place."""

    place: str
    data: dict[str, Any]

    def text(self, key: str, default: str | None = None) -> str:
        """Return text, or a number as text; raises UsageError when it is neither or is not there."""
        value = self.data.get(key, default)
        if type(value) not in (str, int, float):
            raise UsageError(f"{self.place} needs text as '{key}'.")
        return str(value).strip()

    def image(self, folder: Path, key: str = "image") -> Path:
        """Return the path of the image that the entry names; raises UsageError when it is not there."""
        path = folder / self.text(key)
        if not path.is_file():
            raise UsageError(f"{self.place} names an image that is not in '{folder.name}'; name its folder with --images.")
        return path

    def choice(self, key: str, known: dict[str, T]) -> T:
        """Return what a word stands for; raises UsageError naming the words that are known."""
        word = self.text(key)
        if word not in known:
            raise UsageError(f"{self.place} has '{word}' as '{key}', which is none of: {', '.join(known)}.")
        return known[word]

    def geometry(self, image: Path) -> Geometry:
        """Return the size of the image: the entry's width and height, else those of the file."""
        width, height = self.data.get("width"), self.data.get("height")
        if type(width) is int and type(height) is int and width > 0 and height > 0:
            return Geometry(width, height)
        from medrega_edge.images.reader import read_image

        read = read_image(image)
        return Geometry(read.width, read.height)

    def located(self, objects: Sequence[LabelledBoxes], geometry: Geometry) -> str:
        """Write objects as a model does; raises UsageError for a box that is inverted or outside the image."""
        try:
            return regions_text(objects, geometry)
        except ValueError as error:
            raise UsageError(f"{self.place}: {error}.") from None


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
        raise UsageError(f"{entry.place} has the label '{unknown[0]}', which is none of its candidates.")
    labels = [known[label.lower()] for label in right]
    return classify_question(identity, image, language, candidates, labels, several=len(labels) > 1)


def refuse_split(split: str | None) -> None:
    """Refuse a split where a layout has a file a split; raises UsageError."""
    if split is not None:
        raise UsageError("This layout has a file a split; leave out --split and name the split's file with --data.")


def json_of(path: Path) -> Any:
    """Read a JSON file; raises UsageError."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"'{path.name}' cannot be read ({error.strerror}); name the file with --data.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"'{path.name}' cannot be read as JSON ({error}); correct it, or name another.") from None


def listed(path: Path) -> Iterator[Entry]:
    """Read the entries of a JSON list; raises UsageError naming the one that is none."""
    yield from entries_of(json_of(path), "Entry", path)


def entries_of(given: object, noun: str, path: Path) -> Iterator[Entry]:
    """Return the entries of a list within a file, counted from 1; raises UsageError."""
    if not isinstance(given, list):
        raise UsageError(f"'{path.name}' needs a list of objects ({noun}); name its layout with --from.")
    for number, data in enumerate(given, 1):
        place = f"{noun} {number} of '{path.name}'"
        if not isinstance(data, dict):
            raise UsageError(f"{place} is no JSON object.")
        yield Entry(place, data)


def four_numbers(value: object, entry: Entry, key: str) -> list[float]:
    """Return four numbers; raises UsageError."""
    if not isinstance(value, list) or len(value) != 4 or any(type(one) not in (int, float) for one in value):
        raise UsageError(f"{entry.place} needs four numbers as '{key}'.")
    return value
