"""Questions as an exporter needs them: their image, their wording, and their token ids with the true answer behind them.

Nothing that stands in a question is ever written anywhere but as a hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrega_edge.boxes import Geometry
from medrega_edge.domain import Task
from medrega_edge.errors import ImageError
from medrega_edge.evaluation.questions import Question
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.images.reader import read_image
from medrega_edge.prompts.region_markup import format_boxes
from medrega_edge.prompts.templates import IDENTIFY_QUESTION, REPORT_QUESTION, PromptBook

if TYPE_CHECKING:
    from medrega_edge.inference.tokenizer import Tokenizer


def picture(question: Question) -> MedicalImage:
    """Read the image of a question; raises ImageError that names the question."""
    try:
        return read_image(question.image)
    except ImageError as error:
        raise ImageError("export.question_image", question=question.id, problem=error.message) from None


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
    answer = tokenizer.encode_continuation(question.truth.text, prompt.question)
    return [*encode(prompt.before), *image, *encode(prompt.after), *encode(prompt.question), *answer]
