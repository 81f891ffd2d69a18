"""Lines of a chat that point to what was said: the boxes of the last answers, and the names of the last questions.

What cannot be resolved is refused by a sentence that says what it would need. Nothing stands in for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Kind
from medrega_edge.prompts.intent.naming import without_side
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.memory import BySize, Chosen, Recalled, Thing, latest
from medrega_edge.tasks.reference_words import Points, Reference, plain_words, read_reference
from medrega_edge.tasks.spoken import Conversation, meant_of_generic, without_own_names
from medrega_edge.vocabulary.label_kinds import is_finding, is_of_many, is_single
from medrega_edge.vocabulary.terminology import BilingualName, Terminology

_KEPT = (Kind.MEASURE, Kind.SIDE)  # what "the second one?" asks again
_ORGAN = re.compile(r"\borgans?\b|器官")
_HERE = re.compile(r"\b(?:here|image|picture|scan)\b|图|这里")
_CORNER = re.compile(
    r"(?:and |only |just |what about |the |ones? )*(?:upper|lower|top|bottom)[ -]?(?:left|right)(?: ones?)?"
    r"|[左右][上下](?:[边方角面])?的?(?:那?[个颗处根])?呢?"
)


def refer(line: Conversation) -> Chosen | None:
    """Return the request of a line that only points to what was said; None for a line that says more.

    Raises UsageError for what cannot be resolved.
    """
    if not line.recalled.last:
        return None
    text = plain_words(line.text)
    if _CORNER.fullmatch(text):
        raise UsageError("task.impossible_relation")
    reference = read_reference(without_own_names(text, line))
    if reference is None and (meant := meant_of_generic(text, line)):
        word, names = meant
        reference = read_reference(text.replace(word, "one"))
        line = replace(line, recalled=replace(line.recalled, last=names, things=(), focus=()))
        reference = reference if reference and reference.points is Points.SIZE else None
    if reference is None or (_ORGAN.search(text) and not _is_of_organs(text, reference, line.recalled)):
        return None
    if reference.wants_sum:
        raise UsageError("follow.no_sum")
    return _RULES[reference.points](reference, line)


def _is_of_organs(text: str, reference: Reference, recalled: Recalled) -> bool:
    """Whether "which organ is the largest?" means organs that the conversation named, not all of the image."""
    are_organs = len(recalled.names) > 1 and not any(is_finding(english) for english, _ in recalled.names)
    return recalled.has_list or reference.points is Points.GROUP or (are_organs and not _HERE.search(text))


def _group(reference: Reference, line: Conversation) -> Chosen | None:
    """Ask about "both", "all three", 都: the names of the conversation, or the boxes of its only name."""
    if reference.kind is Kind.COUNT and not reference.count and line.recalled.focus:
        return line.about(Kind.COUNT, [], line.recalled.focus)
    names = _names_of_group(reference.count, line)
    if reference.kind is Kind.COMPARE and len(names) < 2:
        raise UsageError("follow.too_few", count=2, names=line.listed(names))
    return line.about(reference.kind, names)


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
    end = len(things) - reference.rank + 1
    first = end - reference.count if reference.is_last else reference.rank - 1
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
    named = {thing.name for thing in recalled.focus}
    unnamed = [thing for thing in recalled.things if thing.box is None and thing.name not in named]
    if named and unnamed and not set(last) - {thing.name for thing in recalled.things}:
        if len(unnamed) == 1 or not reference.is_one:
            return _of_things(reference, line, unnamed)
        raise UsageError("follow.which_other", names=line.listed([thing.name for thing in unnamed]))
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
    asked = line.about(kind, [], [Thing(name, region.box) for name, region in chosen])
    if len(names) > 1 or asked.intent.kind is not Kind.LOCATE or (reference.rank, count) != (1, 1) or len(ordered) == 1:
        return asked
    box = ", ".join(f"{edge:.0f}" for edge in chosen[0][1].box)
    name = line.joined(names)
    if reference.is_largest:
        return replace(asked, added=(Message("answer.largest_box", name=name, count=len(ordered), box=box),))
    return replace(asked, added=(Message("answer.smallest_box", name=name, count=len(ordered), box=box),))


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
    kept = (Kind.MEASURE,) if reference.is_one or side in ("top", "bottom") else (Kind.MEASURE, Kind.COUNT)
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
        is_part = reference.is_plural and len(line.recalled.focus) == 1 < len(line.recalled.last)
        if all(thing.box for thing in line.recalled.focus) and not is_part:
            return line.about(reference.kind, [], line.recalled.focus)
    if reference.kind is Kind.COMPARE:
        compared = line.recalled.last if len(line.recalled.last) > 1 else latest(line.recalled, 2)
        return line.about(Kind.COMPARE, compared) if compared else None
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
