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
        dominated_by        precisions that are no less accurate, no larger and not clearly slower, and better in one
    }]
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medrega_bench import measure, paired, speed
from medrega_bench.kept import Progress
from medrega_edge.errors import GateError, UsageError
from medrega_edge.files import write_text
from medrega_edge.package import Package
from medrega_edge.plain import json_text
from medrega_export.recipe import FULL, FULL_BITS, Recipe

KIND = "sweep"
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
        if note.is_file() and note.read_text(encoding="utf-8") == identity:
            return Package.open(place)
        from medrega_export.build import ExportOptions, export

        calibration = None if recipe.bits == FULL_BITS else self.calibration
        options = ExportOptions(
            self.checkpoint, place, calibration, self.calibration_items, recipe=recipe, force=place.exists()
        )
        tell(f"building {recipe.name}")
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
    result = measure.result_of(header, measured, *data, speed.bandwidth())
    return result | {
        "checkpoint": sweep.checkpoint.resolve().name,
        "recipes": [recipe for recipe, _ in built],
        "refused": refused,
    }


def summary(result: Row) -> Row:
    """The sweep as a file: a point for each package, without its rows."""
    points = [_point(one, recipe) for one, recipe in zip(result["packages"], result["recipes"], strict=True)]
    for point in points:
        point["dominated_by"] = [other["precision"] for other in points if dominates(other, point)]
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


def dominates(one: Row, other: Row) -> bool:
    """Whether nobody needs the `other` point, because `one` is as good in everything and better in something.

    Losses are compared as measured. Speeds differ only where the ranges of their repeats do not overlap.
    """
    lost, other_lost = (point["loss"]["overall"]["value"] if point["loss"] else 0.0 for point in (one, other))
    rate, other_rate = one["answers_per_second"], other["answers_per_second"]
    slower, faster = rate["max"] < other_rate["min"], rate["min"] > other_rate["max"]
    no_worse = lost <= other_lost and one["mib"] <= other["mib"] and not slower
    return bool(no_worse and (lost < other_lost or one["mib"] < other["mib"] or faster))


def needed(points: Sequence[Row]) -> list[Row]:
    """The points on the frontier."""
    return [point for point in points if not point["dominated_by"]]


def check(sweep: Sweep) -> None:
    """Refuse in the first second what would fail after minutes; raises UsageError."""
    try:
        import medrega_export.build  # noqa: F401
    except ImportError:
        raise UsageError("A sweep builds packages, which needs more; install the extra [export].") from None
    for path, kind in ((sweep.checkpoint / "config.json", "checkpoint"), (sweep.calibration, "file of questions")):
        if not path.is_file():
            raise UsageError(f"There is no {kind} at the path given for '{path.parent.name}'; check the path.")
