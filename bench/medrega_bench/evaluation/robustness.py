"""Ask a package about images and about their perturbed versions: where objects are, what kind of image, which class."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.perturbations.catalogue import PERTURBATIONS, Severities
from medrega_bench.perturbations.picture import Perturbed, from_bytes, to_bytes
from medrega_bench.result_files import DataIdentity, parse, to_json_values
from medrega_edge.answer import Answer
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Language, Modality
from medrega_edge.engine import EncodedImage, Engine
from medrega_edge.errors import UsageError
from medrega_edge.evaluation import grading
from medrega_edge.evaluation.bootstrap import SEED
from medrega_edge.evaluation.matching import HIT
from medrega_edge.evaluation.questions import ONE_LABEL, Question
from medrega_edge.evaluation.records import Record
from medrega_edge.evaluation.runner import ask, words
from medrega_edge.images.reader import read_image
from medrega_edge.io.atomic import unwritable
from medrega_edge.io.jsonl import jsonl_line

ONE_PLACE = "single_object_single_region"
CLEAN = ""  # the name of no perturbation


@dataclass(frozen=True)
class View:
    """What was answered about one picture: an image, or one of its perturbed versions; `severity` 0 is the image itself.

    `overlaps` has the IoU of each object asked for, 0 without a box, None for an object that has left the picture;
    `confidences` those of the same boxes, None without one. `is_known_kind` tells whether the kind of image was recognised,
    `is_unfamiliar` whether the program warned that the image is unlike those of training, `classes` which were right.
    """

    perturbation: str
    severity: int
    overlaps: tuple[float | None, ...]
    confidences: tuple[float | None, ...]
    is_known_kind: bool
    is_unfamiliar: bool
    classes: tuple[bool, ...]

    @property
    def hits(self) -> tuple[bool | None, ...]:
        """Whether each object was found with an IoU of at least 0.5."""
        return tuple(None if overlap is None else overlap >= HIT for overlap in self.overlaps)


@dataclass(frozen=True)
class ImageAnswers:
    """Everything that was answered about an image, the image itself first.

    `asked` is a hash of what was asked, `seconds` how long perturbing and answering took.
    """

    asked: str
    patient: str
    kind: str
    seconds: float
    views: tuple[View, ...]


@dataclass(frozen=True)
class Subject:
    """An image with what is asked about it: places of single objects, and the class of the image."""

    record: Record
    questions: tuple[Question, ...]

    @property
    def patient(self) -> str:
        """Whose image it is, among all data sets; an image without a patient is of its own."""
        return f"{self.record.dataset}/{self.record.patient or self.record.id}"


def subjects(records: Sequence[Record], items: Sequence[EvaluationItem], limit: int | None) -> list[Subject]:
    """Return images with an object to locate, at most `limit`, spread over kinds of image and in each over data sets.

    Each has its questions in English: for objects of one region, and for the one class of the whole image.
    """
    asked: dict[Path, list[Question]] = defaultdict(list)
    for item in items:
        if item.question.language is Language.EN and item.question.setting in (ONE_PLACE, ONE_LABEL):
            asked[item.question.image].append(item.question)
    usable = {
        record.id: Subject(record, tuple(asked[record.image]))
        for record in records
        if any(question.setting == ONE_PLACE for question in asked[record.image])
    }
    kinds = in_turn_by_kind([subject.record for subject in usable.values()])
    return [usable[record.id] for record in _in_turn(list(kinds.values()))[:limit]]


def in_turn_by_kind(records: Sequence[Record]) -> dict[Modality, list[Record]]:
    """Return the records of each kind of image in a random order (seeded), of each data set one after the other."""
    kinds: dict[Modality, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for place in np.random.default_rng(SEED).permutation(len(records)):
        kinds[records[place].modality][records[place].dataset].append(records[place])
    return {kind: _in_turn([sets[name] for name in sorted(sets)]) for kind, sets in sorted(kinds.items())}


def _in_turn(groups: Sequence[Sequence[Record]]) -> list[Record]:
    """Take one of each group, then a second one, until all are taken."""
    longest = max(map(len, groups), default=0)
    return [group[place] for place in range(longest) for group in groups if place < len(group)]


def answers(
    engine: Engine, chosen: Sequence[Subject], strengths: Severities, journal: Path | None = None
) -> Iterator[ImageAnswers]:
    """Ask about each image and its perturbed versions.

    `journal` is a file of answers: what it holds is not asked again, and each image is added when it is done. Raises
    UsageError or ResourceError where it cannot be read or written.
    """
    known = _read(journal) if journal else {}
    for subject in chosen:
        key = _key(subject, strengths)
        if key not in known:
            known[key] = _about(engine, subject, strengths, key)
            if journal:
                _append(journal, jsonl_line(to_json_values(known[key])))
        yield known[key]


def _read(journal: Path) -> dict[str, ImageAnswers]:
    """Read the lines of a journal, without those that are torn or of another version."""
    found: dict[str, ImageAnswers] = {}
    try:
        lines = journal.read_bytes().splitlines() if journal.is_file() else []
    except OSError as error:
        raise unwritable(error) from None
    for line in lines:
        try:
            one = parse(ImageAnswers, json.loads(line), journal.name)
        except (ValueError, UsageError):
            continue
        found[one.asked] = one
    return found


def _append(journal: Path, line: bytes) -> None:
    """Add a line, on a line of its own where the last one is torn."""
    try:
        with journal.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line)
    except OSError as error:
        raise unwritable(error) from None


def _key(subject: Subject, strengths: Severities) -> str:
    """A hash of an image, of what is asked about it, and of its perturbations."""
    asked = [[question.question, question.truth.text, question.setting] for question in subject.questions]
    hashed = hashlib.sha256(subject.record.image.read_bytes())
    hashed.update(json.dumps([subject.record.id, asked, to_json_values(strengths.strengths)]).encode())
    return hashed.hexdigest()[:16]


def _about(engine: Engine, subject: Subject, strengths: Severities, key: str) -> ImageAnswers:
    begun = time.perf_counter()
    image, kind = read_image(subject.record.image), subject.record.modality
    pixels = from_bytes(image.pixels)

    def view(name: str, severity: int, perturbed: Perturbed) -> View:
        encoded = engine.encode(replace(image, pixels=to_bytes(perturbed.pixels)))
        return _answered(engine, encoded, subject, name, severity, perturbed)

    views = [view(CLEAN, 0, Perturbed(pixels))]
    for perturbation in PERTURBATIONS.values():
        if kind in perturbation.changes:
            for severity, fitted in enumerate(strengths.of(perturbation, kind), 1):
                changed = perturbation.apply(pixels, kind, fitted.strength, subject.record.id)
                views.append(view(perturbation.name, severity, changed))
    return ImageAnswers(key, subject.patient, kind, round(time.perf_counter() - begun, 3), tuple(views))


def _answered(
    engine: Engine, encoded: EncodedImage, subject: Subject, name: str, severity: int, perturbed: Perturbed
) -> View:
    overlaps: list[float | None] = []
    confidences: list[float | None] = []
    classes: list[bool] = []
    given: list[Answer] = []
    for question in subject.questions:
        true = None if question.setting == ONE_LABEL else perturbed.box(question.truth.regions[0].boxes[0])
        answer = None if question.setting != ONE_LABEL and true is None else ask(engine, encoded, question)
        given += [answer] if answer else []
        if question.setting == ONE_LABEL:
            graded = grading.grade(ONE_LABEL, words(answer), question.truth.text)
            classes.append(graded is not None and graded.accuracy == 1)
        else:
            overlap, confidence = (None, None) if true is None else _best(answer, true)
            overlaps.append(overlap)
            confidences.append(confidence)
    return View(
        perturbation=name,
        severity=severity,
        overlaps=tuple(overlaps),
        confidences=tuple(confidences),
        is_known_kind=engine.modality(encoded) is subject.record.modality,
        is_unfamiliar=any(answer.is_unfamiliar for answer in given),
        classes=tuple(classes),
    )


def _best(answer: Answer | None, true: PixelBox) -> tuple[float, float | None]:
    """Return the IoU of the box that counts with the true one, and its confidence: the best one, as MedRegA counts."""
    found = [(round(iou(region.box, true), 4), region.confidence) for region in answer.regions] if answer else []
    return max(found, key=lambda one: one[0], default=(0.0, None))


def identity(name: str, split: str, chosen: Sequence[Subject]) -> DataIdentity:
    """Describe what is asked, without a path or a patient."""
    hashed = hashlib.sha256()
    for subject in chosen:
        texts = [[question.question, question.truth.text] for question in subject.questions]
        hashed.update(json.dumps([subject.record.id, texts], ensure_ascii=False).encode())
    questions = sum(len(subject.questions) for subject in chosen)
    return DataIdentity(name, split, questions, len(chosen), hashed.hexdigest()[:16])
