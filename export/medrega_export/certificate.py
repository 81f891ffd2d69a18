"""The certificate: the same questions answered in full precision and by the package, and what that cost in accuracy.

Knows answers and truth; knows nothing of how either package was made. Answers come from the runtime's own engine, so
what is certified is what a user gets. It names the questions by hash and quotes none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import medrega_edge
import medrega_export
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Task
from medrega_edge.engine import EncodedImage, Engine, EngineOptions
from medrega_edge.errors import UsageError
from medrega_edge.inference.confidence import fit
from medrega_edge.package.package import Package
from medrega_edge.package.registry import find_package
from medrega_edge.tasks.intent import build_request
from medrega_export.quantisation.recipe import Recipe
from medrega_export.questions import Question

SCHEMA_VERSION = 1
RESAMPLES, SEED = 2000, 20261123
HIT = 0.5  # IoU from which a box counts as found
DIFFERS = 0.01  # IoU by which a score may move before it counts: below it two answers show the same place
WORST = 10  # items that are named
ENOUGH_BOXES = 50  # to calibrate on; with fewer, two fitted numbers say more about the sample than about the weights
LIBRARIES = ("medrega-edge", "gptqmodel", "torch", "transformers", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Given:
    """An answer as far as it is judged."""

    text: str  # as the model wrote it
    prose: str  # as a person reads it
    boxes: tuple[PixelBox, ...]
    warnings: int
    scores: tuple[float | None, ...] = ()  # of the boxes, uncalibrated


@dataclass(frozen=True)
class Judged:
    """One question, answered twice. `iou` is None where the truth is a name, not a place."""

    item: str  # hash of its line in the file of questions
    group: tuple[str, str, str]  # task, language, modality or ""
    image: str
    iou: tuple[float, float] | None  # full precision, package
    correct: tuple[float, float]
    changed: bool
    warned: tuple[int, int]


def place_score(given: Sequence[PixelBox], truth: Sequence[PixelBox]) -> tuple[float, float]:
    """Mean IoU and share of hits over best pairs; what is missing or too much counts 0. Nothing for nothing is 1."""
    count = max(len(given), len(truth))
    if not count:
        return 1.0, 1.0
    pairs = sorted(((iou(g, t), i, j) for i, g in enumerate(given) for j, t in enumerate(truth)), reverse=True)
    taken_given: set[int] = set()
    taken_truth: set[int] = set()
    overlaps = []
    for overlap, i, j in pairs:
        if i not in taken_given and j not in taken_truth:
            taken_given.add(i)
            taken_truth.add(j)
            overlaps.append(overlap)
    return sum(overlaps) / count, sum(overlap >= HIT for overlap in overlaps) / count


def same_name(text: str, truth: str) -> bool:
    """Whether two names agree but for case, blanks and the full stop."""
    return _plain(text) == _plain(truth)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().strip(".。").casefold()


def judge(question: Question, image_key: str, reference: Given, package: Given) -> Judged:
    """Hold both answers to a question against the truth."""
    truth = [box for _, box in question.boxes]
    overlap, correct = None, (0.0, 0.0)
    if truth or question.task is Task.DETECT:
        scores = [place_score(given.boxes, truth) for given in (reference, package)]
        overlap, correct = (scores[0][0], scores[1][0]), (scores[0][1], scores[1][1])
    else:
        correct = (float(same_name(reference.prose, question.text)), float(same_name(package.prose, question.text)))
    return Judged(
        question.sha256,
        (question.task.value, question.language.value, question.modality.value if question.modality else ""),
        image_key,
        overlap,
        correct,
        reference.text != package.text,
        (reference.warnings, package.warnings),
    )


def summarise(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    """One entry per task and language, and further ones per modality where the questions name it."""
    groups: dict[tuple[str, str, str], list[Judged]] = {}
    for one in judged:
        task, language, modality = one.group
        groups.setdefault((task, language, ""), []).append(one)
        if modality:
            groups.setdefault((task, language, modality), []).append(one)
    return [_entry(key, groups[key]) for key in sorted(groups)]


def _entry(key: tuple[str, str, str], members: Sequence[Judged]) -> dict[str, Any]:
    task, language, modality = key
    entry: dict[str, Any] = {"task": task, "language": language, "modality": modality or None}
    placed = [one for one in members if one.iou is not None]
    entry |= {
        "n": len(members),
        "images": len({one.image for one in members}),
        "mean_iou": _beside(placed, [one.iou for one in placed if one.iou is not None]) if placed else None,
        "accuracy": _beside(members, [one.correct for one in members]),
        "changed": float(np.mean([one.changed for one in members])),
        "flipped": float(np.mean([one.correct[0] != one.correct[1] for one in members])),
        "moved": float(np.mean([abs(one.iou[0] - one.iou[1]) > DIFFERS for one in placed if one.iou])) if placed else None,
        "warnings": {"reference": sum(o.warned[0] for o in members), "package": sum(o.warned[1] for o in members)},
    }
    return entry


def losses(judged: Sequence[Judged]) -> dict[str, Any]:
    """Name the items that came out worst beside full precision, and all whose answer became wrong or right."""
    worst = sorted((one for one in judged if _lost(one) > 0), key=lambda one: (-_lost(one), one.item))[:WORST]
    return {
        "worst": [_named(one) | {"score": list(one.correct if one.iou is None else one.iou)} for one in worst],
        "flips": [
            _named(one) | {"to": "right" if one.correct[1] > one.correct[0] else "wrong"}
            for one in judged
            if one.correct[0] != one.correct[1]
        ],
    }


def _lost(one: Judged) -> float:
    before, after = one.correct if one.iou is None else one.iou
    return before - after


def _named(one: Judged) -> dict[str, Any]:
    task, language, modality = one.group
    return {"item": one.item, "task": task, "language": language, "modality": modality or None}


def _beside(members: Sequence[Judged], scores: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Mean of both, and the loss with a 95% interval over images: questions about one image are not independent."""
    both = np.array(scores, np.float64)
    loss = both[:, 0] - both[:, 1]
    images = sorted({one.image for one in members})
    number = {image: i for i, image in enumerate(images)}
    index = np.array([number[one.image] for one in members])
    sums = np.bincount(index, loss, len(images))
    counts = np.bincount(index, minlength=len(images))
    draws = np.random.default_rng(SEED).integers(0, len(images), (RESAMPLES, len(images)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {
        "reference": float(both[:, 0].mean()),
        "package": float(both[:, 1].mean()),
        "loss": float(loss.mean()),
        "interval": [float(low), float(high)],
    }


def answer(
    folder: Path, questions: Sequence[Question], tell: Callable[[str], None], mapped: bool = False
) -> list[tuple[str, Given]]:
    """Answer questions with the runtime; returns the image's hash and the answer of each.

    `mapped` leaves the weights on the disk.
    """
    engine = Engine(find_package(folder), EngineOptions(mapped=mapped))
    images: dict[Path, EncodedImage] = {}
    results = []
    for number, question in enumerate(questions, 1):
        if question.image not in images:
            images.clear()  # questions of a file come image by image; one is enough to keep
            images[question.image] = engine.open(question.image)
        image = images[question.image]
        box = question.box if question.task is Task.IDENTIFY else None
        try:
            request = build_request(
                question.task, question.question, box=box, labels=question.labels, multiple=question.several
            )
            given = engine.run(image, request, question.language)
        except UsageError as error:  # a name that the weights were not trained on: refused, and so not found
            results.append((image.image.sha256, Given("", str(error), (), 1)))
            continue
        boxes = tuple(region.box for region in given.regions)
        scores = tuple(region.confidence for region in given.regions)
        results.append((given.image.sha256, Given(given.raw_text, given.text, boxes, len(given.warnings), scores)))
        if number % 50 == 0:
            tell(f"certificate: {number} of {len(questions)} questions")
    return results


@dataclass(frozen=True)
class Comparison:
    """What two packages made of the same questions: a table of both, the items that suffered (`losses`), and how the
    scores of the second are calibrated.
    """

    accuracy: list[dict[str, Any]]
    losses: dict[str, Any]
    calibration: tuple[float, ...]


def compare(reference: Path, package: Path, questions: Sequence[Question], tell: Callable[[str], None]) -> Comparison:
    """Answer all questions with both packages, one after the other, neither calibrated yet, and summarise.

    The reference may be larger than the memory; the package runs as users run it.
    """
    full = answer(reference, questions, tell, mapped=True)
    quantised = answer(package, questions, tell)
    judged = [judge(question, image, a, b) for question, (image, a), (_, b) in zip(questions, full, quantised, strict=True)]
    return Comparison(summarise(judged), losses(judged), calibration_of(questions, [given for _, given in quantised]))


def calibration_of(questions: Sequence[Question], given: Sequence[Given]) -> tuple[float, ...]:
    """Fit the scores of boxes to whether they overlap their truth by half, over questions about one region."""
    scores, right = [], []
    for question, one in zip(questions, given, strict=True):
        truth = [box for _, box in question.boxes]
        if question.task is Task.DETECT and len(truth) == 1 and one.boxes and one.scores[0] is not None:
            scores.append(one.scores[0])
            right.append(iou(one.boxes[0], truth[0]) >= HIT)
    return fit(scores, right) if len(scores) >= ENOUGH_BOXES else ()


def certificate(
    stages: Mapping[str, tuple[float, float | None]],
    compared: Comparison | None,
    reason: str | None,
    questions: Iterable[Question],
    packages: Mapping[str, Path],
    recipe: Recipe,
    weights: Sequence[Path],
) -> dict[str, Any]:
    """Put together `certificate.json`. `stages` holds error and limit, `packages` "reference" and "package" folders.

    `weights` are the files that the package was made from; `compared` and `questions` are None and empty without accuracy.
    """
    hashes = [question.sha256 for question in questions]
    return {
        "schema_version": SCHEMA_VERSION,
        "accuracy": compared.accuracy if compared else None,
        "reason": reason,
        **(compared.losses if compared else {}),
        "recipe": json.loads(recipe.to_json()),
        "stages": {name: {"error": error, "limit": limit} for name, (error, limit) in stages.items()},
        "items": {
            "count": len(hashes),
            "sha256": hashlib.sha256("\n".join(hashes).encode()).hexdigest() if hashes else None,
        },
        "bootstrap": {"over": "images", "resamples": RESAMPLES, "seed": SEED, "interval": 0.95},
        "packages": {name: _hashes(folder) for name, folder in packages.items()},
        "weights": {path.name: _sha256(path) for path in weights},
        "code": code(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }


def _hashes(folder: Path) -> dict[str, str]:
    files = Package.open(folder).manifest.files
    return {role: files[role].sha256 for role in ("vision", "decoder", "embeddings", "tokenizer", "prompts")}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code() -> str:
    """Hash every module of the program that made and measured the package."""
    digest = hashlib.sha256()
    for package in (medrega_edge, medrega_export):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()}:{_sha256(path)}\n".encode())
    return digest.hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
