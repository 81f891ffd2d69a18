"""What answers are worth that saw no image: the mirage score, and the questions that none of them gets right.

Both are of Asadi et al., 2026 (arXiv 2603.21687). The mirage score is accuracy without the image over accuracy with it.
B-Clean leaves out every question that some answerer gets right without the image. There, several models are asked without an
image. Here one model is asked about a blank picture and about another image of the same kind, and two methods read the text
alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.evaluation.asker import Asked, Asker, Given
from medrega_bench.evaluation.figures import Measured, estimate
from medrega_bench.evaluation.image_ablation import FIGURES
from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline
from medrega_bench.evaluation.results import AnswerRow, Figure
from medrega_bench.evaluation.tables import measure_rows
from medrega_bench.result_files import Estimate
from medrega_edge.domain import Task
from medrega_edge.evaluation.bootstrap import FloatArray

BLIND = ("blank", "other", "question_only", "question_trained")  # answers that did not see the image


@dataclass(frozen=True)
class FreeAnswer:
    """A free question with all its answers; `stated` tells of each version of the image whether one was given as sure."""

    row: AnswerRow
    patient: str
    confidence: float | None
    stated: dict[str, bool]


@dataclass(frozen=True)
class MirageScore:
    """Accuracy without the image over accuracy with it: 1 where the image adds nothing. `without` is the first of both.

    `n` is the number of questions that the figure is of.
    """

    language: str
    dataset: str
    figure: str
    version: str
    n: int
    seen: Figure
    without: Figure
    score: Figure


@dataclass(frozen=True)
class CleanFigures:
    """The share of right answers over all `questions`, and over those that no blind answerer gets right."""

    language: str
    dataset: str
    questions: int
    all: Estimate
    clean: Estimate | None


@dataclass(frozen=True)
class StatedFigures:
    """How often an answer was stated as sure, by what was shown: the image, a blank picture, another image."""

    language: str
    dataset: str
    stated: dict[str, Estimate]


def free_answers(
    asker: Asker,
    items: Sequence[EvaluationItem],
    patients: Mapping[str, str],
    baseline: QuestionOnlyBaseline | None = None,
) -> Iterator[FreeAnswer]:
    """Ask every free question about its image; with a baseline also about a blank picture and another image.

    `patients` are those of the images, by path.
    """
    free = [item for item in items if item.question.task is Task.VQA]
    others = images_of_others(free, patients)
    for image in dict.fromkeys(item.question.image for item in free):
        mine = [item for item in free if item.question.image == image]
        seen = [asker.ask(_asked(item, image)) for item in mine]
        patient = patients[str(image)]
        if baseline is None:
            for item, one in zip(mine, seen, strict=True):
                yield FreeAnswer(_row(item, one), patient, one.confidence, {"seen": _is_stated(one)})
            continue
        blank = [asker.ask(_asked(item, image, item.size)) for item in mine]
        other = [asker.ask(_asked(item, others[image])) for item in mine]
        for item, *said in zip(mine, seen, blank, other, strict=True):
            alone = baseline.answers(item.question.question, item.question.language)
            row = _row(item, said[0]).without_image({"blank": said[1].words, "other": said[2].words} | alone)
            stated = {name: _is_stated(one) for name, one in zip(("seen", "blank", "other"), said, strict=True)}
            yield FreeAnswer(row, patient, said[0].confidence, stated)


def images_of_others(items: Sequence[EvaluationItem], patients: Mapping[str, str]) -> dict[Path, Path]:
    """For each image the next one of the same data set and kind that is of another patient, so that it is always the same.

    Where no other patient has one of that kind, it is the next of another patient, else the next, whatever it shows.
    """
    kinds = {item.question.image: (item.dataset, item.question.modality) for item in items}
    images = list(kinds)
    others = {}
    for place, image in enumerate(images):
        following = [each for each in images[place + 1 :] + images[:place] if kinds[each][0] == kinds[image][0]]
        strangers = [each for each in following if patients[str(each)] != patients[str(image)]]
        alike = [each for each in strangers if kinds[each] == kinds[image]]
        others[image] = (*alike, *strangers, *following, image)[0]
    return others


def _asked(item: EvaluationItem, image: Path, blank_size: tuple[int, int] | None = None) -> Asked:
    return Asked(image, item.question.question, item.question.language, Task.VQA, blank_size=blank_size)


def _is_stated(one: Given) -> bool:
    return one.refusal is None and not one.is_guess


def _row(item: EvaluationItem, one: Given) -> AnswerRow:
    question = item.question
    return AnswerRow(
        id=question.id,
        image=str(question.image),
        language=question.language.value,
        setting=question.setting,
        truth=question.truth.text,
        answer=one.words,
        modality=question.modality and question.modality.value,
        object=None,
        confidence=one.confidence,
        absent=False,
        classes=(),
        boxes=(),
        confidences=(),
        true_boxes=(),
        question=question.question,
        dataset=item.dataset,
    )


def mirage_scores(answers: Sequence[FreeAnswer]) -> Iterator[MirageScore]:
    """Yield a score for each language, data set, figure and blind version, with its interval over patients."""
    for setting in ("vqa_en", "vqa_zh"):
        for _, dataset, mine in _parts([each for each in answers if each.row.setting == setting]):
            rows, patients = [each.row for each in mine], [each.patient for each in mine]
            seen = measure_rows(setting, rows)
            for version in BLIND:
                blind = measure_rows(setting, [replace(row, answer=getattr(row, version) or "") for row in rows])
                for figure in FIGURES[setting]:
                    made = _ratio(seen, blind, figure)
                    values, intervals = made.values(), made.intervals(patients)
                    number = seen.numbers()[figure]
                    seen_figure, without, score = (Figure(values[name], intervals[name]) for name in values)
                    yield MirageScore(rows[0].language, dataset, figure, version, number, seen_figure, without, score)


def _parts(answers: Sequence[FreeAnswer]) -> Iterator[tuple[str, str, list[FreeAnswer]]]:
    """The answers by language and data set."""
    for language, dataset in sorted({(each.row.language, each.row.dataset or "") for each in answers}):
        yield language, dataset, [each for each in answers if (each.row.language, each.row.dataset) == (language, dataset)]


def _ratio(seen: Measured, blind: Measured, figure: str) -> Measured:
    """The figure with the image, without it, and the second over the first; the same images are drawn for both."""
    width = seen.counts.shape[1]

    def figures(sums: FloatArray) -> dict[str, float | None]:
        first, second = seen.figures(sums[:width])[figure], blind.figures(sums[width:])[figure]
        return {"seen": first, "without": second, "score": second / first if first and second is not None else None}

    return Measured(np.hstack([seen.counts, blind.counts]), figures)


def is_right(row: AnswerRow, answer: str | None = None) -> bool:
    """Whether an answer to a free question is right: a closed one by its accuracy, an open one from a recall of 0.75."""
    values = measure_rows(row.setting, [row if answer is None else replace(row, answer=answer)]).values()
    return bool(values["closedQuestionsAccuracy"] or values["openQuestionsAccuracy"])


def answered_blind(row: AnswerRow) -> bool:
    """Whether some answerer gets a question right without its image."""
    return any(is_right(row, getattr(row, version) or "") for version in BLIND)


def clean_figures(answers: Sequence[FreeAnswer]) -> Iterator[CleanFigures]:
    """Yield the share of right answers over all questions and over those of B-Clean, by language and data set."""
    for language, dataset, mine in _parts(answers):
        clean = [each for each in mine if not answered_blind(each.row)]
        yield CleanFigures(language, dataset, len(mine), share_right(mine), share_right(clean) if clean else None)


def share_right(answers: Sequence[FreeAnswer]) -> Estimate:
    """Return the share of right answers, open and closed questions together, with its interval over patients."""
    return estimate([float(is_right(each.row)) for each in answers], [each.patient for each in answers])


def stated_figures(answers: Sequence[FreeAnswer]) -> Iterator[StatedFigures]:
    """Yield how often an answer was stated as sure, by language and data set."""
    for language, dataset, mine in _parts(answers):
        patients = [each.patient for each in mine]
        stated = {name: estimate([float(each.stated[name]) for each in mine], patients) for name in mine[0].stated}
        yield StatedFigures(language, dataset, stated)
