"""What a free question or a loose set of parameters asks for: the task, and the CT window to look in."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Task
from medrega_edge.errors import UsageError
from medrega_edge.tasks.base import TaskRequest, parse_task
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.terminology import Terminology

# Tried in this order: a question that asks for a place is about a place, whatever else it says.
_TASK_WORDS: dict[Task, re.Pattern[str]] = {
    Task.GROUNDED_REPORT: re.compile(r"\bgrounded report\b|(带|附)(有)?(定位|区域)的?报告|定位报告", re.IGNORECASE),
    Task.REPORT: re.compile(
        r"\b(write|give|make|generate)\b.*\breport\b|^\W*report\W*$|\bdescribe (this|the) (image|picture|scan)\b"
        r"|(写|生成|给出).*报告|描述.*(图像|图片|影像)",
        re.IGNORECASE,
    ),
    Task.DETECT: re.compile(
        r"^\W*(please )?(locate|find|detect|mark|show|point out|highlight|outline)\b|\bbounding box\b|\bdraw a box\b"
        r"|\b(locate|point out|show me where|mark|outline)\b|^\W*(where is|where are) (the )?[\w ]+\W*$"
        r"|\bwhere (can|is it)\b|\bposition of\b|\blocation of\b"
        r"|定位|在哪|何处|标出|找出|找到|框|圈出|指出|检测|的位置",
        re.IGNORECASE,
    ),
}

# "Where exactly is the polyp?" asks for a box if the package can locate what it names. "Where is the abnormality?" and
# "where in the brain is it?" ask for words.
_WHERE = re.compile(r"\bwhere\b(?! in (?!(the|this) (image|picture|photo|scan)))", re.IGNORECASE)


def guess_task(
    text: str, tasks: Sequence[str], terminology: Terminology, box: PixelBox | None = None, labels: Sequence[str] | str = ()
) -> Task:
    """Tell which of a package's `tasks` is meant where none is named.

    A box asks what it holds, labels ask to choose. A list of names that the package can locate is detection; a question
    that asks for no place and no report is answered in words. Raises UsageError where the package answers none of these.
    """
    if box is not None:
        return Task.IDENTIFY
    if labels:
        return Task.CLASSIFY
    if Task.DETECT in tasks and terminology.is_list(text):
        return Task.DETECT
    for task, words in _TASK_WORDS.items():
        if words.search(text) and is_trained(task, tasks):
            return task
    if Task.DETECT in tasks and _WHERE.search(text) and terminology.find(text):
        return Task.DETECT
    if Task.VQA in tasks:
        return Task.VQA
    raise UsageError("task.unclear_question", tasks=list(tasks))


def is_trained(task: Task, tasks: Sequence[str]) -> bool:
    """Whether a package can do a task: one of its own, or a grounded report out of its reports."""
    return task in tasks or (task is Task.GROUNDED_REPORT and Task.REPORT in tasks)


def parse_intent(text: str, tasks: Sequence[str], terminology: Terminology) -> TaskRequest:
    """Turn a free question into a request; raises UsageError for what the package was not trained for."""
    return build_request(guess_task(text, tasks, terminology), text)


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


# What a question speaks of -> the window in which a radiologist would look for it; the first that fits.
_WINDOW_WORDS = (
    ("mediastinum", re.compile(r"mediastin|纵隔", re.IGNORECASE)),
    ("lung", re.compile(r"\blungs?\b|pulmon|pneumo|bronch|肺|支气管", re.IGNORECASE)),
    ("brain", re.compile(r"brain|cerebr|cerebell|ventricular system|intracranial|stroke|脑|颅内", re.IGNORECASE)),
    ("bone", re.compile(r"\bbones?\b|fractur|vertebra|skull|\bribs?\b|femur|骨|椎", re.IGNORECASE)),
    ("liver", re.compile(r"\bliver\b|hepat|肝", re.IGNORECASE)),
)


def window_preset_for(question: str) -> str:
    """Name of the preset in which to look for what a question asks; soft tissue when it does not say."""
    return next((name for name, words in _WINDOW_WORDS if words.search(question)), "soft")
