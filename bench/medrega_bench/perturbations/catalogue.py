"""The 22 perturbations: which kinds of images each makes sense for, and how its strength is found."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from medrega_bench.perturbations import general, medical
from medrega_bench.perturbations.picture import Perturbed, Pixels
from medrega_bench.result_files import parse
from medrega_edge.domain import Modality
from medrega_edge.evaluation.bootstrap import SEED

SEVERITIES = (1, 2, 3)
TARGETS = (0.9, 0.75, 0.6)  # mean SSIM at each severity
FITTED = "severities.json"

Change = Callable[[Pixels, float, np.random.Generator], Perturbed]


@dataclass(frozen=True)
class Perturbation:
    """What is done to each kind of image; a kind that is not in `changes` is left out.

    SSIM fixes the strengths, between the two `bounds`. `sizes` fixes them instead where a picture moves: two pictures that
    lie a few pixels apart have nothing in common for SSIM, however much of one is in the other.
    """

    name: str
    changes: Mapping[Modality, Change]
    bounds: tuple[float, float] = (0.0, 0.0)
    sizes: tuple[float, float, float] | None = None

    @property
    def is_general(self) -> bool:
        """Whether it makes sense for every kind of image."""
        return len(self.changes) == len(Modality)

    def apply(self, pixels: Pixels, kind: Modality, strength: float, image: str) -> Perturbed:
        """Perturb a picture; the same `image` draws the same, at every strength. Values may lie outside 0..1."""
        seeds = (SEED, zlib.crc32(self.name.encode()), zlib.crc32(image.encode()))
        return self.changes[kind](pixels, strength, np.random.default_rng(seeds))


def _always(change: Change) -> Mapping[Modality, Change]:
    return dict.fromkeys(Modality, change)


_LIT = (Modality.ENDOSCOPY, Modality.FUNDUS, Modality.DERMOSCOPY, Modality.PATHOLOGY)

PERTURBATIONS = {
    each.name: each
    for each in (
        Perturbation("blur", _always(general.blur), (2e-4, 0.05)),
        Perturbation("noise", _always(general.noise), (1e-3, 1.0)),
        Perturbation("jpeg", _always(general.jpeg), (1.05, 25.0)),
        Perturbation("gamma", _always(general.gamma), (0.01, 1.5)),
        Perturbation("contrast", _always(general.contrast), (0.01, 0.9)),
        Perturbation("resampling", _always(general.resampling), (0.05, 20.0)),
        Perturbation("crop", _always(general.crop), sizes=(0.1, 0.2, 0.3)),
        Perturbation("rotation", _always(general.rotation), sizes=(3.0, 6.0, 12.0)),
        Perturbation("shift", _always(general.shift), sizes=(0.05, 0.1, 0.2)),
        Perturbation("occlusion", _always(general.occlusion), sizes=(0.05, 0.1, 0.2)),
        Perturbation("text_overlay", _always(general.text_overlay), (0.015, 1.0)),
        Perturbation("border", _always(general.border), sizes=(0.05, 0.1, 0.2)),
        Perturbation("bias_field", {Modality.MRI: medical.bias_field}, (0.01, 4.0)),
        Perturbation("ghosting", {Modality.MRI: medical.ghosting}, (0.005, 1.0)),
        Perturbation("motion", {Modality.MRI: medical.motion}, (2e-4, 0.06)),
        Perturbation("metal_streaks", {Modality.CT: medical.metal_streaks}, (0.005, 2.0)),
        Perturbation(
            "low_dose",
            {Modality.CT: medical.ct_noise, **dict.fromkeys((Modality.XRAY, Modality.MAMMOGRAPHY), medical.quantum_noise)},
            (1e-3, 1.0),
        ),
        Perturbation("window_error", {Modality.CT: medical.window_error}, (0.01, 2.0)),
        Perturbation("speckle", dict.fromkeys((Modality.ULTRASOUND, Modality.OCT), medical.speckle), (0.005, 1.5)),
        Perturbation("gain", {Modality.ULTRASOUND: medical.gain}, (0.005, 1.0)),
        Perturbation("hair", {Modality.DERMOSCOPY: medical.hair}, (0.005, 1.0)),
        Perturbation("illumination", dict.fromkeys(_LIT, medical.illumination), (0.01, 4.0)),
    )
}


@dataclass(frozen=True)
class Severity:
    """The strength of one severity, and the mean SSIM of the images that it was fitted on, None where a size fixes it."""

    strength: float
    ssim: float | None


@dataclass(frozen=True)
class Severities:
    """Strengths of each perturbation and kind of image, fitted on images of a split.

    `images` is how many of each kind there were; `targets` the mean SSIM of each severity. Where not even the strongest
    strength that makes sense reaches it, `ssim` says what was reached.
    """

    command: str
    seed: int
    split: str
    targets: tuple[float, ...]
    images: Mapping[str, int]
    strengths: Mapping[str, Mapping[str, tuple[Severity, ...]]]
    schema_version: int = 1

    def of(self, perturbation: Perturbation, kind: Modality) -> tuple[Severity, ...]:
        """Return the severities of a perturbation for a kind of image, the weakest first."""
        return self.strengths[perturbation.name][kind]


@cache
def severities() -> Severities:
    """Return the strengths that come with this program."""
    text = files("medrega_bench.perturbations").joinpath(FITTED).read_text(encoding="utf-8")
    return parse(Severities, json.loads(text), FITTED)
