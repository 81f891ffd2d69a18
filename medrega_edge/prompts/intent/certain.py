"""Questions whose kind their words tell for certain: the rows of `certain.json`, whose order counts.

A row has a kind, the `reason` of an impossible one, what it `needs`, and a pattern of `said`, names as marks, or of the
`whole` question; `#` is a mark. `unless` is a pattern of the whole question that tells otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from medrega_edge.prompts.intent.facts import Facts
from medrega_edge.prompts.intent.kinds import Kind
from medrega_edge.vocabulary.generic_words import MARK
from medrega_edge.vocabulary.label_kinds import is_finding, is_of_many

_NEEDS: Mapping[str, Callable[[Facts], bool]] = {
    "name": lambda facts: facts.has_name,
    "no name": lambda facts: not facts.has_name,
    "names": lambda facts: bool(facts.names),
    "no names": lambda facts: not facts.names,
    "two names": lambda facts: len(facts.names) > 1,
    "findings": lambda facts: bool(facts.names) and all(is_finding(name[0]) for name in facts.names),
    "no findings": lambda facts: not any(is_finding(name[0]) for name in facts.names),
    "structures": lambda facts: bool(facts.names) and not any(is_finding(name[0]) for name in facts.names),
    "of many": lambda facts: any(is_of_many(name[0]) for name in facts.names),
    "no box": lambda facts: not facts.has_box,
    "no locate": lambda facts: not facts.has("locate"),
    "no outline": lambda facts: not facts.has("outline"),
}


class _Row(NamedTuple):
    kind: Kind
    reason: str | None
    needs: Sequence[Callable[[Facts], bool]]
    is_whole: bool
    pattern: re.Pattern[str]
    unless: re.Pattern[str] | None

    def fits(self, facts: Facts) -> bool:
        text = facts.whole if self.is_whole else facts.said
        if self.pattern.search(text) is None or not all(needs(facts) for needs in self.needs):
            return False
        return self.unless is None or self.unless.search(facts.whole) is None


def certain_kind(part: str, facts: Facts) -> tuple[Kind, str | None] | None:
    """Return the kind that the first row of a part of the table tells, and why it is impossible; None where none fits."""
    return next(((row.kind, row.reason) for row in _rows()[part] if row.fits(facts)), None)


@cache
def _rows() -> Mapping[str, Sequence[_Row]]:
    table = json.loads(files("medrega_edge.prompts.intent").joinpath("certain.json").read_text(encoding="utf-8"))
    return {part: [_row(row) for row in rows] for part, rows in table.items()}


def _row(row: Mapping[str, str]) -> _Row:
    pattern, unless = (
        re.compile(text.replace("#", MARK)) for text in (row.get("said") or row["whole"], row.get("unless", ""))
    )
    needs = [_NEEDS[need] for need in row.get("needs", ())]
    return _Row(Kind(row["kind"]), row.get("reason"), needs, "whole" in row, pattern, unless if "unless" in row else None)
