"""Answer -> text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from medrega_edge.answer import Answer, Certified
from medrega_edge.domain import NOTICES, Language
from medrega_edge.i18n.message import Message
from medrega_edge.io.safe_text import printable
from medrega_edge.measures import Measures
from medrega_edge.output.overlay import COLOURS
from medrega_edge.vocabulary.label_sets import modality_name

MAX_COLUMNS = 1000  # to measure how wide a table would be without a limit

_REGION, _BOX, _SIZE = Message("output.region"), Message("output.box"), Message("output.size")
_SCORE, _WINDOW, _MASK = Message("output.score"), Message("output.window"), Message("output.mask_score")
_DIAMETERS = Message("output.diameters")


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
    confidence = answer.labels[0].confidence if answer.labels else answer.confidence  # of all labels together
    if confidence is not None and answer.text == answer.words:
        line(Message("output.labelled", label=_SCORE, value=f"{confidence:.2f}"))
    if certified := answer.model.certified:
        line(_certified(certified, answer))
    if answer.image.window:
        centre, width = answer.image.window
        line(Message("output.labelled", label=_WINDOW, value=f"{centre:g}, {width:g}"))
    for warning in answer.warnings:
        line(Message("output.warning", warning=warning), "yellow")
    console.print(Text(NOTICES[language], style="dim"), soft_wrap=True)


def _certified(certified: Certified, answer: Answer) -> Message:
    right, answers = certified.right, certified.answers
    modality = modality_name(certified.modality, answer.language)
    if certified.label is None:
        return Message("output.certified_modality", modality=modality, right=right, answers=answers)
    label = printable(answer.regions[0].label)
    return Message("output.certified_label", label=label, modality=modality, right=right, answers=answers)


def _rows(answer: Answer) -> Iterator[tuple[Text, Text, list[tuple[Message, str]]]]:
    """For each region its number, its name, and its figures with their headings."""
    scored = any(region.confidence is not None for region in answer.regions)
    masked = any(region.mask is not None for region in answer.regions)
    for number, region in enumerate(answer.regions):
        figures = [(_BOX, ", ".join(f"{value:.0f}" for value in region.box))]
        if answer.image.spacing_mm is not None:
            x1, y1, x2, y2 = answer.image.in_millimetres(region.box) or (0, 0, 0, 0)
            figures.append((_SIZE, f"{x2 - x1:.0f} x {y2 - y1:.0f}" if x2 else ""))
        if scored:
            figures.append((_SCORE, "" if region.confidence is None else f"{region.confidence:.2f}"))
        if masked:
            figures.append((_DIAMETERS, "" if region.measures is None else _diameters(region.measures)))
            figures.append((_MASK, "" if region.mask is None else f"{region.mask.score:.2f}"))
        yield Text(f"[{number + 1}]", style=COLOURS[number % len(COLOURS)]), Text(printable(region.label)), figures


def _diameters(measures: Measures) -> str:
    return f"{measures.longest.length:.1f} x {measures.perpendicular.length:.1f} {measures.unit}"


def _table(answer: Answer, language: Language) -> Table:
    rows = list(_rows(answer))
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("", justify="right", no_wrap=True)
    table.add_column(_REGION.text(language), no_wrap=True)
    for heading, _ in rows[0][2]:
        table.add_column(heading.text(language), justify="right" if heading in (_SCORE, _MASK) else "left", no_wrap=True)
    for number, label, figures in rows:
        table.add_row(number, label, *(figure for _, figure in figures))
    return table


def _lines(answer: Answer, language: Language) -> Iterator[Text]:
    """The table as lines, for a terminal too narrow for it."""
    for number, label, figures in _rows(answer):
        yield Text(" ").join([number, label])
        for heading, figure in figures:
            if figure:
                yield Text(f"    {Message('output.labelled', label=heading, value=figure).text(language)}")
