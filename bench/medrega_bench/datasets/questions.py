"""Annotated images -> questions with truth, one JSON object a line, as `medrega batch` reads them.

Knows what a question with its truth is, our data's layout, and one fixed wording per task and language; knows no model.
Other layouts are read in `sources`. The truth stands beside each question: `{"text": model text, "regions": [{"label",
"boxes": [[x1, y1, x2, y2], ...]}], "labels": [...]}`, boxes in pixels of the original image.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.prompts.region_markup import RegionText, format_region
from medrega_edge.prompts.templates import CLASSIFY_MULTIPLE_QUESTION, CLASSIFY_QUESTION, LABEL_SEPARATOR
from medrega_edge.vocabulary.label_sets import LABEL_SETS, LabelSet

SKIPPED_LABELS = frozenset({"retinal blood vessels"})  # they fill the whole image
SEVERAL_LABELS = "classification_multi"
MOST_BOXES = 6  # of one object in one question: a field of a hundred blood cells fills any answer
DETECT_WORDING = {Language.EN: "locate the {name}", Language.ZH: "请定位{name}"}
IDENTIFY_WORDING = {Language.EN: "What is this?", Language.ZH: "这是什么？"}


@dataclass(frozen=True)
class Objects:
    """Boxes of one named object, in pixels of the original image."""

    label: str
    boxes: tuple[PixelBox, ...]

    def text(self, geometry: Geometry) -> str:
        """Write the object as a model does; raises ValueError for a box outside the image."""
        return format_region(RegionText(self.label, tuple(geometry.to_grid(box) for box in self.boxes)))


@dataclass(frozen=True)
class Question:
    """One question about one image, with its truth: `text` as a model should write it, `regions` or `labels` in it.

    `setting` names how an answer is scored. `box` is what an identification asks about, `candidates` what a
    classification chooses from; `object` is the English name of what a question of our own data is about.
    """

    id: str
    image: Path
    task: Task
    language: Language
    question: str
    setting: str
    text: str
    regions: tuple[Objects, ...] = ()
    labels: tuple[str, ...] = ()
    box: PixelBox | None = None
    candidates: tuple[str, ...] = ()
    modality: str | None = None
    object: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the question as a line for `medrega batch`, with its truth beside it."""
        regions = [{"label": one.label, "boxes": [box.as_list() for box in one.boxes]} for one in self.regions]
        return {
            "id": self.id,
            "image": str(self.image.resolve()),
            "task": self.task.value,
            "language": self.language.value,
            "question": self.question,
            **({"box": self.box.as_list()} if self.box else {}),
            **({"labels": list(self.candidates), "several": self.setting == SEVERAL_LABELS} if self.candidates else {}),
            "modality": self.modality,
            "object": self.object,
            "setting": self.setting,
            "truth": {"text": self.text, "regions": regions, **({"labels": list(self.labels)} if self.labels else {})},
        }


@dataclass(frozen=True)
class LeftOut:
    """Something that gives no question: where, and why. It is counted and said, never dropped in silence."""

    place: str
    reason: str


def setting_of(task: Task, language: Language, regions: Sequence[Objects] = (), several_labels: bool = False) -> str:
    """Name the setting by which answers to a question are scored."""
    if task in (Task.VQA, Task.REPORT):
        return f"{task}_{language}"
    if task is Task.IDENTIFY:
        return "region_to_text"
    if task is Task.CLASSIFY:
        return SEVERAL_LABELS if several_labels else "classification_single"
    objects = "multi" if len(regions) > 1 else "single"
    return f"{objects}_object_{'multi' if any(len(one.boxes) > 1 for one in regions) else 'single'}_region"


def read_records(data: Path, split: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a split; raises UsageError naming a bad line."""
    path = data / "records.jsonl"
    if not path.is_file():
        raise UsageError(f"There is no records.jsonl in '{data.name}'; name the data folder with --data.")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                if row["split"] == split:
                    yield _checked(row)
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(
                    f"Line {number} of records.jsonl cannot be read ({error!r}); correct or remove it."
                ) from None


def _checked(record: dict[str, Any]) -> dict[str, Any]:
    """Touch everything that questions are made of, so that what is amiss is named with its line."""
    geometry = Geometry(record["width"], record["height"])
    for key in ("id", "image", "modality", "labels", "dup_of_eval"):
        record[key]
    for region in record["regions"]:
        for name in (region["label_en"], region["label_zh"]):
            Objects(name, _boxes(region)).text(geometry)
    for one in record["qa"]:
        Language(one["lang"]), one["question"], one["answer"]
    return record


def _boxes(region: dict[str, Any]) -> tuple[PixelBox, ...]:
    """Boxes top to bottom, then left to right, as models are trained to write them."""
    return tuple(PixelBox(*box) for box in sorted(region["boxes"], key=lambda box: (box[1], box[0])))


def questions_of(
    records: Iterable[dict[str, Any]], data: Path, languages: Sequence[Language] = tuple(Language)
) -> Iterator[Question | LeftOut]:
    """Per image and language: where is each object, what is in its box, the image's own questions, and its classes.

    An object of several regions is asked for at once, and none of its boxes is asked about.
    """
    for record in records:
        if record["dup_of_eval"]:
            yield LeftOut(record["id"], "an image that almost equals one of another split")
            continue
        image = data / record["image"]
        for region in record["regions"]:
            if region["label_en"] in SKIPPED_LABELS:
                yield LeftOut(record["id"], f"{region['label_en']} fill the whole image")
            elif len(region["boxes"]) > MOST_BOXES:
                yield LeftOut(record["id"], f"an object with more than {MOST_BOXES} boxes")
            else:
                for language in languages:
                    yield from _about_region(record, image, region, language)
        for number, one in enumerate(record["qa"]):
            if one["lang"] in languages:
                yield Question(
                    f"{record['id']}/{number}/vqa", image, Task.VQA, Language(one["lang"]), one["question"],
                    setting_of(Task.VQA, Language(one["lang"])), one["answer"], modality=record["modality"],
                )  # fmt: skip
        for label_set in LABEL_SETS.values():
            for language in languages:
                yield from _about_classes(record, image, label_set, language)


def _about_region(record: dict[str, Any], image: Path, region: dict[str, Any], language: Language) -> Iterator[Question]:
    name = region["label_en"] if language is Language.EN else region["label_zh"]
    one = Objects(name, _boxes(region))
    key = f"{record['id']}/{region['label_en']}/{language}"
    about = {"modality": record["modality"], "object": region["label_en"]}
    yield Question(
        f"{key}/detect", image, Task.DETECT, language, DETECT_WORDING[language].format(name=name),
        setting_of(Task.DETECT, language, [one]), one.text(Geometry(record["width"], record["height"])), (one,), **about,
    )  # fmt: skip
    if len(one.boxes) == 1:
        yield Question(
            f"{key}/identify", image, Task.IDENTIFY, language, IDENTIFY_WORDING[language],
            setting_of(Task.IDENTIFY, language), name, box=one.boxes[0], **about,
        )  # fmt: skip


def _about_classes(record: dict[str, Any], image: Path, one: LabelSet, language: Language) -> Iterator[Question]:
    candidates = one.names(language)
    right = [name for name, english in zip(candidates, one.names(Language.EN), strict=True) if english in record["labels"]]
    if len(right) == 1 or (one.multiple and right):
        yield classify_question(
            f"{record['id']}/{one.name}/{language}/classify", image, language, candidates, right, one.multiple,
            modality=record["modality"],
        )  # fmt: skip


def classify_question(
    identity: str,
    image: Path,
    language: Language,
    candidates: Sequence[str],
    right: Sequence[str],
    several: bool,
    modality: str | None = None,
) -> Question:
    """Ask which of the candidates fit, in the program's own wording."""
    wording = (CLASSIFY_MULTIPLE_QUESTION if several else CLASSIFY_QUESTION)[language]
    return Question(
        identity, image, Task.CLASSIFY, language, wording.format(labels=LABEL_SEPARATOR.join(candidates)),
        setting_of(Task.CLASSIFY, language, several_labels=several), LABEL_SEPARATOR.join(right),
        labels=tuple(right), candidates=tuple(candidates), modality=modality,
    )  # fmt: skip
