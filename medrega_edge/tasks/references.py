"""Lines of a chat that point to what was said: the boxes of the last answers, and the names of the last questions.

What cannot be resolved is refused by a sentence that says what it would need. Nothing stands in for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Intent, Kind, understand
from medrega_edge.prompts.intent.naming import without_side
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.memory import BySize, Chosen, Memory, Recalled, Thing, latest, names_in, recall
from medrega_edge.tasks.reference_words import Points, Reference, plain_words, read_reference
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.unsaid import REPORTS, names_before
from medrega_edge.vocabulary.terminology import BilingualName, Terminology
from medrega_edge.vocabulary.wording import is_finding, is_of_many, is_single

_KEPT = (Kind.MEASURE, Kind.SIDE)  # what "the second one?" asks again
_CORNER = re.compile(
    r"(?:and |only |just |what about |the |ones? )*(?:upper|lower|top|bottom)[ -]?(?:left|right)(?: ones?)?"
    r"|[左右][上下](?:[边方角面])?的?(?:那?[个颗处根])?呢?"
)
_FROM_BOXES = (Kind.PRESENCE, Kind.COUNT, Kind.MEASURE, Kind.SIDE, Kind.COMPARE, Kind.DISTANCE)


@dataclass(frozen=True)
class Conversation:
    """A line of a conversation beside what is recalled of it, and the `last` request.

    `shown` are the last names that the last answer found. With `has_masks` the package draws outlines.
    """

    text: str
    recalled: Recalled
    terminology: Terminology
    last: TaskRequest | None = None
    modality: Modality | None = None
    has_masks: bool = False
    shown: Sequence[BilingualName] = ()

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
        return cls(text, recalled, terminology, memory.last, modality, has_masks, shown)

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


def refer(line: Conversation) -> Chosen | None:
    """Return the request of a line that only points to what was said; None for a line that says more.

    Raises UsageError for what cannot be resolved.
    """
    if not line.recalled.last:
        return None
    text = plain_words(line.text)
    if _CORNER.fullmatch(text):
        raise UsageError("task.impossible_relation")
    reference = read_reference(_without_own_names(text, line))
    if reference is None and (meant := _meant_of_generic(text, line)):
        word, names = meant
        reference = read_reference(text.replace(word, "one"))
        line = replace(line, recalled=replace(line.recalled, last=names, things=(), focus=()))
        reference = reference if reference and reference.points is Points.SIZE else None
    if reference is None:
        return None
    if reference.wants_sum:
        raise UsageError("follow.no_sum")
    return _RULES[reference.points](reference, line)


def _meant_of_generic(text: str, line: Conversation) -> tuple[str, tuple[BilingualName, ...]] | None:
    """Return a generic word of a line and the names of the conversation that it stands for: "the biggest cell"."""
    intent = understand(text, line.terminology, line.modality)
    if len(intent.generic) != 1 or line.terminology.find(text):
        return None
    names = tuple(name for name in line.recalled.names if name in intent.names)
    return (intent.generic[0], names) if len(names) > 1 else None


def _without_own_names(text: str, line: Conversation) -> str:
    """Leave out a name that the last line was about: "the bigger vessel" after the vessels."""
    names = line.terminology.find(text)
    if len(names) != 1 or names[0] not in line.recalled.last or len(line.recalled.last) > 1:
        return text
    has_one = any(word in text.split() for word in ("other", "another", "bigger", "larger", "smaller"))
    return line.terminology.mask(text).replace("\0", "one") if has_one else text


def _group(reference: Reference, line: Conversation) -> Chosen | None:
    """Ask about "both", "all three", 都: the names of the conversation, or the boxes of its only name."""
    if reference.kind is Kind.COUNT and not reference.count and line.recalled.focus:
        return line.about(Kind.COUNT, [], line.recalled.focus)
    names = _names_of_group(reference.count, line)
    if reference.kind is Kind.COMPARE and len(names) < 2:
        raise UsageError("follow.too_few", count=2, names=line.listed(names))
    kind = reference.kind or (line.recalled.kind if line.recalled.kind is Kind.MEASURE else None)
    return line.about(kind if reference.kind or len(names) < 2 else None, names)


def _names_of_group(count: int, line: Conversation) -> Sequence[BilingualName]:
    recalled = line.recalled
    if not count:
        return recalled.names
    if names := latest(recalled, count):
        return names
    if len(recalled.names) == 1 and len(recalled.boxes.get(recalled.names[0][0], ())) == count:
        return recalled.names
    if len(recalled.names) < count:
        raise UsageError("follow.too_few", count=count, names=line.listed(recalled.names))
    raise UsageError("follow.too_many", count=count, names=line.listed(recalled.names))


def _ordinal(reference: Reference, line: Conversation) -> Chosen | None:
    """Ask about "the second one", "the last two": of the names of the last list, or of the boxes of its name."""
    things = line.recalled.things
    first = len(things) - reference.count if reference.is_last else reference.rank - 1
    chosen = things[max(first, 0) : first + reference.count]
    if first < 0 or len(chosen) < reference.count:
        raise _only(line, len(things))
    return _of_things(reference, line, chosen)


def _of_things(reference: Reference, line: Conversation, things: Sequence[Thing]) -> Chosen:
    last = line.recalled.kind
    return line.about(reference.kind or (last if last in _KEPT else None), [], things)


def _only(line: Conversation, count: int) -> UsageError:
    """Return the refusal of one of more things than there are."""
    things = line.recalled.things
    names = line.listed(list(dict.fromkeys(thing.name for thing in things)) or line.recalled.last)
    if any(thing.box is None for thing in things):
        return UsageError("follow.only_names", names=names)
    return UsageError("follow.only_so_many", count=count, name=names[0])


def _other(reference: Reference, line: Conversation) -> Chosen | None:
    """Ask about "the other one": of a pair of sides, of what was chosen, or of two names."""
    recalled, last = line.recalled, line.recalled.last
    if reference.asks_if_any and all(is_finding(name[0]) for name in last):
        asked = line.about(Kind.COUNT, last)
        return replace(asked, request=FromBoxes(Kind.COUNT, asked.intent.names, others=True))
    if len(last) == 1 and (pair := other_side(last[0], line.terminology)) and (not recalled.focus or pair in recalled.names):
        return _of_things(reference, line, [Thing(pair)])
    if recalled.focus and all(thing.box for thing in recalled.things):
        chosen = {thing.box for thing in recalled.focus}
        others = [thing for thing in recalled.things if thing.box not in chosen]
        if len(others) == 1 or (others and not reference.is_one):
            return _of_things(reference, line, others)
        raise UsageError("follow.which_box", count=len(others), name=line.joined(last[:1])) if others else _only(line, 1)
    others_named = [name for name in recalled.names if name not in last]
    boxes = recalled.boxes.get(last[0][0], ()) if len(last) == 1 else ()
    if len(others_named) == 1 and not (last and is_finding(last[0][0]) and not is_finding(others_named[0][0])):
        return _of_things(reference, line, [Thing(others_named[0])])
    if len(last) == 1 and (is_finding(last[0][0]) or is_of_many(last[0][0])):
        if len(boxes) > 1:
            raise UsageError("follow.which_box", count=len(boxes), name=line.joined(last))
        raise UsageError("follow.only_so_many", count=len(boxes), name=line.joined(last))
    if others_named and not reference.is_one:
        return line.about(reference.kind, others_named)
    names = others_named or last
    if len(names) > 1:
        raise UsageError("follow.which_other", names=line.listed(names))
    raise UsageError("follow.no_other", names=line.listed(names))


def other_side(name: BilingualName, terminology: Terminology) -> BilingualName | None:
    """Return the label of the other side of a structure that a body has on both."""
    if not is_single(name[0]) or name[0].partition(" ")[0] not in ("left", "right"):
        return None
    return next(
        (each for each in terminology.labels if each != name and without_side(each[0]) == without_side(name[0])), None
    )


def _size(reference: Reference, line: Conversation) -> Chosen | None:
    """Ask about the largest, the second largest or the smaller one; "which is larger?" compares names."""
    recalled = line.recalled
    names = _pool(reference, line)
    if reference.kind is Kind.COMPARE:
        compared = names if len(names) > 1 else latest(recalled, 2)
        if len(compared) > 1 and not (len(names) == 1 and len(recalled.boxes.get(names[0][0], ())) > 1):
            return line.about(Kind.COMPARE, compared)
    regions = [(name, region) for name in names for region in recalled.regions(name)]
    if not regions:
        if reference.kind is Kind.COMPARE or set(line.recalled.missing) & {english for english, _ in names}:
            return None
        asked = line.about(reference.kind, names)
        return replace(asked, by_size=BySize(reference.rank, max(reference.count, 1), reference.is_largest))
    sign = -1 if reference.is_largest else 1
    ordered = sorted(regions, key=lambda pair: (pair[1].box in recalled.guessed, sign * pair[1].box.area))
    count = max(reference.count, 1)
    chosen = ordered[reference.rank - 1 : reference.rank - 1 + count]
    if len(chosen) < count or (reference.is_pair and len(ordered) < 2):
        shown = [name for name, _ in ordered]
        raise UsageError("follow.only_so_many", count=len(ordered), name=line.joined(tuple(dict.fromkeys(shown))))
    kind = None if reference.kind is Kind.COMPARE else reference.kind
    return line.about(kind, [], [Thing(name, region.box) for name, region in chosen])


def _pool(reference: Reference, line: Conversation) -> Sequence[BilingualName]:
    """Return the names among which a size chooses."""
    recalled = line.recalled
    if reference.of_group:
        return _names_of_group(reference.group, line)
    of_names = [thing.name for thing in recalled.things if thing.box is None]
    if recalled.focus and of_names:
        return of_names
    if len(recalled.last) > 1 or is_finding(recalled.last[0][0]) or is_of_many(recalled.last[0][0]):
        return recalled.last
    return of_names or recalled.last


def _place(reference: Reference, line: Conversation) -> Chosen | None:
    """Ask about the left one, the top one: of a pair of sides, or of the boxes of the last name."""
    recalled, side = line.recalled, reference.side
    kept = (Kind.MEASURE, Kind.COUNT) if side in ("left", "right") else (Kind.MEASURE,)
    kind = reference.kind or (recalled.kind if recalled.kind in kept else None)
    if side in ("left", "right") and (of_side := _names_of_side(side, line)):
        return line.about(kind, of_side)
    name = recalled.last[0]
    if side in ("top", "bottom") and is_single(name[0]):
        return None  # "the one above" a vertebra
    regions = recalled.boxes.get(name[0], ())
    if len(recalled.last) > 1:
        is_told = side in ("left", "right") and all(is_finding(english) for english, _ in recalled.last)
        return line.about(reference.kind, recalled.last, side=side) if is_told else None
    if not regions or (len(regions) == 1 and side in ("top", "bottom")):
        raise UsageError("follow.only_so_many", count=len(regions), name=line.joined([name]))
    if len(regions) == 1:
        return line.about(Kind.SIDE, [name])  # it may lie in the middle
    if side in ("left", "right") and reference.is_one:
        return replace(line.about(kind, [name]), outermost=side)
    if side in ("left", "right"):
        return line.about(kind, [name], side=side)
    heights = sorted(regions, key=lambda region: region.box.y1 + region.box.y2, reverse=side == "bottom")
    return line.about(kind, [], [Thing(name, heights[0].box)])


def _names_of_side(side: str, line: Conversation) -> list[BilingualName]:
    bases = {without_side(name[0]) for name in line.recalled.last if name[0].startswith(("left ", "right "))}
    return [name for name in line.terminology.labels if name[0].startswith(f"{side} ") and without_side(name[0]) in bases]


def _bare(reference: Reference, line: Conversation) -> Chosen | None:
    """Ask about what the last answer chose, or what the last question named: "how big?"."""
    if reference.kind in (Kind.MEASURE, Kind.SIDE, Kind.LOCATE, Kind.SEGMENT) and line.recalled.focus:
        if all(thing.box for thing in line.recalled.focus):
            return line.about(reference.kind, [], line.recalled.focus)
    if line.is_after_report or (reference.kind not in (Kind.MEASURE, Kind.COUNT) and not line.is_after_list):
        return None
    return line.about(reference.kind, line.shown or line.recalled.last)


_RULES = {
    Points.GROUP: _group,
    Points.ORDINAL: _ordinal,
    Points.OTHER: _other,
    Points.SIZE: _size,
    Points.PLACE: _place,
    Points.NOTHING: _bare,
}
