"""From a box to its name and back: whether the package locates what it named where it named it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medrega_bench.datasets.questions import IDENTIFY_WORDING
from medrega_bench.evaluation.asker import Asked, Asker
from medrega_bench.evaluation.figures import estimate
from medrega_bench.evaluation.intervals import patient_of
from medrega_bench.result_files import Estimate
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Language, Task
from medrega_edge.evaluation.matching import HIT
from medrega_edge.evaluation.questions import spread
from medrega_edge.evaluation.records import Record
from medrega_edge.prompts.templates import DETECT_QUESTION


@dataclass(frozen=True)
class CycleRow:
    """One annotated box: whether its name is right, and whether what was named is located there and named so again.

    Where several boxes are located, the surest counts.
    """

    image: str
    patient: str
    name_right: bool
    box_returns: bool
    name_returns: bool

    @property
    def returns(self) -> bool:
        """Whether both come back."""
        return self.box_returns and self.name_returns


@dataclass(frozen=True)
class CycleFigures:
    """Shares of annotated boxes, for every name and for those that were named rightly or wrongly."""

    named_right: Estimate
    box_returns: Estimate
    returns: Estimate
    returns_of_right: Estimate | None
    returns_of_wrong: Estimate | None


def cycle_rows(asker: Asker, records: Sequence[Record], most: int | None = None) -> Iterator[CycleRow]:
    """Ask what is in each annotated box of a structure with one box, where that is, and what is there."""
    boxes = [
        (record, region.label_en, region.boxes[0])
        for record in records
        for region in record.targets
        if len(region.boxes) == 1 and not record.dup_of_eval
    ]
    for record, truth, box in spread(boxes, most):
        name = _named(asker, record, box)
        back = asker.ask(
            Asked(record.image, DETECT_QUESTION[Language.EN].format(x=name), Language.EN, Task.DETECT)
        ).boxes_of(name)
        surest = back[0][0] if back else None
        box_returns = surest is not None and iou(surest, box) >= HIT
        again = _named(asker, record, surest) if surest is not None and box_returns else ""
        yield CycleRow(str(record.image), patient_of(record), name == truth, box_returns, again == name)


def _named(asker: Asker, record: Record, box: PixelBox) -> str:
    return asker.ask(Asked(record.image, IDENTIFY_WORDING[Language.EN], Language.EN, Task.IDENTIFY, box=(*box,))).words


def cycle_figures(rows: Sequence[CycleRow]) -> CycleFigures:
    """Return the shares with their intervals over patients."""

    def share(mine: Sequence[CycleRow], name: str) -> Estimate:
        return estimate([float(getattr(row, name)) for row in mine], [row.patient for row in mine])

    right, wrong = ([row for row in rows if row.name_right is want] for want in (True, False))
    return CycleFigures(
        share(rows, "name_right"),
        share(rows, "box_returns"),
        share(rows, "returns"),
        share(right, "returns") if right else None,
        share(wrong, "returns") if wrong else None,
    )
