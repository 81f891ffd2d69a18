"""The result file of `medrega bench sweep`: one checkpoint at many precisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medrega_bench.performance.environment import Environment
from medrega_bench.performance.quietness import Quietness
from medrega_bench.result_files import DataIdentity, Estimate, optional, parse
from medrega_edge.evaluation.comparison import TaskComparison
from medrega_export import Recipe

KIND = "sweep"


@dataclass(frozen=True)
class Rate:
    """Answers a second to a first question about a new image, over `n` rounds."""

    median: float
    min: float
    max: float
    n: int


@dataclass(frozen=True)
class Loss:
    """What a precision loses against full precision, overall and by task and language."""

    overall: Estimate
    accuracy: tuple[TaskComparison, ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One precision. `loss` is None for full precision, which the others are compared with.

    `overall` is the mean IoU of all places asked for, or the share of right answers if no question asks for a place.
    `dominated_by` has the numbers, from 1, of the points that leave no reason to take this one; see `sweep.dominates`.
    """

    precision: str
    recipe: Recipe
    sha256: str
    mib: float
    n: int
    overall: Estimate | None
    loss: Loss | None
    answers_per_second: Rate
    dominated_by: tuple[int, ...] = ()


@dataclass(frozen=True)
class RefusedPrecision:
    """A precision that the export refused, and why."""

    precision: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """All precisions, measured on the same questions and timed in one sitting. `checkpoint` is the name of its folder."""

    schema_version: int = 1
    kind: str = KIND
    notice: str
    measured: str
    commit: str | None
    command: str
    environment: Environment
    read_bandwidth_gb_per_second: float | None
    quietness: Quietness | None = optional()
    data: DataIdentity
    checkpoint: str
    refused: tuple[RefusedPrecision, ...]
    points: tuple[Point, ...]


def read(data: Mapping[str, Any], name: str) -> SweepResult:
    """Read the content of a result file; raises UsageError with the file's `name`."""
    return parse(SweepResult, data, name)
