"""The verdict in sentences: one of what is wrong for each mistake, and one of the evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from medrega_bench.box_fidelity.diagnosis import FEWEST, Diagnosis
from medrega_bench.box_fidelity.frames import Frame, Kind, Order, axes_of
from medrega_bench.box_fidelity.hypotheses import Answers, Hypothesis, steps
from medrega_bench.box_fidelity.result import Finding, SizeFigures
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_bench.box_fidelity.dialects import Dialect

_SCATTERED = 0.5  # mean IoU of the boxes that could be read, below which they scatter
_COARSE = 0.005  # of a side: a step of numbers that is a mistake of its own
_RANGES = (1, 100, 999, 1000, 1024)


def verdict(
    diagnosis: Diagnosis, dialect: Dialect, overall: SizeFigures, answers: Answers, overlaps: Sequence[float]
) -> Iterator[Finding]:
    """Yield what is to be said; `overlaps` are the IoU of boxes read as the diagnosis says."""
    yield from map(Finding.of, _sentences(diagnosis, dialect, overall, answers, overlaps))


def _sentences(
    diagnosis: Diagnosis, dialect: Dialect, overall: SizeFigures, answers: Answers, overlaps: Sequence[float]
) -> Iterator[Message]:
    if overall.parsed < overall.asked or overall.parsed < FEWEST:
        yield Message(
            "bench.boxes_unread",
            dialect=dialect.name,
            parsed=overall.parsed,
            asked=overall.asked,
            malformed=overall.malformed,
            refused=overall.refused,
            no_box=overall.no_box,
            failed=overall.failed,
        )
    if overall.parsed < FEWEST:
        yield Message("bench.boxes_too_few", least=FEWEST)
        return
    if diagnosis.is_wrong and diagnosis.nearer is not None:
        yield from mistakes(diagnosis.found, diagnosis.nominal, diagnosis.share or 0.0)
        factor, (low, high) = diagnosis.nearer
        before = overall.iou.value * overall.asked / overall.parsed
        after = float(np.mean(overlaps))
        yield Message("bench.boxes_evidence", nearer=factor, low=low, high=high, before=before, after=after)
    elif not diagnosis.follows or diagnosis.slope is None or diagnosis.shift is None:
        yield Message("bench.boxes_blind", iou=float(np.mean(overlaps)))
    else:
        mean = float(np.mean(overlaps))
        (across, down), (left, top) = diagnosis.slope, diagnosis.shift
        if mean < _SCATTERED:
            yield Message("bench.boxes_scattered", iou=mean, error=overall.error_px or 0.0)
        yield Message(
            "bench.boxes_sound",
            iou=mean,
            x=100 * left[0],
            x_by=50 * (left[1][1] - left[1][0]),
            y=100 * top[0],
            y_by=50 * (top[1][1] - top[1][0]),
            across=across[0],
            across_by=(across[1][1] - across[1][0]) / 2,
            down=down[0],
            down_by=(down[1][1] - down[1][0]) / 2,
        )
    step = steps(answers.numbers)
    frame = diagnosis.found.frame
    coarse = step / float(axes_of(frame, answers.sizes)[0].min())
    if coarse > _COARSE and diagnosis.follows and (step > 1 or frame.kind is Kind.STRETCHED):  # no pixel is too coarse
        yield Message("bench.boxes_coarse", step=step, share=100 * coarse)


def mistakes(found: Hypothesis, nominal: Hypothesis, share: float) -> Iterator[Message]:
    """Yield a sentence for each way in which `found` differs from `nominal`; it holds for `share` of the answers."""
    if found.order != nominal.order:
        if {found.order, nominal.order} == {Order.XYXY, Order.YXYX}:
            yield Message("bench.boxes_swapped", share=share)
        else:
            yield Message("bench.boxes_order", order=found.order.value, said=nominal.order.value, share=share)
    if found.across and found.down:
        yield Message("bench.boxes_turned", share=share)
    elif found.across:
        yield Message("bench.boxes_mirrored_across", share=share)
    elif found.down:
        yield Message("bench.boxes_mirrored_down", share=share)
    if found.frame != nominal.frame:
        yield _frame(found.frame, nominal.frame)
    if found.scale != (1.0, 1.0):
        yield Message("bench.boxes_scaled", across=found.scale[0], down=found.scale[1])
    if found.shift != (0.0, 0.0):
        x, y = found.shift
        if found.shift_in_pixels:
            yield Message("bench.boxes_shifted_by_pixels", x=x, y=y)
        else:
            yield Message("bench.boxes_shifted_by_share", x=100 * x, y=100 * y)


def _frame(found: Frame, said: Frame) -> Message:
    side = f"{found.side:g}"
    match found.kind:
        case Kind.PIXELS:
            return Message("bench.boxes_pixels")
        case Kind.EXCHANGED:
            return Message("bench.boxes_exchanged")
        case Kind.SMART:
            return Message("bench.boxes_smart", factor=side, limit=found.limit)
        case Kind.AT_MOST:
            return Message("bench.boxes_at_most", side=side)
        case Kind.STRETCHED if found.side in _RANGES:
            return Message("bench.boxes_range", side=side)
        case Kind.STRETCHED:
            return Message("bench.boxes_stretched", side=side)
        case Kind.LONGEST if said == Frame(Kind.STRETCHED, found.side):
            return Message("bench.boxes_padded")
        case Kind.LONGEST:
            return Message("bench.boxes_longest", side=side)
        case Kind.SHORTEST:
            return Message("bench.boxes_shortest", side=side)
        case Kind.LETTERBOXED:
            return Message("bench.boxes_letterboxed", side=side)
        case Kind.CROPPED:
            return Message("bench.boxes_cropped", side=side)
