"""What is asked about a split: every task, what is certainly not there, several objects at once, reports.

Knows annotations and wordings; knows no package. See `suite` for how it is asked.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medrega_bench.datasets.questions import DETECT_WORDING, LeftOut, Objects, Question, questions_of, setting_of
from medrega_bench.datasets.references import placed_text, reference, reported
from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.prompts.templates import REPORT_QUESTION
from medrega_edge.vocabulary.label_sets import LABEL_SETS

Row = dict[str, Any]

MOST_OBJECTS = 4  # in one question
# What certainly is not in an image of these kinds: no field of view holds both.
SURFACES = frozenset({"fundus", "oct", "dermoscopy", "endoscopy", "pathology"})
NOT_ON_SURFACES = ("liver", "left kidney", "heart")
NOT_IN_SCANS = ("polyp", "optic disc", "skin lesion")
_CONTAINS = re.compile(r"^(does|do) the (picture|image) contains? (?P<name>.+?)\s*\?$", re.IGNORECASE)


@dataclass(frozen=True)
class Asked:
    """A question with what the suite has to know of its image.

    `kind` is that of the object: "lesion" or "structure". Of a report, `placed` are the true regions of each sentence as
    a model writes them, and `note` is what a clinician wrote, where somebody did.
    """

    question: Question
    dataset: str
    size: tuple[int, int]
    absent: bool = False
    kind: str | None = None
    placed: dict[str, str] = field(default_factory=dict)
    note: str | None = None


def asked_of(records: Sequence[Row], data: Path) -> Iterator[Asked]:
    """Everything that is asked about a split."""
    about = {record["id"]: record for record in records}
    classes: dict[str, set[str]] = defaultdict(set)
    for record in records:
        classes[record["dataset"]] |= set(record["labels"])
    for one in questions_of(records, data):
        if isinstance(one, LeftOut):
            continue
        record = about[next(key for key in _keys(one.id) if key in about)]
        # Where a data set knows a single one of the candidates, there is nothing to tell apart.
        if one.candidates and _known(one.candidates, classes[record["dataset"]]) < 2:
            continue
        yield _asked(one, record)
    for record in records:
        if not record["dup_of_eval"]:
            yield from _several_objects(record, data)
            yield from _not_there(record, data)


def _known(candidates: Sequence[str], classes: set[str]) -> int:
    """How many of the candidates, in either language, a data set's classes hold."""
    english = {name: en for one in LABEL_SETS.values() for en, zh in one.labels for name in (en, zh)}
    return sum(english.get(candidate, candidate) in classes for candidate in candidates)


def _keys(identity: str) -> Iterator[str]:
    """Beginnings of a question's id, longest first: a record's id may hold slashes itself."""
    parts = identity.split("/")
    return ("/".join(parts[:n]) for n in range(len(parts), 0, -1))


def _asked(question: Question, record: Row, absent: bool = False) -> Asked:
    kinds = {region["label_en"]: "lesion" if region["kind"] == "lesion" else "structure" for region in record["regions"]}
    return Asked(question, record["dataset"], (record["width"], record["height"]), absent, kinds.get(question.object or ""))


def _several_objects(record: Row, data: Path) -> Iterator[Asked]:
    """One question about up to four objects of an image, the largest."""
    usable = [r for r in record["regions"] if 1 <= len(r["boxes"]) <= 4 and r["label_en"] != "retinal blood vessels"]
    if len(usable) < 2:
        return
    usable.sort(key=lambda r: -sum((b[2] - b[0]) * (b[3] - b[1]) for b in r["boxes"]))
    chosen = usable[:MOST_OBJECTS]
    geometry = Geometry(record["width"], record["height"])
    for language in Language:
        objects = [
            Objects(r["label_en"] if language is Language.EN else r["label_zh"], tuple(PixelBox(*b) for b in r["boxes"]))
            for r in chosen
        ]
        names = ("、" if language is Language.ZH else ", the ").join(one.label for one in objects)
        yield _asked(
            Question(
                f"{record['id']}/several/{language}", data / record["image"], Task.DETECT, language,
                DETECT_WORDING[language].format(name=names), setting_of(Task.DETECT, language, objects),
                ", ".join(one.text(geometry) for one in objects), tuple(objects), modality=record["modality"],
            ),
            record,
        )  # fmt: skip


def _not_there(record: Row, data: Path) -> Iterator[Asked]:
    """What certainly is not in an image: things of another field of view, and what SLAKE's own answers deny."""
    names = list(NOT_ON_SURFACES if record["modality"] in SURFACES else NOT_IN_SCANS)
    here = {region["label_en"] for region in record["regions"]}
    for one in record["qa"]:
        contains = _CONTAINS.match(one["question"])
        if contains and one["lang"] == "en" and one["answer"].strip().casefold() == "no":
            names.append(contains["name"].casefold())
    for name in dict.fromkeys(names):
        if name not in here:
            yield _asked(
                Question(
                    f"{record['id']}/{name}/absent", data / record["image"], Task.DETECT, Language.EN,
                    DETECT_WORDING[Language.EN].format(name=name), "absent", "", modality=record["modality"], object=name,
                ),
                record,
                absent=True,
            )  # fmt: skip


def reports_of(records: Sequence[Row], data: Path) -> Iterator[Asked]:
    """A report of some images of each data set, in both languages; the references are built from the annotations."""
    for record in reported(records):
        note = record.get("report") or {}
        for language in Language:
            true = reference(record, language)
            question = Question(
                f"{record['id']}/report/{language}", data / record["image"], Task.REPORT, language,
                REPORT_QUESTION[language], setting_of(Task.REPORT, language), true.text, modality=record["modality"],
            )  # fmt: skip
            written = note["text"] if note.get("lang") == language else None
            size = (record["width"], record["height"])
            yield Asked(question, record["dataset"], size, placed=placed_text(true, Geometry(*size)), note=written)


def about_images(asked: Sequence[Asked]) -> list[Asked]:
    """The questions, those of one image together: an image is looked at once."""
    order = {image: place for place, image in enumerate(dict.fromkeys(one.question.image for one in asked))}
    return sorted(asked, key=lambda one: order[one.question.image])


def other_images(asked: Sequence[Asked]) -> dict[Path, Path]:
    """For each image another one of the same data set; the next, so that it is always the same."""
    by_dataset: dict[str, list[Path]] = {}
    for one in asked:
        images = by_dataset.setdefault(one.dataset, [])
        if one.question.image not in images[-1:] and one.question.image not in images:
            images.append(one.question.image)
    return {image: images[(place + 1) % len(images)] for images in by_dataset.values() for place, image in enumerate(images)}
