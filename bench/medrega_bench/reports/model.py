"""What a report is made of: sections of tables, charts and pictures."""

from __future__ import annotations

from dataclasses import dataclass

from medrega_bench.reports.charts import Chart
from medrega_edge.domain import Language


@dataclass(frozen=True)
class Table:
    """Rows of text under their heads."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


@dataclass(frozen=True)
class Drawn:
    """A chart with the names of its axes."""

    chart: Chart
    across: str
    up: str


@dataclass(frozen=True)
class Case:
    """One answer on its image: `picture` is a data URI, boxes are in pixels of the `size` of the original."""

    picture: str
    size: tuple[int, int]
    true: tuple[tuple[float, ...], ...]
    given: tuple[tuple[float, ...], ...]
    words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it."""

    key: str
    title: str
    note: str = ""
    tables: tuple[Table, ...] = ()
    drawn: Drawn | None = None
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Document:
    """A whole report."""

    language: Language
    title: str
    notice: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
