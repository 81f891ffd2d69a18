"""The result of `medrega bench field`, and the figures of other publications that stand beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.result_files import DataIdentity, Estimate, parse

BOXES, FREE, CLASSES = "boxes", "free", "classes"
RIGHT = "right"  # a figure: the share of right answers, open and closed questions together


@dataclass(frozen=True)
class Published:
    """A figure of another publication, 0..1: what it measures, on which data, after which training, and where it stands."""

    row: str
    model: str
    value: float
    measure: str
    data: str
    training: str
    source: str
    read: str


@dataclass(frozen=True)
class PublishedFigures:
    """The content of datasets/published.json."""

    figures: tuple[Published, ...]


@dataclass(frozen=True)
class BoxFigures:
    """Mean IoU and the share from an IoU of 0.5 on; a name without a box counts 0."""

    images: int
    patients: int
    iou: Estimate
    acc50: Estimate


@dataclass(frozen=True)
class QuestionFigures:
    """Figures of free questions by name, each with the number of questions that it is of; one is called `RIGHT`."""

    images: int
    patients: int
    figures: Mapping[str, Estimate]


@dataclass(frozen=True)
class ImageSplit:
    """Images of another split of VQA-RAD by the part of our data that they are in; `missing` are not in our data."""

    source: str
    train: int
    val: int
    test: int
    missing: int


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold chosen on val so that at most `error` of the answers there is wrong, and what it gives on test.

    An answer that the program gives as "Not sure." counts as none. `error` is None for what it gives without a threshold,
    `threshold` where none on val holds.
    """

    error: float | None
    threshold: float | None
    coverage: Estimate | None
    realised: Estimate | None


@dataclass(frozen=True)
class Selective:
    """Answers of one kind by confidence: the risk-coverage curve of test, the area under it, and operating points.

    `dataset` is "" for all of them. `error`, `aurc` and `curve` take every answer by its confidence alone, also one that the
    program gives as "Not sure."; `points` take what it gives.
    """

    kind: str
    dataset: str
    n: int
    images: int
    patients: int
    error: Estimate
    aurc: float
    curve: tuple[tuple[float, float], ...]
    points: tuple[OperatingPoint, ...]


@dataclass(frozen=True)
class SideFigures:
    """Structures of a pair by name, "" for all: how many have a box, and the share of these that lies on the other side."""

    label: str
    images: int
    patients: int
    asked: int
    swapped: Estimate | None


@dataclass(frozen=True, kw_only=True)
class FieldResult:
    """The result of `medrega bench field`. `vqa_rad_unseen` are questions of the other split's test part in our test."""

    schema_version: int = 1
    date: str
    command: str
    environment: Environment
    model: ModelIdentity
    data: DataIdentity
    slake_boxes: BoxFigures
    slake_all_boxes: BoxFigures
    slake: Mapping[str, QuestionFigures]
    vqa_rad_images: ImageSplit | None = None
    vqa_rad_unseen: QuestionFigures | None = None
    sides: tuple[SideFigures, ...]
    selective: tuple[Selective, ...]


def published() -> tuple[Published, ...]:
    """Return the figures of other publications."""
    text = (files("medrega_bench.datasets") / "published.json").read_text(encoding="utf-8")
    return parse(PublishedFigures, json.loads(text), "published.json").figures
