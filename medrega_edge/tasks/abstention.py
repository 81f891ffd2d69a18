"""Answers that state nothing below a confidence which the user names."""

from __future__ import annotations

from dataclasses import replace

from medrega_edge.answer import Answer
from medrega_edge.domain import Language
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import UNSURE_ANSWER, sentence_of_regions
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.segmentation import Segment


def finished(task: TaskRequest, answer: Answer, least: float) -> Answer:
    """Finish an answer without what it is less sure of than `least`, 0..1; a sentence and a warning say what is left out.

    Boxes are left out one by one where they were asked for. An answer that rests on such a box, or on such a class, is not
    given at all. Without a confidence there is nothing to compare: "not found" stays.
    """
    kept = tuple(each for each in answer.regions if each.confidence is None or each.confidence >= least)
    names = tuple(dict.fromkeys(each.label for each in answer.regions if each not in kept))
    if not names:
        return _without_unsure_class(task.finish(answer), least)
    text = Message("answer.withheld", names=list(names), least=100 * least).text(answer.language)
    gap = "" if answer.language is Language.ZH else " "
    short = replace(answer, text="", regions=kept, warnings=(*answer.warnings, Message("task.withheld", names=list(names))))
    whole = sentence_of_regions(list(dict.fromkeys(each.label for each in answer.regions)), answer.language)
    asked = task.request if isinstance(task, Asked) else task
    if not isinstance(asked, (Detect, Segment)) or not answer.text.startswith(whole):
        unstated = replace(short, text=text)
        return task.understood(unstated) if isinstance(task, Asked) else unstated
    here = list(dict.fromkeys(each.label for each in kept))
    said = [sentence_of_regions(here, answer.language) if here else "", answer.text.removeprefix(whole).strip()]
    short = task.finish(replace(short, text=gap.join(filter(None, said))))
    return replace(short, text=gap.join(filter(None, [short.text, text])))


def _without_unsure_class(answer: Answer, least: float) -> Answer:
    kind = answer.image.modality_confidence if "modality" in answer.facts else None
    sure = [each.confidence for each in answer.labels] or [kind]
    if answer.guess is not None or all(each is None or each >= least for each in sure):
        return answer
    note = Message("task.unsure_answer")
    return replace(answer, text=UNSURE_ANSWER[answer.language], guess=answer.text, warnings=(*answer.warnings, note))
