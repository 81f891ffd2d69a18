"""What the queue of the node hands out and takes: instances, rounds of a study, jobs, deliveries."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from medrega_edge.node.made import MadeObject


class Outcome(Enum):
    """What became of an instance that a peer sent. All but ADDED leave the queue as it was."""

    ADDED = "added"
    KNOWN = "known"  # received before, with the same data set
    CONFLICT = "conflict"  # another data set under the UID of one that was received before
    FULL = "full"  # a limit of the configuration is reached


@dataclass(frozen=True)
class Instance:
    """A received instance. `sha256` is that of the whole file at `path`; a text that the header lacks is ""."""

    sop_uid: str
    sop_class: str
    study_uid: str
    series_uid: str
    modality: str
    body_part: str
    description: str  # of the series
    sha256: str
    path: Path
    peer: str
    id: int = 0  # in the queue


@dataclass(frozen=True)
class Round:
    """What came of a study until it was complete. Instances that come later make a further round, counted from 1.

    `earlier` are those of the same series that earlier rounds had. The file of one may have been deleted by rule; then
    its SOP Instance UID is "".
    """

    study_uid: str
    number: int
    instances: tuple[Instance, ...]
    earlier: tuple[Instance, ...] = ()


@dataclass(frozen=True)
class NewJob:
    """Instances that the rule named `rule` answers as one: of a round, and, of a volume, of the rounds before it."""

    rule: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Job:
    """A job to answer. `attempts` counts this one too."""

    id: int
    rule: str
    study_uid: str
    round: int
    attempts: int
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class Delivery:
    """The results of a job for one peer. `attempts` failed before, and `failures` of this peer since its last success."""

    id: int
    job: int
    peer: str
    study_uid: str
    attempts: int
    failures: int
    objects: tuple[MadeObject, ...]


@dataclass(frozen=True)
class Counts:
    """What the queue holds at this moment, and, from `received` on, what was counted since its folder was made.

    `held_bytes` are those of received images and results. `oldest_job` and `oldest_delivery` are the seconds for which the
    oldest of those that wait has been waiting; 0 without one.
    """

    studies_open: int
    instances_open: int
    instances_held: int
    held_bytes: int
    jobs_waiting: int
    jobs_rejected: int
    deliveries_waiting: int
    deliveries_rejected: int
    oldest_job: float
    oldest_delivery: float
    received: int
    known: int
    conflicts: int
    refused: int
    unmatched: int
    answered: int
    delivered: int
    dropped: int

    def to_dict(self) -> dict[str, Any]:
        """The counts for JSON."""
        return asdict(self)
