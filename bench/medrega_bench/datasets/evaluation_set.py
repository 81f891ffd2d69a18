"""What is asked about a split: every task, what is certainly not there, several objects at once, reports."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from medrega_bench.datasets.questions import LeftOut, questions_about
from medrega_bench.datasets.references import placed_text, reference, reported
from medrega_edge.domain import Language, Task
from medrega_edge.evaluation.questions import ABSENT, LabelledBoxes, Question, Truth, regions_text, spread
from medrega_edge.evaluation.records import Record
from medrega_edge.prompts.templates import DETECT_QUESTION, REPORT_QUESTION
from medrega_edge.vocabulary.label_sets import LABEL_SETS

MOST_OBJECTS = 4  # in one question
# What certainly is not in an image of these kinds: no field of view holds both.
SURFACES = frozenset({"fundus", "oct", "dermoscopy", "endoscopy", "pathology"})
NOT_ON_SURFACES = ("liver", "left kidney", "heart")
NOT_IN_SCANS = ("polyp", "optic disc", "skin lesion")
# Data sets that name every organ that they know: one without a region is not in the image, though its body part is.
LABELLED_THROUGHOUT = frozenset({"totalseg_example", "curvas_ct"})
MISSING = "missing"
MOST_MISSING = 8  # names of one image, spread over all that it lacks
_CONTAINS = re.compile(r"^(does|do) the (picture|image) contains? (?P<name>.+?)\s*\?$", re.IGNORECASE)


@dataclass(frozen=True)
class EvaluationItem:
    """A question with what its figures need to know of its image.

    `kind` is that of the object: "lesion" or "structure", or "missing" where its body part is there without it. Of a
    report, `placed` are the true regions of each sentence as a model writes them, and `note` is what a clinician wrote,
    where somebody did.
    """

    question: Question
    dataset: str
    size: tuple[int, int]
    kind: str | None = None
    placed: dict[str, str] = field(default_factory=dict)
    note: str | None = None

    @property
    def absent(self) -> bool:
        """Whether the question asks for what is not there."""
        return self.question.setting == ABSENT


def items_of(records: Sequence[Record]) -> Iterator[EvaluationItem]:
    """Everything that is asked about a split, but for reports."""
    classes: dict[str, set[str]] = defaultdict(set)
    names: dict[str, set[str]] = defaultdict(set)
    for record in records:
        classes[record.dataset] |= set(record.labels)
        names[record.dataset] |= {region.label_en for region in record.targets}
    for record in records:
        for question in questions_about(record):
            if isinstance(question, LeftOut):
                continue
            # Where a data set knows a single one of the candidates, there is nothing to tell apart.
            if question.labels and _known(question.labels, classes[record.dataset]) < 2:
                continue
            yield _item(question, record)
    for record in records:
        if not record.dup_of_eval:
            yield from _several_objects(record)
            yield from _not_there(record)
            if record.dataset in LABELLED_THROUGHOUT:
                yield from _missing(record, names[record.dataset])


def _known(candidates: Sequence[str], classes: set[str]) -> int:
    """How many of the candidates, in either language, a data set's classes hold."""
    english = {name: en for label_set in LABEL_SETS.values() for en, zh in label_set.labels for name in (en, zh)}
    return sum(english.get(candidate, candidate) in classes for candidate in candidates)


def _item(question: Question, record: Record) -> EvaluationItem:
    kinds = {region.label_en: "lesion" if region.is_lesion else "structure" for region in record.regions}
    return EvaluationItem(question, record.dataset, (record.width, record.height), kinds.get(question.object or ""))


def _several_objects(record: Record) -> Iterator[EvaluationItem]:
    """One question about up to four objects of an image, the largest."""
    usable = [region for region in record.targets if len(region.boxes) <= 4]
    if len(usable) < 2:
        return
    usable.sort(key=lambda region: region.area, reverse=True)
    for language in Language:
        objects = tuple(LabelledBoxes(region.name(language), region.boxes) for region in usable[:MOST_OBJECTS])
        names = ("、" if language is Language.ZH else ", the ").join(one.label for one in objects)
        question = Question(
            id=f"{record.id}/several/{language}",
            image=record.image,
            question=DETECT_QUESTION[language].format(x=names),
            task=Task.DETECT,
            truth=Truth(regions_text(objects, record.geometry), objects),
            language=language,
            modality=record.modality,
        )
        yield _item(question, record)


def _not_there(record: Record) -> Iterator[EvaluationItem]:
    """What certainly is not in an image: things of another field of view, and what SLAKE's own answers deny."""
    names = list(NOT_ON_SURFACES if record.modality in SURFACES else NOT_IN_SCANS)
    here = {region.label_en for region in record.regions}
    for annotated in record.qa:
        contains = _CONTAINS.match(annotated.question)
        if contains and annotated.lang is Language.EN and annotated.answer.strip().casefold() == "no":
            names.append(contains["name"].casefold())
    for name in dict.fromkeys(names):
        if name not in here:
            yield _absent(record, name, ABSENT)


def _missing(record: Record, names: set[str]) -> Iterator[EvaluationItem]:
    """Organs that the body part could show and the image does not."""
    lacking = sorted(names - {region.label_en for region in record.regions})
    for name in spread(lacking, MOST_MISSING):
        yield replace(_absent(record, name, MISSING), kind=MISSING)


def _absent(record: Record, name: str, why: str) -> EvaluationItem:
    question = Question(
        id=f"{record.id}/{name}/{why}",
        image=record.image,
        question=DETECT_QUESTION[Language.EN].format(x=name),
        task=Task.DETECT,
        truth=Truth(""),
        language=Language.EN,
        modality=record.modality,
        object=name,
    )
    return _item(question, record)


def reports_of(records: Sequence[Record]) -> Iterator[EvaluationItem]:
    """A report of some images of each data set, in both languages; the references are built from the annotations."""
    for record in reported(records):
        for language in Language:
            true = reference(record, language)
            question = Question(
                id=f"{record.id}/report/{language}",
                image=record.image,
                question=REPORT_QUESTION[language],
                task=Task.REPORT,
                truth=Truth(true.text),
                language=language,
                modality=record.modality,
            )
            written = record.report.text if record.report and record.report.lang is language else None
            size = (record.width, record.height)
            yield EvaluationItem(question, record.dataset, size, placed=placed_text(true, record.geometry), note=written)


def by_image(items: Sequence[EvaluationItem]) -> list[EvaluationItem]:
    """Return the items, those of one image together, so that each image is encoded once."""
    order = {image: place for place, image in enumerate(dict.fromkeys(item.question.image for item in items))}
    return sorted(items, key=lambda item: order[item.question.image])


def other_images(items: Sequence[EvaluationItem]) -> dict[Path, Path]:
    """For each image another one of the same data set; the next, so that it is always the same."""
    by_dataset: dict[str, list[Path]] = {}
    for item in items:
        images = by_dataset.setdefault(item.dataset, [])
        if item.question.image not in images[-1:] and item.question.image not in images:
            images.append(item.question.image)
    return {image: images[(place + 1) % len(images)] for images in by_dataset.values() for place, image in enumerate(images)}
