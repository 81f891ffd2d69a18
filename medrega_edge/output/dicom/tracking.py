"""How the objects of one answer name its findings: each by the same UID, words and code in all of them.

A viewer finds by the UID that a line of the report, a segment and a drawn box are one finding. The code is that of the
English name, also where the answer is in Chinese.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.sr.coding import Code

from medrega_edge.answer import Answer
from medrega_edge.output.dicom.common import SCHEME, new_uid
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.terminology import term_of
from medrega_edge.volumes.answer import VolumeAnswer

_LONGEST = 58  # characters of a label, so that its number has room among 64


@dataclass(frozen=True)
class Tracking:
    """Tracking Unique Identifier and Tracking Identifier of a finding, its label in the answer, and its English name."""

    uid: str
    identifier: str
    label: str
    english: str

    @property
    def code(self) -> Code:
        """The SNOMED CT code of the name where the terminology has one, else one of our own, whose meaning is the label."""
        term = term_of(self.english)
        if term is None or term.snomed is None:
            return Code(hashlib.sha256(self.english.encode()).hexdigest()[:16], SCHEME, self.label[:64])
        return Code(term.snomed, "SCT", term.en)

    @property
    def is_abnormal(self) -> bool:
        """Whether it is a finding, and no part of the anatomy."""
        term = term_of(self.english)
        return is_finding(self.english if term is None else term.en)


class Tracked(NamedTuple):
    """The regions of an answer, in their order, and the names that were searched for and have none."""

    regions: tuple[Tracking, ...]
    absent: tuple[Tracking, ...]


def track(answer: Answer | VolumeAnswer, english: Mapping[str, str]) -> Tracked:
    """Give each finding of an answer a new number; `english` has the English names of labels that are in Chinese."""
    absent = answer.not_found if isinstance(answer, Answer) else answer.absent
    return Tracked(_numbered([region.label for region in answer.regions], english), _numbered(absent, english))


def _numbered(labels: Sequence[str], english: Mapping[str, str]) -> tuple[Tracking, ...]:
    total, seen = Counter(labels), Counter[str]()
    found = []
    for label in labels:
        seen[label] += 1
        name = label[:64] if total[label] == 1 else f"{label[:_LONGEST]} {seen[label]}"
        found.append(Tracking(new_uid(), name, label, english.get(label, label)))
    return tuple(found)
