"""Asks a server about every phantom, and makes the result of its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np

from medrega_bench.box_fidelity.choice import Ask, answers_of, choose, pixel_box
from medrega_bench.box_fidelity.diagnosis import Diagnosis, diagnose
from medrega_bench.box_fidelity.dialects import DIALECTS, Dialect, Reply, Status, sharing_question
from medrega_bench.box_fidelity.hypotheses import Answers, line, steps
from medrega_bench.box_fidelity.phantoms import Phantom
from medrega_bench.box_fidelity.result import AnswerRow, BoxesResult, ServerIdentity, SizeFigures
from medrega_bench.box_fidelity.verdict import verdict
from medrega_bench.performance.environment import environment
from medrega_bench.result_files import Estimate
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.evaluation.bootstrap import SEED, mean_interval
from medrega_edge.evaluation.matching import HIT

_LONGEST_ANSWER = 2000  # characters of an answer that a result keeps
_FEWEST = 3  # boxes of one image size; of fewer only the IoU is reported
Asked = Sequence[tuple[Phantom, Reply]]


def remembering(ask: Ask) -> Ask:
    """Return `ask` as a function that asks the same question about the same phantom once only."""
    known: dict[tuple[str, str], Reply] = {}

    def once(phantom: Phantom, question: str) -> Reply:
        key = phantom.name, question
        if key not in known:
            known[key] = ask(phantom, question)
        return known[key]

    return once


def asked_all(ask: Ask, dialect: Dialect, phantoms: Sequence[Phantom]) -> Iterator[tuple[Phantom, Reply]]:
    """Ask a dialect's question about every phantom."""
    for phantom in phantoms:
        yield phantom, ask(phantom, dialect.question(phantom.label))


def choose_question(ask: Ask, name: str | None, phantoms: Sequence[Phantom]) -> Dialect:
    """Return the dialect `name`, or for None the one whose question brings the best boxes."""
    return choose(ask, phantoms) if name is None else DIALECTS[name]


def closest(dialect: Dialect, asked: Asked) -> tuple[Dialect, Diagnosis, Answers]:
    """Of the dialects that share a question, return the one that the answers follow, with its diagnosis.

    One without a mistake comes first, then the one with the best boxes.
    """
    best: tuple[tuple[bool, float], Dialect, Diagnosis, Answers] | None = None
    for one in sorted(sharing_question(dialect), key=lambda other: other.name != dialect.name):
        diagnosis, answers = diagnosis_of(one, asked)
        shares = diagnosis.nominal.shares(answers)
        mean = round(float(np.mean([_overlap(a, b) for a, b in zip(shares, answers.truth, strict=True)] or [0.0])), 2)
        worth = (diagnosis.follows and not diagnosis.is_wrong, mean)
        if best is None or worth > best[0]:
            best = worth, one, diagnosis, answers
    assert best is not None  # a dialect shares its question with itself
    return best[1:]


def diagnosis_of(dialect: Dialect, asked: Asked) -> tuple[Diagnosis, Answers]:
    """Diagnose the answers read as a dialect says."""
    read = [(phantom, dialect.read(reply)[1]) for phantom, reply in asked]
    answers = answers_of([(phantom, numbers[0]) for phantom, numbers in read if numbers])
    return diagnose(answers, dialect.order, dialect.frame), answers


def result_of(
    asked: Asked,
    dialect: Dialect,
    is_named: bool,
    server: ServerIdentity,
    phantoms: str,
    each: int,
    command: str,
) -> BoxesResult:
    """Make the result. Unless the user named the dialect (`is_named`), another one with the same question may replace it."""
    if is_named:
        diagnosis, answers = diagnosis_of(dialect, asked)
    else:
        dialect, diagnosis, answers = closest(dialect, asked)
    rows = [_row(dialect, phantom, reply) for phantom, reply in asked]
    sizes = list(dict.fromkeys((row.width, row.height) for row in rows))
    per_size = tuple(_figures([row for row in rows if (row.width, row.height) == size], *size) for size in sizes)
    overall = _figures(rows, 0, 0)
    explained = diagnosis.found.shares(answers)
    overlaps = [_overlap(found, true) for found, true in zip(explained, answers.truth, strict=True)]
    return BoxesResult(
        measured=datetime.now(UTC).strftime("%Y-%m-%d"),
        command=command,
        environment=environment(),
        server=server,
        phantoms=phantoms,
        each=each,
        seed=SEED,
        dialect=dialect.name,
        chosen=not is_named,
        question=dialect.prompt.format(label="..."),
        explanation=diagnosis.found,
        follows=diagnosis.follows,
        nearer=diagnosis.nearer[0] if diagnosis.nearer else None,
        nearer_interval=diagnosis.nearer[1] if diagnosis.nearer else None,
        iou_explained=_estimate(overlaps) if overlaps else None,
        step=steps(answers.numbers),
        grows=_grows(rows),
        overall=overall,
        sizes=per_size,
        verdict=tuple(verdict(diagnosis, dialect, overall, answers, overlaps)),
        answers=tuple(rows),
    )


def _row(dialect: Dialect, phantom: Phantom, reply: Reply) -> AnswerRow:
    status, numbers = dialect.read(reply)
    box = pixel_box(dialect, numbers[0], phantom.width, phantom.height) if numbers else None
    return AnswerRow(
        phantom=phantom.name,
        label=phantom.label,
        width=phantom.width,
        height=phantom.height,
        true_box=(*phantom.box,),
        status=status.value,
        answer=(reply.failure or reply.text)[:_LONGEST_ANSWER],
        numbers=numbers[0] if numbers else None,
        box=(*box,) if box else None,
        iou=iou(phantom.box, box) if box else None,
        boxes=len(numbers),
    )


def _figures(rows: Sequence[AnswerRow], width: int, height: int) -> SizeFigures:
    overlaps = [row.iou or 0.0 for row in rows]
    count = {status: sum(row.status == status for row in rows) for status in Status}
    boxes = [(row, row.box) for row in rows if row.box is not None]
    error = shift = scale = None
    if len(boxes) >= _FEWEST:
        found, true = np.array([box for _, box in boxes]), np.array([row.true_box for row, _ in boxes])
        sides = np.array([(row.width, row.height) for row, _ in boxes], float)
        error = float(np.median(np.abs(found - true).mean(axis=1)))
        shift = (float(np.median((found - true)[:, ::2])), float(np.median((found - true)[:, 1::2])))
        across, down = (line(true[:, k::2] / sides[:, k : k + 1], found[:, k::2] / sides[:, k : k + 1])[0] for k in (0, 1))
        scale = (across, down)
    return SizeFigures(
        width,
        height,
        asked=len(rows),
        parsed=count[Status.PARSED],
        malformed=count[Status.MALFORMED],
        refused=count[Status.REFUSED],
        no_box=count[Status.NO_BOX],
        failed=count[Status.FAILED],
        iou=_estimate(overlaps),
        accuracy=float(np.mean([overlap >= HIT for overlap in overlaps])),
        error_px=error,
        shift_px=shift,
        scale=scale,
    )


def _estimate(values: Sequence[float]) -> Estimate:
    return Estimate(len(values), float(np.mean(values)), mean_interval(np.array(values), list(map(str, range(len(values))))))


def _overlap(found: Sequence[float], true: Sequence[float]) -> float:
    """IoU of two boxes in shares of the same image, which is that of their pixels."""
    return iou(PixelBox(*map(float, found)), PixelBox(*map(float, true)))


def _grows(rows: Sequence[AnswerRow]) -> bool:
    """Whether errors grow with the image: in shares of its sides they differ less from each other than in pixels."""
    boxes = [(row, row.box) for row in rows if row.box is not None]
    if len({(row.width, row.height) for row, _ in boxes}) < 2:
        return False
    sides = np.array([(row.width, row.height) * 2 for row, _ in boxes], float)
    pixels = np.abs(np.array([box for _, box in boxes]) - np.array([row.true_box for row, _ in boxes]))
    far = pixels > 0.5  # less is rounding
    return bool(far.any() and np.log(pixels[far] / sides[far]).std() < np.log(pixels[far]).std())
