"""How right reports are: their words against references and clinicians' notes, and the regions of each sentence.

A region counts as right in the sentence that it belongs to, under its name, from an IoU of 0.5, one to one.
"""

from __future__ import annotations

from collections.abc import Sequence

from medrega_bench.evaluation.figures import Pair
from medrega_bench.evaluation.results import AnswerRow, FigureSet, ReportFigures
from medrega_bench.evaluation.tables import figures_of, grouped
from medrega_bench.metrics import regions as metrics_regions
from medrega_bench.metrics import text as metrics_text
from medrega_edge.domain import Language


def report_figures(rows: Sequence[AnswerRow]) -> dict[str, ReportFigures]:
    """Measure the reports of each language."""
    reports = [row for row in rows if row.sentences is not None]
    return {language: _of_language(mine, Language(language)) for language, mine in grouped(reports, "language")}


def _of_language(rows: Sequence[AnswerRow], language: Language) -> ReportFigures:
    placed = [(Pair(*pair), row.image) for row in rows for pair in row.sentences or () if any(pair)]
    noted = [row for row in rows if row.note]
    return ReportFigures(
        words=_words(rows, [row.truth for row in rows], language),
        regions=figures_of(metrics_regions.detection([p for p, _ in placed]), [i for _, i in placed]) if placed else None,
        notes=_words(noted, [row.note or "" for row in noted], language) if noted else None,
    )


def _words(rows: Sequence[AnswerRow], truths: Sequence[str], language: Language) -> FigureSet:
    pairs = [Pair(row.answer, truth) for row, truth in zip(rows, truths, strict=True)]
    return figures_of(metrics_text.report(pairs, language), [row.image for row in rows])
