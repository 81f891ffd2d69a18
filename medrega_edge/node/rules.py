"""Which rule asks about which instances of a study: jobs, and a count of what nothing is asked about, by the reason.

Results of this program come back where an archive forwards whole studies. They are never asked about: a picture with our
marks would be answered again, and its answer again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pydicom.uid import UID

from medrega_edge.domain import NOTICE
from medrega_edge.images.dicom import series
from medrega_edge.node.config import Rule
from medrega_edge.node.records import Instance, NewJob

_IMAGES = "Image Storage"  # in the name of the standard's classes for images


class LeftOut(Enum):
    """Why nothing is asked about an instance."""

    OWN = "own"  # a result of this program
    NO_IMAGE = "no_image"
    NO_RULE = "no_rule"


@dataclass(frozen=True)
class Plan:
    """The jobs of a round, and how many of its instances are in none, for each reason (0 among them)."""

    jobs: tuple[NewJob, ...]
    left_out: Mapping[LeftOut, int]


def jobs_of(instances: Sequence[Instance], rules: Sequence[Rule]) -> list[NewJob]:
    """Return the jobs of `plan_of`."""
    return list(plan_of(instances, rules).jobs)


def plan_of(instances: Sequence[Instance], rules: Sequence[Rule], earlier: Sequence[Instance] = ()) -> Plan:
    """Find the first rule that fits each image, and make its jobs: one an instance, or one a series as volume.

    `earlier` are the instances of the study that earlier rounds had: a series as volume is asked as a whole again where
    slices of it came late, because those alone would tell a wrong volume. Reads the header of every file.
    """
    left_out = Counter(dict.fromkeys(LeftOut, 0))
    jobs: list[NewJob] = []
    volumes: dict[tuple[str, str], list[Instance]] = {}  # by rule and series
    for instance in instances:
        reason, rule = _rule_of(instance, rules)
        if reason is not None:
            left_out[reason] += 1
        elif rule is not None and rule.volume:
            volumes.setdefault((rule.name, instance.series_uid), []).append(instance)
        elif rule is not None:
            jobs.append(NewJob(rule.name, (instance,)))
    by_name = {rule.name: rule for rule in rules}
    for (name, uid), late in volumes.items():
        before = [one for one in earlier if one.series_uid == uid and _fits(by_name[name], one)]
        jobs.append(NewJob(name, (*before, *late)))
    return Plan(tuple(jobs), left_out)


def _rule_of(instance: Instance, rules: Sequence[Rule]) -> tuple[LeftOut | None, Rule | None]:
    """The rule that asks about an instance, or why none does."""
    reason = _no_picture(instance)
    rule = next((rule for rule in rules if _fits(rule, instance)), None)
    if reason is not None:
        return reason, None
    return (LeftOut.NO_RULE, None) if rule is None else (None, rule)


def _no_picture(instance: Instance) -> LeftOut | None:
    """Why an instance is no picture to ask about. A damaged image is one: its job tells what is wrong with it."""
    if NOTICE in instance.description:  # an archive may have put its own maker in
        return LeftOut.OWN
    reason = series.why_left_out(instance.path)
    if reason is series.LeftOut.OWN:
        return LeftOut.OWN
    if reason is None:
        return None
    is_image = reason is not series.LeftOut.NO_PICTURE and _IMAGES in UID(instance.sop_class).name
    return None if is_image else LeftOut.NO_IMAGE


def _fits(rule: Rule, instance: Instance) -> bool:
    """Whether an instance is what a rule is about; the case of letters does not matter."""
    asked = ((rule.modality, instance.modality), (rule.body_part, instance.body_part))
    if any(wanted and not _is_among(wanted, stated) for wanted, stated in asked):
        return False
    return re.search(rule.description, instance.description, re.IGNORECASE) is not None


def _is_among(wanted: Sequence[str], stated: str) -> bool:
    return stated.strip().casefold() in _plain(wanted)


def _plain(words: Sequence[str]) -> Iterator[str]:
    return (word.strip().casefold() for word in words)
