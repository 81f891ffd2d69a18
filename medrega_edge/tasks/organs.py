"""What organs are visible: every structure that an image of its kind and body part can show is located."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medrega_edge.answer import LIKELY, SURE, Answer, Region
from medrega_edge.domain import Task
from medrega_edge.i18n.message import Message
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult, combine
from medrega_edge.tasks.presence import Presence, joined, look_for
from medrega_edge.vocabulary.body_parts import can_hold
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.terminology import BilingualName


@dataclass(frozen=True)
class VisibleOrgans(TaskRequest):
    """Locate every structure that an image of its kind and body part can show, but for some English names."""

    excluded: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.DETECT

    def run(self, context: TaskContext) -> TaskResult:
        """Locate one structure after the other; those that may be there stand in only where none is there for sure."""
        searched = [one for one in look_for_structures(context) if one.name[0] not in self.excluded]
        likely = [one for one in searched if one.confidence >= LIKELY]
        shown = [one for one in likely if one.is_found] or ([] if self.excluded else likely)
        return replace(combine([one.located for one in shown], ""), certifiable=False)

    def finish(self, answer: Answer) -> Answer:
        """Name them; of several boxes of a name the best stays."""
        best: dict[str, Region] = {}
        for region in sorted(answer.regions, key=lambda region: -(region.confidence or 0)):
            best.setdefault(region.label, region)
        names, guesses = list(best), answer.best_guesses
        found = [name for name in names if name not in guesses]
        sure = [name for name in found if answer.best_confidence(name) >= SURE]
        likely = [name for name in found if name not in sure]
        messages = [Message("answer.visible", names=sure)] if sure else []
        messages += [Message("answer.probably", names=likely)] if likely else []
        messages = messages or [Message("answer.nothing_visible")]
        text = joined([*messages, *([Message("answer.perhaps", names=guesses)] if guesses else [])], answer)
        facts = {"visible": found, "best_guesses": guesses}
        return replace(answer, text=text, regions=tuple(best.values()), facts=facts)


def look_for_structures(context: TaskContext) -> list[Presence]:
    """Look for every structure that images of this kind and body part show in the training data."""
    return [look_for(context, name) for name in expected(context) if not is_finding(name[0])]


def expected(context: TaskContext) -> list[BilingualName]:
    """Return the names that such images had in the training data and that the body part can hold.

    Of the findings only those that images like this one had, if any: the images around a healthy one may have none.
    """
    modality, part = context.image_modality(), context.certain_part()
    names = [
        name
        for name in context.terminology.labels
        if (modality is None or is_known(modality, name[0])) and (part is None or can_hold(part, name[0]))
    ]
    familiar = {name for name in names if is_finding(name[0]) and not context.is_unfamiliar_name(name[0])}
    return [name for name in names if not familiar or name in familiar or not is_finding(name[0])]
