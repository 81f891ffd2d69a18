"""The right option hidden: what is said where none of the options that are offered is right.

After the NOTA ("none of the above") test of medical multiple choice. Three ways of offering: the labels of a classification
without the true one; "Is it A or B?" about classes; and about kinds of image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medrega_bench.datasets.questions import classify_question
from medrega_bench.evaluation.asker import Asked, Asker, Given
from medrega_bench.evaluation.figures import estimate
from medrega_bench.evaluation.intervals import patient_of
from medrega_bench.result_files import Estimate
from medrega_edge.answer import LIKELY
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.evaluation.questions import spread
from medrega_edge.evaluation.records import Record
from medrega_edge.prompts.templates import UNSURE_ANSWER
from medrega_edge.vocabulary.label_sets import LABEL_SETS, MODALITY_NAMES

# What an answer does with wrong options: it states one of them, names one as a guess, names something else, or says nothing.
STATED, GUESSED, ANOTHER, NOTHING = "stated", "guessed", "another", "nothing"
LABELS, CLASSES, KINDS = "labels", "classes", "kinds"  # ways of offering


@dataclass(frozen=True)
class HiddenRow:
    """One question whose options are all wrong. `usual` is the outcome where the right one is offered, too."""

    way: str
    image: str
    patient: str
    outcome: str
    usual: str | None = None


@dataclass(frozen=True)
class HiddenFigures:
    """Of `n` questions of one way, the share of each outcome; `usual` is that of `stated` with the right option offered."""

    way: str
    n: int
    images: int
    outcomes: dict[str, Estimate]
    usual: Estimate | None


def outcome(one: Given, offered: Sequence[str]) -> str:
    """Tell what an answer does with the options offered: the first label that it names counts, else its words."""
    if one.refusal is not None or one.text in UNSURE_ANSWER.values():
        return NOTHING
    label, confidence = one.labels[0] if one.labels else (one.words, one.confidence)
    if "modality" in one.facts:
        label, confidence = one.facts["modality"] or "", None
    if label.casefold() not in {option.casefold() for option in offered}:
        return ANOTHER
    unsure = one.is_guess or (confidence is not None and confidence < LIKELY)
    return GUESSED if unsure else STATED


def hidden_rows(asker: Asker, records: Sequence[Record], most: int | None = None) -> Iterator[HiddenRow]:
    """Ask about each image with the right option hidden; at most `most` questions of each way, spread evenly."""
    usable = [record for record in records if not record.dup_of_eval]
    classes = [
        (record, label_set.names(Language.EN), right[0][0])
        for record in usable
        for label_set in LABEL_SETS.values()
        if not label_set.multiple and len(label_set.labels) > 2
        if (right := label_set.right(record.labels, record.modality))
    ]
    for record, names, true in spread(classes, most):
        wrong = tuple(name for name in names if name != true)
        usual = _classified(asker, record, names)
        given = outcome(_classified(asker, record, wrong), wrong)
        yield HiddenRow(LABELS, str(record.image), patient_of(record), given, outcome(usual, names))
        asked = Asked(record.image, f"Is it {wrong[0]} or {wrong[1]}?", Language.EN)
        yield HiddenRow(CLASSES, str(record.image), patient_of(record), outcome(asker.ask(asked), wrong[:2]))
    for record in spread(usable, most):
        kinds = tuple(kind for kind in (Modality.CT, Modality.XRAY, Modality.ULTRASOUND) if kind != record.modality)[:2]
        first, second = (MODALITY_NAMES[kind][0] for kind in kinds)
        asked = Asked(record.image, f"Is this a {first} or a {second}?", Language.EN)
        yield HiddenRow(KINDS, str(record.image), patient_of(record), outcome(asker.ask(asked), (*kinds, first, second)))


def _classified(asker: Asker, record: Record, labels: Sequence[str]) -> Given:
    question = classify_question("", record.image, Language.EN, labels, labels[:1], False)
    return asker.ask(Asked(record.image, question.question, Language.EN, Task.CLASSIFY, labels=tuple(labels)))


def hidden_figures(rows: Sequence[HiddenRow]) -> Iterator[HiddenFigures]:
    """Yield the share of each outcome, by the way of offering."""
    for way in dict.fromkeys(row.way for row in rows):
        mine = [row for row in rows if row.way == way]
        images, patients = {row.image for row in mine}, [row.patient for row in mine]
        shares = {
            name: estimate([float(row.outcome == name) for row in mine], patients)
            for name in (STATED, GUESSED, ANOTHER, NOTHING)
        }
        known = [row for row in mine if row.usual is not None]
        usual = [float(row.usual == STATED) for row in known]
        yield HiddenFigures(
            way, len(mine), len(images), shares, estimate(usual, [row.patient for row in known]) if known else None
        )
