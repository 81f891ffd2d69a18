"""What is abnormal in an image: findings that are located, and the classes that it has.

Reports and questions whether an image is normal word these facts, and `locate` and "is there" the same boxes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from medrega_edge.answer import LIKELY
from medrega_edge.boxes import iou
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.tasks.base import TaskContext
from medrega_edge.tasks.classes import decide, is_certain
from medrega_edge.tasks.organs import expected
from medrega_edge.tasks.presence import Presence, look_for
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import DENIED_BY, FINDINGS, LABEL_SETS, LabelSet
from medrega_edge.vocabulary.terminology import BilingualName

_SAME_PLACE = 0.5  # IoU of the best boxes of two findings from which on they have one place
_NEARLY_AS_LIKELY = 0.2  # difference of their confidences
_POSSIBLE_CLASS = 0.5  # and from which on it may be


@dataclass(frozen=True)
class ImageClass:
    """A class of an image: its name, its probability, whether it says that the image is normal, and whether it is stated."""

    name: BilingualName
    probability: float
    is_normal: bool
    is_certain: bool

    @property
    def is_denial(self) -> bool:
        """Whether it denies one disease only: an eye without one may have another."""
        return self.name[0].startswith("no ")


@dataclass(frozen=True)
class Findings:
    """`searched` findings, each with its boxes, the classes of the image, and the names that the weights propose.

    Where the image is unlike all that the weights know (`is_unfamiliar`), no class is stated.
    """

    searched: Sequence[Presence]
    classes: Sequence[ImageClass]
    proposed: Collection[str]
    is_unfamiliar: bool = False

    @property
    def found(self) -> list[Presence]:
        """The findings that are said to be there."""
        return [one for one in self.searched if one.is_found]

    @property
    def perhaps(self) -> list[Presence]:
        """The findings with a likely box that does not prove them, and those that the weights propose; the likeliest first.

        Where several have a place, the others are named only if they are nearly as likely.
        """
        likely = [one for one in self.searched if one.is_perhaps and (one.confidence >= LIKELY or self._proposes(one))]
        chosen: list[Presence] = []
        for one in sorted(likely, key=lambda one: -one.confidence):
            other = next((each for each in (*self.found, *chosen) if _have_one_place(each, one)), None)
            if other is None or other.confidence - one.confidence <= _NEARLY_AS_LIKELY:
                chosen.append(one)
        return chosen

    @property
    def abnormal_classes(self) -> list[BilingualName]:
        """The classes that say that something is abnormal, and are certain."""
        if self.is_unfamiliar:
            return []
        return list(dict.fromkeys(one.name for one in self._ill if one.is_certain))  # two sets may hold it

    @property
    def perhaps_classes(self) -> list[BilingualName]:
        """The classes that say so, and are rather right than wrong, or proposed."""
        stated = self.abnormal_classes
        likely = [one for one in self._ill if one.probability >= _POSSIBLE_CLASS or self._proposes(one)]
        return list(dict.fromkeys(one.name for one in likely if one.name not in stated))

    @property
    def normal_class(self) -> ImageClass | None:
        """The class that says that the image is normal, where it is certain."""
        certain = (one for one in self.classes if one.is_normal and one.is_certain and not one.is_denial)
        return None if self.is_unfamiliar else next(certain, None)

    @property
    def denials(self) -> list[ImageClass]:
        """The classes that deny one disease each; none of an image unlike all that the weights know."""
        return [] if self.is_unfamiliar else [one for one in self.classes if one.is_denial]

    @property
    def _ill(self) -> list[ImageClass]:
        return [one for one in self.classes if not one.is_normal]

    def _proposes(self, one: Presence | ImageClass) -> bool:
        return one.name[0] in self.proposed


def _have_one_place(a: Presence, b: Presence) -> bool:
    boxes = [max(one.located.detections, key=lambda each: each.score or 0).box for one in (a, b) if one.located.detections]
    return len(boxes) == 2 and iou(*boxes) >= _SAME_PLACE


def gather(context: TaskContext, modality: Modality, part: str | None, proposed: Collection[str]) -> Findings:
    """Look for the findings that such images had in the training data, and for those that a report proposes.

    `part` is the body part as reports name it. Raises UsageError as `run` does.
    """
    known = dict(context.terminology.labels)
    names = [name for name in expected(context) if is_finding(name[0])]
    names += [(each, known[each]) for each in proposed if each in known and is_finding(each)]
    # Of 47 findings that no image like this one had in the training data, and that val images were said to have perhaps,
    # none was there; of 153 others 83 were (2026-11-30, CT, MRI, X-ray and ultrasound).
    familiar = (name for name in dict.fromkeys(names) if not context.is_unfamiliar_name(name[0]))
    searched = [look_for(context, name) for name in familiar]
    return Findings(searched, list(_classes(context, modality, part, proposed)), proposed, context.is_unfamiliar())


def _classes(context: TaskContext, modality: Modality, part: str | None, proposed: Collection[str]) -> Iterator[ImageClass]:
    if Task.CLASSIFY not in context.prompts.templates:
        return
    located = {english for english, _ in context.terminology.labels}
    for label_set in LABEL_SETS.values():
        names = label_set.names(Language.EN)
        normal = [name for name in names if name not in FINDINGS]
        is_proposed = any(name in proposed for name in names if name not in located)
        is_tissue = modality is Modality.PATHOLOGY and not context.is_unfamiliar_name(names[0])  # has no body part
        if modality not in label_set.modalities or not (is_proposed or (normal and (is_tissue or _is_for(label_set, part)))):
            continue
        decision = decide(context, label_set)
        is_stated = is_certain(context, label_set, decision)
        for index in decision.chosen:
            chosen = label_set.labels[index]
            if chosen[0] in normal:
                yield ImageClass(chosen, decision.probability, True, is_stated)
            elif chosen[0] not in located and (normal or chosen[0] in proposed):
                yield ImageClass(chosen, decision.probability, False, is_stated)
    for name in proposed:
        denied = DENIED_BY.get(name)
        if name in FINDINGS and not any(name in each.names(Language.EN) for each in LABEL_SETS.values()):
            denials = [each for each in LABEL_SETS.values() if denied in each.names(Language.EN)]
            stated = [each.names(Language.EN)[index] for each in denials for index in decide(context, each).chosen]
            if denied not in stated:
                yield ImageClass((name, FINDINGS[name]), 0.0, False, False)


def _is_for(label_set: LabelSet, part: str | None) -> bool:
    """Whether a set tells normal from abnormal in images of a body part: one that it names, or the eye."""
    return not label_set.multiple and (part in label_set.parts or (not label_set.parts and part == "eye"))
