"""Find what tells familiar images and questions from others: points of each kind of image, their limit, and questions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import Record
from medrega_edge.inference.familiar_images import distance
from medrega_edge.io.atomic import atomic_write, write_text
from medrega_edge.package.manifest import (
    FAMILIAR_IMAGES,
    FAMILIAR_QUESTIONS,
    FAMILIARITY_ROLES,
    MANIFEST,
    Familiarity,
    FamiliarKind,
    file_entry,
)
from medrega_edge.package.package import Package

POINTS = 64  # of a kind of image, at most: 32 flag as many images of held-out organs, and one more of 65 familiar ones
FAMILIAR = 0.98  # share of held-out images of a kind that the limit lets pass
FEWEST = 20  # held-out images of a kind, for a limit of its own
# Of the answers on val to questions with fewer such questions in training, 63 % were right; of the others 89 %.
SIMILARITY, SUPPORT = 0.8, 10
_RIDGE = 0.1  # of the mean variance, added to each direction before the covariance is inverted

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Embedded:
    """The mean embedding `[hidden]` of an image, and where it comes from."""

    embedding: Floats
    modality: Modality
    dataset: str


def fit(seen: Sequence[Embedded], held_out: Sequence[Embedded]) -> tuple[npt.NDArray[np.float16], dict[str, FamiliarKind]]:
    """Return the table of the package's file and its kinds, from images of training and of another split."""
    whitening = _whitening(seen).astype(np.float16).astype(np.float32)
    rows: list[npt.NDArray[np.floating]] = [whitening]
    kinds: dict[str, FamiliarKind] = {}
    for modality, images in _by_modality(seen).items():
        held = _by_modality(held_out).get(modality, [])
        if len(held) < FEWEST:
            continue
        points = _points(_stacked(images) @ whitening).astype(np.float16)
        rows.append(points)
        distances = [distance(image.embedding @ whitening, points.astype(np.float32)) for image in held]
        kinds[modality.value] = FamiliarKind(len(points), round(float(np.quantile(distances, FAMILIAR)), 4))
    return np.concatenate(rows).astype(np.float16), kinds


def _whitening(images: Sequence[Embedded]) -> Floats:
    """Return the matrix that makes the covariance within data sets of one kind of image the identity."""
    groups = defaultdict(list)
    for image in images:
        groups[image.modality, image.dataset].append(image)
    spread = np.concatenate([_stacked(group) - _stacked(group).mean(axis=0) for group in groups.values()])
    covariance = spread.T.astype(np.float64) @ spread / len(spread)
    covariance += np.eye(len(covariance)) * np.trace(covariance) / len(covariance) * _RIDGE
    return np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)


def _points(places: Floats) -> Floats:
    """Return the centres of clusters of whitened embeddings `[n, hidden]`."""
    from sklearn.cluster import KMeans

    clusters = KMeans(min(POINTS, len(places)), n_init=4, random_state=0).fit(places)
    return np.asarray(clusters.cluster_centers_, np.float32)


def _by_modality(images: Iterable[Embedded]) -> dict[Modality, list[Embedded]]:
    groups: dict[Modality, list[Embedded]] = defaultdict(list)
    for image in images:
        groups[image.modality].append(image)
    return dict(sorted(groups.items()))


def _stacked(images: Sequence[Embedded]) -> Floats:
    return np.stack([image.embedding for image in images])


def count_questions(records: Iterable[Record]) -> dict[str, int]:
    """Return the questions that were asked about images, each with the number of images, the most frequent first."""
    counts = Counter(question for record in records for question in {asked.question for asked in record.qa})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def add_to(
    package: Package, table: npt.NDArray[np.float16], kinds: dict[str, FamiliarKind], questions: dict[str, int]
) -> None:
    """Write both files into a package, and what they are into its manifest."""
    images, asked = (package.folder / FAMILIARITY_ROLES[role] for role in (FAMILIAR_IMAGES, FAMILIAR_QUESTIONS))
    with atomic_write(images) as file:
        np.save(file, table)
    write_text(asked, json.dumps(questions, ensure_ascii=False, indent=0) + "\n")
    entries = {FAMILIAR_IMAGES: file_entry(images, "fp16"), FAMILIAR_QUESTIONS: file_entry(asked, "text")}
    manifest = replace(
        package.manifest,
        files=package.manifest.files | entries,
        familiarity=Familiarity(kinds, SIMILARITY, SUPPORT),
    )
    write_text(package.folder / MANIFEST, manifest.to_json())
