"""Find what tells familiar images and questions from others: points of each kind of image, their limit, and questions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from medrega_edge.domain import Modality
from medrega_edge.engine import Engine
from medrega_edge.evaluation.records import Record
from medrega_edge.inference.familiar_images import ASKED, distances_to
from medrega_edge.io.atomic import atomic_write, write_text
from medrega_edge.package.manifest import (
    FAMILIAR_IMAGES,
    FAMILIAR_NAMES,
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
FAMILIAR_NAME = 0.995  # share of the annotated names of held-out images that are familiar
NAMED = 0.05  # share of the images nearest to a point that have a box of a name, for the point to have it
_RIDGE = 0.1  # of the mean variance, added to each direction before the covariance is inverted

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Embedded:
    """The mean embedding `[hidden]` of an image, where it comes from, and its names: of boxes, of classes, and `ASKED`."""

    embedding: Floats
    modality: Modality
    dataset: str
    names: frozenset[str] = frozenset()


def embedded(engine: Engine, record: Record) -> Embedded:
    """Encode the image of a record."""
    names = {*(region.label_en for region in record.targets), *record.labels, *([ASKED] if record.qa else [])}
    return Embedded(engine.open(record.image).embeds.mean(axis=0), record.modality, record.dataset, frozenset(names))


@dataclass(frozen=True, eq=False)
class Fitted:
    """What the package's files of familiar images hold, and the numbers of its manifest."""

    table: npt.NDArray[np.float16]
    kinds: dict[str, FamiliarKind]
    names: dict[str, dict[str, list[int]]]
    name_ratio: float

    def numbers(self) -> Familiarity:
        """Return the manifest's part."""
        return Familiarity(self.kinds, self.name_ratio, SIMILARITY, SUPPORT)


def fit(seen: Sequence[Embedded], held_out: Sequence[Embedded]) -> Fitted:
    """Find the points, their names and the limits, from images of training and of another split."""
    whitening = _whitening(seen).astype(np.float16).astype(np.float32)
    rows: list[npt.NDArray[np.floating]] = [whitening]
    kinds: dict[str, FamiliarKind] = {}
    names: dict[str, dict[str, list[int]]] = {}
    ratios: list[float] = []
    for modality, images in _by_modality(seen).items():
        held = _by_modality(held_out).get(modality, [])
        if len(held) < FEWEST:
            continue
        places = _stacked(images) @ whitening
        rows.append(_points(places).astype(np.float16))
        points = rows[-1].astype(np.float32)
        names[modality.value] = named = _names_of_points(images, places, points)
        distances = [distances_to(image.embedding @ whitening, points) for image in held]
        limit = float(np.quantile([each.min() for each in distances], FAMILIAR))
        kinds[modality.value] = FamiliarKind(len(points), round(limit, 4))
        ratios += [
            float(each[named[name]].min() / each.min())
            for image, each in zip(held, distances, strict=True)
            for name in image.names & named.keys()
        ]
    ratio = float(np.quantile(ratios, FAMILIAR_NAME)) if ratios else 1.0
    return Fitted(np.concatenate(rows).astype(np.float16), kinds, names, round(ratio, 2))


def _names_of_points(images: Sequence[Embedded], places: Floats, points: Floats) -> dict[str, list[int]]:
    """Return the points of each name: those for which it had boxes in a share of the images that are nearest to them."""
    nearest = [int(distances_to(place, points).argmin()) for place in places]
    sizes = Counter(nearest)
    counts = Counter((name, point) for image, point in zip(images, nearest, strict=True) for name in image.names)
    found = defaultdict(list)
    for (name, point), count in sorted(counts.items()):
        if count >= NAMED * sizes[point]:
            found[name].append(point)
    return dict(found)


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


def add_to(package: Package, fitted: Fitted, questions: dict[str, int]) -> None:
    """Write the files into a package, and what they are into its manifest."""
    paths = {role: package.folder / name for role, name in FAMILIARITY_ROLES.items()}
    with atomic_write(paths[FAMILIAR_IMAGES]) as file:
        np.save(file, fitted.table)
    write_text(paths[FAMILIAR_NAMES], json.dumps(fitted.names, ensure_ascii=False, separators=(",", ":")) + "\n")
    write_text(paths[FAMILIAR_QUESTIONS], json.dumps(questions, ensure_ascii=False, indent=0) + "\n")
    entries = {role: file_entry(path, "fp16" if role == FAMILIAR_IMAGES else "text") for role, path in paths.items()}
    manifest = replace(package.manifest, files=package.manifest.files | entries, familiarity=fitted.numbers())
    write_text(package.folder / MANIFEST, manifest.to_json())
