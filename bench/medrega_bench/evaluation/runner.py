"""Every task of a package on one split: how each question is asked, and what of the answer is kept.

Knows questions and answers; knows no graph, and no metric: see `asked` and `tables`. Free questions are asked three times:
about their image, a blank one and another patient's, because models of this kind are known to answer from the question
alone; beside them stands what the questions alone are worth (`Blind`).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import Image

from medrega_bench.datasets.evaluation_set import Asked, other_images
from medrega_bench.datasets.questions import Objects, Question
from medrega_bench.evaluation.question_only_baseline import Blind
from medrega_edge.answer import Answer, Region
from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.engine import EncodedImage, Engine
from medrega_edge.errors import UsageError
from medrega_edge.prompts.templates import REPORT_DISCLAIMER
from medrega_edge.tasks import report_sentences
from medrega_edge.tasks.intent import build_request

Row = dict[str, Any]


def blank(size: tuple[int, int]) -> bytes:
    """A grey picture of a size, as PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (128, 128, 128)).save(buffer, format="PNG")
    return buffer.getvalue()


def run(engine: Engine, asked: Sequence[Asked], blind: Blind | None = None, plain: bool = False) -> Iterator[Row]:
    """Answer everything, in the order given; one row for each question, with what the metrics need.

    What the package was not trained for is left out: its table says so by its absence. An image is looked at once for all
    questions about it that stand together. With `plain` each question is asked once, about its image, and what the image is
    worth stays unknown.
    """
    others = other_images(asked)
    for path, group in groupby(asked, key=lambda one: one.question.image):
        rows = _about_image(engine, path, [one for one in group if one.question.task.value in engine.tasks], plain)
        free = [(one, row) for one, row in rows if one.question.task is Task.VQA and not plain]
        if free:
            sources: dict[str, Path | bytes] = {"other": others[path], "blank": blank(free[0][0].size)}
            for version, source in sources.items():
                image = engine.open(source)
                for one, row in free:
                    row[version] = _words(ask(engine, image, one.question))
            if blind is not None:
                for one, row in free:
                    row |= blind.answers(one.question.question, one.question.language)
        yield from (row for _, row in rows)


def _about_image(engine: Engine, path: Path, asked: Sequence[Asked], plain: bool) -> list[tuple[Asked, Row]]:
    """Ask about an image itself; without the names that the package does not know and is right not to find."""
    if not asked:
        return []
    image = engine.open(path)
    rows: list[tuple[Asked, Row]] = []
    for one in asked:
        answer = ask(engine, image, one.question)
        if answer is None and one.absent:
            continue  # it says so, and there is nothing to measure
        row = _row(one, answer)
        if one.question.task in (Task.VQA, Task.CLASSIFY) and not plain:
            row["cot"] = _words(ask(engine, image, one.question, regional_chain_of_thought=True))
        rows.append((one, row))
    return rows


def _row(one: Asked, answer: Answer | None) -> Row:
    question, geometry = one.question, Geometry(*one.size)
    row: Row = {
        "id": question.id,
        "image": str(question.image),
        "dataset": one.dataset,
        "kind": one.kind,
        "modality": question.modality,
        "object": question.object,
        "language": question.language.value,
        "setting": question.setting,
        "truth": question.text,
        "absent": one.absent,
        "classes": list(question.candidates),
        "answer": "",
        "confidence": None,
        "confidences": [],
        "boxes": [],
        "true_boxes": [box.as_list() for region in question.regions for box in region.boxes],
        "recognised": None,
    }
    if answer is not None:
        placed = question.task is Task.DETECT
        row |= {
            "answer": _regions_text(answer.regions, geometry) if placed else _words(answer),
            "confidence": answer.labels[0].confidence if answer.labels else None,
            "confidences": [region.confidence for region in answer.regions],
            "boxes": [list(region.box) for region in answer.regions],
            "recognised": answer.image.modality,
        }
    if question.task is Task.REPORT:
        given = _by_sentence(answer, geometry) if answer else {}
        row["sentences"] = [[given.get(what, ""), one.placed.get(what, "")] for what in dict.fromkeys([*one.placed, *given])]
        row["note"] = one.note
    return row


def ask(engine: Engine, image: EncodedImage, question: Question, regional_chain_of_thought: bool = False) -> Answer | None:
    """Ask; None where the package refuses, because it was not trained on a name. A report is asked for with its regions."""
    try:
        request = build_request(
            Task.GROUNDED_REPORT if question.task is Task.REPORT else question.task,
            question.question,
            box=question.box,
            labels=question.candidates,
            multiple=question.setting == "classification_multi",
            regional_chain_of_thought=regional_chain_of_thought,
        )
        return engine.run(image, request, question.language)
    except UsageError:
        return None


def _words(answer: Answer | None) -> str:
    """What the model said; without the sentence that the program puts behind a report."""
    return answer.text.removesuffix(REPORT_DISCLAIMER[Language(answer.language)]).rstrip() if answer else ""


def _by_sentence(answer: Answer, geometry: Geometry) -> dict[str, str]:
    """The regions of each sentence of a report, as a model writes them; "" holds those that no sentence names."""
    sentences = report_sentences.read(answer.text, Language(answer.language))
    groups: dict[str, list[Region]] = {}
    for region in answer.regions:
        named = (what.value for what, text in sentences.items() if region.label.casefold() in text.casefold())
        groups.setdefault(next(named, ""), []).append(region)
    return {what: _regions_text(group, geometry) for what, group in groups.items()}


def _regions_text(regions: Sequence[Region], geometry: Geometry) -> str:
    """Regions as a model writes them, under the names told."""
    boxes: dict[str, list[PixelBox]] = {}
    for region in regions:
        boxes.setdefault(region.label, []).append(region.box)
    return ", ".join(Objects(label, tuple(group)).text(geometry) for label, group in boxes.items())
