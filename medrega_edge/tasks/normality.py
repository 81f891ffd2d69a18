"""Is the image, or a structure in it, normal: what a report would say, and no yes without a class that says so.

Weights know few findings, so silence of them all is no proof: then the answer is "not sure".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medrega_edge.domain import Language, Task
from medrega_edge.i18n.message import Message
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult, combine
from medrega_edge.tasks.findings import Findings
from medrega_edge.tasks.presence import Presence
from medrega_edge.tasks.reporting import see
from medrega_edge.tasks.sides import may_be_on
from medrega_edge.vocabulary.sites import findings_at
from medrega_edge.vocabulary.terminology import BilingualName

_OF_ALL = ("normal", "benign")  # healthy kidneys tell nothing of the other organs


@dataclass(frozen=True)
class IsNormal(TaskRequest):
    """Tell whether an image, or the `structures` in it, are normal; `others` are structures that are left out."""

    text: str
    structures: tuple[BilingualName, ...] = ()
    others: tuple[BilingualName, ...] = ()

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.REPORT

    @property
    def words(self) -> str:
        """The question."""
        return self.text

    def run(self, context: TaskContext) -> TaskResult:
        """Look for the findings that the model knows in such an image, and for its class."""
        modality = context.image_modality()
        if modality is None:
            return TaskResult(Message("answer.unknown_kind").text(context.language))
        sight = see(context, modality)
        findings = sight.findings
        if self.structures:
            here = findings_at([english for english, _ in self.structures])
            there = [
                one if self._may_be_there(one, context) else replace(one, located=TaskResult(""), confidence=0.0)
                for one in findings.searched
                if one.name[0] in here
            ]
            findings = replace(findings, searched=there, classes=())
        if self.others:
            left_out = {english for english, _ in self.others}
            left_out |= findings_at(left_out)
            findings = replace(findings, searched=[one for one in findings.searched if one.name[0] not in left_out])
        text = ("" if context.language is Language.ZH else " ").join(
            message.text(context.language) for message in self._messages(findings, context.language)
        )
        results = [one.located for one in findings.found]
        return combine([TaskResult("", generations=sight.generations), *results], text)

    def _may_be_there(self, one: Presence, context: TaskContext) -> bool:
        """Whether a finding lies on the side of the structures, where all have one: "is the left lung normal?"."""
        asked = {english.split()[0] for english, _ in self.structures} & {"left", "right"}
        if len(asked) != 1 or not all(english.startswith(("left ", "right ")) for english, _ in self.structures):
            return True
        (side,), width, modality = asked, context.geometry.width, context.image_modality()
        boxes = [context.geometry.to_pixels(each.box) for each in one.located.detections]
        places = [(box.x1 + box.x2) / 2 / width for box in boxes]
        return not places or any(may_be_on(side, place, context.sides, modality) for place in places)

    def _messages(self, findings: Findings, language: Language) -> list[Message]:
        column = language is Language.ZH
        found = _shown([*_names(findings.found), *findings.abnormal_classes], column)
        perhaps = _shown([*_names(findings.perhaps), *findings.perhaps_classes], column)
        normal = findings.normal_class
        if normal and (found or perhaps):
            return [Message("answer.contradiction", label=normal.name[column], names=[*found, *perhaps])]
        if found:
            also = [Message("answer.perhaps", names=perhaps)] if perhaps else []
            return [Message("answer.abnormal", names=found), *also]
        if perhaps:
            return [Message("answer.perhaps_abnormal", names=perhaps)]
        if normal:
            return [Message("answer.normal_class", label=normal.name[column])]
        if findings.searched:
            unclear = _shown([one.name for one in findings.searched if one.is_perhaps], column)
            absent = [name for name in _shown(_names(findings.searched), column) if name not in unclear]
            told = [Message("answer.no_known_finding", names=absent)] if absent else []
            return [*told, *([Message("answer.unclear", names=unclear)] if unclear else [])]
        of_all = (one for one in findings.classes if one.is_normal and one.name[0].startswith(_OF_ALL))
        if likely := [one.name for one in of_all]:
            return [Message("answer.perhaps_class", names=_shown(likely, column))]
        if findings.denials:
            return [Message("answer.denials_only", names=_shown([one.name for one in findings.denials], column))]
        return [Message("answer.knows_no_finding")]


def _names(found: Sequence[Presence]) -> list[BilingualName]:
    return [one.name for one in found]


def _shown(names: Sequence[BilingualName], column: bool) -> list[str]:
    return [name[column] for name in names]
