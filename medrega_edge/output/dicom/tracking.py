"""How the objects of one answer name its findings: each by the same UID and the same words in all of them.

A viewer finds by the UID that a line of the report, a segment and a drawn box are one finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from medrega_edge.output.dicom.common import new_uid

_LONGEST = 58  # characters of a label, so that its number has room among 64


class Tracking(NamedTuple):
    """Tracking Unique Identifier and Tracking Identifier of a finding."""

    uid: str
    identifier: str


def tracking_of(labels: Sequence[str]) -> tuple[Tracking, ...]:
    """Make a new one for each finding, by its label; of several findings of a label each has a number, from 1."""
    total, seen = Counter(labels), Counter[str]()
    tracked = []
    for label in labels:
        seen[label] += 1
        name = label[:64] if total[label] == 1 else f"{label[:_LONGEST]} {seen[label]}"
        tracked.append(Tracking(new_uid(), name))
    return tuple(tracked)
