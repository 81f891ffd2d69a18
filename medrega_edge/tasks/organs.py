"""What organs are visible: every structure that an image of its kind and body part can show is located."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medrega_edge.answer import Answer, Region
from medrega_edge.domain import Task
from medrega_edge.i18n.message import Message
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult, combine
from medrega_edge.tasks.body_part import certain_part
from medrega_edge.tasks.detection import locate
from medrega_edge.vocabulary.body_parts import can_hold
from medrega_edge.vocabulary.wording import is_finding

_SEEN = 0.5  # from this confidence on, a structure counts as visible when all are asked for


@dataclass(frozen=True)
class VisibleOrgans(TaskRequest):
    """Locate every structure that an image of its kind and body part can show."""

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.DETECT

    def run(self, context: TaskContext) -> TaskResult:
        """Locate one structure after the other."""
        modality, part = context.image_modality(), certain_part(context)
        names = [
            name
            for name in context.terminology.labels
            if not is_finding(name[0])
            and (modality is None or context.prompts.can_show(modality, name[0]))
            and (part is None or can_hold(part, name[0]))
        ]
        results = [result for result in (locate(context, name) for name in names) if result.detections]
        return replace(combine(results, ""), certifiable=False)

    def finish(self, answer: Answer) -> Answer:
        """Name those that are there with some confidence; of several boxes of a name the best stays."""
        best: dict[str, Region] = {}
        for region in sorted(answer.regions, key=lambda region: -(region.confidence or 0)):
            if region.confidence is None or region.confidence >= _SEEN:
                best.setdefault(region.label, region)
        names = list(best)
        message = Message("answer.visible", names=names) if names else Message("answer.nothing_visible")
        return replace(answer, text=message.text(answer.language), regions=tuple(best.values()), facts={"visible": names})
