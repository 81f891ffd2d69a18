"""Whether a result may pass: by gates such as "iou_drop<=0.01", or by whether it lost more than chance explains, or answers
otherwise though it calls itself the same package. The grammar of gates is the export's.
"""

from __future__ import annotations

from collections.abc import Sequence

from medrega_bench.evaluation import paired
from medrega_bench.evaluation.results import RunResult
from medrega_bench.performance.spread import Spread
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.comparison import TaskComparison, whole_tasks
from medrega_edge.evaluation.gates import Gate
from medrega_edge.evaluation.gates import missed as gates_missed
from medrega_edge.i18n.message import Message

LARGEST_SLOWING = 0.15  # of a ratio of speeds
# Of the answers of what calls itself the same package, the share that may turn right or wrong. On the quick set and the
# weights of 0.3.0: none with other threads, 1 % where the same weights are multiplied in float32 instead of INT8 (processors
# round less differently), 5 % under noise of 10 % on every scale, 20 % under noise of 50 %, which on so few images loses
# nothing significant.
MOST_FLIPS = 0.05
STEADY = 0.15  # medians of ratios that move by more than this within one run are not compared
COUNTED = frozenset({"tokens_per_pass", "jump_forward_fewer_passes"})  # the other ratios are of times

RatioKey = tuple[str, str, int]  # name, device, threads


def accuracy_of(result: RunResult, baseline: RunResult | None) -> tuple[TaskComparison, ...]:
    """The entries to hold: against the baseline, else against the run's own reference; raises UsageError without either."""
    if baseline is not None:
        return paired.compared(baseline.package.rows, result.package.rows).accuracy
    if result.package.loss is None:
        raise UsageError("bench.no_reference")
    return result.package.loss.accuracy


def lost(accuracy: Sequence[TaskComparison]) -> list[Message]:
    """Figures that fell by more than their noise: a significant loss, its 95 % interval above zero."""
    return [
        Message(
            "bench.figure_fell",
            figure=name,
            task=entry.task,
            language=entry.language,
            loss=figure.loss,
            low=figure.interval[0],
            high=figure.interval[1],
        )
        for entry in whole_tasks(accuracy)
        for name, figure in entry.means.items()
        if figure.significant and figure.loss > 0
    ]


def strayed(accuracy: Sequence[TaskComparison], result: RunResult, baseline: RunResult) -> list[Message]:
    """Too many answers that turned right or wrong, either way, between two runs of what calls itself the same package."""
    model, older = result.package.model, baseline.package.model
    if (model.name, model.version, model.precision) != (older.name, older.version, older.precision):
        return []
    judged = [(entry.flipped * entry.n, entry.n) for entry in whole_tasks(accuracy) if entry.flipped is not None]
    flipped, count = sum(flips for flips, _ in judged), sum(n for _, n in judged)
    if flipped <= MOST_FLIPS * count:
        return []
    return [Message("bench.answers_strayed", flipped=flipped, count=count, name=model.name, version=model.version)]


def slowed(result: RunResult, baseline: RunResult) -> tuple[list[Message], list[Message]]:
    """Ratios of speeds that fell by more than 15 %, and those that cannot be held.

    Ratios of times are held on the baseline's processor only: that of jump-forward is 2.5 on an AMD EPYC, 3.0 on a Xeon with
    VNNI instructions.
    """
    before, after = _ratios(baseline), _ratios(result)
    same_processor = _processor(baseline) == _processor(result)
    fallen, unheld = [], []
    for key in sorted(before.keys() | after.keys()):
        ratio = Message("bench.ratio", name=key[0], device=key[1], threads=key[2])
        if key not in before or key not in after:
            unheld.append(Message("bench.ratio_measured_once", ratio=ratio))
        elif not same_processor and key[0] not in COUNTED:
            unheld.append(Message("bench.ratio_on_another_processor", ratio=ratio))
        elif _fell(before[key], after[key]):
            old, new = before[key].median, after[key].median
            fallen.append(Message("bench.ratio_fell", ratio=ratio, before=old, after=new))
        elif not (_is_steady(before[key]) and _is_steady(after[key])):
            unheld.append(Message("bench.ratio_unsteady", ratio=ratio))
    return fallen, unheld


def _processor(result: RunResult) -> tuple[str, tuple[str, ...] | None]:
    return result.environment.processor, result.environment.int8_flags


def _ratios(result: RunResult) -> dict[RatioKey, Spread]:
    return {
        (name, stage.device, stage.threads): ratio for stage in result.package.speed for name, ratio in stage.ratios.items()
    }


def _fell(before: Spread, after: Spread) -> bool:
    """Whether a ratio fell too far: by its medians where both are steady, else by the whole spread of both."""
    if _is_steady(before) and _is_steady(after):
        return after.median < (1 - LARGEST_SLOWING) * before.median
    return after.p90 < (1 - LARGEST_SLOWING) * before.min


def _is_steady(ratio: Spread) -> bool:
    return ratio.p90 - ratio.min <= STEADY * ratio.median


def check(result: RunResult, baseline: RunResult | None, gates: Sequence[Gate]) -> tuple[list[Message], list[Message]]:
    """Hold a result: by the gates, or without any by its noise. Returns what is missed and what could not be held."""
    accuracy = accuracy_of(result, baseline)
    phrases = gates_missed(gates, accuracy) if gates else lost(accuracy)
    if baseline is not None and not gates:
        phrases += strayed(accuracy, result, baseline)
    fallen, unheld = slowed(result, baseline) if baseline is not None else ([], [])
    return phrases + fallen, unheld
