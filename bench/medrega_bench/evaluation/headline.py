"""The few figures of a run that people ask for first: questions a minute, joules a question, accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from medrega_bench.performance.energy import NoEnergy, Part
from medrega_bench.result_files import Estimate

if TYPE_CHECKING:
    from medrega_bench.evaluation.results import PackageResult
    from medrega_bench.performance.latency import StageTimes

Device = Literal["cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What one package does on one device; None is what was not measured, and what older results lack.

    `joules_per_question` is the energy of `parts` while it answered, nothing subtracted; `idle_watts` is their power before.
    `missing` says of other parts that worked why their energy is not known. `accuracy` is the mean IoU of all places asked
    for ("iou"), or the share of right answers where no question asks for a place ("right"). Only the device that answered
    has it.
    """

    device: Device | None = None
    card: str | None = None
    threads: int | None = None
    questions_per_minute: float | None = None
    first_answer_ms: float | None = None
    joules_per_question: float | None = None
    idle_watts: float | None = None
    parts: tuple[Part, ...] = ()
    missing: Mapping[Part, NoEnergy] = field(default_factory=dict)
    peak_mib: float | None = None
    accuracy: Estimate | None = None
    accuracy_is: Literal["iou", "right"] | None = None


def headlines(package: PackageResult) -> tuple[Headline, ...]:
    """Return a headline for each device; one without speed where none was measured."""
    first, *others = map(_of_device, package.speed) if package.speed else [Headline()]
    asks_for_places = any(row.task == "detect" for row in package.rows)
    if package.overall is not None:
        first = replace(first, accuracy=package.overall, accuracy_is="iou" if asks_for_places else "right")
    return first, *others


def _of_device(stage: StageTimes) -> Headline:
    made = Headline(
        device="cuda" if stage.device == "cuda" else "cpu",
        card=stage.card,
        threads=stage.threads,
        first_answer_ms=stage.first_answer_ms.median if stage.first_answer_ms else None,
        peak_mib=stage.peak_mib,
    )
    whole = stage.throughput
    if whole is None:
        return made
    return replace(
        made,
        questions_per_minute=whole.questions_per_minute,
        joules_per_question=whole.joules_per_question,
        idle_watts=whole.idle_watts,
        parts=whole.parts,
        missing=whole.missing,
    )
