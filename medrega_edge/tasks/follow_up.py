"""Questions that leave out what the question before said: "and the spleen?", "and the right one?", "how big is it?".

What is remembered of the last question is its kind and its names, not its text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from medrega_edge.domain import Modality, Task
from medrega_edge.prompts.intent import Intent, Kind, understand, unknown_word
from medrega_edge.prompts.intent.back_references import TYPE_OF_LESION, enumerated, with_names
from medrega_edge.prompts.intent.naming import is_one_and_pair, of_one_side, without_side
from medrega_edge.tasks import follow_up_words as words
from medrega_edge.tasks.asked import Asked, going_on
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.unsaid import names_before
from medrega_edge.vocabulary.label_kinds import homonym, is_finding, is_of_many
from medrega_edge.vocabulary.states import asks_if_normal
from medrega_edge.vocabulary.terminology import BilingualName, Terminology
from medrega_edge.vocabulary.wording import AREA, superlative

_SIDES = {"left": "left", "right": "right", "左": "left", "右": "right"}
_OPPOSITE = {"left": "right", "right": "left"}
_OF_TWO = (Kind.COMPARE, Kind.DISTANCE)
_OF_BOXES = (Kind.COUNT, Kind.MEASURE, Kind.SIDE, *_OF_TWO)


def follow_up(
    text: str,
    last: TaskRequest,
    terminology: Terminology,
    found: Collection[str] = (),
    earlier: TaskRequest | None = None,
    modality: Modality | None = None,
    has_masks: bool = False,
    order: Sequence[str] = (),
) -> TaskRequest | None:
    """Return the request of a question that goes on from the `last` one; None for a question of its own.

    Only boxes are asked for in this way: other tasks have no names. What points back means the labels that the last answer
    `found`, in any language, where there are some. "Which is larger?" after one name means the `earlier` question's, too.
    `modality` tells what a generic word stands for. Where the package `has_masks`, a question for an outline gets one.
    `order` are the English names that the last answer compared, the largest first: "outline the smaller one".
    """
    side = last.intent.side if isinstance(last, Asked) else None
    last = last.request if isinstance(last, Asked) and last.task is Task.DETECT else last
    before = names_before(last, terminology, found)
    if not before:
        return None
    if words.BESIDE_IT.search(text):
        beside = terminology.find(text)
        if not beside or any(is_of_many(english) for english, _ in beside):
            return None  # which of them is not told
        text = words.BESIDE_IT.sub("", text)
    intent, names = understand(text, terminology, modality), terminology.find(text)
    meant = {name[0]: homonym(name[0], modality) for name in names}
    names = [name for name in names if not meant[name[0]]]
    names += [label for label in terminology.labels if any(label[0] in each for each in meant.values())]
    if intent.unknown and not intent.names:
        names = []  # no eye is in "青光眼"
    wants_outline = intent.asks_for_outline or AREA.search(text) is not None or words.OUTLINE.search(text) is not None
    place = Kind.SEGMENT if has_masks and wants_outline else Kind.LOCATE
    those_before = names_before(earlier, terminology) if earlier else []
    line = _Line(text, last, before, those_before, intent, names, place, side, tuple(order), terminology)
    try:
        return next((request for rule in _RULES if (request := rule(line))), None)
    except _OwnQuestion:
        return None


class _OwnQuestion(Exception):
    """A line has names or words that make it a question of its own."""


@dataclass(frozen=True)
class _Line:
    """A line of a chat beside the question `last` asked, which was about the names `before`.

    `earlier` are the names of the question before that, `names` those that the line says. `place` is the kind of a question
    for a place: with outlines, where the line asks for some. `side` is the one that the last question was about.
    """

    text: str
    last: TaskRequest
    before: Sequence[BilingualName]
    earlier: Sequence[BilingualName]
    intent: Intent
    names: Sequence[BilingualName]
    place: Kind
    side: str | None
    order: tuple[str, ...]
    terminology: Terminology

    @property
    def is_same(self) -> bool:
        """Whether it points back: "how big is it?"."""
        return words.SAME_NAMES.search(self.text) is not None

    @property
    def are_findings(self) -> bool:
        """Whether the question before was about findings alone."""
        return all(is_finding(english) for english, _ in self.before)

    @property
    def other_names(self) -> list[BilingualName]:
        """The names of the line; a generic word counts where it opens the line: "and the cup?"."""
        names = list(self.names) or (list(self.intent.names) if words.OTHER_NAMES.search(self.text) else [])
        return _meant_of_pairs(self.text, names, self.before)

    @property
    def of_side(self) -> list[BilingualName]:
        """The names before on the side that the line names alone."""
        return [] if self.other_names else _of_side(self.text, self.before, self.terminology)

    @property
    def is_other_one(self) -> bool:
        """Whether it asks for the other one of a pair: "and the other kidney?"."""
        is_known = self.is_same or bool(set(self.other_names) & set(self.before))
        return words.OTHER_ONE.search(self.text) is not None and not is_known

    def about(self, kind: Kind, names: Sequence[BilingualName], with_side: bool = False) -> TaskRequest | None:
        """Return the request of a kind about names, `with_side` about those on the side of the question before."""
        return _request(self.text, kind, names, self.last, self.side if with_side else None)


def _place_or_side(line: _Line) -> TaskRequest | None:
    """Ask for place or side: "where?", "segment it", "left or right?", "which kidney is it in?"."""
    if words.BARE_PLACE.search(line.text):
        return line.about(line.place, line.before, with_side=True)
    is_side = words.BARE_SIDE.search(line.text) or (words.EITHER_SIDE.search(line.text) and not line.names)
    if is_side or (words.WHICH_HOLDS.search(line.text) and line.are_findings):
        return line.about(Kind.SIDE, line.before)
    return None


def _of_both(line: _Line) -> TaskRequest | None:
    """Sum or compare what the last two questions were about: "how many in all?", "by how much?"."""
    if line.names:
        return None
    if words.HOW_MANY_IN_ALL.search(line.text):
        return line.about(Kind.COUNT, [*line.earlier, *line.before])
    if words.HOW_MUCH.search(line.text) or words.RATIO.search(line.text):
        return line.about(Kind.COMPARE, line.before if len(line.before) > 1 else [*line.earlier, *line.before])
    return None


def _state(line: _Line) -> TaskRequest | None:
    """Ask if structures are normal: "normal?", "is it normal?"; a finding is not asked so."""
    is_bare = words.NORMAL.search(line.text) is not None
    are_structures = not any(is_finding(english) for english, _ in line.before)
    if are_structures and (is_bare or (asks_if_normal(line.text) and line.is_same and not line.names)):
        return Asked(line.text, replace(line.intent, names=tuple(line.before)), IsNormal(line.text, tuple(line.before)))
    if asks_if_normal(line.text):
        raise _OwnQuestion
    return None


def _others(line: _Line) -> TaskRequest | None:
    """Ask "any other lesions?" after some were found: their number tells whether there are others.

    After structures "any others?" asks for the other structures that are visible.
    """
    text, intent, before = line.text, line.intent, tuple(line.before)
    if intent.kind is Kind.ORGANS and words.ANY_OTHERS.search(text):
        return Asked(text, intent, VisibleOrgans(tuple(english for english, _ in before)))
    if words.BARE_OTHERS.search(text):
        if line.are_findings:
            return Asked(text, Intent(Kind.COUNT, before), FromBoxes(Kind.COUNT, before, others=True))
        return Asked(text, Intent(Kind.ORGANS), VisibleOrgans(tuple(english for english, _ in before)))
    is_asked = intent.kind in (Kind.PRESENCE, Kind.COUNT, Kind.LOCATE) and words.ANY_OTHERS.search(text)
    if not is_asked or not set(intent.names) & set(before) or not all(is_finding(name[0]) for name in intent.names):
        return None
    return Asked(text, replace(intent, kind=Kind.COUNT), FromBoxes(Kind.COUNT, intent.names, others=True))


def _of_comparison(line: _Line) -> TaskRequest | None:
    """Ask for one of a comparison, "the smaller one", or for outlines of all."""
    if line.names:
        return None
    if line.order and (chosen := _of_order(line.text, line.order, line.terminology)):
        return line.about(line.intent.kind if line.intent.kind in _OF_BOXES[:3] else line.place, chosen)
    if line.place is Kind.SEGMENT and line.intent.kind not in _OF_TWO:
        return line.about(line.place, line.of_side or line.before)
    return None


def _of_two(line: _Line) -> TaskRequest | None:
    """Compare two, or ask how far they are apart: "which one is larger?", "how far from the liver?"."""
    if words.ON_SIDE.search(line.text.strip()):
        return line.about(Kind.SIDE, line.before)
    names, kind = line.other_names, line.intent.kind
    if line.is_same and not names and "距离" in line.text:
        kind = Kind.DISTANCE
    if "比" in line.text and words.THAN.search(line.text):
        kind = Kind.COMPARE
    if kind not in _OF_TWO:
        return None
    both = [*(line.earlier if len(line.before) == 1 else []), *line.before]
    if not names and len(both) > 1:
        return line.about(kind, both)
    if (line.is_same or names) and not line.is_other_one:
        is_second = words.OTHER_NAMES.search(line.text) is not None and len(names) == 1
        if not (line.is_same or is_second or words.FROM_IT.search(line.text) or words.THAN.search(line.text)):
            raise _OwnQuestion
        others = names or line.of_side
        is_of_all = words.OF_ALL.search(line.text) and (kind is Kind.COMPARE or is_one_and_pair([*line.before, *others]))
        return line.about(kind, [*(line.before if is_of_all else line.before[:1]), *others])
    return None


def _of_other_names(line: _Line) -> TaskRequest | None:
    """Ask the last kind of question, or a new one, about other names: "and the spleen?", "the right one"."""
    names = line.other_names
    others = line.of_side or (names if words.OTHER_NAMES.search(line.text) else [])
    if not others:
        return None
    if line.last.task is not Task.DETECT:
        raise _OwnQuestion
    last_kind, kind = line.last.kind if isinstance(line.last, FromBoxes) else Kind.LOCATE, line.intent.kind
    asks_anew = kind in _OF_BOXES and (names or last_kind in _OF_TWO or words.ASKS_ANEW.search(line.text))
    asked = kind if asks_anew and not line.is_other_one else last_kind
    asked = Kind.LOCATE if line.of_side and asked in _OF_TWO else asked
    if kind is Kind.PRESENCE and words.ASKS_FOR_PRESENCE.search(line.text):
        asked = Kind.PRESENCE
    return line.about(asked, [line.before[0], *others] if asked in _OF_TWO else others)


def _of_same_names(line: _Line) -> TaskRequest | None:
    """Ask about the same names: "how big is it?", "only the left ones", "the biggest one?"."""
    names, intent = line.other_names, line.intent
    if not names and (one_side := _on_one_side(line.text, line.before)):
        return one_side
    if not (names or intent.unknown or intent.generic) and superlative(line.text) is not None:
        return line.about(Kind.LOCATE, line.before)  # "最大的那个是哪个？"
    asks_for_boxes = intent.kind in (*_OF_BOXES, Kind.LOCATE, Kind.SEGMENT, Kind.PRESENCE)
    is_nameless = not (intent.names or unknown_word(line.text)) and intent.kind in _OF_BOXES  # "how many are there?"
    if (is_nameless or (not names and line.is_same)) and asks_for_boxes:
        return line.about(line.place if intent.kind is Kind.LOCATE else intent.kind, line.before, with_side=True)
    return None


# Each returns the request of a line that it knows, or None; the first one counts.
_RULES = (_place_or_side, _of_both, _state, _others, _of_comparison, _of_two, _of_other_names, _of_same_names)


def _of_order(text: str, order: Sequence[str], terminology: Terminology) -> list[BilingualName]:
    """Return the name that "the smaller one" means after a comparison."""
    if words.SMALLER.search(text) or words.LARGER.search(text):
        chosen = order[-1] if words.SMALLER.search(text) else order[0]
        return [name for name in terminology.labels if name[0] == chosen]
    return []


def _meant_of_pairs(text: str, names: Sequence[BilingualName], before: Sequence[BilingualName]) -> list[BilingualName]:
    """Of the names of a question, those on the side that it names, and of "the other kidney" the one that is new."""
    rest = [name for name in names if name not in before]
    bases = {without_side(english) for english, _ in before}
    if rest and words.OTHER_ONE.search(text) and all(without_side(english) in bases for english, _ in names):
        return rest
    return list(of_one_side(names, text) or names)


def _on_one_side(text: str, before: Sequence[BilingualName]) -> Asked | None:
    """Return the request of "only the left ones" for names that have no side of their own; None for another question.

    "The other side?" of a finding is answered by the sides of all its boxes.
    """
    match = words.SIDE.search(text)
    if match is None or not all(is_finding(english) or is_of_many(english) for english, _ in before):
        return None
    side, names = _SIDES.get((match[1] or match[2]).casefold()), tuple(before)
    if side is None:
        return Asked(text, Intent(Kind.SIDE, names), FromBoxes(Kind.SIDE, names))
    return Asked(text, Intent(Kind.LOCATE, names, side=side), Detect([english for english, _ in names]))


def pointing_back(text: str, last: TaskRequest, terminology: Terminology, found: Collection[str] = ()) -> str:
    """Return a question for something in or near what the last one was about, "any lesion in it?", with its names."""
    intent = understand(text, terminology)
    if (
        words.BESIDE_IT.search(text)
        or text in TYPE_OF_LESION
        or not (intent.generic or intent.unknown or intent.names)
        or not words.SAME_NAMES.search(text)
        or (intent.unknown and not intent.generic and not words.IN_IT.search(text))  # "is it glaucoma?"
    ):
        return text
    before = names_before(last, terminology, found)
    return with_names(text, enumerated(before)) if before and not terminology.find(text) else text


def _of_side(text: str, before: Sequence[BilingualName], terminology: Terminology) -> list[BilingualName]:
    """Return the names of the last question on the side that a text names alone: "the right one", "右边呢"."""
    is_both, match = bool(words.BOTH_SIDES.search(text)), words.SIDE.search(text)
    if not (is_both or match):
        return []
    said = _SIDES.get((match[1] or match[2]).casefold()) if match else None
    by_english = {label[0]: label for label in terminology.labels}
    found = []
    for name in before:
        side, _, base = name[0].partition(" ")
        if is_both and side in _OPPOSITE:
            found.append(name)
        if side in _OPPOSITE and (other := by_english.get(f"{said or _OPPOSITE[side]} {base}")):
            found.append(other)
    return list(dict.fromkeys(found))


def _request(
    text: str, kind: Kind, names: Sequence[BilingualName], last: TaskRequest, side: str | None = None
) -> TaskRequest | None:
    """Return the request of a kind about names; of those on one `side` alone, where the last question asked for them."""
    names = tuple(dict.fromkeys(names))
    count, labels = len(names), [english for english, _ in names]
    if (kind is Kind.DISTANCE and count != 2 and not is_one_and_pair(names)) or (kind is Kind.COMPARE and count < 2):
        return None
    if request := going_on(text, kind, names):
        return replace(request, intent=replace(request.intent, side=side))
    if last.wants_masks or kind is Kind.SEGMENT:
        return Asked(text, Intent(Kind.SEGMENT, names, side=side), Segment(labels))
    return Asked(text, Intent(Kind.LOCATE, names, side=side), Detect(labels))
