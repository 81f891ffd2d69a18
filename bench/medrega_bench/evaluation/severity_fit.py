"""Find how strong each perturbation has to be for each kind of image: so strong that the mean SSIM reaches a target."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from medrega_bench.metrics.similarity import Floats, ssim, viewed
from medrega_bench.perturbations.catalogue import PERTURBATIONS, TARGETS, Perturbation, Severity
from medrega_bench.perturbations.picture import Pixels, from_bytes
from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import Record
from medrega_edge.images.reader import read_image

EACH = 8  # images of a kind
_STEPS = 9  # of a bisection


@dataclass(frozen=True, eq=False)
class Picture:
    """One image of the fit: its id, its pixels, and what SSIM compares with."""

    id: str
    pixels: Pixels
    clean: Floats


def pictures_of(records: Sequence[Record]) -> list[Picture]:
    """Read the images of records."""
    read = ((record.id, from_bytes(read_image(record.image).pixels)) for record in records)
    return [Picture(name, pixels, viewed(pixels)) for name, pixels in read]


def fit_severities(pictures: Mapping[Modality, Sequence[Picture]]) -> dict[str, dict[str, tuple[Severity, ...]]]:
    """Return the severities of each perturbation, by name, for each kind of image that it is made for."""
    pairs = [(each, kind) for each in PERTURBATIONS.values() for kind in each.changes if kind in pictures]
    with ThreadPoolExecutor() as pool:
        fitted = list(pool.map(lambda pair: fit(pair[0], pair[1], pictures[pair[1]]), pairs))
    found: dict[str, dict[str, tuple[Severity, ...]]] = {name: {} for name in PERTURBATIONS}
    for (perturbation, kind), three in zip(pairs, fitted, strict=True):
        found[perturbation.name][kind.value] = three
    return found


def fit(perturbation: Perturbation, kind: Modality, pictures: Sequence[Picture]) -> tuple[Severity, ...]:
    """Return the severities of a perturbation for pictures of one kind."""
    if perturbation.sizes:
        return tuple(Severity(size, None) for size in perturbation.sizes)

    def similarity(strength: float) -> float:
        return mean_ssim(perturbation, kind, strength, pictures)

    found = [strength_for(target, similarity, perturbation.bounds) for target in TARGETS]
    return tuple(_spread(found, similarity, perturbation.bounds[1]))


def _spread(found: Sequence[Severity], similarity: Callable[[float], float], most: float) -> Iterator[Severity]:
    """Yield severities; those out of reach lie evenly, in logarithms, between the last one reached and the most."""
    reached = [each for each in found if each.strength < most]
    yield from reached
    last, missing = math.log(reached[-1].strength), len(found) - len(reached)
    for place in range(1, missing + 1):
        strength = _three_digits(math.exp(last + (math.log(most) - last) * place / missing))
        yield Severity(strength, round(similarity(strength), 4))


def mean_ssim(perturbation: Perturbation, kind: Modality, strength: float, pictures: Sequence[Picture]) -> float:
    """Return the mean SSIM of perturbed pictures of one kind with the pictures themselves."""
    changed = (perturbation.apply(each.pixels, kind, strength, each.id).pixels.clip(0, 1) for each in pictures)
    return float(np.mean([ssim(each.clean, viewed(pixels)) for each, pixels in zip(pictures, changed, strict=True)]))


def strength_for(target: float, similarity: Callable[[float], float], bounds: tuple[float, float]) -> Severity:
    """Bisect for the strength at which `similarity`, which falls with it, is nearest to the target, between two bounds."""
    low, high = bounds
    if (least := similarity(high)) >= target:
        return Severity(high, round(least, 4))
    best = min(Severity(low, similarity(low)), Severity(high, least), key=lambda each: abs((each.ssim or 0.0) - target))
    for _ in range(_STEPS):
        middle = _three_digits(math.sqrt(low * high))
        found = similarity(middle)
        best = min(best, Severity(middle, found), key=lambda each: abs((each.ssim or 0.0) - target))
        low, high = (middle, high) if found > target else (low, middle)
    return Severity(best.strength, round(best.ssim or 0.0, 4))


def _three_digits(strength: float) -> float:
    return float(f"{strength:.3g}")
