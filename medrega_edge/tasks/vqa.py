"""Visual question answering: a free question, answered in words."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from medrega_edge.domain import Language, Task
from medrega_edge.i18n.message import Message
from medrega_edge.tasks.base import (
    TaskContext,
    TaskRequest,
    TaskResult,
    check_text,
    check_words,
    generation_warnings,
)
from medrega_edge.tasks.body_part import answer_by_body_part
from medrega_edge.tasks.chain_of_thought import find_regions, with_regions
from medrega_edge.tasks.detection import why_not
from medrega_edge.tasks.presence import answer_presence
from medrega_edge.vocabulary.answers import respelt
from medrega_edge.vocabulary.terminology import BilingualName

# Letters of other languages than English and Chinese; Greek ones count as English, as in "β-blocker" and "µg".
_OTHER_LETTERS = re.compile(r"[^\W\d_\x00-\x7f\u00b5\u0370-\u03ff\u3400-\u9fff\uff00-\uffef]")


@dataclass(frozen=True)
class AnswerQuestion(TaskRequest):
    """Answer a free question in words.

    With `regional_chain_of_thought` the regions that `text` names, else those of a report, are located first and stand in
    the prompt. `about` are the structures whose state is asked for: where such an image cannot show them, there is none.
    """

    text: str
    regional_chain_of_thought: bool = False
    about: tuple[BilingualName, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a text without a word: UsageError."""
        check_text(self.text)
        check_words(self.text)

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.VQA

    @property
    def words(self) -> str:
        """The question."""
        return self.text

    def run(self, context: TaskContext) -> TaskResult:
        """Answer it."""
        question = context.clean(self.text)
        check_words(question)
        labels = [name[context.language is Language.ZH] for name in self.about]
        missing = [why_not(context, name[0], label) for name, label in zip(self.about, labels, strict=True)]
        if labels and all(missing):
            absent = Message("answer.not_found", names=labels).text(context.language)
            return TaskResult(absent, warnings=tuple(filter(None, missing)), certifiable=False)
        first = find_regions(context, question) if self.regional_chain_of_thought else TaskResult("")
        text = with_regions(question, first.detections, context.language)
        prompt = context.prompts.prompt(Task.VQA, context.language, text)
        warnings = [Message("task.other_language")] if _OTHER_LETTERS.search(question) else []
        if presence := answer_presence(context, question, prompt):
            return replace(
                presence,
                text=respelt(presence.text),
                detections=first.detections,
                warnings=(*warnings, *first.warnings, *presence.warnings),
                generations=(*first.generations, *presence.generations),
                certifiable=not self.regional_chain_of_thought,
            )
        chosen = answer_by_body_part(context, question, prompt) or context.choose_answer(prompt, question)
        generation, probability = chosen or (context.generate_prose(prompt), None)
        return TaskResult(
            respelt(generation.raw_text.strip()) if probability is not None else generation.raw_text.strip(),
            first.detections,
            warnings=(*warnings, *first.warnings, *generation_warnings(generation)),
            generations=(*first.generations, generation),
            certifiable=not self.regional_chain_of_thought,
            score=probability,
        )
