"""What a free question asks for: its task, and the CT window in which a radiologist would look for it."""

from __future__ import annotations

import re

from medrega_edge.domain import Task
from medrega_edge.errors import UsageError

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


def guess_task(question: str, tasks: tuple[str, ...]) -> Task:
    """Tell which of a package's tasks a free question means: what asks for no place and no report is a plain question.

    Raises UsageError when the package answers no plain questions.
    """
    for task, words in _TASK_WORDS.items():
        if words.search(question) and (task.value in tasks or task is Task.GROUNDED_REPORT and Task.REPORT.value in tasks):
            return task
    if Task.VQA.value in tasks:
        return Task.VQA
    raise UsageError(
        "The question does not say what is wanted in a way this model package was trained for "
        f'({", ".join(tasks)}); ask for example "locate the liver" or "请定位肝脏", or name the task with --task.'
    )


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
