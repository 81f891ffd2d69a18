"""The result of `medrega bench robust`."""

from __future__ import annotations

from dataclasses import dataclass

from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.result_files import DataIdentity, Estimate, optional

ALL = ""  # kinds of images together, or perturbations
THEMSELVES = "none"  # stands among perturbations for the images themselves


@dataclass(frozen=True)
class Cell:
    """One perturbation at one severity, for one kind of image, or for "" all of them.

    `objects` were asked for and are still in the picture; `left` have left it. `clean_*` are of the same objects in the
    images themselves. A hit has an IoU of at least 0.5. `drop` and `iou_drop` are clean minus perturbed. `confidence` is the
    mean of the boxes, `gap` is it minus their share of hits, `ece` their calibration error; None where no box was found.
    `without_box`, `unfamiliar`, `known_kind` are shares of objects or of pictures; `classes` is the share of classes right,
    None where no image has one, of `classes_asked`, which older results lack.
    """

    perturbation: str
    severity: int
    kind: str
    images: int
    objects: int
    left: int
    clean_accuracy: float
    accuracy: Estimate
    drop: Estimate
    clean_iou: float
    iou: Estimate
    iou_drop: Estimate
    without_box: float
    confidence: float | None
    gap: float | None
    ece: float | None
    unfamiliar: float
    known_kind: float
    classes: float | None
    classes_asked: int | None = optional()


@dataclass(frozen=True)
class MeanDrop:
    """The mean drop over all perturbations of a kind of image ("": all), at one severity or at 0: all three.

    Each perturbation counts the same, however many images it has. `n` of both is the number of answers.
    """

    kind: str
    severity: int
    drop: Estimate
    iou_drop: Estimate


@dataclass(frozen=True)
class Clean:
    """The images themselves: of one kind, or "" all."""

    kind: str
    images: int
    patients: int
    objects: int
    accuracy: Estimate
    iou: Estimate
    gap: float | None
    ece: float | None
    unfamiliar: float
    known_kind: float
    classes: float | None
    classes_asked: int | None = optional()


@dataclass(frozen=True)
class Measured:
    """One package: its figures of the images themselves and of each perturbation; a reference has no cells."""

    model: ModelIdentity
    clean: tuple[Clean, ...]
    means: tuple[MeanDrop, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Cost:
    """What quantisation costs on the same objects of the same pictures, package beside reference.

    `loss` is the accuracy of the reference minus that of the package. `drop` and `iou_drop` are the drops of the package
    minus those of the reference: below 0 the package drops less. `perturbation` "" is the mean over all, `severity` 0 over
    all three; "none" is the images themselves.
    """

    perturbation: str
    severity: int
    loss: Estimate
    drop: Estimate
    iou_drop: Estimate


@dataclass(frozen=True)
class RobustResult:
    """The result of `medrega bench robust`; `seconds` is how long perturbing images and answering took the package."""

    date: str
    command: str
    environment: Environment
    data: DataIdentity
    seed: int
    targets: tuple[float, ...]
    seconds: float
    package: Measured
    reference: Measured | None = optional()
    costs: tuple[Cost, ...] | None = optional()
    schema_version: int = 1
