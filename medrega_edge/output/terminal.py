"""Answer -> text for a terminal, or one line of JSON."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medrega_edge.answer import Answer
from medrega_edge.domain import Language
from medrega_edge.i18n.translate import said
from medrega_edge.io.safe_text import json_text, printable
from medrega_edge.output.overlay import COLOURS, NOTICES

MAX_COLUMNS = 1000  # to measure how wide a table would be without a limit

_WORDS = {
    "en": {
        "region": "region",
        "box": "box in pixels (x1, y1, x2, y2)",
        "score": "score",
        "warning": "warning",
        "size": "size in mm",
        "window": "window (centre, width)",
        "certified": "certified",
        "right": "of {0.answers} answers like this {0.right:.0%} were right",
    },
    "zh": {
        "region": "区域",
        "box": "方框像素坐标 (x1, y1, x2, y2)",
        "score": "得分",
        "warning": "警告",
        "size": "大小（毫米）",
        "window": "窗（窗位，窗宽）",
        "certified": "认证",
        "right": "{0.answers} 个同类回答中 {0.right:.0%} 正确",
    },
}
_COLONS = {"en": ": ", "zh": "："}


def to_json(answer: Answer, include_identifiers: bool = False) -> str:
    """The answer as one line of JSON, schema 1."""
    return json_text(answer.to_dict(include_identifiers))


def print_answer(answer: Answer, console: Console, with_text: bool = True) -> None:
    """Print text, regions, labels' score, certified accuracy, window, warnings and notice.

    Leave out the text if it has been streamed to the terminal.
    """
    if with_text:
        console.print(Text(printable(answer.text)), soft_wrap=True)
    if answer.regions:
        table = _table(answer)
        narrow = console.measure(table, options=console.options.update(width=MAX_COLUMNS)).maximum > console.width
        console.print(Text("\n").join(_lines(answer)) if narrow else table, soft_wrap=narrow)
    if answer.labels and answer.labels[0].confidence is not None:
        _print_line(
            console, "score", f"{answer.labels[0].confidence:.2f}", answer.language
        )  # one score for all of them together
    if certified := answer.model.certified:
        _print_line(console, "certified", _WORDS[answer.language]["right"].format(certified), answer.language)
    if answer.image.window:
        centre, width = answer.image.window
        _print_line(console, "window", f"{centre:g}, {width:g}", answer.language)
    for warning in answer.warnings:
        _print_line(console, "warning", said(warning, Language(answer.language)), answer.language, "yellow")
    console.print(Text(NOTICES[answer.language], style="dim"), soft_wrap=True)


def _rows(answer: Answer) -> Iterator[tuple[Text, Text, list[tuple[str, str]]]]:
    """For each region its number, its name, and its figures with their headings."""
    words = _WORDS[answer.language]
    scored = any(region.confidence is not None for region in answer.regions)
    for number, region in enumerate(answer.regions):
        figures = [(words["box"], ", ".join(f"{value:.0f}" for value in region.box))]
        if answer.image.spacing_mm is not None:
            x1, y1, x2, y2 = answer.image.in_millimetres(region.box) or (0, 0, 0, 0)
            figures.append((words["size"], f"{x2 - x1:.0f} x {y2 - y1:.0f}" if x2 else ""))
        if scored:
            figures.append((words["score"], "" if region.confidence is None else f"{region.confidence:.2f}"))
        yield Text(f"[{number + 1}]", style=COLOURS[number % len(COLOURS)]), Text(printable(region.label)), figures


def _table(answer: Answer) -> Table:
    words = _WORDS[answer.language]
    rows = list(_rows(answer))
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", words["region"], *(name for name, _ in rows[0][2])):
        table.add_column(name, justify="right" if name in ("", words["score"]) else "left", no_wrap=True)
    for number, label, figures in rows:
        table.add_row(number, label, *(figure for _, figure in figures))
    return table


def _lines(answer: Answer) -> Iterator[Text]:
    """The table as lines, for a terminal too narrow for it."""
    for number, label, figures in _rows(answer):
        yield Text(" ").join([number, label])
        yield from (Text(f"    {name}{_COLONS[answer.language]}{figure}") for name, figure in figures if figure)


def _print_line(console: Console, word: str, text: str, language: str, style: str = "dim") -> None:
    console.print(Text(f"{_WORDS[language][word]}{_COLONS[language]}{printable(text)}", style=style), soft_wrap=True)
