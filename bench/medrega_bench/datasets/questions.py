"""Annotated images -> questions with truth, in one fixed wording per task and language. `loaders` reads other layouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.evaluation.questions import LabelledBoxes, Question, Truth
from medrega_edge.evaluation.records import NOT_A_TARGET, AnnotatedRegion, Record
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import (
    CLASSIFY_MULTIPLE_QUESTION,
    CLASSIFY_QUESTION,
    DETECT_QUESTION,
    LABEL_SEPARATOR,
)
from medrega_edge.vocabulary.label_sets import LABEL_SETS, LabelSet

MOST_BOXES = 6  # of one object in one question: a field of a hundred blood cells fills any answer
IDENTIFY_WORDING = {Language.EN: "What is this?", Language.ZH: "这是什么？"}


@dataclass(frozen=True)
class LeftOut:
    """Something that gives no question: where, and why. It is counted and reported, never dropped in silence."""

    place: Message | str  # str: the id of a record or question
    reason: Message


def questions_of(records: Iterable[Record], languages: Sequence[Language] = tuple(Language)) -> Iterator[Question | LeftOut]:
    """Ask about each image, in each language: see `questions_about`."""
    for record in records:
        yield from questions_about(record, languages)


def questions_about(record: Record, languages: Sequence[Language] = tuple(Language)) -> Iterator[Question | LeftOut]:
    """Ask where each object is and what is in its box, the image's own questions, and its classes.

    An object of several regions is asked for at once, and none of its boxes is asked about.
    """
    if record.dup_of_eval:
        yield LeftOut(record.id, Message("bench.near_duplicate"))
        return
    for region in record.regions:
        if region.label_en == NOT_A_TARGET:
            yield LeftOut(record.id, Message("bench.fills_image", label=region.label_en))
        elif len(region.boxes) > MOST_BOXES:
            yield LeftOut(record.id, Message("bench.too_many_boxes", most=MOST_BOXES))
        else:
            for language in languages:
                yield from _about_region(record, region, language)
    for number, annotated in enumerate(record.qa):
        if annotated.lang in languages:
            yield Question(
                id=f"{record.id}/{number}/vqa",
                image=record.image,
                question=annotated.question,
                task=Task.VQA,
                truth=Truth(annotated.answer),
                language=annotated.lang,
                modality=record.modality,
            )
    for label_set in LABEL_SETS.values():
        for language in languages:
            yield from _about_classes(record, label_set, language)


def labelled(region: AnnotatedRegion, language: Language) -> LabelledBoxes:
    """Return a region under its name, boxes top to bottom, then left to right, as models are trained to write them."""
    return LabelledBoxes(region.name(language), tuple(sorted(region.boxes, key=_top_then_left)))


def _top_then_left(box: PixelBox) -> tuple[float, float]:
    return box.y1, box.x1


def _about_region(record: Record, region: AnnotatedRegion, language: Language) -> Iterator[Question]:
    one = labelled(region, language)
    key = f"{record.id}/{region.label_en}/{language}"
    yield Question(
        id=f"{key}/detect",
        image=record.image,
        question=DETECT_QUESTION[language].format(x=one.label),
        task=Task.DETECT,
        truth=Truth(one.text(record.geometry), (one,)),
        language=language,
        modality=record.modality,
        object=region.label_en,
    )
    if len(one.boxes) == 1:
        yield Question(
            id=f"{key}/identify",
            image=record.image,
            question=IDENTIFY_WORDING[language],
            task=Task.IDENTIFY,
            truth=Truth(one.label),
            language=language,
            box=one.boxes[0],
            modality=record.modality,
            object=region.label_en,
        )


def _about_classes(record: Record, label_set: LabelSet, language: Language) -> Iterator[Question]:
    right = [pair[language is Language.ZH] for pair in label_set.right(record.labels, record.modality)]
    if right:
        identity = f"{record.id}/{label_set.name}/{language}/classify"
        candidates = label_set.names(language)
        yield classify_question(
            identity, record.image, language, candidates, right, label_set.multiple, modality=record.modality
        )


def classify_question(
    identity: str,
    image: Path,
    language: Language,
    candidates: Sequence[str],
    right: Sequence[str],
    several: bool,
    modality: Modality | None = None,
) -> Question:
    """Ask which of the candidates fit, in the program's own wording."""
    wording = (CLASSIFY_MULTIPLE_QUESTION if several else CLASSIFY_QUESTION)[language]
    return Question(
        id=identity,
        image=image,
        question=wording.format(labels=LABEL_SEPARATOR.join(candidates)),
        task=Task.CLASSIFY,
        truth=Truth(LABEL_SEPARATOR.join(right), labels=tuple(right)),
        language=language,
        labels=tuple(candidates),
        several=several,
        modality=modality,
    )
