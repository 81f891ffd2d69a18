"""A question as it was understood: its answer carries the kind, the names, and what it does not regard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from medrega_edge.answer import GUESSED_CLASSES, OTHER_CLASS, Answer, Region, is_doubt
from medrega_edge.boxes import iou
from medrega_edge.domain import Language, Task
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Intent, Kind
from medrega_edge.prompts.intent.naming import without_side
from medrega_edge.prompts.templates import sentence_of_regions
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult
from medrega_edge.tasks.classes import CERTAIN_CLASS
from medrega_edge.tasks.derived import DERIVATIONS, SAME_PLACE, FromBoxes, area, between_centres
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.left_out import is_of_class, is_outside_choice
from medrega_edge.tasks.presence import absence, joined, of_name, shown
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.sides import has_sides, located_on_side, on_side, with_side_said
from medrega_edge.vocabulary.generic_words import generic_labels
from medrega_edge.vocabulary.kind_names import KIND_NAMES
from medrega_edge.vocabulary.label_kinds import is_finding, is_of_many
from medrega_edge.vocabulary.terminology import BilingualName
from medrega_edge.vocabulary.wording import superlative

_CLOSE = 0.2  # difference of the confidences of labels that may be meant as well
_ONE_OF_MANY = (Kind.LOCATE, Kind.SEGMENT, Kind.MEASURE, Kind.SIDE)


@dataclass(frozen=True)
class Asked(TaskRequest):
    """A question as it was understood: it is answered by `request`, and the answer carries its intent.

    `place` is a part of a structure that it speaks of and no name has: "upper jaw". `kind_word` is a word for one kind of a
    finding, "flat", and the finding, "polyp": boxes do not tell kinds. `classes_unknown` are those that it names beside the
    ones that the weights tell apart. `notes` are further warnings.
    """

    text: str
    intent: Intent
    request: TaskRequest
    place: str = ""
    kind_word: tuple[str, str] | None = None
    classes_unknown: tuple[str, ...] = ()
    notes: tuple[Message, ...] = ()

    @property
    def task(self) -> Task:
        """Kind of task that answers it."""
        return self.request.task

    @property
    def words(self) -> str:
        """The question, in the words in which the weights get it where words answer it."""
        return self.request.words if self.request.task is Task.VQA else self.text

    @property
    def wants_masks(self) -> bool:
        """Whether the engine adds a mask to each box."""
        return self.request.wants_masks

    def run(self, context: TaskContext) -> TaskResult:
        """Answer it; raises UsageError as the request does."""
        result = self.request.run(context)
        names = self.intent.unknown if self.task is Task.DETECT else ()
        unknown = (
            *(Message("task.unknown_beside", name=name) for name in names),
            *([Message("task.place_left_out", place=self.place)] if self.place else []),
            *([Message("task.kind_left_out", word=self.kind_word[0], name=self.kind_word[1])] if self.kind_word else []),
            *(Message("task.class_unknown", name=name) for name in self.classes_unknown),
            *self.notes,
            *self._not_answered(context.language),
        )
        return replace(result, warnings=(*unknown, *result.warnings))

    def with_masks(self) -> Asked:
        """Return the question with masks of what it locates."""
        request = self.request
        if isinstance(request, FromBoxes):
            return replace(self, request=replace(request, masks=True))
        return replace(self, request=Segment(request.names)) if isinstance(request, Detect) else self

    def about_found(self, before: Answer) -> Asked:
        """Return the question about those of its names that the answer before found, where it searched for all of them."""
        column = before.language is Language.ZH
        names = tuple(name for name in self.intent.names if before.best_confidence(name[column]) > 0)
        is_about_them = all(name[column] in before.searched for name in self.intent.names)
        if not is_about_them or not names:
            return self
        request = self.request
        if isinstance(request, FromBoxes):
            request = replace(request, names=names)
        elif isinstance(request, Detect | Segment):
            request = replace(request, names=[english for english, _ in names])
        return replace(self, intent=replace(self.intent, names=names), request=request)

    def _not_answered(self, language: Language) -> list[Message]:
        """Say what else the text asks: one answer is of one kind."""
        kinds = [KIND_NAMES[kind].text(language) for kind in self.intent.also_asked]
        return [Message("task.also_asked", kinds=kinds)] if kinds else []

    def finish(self, answer: Answer) -> Answer:
        """Add the intent, what had to be guessed, and the line that says so."""
        is_largest = superlative(self.text) if self.intent.kind in _ONE_OF_MANY else None
        of_many = answer
        if is_largest is not None:
            of_many = _comparable(answer, [shown(name, answer) for name in self.intent.names if is_of_many(name[0])])
            answer = _extreme(of_many, is_largest, self._alike_labels(answer))
        if self.intent.kind in (Kind.LOCATE, Kind.SEGMENT, Kind.COUNT) and answer.task is Task.DETECT:
            is_number = self.intent.kind is Kind.COUNT
            answer = _with_more(answer, [name for name in self.intent.names if is_number or is_of_many(name[0])])
        if self.intent.side and isinstance(self.request, FromBoxes):
            answer = on_side(answer, self.intent.side)
        elif self.intent.side and isinstance(self.request, Detect):
            answer = located_on_side(answer, self.intent.side, self.intent.names)
        answer = self._finished(answer)
        if is_largest is not None and self.intent.kind not in (Kind.MEASURE, Kind.SIDE):
            answer = replace(
                answer,
                text=joined(
                    [*filter(None, [answer.text]), *_told_extremes(of_many, answer, is_largest, self._alike_labels(answer))],
                    answer,
                ),
            )
        classes = [label.label for label in answer.labels]
        is_outside = answer.task is Task.CLASSIFY and bool(classes) and is_outside_choice(self.text, classes)
        if is_outside and not self.classes_unknown:
            answer = replace(answer, warnings=(*answer.warnings, Message("task.outside_choice")))
        is_doubted = (
            bool(self.classes_unknown) or is_outside or any(each.code in GUESSED_CLASSES for each in answer.warnings)
        )
        is_likely = not is_doubted and all((label.confidence or 1) >= CERTAIN_CLASS for label in answer.labels)
        if answer.task is Task.CLASSIFY and answer.labels and not is_likely:
            answer = replace(answer, text=Message("answer.perhaps_class", names=classes).text(answer.language))
        if self.intent.side and self.intent.kind in (Kind.PRESENCE, Kind.COUNT) and answer.task is Task.DETECT:
            if has_sides(answer.image):  # "any stone in the left kidney? in the right?"
                answer = replace(answer, text=with_side_said(answer.text, self.intent.side, answer.language))
        labels = {region.label for region in answer.regions}
        told = (each for each in answer.warnings if not is_doubt(each) or each.params.get("name") in (None, *labels))
        return self.understood(replace(answer, warnings=tuple(told)))  # of generic words, only what is there

    def understood(self, answer: Answer) -> Answer:
        """Return an answer with how the question was understood."""
        facts: dict[str, Any] = {}
        if self.intent.names and answer.task is Task.DETECT:
            facts["names"] = [english for english, _ in self.intent.names]
        if self.intent.generic:
            facts["generic"] = list(self.intent.generic)
        if self.intent.typos:
            facts["typos"] = dict(self.intent.typos)
        warned = " ".join(warning.text(answer.language) for warning in answer.warnings).casefold()
        is_class = answer.task is Task.CLASSIFY
        aside = [word for word in self.intent.aside if word not in warned and not (is_class and is_of_class(word))]
        if aside:
            facts["not_regarded"] = aside
        reading = self._reading(answer.language, aside)
        return replace(answer, intent=self.intent.kind, facts=facts | dict(answer.facts), reading=reading)

    def _alike_labels(self, answer: Answer) -> Mapping[str, str]:
        """Labels -> the one word that all of them are asked for by: of "the largest cell" there is one."""
        if len(self.intent.generic) != 1 or len(self._generic_names) < max(len(self.intent.names), 2):
            return {}
        return {shown(name, answer): self.intent.generic[0] for name in self.intent.names}

    @property
    def _generic_names(self) -> list[BilingualName]:
        """Those of its names that a generic word stands for."""
        return [name for name in self.intent.names if name[0] in self.intent.meant]

    def _of_one(self, answer: Answer) -> Answer:
        """Finish a distance or a comparison in which a word stands for several names: one of them counts.

        Of those that a generic word stands for it is the one with the most certain box, of a pair of organs the nearer one.
        """
        column, names = answer.language is Language.ZH, self.intent.names
        for word in self.intent.generic:
            meant = [name for name in names if name[0] in generic_labels(word)]
            if len(meant) > 1:
                names = _with_one_of(names, meant, max(meant, key=lambda name: answer.best_confidence(name[column])))
        pair = [name for name in names if name[0] != without_side(name[0])]
        if len(names) > 2 and pair:
            boxes = [found[0].box for name in names if name not in pair and (found := of_name(answer, name))]
            there = [name for name in pair if of_name(answer, name)] or pair[:1]
            nearer = min(there, key=lambda name: between_centres(boxes[0], of_name(answer, name))) if boxes else there[0]
            names = _with_one_of(names, pair, nearer)
        assert isinstance(self.request, FromBoxes)
        return replace(self.request, names=names).finish(answer)

    def _finished(self, answer: Answer) -> Answer:
        """Finish the request; of the labels of a generic word, each place has one, and only labels that are there count."""
        request, kind = self.request, self.intent.kind
        words = [*map(generic_labels, self.intent.generic)]
        is_of_two = 0 < len(self._generic_names) < len(self.intent.names) or len(words) > 1
        is_compared = kind is Kind.COMPARE and is_of_two
        has_many = len(self.intent.names) > 2 and (is_compared or kind is Kind.DISTANCE)
        if has_many and answer.task is Task.DETECT:
            return self._of_one(answer)
        words += [frozenset(self.intent.alike)] if self.intent.alike else []
        is_generic = words and len(self.intent.names) > 1 and kind not in (Kind.COMPARE, Kind.DISTANCE)
        if not is_generic or answer.task is not Task.DETECT:
            return request.finish(answer)
        column = answer.language is Language.ZH
        others: list[str] = []
        for meant in words:  # one by one: a tumor is no answer to "any stones?"
            findings = {name[column] for name in self.intent.names if is_finding(name[0]) and name[0] in meant}
            answer, more = _one_label_a_place(answer, findings)
            others += more
        present = tuple(name for name in self.intent.names if of_name(answer, name))
        absent = self._absent_beside(present) if present else ()
        if isinstance(request, FromBoxes):
            answer = replace(request, names=(*present, *absent) or request.names).finish(answer)
        elif present:
            labels = list(dict.fromkeys(region.label for region in answer.regions))
            answer = request.finish(replace(answer, text=sentence_of_regions(labels, answer.language)))
            answer = replace(answer, text=joined([answer.text, *absence(dict.fromkeys(absent, []), answer)], answer))
        else:
            answer = replace(answer, text=joined(absence(dict.fromkeys(self.intent.names, []), answer), answer))
        if not (others and answer.regions):
            return answer
        return replace(answer, text=joined([answer.text, Message("answer.could_be", names=others)], answer))

    def _absent_beside(self, present: Sequence[BilingualName]) -> tuple[BilingualName, ...]:
        """Return what is asked for beside what is there: the names that no generic word means, and generic words."""
        there = {name[0] for name in present}
        named = (name for name in self.intent.names if name[0] not in self.intent.meant | there)
        searched = {name[0] for name in self.intent.names}
        words = (
            word for word in self.intent.generic if searched & generic_labels(word) and not there & generic_labels(word)
        )
        return (*named, *((word, word) for word in words))

    def _reading(self, language: Language, aside: Sequence[str]) -> str:
        kind, intent = KIND_NAMES[self.intent.kind].text(language), self.intent
        names = [name[language is Language.ZH] for name in intent.names] if self.task is Task.DETECT else []
        parts = [Message("output.labelled", label=kind, value=names).text(language) if names else kind]
        asked = {english for english, _ in intent.names}
        meant = [word for word in intent.generic if names and len(asked & generic_labels(word)) > 1]
        parts += [Message("answer.generic", word=word).text(language) for word in meant]
        parts += [Message("answer.typo", typed=old, meant=new).text(language) for old, new in intent.typos.items()]
        if intent.kind is Kind.IDENTIFY and self.task is Task.REPORT:
            parts.append(Message("answer.whole_image").text(language))
        if aside:
            parts.append(Message("answer.aside", words=[*aside]).text(language))
        return " · ".join(parts)


def _one_label_a_place(answer: Answer, findings: Collection[str]) -> tuple[Answer, list[str]]:
    """Leave the most certain of findings that lie on one another, and no best guess beside what is there.

    Returns the answer, and the labels of others that are nearly as certain.
    """
    guesses = answer.best_guesses
    of_other_class = [warning.params["name"] for warning in answer.warnings if warning.code == OTHER_CLASS]

    def rank(region: Region) -> tuple[bool, bool, float]:
        return region.label in guesses, region.label in of_other_class, -(region.confidence or 0)

    ranked = sorted(answer.regions, key=rank)
    is_clear = any(region.label in findings and region.label not in guesses for region in ranked)
    kept: list[Region] = []
    others: dict[str, None] = {}
    for region in ranked:
        same = next((one for one in kept if iou(one.box, region.box) >= SAME_PLACE and one.label in findings), None)
        if region.label not in findings or (same is None and not (is_clear and region.label in guesses)):
            kept.append(region)
        elif same and (same.confidence or 0) - (region.confidence or 0) <= _CLOSE and region.label != same.label:
            others[region.label] = None
    labels = {region.label for region in kept}
    return replace(answer, regions=tuple(kept)), [label for label in others if label not in labels]


def _with_more(answer: Answer, names: Sequence[BilingualName]) -> Answer:
    """Warn that of findings, and of what images show many of, some may be missing."""
    many = [shown(name, answer) for name in names if (is_of_many(name[0]) or is_finding(name[0])) and of_name(answer, name)]
    told = [Message("task.may_be_more", names=many)] if many else []
    return replace(answer, warnings=(*answer.warnings, *told))


def _with_one_of(
    names: Sequence[BilingualName], many: Collection[BilingualName], one: BilingualName
) -> tuple[BilingualName, ...]:
    return (*(name for name in names if name not in many), one)


def _comparable(answer: Answer, many: Collection[str]) -> Answer:
    """Leave out best guesses beside better boxes of a label, but for those that images show `many` of: cells."""
    sure = {region.label for region in answer.regions if not answer.is_best_guess(region)} - {*many}
    there = tuple(each for each in answer.regions if each.label not in sure or not answer.is_best_guess(each))
    return replace(answer, regions=there)


def _extreme(answer: Answer, is_largest: bool, words: Mapping[str, str]) -> Answer:
    """Leave the largest, or smallest, region of each label, or of all labels of a word."""
    chosen: dict[str, Region] = {}
    for region in answer.regions:
        name = words.get(region.label, region.label)
        other = chosen.get(name)
        is_larger = other is not None and area(region.box, answer.image) > area(other.box, answer.image)
        chosen[name] = region if other is None or is_larger is is_largest else other
    return replace(answer, regions=tuple(region for region in answer.regions if region in chosen.values()))


def _told_extremes(of_many: Answer, answer: Answer, is_largest: bool, words: Mapping[str, str]) -> list[Message]:
    """Say which of several boxes of a label, or of a word for several, the largest, or smallest, is."""
    counts = Counter(words.get(region.label, region.label) for region in of_many.regions)
    messages = []
    for region in answer.regions:
        name = words.get(region.label, region.label)
        count, box = counts[name], ", ".join(f"{edge:.0f}" for edge in region.box)
        if count > 1 and is_largest:
            messages.append(Message("answer.largest_box", name=name, count=count, box=box))
        elif count > 1:
            messages.append(Message("answer.smallest_box", name=name, count=count, box=box))
    return messages


def going_on(text: str, kind: Kind, names: Sequence[BilingualName]) -> Asked | None:
    """Return the request of a question that takes its names from the last one; None for a kind that boxes do not answer."""
    if kind is not Kind.PRESENCE and kind not in DERIVATIONS:
        return None
    return Asked(text, Intent(kind, tuple(names)), FromBoxes(kind, tuple(names)))
