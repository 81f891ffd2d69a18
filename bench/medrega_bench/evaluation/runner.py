"""Every task of a package on one split: which answers are needed, and what of each is kept for the figures.

Free questions are asked three times: about their image, a blank one and another patient's, because models of this kind are
known to answer from the question alone. Beside them stands what the questions alone are worth (`QuestionOnlyBaseline`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from medrega_bench.datasets.evaluation_set import EvaluationItem, other_images
from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline
from medrega_edge.answer import Answer, Region
from medrega_edge.boxes import Geometry
from medrega_edge.domain import Language, Task
from medrega_edge.engine import Engine
from medrega_edge.evaluation.runner import AnsweredQuestion, ask, located, run_questions, words
from medrega_edge.tasks import report_sentences

Row = dict[str, Any]


def blank(size: tuple[int, int]) -> bytes:
    """A grey picture of a size, as PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (128, 128, 128)).save(buffer, format="PNG")
    return buffer.getvalue()


def run(
    engine: Engine, items: Sequence[EvaluationItem], baseline: QuestionOnlyBaseline | None = None, plain: bool = False
) -> Iterator[Row]:
    """Answer everything, in the order given; one row for each question, with what the metrics need.

    Tasks that the package was not trained for are left out: its tables lack them. With `plain` each question is asked once,
    about its image, and what the image is worth stays unknown.
    """
    others = other_images(items)
    known = [item for item in items if item.question.task.value in engine.tasks]
    answered = zip(known, run_questions(engine, (item.question for item in known)), strict=True)
    for path, group in groupby(answered, key=lambda pair: pair[0].question.image):
        rows = list(_about_image(engine, group, plain))
        free = [(item, row) for item, row in rows if item.question.task is Task.VQA and not plain]
        if free:
            sources: dict[str, Path | bytes] = {"other": others[path], "blank": blank(free[0][0].size)}
            for version, source in sources.items():
                image = engine.open(source)
                for item, row in free:
                    row[version] = words(ask(engine, image, item.question))
            if baseline is not None:
                for item, row in free:
                    row |= baseline.answers(item.question.question, item.question.language)
        yield from (row for _, row in rows)


def _about_image(
    engine: Engine, answered: Iterator[tuple[EvaluationItem, AnsweredQuestion]], plain: bool
) -> Iterator[tuple[EvaluationItem, Row]]:
    """Rows about an image itself, but for the names that the package does not know and is right not to find."""
    for item, one in answered:
        if one.answer is None and item.absent:
            continue  # it says so, and there is nothing to measure
        row = row_of(item, one)
        if item.question.task in (Task.VQA, Task.CLASSIFY) and not plain:
            row["cot"] = words(ask(engine, one.image, item.question, regional_chain_of_thought=True))
        yield item, row


def row_of(item: EvaluationItem, answered: AnsweredQuestion) -> Row:
    """Return what the figures need of one answer."""
    question, answer, geometry = item.question, answered.answer, Geometry(*item.size)
    row: Row = {
        "id": question.id,
        "image": str(question.image),
        "dataset": item.dataset,
        "kind": item.kind,
        "modality": question.modality,
        "object": question.object,
        "language": question.language.value,
        "setting": question.setting,
        "truth": answered.truth,
        "absent": item.absent,
        "classes": list(question.labels),
        "answer": answered.text,
        "confidence": None,
        "confidences": [],
        "boxes": [],
        "true_boxes": [box.as_list() for region in question.truth.regions for box in region.boxes],
        "recognised": None,
    }
    if answer is not None:
        row |= {
            "confidence": answer.labels[0].confidence if answer.labels else None,
            "confidences": [region.confidence for region in answer.regions],
            "boxes": [list(region.box) for region in answer.regions],
            "recognised": answer.image.modality,
        }
    if question.task is Task.REPORT:
        given = _by_sentence(answer, geometry) if answer else {}
        sentences = dict.fromkeys([*item.placed, *given])
        row["sentences"] = [[given.get(sentence, ""), item.placed.get(sentence, "")] for sentence in sentences]
        row["note"] = item.note
    return row


def _by_sentence(answer: Answer, geometry: Geometry) -> dict[str, str]:
    """The regions of each sentence of a report, as a model writes them; "" holds those that no sentence names."""
    sentences = report_sentences.read(answer.text, Language(answer.language))
    groups: dict[str, list[Region]] = {}
    for region in answer.regions:
        named = (what.value for what, text in sentences.items() if region.label.casefold() in text.casefold())
        groups.setdefault(next(named, ""), []).append(region)
    return {what: located(group, geometry) for what, group in groups.items()}
