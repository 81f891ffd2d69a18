"""Answer -> text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medrega_edge.answer import Answer
from medrega_edge.domain import NOTICES, Language
from medrega_edge.i18n.message import Message
from medrega_edge.io.safe_text import printable
from medrega_edge.output.overlay import COLOURS
from medrega_edge.output.region_rows import MASK_SCORE, SCORE, RegionRow, figures_of_all, region_rows

MAX_COLUMNS = 1000  # to measure how wide a table would be without a limit

_REGION = Message("output.region")


def print_answer(answer: Answer, console: Console, with_text: bool = True) -> None:
    """Print text, regions, score of labels, certified accuracy, window, warnings and notice.

    Leave out the text if it has been streamed to the terminal.
    """
    language = answer.language

    def line(message: Message, style: str = "dim") -> None:
        console.print(Text(printable(message.text(language)), style=style), soft_wrap=True)

    if with_text:
        console.print(Text(printable(answer.text)), soft_wrap=True)
    if answer.regions:
        table = _table(answer, language)
        narrow = console.measure(table, options=console.options.update(width=MAX_COLUMNS)).maximum > console.width
        console.print(Text("\n").join(_lines(answer, language)) if narrow else table, soft_wrap=narrow)
    for message in figures_of_all(answer):
        line(message)
    for warning in answer.warnings:
        line(Message("output.warning", warning=warning), "yellow")
    console.print(Text(NOTICES[language], style="dim"), soft_wrap=True)


def _mark(row: RegionRow) -> Text:
    return Text(f"[{row.number + 1}]", style=COLOURS[row.number % len(COLOURS)])


def _table(answer: Answer, language: Language) -> Table:
    rows = list(region_rows(answer))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column(_REGION.text(language), no_wrap=True)
    for heading, _ in rows[0].figures:
        is_number = heading in (SCORE, MASK_SCORE)
        table.add_column(heading.text(language), justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        table.add_row(_mark(row), Text(row.label), *(figure for _, figure in row.figures))
    return table


def _lines(answer: Answer, language: Language) -> Iterator[Text]:
    """The table as lines, for a terminal too narrow for it."""
    for row in region_rows(answer):
        yield Text(" ").join([_mark(row), Text(row.label)])
        for heading, figure in row.figures:
            if figure:
                yield Text(f"    {Message('output.labelled', label=heading, value=figure).text(language)}")
