"""Regional chain of thought: locate the regions that matter, then answer with them in the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medrega_edge.boxes import GridBox
from medrega_edge.domain import Language
from medrega_edge.prompts.region_markup import RegionText, format_region
from medrega_edge.prompts.templates import WITH_REGIONS
from medrega_edge.tasks.base import Detection, TaskContext, TaskResult, combine
from medrega_edge.tasks.detection import locate
from medrega_edge.tasks.reporting import Report


def find_regions(context: TaskContext, question: str) -> TaskResult:
    """Locate the structures that the question names, else those that a report names; labels are English."""
    context = replace(context, language=Language.EN, on_text=None)
    names = context.terminology.find(question)
    return combine([locate(context, name) for name in names] or [Report(grounded=True).run(context)], "")


def with_regions(question: str, detections: Sequence[Detection], language: Language) -> str:
    """Return the question with the located regions behind it."""
    if not detections:
        return question
    boxes: dict[str, list[GridBox]] = {}
    for detection in detections:
        boxes.setdefault(detection.label, []).append(detection.box)
    regions = (format_region(RegionText(label, tuple(group))) for label, group in boxes.items())
    return WITH_REGIONS[language].format(question=question, regions=", ".join(regions))
