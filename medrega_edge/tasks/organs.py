"""What organs are visible: every structure that an image of its kind and body part can show is located."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medrega_edge.answer import Answer, Region
from medrega_edge.domain import Task
from medrega_edge.i18n.message import Message
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult, combine
from medrega_edge.tasks.presence import Presence, look_for
from medrega_edge.vocabulary.body_parts import can_hold
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.terminology import BilingualName
from medrega_edge.vocabulary.wording import is_finding


@dataclass(frozen=True)
class VisibleOrgans(TaskRequest):
    """Locate every structure that an image of its kind and body part can show, but for some English names."""

    excluded: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.DETECT

    def run(self, context: TaskContext) -> TaskResult:
        """Locate one structure after the other."""
        results = [one.located for one in visible(context) if one.name[0] not in self.excluded]
        return replace(combine(results, ""), certifiable=False)

    def finish(self, answer: Answer) -> Answer:
        """Name them; of several boxes of a name the best stays."""
        best: dict[str, Region] = {}
        for region in sorted(answer.regions, key=lambda region: -(region.confidence or 0)):
            best.setdefault(region.label, region)
        names = list(best)
        message = Message("answer.visible", names=names) if names else Message("answer.nothing_visible")
        return replace(answer, text=message.text(answer.language), regions=tuple(best.values()), facts={"visible": names})


def visible(context: TaskContext) -> list[Presence]:
    """Look for every structure that images of this kind and body part show in the training data; return what is found."""
    names = [name for name in expected(context) if not is_finding(name[0])]
    return [one for one in (look_for(context, name) for name in names) if one.is_found]


def expected(context: TaskContext) -> list[BilingualName]:
    """Return the names that such images had in the training data and that the body part can hold."""
    modality, part = context.image_modality(), context.certain_part()
    return [
        name
        for name in context.terminology.labels
        if (modality is None or is_known(modality, name[0])) and (part is None or can_hold(part, name[0]))
    ]
