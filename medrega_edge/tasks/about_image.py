"""What kind of image, and which body part: recognised from the image, not derived from boxes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medrega_edge.answer import Answer
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.tasks import report_sentences
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult
from medrega_edge.tasks.classes import CERTAIN_CLASS
from medrega_edge.tasks.presence import joined
from medrega_edge.tasks.reporting import choose_body_part
from medrega_edge.vocabulary.label_sets import BODY_PARTS, modality_name


@dataclass(frozen=True)
class KindOfImage(TaskRequest):
    """Tell the kind of image: what the file states, else what the weights recognise."""

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.CLASSIFY

    def run(self, context: TaskContext) -> TaskResult:
        """Do nothing: every answer carries the kind of image."""
        return TaskResult("", certifiable=False)

    def finish(self, answer: Answer) -> Answer:
        """Put it in words."""
        modality = answer.image.modality
        if modality is None:
            message = Message("answer.unknown_kind")
        else:
            message = Message("answer.kind", kind=modality_name(modality, answer.language))
        return replace(answer, text=message.text(answer.language), facts={"modality": modality})


@dataclass(frozen=True)
class BodyPart(TaskRequest):
    """Choose the body part among those that reports name. With `tells_kind` the answer names the kind of image, too."""

    tells_kind: bool = False

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.REPORT

    def run(self, context: TaskContext) -> TaskResult:
        """Choose the first sentence of a report; raises UsageError where the kind of image is not known."""
        modality = context.image_modality()
        if modality is None or not context.prompts.modalities:
            raise UsageError("task.no_body_part")
        generation, part, probability = choose_body_part(context, modality)
        assert part is not None
        shown = BODY_PARTS[part] if context.language is Language.ZH else part
        labels = ((shown, probability),)
        return TaskResult(shown, labels=labels, generations=(generation,), certifiable=False)

    def finish(self, answer: Answer) -> Answer:
        """Tell it in English for programs."""
        english = {chinese: part for part, chinese in BODY_PARTS.items()}
        facts = {"body_part": english.get(answer.text, answer.text)}
        guessed = Message("answer.perhaps_part", name=answer.text).text(answer.language)
        is_sure = not answer.is_unfamiliar and all((label.confidence or 1) >= CERTAIN_CLASS for label in answer.labels)
        told = replace(answer, text=answer.text if is_sure else guessed, facts=facts)
        if not self.tells_kind:
            return told
        kind, modality = KindOfImage().finish(answer), answer.image.modality
        whole = report_sentences.write(modality, answer.text, (), answer.language) if modality and is_sure else ""
        text = whole[:1].upper() + whole[1:] or joined([kind.text, guessed], answer)
        return replace(told, text=text, facts=facts | dict(kind.facts))
