"""How a conversation goes on, for every chat: small talk, repeats, changes, places, references, and boxes of a person."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medrega_edge.answer import Answer
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Kind
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.changes import change
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.memory import Memory, names_in, names_without_box, recall
from medrega_edge.tasks.references import refer
from medrega_edge.tasks.small_talk import reply, wants_picture, wants_repeat
from medrega_edge.tasks.spoken import Conversation
from medrega_edge.tasks.subject import in_place
from medrega_edge.vocabulary.terminology import BilingualName, Terminology


def going_back(
    text: str,
    memory: Memory,
    terminology: Terminology,
    modality: Modality | None = None,
    has_masks: bool = False,
) -> TaskRequest | None:
    """Return the request of a line that repeats, changes, or points to what was said; None for any other line.

    Raises UsageError for small talk, whose message is the reply, and for what the conversation does not resolve.
    """
    if said := reply(text, memory.said.answer if memory.said else None):
        raise UsageError("follow.small_talk", reply=said)
    if wants_repeat(text):
        if memory.said is None:
            raise UsageError("follow.nothing_to_repeat")
        is_seen = memory.said.answer is not None and bool(memory.said.answer.regions)
        line = Conversation.of(text, memory, terminology, modality, has_masks)
        if wants_picture(text) and not is_seen and line.recalled.last:
            return line.about(Kind.LOCATE, line.recalled.last, line.recalled.focus)
        return memory.said.request
    if not memory.turns:
        return None
    line = Conversation.of(text, memory, terminology, modality, has_masks)
    return change(line) or in_place(line) or refer(line)


@dataclass(frozen=True)
class IdentifyInChat(Identify):
    """The name of what is in a box, in a conversation that searched for names in vain: `missing`."""

    missing: tuple[BilingualName, ...] = ()

    def finish(self, answer: Answer) -> Answer:
        """Say that the name is only the best one, where it was not found before."""
        in_vain = {label for name in self.missing for label in name}
        told = tuple(Message("follow.box_contradicts", name=each.label) for each in answer.labels if each.label in in_vain)
        return replace(answer, warnings=(*told, *answer.warnings))


def about_box(box: PixelBox, memory: Memory, terminology: Terminology, question: str = "") -> Identify:
    """Return the request of the name of what is in a box."""
    missing = recall(memory.turns, terminology).missing
    return IdentifyInChat(box, question, tuple(name for name in terminology.labels if name[0] in missing))


def with_left_out(request: TaskRequest, memory: Memory, terminology: Terminology) -> TaskRequest:
    """Return a request that goes on from a report, with a note of what the report named and no box shows."""
    if memory.answer is None or not isinstance(request, Asked) or not request.intent.names:
        return request
    left_out = names_without_box(memory.answer, terminology)
    if not left_out or not {name for each in request.intent.names for name in each} & names_in(memory.answer, terminology):
        return request
    return replace(request, notes=(*request.notes, Message("follow.has_no_box", names=left_out)))
