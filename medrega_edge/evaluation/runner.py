"""Ask an engine every question of a set: the one loop of certificates, benchmarks and comparisons."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import LabelledBoxes, Question, regions_text
from medrega_edge.prompts.templates import REPORT_DISCLAIMER
from medrega_edge.tasks.intent import build_request

if TYPE_CHECKING:
    from medrega_edge.answer import Answer, Region
    from medrega_edge.engine import EncodedImage, Engine


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question with its answer; `answer` is None where the package refuses a name that it was not trained on."""

    question: Question
    image: EncodedImage
    answer: Answer | None

    @property
    def text(self) -> str:
        """The answer as it is graded: its regions as a model writes them where places are asked for, else its words."""
        if self.answer is None:
            return ""
        placed = self.question.task is Task.DETECT
        return located(self.answer.regions, self.image.geometry) if placed else words(self.answer)

    @property
    def truth(self) -> str:
        """The true answer, written in the same way."""
        truth = self.question.truth
        placed = self.question.task is Task.DETECT and truth.regions
        return regions_text(truth.regions, self.image.geometry) if placed else truth.text


def run_questions(engine: Engine, questions: Iterable[Question]) -> Iterator[AnsweredQuestion]:
    """Ask in the order given. An image is opened once for all questions about it that stand together."""
    for question, image in open_images(engine, questions):
        yield AnsweredQuestion(question, image, ask(engine, image, question))


def open_images(engine: Engine, questions: Iterable[Question]) -> Iterator[tuple[Question, EncodedImage]]:
    """Yield each question with its image, opened once for all questions about it that stand together."""
    path: Path | None = None
    for question in questions:
        if question.image != path:
            path, image = question.image, engine.open(question.image)
        yield question, image


def ask(engine: Engine, image: EncodedImage, question: Question, regional_chain_of_thought: bool = False) -> Answer | None:
    """Ask one question; None where the package refuses it. A report is asked for with its regions."""
    try:
        request = build_request(
            Task.GROUNDED_REPORT if question.task is Task.REPORT else question.task,
            question.question,
            box=question.box if question.task is Task.IDENTIFY else None,
            labels=question.labels if question.task is Task.CLASSIFY else (),
            multiple=question.several and question.task is Task.CLASSIFY,
            regional_chain_of_thought=regional_chain_of_thought,
        )
        return engine.run(image, request, question.language)
    except UsageError:
        return None


def words(answer: Answer | None) -> str:
    """Return the words of an answer, the best guess if it is one, without the disclaimer behind a report."""
    return answer.words.removesuffix(REPORT_DISCLAIMER[Language(answer.language)]).rstrip() if answer else ""


def located(regions: Iterable[Region], geometry: Geometry) -> str:
    """Write the regions of an answer as a model does, the boxes of one name together."""
    boxes: dict[str, list[PixelBox]] = {}
    for region in regions:
        boxes.setdefault(region.label, []).append(region.box)
    return regions_text((LabelledBoxes(label, tuple(group)) for label, group in boxes.items()), geometry)
