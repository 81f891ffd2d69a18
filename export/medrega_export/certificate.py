"""The certificate: the same questions answered in full precision and by the package, and the accuracy that this cost.

Answers come from the runtime's own engine, so what is certified is what a user gets. A certificate names its questions by
hash and quotes none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from medrega_edge.boxes import iou
from medrega_edge.domain import Task
from medrega_edge.engine import Engine, EngineOptions
from medrega_edge.evaluation import bootstrap, comparison
from medrega_edge.evaluation.comparison import GradedTwice, LabelAccuracy, TaskComparison
from medrega_edge.evaluation.grading import Grade, grade, is_exact
from medrega_edge.evaluation.matching import HIT
from medrega_edge.evaluation.questions import ABSENT, Question
from medrega_edge.evaluation.runner import AnsweredQuestion, run_questions
from medrega_edge.i18n.message import Message
from medrega_edge.inference.confidence import calibrated, fit, fit_shift, threshold
from medrega_edge.package.manifest import REGION_HEAD, AnswerThresholds, FileEntry
from medrega_edge.package.registry import find_package
from medrega_edge.vocabulary.answers import is_yes_or_no
from medrega_export.provenance import library_versions, program_hash, sha256_of
from medrega_export.quantisation.recipe import Recipe

SCHEMA_VERSION = 1
WORST = 10  # items that are named
ENOUGH_RIGHT = 0.8  # share of answers in words from which on they are given; below, the model says that it is not sure
ENOUGH_TO_FIT = 50  # scores to calibrate on; with fewer, two fitted numbers say more about the sample than about the weights
Notify = Callable[[Message], None]
HASHED_ROLES = ("vision", "decoder", "embeddings", "tokenizer", "prompts", REGION_HEAD)


class AnswerInWords(NamedTuple):
    """The probability of an answer in words, not yet calibrated, whether it is right, and whether it is yes or no."""

    probability: float
    right: bool
    closed: bool


@dataclass(frozen=True)
class GradedAnswer:
    """What a certificate keeps of an answer: its image, what the model wrote, and what it is worth.

    `first_box` is the score of its first box, not yet calibrated, and whether the box is a hit; None where the question is
    not about one box. `words` is the same of an answer in words. `grade` is None where nothing here can judge the answer.
    """

    image: str
    raw_text: str
    grade: Grade | None
    warnings: int
    first_box: tuple[float, bool] | None
    words: AnswerInWords | None


def graded(answered: AnsweredQuestion) -> GradedAnswer:
    """Grade an answer. A refusal is an answer without a word, and counts as one warning."""
    question, answer = answered.question, answered.answer
    return GradedAnswer(
        answered.image.image.sha256,
        "" if answer is None else answer.raw_text,
        grade(question.setting, answered.text, answered.truth),
        1 if answer is None else len(answer.warnings),
        _first_box(answered),
        _words(answered),
    )


def _first_box(answered: AnsweredQuestion) -> tuple[float, bool] | None:
    question, answer = answered.question, answered.answer
    truth = [box for region in question.truth.regions for box in region.boxes]
    if question.task is not Task.DETECT or len(truth) != 1 or answer is None or not answer.regions:
        return None
    first = answer.regions[0]
    return None if first.confidence is None else (first.confidence, iou(first.box, truth[0]) >= HIT)


def _words(answered: AnsweredQuestion) -> AnswerInWords | None:
    answer = answered.answer
    if answer is None or answer.confidence is None:
        return None
    return AnswerInWords(answer.confidence, is_exact(answered.text, answered.truth), is_yes_or_no(answered.text))


def answer(folder: Path, questions: Sequence[Question], notify: Notify, mapped: bool = False) -> list[GradedAnswer]:
    """Answer questions with the runtime; `mapped` leaves the weights on the disk."""
    engine = Engine(find_package(folder), EngineOptions(mapped=mapped))
    answers = []
    for answered in run_questions(engine, questions):
        answers.append(graded(answered))
        if len(answers) % 50 == 0:
            notify(Message("export.certificate_progress", done=len(answers), count=len(questions)))
    return answers


@dataclass(frozen=True)
class Fitted:
    """Numbers of a manifest that are fitted to answers; without enough of them they are empty.

    `calibration` is that of boxes, with shifts by modality and label; `answer_calibration` is that of answers in words. From
    `answer_thresholds` on these are right often enough to be given.
    """

    calibration: tuple[float, ...] = ()
    calibration_shifts: dict[str, dict[str, float]] = field(default_factory=dict)
    answer_calibration: tuple[float, ...] = ()
    answer_thresholds: AnswerThresholds | None = None


@dataclass(frozen=True)
class Comparison:
    """Two packages on the same questions: a table of both, the items that lost most, and what is fitted to the second."""

    accuracy: tuple[TaskComparison, ...]
    labels: tuple[LabelAccuracy, ...]
    losses: dict[str, Any]
    fitted: Fitted


def compare(reference: Path, package: Path, questions: Sequence[Question], notify: Notify) -> Comparison:
    """Answer all questions with both packages, one after the other, neither calibrated yet, and summarise.

    The reference may be larger than the memory; the package runs as users run it. Reports are left out: nothing here can
    judge them.
    """
    full = answer(reference, questions, notify, mapped=True)
    quantised = answer(package, questions, notify)
    pairs = graded_twice(questions, full, quantised)
    if len(pairs) < len(questions):
        notify(Message("export.ungraded_reports", count=len(questions) - len(pairs)))
    return Comparison(
        comparison.compare(pairs), comparison.label_accuracies(pairs), losses(pairs), fitted(questions, quantised)
    )


def fitted(questions: Sequence[Question], answers: Sequence[GradedAnswer]) -> Fitted:
    """Fit a package's numbers to its answers, which are not calibrated yet."""
    words = [answer.words for answer in answers if answer.words]
    calibration = calibration_of((answer.probability, answer.right) for answer in words)
    boxes = calibration_of(answer.first_box for answer in answers)
    return Fitted(boxes, shifts_of(questions, answers, boxes), calibration, thresholds_of(words, calibration))


def shifts_of(
    questions: Sequence[Question], answers: Sequence[GradedAnswer], calibration: tuple[float, ...]
) -> dict[str, dict[str, float]]:
    """Return the shifts of the calibration for each modality, and within it for each label; a box counts in one language."""
    if not calibration:
        return {}
    groups: dict[str, dict[str, dict[str, tuple[float, bool]]]] = {}
    for question, answer in zip(questions, answers, strict=True):
        if answer.first_box and question.modality and question.object:
            groups.setdefault(question.modality.value, {}).setdefault(question.object, {})[answer.image] = answer.first_box
    shifts: dict[str, dict[str, float]] = {}
    for modality, labels in sorted(groups.items()):
        every = [box for boxes in labels.values() for box in boxes.values()]
        common = fit_shift(every, calibration, 0.0)
        shifts[modality] = {"": round(common, 4)}
        for label, boxes in sorted(labels.items()):
            own = fit_shift(boxes.values(), calibration, common)
            shifts[modality][label] = round(own, 4)
    return shifts


def graded_twice(
    questions: Sequence[Question], reference: Sequence[GradedAnswer], package: Sequence[GradedAnswer]
) -> list[GradedTwice]:
    """Put both answers to each question together, those left out that have no grade."""
    return [
        GradedTwice(
            question.sha256,
            ABSENT if question.setting == ABSENT else question.task.value,
            question.language.value,
            question.modality and question.modality.value,
            before.image,
            (before.grade, after.grade),
            before.raw_text != after.raw_text,
            (before.warnings, after.warnings),
            question.object,
        )
        for question, before, after in zip(questions, reference, package, strict=True)
        if before.grade is not None and after.grade is not None
    ]


def losses(pairs: Sequence[GradedTwice]) -> dict[str, Any]:
    """Name the items that lost most against full precision, and all whose answer became wrong or right."""
    worst = sorted((pair for pair in pairs if pair.loss > 0), key=lambda pair: (-pair.loss, pair.id))[:WORST]
    return {
        "worst": [_named(pair) | {"score": [grade.worth for grade in pair.grades]} for pair in worst],
        "flips": [_named(pair) | {"to": _turn(pair)} for pair in pairs if pair.flipped],
    }


def _turn(pair: GradedTwice) -> str:
    before, after = (grade.accuracy or 0.0 for grade in pair.grades)
    return "right" if after > before else "wrong"


def _named(pair: GradedTwice) -> dict[str, Any]:
    return {"item": pair.id, "task": pair.task, "language": pair.language, "modality": pair.modality}


def calibration_of(scored: Iterable[tuple[float, bool] | None]) -> tuple[float, ...]:
    """Fit scores to whether what they score is right; nothing where there are too few."""
    known = [one for one in scored if one is not None]
    return fit(*map(list, zip(*known, strict=True))) if len(known) >= ENOUGH_TO_FIT else ()


def thresholds_of(answers: Sequence[AnswerInWords], calibration: tuple[float, ...]) -> AnswerThresholds | None:
    """Return the confidences from which on answers are right often enough; None where there is no calibration.

    With too few answers of yes or no, or of others, the threshold is that of all.
    """
    if not calibration:
        return None

    def least(of_kind: Sequence[AnswerInWords]) -> float:
        known = of_kind if len(of_kind) >= ENOUGH_TO_FIT else answers
        confidences = [calibrated(answer.probability, calibration) for answer in known]
        return round(threshold(confidences, [answer.right for answer in known], ENOUGH_RIGHT), 4)

    closed = [answer for answer in answers if answer.closed]
    return AnswerThresholds(open=least([answer for answer in answers if not answer.closed]), closed=least(closed))


def certificate(
    stages: Mapping[str, tuple[float, float | None]],
    compared: Comparison | None,
    reason: str | None,
    questions: Iterable[Question],
    packages: Mapping[str, Mapping[str, FileEntry]],
    recipe: Recipe,
    weights: Mapping[str, Path],
) -> dict[str, Any]:
    """Return the content of `certificate.json`.

    `stages` holds error and limit of each stage, `packages` the files of "package" and "reference" by role, `weights` the
    files that the package was made from. Without measured accuracy, `compared` is None and `questions` is empty.
    """
    hashes = [question.sha256 for question in questions]
    return {
        "schema_version": SCHEMA_VERSION,
        "accuracy": [asdict(entry) for entry in compared.accuracy] if compared else None,
        "reason": reason,
        **({"labels": [asdict(entry) for entry in compared.labels]} | compared.losses if compared else {}),
        "recipe": json.loads(recipe.to_json()),
        "stages": {name: {"error": error, "limit": limit} for name, (error, limit) in stages.items()},
        "items": {
            "count": len(hashes),
            "sha256": hashlib.sha256("\n".join(hashes).encode()).hexdigest() if hashes else None,
        },
        "bootstrap": {
            "over": "images",
            "resamples": bootstrap.RESAMPLES,
            "seed": bootstrap.SEED,
            "interval": bootstrap.LEVEL,
        },
        "packages": {
            name: {role: files[role].sha256 for role in HASHED_ROLES if role in files} for name, files in packages.items()
        },
        "weights": {name: sha256_of(path) for name, path in weights.items()},
        "code": program_hash(),
        "versions": library_versions(),
    }
