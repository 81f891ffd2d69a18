"""Several questions in one text, each answered by its own request; one answer holds all regions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from medrega_edge.answer import Answer
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import UNSURE_ANSWER
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.sides import OTHER_SIDE

_ENDS = tuple(".?!。？！")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.?!]) |(?<=[。？！])")


def with_masks(request: TaskRequest) -> TaskRequest:
    """Return the request with masks of what it locates; others stay as they are."""
    if isinstance(request, Several):
        return replace(request, questions=tuple(question.with_masks() for question in request.questions))
    if isinstance(request, Asked):
        return request.with_masks()
    return Segment(request.names) if isinstance(request, Detect) else request


@dataclass(frozen=True)
class Several(TaskRequest):
    """The questions of a text, in its order. `refused` says why others have no answer."""

    text: str
    questions: tuple[Asked, ...]
    refused: tuple[Message, ...] = ()

    @property
    def task(self) -> Task:
        """Kind of task: that of the boxes, where one of the questions asks for some."""
        tasks = [question.task for question in self.questions]
        return Task.DETECT if Task.DETECT in tasks else tasks[0]

    @property
    def words(self) -> str:
        """The text."""
        return self.text

    @property
    def wants_masks(self) -> bool:
        """Whether one of them asks for outlines."""
        return any(question.wants_masks for question in self.questions)

    def run(self, context: TaskContext) -> TaskResult:
        """Is never called: each question has a run of its own."""
        raise TypeError("several questions have no result in common")

    def answered(self, run: Callable[[TaskRequest], Answer]) -> Answer:
        """Answer one by one; `facts.parts` has the facts of each. Raises UsageError where none has an answer.

        A question about names of the one before is about those of them that were found. Where one asks for outlines, all
        boxes are those around masks, so that one object has one box.
        """
        answers: list[Answer] = []
        refused = list(self.refused)
        errors: list[UsageError] = []
        for question in self.questions:
            asked = question.with_masks() if self.wants_masks else question
            try:
                answer = run(asked.about_found(answers[-1]) if answers else asked)
            except UsageError as error:
                errors.append(error)
                refused.append(error.message)
            else:
                answers.append(_saying_of_what(answer, question.text))
        if not answers:
            raise errors[0]
        return self._joined(answers, refused)

    def _warnings(self, answers: Sequence[Answer]) -> Iterator[Message]:
        """The warnings of the answers; where both sides are asked for, none is left out."""
        are_both = {"left", "right"} <= {question.intent.side for question in self.questions}
        for answer in answers:
            yield from (each for each in answer.warnings if not (are_both and each.code in OTHER_SIDE))

    def _joined(self, answers: Sequence[Answer], refused: Sequence[Message]) -> Answer:
        first, timings = answers[0], [answer.timings for answer in answers]
        regions = {(region.label, region.box): region for answer in reversed(answers) for region in reversed(answer.regions)}
        confidences = [answer.confidence for answer in answers if answer.confidence is not None]
        return replace(
            first,
            text=_text(answers),
            raw_text="\n".join(answer.raw_text for answer in answers if answer.raw_text),
            task=self.task,
            regions=tuple(reversed(regions.values())),
            labels=tuple(dict.fromkeys(label for answer in answers for label in answer.labels)),
            model=replace(first.model, certified=None),
            finish="length" if any(answer.finish == "length" for answer in answers) else "stop",
            prompt_tokens=sum(answer.prompt_tokens for answer in answers),
            generated_tokens=sum(answer.generated_tokens for answer in answers),
            timings=replace(
                timings[0],
                prefill=sum(each.prefill for each in timings),
                decode=sum(each.decode for each in timings),
                total=sum(each.total for each in timings),
            ),
            warnings=tuple(dict.fromkeys([*refused, *self._warnings(answers)])),
            confidence=min(confidences, default=None),
            facts={"parts": [{"intent": answer.intent, **answer.facts} for answer in answers]},
            reading=" + ".join(answer.reading for answer in answers),
            guess=next((answer.guess for answer in answers if answer.guess is not None), None),
            searched=tuple(dict.fromkeys(name for answer in answers for name in answer.searched)),
        )


def _saying_of_what(answer: Answer, question: str) -> Answer:
    """Let an answer that is no more than "Not sure." name its question: others stand beside it."""
    if answer.text != UNSURE_ANSWER[answer.language]:
        return answer
    return replace(answer, text=Message("answer.unsure_of", question=question).text(answer.language))


def _text(answers: Sequence[Answer]) -> str:
    """Join the texts; no sentence is said twice, and a word alone becomes a sentence."""
    is_chinese = answers[0].language is Language.ZH
    said: dict[str, None] = {}
    for answer in answers:
        text = answer.text if answer.text.endswith(_ENDS) else f"{answer.text}{'。' if is_chinese else '.'}"
        perhaps = Message("answer.perhaps", names=answer.best_guesses).text(answer.language)  # says the same of a presence
        guess = Message("answer.best_guess", names=answer.best_guesses).text(answer.language)
        known = {guess} if perhaps in said else set()
        said |= dict.fromkeys(each for each in _BETWEEN_SENTENCES.split(text[:1].upper() + text[1:]) if each not in known)
    return ("" if is_chinese else " ").join(filter(None, said))
