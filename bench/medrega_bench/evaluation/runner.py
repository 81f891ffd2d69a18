"""Every task of a package on one split: which questions are asked, and the row that each answer becomes.

Free questions are asked three times: about their image, a blank one and another patient's, because models of this kind are
known to answer from the question alone. Beside them stands what the questions alone are worth (`QuestionOnlyBaseline`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from PIL import Image

from medrega_bench.datasets.evaluation_set import EvaluationItem, other_images
from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline
from medrega_bench.evaluation.results import AnswerRow
from medrega_edge.answer import Answer, Region
from medrega_edge.boxes import Geometry
from medrega_edge.domain import Language, Task
from medrega_edge.engine import Engine
from medrega_edge.evaluation.runner import AnsweredQuestion, ask, located, run_questions, words
from medrega_edge.tasks import report_sentences


def blank(size: tuple[int, int]) -> bytes:
    """A grey picture of a size, as PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (128, 128, 128)).save(buffer, format="PNG")
    return buffer.getvalue()


def run(
    engine: Engine, items: Sequence[EvaluationItem], baseline: QuestionOnlyBaseline | None = None, plain: bool = False
) -> Iterator[AnswerRow]:
    """Answer everything, in the order given; one row for each question, with what the metrics need.

    Tasks that the package was not trained for are left out: its tables lack them. With `plain` each question is asked once,
    about its image, and what the image is worth stays unknown.
    """
    others = other_images(items)
    known = [item for item in items if item.question.task.value in engine.tasks]
    answered = zip(known, run_questions(engine, (item.question for item in known)), strict=True)
    for path, group in groupby(answered, key=lambda pair: pair[0].question.image):
        rows = list(_about_image(engine, group, plain))
        free = [item for item, _ in rows if item.question.task is Task.VQA and not plain]
        versions = _without_the_image(engine, free, others[path], baseline) if free else {}
        yield from (row.without_image(versions.get(item.question.id, {})) for item, row in rows)


def _about_image(
    engine: Engine, answered: Iterator[tuple[EvaluationItem, AnsweredQuestion]], plain: bool
) -> Iterator[tuple[EvaluationItem, AnswerRow]]:
    """Rows about an image itself, but for the names that the package does not know and is right not to find."""
    for item, one in answered:
        if one.answer is None and item.absent:
            continue  # it says so, and there is nothing to measure
        row = row_of(item, one)
        if item.question.task in (Task.VQA, Task.CLASSIFY) and not plain:
            row = replace(row, cot=words(ask(engine, one.image, item.question, regional_chain_of_thought=True)))
        yield item, row


def _without_the_image(
    engine: Engine, free: Sequence[EvaluationItem], other: Path, baseline: QuestionOnlyBaseline | None
) -> dict[str, dict[str, str]]:
    """Answers to free questions about one image that are given without it: by the question's id, then by the version."""
    versions: dict[str, dict[str, str]] = {item.question.id: {} for item in free}
    sources: dict[str, Path | bytes] = {"other": other, "blank": blank(free[0].size)}
    for version, source in sources.items():
        image = engine.open(source)
        for item in free:
            versions[item.question.id][version] = words(ask(engine, image, item.question))
    if baseline is not None:
        for item in free:
            versions[item.question.id] |= baseline.answers(item.question.question, item.question.language)
    return versions


def row_of(item: EvaluationItem, answered: AnsweredQuestion) -> AnswerRow:
    """Return what the figures need of one answer."""
    question, answer = item.question, answered.answer
    regions = answer.regions if answer else ()
    return AnswerRow(
        id=question.id,
        image=str(question.image),
        language=question.language.value,
        setting=question.setting,
        truth=answered.truth,
        answer=answered.text,
        modality=question.modality and question.modality.value,
        object=question.object,
        confidence=answer.labels[0].confidence if answer and answer.labels else None,
        absent=item.absent,
        classes=question.labels,
        boxes=tuple((box.x1, box.y1, box.x2, box.y2) for box in (region.box for region in regions)),
        confidences=tuple(region.confidence for region in regions),
        true_boxes=tuple((b.x1, b.y1, b.x2, b.y2) for region in question.truth.regions for b in region.boxes),
        question=question.question,
        raw_text=answer.raw_text if answer else "",
        dataset=item.dataset,
        kind=item.kind,
        recognised=answer.image.modality if answer else None,
        note=item.note,
        sentences=_sentences(item, answer) if question.task is Task.REPORT else None,
    )


def _sentences(item: EvaluationItem, answer: Answer | None) -> tuple[tuple[str, str], ...]:
    """The regions of each sentence of a report, the answer's and the true ones."""
    given = _by_sentence(answer, Geometry(*item.size)) if answer else {}
    sentences = dict.fromkeys([*item.placed, *given])
    return tuple((given.get(sentence, ""), item.placed.get(sentence, "")) for sentence in sentences)


def _by_sentence(answer: Answer, geometry: Geometry) -> dict[str, str]:
    """The regions of each sentence of a report, as a model writes them; "" holds those that no sentence names."""
    sentences = report_sentences.read(answer.text, Language(answer.language))
    groups: dict[str, list[Region]] = {}
    for region in answer.regions:
        naming = (sentence.value for sentence, text in sentences.items() if region.label.casefold() in text.casefold())
        groups.setdefault(next(naming, ""), []).append(region)
    return {sentence: located(group, geometry) for sentence, group in groups.items()}
