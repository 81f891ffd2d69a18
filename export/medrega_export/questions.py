"""Questions with truth, one JSON object a line: for calibration and for the certificate.

Knows the file format and how a question becomes one sequence of token ids, through the package's own prompt book. Knows
no model. Nothing that is read here is ever written anywhere but as a hash.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.images.reader import read_image
from medrega_edge.prompts.region_markup import format_boxes
from medrega_edge.prompts.templates import IDENTIFY_QUESTION, REPORT_QUESTION, PromptBook

if TYPE_CHECKING:
    from medrega_edge.inference.tokenizer import Tokenizer


@dataclass(frozen=True)
class Question:
    """One line: what is asked of which image, and the true answer. `box` is in pixels of the original image."""

    id: str
    image: Path
    question: str
    task: Task
    language: Language
    box: PixelBox | None
    modality: Modality | None
    text: str  # the true answer, as the model should write it
    boxes: tuple[tuple[str, PixelBox], ...]  # true regions: label and box, one entry a box
    sha256: str  # of the line, so that a certificate can name what it was measured on
    labels: tuple[str, ...] = ()  # candidates of a classification, of which `several` may be right
    several: bool = False


def read_questions(path: Path) -> list[Question]:
    """Read a JSONL file; raises UsageError that names the line at fault."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"'{path.name}' cannot be read; name a JSONL file of questions.") from None
    questions = [_question(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]
    if not questions:
        raise UsageError(f"'{path.name}' holds no question; give it one JSON object a line.")
    return questions


def _question(line: str, number: int, path: Path) -> Question:
    try:
        data: dict[str, Any] = json.loads(line)
        truth = data["truth"]
        image = path.parent / data["image"]  # an absolute path stays as it is
        regions = [
            (str(region["label"]), PixelBox(*(float(value) for value in box)))
            for region in truth.get("regions", [])
            for box in region["boxes"]
        ]
        box = data.get("box")
        return Question(
            id=str(data["id"]),
            image=image,
            question=str(data["question"]),
            task=Task(data["task"]),
            language=Language(data["language"]) if "language" in data else language_of(str(data["question"])),
            box=PixelBox(*map(float, box)) if box else None,
            modality=Modality(data["modality"]) if data.get("modality") else None,
            text=str(truth["text"]),
            boxes=tuple(regions),
            sha256=hashlib.sha256(line.strip().encode("utf-8")).hexdigest(),
            labels=tuple(str(label) for label in data.get("labels", ())),
            several=data.get("setting") == "classification_multi",
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"Line {number} of '{path.name}' is no question ({type(error).__name__}: {error}).") from None


def picture(question: Question) -> MedicalImage:
    """Read the image of a question; raises ImageError that names the question."""
    try:
        return read_image(question.image)
    except ImageError as error:
        raise ImageError(f"Question '{question.id}': {error}") from None


def choose(questions: list[Question], count: int) -> list[Question]:
    """Pick `count` questions spread evenly over the file, so that every task and language in it has its share."""
    if count >= len(questions):
        return questions
    return [questions[i * len(questions) // count] for i in range(count)]


def wording(question: Question, geometry: Geometry, prompts: PromptBook, tokenizer: Tokenizer) -> str:
    """Return the question as the engine puts it, which words some tasks itself."""
    if question.task is Task.IDENTIFY and question.box is not None:
        box = format_boxes([geometry.to_grid(question.box)])
        return IDENTIFY_QUESTION[question.language].format(box=box)
    if question.task is Task.CLASSIFY and question.labels:
        return prompts.classify_question(question.labels, question.language, question.several)
    if question.task is Task.REPORT:
        return REPORT_QUESTION[question.language]
    return tokenizer.strip_special_tokens(question.question).strip()


def spell(question: Question, geometry: Geometry, prompts: PromptBook, tokenizer: Tokenizer, image: list[int]) -> list[int]:
    """Return the token ids of prefix, question and true answer; `image` are the ids that hold the image's place.

    The pieces are encoded one by one, as in training and at run time, where the prefix outlives the question.
    """
    words = wording(question, geometry, prompts, tokenizer)
    prompt = prompts.prompt(question.task, question.language, words, question.labels)
    encode = tokenizer.encode
    answer = tokenizer.encode_continuation(question.text, prompt.question)
    return [*encode(prompt.before), *image, *encode(prompt.after), *encode(prompt.question), *answer]
