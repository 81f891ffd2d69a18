"""Questions with their true answers: one JSON object a line, as `medrega batch` reads them, the truth beside each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass
from pydantic.json_schema import SkipJsonSchema

from medrega_edge.boxes import Geometry
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.json_lines import CLOSED, Box, Identifier, ImagePath, parse_lines, read_text
from medrega_edge.io.atomic import atomic_write
from medrega_edge.io.safe_text import json_text
from medrega_edge.prompts.region_markup import RegionText, format_region

T = TypeVar("T")

ABSENT = "absent"
ONE_LABEL, SEVERAL_LABELS = "classification_single", "classification_multi"
REGION_TO_TEXT = "region_to_text"


@dataclass(frozen=True, config=CLOSED)
class LabelledBoxes:
    """The boxes of one named object, in pixels of the original image."""

    label: str
    boxes: tuple[Box, ...]

    def text(self, geometry: Geometry) -> str:
        """Write the object as a model does; raises ValueError for a box outside the image."""
        return format_region(RegionText(self.label, tuple(geometry.to_grid(box) for box in self.boxes)))


def regions_text(regions: Iterable[LabelledBoxes], geometry: Geometry) -> str:
    """Write objects as a model does; raises ValueError for a box outside the image."""
    return ", ".join(region.text(geometry) for region in regions)


@dataclass(frozen=True, config=CLOSED)
class Truth:
    """The true answer: `text` as the model should write it, and the `regions` or the `labels` in it."""

    text: str
    regions: tuple[LabelledBoxes, ...] = ()
    labels: tuple[str, ...] = ()


def _setting(task: Task, language: Language, several: bool, truth: Truth) -> str:
    if task in (Task.VQA, Task.REPORT):
        return f"{task}_{language}"
    if task is Task.IDENTIFY:
        return REGION_TO_TEXT
    if task is Task.CLASSIFY:
        return SEVERAL_LABELS if several else ONE_LABEL
    if not truth.regions:
        return ABSENT
    objects = "multi" if len(truth.regions) > 1 else "single"
    regions = "multi" if any(len(region.boxes) > 1 for region in truth.regions) else "single"
    return f"{objects}_object_{regions}_region"


def _setting_of(data: dict[str, Any]) -> str:
    return _setting(data["task"], data["language"], data["several"], data["truth"])


@dataclass(frozen=True, config=CLOSED)
class Question:
    """One question about one image, with its truth.

    `labels` are the candidates of a classification; with `several` more than one may be right. `box` is the box of an
    identification. `setting` names how answers are scored, and follows from the rest. `object` is the English name of what
    the question is about. `line` and `sha256` are the number and the hash of the line it was read from, so that a message or
    a certificate can name a question without quoting it. Raises ValueError for a setting that does not fit.
    """

    id: Identifier
    image: ImagePath
    question: str
    task: Task
    truth: Truth
    language: Language = Field(default_factory=lambda data: language_of(data["question"]))
    box: Box | None = None
    labels: tuple[str, ...] = ()
    several: bool = False
    setting: str = Field(default_factory=_setting_of)
    modality: Modality | None = None
    object: str | None = None
    line: SkipJsonSchema[int] = 0
    sha256: SkipJsonSchema[str] = ""

    @model_validator(mode="after")
    def _setting_fits(self) -> Question:
        fitting = _setting(self.task, self.language, self.several, self.truth)
        if self.setting != fitting:
            raise ValueError(f"setting: that of this question is {fitting}")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the question as a line of a file; its image as an absolute path."""
        truth = self.truth
        regions = [{"label": region.label, "boxes": [box.as_list() for box in region.boxes]} for region in truth.regions]
        return {
            "id": self.id,
            "image": str(self.image.resolve()),
            "task": self.task.value,
            "language": self.language.value,
            "question": self.question,
            **({"box": self.box.as_list()} if self.box else {}),
            **({"labels": list(self.labels), "several": self.several} if self.labels else {}),
            "modality": self.modality,
            "object": self.object,
            "setting": self.setting,
            "truth": {"text": truth.text, "regions": regions, **({"labels": list(truth.labels)} if truth.labels else {})},
        }


_QUESTION = TypeAdapter(Question)


def read_questions(path: Path) -> list[Question]:
    """Read a file of questions; paths of images are relative to its folder. Raises UsageError that names a bad line."""
    questions = [
        replace(question, line=number, sha256=hashlib.sha256(line.encode("utf-8")).hexdigest())
        for number, line, question in parse_lines(read_text(path), _QUESTION, path.name, path.parent)
    ]
    if not questions:
        raise UsageError("evaluation.no_question", file=path.name)
    return questions


def write_questions(questions: Iterable[Question], path: Path) -> None:
    """Write a file of questions, as a whole or not at all; raises UsageError when the place cannot be written."""
    with atomic_write(path) as file:
        for question in questions:
            file.write((json_text(question.to_dict()) + "\n").encode("utf-8"))


def spread(items: Sequence[T], count: int | None) -> list[T]:
    """Pick `count` items spread evenly over all of them, so that every part has its share; all where count is None."""
    if count is None or count >= len(items):
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]
