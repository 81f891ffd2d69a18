"""The same question in five wordings and both languages: whether the answers agree.

The wordings stand in datasets/rewordings.json, by what is asked for. Answers agree if they mean the same: the same box from
an IoU of 0.9 on, the same kind of image, body part, class or organ, the same yes or no.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from medrega_bench.datasets.evaluation_set import NOT_IN_SCANS, NOT_ON_SURFACES, SURFACES
from medrega_bench.evaluation.asker import Asked, Asker, Given
from medrega_bench.evaluation.figures import estimate
from medrega_bench.evaluation.intervals import patient_of
from medrega_bench.evaluation.tables import SAME_BOX
from medrega_bench.result_files import Estimate
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Language
from medrega_edge.evaluation.questions import spread
from medrega_edge.evaluation.records import Record
from medrega_edge.vocabulary.label_sets import LABEL_SETS
from medrega_edge.vocabulary.terminology import Terminology

_UNNAMED = {"大脑": "brain"}  # answers about SLAKE that are no name of the terminology, in English
_OR = {Language.EN: (", ", " or "), Language.ZH: ("、", "还是")}


@dataclass(frozen=True)
class Reworded:
    """A question in all its wordings: `fill` is what stands for {x} in each language, `names` are its English names."""

    kind: str
    record: Record
    fill: Mapping[Language, str] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class ConsistencyRow:
    """Whether the answers to one question agree: in each language, and over both. `is_answered`: none was refused.

    `answers_agree` is of the answers that are no refusals, in both languages; None where fewer than two are left.
    """

    kind: str
    image: str
    patient: str
    agree: Mapping[str, bool]
    is_answered: bool
    answers_agree: bool | None


@dataclass(frozen=True)
class ConsistencyFigures:
    """Shares of the questions of one kind: all wordings agree in English, in Chinese, in both; all answered.

    `answers` is the share whose answers agree without the refusals, None where none has two answers.
    """

    kind: str
    n: int
    images: int
    en: Estimate
    zh: Estimate
    both: Estimate
    answered: Estimate
    answers: Estimate | None


def wordings() -> dict[str, dict[Language, list[str]]]:
    """Return the wordings by kind and language."""
    text = (files("medrega_bench.datasets") / "rewordings.json").read_text(encoding="utf-8")
    return {
        kind: {Language(language): each for language, each in by_language.items()}
        for kind, by_language in json.loads(text).items()
    }


def reworded(records: Sequence[Record], most: int | None = None) -> Iterator[Reworded]:
    """Yield the questions of each kind, at most `most` of each, spread evenly over the images."""
    usable = [record for record in records if not record.dup_of_eval]
    places = [
        Reworded("locate", record, {language: region.name(language) for language in Language}, region.label_en)
        for record in usable
        for region in record.targets
        if len(region.boxes) == 1
    ]
    yield from (Reworded("largest", record) for record in spread([r for r in usable if r.dataset == "slake"], most))
    for kind in ("modality", "body_part"):
        yield from (Reworded(kind, record) for record in spread(usable, most))
    half = None if most is None else most // 2
    for one in spread(places, half):
        yield Reworded("presence", one.record, one.fill, one.label)
    for record in spread(usable, half):
        english, chinese = ("liver", "肝脏") if record.modality in SURFACES else ("polyp", "息肉")
        assert english in (*NOT_ON_SURFACES, *NOT_IN_SCANS)
        yield Reworded("presence", record, {Language.EN: english, Language.ZH: chinese}, english)
    yield from spread(places, most)
    classes = [
        Reworded("class", record, {language: _choice(label_set.names(language), language) for language in Language})
        for record in usable
        for label_set in LABEL_SETS.values()
        if not label_set.multiple and label_set.right(record.labels, record.modality)
    ]
    yield from spread(classes, most)


def _choice(names: Sequence[str], language: Language) -> str:
    comma, last = _OR[language]
    return comma.join(names[:-1]) + last + names[-1]


def consistency_rows(asker: Asker, questions: Sequence[Reworded]) -> Iterator[ConsistencyRow]:
    """Ask every wording of every question."""
    known = wordings()
    terminology = asker.engine.terminology
    for one in questions:
        said = {
            language: [
                asker.ask(Asked(one.record.image, wording.format(x=one.fill.get(language, "")), language))
                for wording in known[one.kind][language]
            ]
            for language in Language
        }
        yield row_of(one, said, lambda text: _english(terminology, text))


def row_of(one: Reworded, said: Mapping[Language, Sequence[Given]], english: Callable[[str], str]) -> ConsistencyRow:
    """Compare the answers to the wordings of one question; `english` turns a name of either language into English."""
    meant = {spoken: [meaning(one, each, spoken, english) for each in answers] for spoken, answers in said.items()}
    agree = {language.value: _agree(answers) for language, answers in meant.items()}
    agree["both"] = _agree([each for answers in meant.values() for each in answers])
    answered = all(each.refusal is None for answers in said.values() for each in answers)
    real = [each for spoken, answers in said.items() for each in _answers(answers, meant[spoken])]
    answers_agree = _agree(real) if len(real) > 1 else None
    return ConsistencyRow(one.kind, str(one.record.image), patient_of(one.record), agree, answered, answers_agree)


def _answers(said: Sequence[Given], meant: Sequence[Any]) -> list[Any]:
    """What answers mean, without the refusals."""
    return [meaning for each, meaning in zip(said, meant, strict=True) if each.refusal is None]


def meaning(one: Reworded, said: Given, language: Language, english: Callable[[str], str]) -> Any:
    """Return what an answer means: a box where a place was asked for, None without one; else a value to compare."""
    if said.refusal is not None:
        return said.refusal
    match one.kind:
        case "locate":
            boxes = said.boxes_of(one.fill[language])
            return boxes[0][0] if boxes else None
        case "presence":
            return said.facts.get("present", {}).get(one.label, said.words)
        case "modality" | "body_part":
            return said.facts.get(one.kind, english(said.words))
        case "class":
            return _english_class(said.labels[0][0]) if said.labels else english(said.words)
        case _:
            return english(said.words)


def _agree(meanings: Sequence[Any]) -> bool:
    first = meanings[0]
    return all(
        iou(first, each) >= SAME_BOX if isinstance(first, PixelBox) and isinstance(each, PixelBox) else first == each
        for each in meanings
    )


def _english(terminology: Terminology, text: str) -> str:
    names = terminology.find(text)
    return names[0][0] if names else _UNNAMED.get(text, text.casefold())


def _english_class(name: str) -> str:
    pairs = (pair for label_set in LABEL_SETS.values() for pair in label_set.labels)
    return next((pair[0] for pair in pairs if name in pair), name)


def consistency_figures(rows: Sequence[ConsistencyRow]) -> Iterator[ConsistencyFigures]:
    """Yield the shares of each kind, with their intervals over patients."""
    for kind in dict.fromkeys(row.kind for row in rows):
        mine = [row for row in rows if row.kind == kind]
        images, patients = {row.image for row in mine}, [row.patient for row in mine]
        en, zh, both = (estimate([float(row.agree[part]) for row in mine], patients) for part in ("en", "zh", "both"))
        answered = estimate([float(row.is_answered) for row in mine], patients)
        known = [(float(row.answers_agree), row.patient) for row in mine if row.answers_agree is not None]
        answers = estimate(*map(list, zip(*known, strict=True))) if known else None
        yield ConsistencyFigures(kind, len(mine), len(images), en, zh, both, answered, answers)
