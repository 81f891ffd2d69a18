"""The result files of `medrega bench speed`, `peers`, its `--question`, and `tower`: JSON, read again for tables.

Older results have no `quietness`: nobody looked whether the machine was quiet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medrega_bench.performance.batch_scale import BatchScale
from medrega_bench.performance.cold_start import ColdStart, PeakMemory, SecondProcess
from medrega_bench.performance.determinism import Determinism
from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.performance.latency import StageTimes
from medrega_bench.performance.peer_comparison import ShapeComparison
from medrega_bench.performance.profiler import Profile
from medrega_bench.performance.question_comparison import QuestionComparison, QuestionPlan
from medrega_bench.performance.quietness import Quietness
from medrega_bench.performance.random_packages import TowerShape
from medrega_bench.performance.vision_precision import Variant
from medrega_bench.result_files import optional, parse


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """When, how and where something was measured."""

    schema_version: int = 1
    date: str
    command: str
    environment: Environment


@dataclass(frozen=True, kw_only=True)
class SpeedResult(_Measured):
    """What `speed` measures of one package. `repeatability` and `second` are None if they were not asked for."""

    model: ModelIdentity
    package_mib: float
    stages: tuple[StageTimes, ...]
    cold: ColdStart
    memory: tuple[PeakMemory, ...]
    read_bandwidth_gb_per_second: float
    repeatability: Determinism | None
    second: tuple[SecondProcess, ...] | None = optional()
    batch: BatchScale | None = optional()
    quietness: Quietness | None = optional()


@dataclass(frozen=True)
class PeersPlan:
    """How `peers` measures: so many rounds, a prompt of so many tokens in each."""

    threads: int
    rounds: int
    prompt: int


@dataclass(frozen=True, kw_only=True)
class PeersResult(_Measured):
    """What `peers` measures: our decoding loop beside other programs."""

    plan: PeersPlan
    shapes: tuple[ShapeComparison, ...]
    quietness: Quietness | None = optional()


@dataclass(frozen=True, kw_only=True)
class QuestionsResult(_Measured):
    """What `peers --question` measures: whole questions beside other programs."""

    plan: QuestionPlan
    questions: tuple[QuestionComparison, ...]
    quietness: Quietness | None = optional()


@dataclass(frozen=True, kw_only=True)
class TowerResult(_Measured):
    """What `tower` measures: the vision tower in several precisions."""

    shape: str
    sizes: TowerShape
    threads: int
    processor_flags: tuple[str, ...]
    variants: tuple[Variant, ...]
    profiles: Mapping[str, Profile]
    quietness: Quietness | None = optional()


PerformanceResult = SpeedResult | PeersResult | QuestionsResult | TowerResult


def read(data: Mapping[str, Any], name: str) -> PerformanceResult:
    """Read the content of a result file of one of the four kinds; raises UsageError with the file's `name`."""
    if "stages" in data:
        return parse(SpeedResult, data, name)
    if "questions" in data:
        return parse(QuestionsResult, data, name)
    return parse(PeersResult, data, name) if "shapes" in data else parse(TowerResult, data, name)
