"""A package answers questions with truth; here the answers become figures with intervals.

Knows answers and truth; knows no graph. Detection of one object: the first box of the answer counts, no box counts as
IoU 0. Identification: the name has to be the right one, to the letter. Intervals are bootstrap intervals over images,
because the questions of one image are not independent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medrega_bench.evaluation.figures import bootstrap, groups_of
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Task
from medrega_edge.engine import EncodedImage, Engine
from medrega_edge.errors import UsageError
from medrega_edge.tasks.intent import build_request

COMMONEST = 20
MEASURED = ("single_object_single_region", "region_to_text")  # the settings whose questions are answered here

Row = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """Mean IoU and accuracy at IoU 0.5 over `n` questions, with 95 % bootstrap intervals, and the share without a box."""

    n: int
    images: int
    mean_iou: float
    mean_iou_interval: tuple[float, float]
    acc50: float
    acc50_interval: tuple[float, float]
    no_box: float


def answer_all(engine: Engine, questions: Iterable[Row]) -> list[Row]:
    """Answer every question; return for each its id, image, groups, text, and IoU or whether the name is right."""
    rows = []
    seen: tuple[str, EncodedImage] | None = None
    for question in questions:
        if seen is None or seen[0] != question["image"]:
            seen = (question["image"], engine.open(question["image"]))
        box = PixelBox(*question["box"]) if question.get("box") else None
        try:
            request = build_request(question["task"], question["question"], box=box)
            answer = engine.run(seen[1], request, question["language"])
        except UsageError:  # a name that the weights were not trained on is refused: no box
            answer = None
        row = {key: question[key] for key in ("id", "task", "image", "modality", "object", "language")}
        row["raw_text"] = answer.raw_text if answer else ""
        if question["task"] == Task.IDENTIFY:
            row["right"] = answer is not None and answer.text == question["truth"]["text"]
        else:
            truth = PixelBox(*question["truth"]["regions"][0]["boxes"][0])
            written = answer.regions[0].box if answer and answer.regions else None
            row |= {"iou": iou(written, truth) if written else 0.0, "box": written is not None}
        rows.append(row)
    return rows


def figure(rows: list[Row]) -> Figure:
    """Sum up rows of one group."""
    overlaps = np.array([row["iou"] for row in rows])
    hits = (overlaps >= 0.5).astype(float)
    groups = _groups_by_image(rows)
    return Figure(
        n=len(rows),
        images=len(groups),
        mean_iou=float(overlaps.mean()),
        mean_iou_interval=bootstrap(overlaps, groups),
        acc50=float(hits.mean()),
        acc50_interval=bootstrap(hits, groups),
        no_box=float(np.mean([not row["box"] for row in rows])),
    )


def _groups_by_image(rows: list[Row]) -> list[npt.NDArray[np.int64]]:
    return groups_of([row["image"] for row in rows])


def names_figure(rows: list[Row]) -> dict[str, Any]:
    """Share of right names over rows of identification, with its interval."""
    right = np.array([float(row["right"]) for row in rows])
    interval = bootstrap(right, _groups_by_image(rows))
    return {"n": len(rows), "accuracy": float(right.mean()), "accuracy_interval": interval}


def tables(rows: list[Row]) -> dict[str, dict[str, Any]]:
    """Detection overall, per language, per modality and for the commonest objects, then identification per language."""
    placed = [row for row in rows if row["task"] == Task.DETECT]
    named = [row for row in rows if row["task"] == Task.IDENTIFY]

    def grouped(key: str, most: int | None = None) -> dict[str, Any]:
        return {name: asdict(figure(group)) for name, group in _by(placed, key)[:most]}

    return {
        "overall": {"all": asdict(figure(placed))},
        "language": grouped("language"),
        "modality": grouped("modality"),
        "object": grouped("object", COMMONEST),
        "identify": {name: names_figure(group) for name, group in _by(named, "language")},
    }


def _by(rows: list[Row], key: str) -> list[tuple[str, list[Row]]]:
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(row[key], []).append(row)
    return sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))


def compare(reference: list[Row], package: list[Row]) -> dict[str, Any]:
    """What a package loses against a reference on the same questions: IoU with its interval, and flipped answers."""
    if [row["id"] for row in reference] != [row["id"] for row in package]:
        raise ValueError("the two runs answered different questions")
    pairs = [(a, b) for a, b in zip(reference, package, strict=True) if a["task"] == Task.DETECT]
    names = [(a, b) for a, b in zip(reference, package, strict=True) if a["task"] == Task.IDENTIFY]
    loss = np.array([a["iou"] - b["iou"] for a, b in pairs])
    flipped = [a["raw_text"] != b["raw_text"] for a, b in pairs]
    same = [abs(a["iou"] - b["iou"]) < 0.1 for a, b in pairs]
    return {
        "n": len(loss),
        "reference_mean_iou": float(np.mean([a["iou"] for a, _ in pairs])),
        "package_mean_iou": float(np.mean([b["iou"] for _, b in pairs])),
        "mean_iou_loss": float(loss.mean()),
        "mean_iou_loss_interval": bootstrap(loss, _groups_by_image([b for _, b in pairs])),
        "text_differs": float(np.mean(flipped)),
        "iou_differs_by_a_tenth": 1.0 - float(np.mean(same)),
        "names": _names_loss(names),
    }


def _names_loss(pairs: list[tuple[Row, Row]]) -> dict[str, Any]:
    if not pairs:
        return {"n": 0}
    full, package = (np.array([float(pair[side]["right"]) for pair in pairs]) for side in (0, 1))
    return {
        "n": len(pairs),
        "reference": float(full.mean()),
        "package": float(package.mean()),
        "loss": float((full - package).mean()),
        "loss_interval": bootstrap(full - package, _groups_by_image([b for _, b in pairs])),
    }
