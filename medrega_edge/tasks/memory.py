"""What a conversation about one image leaves for the next question: its names, and the boxes of its answers, in their order.

The memory holds turns: a line, its request and its answer. `recall` tells what they amount to: pure, so that a conversation
can be told again from its lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from medrega_edge.answer import Answer, Region
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Kind
from medrega_edge.tasks import report_sentences
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.presence import joined
from medrega_edge.tasks.reference_words import asks_for_smaller
from medrega_edge.tasks.report_sentences import Sentence
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.sides import outermost
from medrega_edge.tasks.unsaid import REPORTS, is_correction, names_before
from medrega_edge.vocabulary.label_kinds import is_finding, is_of_many
from medrega_edge.vocabulary.terminology import BilingualName, Terminology
from medrega_edge.vocabulary.wording import superlative

_MOST_TURNS = 50
_GOES_ON = re.compile(
    r"^\W*(?:and|also|plus|now|then|what about|how about)\b|\b(?:too|as well|also)\b|还有|也|呢|再|加|另", re.IGNORECASE
)


@dataclass(frozen=True)
class BySize:
    """Which of several boxes are meant: as many as `count` from the `rank` on, the largest first or the smallest."""

    rank: int
    count: int
    is_largest: bool

    def chosen(self, answer: Answer) -> list[Region]:
        """Return them, best guesses behind the others; raises UsageError where there are fewer."""
        sign = -1 if self.is_largest else 1
        ordered = sorted(answer.regions, key=lambda region: (answer.is_best_guess(region), sign * region.box.area))
        chosen = ordered[self.rank - 1 : self.rank - 1 + self.count]
        if len(chosen) < self.count:
            raise UsageError("follow.only_so_many", count=len(ordered), name=list(answer.searched))
        return chosen


@dataclass(frozen=True)
class Chosen(Asked):
    """A question about some of the boxes that an answer showed, `boxes`; all boxes of its names where there are none.

    Of the names `beside`, all boxes count. Where no answer showed the boxes, they are chosen `by_size`, or as the one
    farthest on a side, `outermost`. `is_part` tells that they are some of a list, which stays what an ordinal counts.
    `added` are sentences of the answer. `among` are the names that the conversation is about from here
    on; None leaves them as they are.
    """

    boxes: tuple[PixelBox, ...] = ()
    beside: tuple[BilingualName, ...] = ()
    by_size: BySize | None = None
    outermost: str = ""
    is_part: bool = False
    added: tuple[Message, ...] = ()
    among: tuple[BilingualName, ...] | None = None

    def finish(self, answer: Answer) -> Answer:
        """Leave the boxes that are meant, then finish the question."""
        told: tuple[Message, ...] = ()
        if self.outermost and answer.regions:
            likely = [region for region in answer.regions if not answer.is_best_guess(region)]
            one, whose = outermost(likely or answer.regions, self.outermost, answer.image)
            kept, told = [one], (whose,)
        elif self.by_size:
            kept = self.by_size.chosen(answer)
        elif self.boxes and answer.regions:
            whole = {label for name in self.beside for label in name}
            ours = [region for region in answer.regions if region.label not in whole]
            kept = [region for region in answer.regions if region.label in whole]
            kept += [max(ours, key=lambda region: iou(region.box, box)) for box in self.boxes if ours]
        else:
            return super().finish(answer)
        answer = super().finish(replace(answer, regions=tuple(region for region in answer.regions if region in kept)))
        warnings = tuple(warning for warning in answer.warnings if warning.code != "task.may_be_more")
        text = joined([answer.text, *self.added], answer) if self.added else answer.text
        return replace(answer, text=text, warnings=(*warnings, *told))


@dataclass(frozen=True)
class Turn:
    """A line of a conversation with its request and its answer."""

    request: TaskRequest
    answer: Answer | None
    text: str = ""

    @property
    def is_narrowed(self) -> bool:
        """Whether the answer shows some of the boxes alone: the largest, those of one side, the second."""
        request = self.request
        if isinstance(request, Chosen) and (request.boxes or request.by_size or request.outermost or request.is_part):
            return True
        if not isinstance(request, Asked) or request.task is not Task.DETECT:
            return False
        is_extreme = superlative(request.text) is not None and request.intent.kind in (
            Kind.LOCATE,
            Kind.SEGMENT,
            Kind.MEASURE,
        )
        return is_extreme or request.intent.side is not None


@dataclass
class Memory:
    """What later questions about an image may mean: the last answer with names, and the request before it with others.

    `listed` are the labels of the last answer that has several, in its order. `turns` are those about boxes, and reports.
    `said` is the last turn of any kind, which "again" means.
    """

    last: TaskRequest | None = None
    answer: Answer | None = None
    earlier: TaskRequest | None = None
    listed: Sequence[str] = ()
    turns: tuple[Turn, ...] = ()
    said: Turn | None = None

    def remember(self, request: TaskRequest, answer: Answer | None, text: str = "") -> None:
        """Take in a question and its answer. One that is neither about boxes nor a report is only what was said last."""
        self.said = Turn(request, answer, text)
        if request.task is Task.IDENTIFY and answer and answer.regions:  # the name of a box is what the next line speaks of
            request = Detect([answer.regions[0].label])
        if request.task is not Task.DETECT and request.task not in REPORTS:
            return
        if self.last is not None and _names_of(self.last) != _names_of(request):
            self.earlier = self.last
        self.last, self.answer = request, answer
        self.turns = (*self.turns, Turn(request, answer, text))[-_MOST_TURNS:]
        labels = _listed(answer) if answer else []
        self.listed = labels if len(labels) > 1 else self.listed


def _listed(answer: Answer) -> list[str]:
    """Return the labels of an answer in its order: those of its regions, or that a report names."""
    if answer.regions or answer.task not in REPORTS:
        return list(dict.fromkeys(region.label for region in answer.regions))
    return [name for names in dict(report_sentences.names_in(answer.text, answer.language)).values() for name in names]


def _names_of(request: TaskRequest) -> set[str]:
    """Return the English names that a request is about, as far as it has any."""
    if isinstance(request, Asked):
        return {english for english, _ in request.intent.names}
    return set(request.names) if isinstance(request, Detect | Segment) else set()


def names_in(answer: Answer, terminology: Terminology) -> set[str]:
    """Return the labels that an answer shows: of its regions; of a report, the findings, else what may be, or is seen."""
    if answer.regions or answer.task not in REPORTS:
        return {region.label for region in answer.regions}
    labels = {label for name in terminology.labels for label in name}
    return labels & set(_topic_of(answer))


def names_without_box(answer: Answer, terminology: Terminology) -> list[str]:
    """Return what a report names that no box can show, beside what one can: a class."""
    if answer.regions or answer.task not in REPORTS:
        return []
    labels = {label for name in terminology.labels for label in name}
    return [name for name in _topic_of(answer) if name not in labels]


def _topic_of(answer: Answer) -> Sequence[str]:
    told = dict(report_sentences.names_in(answer.text, answer.language))
    topic = next((each for each in (Sentence.ABNORMAL, Sentence.PERHAPS, Sentence.SEEN) if each in told), None)
    return told[topic] if topic else ()


@dataclass(frozen=True)
class Thing:
    """What a line may point to: a box of a name, or the name where `box` is None."""

    name: BilingualName
    box: PixelBox | None = None


@dataclass(frozen=True)
class Recalled:
    """What the turns of a conversation amount to.

    `names` are those that it is about, in the order of their first mention, `last` those of the last turn, and `recent`
    those of each turn; `mentioned` are all names, also those that it is no longer about. `boxes` are the regions of a name
    in the last answer that showed them all, `guessed` the boxes that are best guesses. `focus` are the boxes that the last
    answer chose, `things` what an ordinal counts. `missing` are English names that were not found. `kind` is the last kind
    of question. `has_list` tells that the names come from a list of what is visible.
    """

    names: tuple[BilingualName, ...] = ()
    last: tuple[BilingualName, ...] = ()
    recent: tuple[tuple[BilingualName, ...], ...] = ()
    boxes: Mapping[str, tuple[Region, ...]] = field(default_factory=dict)
    guessed: frozenset[PixelBox] = frozenset()
    focus: tuple[Thing, ...] = ()
    things: tuple[Thing, ...] = ()
    missing: frozenset[str] = frozenset()
    mentioned: tuple[BilingualName, ...] = ()
    has_list: bool = False
    kind: Kind = Kind.LOCATE

    def regions(self, name: BilingualName) -> tuple[Region, ...]:
        """Return the known regions of a name; of a structure that a body has once, the best."""
        found = self.boxes.get(name[0], ())
        return found if is_of_many(name[0]) or is_finding(name[0]) else found[:1]


def recall(turns: Sequence[Turn], terminology: Terminology) -> Recalled:
    """Return what the turns amount to, the last one last."""
    mentioned = tuple(_mentioned(turns, terminology))
    recalled = Recalled(mentioned=mentioned)
    by_label = {label: name for name in terminology.labels for label in name}
    order = {name: place for place, name in enumerate(mentioned)}
    for turn in turns:
        recalled = _with_turn(recalled, turn, terminology, by_label, order)
    return recalled


def _mentioned(turns: Sequence[Turn], terminology: Terminology) -> list[BilingualName]:
    return list(dict.fromkeys(name for turn in turns for name in _names_of_turn(turn, terminology)))


def _names_of_turn(turn: Turn, terminology: Terminology) -> list[BilingualName]:
    """Return the names that a turn is about: of a list or of generic words those that were found, else those asked for."""
    found = names_in(turn.answer, terminology) if turn.answer else set()
    names = names_before(turn.request, terminology)
    is_listed = turn.request.task in REPORTS or _is_list(turn.request)
    is_generic = isinstance(turn.request, Asked) and bool(turn.request.intent.generic)
    there = [name for name in (terminology.labels if is_listed else names) if set(name) & found]
    if is_listed and turn.answer:
        places = {label: place for place, label in enumerate(_listed(turn.answer))}
        there.sort(key=lambda name: min(places.get(label, len(places)) for label in name))
    return there if is_listed or (is_generic and there) else names


def _is_list(request: TaskRequest) -> bool:
    return isinstance(request.request if isinstance(request, Asked) else request, VisibleOrgans)


def _with_turn(
    before: Recalled,
    turn: Turn,
    terminology: Terminology,
    by_label: Mapping[str, BilingualName],
    order: Mapping[BilingualName, int],
) -> Recalled:
    """Return what is recalled after one more turn."""
    last, answer = tuple(_names_of_turn(turn, terminology)), turn.answer
    is_of_place = isinstance(turn.request, Chosen) and turn.request.intent.kind is Kind.DISTANCE
    if not last or is_of_place:  # how far it is from a place: the place is no subject
        return before
    names = before.names
    if is_correction(turn.text):
        names = tuple(name for name in names if name not in before.last)
    is_list = _is_list(turn.request) or turn.request.task in REPORTS
    is_new = len(last) > 1 and turn.text and not isinstance(turn.request, Chosen) and not _GOES_ON.search(turn.text)
    is_new = is_new and not set(last) <= set(names) and not isinstance(turn.request, FromBoxes)
    names = last if is_list or is_new else tuple(sorted({*names, *last}, key=order.__getitem__))
    if isinstance(turn.request, Chosen) and turn.request.among is not None:
        names = turn.request.among
    inner = turn.request.request if isinstance(turn.request, Asked) else turn.request
    kind = inner.kind if isinstance(inner, FromBoxes) else Kind.LOCATE
    boxes, guessed, missing = dict(before.boxes), before.guessed, before.missing
    shown = [(by_label[region.label], region) for region in (answer.regions if answer else ()) if region.label in by_label]
    if answer and not turn.is_narrowed:
        guessed |= {region.box for region in answer.regions if answer.is_best_guess(region)}
        for name in dict.fromkeys(name for name, _ in shown):
            boxes[name[0]] = tuple(region for each, region in shown if each == name)
        missing = missing - {name[0] for name, _ in shown} | {
            by_label[each][0] for each in answer.not_found if each in by_label
        }
    now = replace(before, names=names, last=last, boxes=boxes, guessed=guessed, missing=missing, kind=kind)
    now = replace(now, has_list=is_list or (before.has_list and not is_new))
    if turn.is_narrowed:
        return replace(now, focus=tuple(Thing(name, region.box) for name, region in shown))
    recent = (*before.recent, last)
    return replace(now, focus=_compared(turn, shown), recent=recent, things=_things(now, shown, before))


def _compared(turn: Turn, shown: Sequence[tuple[BilingualName, Region]]) -> tuple[Thing, ...]:
    """Return the one of a comparison that its line asks for: "which is smaller?"."""
    order = (turn.answer.facts.get("order") if turn.answer else None) or ()
    is_smaller = asks_for_smaller(turn.text)
    if len(order) < 2 or is_smaller is None:
        return ()
    wanted = order[-1 if is_smaller else 0]
    return tuple(Thing(name, region.box) for name, region in shown if name[0] == wanted)[:1]


def _things(now: Recalled, shown: Sequence[tuple[BilingualName, Region]], before: Recalled) -> tuple[Thing, ...]:
    """Return what an ordinal counts after an answer: its names, where it has several; else the boxes of its name.

    One structure after others is one of those that the conversation named.
    """
    if len(now.last) > 1:
        return tuple(map(Thing, now.last))
    name = now.last[0]
    is_single = not (is_finding(name[0]) or is_of_many(name[0])) and len(shown) < 2
    if is_single and any(thing.name == name and thing.box is None for thing in before.things):
        return before.things
    if is_single and len(now.names) > 1:
        return tuple(map(Thing, now.names))
    return tuple(Thing(name, region.box) for each, region in shown if each == name)


def latest(recalled: Recalled, count: int) -> tuple[BilingualName, ...]:
    """Return the last names of a conversation, as many as `count`; none where the turns do not tell which."""
    if len(recalled.names) == count:
        return recalled.names
    if len(recalled.last) == count:
        return recalled.last
    collected: list[BilingualName] = []
    for turn in reversed(recalled.recent):
        new = [name for name in turn if name not in collected and name in recalled.names]
        collected = [*new, *collected]
        if len(collected) >= count:
            break
    return tuple(collected) if len(collected) == count else ()
