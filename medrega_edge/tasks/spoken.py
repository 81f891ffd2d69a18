"""A line of a chat beside what is recalled, the question that it makes, and the words that stand for known names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.prompts.intent import Intent, Kind, understand
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.memory import Chosen, Memory, Recalled, Thing, names_in, recall
from medrega_edge.tasks.reference_words import plain_words
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.unsaid import REPORTS, names_before
from medrega_edge.vocabulary.terminology import BilingualName, Terminology

_FROM_BOXES = (Kind.PRESENCE, Kind.COUNT, Kind.MEASURE, Kind.SIDE, Kind.COMPARE, Kind.DISTANCE)


@dataclass(frozen=True)
class Conversation:
    """A line of a conversation beside what is recalled of it, and the `last` request.

    `shown` are the last names that the last answer found. With `has_masks` the package draws outlines.
    `sides` are those that the last answer told of its names.
    """

    text: str
    recalled: Recalled
    terminology: Terminology
    last: TaskRequest | None = None
    modality: Modality | None = None
    has_masks: bool = False
    shown: Sequence[BilingualName] = ()
    sides: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        text: str,
        memory: Memory,
        terminology: Terminology,
        modality: Modality | None = None,
        has_masks: bool = False,
    ) -> Conversation:
        """Take the line and what the memory holds."""
        recalled = recall(memory.turns, terminology)
        there = names_in(memory.answer, terminology) if memory.answer else set()
        shown = [name for name in recalled.last if set(name) & there]
        sides = (memory.answer.facts.get("sides") if memory.answer else None) or {}
        return cls(text, recalled, terminology, memory.last, modality, has_masks, shown, sides)

    @property
    def is_after_report(self) -> bool:
        """Whether the last answer is a report."""
        return self.last is not None and self.last.task in REPORTS

    @property
    def is_after_list(self) -> bool:
        """Whether the last answer lists what is visible, which the question did not name."""
        return self.last is not None and self.last.task is Task.DETECT and not names_before(self.last, self.terminology)

    def about(
        self,
        kind: Kind | None,
        names: Sequence[BilingualName],
        things: Sequence[Thing] = (),
        among: Sequence[BilingualName] | None = None,
        side: str | None = None,
    ) -> Chosen:
        """Return the question of a kind about names, or about the boxes of `things`."""
        names = tuple(dict.fromkeys([*names, *(thing.name for thing in things)]))
        kind = kind or Kind.LOCATE
        kind = Kind.LOCATE if kind is Kind.SEGMENT and not self.has_masks else kind
        labels = [english for english, _ in names]
        request: TaskRequest
        if kind in _FROM_BOXES:
            request = FromBoxes(kind, names)
        elif kind is Kind.SEGMENT or (self.last is not None and self.last.wants_masks):
            kind, request = Kind.SEGMENT, Segment(labels)
        else:
            kind, request = Kind.LOCATE, Detect(labels)
        text = self.joined(names)
        boxes = tuple(thing.box for thing in things if thing.box)
        return Chosen(
            text,
            Intent(kind, names, side=side),
            request,
            boxes=boxes,
            is_part=bool(things),
            among=None if among is None else tuple(among),
        )

    def joined(self, names: Sequence[BilingualName]) -> str:
        """The names in the language of the line."""
        is_chinese = language_of(self.text) is Language.ZH
        return ("、" if is_chinese else ", ").join(name[is_chinese] for name in names)

    def listed(self, names: Sequence[BilingualName]) -> list[str]:
        """The names in the language of the line, one by one."""
        is_chinese = language_of(self.text) is Language.ZH
        return [name[is_chinese] for name in names]


_HEADLESS = re.compile(r"\b(?:the )?(?P<word>[a-z]+) ones\b")
_HEADLESS_ZH = re.compile(r"^(?:只要?|只看|仅|和|还有|除了?|去掉|不要|那)*(?P<word>\w)的(?:呢|都?标?出?来?)$")


def with_heads(text: str, memory: Memory, terminology: Terminology) -> str:
    """Return a line with the names that its bare adjectives mean: "only the white ones" after blood cells."""
    plain = plain_words(text)
    match = _HEADLESS.search(plain) or _HEADLESS_ZH.search(plain)
    if match is None or not memory.turns or terminology.find(plain):
        return text
    for english, chinese in recall(memory.turns, terminology).names:
        whole = f"{match['word']} {english.partition(' ')[2]}" if plain.isascii() else f"{match['word']}{chinese[1:]}"
        if len(terminology.find(whole)) == 1 and terminology.mask(whole) == "\0":
            old = match.group() if plain.isascii() else f"{match['word']}的"
            return plain.replace(old, f"the {whole}" if plain.isascii() else whole)
    return text


def meant_of_generic(text: str, line: Conversation) -> tuple[str, tuple[BilingualName, ...]] | None:
    """Return a generic word of a line and the names of the conversation that it stands for: "the biggest cell"."""
    intent = understand(text, line.terminology, line.modality)
    if len(intent.generic) != 1 or line.terminology.find(text):
        return None
    names = tuple(name for name in line.recalled.names if name in intent.names)
    return (intent.generic[0], names) if len(names) > 1 else None


def without_own_names(text: str, line: Conversation) -> str:
    """Leave out a name that the last line was about: "the bigger vessel" after the vessels."""
    names = line.terminology.find(text)
    intent = understand(text, line.terminology, line.modality)
    has_one = any(word in text.split() for word in ("other", "another", "bigger", "larger", "smaller"))
    if has_one and not names and len(intent.generic) == 1 and set(line.recalled.last) <= set(intent.names):
        return text.replace(intent.generic[0], "one")
    if len(names) != 1 or names[0] not in line.recalled.last or len(line.recalled.last) > 1:
        return text
    return line.terminology.mask(text).replace("\0", "one") if has_one else text
