"""What a free question or a loose set of parameters asks for: the request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Intent, Kind, understand
from medrega_edge.prompts.intent.background import in_medical_words, with_signs, with_topic_in_place, without_background
from medrega_edge.prompts.intent.parts import parts, without_how_sure, without_tag
from medrega_edge.prompts.intent.phrases import pattern
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.base import TaskRequest, check_text, check_words, parse_task
from medrega_edge.tasks.classification import Classify, ClassifyByPart
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.left_out import (
    other_findings_left_out,
    questions_left_out,
)
from medrega_edge.tasks.names_meant import names_finding
from medrega_edge.tasks.of_intent import is_trained
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.question import request_of_question
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.several import Several
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.label_sets import (
    named_set,
)
from medrega_edge.vocabulary.plain_text import in_simplified_script, simplified
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.terminology import Terminology

_TASKS = {  # of kinds of question that name no place
    Kind.CLASSIFY: Task.CLASSIFY,
    Kind.MODALITY: Task.CLASSIFY,
    Kind.IDENTIFY: Task.IDENTIFY,
    Kind.REPORT: Task.REPORT,
    Kind.BODY_PART: Task.REPORT,
    Kind.GROUNDED_REPORT: Task.GROUNDED_REPORT,
    Kind.ANSWER: Task.VQA,
    Kind.HELP: Task.VQA,
    Kind.IMPOSSIBLE: Task.VQA,
}


def guess_task(
    text: str, tasks: Sequence[str], terminology: Terminology, box: PixelBox | None = None, labels: Sequence[str] | str = ()
) -> Task:
    """Tell which of a package's `tasks` is meant where none is named.

    A box asks what it holds, labels ask to choose. Raises UsageError where the package answers none that fits.
    """
    if box is not None:
        return Task.IDENTIFY
    if labels:
        return Task.CLASSIFY
    task = _TASKS.get(understand(text, terminology).kind, Task.DETECT)
    if task not in (Task.IDENTIFY, Task.CLASSIFY) and is_trained(task, tasks):
        return task
    if Task.VQA in tasks:
        return Task.VQA
    raise UsageError("task.unclear_question", tasks=list(tasks))


def parse_intent(text: str, scene: Scene) -> TaskRequest:
    """Turn a free question about an image into a request.

    Weights without a terminology get the question as it is typed. Raises UsageError for what no image or this package
    cannot tell, and for a name that the package does not know.
    """
    request = _parsed(text, scene)
    if not isinstance(request, Asked):
        return request
    left: tuple[Message, ...] = ()
    if request.intent.kind not in _OF_WHOLE_TEXT:
        left = questions_left_out(_prepared(text), request.intent, scene.terminology, scene.modality)
        left = left or other_findings_left_out(text)
    elif isinstance(request.request, VisibleOrgans) and not _OF_STRUCTURES.search(simplified(text)):
        left = (Message("task.structures_only"),)
    return replace(request, notes=(*request.notes, *left))


_OF_STRUCTURES = re.compile(r"organ|structure|anatom|bone|部位|器官|脏器|结构|解剖|骨")


_OF_WHOLE_TEXT = (Kind.REPORT, Kind.GROUNDED_REPORT, Kind.ANSWER, Kind.ORGANS)  # their answers regard all of it


def _prepared(text: str) -> str:
    """Return a text without what is no part of its questions, in words and signs that tell them apart."""
    text = without_background(in_medical_words(in_simplified_script(text.rstrip("!！~～…"))))
    return without_tag(without_how_sure(with_topic_in_place(with_signs(text))))


def _parsed(text: str, scene: Scene) -> TaskRequest:
    check_text(text)
    check_words(text)
    if scene.terminology.labels:
        text = _prepared(text)
        questions = parts(text, scene.terminology, scene.modality, scene.before)
        if several := _several(text, questions, scene) or _several(text, _alternatives_apart(text, scene), scene):
            return several
    intent = understand(text, scene.terminology, scene.modality)
    if not scene.terminology.labels:
        return _asked_freely(text, intent, scene.tasks)
    return request_of_question(text, intent, scene)


_OR = re.compile(r"\b(?:or|and)\b|还是|或者?|[和与及、]|[?？](?=.*\w)")


def _alternatives_apart(text: str, scene: Scene) -> list[str]:
    """Return a question for each of two findings that no one set of classes tells: "DR or macular oedema?"; else none."""
    plain = simplified(text)
    plain = pattern("or_not", plain).sub(" ", plain)
    alternatives = [each.strip(" ?？") for each in _OR.split(plain)]
    if len(alternatives) != 2 or not all(alternatives):
        return []
    sets = [named_set(each, scene.modality) for each in alternatives]
    told = [label_set or _finding_of(each, scene) for label_set, each in zip(sets, alternatives, strict=True)]
    return [f"{each}?" for each in alternatives] if any(sets) and all(told) and told[0] != told[1] else []


def _finding_of(text: str, scene: Scene) -> str | None:
    """Return the one finding that a text names, if such images had it in the training data; None for any other text."""
    intent = understand(text, scene.terminology, scene.modality)
    if len(intent.names) != 1 or intent.unknown or intent.generic or not names_finding(intent):
        return None
    return intent.names[0][0] if scene.modality is None or is_known(scene.modality, intent.names[0][0]) else None


def _several(text: str, questions: Sequence[str], scene: Scene) -> Several | None:
    """Return a request of all questions that have an answer, and say why others have none; None without questions.

    Raises UsageError where none has an answer.
    """
    asked: list[Asked] = []
    refused: list[Message] = []
    for question in questions:
        try:
            request = parse_intent(question, scene)
        except UsageError as error:
            is_unsaid = error.message.code == "task.impossible"  # which of the questions?
            refused.append(Message("task.part_impossible", question=question) if is_unsaid else error.message)
        else:  # a part may ask several questions itself
            asked += request.questions if isinstance(request, Several) else [request] if isinstance(request, Asked) else []
            refused += request.refused if isinstance(request, Several) else ()
    reasons = tuple(dict.fromkeys(refused))
    reasons = tuple(each for each in reasons if each.code != "task.help") or reasons
    if not asked and len(reasons) == 1:
        raise UsageError.of(reasons[0])
    if not asked and reasons:
        raise UsageError("task.none_answered", reasons=reasons)
    return Several(text, tuple(asked), tuple(refused)) if asked else None


def _asked_freely(text: str, intent: Intent, tasks: Sequence[str]) -> TaskRequest:
    if intent.kind is Kind.LOCATE and Task.DETECT in tasks:
        return Detect((text,))
    if intent.kind in (Kind.REPORT, Kind.GROUNDED_REPORT) and is_trained(_TASKS[intent.kind], tasks):
        return Report(intent.kind is Kind.GROUNDED_REPORT)
    if Task.VQA in tasks:
        return AnswerQuestion(text)
    raise UsageError("task.unclear_question", tasks=list(tasks))


def with_regions_first(request: TaskRequest) -> TaskRequest:
    """Return a request that locates the relevant regions first, where words alone answer it; others stay as they are."""
    if isinstance(request, Asked):
        return replace(request, request=with_regions_first(request.request))
    if isinstance(request, AnswerQuestion | Classify | ClassifyByPart):
        return replace(request, regional_chain_of_thought=True)
    return request


def build_request(
    task: Task | str,
    question: str = "",
    *,
    box: PixelBox | None = None,
    labels: Sequence[str] | str = (),
    multiple: bool = False,
    regional_chain_of_thought: bool = False,
) -> TaskRequest:
    """Build the request that a line of a batch or the options of a command describe.

    Raises UsageError for an unknown task, for parameters that do not go with it, and for those that it lacks.
    """
    task = parse_task(task)
    if regional_chain_of_thought and task not in (Task.VQA, Task.CLASSIFY):
        raise UsageError("task.cot_of_other_task", task=task.value)
    if box is not None and task is not Task.IDENTIFY:
        raise UsageError("task.box_of_other_task", task=task.value)
    if labels and task is not Task.CLASSIFY:
        raise UsageError("task.labels_of_other_task", task=task.value)
    if multiple and task is not Task.CLASSIFY:
        raise UsageError("task.several_of_other_task", task=task.value)
    match task:
        case Task.DETECT:
            return Detect((question,))
        case Task.IDENTIFY:
            if box is None:
                raise UsageError("task.no_box")
            return Identify(box, question)
        case Task.CLASSIFY:
            if not labels:
                raise UsageError("task.no_labels")
            return Classify(labels, multiple, regional_chain_of_thought, question)
        case Task.VQA:
            return AnswerQuestion(question, regional_chain_of_thought)
        case Task.REPORT | Task.GROUNDED_REPORT:
            return Report(task is Task.GROUNDED_REPORT)
