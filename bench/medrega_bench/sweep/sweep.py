"""One checkpoint at many precisions: what each loses, how fast and how large it is, and which of them nobody needs.

Knows recipes and points. Building is the export's work, answering the suite's. Every point is kept in a folder as soon as
it is built, and again when it has answered, so that an interrupted sweep goes on; speeds are measured at the end in one
sitting, because machines drift. A sweep file is JSON of schema 1: what a result of `medrega bench run` holds of machine and
data, and

    kind "sweep", checkpoint (name of its folder), refused [{precision, reason}],
    points [{
        precision, recipe, sha256, mib, n
        overall     mean IoU of all places asked for, or share of right answers where none was; with its interval
        loss        against full precision, paired: {overall, accuracy [entries of whole tasks]}; null for full precision
        answers_per_second  spread: whole answers to a first question about a new image
        dominated_by        numbers, from 1, of the points that leave no reason to take this one, see `dominates`
    }]
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from medrega_bench.evaluation import measure, paired
from medrega_bench.evaluation.answer_cache import Progress
from medrega_bench.extras import require_export
from medrega_bench.performance.environment import MemoryReader
from medrega_edge.errors import GateError, UsageError
from medrega_edge.evaluation.bootstrap import Interval, mean_interval
from medrega_edge.io.atomic import write_text
from medrega_edge.io.safe_text import json_text
from medrega_edge.package.package import Package
from medrega_export import FULL, Recipe

KIND = "sweep"
MARGIN = 0.01  # of mean IoU: the loss that a package may have by the gate that the README gives
SAME_SIZE = 0.01
# What is built, full precision first: the language model at 8 and 4 bits, its groups, zero points, head, and the tower.
RECIPES = (
    FULL,
    Recipe(bits=8),
    Recipe(),
    Recipe(group_size=64),
    Recipe(group_size=128),
    Recipe(symmetric=False),
    Recipe(head_bits=4),
    Recipe(tower="fp16"),
    Recipe(tower="fp32"),
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Sweep:
    """A checkpoint, questions to calibrate on, and the `folder` that keeps packages and answers."""

    checkpoint: Path
    calibration: Path
    folder: Path
    calibration_items: int = 128

    def build(self, recipe: Recipe, tell: Callable[[str], None]) -> Package:
        """Build a package, or take the one that an earlier run has built; raises GateError when the export refuses it."""
        place = self.folder / "packages" / recipe.name.replace(" + ", "_")
        note = place.with_name(f"{place.name}.txt")  # beside it: a package holds nothing that its manifest does not name
        identity = self._identity(recipe)
        if place.is_dir() and note.is_file() and note.read_text(encoding="utf-8") == identity:
            return Package.open(place)
        from medrega_export import ExportOptions, export

        calibration = None if recipe.is_full else self.calibration
        options = ExportOptions(
            self.checkpoint, place, calibration, self.calibration_items, recipe=recipe, force=place.exists()
        )
        tell(f"building {recipe.name}")
        note.unlink(missing_ok=True)
        export(options)
        write_text(note, identity)
        return Package.open(place)

    def _identity(self, recipe: Recipe) -> str:
        """What decides a package. Weights are told apart by size and time: to hash those of a large model takes long."""
        files = [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in sorted(self.checkpoint.iterdir())]
        asked = hashlib.sha256(self.calibration.read_bytes()).hexdigest()
        return json_text([version("medrega-edge"), recipe.to_json(), self.calibration_items, asked, files])


@dataclass(frozen=True)
class Hearing:
    """Who hears of the work: a sentence, and rows as they are answered."""

    tell: Callable[[str], None]
    progress: Progress


def run(sweep: Sweep, plan: measure.Plan, header: Row, data: tuple[str, str | None], hear: Hearing) -> Row:
    """Build, ask and time every point; returns the result of `measure` with `recipes` and `refused` beside it.

    A precision that the export refuses is left out and named; full precision has to be there.
    """
    for name in ("packages", "answers"):
        (sweep.folder / name).mkdir(exist_ok=True)
    built: list[tuple[Recipe, Package]] = []
    refused = []
    for recipe in RECIPES:
        try:
            built.append((recipe, sweep.build(recipe, hear.tell)))
        except GateError as error:
            if recipe.is_full:
                raise
            refused.append({"precision": recipe.name, "reason": str(error)})
    measured = []
    for recipe, package in built:
        hear.tell(f"asking {recipe.name}")
        role = "reference" if recipe.is_full else "package"
        measured.append(measure.measure(package, role, plan, hear.progress))
    for one, (recipe, package) in zip(measured, built, strict=True):
        hear.tell(f"timing {recipe.name}")
        one["speed"] = measure.speeds(package, plan)
    result = measure.result_of(header, measured, *data, MemoryReader(1).gigabytes_per_second())
    return result | {
        "checkpoint": sweep.checkpoint.resolve().name,
        "recipes": [recipe for recipe, _ in built],
        "refused": refused,
    }


def summary(result: Row) -> Row:
    """The sweep as a file: a point for each package, without its rows."""
    packages = result["packages"]
    points = [_point(one, recipe) for one, recipe in zip(packages, result["recipes"], strict=True)]
    placed = [_worths(one["rows"]) for one in packages]
    for point, mine in zip(points, placed, strict=True):
        point["dominated_by"] = [
            number
            for number, (other, theirs) in enumerate(zip(points, placed, strict=True), 1)
            if other is not point and dominates(other, point, _loss(mine, theirs))
        ]
    gone = ("packages", "recipes")
    return {key: value for key, value in result.items() if key not in gone} | {"kind": KIND, "points": points}


def _point(one: Row, recipe: Recipe) -> Row:
    loss = one["loss"]
    return {
        "precision": one["model"]["precision"],
        "recipe": asdict(recipe),
        "sha256": one["model"]["sha256"],
        "mib": one["mib"],
        "n": len(one["rows"]),
        "overall": one["overall"],
        "loss": loss and {"overall": loss["overall"], "accuracy": paired.whole(loss["accuracy"])},
        "answers_per_second": _rate(one["speed"][0]["first_answer_ms"]),
    }


def _rate(ms: Row) -> Row:
    """Answers a second, from the milliseconds of one."""
    return {"median": 1000 / ms["median"], "min": 1000 / ms["max"], "max": 1000 / ms["min"], "n": ms["n"]}


def _worths(rows: Sequence[Row]) -> dict[str, tuple[str, float]]:
    """Image and worth of each answer that counts in the overall figure, by the id of its question."""
    mine = [row for row in rows if paired.task_of(row) == "detect"] or rows
    return {row["id"]: (row["image"], paired.grade(row).worth) for row in mine}


def _loss(of: Mapping[str, tuple[str, float]], against: Mapping[str, tuple[str, float]]) -> Interval:
    """The 95 % interval of what `against` loses to `of` on the same questions."""
    common = [key for key in of if key in against]
    values = np.array([of[key][1] - against[key][1] for key in common])
    return mean_interval(values, [of[key][0] for key in common])


def dominates(one: Row, other: Row, loss: Interval) -> bool:
    """Whether `one` leaves no reason to take the `other`: surely as good in everything, and surely better in something.

    `loss` is the interval of what `one` loses to the `other`. As accurate is what loses less than a point and not surely
    anything; sizes within one per cent are alike, and so are speeds whose ranges of repeats overlap.
    """
    rate, other_rate = one["answers_per_second"], other["answers_per_second"]
    accurate = loss[1] <= MARGIN and loss[0] <= 0
    small = one["mib"] <= (1 + SAME_SIZE) * other["mib"]
    fast = rate["max"] >= other_rate["min"]
    better = loss[1] < 0 or one["mib"] < (1 - SAME_SIZE) * other["mib"] or rate["min"] > other_rate["max"]
    return bool(accurate and small and fast and better)


def check(sweep: Sweep) -> None:
    """Refuse in the first second what would fail after minutes; raises UsageError, ResourceError without the export."""
    require_export("export")
    if not (sweep.checkpoint / "config.json").is_file():
        raise UsageError(f"'{sweep.checkpoint.name}' is no checkpoint: it has no config.json; name a folder that has one.")
    if not sweep.calibration.is_file():
        raise UsageError("There is no file to calibrate on at the path given with --calibration; check the path.")
