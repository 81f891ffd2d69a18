"""Several questions in one text, each answered by its own request; one answer holds all regions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medrega_edge.answer import Answer
from medrega_edge.domain import Language, Task
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import sentence_of_regions
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult, combine, not_found
from medrega_edge.tasks.derived import Asked


@dataclass(frozen=True)
class Several(TaskRequest):
    """The questions of a text, all about boxes, in its order. `refused` says why others have no answer."""

    text: str
    questions: tuple[Asked, ...]
    refused: tuple[Message, ...] = ()

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.DETECT

    @property
    def words(self) -> str:
        """The text."""
        return self.text

    @property
    def wants_masks(self) -> bool:
        """Whether one of them asks for outlines."""
        return any(question.wants_masks for question in self.questions)

    def run(self, context: TaskContext) -> TaskResult:
        """Answer them one by one; an object that several ask for is located once."""
        results = []
        seen: set[str] = set()
        for question in self.questions:
            result = question.run(context)
            new = tuple(each for each in result.detections if each.label not in seen)
            seen |= {each.label for each in result.detections}
            results.append(replace(result, detections=new))
        searched = tuple(dict.fromkeys(name for result in results for name in result.searched))
        combined = combine(results, "")
        return replace(combined, searched=searched, certifiable=False, warnings=(*self.refused, *combined.warnings))

    def finish(self, answer: Answer) -> Answer:
        """Put the answers in words, each from the boxes of its names; `facts.parts` has the facts of each."""
        finished = [self._answered(question, answer) for question in self.questions]
        shown = {region for part in finished for region in part.regions}
        said = list(dict.fromkeys(part.text for part in finished))
        texts = [text for text in said if not any(other != text and other.startswith(text) for other in said)]
        return replace(
            answer,
            text=("" if answer.language is Language.ZH else " ").join(texts),
            regions=tuple(region for region in answer.regions if region in shown),
            intent=finished[0].intent,
            facts={"parts": [{"intent": part.intent, **part.facts} for part in finished]},
            reading=" + ".join(part.reading for part in finished),
            warnings=tuple(dict.fromkeys(warning for part in finished for warning in part.warnings)),
        )

    @staticmethod
    def _answered(question: Asked, answer: Answer) -> Answer:
        column = answer.language is Language.ZH
        names = [name[column] for name in question.intent.names]
        regions = tuple(region for region in answer.regions if region.label in names)
        present = list(dict.fromkeys(region.label for region in regions))
        missing = [name for name in question.intent.names if name[column] not in present]
        absent = not_found(missing, answer.language, answer.warnings)
        sentences = [sentence_of_regions(present, answer.language)] if present else []
        sentences += [absent] if absent else []
        return question.finish(replace(answer, text=("" if column else " ").join(sentences), regions=regions))
