"""How right reports are: their words against references and clinicians' notes, and the regions of each sentence.

Knows rows of the suite; knows no package. A region counts as right in the sentence that it belongs to, under its name, from
an IoU of 0.5, one to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medrega_bench.evaluation.figures import Pair
from medrega_bench.evaluation.tables import figures_of, grouped
from medrega_bench.metrics import regions as metrics_regions
from medrega_bench.metrics import text as metrics_text
from medrega_edge.domain import Language

Row = dict[str, Any]


def report_figures(rows: Sequence[Row]) -> dict[str, Row]:
    """Figures per language: "words", "regions" of the sentences, and "notes" where clinicians wrote some."""
    made: dict[str, Row] = {}
    for language, mine in grouped([row for row in rows if "sentences" in row], "language"):
        made[language] = {"words": _words(mine, [row["truth"] for row in mine], language)}
        placed = [(Pair(*pair), row["image"]) for row in mine for pair in row["sentences"] if any(pair)]
        if placed:
            pairs, images = zip(*placed, strict=True)
            made[language]["regions"] = figures_of(metrics_regions.detection(pairs), images)
        noted = [row for row in mine if row["note"]]
        if noted:
            made[language]["notes"] = _words(noted, [row["note"] for row in noted], language)
    return made


def _words(rows: Sequence[Row], truths: Sequence[str], language: str) -> Row:
    pairs = [Pair(row["answer"], truth) for row, truth in zip(rows, truths, strict=True)]
    return figures_of(metrics_text.report(pairs, Language(language)), [row["image"] for row in rows])
