"""Whether a result may pass: by gates such as "iou_drop<=0.01", or by whether it lost more than chance explains, or answers
otherwise though it calls itself the same package.

The grammar of gates is the export's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medrega_bench.evaluation import paired
from medrega_edge.errors import UsageError
from medrega_edge.evaluation import gates as gates_of_tasks
from medrega_edge.evaluation.comparison import read_comparisons
from medrega_edge.evaluation.gates import Gate

LARGEST_SLOWING = 0.15  # of a ratio of speeds
# Of the answers of what calls itself the same package, the share that may turn right or wrong. On the quick set and the
# weights of 0.3.0: none with other threads, 1 % where the same weights are multiplied in float32 instead of INT8 (processors
# round less differently), 5 % under noise of 10 % on every scale, 20 % under noise of 50 %, which on so few images loses
# nothing significant.
MOST_FLIPS = 0.05
STEADY = 0.15  # medians of ratios that move by more than this within one run are not compared

Row = dict[str, Any]


def accuracy_of(result: Row, baseline: Row | None) -> list[Row]:
    """The entries to hold: against the baseline, else against the run's own reference; raises UsageError without either."""
    package = package_of(result)
    if baseline is not None:
        return paired.entries(paired.pair_up(package_of(baseline)["rows"], package["rows"]))
    if package["loss"] is None:
        raise UsageError("The result has no reference to lose against; name an older result with --baseline.")
    accuracy: list[Row] = package["loss"]["accuracy"]
    return accuracy


def package_of(result: Row) -> Row:
    """The package that a result is about: the first that is no reference."""
    return next((one for one in result["packages"] if one["role"] == "package"), result["packages"][0])


def lost(accuracy: Sequence[Row]) -> list[str]:
    """Figures that fell by more than their noise: a significant loss, its 95 % interval above zero."""
    phrases = []
    for entry in paired.whole(accuracy):
        for name in paired.MEANS:
            figure = entry[name]
            if figure is not None and figure["significant"] and figure["loss"] > 0:
                low, high = figure["interval"]
                phrases.append(f"{name} of {_named(entry)} fell by {figure['loss']:.4g} ({low:.4g} to {high:.4g})")
    return phrases


def strayed(accuracy: Sequence[Row], result: Row, baseline: Row) -> list[str]:
    """Too many answers that turned right or wrong, either way, between two runs of what calls itself the same package."""
    model, older = (package_of(one)["model"] for one in (result, baseline))
    if any(model[key] != older[key] for key in ("name", "version", "precision")):
        return []
    judged = [entry for entry in paired.whole(accuracy) if entry["flipped"] is not None]
    flipped, count = sum(entry["flipped"] * entry["n"] for entry in judged), sum(entry["n"] for entry in judged)
    if flipped <= MOST_FLIPS * count:
        return []
    return [
        f"{flipped:.0f} of {count} answers turned right or wrong, though the package calls itself "
        f"{model['name']} {model['version']} as the one before it (what answers otherwise needs another version)"
    ]


def _named(entry: Row) -> str:
    return f"'{entry['task']}' in '{entry['language']}'"


def slowed(result: Row, baseline: Row) -> tuple[list[str], list[str]]:
    """Ratios of speeds that fell by more than 15 %, and those that cannot be told because they are unsteady or missing."""
    before, after = (_ratios(one) for one in (baseline, result))
    fallen, unheld = [], []
    for key in sorted(before.keys() | after.keys()):
        name = f"{key[0]} on {key[1]}, {key[2]} threads,"
        if key not in before or key not in after:
            unheld.append(f"{name} was measured once only")
        elif _fell(before[key], after[key]):
            fallen.append(f"{name} fell from {before[key]['median']:.3g} to {after[key]['median']:.3g}")
        elif not (_steady(before[key]) and _steady(after[key])):
            unheld.append(f"{name} is not steady")
    return fallen, unheld


def _ratios(result: Row) -> dict[tuple[str, str, int], Row]:
    """Ratios by name, device and threads."""
    return {
        (name, stage["device"], stage["threads"]): ratio
        for stage in package_of(result)["speed"]
        for name, ratio in stage["ratios"].items()
    }


def _fell(before: Row, after: Row) -> bool:
    """Whether a ratio fell too far: by its medians where both are steady, else by the whole spread of both."""
    if _steady(before) and _steady(after):
        return bool(after["median"] < (1 - LARGEST_SLOWING) * before["median"])
    return bool(after["p90"] < (1 - LARGEST_SLOWING) * before["min"])


def _steady(ratio: Row) -> bool:
    return bool(ratio["p90"] - ratio["min"] <= STEADY * ratio["median"])


def check(result: Row, baseline: Row | None, gates: Sequence[Gate]) -> tuple[list[str], list[str]]:
    """Hold a result: by the gates, or without any by its noise. Returns what is missed and what could not be held."""
    accuracy = accuracy_of(result, baseline)
    phrases = list(map(str, gates_of_tasks.missed(gates, read_comparisons(accuracy)))) if gates else lost(accuracy)
    if baseline is not None and not gates:
        phrases += strayed(accuracy, result, baseline)
    fallen, unheld = slowed(result, baseline) if baseline is not None else ([], [])
    return phrases + fallen, unheld
