"""Annotated images: one record a line of `records.jsonl`, in a data folder with its images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from medrega_edge.boxes import Geometry
from medrega_edge.domain import Language, Modality
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.json_lines import STRICT, Box, Identifier, ImagePath, parse_lines, read_text

FILE = "records.jsonl"
NOT_A_TARGET = "retinal blood vessels"  # they fill the whole image: nothing to locate


@dataclass(frozen=True, config=STRICT)
class AnnotatedRegion:
    """One object of an image: its names in both languages, and its boxes in pixels."""

    label_en: str
    label_zh: str
    boxes: tuple[Box, ...]
    kind: str = "structure"  # "organ", "lesion", "structure" or "device"

    @property
    def is_lesion(self) -> bool:
        """Whether it is abnormal."""
        return self.kind == "lesion"

    @property
    def area(self) -> float:
        """The area of its boxes in square pixels."""
        return sum((box.x2 - box.x1) * (box.y2 - box.y1) for box in self.boxes)

    def name(self, language: Language) -> str:
        """Return its name in a language."""
        return self.label_zh if language is Language.ZH else self.label_en


@dataclass(frozen=True, config=STRICT)
class AnnotatedQuestion:
    """A question that the data set asks about an image, with its answer; `type` is "open" or "closed"."""

    lang: Language
    question: str
    answer: str
    type: str = "open"


@dataclass(frozen=True, config=STRICT)
class WrittenReport:
    """What somebody wrote about an image."""

    lang: Language
    text: str


@dataclass(frozen=True, config=STRICT)
class Record:
    """One image with everything that is annotated about it.

    `labels` are the classes of the whole image. `dup_of_eval` marks an image that almost equals one of another split.
    `terms` says what the licence allows, `batch` which delivery of the data the image came with. Raises ValueError for a
    box outside the image.
    """

    id: Identifier
    dataset: str
    image: ImagePath
    modality: Modality
    width: int
    height: int
    split: str = ""
    regions: tuple[AnnotatedRegion, ...] = ()
    labels: tuple[str, ...] = ()
    qa: tuple[AnnotatedQuestion, ...] = ()
    dup_of_eval: bool = False
    patient: str = ""
    plane: str | None = None
    terms: str = ""
    report: WrittenReport | None = None
    batch: int | None = None

    @model_validator(mode="after")
    def _boxes_lie_in_the_image(self) -> Record:
        for region in self.regions:
            for box in region.boxes:
                self.geometry.to_grid(box)
        return self

    @property
    def geometry(self) -> Geometry:
        """The size of the image."""
        return Geometry(self.width, self.height)

    @property
    def targets(self) -> tuple[AnnotatedRegion, ...]:
        """The regions that are worth locating."""
        return tuple(region for region in self.regions if region.label_en != NOT_A_TARGET and region.boxes)


@dataclass(frozen=True)
class _SplitOnly:
    split: str


_RECORD, _SPLIT = TypeAdapter(Record), TypeAdapter(_SplitOnly)


def read_records(folder: Path, split: str | None = None, images: Path | None = None) -> Iterator[Record]:
    """Yield the records of a data folder, or of one split of it; images are relative to `images`, or to the folder.

    Lines of other splits are checked no further than their split. Raises UsageError that names the line at fault.
    """
    path = folder / FILE
    if not path.is_file():
        raise UsageError("evaluation.no_records", folder=folder.name)
    text = read_text(path)
    if split is not None:
        text = "\n".join(line if mine else "" for line, mine in _of_split(text, split))
    for _, _, record in parse_lines(text, _RECORD, FILE, images or folder):
        yield record


def _of_split(text: str, split: str) -> Iterator[tuple[str, bool]]:
    """Each line, with whether it is of the split; a line that names none is, so that its fault is named."""
    for line in text.split("\n"):
        try:
            yield line, _SPLIT.validate_json(line).split == split
        except ValueError:
            yield line, True
