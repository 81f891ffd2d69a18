"""One checkpoint at many precisions: what each loses, how fast and how large it is, and which ones nobody needs.

Packages and answers stay in a folder, so that an interrupted sweep can go on. Speeds are measured at the end in one sitting,
because machines drift.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medrega_bench.evaluation import measure, paired
from medrega_bench.evaluation.answer_cache import Progress
from medrega_bench.evaluation.results import AnswerRow, PackageResult, RunResult
from medrega_bench.extras import require_export
from medrega_bench.sweep.result import Loss, Point, Rate, RefusedPrecision, SweepResult
from medrega_edge.errors import GateError, UsageError
from medrega_edge.evaluation.bootstrap import Interval, mean_interval
from medrega_edge.evaluation.comparison import whole_tasks
from medrega_edge.i18n.message import Message
from medrega_edge.inference.machine_speed import MemoryReader
from medrega_edge.io.atomic import write_text
from medrega_edge.io.safe_text import json_text
from medrega_edge.package.package import Package
from medrega_export import FULL, Recipe

MARGIN = 0.01  # of mean IoU: the loss that a package may have by the gate that the README gives
SAME_SIZE = 0.01
# Full precision first, then the language model at 8 and 4 bits, its groups, zero points and head, and the tower.
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


@dataclass(frozen=True)
class PackageBuilder:
    """Builds packages of a checkpoint in `folder`/packages; `calibration` is the file of questions to calibrate on."""

    checkpoint: Path
    calibration: Path
    folder: Path
    calibration_items: int = 128

    def check(self) -> None:
        """Raise UsageError or ResourceError for what would fail after minutes."""
        require_export("export")
        if not (self.checkpoint / "config.json").is_file():
            raise UsageError("bench.no_checkpoint", folder=self.checkpoint.name)
        if not self.calibration.is_file():
            raise UsageError("bench.no_calibration")

    def build(self, recipe: Recipe, announce: Callable[[Message], None]) -> Package:
        """Build a package, or open the one of an earlier run; raises GateError when the export refuses the recipe."""
        package = self.folder / "packages" / recipe.name.replace(" + ", "_")
        # Beside the package, which may hold no file that its manifest does not list.
        note = package.with_name(f"{package.name}.txt")
        identity = self._identity(recipe)
        if package.is_dir() and note.is_file() and note.read_text(encoding="utf-8") == identity:
            return Package.open(package)
        from medrega_export import ExportOptions, export

        calibration = None if recipe.is_full else self.calibration
        options = ExportOptions(
            self.checkpoint, package, calibration, self.calibration_items, recipe=recipe, force=package.exists()
        )
        announce(Message("bench.building", precision=recipe.name))
        note.unlink(missing_ok=True)
        export(options)
        write_text(note, identity)
        return Package.open(package)

    def _identity(self, recipe: Recipe) -> str:
        """Everything that decides a package. Weights count by size and time, because hashing large ones takes long."""
        files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(self.checkpoint.iterdir())]
        questions = hashlib.sha256(self.calibration.read_bytes()).hexdigest()
        return json_text([version("medrega-edge"), recipe.to_json(), self.calibration_items, questions, files])


@dataclass(frozen=True)
class Measured:
    """The packages of a sweep, the recipe of each, and the precisions that the export refused."""

    result: RunResult
    recipes: tuple[Recipe, ...]
    refused: tuple[RefusedPrecision, ...]
    checkpoint: str


def run(
    builder: PackageBuilder,
    plan: measure.Plan,
    data: tuple[str, str | None],
    announce: Callable[[Message], None],
    progress: Progress,
) -> Measured:
    """Build every precision, ask it and time it; one that the export refuses is left out, unless it is full precision.

    `data` is the name of the questions and their split.
    """
    for name in ("packages", "answers"):
        (builder.folder / name).mkdir(exist_ok=True)
    built: list[tuple[Recipe, Package]] = []
    refused: list[RefusedPrecision] = []
    for recipe in RECIPES:
        try:
            built.append((recipe, builder.build(recipe, announce)))
        except GateError as error:
            if recipe.is_full:
                raise
            announce(Message("bench.not_built", precision=recipe.name, problem=error.message))
            refused.append(RefusedPrecision(recipe.name, str(error)))
    measured = []
    for recipe, package in built:
        announce(Message("bench.asking", precision=recipe.name))
        measured.append(measure.measure(package, "reference" if recipe.is_full else "package", plan, progress))
    timed = []
    for package_result, (recipe, package) in zip(measured, built, strict=True):
        announce(Message("bench.timing", precision=recipe.name))
        timed.append(replace(package_result, speed=measure.speeds(package, plan)))
    result = measure.result_of(timed, *data, MemoryReader(1).gigabytes_per_second(), measure.watched(plan))
    recipes = tuple(recipe for recipe, _ in built)
    return Measured(result, recipes, tuple(refused), builder.checkpoint.resolve().name)


def summary(measured: Measured) -> SweepResult:
    """Sum up a sweep: a point for each package, without its questions and answers."""
    result = measured.result
    points = [_point(package, recipe) for package, recipe in zip(result.packages, measured.recipes, strict=True)]
    worths = [_worths(package.rows) for package in result.packages]
    compared = (
        replace(
            point,
            dominated_by=tuple(
                number
                for number, (other, theirs) in enumerate(zip(points, worths, strict=True), 1)
                if other is not point and dominates(other, point, _loss(mine, theirs))
            ),
        )
        for point, mine in zip(points, worths, strict=True)
    )
    return SweepResult(
        notice=result.notice,
        measured=result.measured,
        commit=result.commit,
        command=result.command,
        environment=result.environment,
        read_bandwidth_gb_per_second=result.read_bandwidth_gb_per_second,
        quietness=result.quietness,
        data=result.data,
        checkpoint=measured.checkpoint,
        refused=measured.refused,
        points=tuple(compared),
    )


def _point(package: PackageResult, recipe: Recipe) -> Point:
    loss, first_answer = package.loss, package.speed[0].first_answer_ms
    assert first_answer is not None  # only results of earlier versions lack it
    return Point(
        precision=package.model.precision,
        recipe=recipe,
        sha256=package.model.sha256,
        mib=package.mib,
        n=len(package.rows),
        overall=package.overall,
        loss=Loss(loss.overall, tuple(whole_tasks(loss.accuracy))) if loss else None,
        answers_per_second=Rate(
            1000 / first_answer.median, 1000 / first_answer.max, 1000 / first_answer.min, first_answer.n
        ),
    )


def _worths(rows: Sequence[AnswerRow]) -> dict[str, tuple[str, float]]:
    """Image and worth of each answer that counts in the overall figure, by the id of its question."""
    counted = [row for row in rows if row.task == "detect"] or rows
    return {row.id: (row.image, paired.grade(row).worth) for row in counted}


def _loss(of: Mapping[str, tuple[str, float]], against: Mapping[str, tuple[str, float]]) -> Interval:
    """The 95 % interval of what `against` loses to `of` on the same questions."""
    common = [key for key in of if key in against]
    return mean_interval(np.array([of[key][1] - against[key][1] for key in common]), [of[key][0] for key in common])


def dominates(point: Point, other: Point, loss: Interval) -> bool:
    """Whether `point` leaves no reason to take the `other`: surely as good in every respect, and surely better in one.

    `loss` is the 95 % interval of what `point` loses to the `other`. It is as accurate if it loses less than `MARGIN`, and
    no loss is significant. Sizes within 1 % are equal, and so are speeds whose ranges overlap.
    """
    rate, other_rate = point.answers_per_second, other.answers_per_second
    accurate = loss[1] <= MARGIN and loss[0] <= 0
    small = point.mib <= (1 + SAME_SIZE) * other.mib
    fast = rate.max >= other_rate.min
    better = loss[1] < 0 or point.mib < (1 - SAME_SIZE) * other.mib or rate.min > other_rate.max
    return bool(accurate and small and fast and better)
