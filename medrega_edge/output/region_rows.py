"""What is told of an answer beside its text, in words, for a terminal and for a page: a row a region, and figures of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medrega_edge.answer import Answer, Certified
from medrega_edge.i18n.message import Message
from medrega_edge.io.safe_text import printable
from medrega_edge.measures import Measures
from medrega_edge.vocabulary.label_sets import modality_name

SCORE, MASK_SCORE = Message("output.score"), Message("output.mask_score")
_BOX, _SIZE, _DIAMETERS = Message("output.box"), Message("output.size"), Message("output.diameters")
_WINDOW = Message("output.window")


@dataclass(frozen=True)
class RegionRow:
    """A region: its `number` from 0, its label, and its figures, each with its heading.

    All rows of an answer have the same headings; a figure that is unknown is empty.
    """

    number: int
    label: str
    figures: tuple[tuple[Message, str], ...]
    is_best_guess: bool


def region_rows(answer: Answer) -> Iterator[RegionRow]:
    """Yield a row for each region, in their order; lengths are in millimetres where the image states them."""
    scored = any(region.confidence is not None for region in answer.regions)
    masked = any(region.mask is not None for region in answer.regions)
    for number, region in enumerate(answer.regions):
        figures = [(_BOX, ", ".join(f"{value:.0f}" for value in region.box))]
        if answer.image.spacing_mm is not None:
            x1, y1, x2, y2 = answer.image.in_millimetres(region.box) or (0, 0, 0, 0)
            figures.append((_SIZE, f"{x2 - x1:.0f} x {y2 - y1:.0f}" if x2 else ""))
        if scored:
            figures.append((SCORE, "" if region.confidence is None else f"{region.confidence:.2f}"))
        if masked:
            figures.append((_DIAMETERS, "" if region.measures is None else _diameters(region.measures)))
            figures.append((MASK_SCORE, "" if region.mask is None else f"{region.mask.score:.2f}"))
        yield RegionRow(number, printable(region.label), tuple(figures), answer.is_best_guess(region))


def figures_of_all(answer: Answer) -> Iterator[Message]:
    """Yield the score of classes or words that the answer states, the accuracy that was certified, and the window."""
    score = answer.labels[0].confidence if answer.labels else answer.confidence  # of all labels together
    if score is not None and answer.text == answer.words:
        yield Message("output.labelled", label=SCORE, value=f"{score:.2f}")
    if (certified := answer.model.certified) is not None:
        yield _certified(certified, answer)
    if answer.image.window:
        centre, width = answer.image.window
        yield Message("output.labelled", label=_WINDOW, value=f"{centre:g}, {width:g}")


def _certified(certified: Certified, answer: Answer) -> Message:
    right, answers = certified.right, certified.answers
    modality = modality_name(certified.modality, answer.language)
    if certified.label is None:
        return Message("output.certified_modality", modality=modality, right=right, answers=answers)
    label = printable(answer.regions[0].label)
    return Message("output.certified_label", label=label, modality=modality, right=right, answers=answers)


def _diameters(measures: Measures) -> str:
    return f"{measures.longest.length:.1f} x {measures.perpendicular.length:.1f} {measures.unit}"
