"""The result of `medrega bench honesty`: what is said without an image, with wrong options, in other words, and back."""

from __future__ import annotations

from dataclasses import dataclass

from medrega_bench.evaluation.blind_answers import CleanFigures, MirageScore, StatedFigures
from medrega_bench.evaluation.box_cycle import CycleFigures
from medrega_bench.evaluation.hidden_option import HiddenFigures
from medrega_bench.evaluation.no_image import DoorFigures
from medrega_bench.evaluation.rewordings import ConsistencyFigures
from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.result_files import DataIdentity
from medrega_edge.evaluation.bootstrap import SEED


@dataclass(frozen=True, kw_only=True)
class HonestyResult:
    """All figures of honesty of one package on one split. `most` limits the questions of each kind; None for all.

    `seed` is that of the intervals.
    """

    schema_version: int = 1
    date: str
    command: str
    environment: Environment
    model: ModelIdentity
    data: DataIdentity
    most: int | None
    seed: int = SEED
    mirage: tuple[MirageScore, ...]
    clean: tuple[CleanFigures, ...]
    stated: tuple[StatedFigures, ...]
    no_image: tuple[DoorFigures, ...]
    hidden: tuple[HiddenFigures, ...]
    consistency: tuple[ConsistencyFigures, ...]
    cycle: CycleFigures
