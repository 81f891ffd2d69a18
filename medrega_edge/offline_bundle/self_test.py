"""The self-test of a bundle: questions about the sample scan, and whether two machines give the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import language_of
from medrega_edge.errors import GateError
from medrega_edge.io.strict_json import STRICT, Number

if TYPE_CHECKING:
    from medrega_edge.engine import Engine

SAMPLE = "abdomen-mri"
TOLERANCE = 0.01  # of a side: other processors round in other ways

Box = tuple[Number, Number, Number, Number]

# Task, question, box. Tasks that a package was not trained for are left out.
QUESTIONS: tuple[tuple[str, str, Box | None], ...] = (
    ("detect", "locate the liver", None),
    ("detect", "请定位肝脏", None),
    ("identify", "", (54.0, 72.0, 182.0, 194.0)),
    ("report", "", None),
)


@dataclass(frozen=True)
class SelfTestRegion:
    """A region of an answer: its label and its box in pixels."""

    __pydantic_config__ = STRICT

    label: str
    box: Box


@dataclass(frozen=True)
class SelfTestAnswer:
    """One question of the self-test with its answer."""

    __pydantic_config__ = STRICT

    task: str
    question: str
    box: Box | None
    text: str
    regions: tuple[SelfTestRegion, ...]


def run(engine: Engine) -> list[SelfTestAnswer]:
    """Answer the questions on this machine."""
    from medrega_edge.images.samples import sample_path
    from medrega_edge.tasks.intent import build_request

    image = engine.open(sample_path(SAMPLE))
    answers = []
    for task, question, box in QUESTIONS:
        if task in engine.tasks:
            request = build_request(task, question, box=None if box is None else PixelBox(*box))
            answer = engine.run(image, request, language_of(question))
            regions = tuple(SelfTestRegion(region.label, _rounded(region.box)) for region in answer.regions)
            answers.append(SelfTestAnswer(task, question, box, answer.text, regions))
    return answers


def compare(engine: Engine, reference: Sequence[SelfTestAnswer]) -> int:
    """Answer on this machine, and return the number of questions; raises GateError if an answer is not the reference's."""
    from medrega_edge.images.samples import sample_path

    answers = run(engine)
    image = engine.open(sample_path(SAMPLE)).image
    slack = TOLERANCE * max(image.width, image.height)
    if len(answers) != len(reference):
        raise GateError("bundle.other_questions")
    for number, (before, here) in enumerate(zip(reference, answers, strict=True), 1):
        if not _is_same(before, here, slack):
            raise GateError("bundle.other_answer", number=number)
    return len(answers)


def _is_same(before: SelfTestAnswer, here: SelfTestAnswer, slack: float) -> bool:
    labels = [[region.label for region in answer.regions] for answer in (before, here)]
    if before.question != here.question or before.text != here.text or labels[0] != labels[1]:
        return False
    pairs = zip(before.regions, here.regions, strict=True)
    return all(abs(a - b) <= slack for old, new in pairs for a, b in zip(old.box, new.box, strict=True))


def _rounded(box: Box) -> Box:
    x1, y1, x2, y2 = box
    return round(x1, 2), round(y1, 2), round(x2, 2), round(y2, 2)
