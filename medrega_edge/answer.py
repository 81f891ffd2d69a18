"""What an answer is: frozen dataclasses, and `to_dict()`, which is the JSON schema that others rely on.

Knows the schema (version 1, DESIGN.md); knows nothing of how answers come about or how they are shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from medrega_edge.domain import NOTICE

if TYPE_CHECKING:
    from medrega_edge.images.medical_image import Area

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Region:
    """A named box in pixels of the original image, x2 and y2 exclusive.

    `confidence` is the probability that the box overlaps the truth by half, where the package was calibrated.
    """

    label: str
    box: tuple[float, float, float, float]
    confidence: float | None


@dataclass(frozen=True)
class Label:
    """A class of the whole image."""

    label: str
    confidence: float | None


@dataclass(frozen=True)
class ImageFacts:
    """What was looked at. `modality` is what the file says, else what was recognised, then with `modality_confidence`."""

    path: str | None
    width: int
    height: int
    modality: str | None
    frame: int | None
    window: tuple[float, float] | None
    sha256: str
    spacing_mm: tuple[float, float] | None = None  # millimetres of a pixel, across and down
    modality_confidence: float | None = None
    sides: tuple[str, str, str, str] | None = None  # the patient's directions at the left, top, right and bottom
    series: int | None = None  # of a folder, counted from 0
    slice: int | None = None  # of a series or a volume, counted from 0
    spacing_areas: tuple[Area, ...] = ()  # where `spacing_mm` holds, when not everywhere

    def in_millimetres(self, box: Area) -> Area | None:
        """A box from the image's top left corner in millimetres, None where the size of its pixels is not known."""
        areas = self.spacing_areas
        if self.spacing_mm is None or (areas and not any(_lies_in(box, area) for area in areas)):
            return None
        across, down = self.spacing_mm
        return box[0] * across, box[1] * down, box[2] * across, box[3] * down


@dataclass(frozen=True)
class Certified:
    """What share of `answers` of this kind was right when the package was certified; a box is from an IoU of 0.5 on."""

    right: float
    answers: int


@dataclass(frozen=True)
class ModelFacts:
    """Which package answered, and how it was certified for such answers; `sha256` is that of its manifest."""

    name: str
    version: str
    sha256: str
    precision: str
    certified: Certified | None = None  # where nobody measured, as for reports


@dataclass(frozen=True)
class Timings:
    """Milliseconds. `load` is that of the package, `image` and `vision` that of looking at the image, each done once.

    `total` is what this answer took: prefill and decode, and looking at the image when it is the first about it.
    """

    load: float = 0.0
    image: float = 0.0
    vision: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Answer:
    """One answer to one question about one image.

    `raw_text` is what the model wrote, `text` what a person reads; `finish` is "stop" or "length".
    """

    text: str
    raw_text: str
    task: str
    language: str
    regions: tuple[Region, ...]
    labels: tuple[Label, ...]
    image: ImageFacts
    model: ModelFacts
    device: str
    finish: str
    prompt_tokens: int
    generated_tokens: int
    timings: Timings
    warnings: tuple[str, ...] = field(default=())

    def to_dict(self, include_identifiers: bool = False) -> dict[str, Any]:
        """Return the answer as schema 1.

        The image's path is left null unless `include_identifiers`: names of files and folders often name a patient. The
        file's sha256 tells which image it was.
        """
        image = asdict(self.image) | ({} if include_identifiers else {"path": None})
        return {
            "schema_version": SCHEMA_VERSION,
            "text": self.text,
            "raw_text": self.raw_text,
            "task": self.task,
            "language": self.language,
            "regions": [
                {"label": r.label, "box": [round(v, 2) for v in r.box], "confidence": _rounded(r.confidence)}
                | self._in_millimetres(r)
                for r in self.regions
            ],
            "labels": [{"label": x.label, "confidence": _rounded(x.confidence)} for x in self.labels],
            "image": {name: _listed(value) for name, value in image.items()},
            "model": asdict(self.model),
            "device": self.device,
            "finish": self.finish,
            "tokens": {"prompt": self.prompt_tokens, "generated": self.generated_tokens},
            "timings_ms": {name: round(value, 2) for name, value in asdict(self.timings).items()},
            "warnings": list(self.warnings),
            "notice": NOTICE,
        }

    def _in_millimetres(self, region: Region) -> dict[str, list[float]]:
        """The box from the image's top left corner, where the size of its pixels is known; else nothing."""
        box = self.image.in_millimetres(region.box)
        return {} if box is None else {"box_mm": [round(value, 2) for value in box]}


def _lies_in(box: Area, area: Area) -> bool:
    return area[0] <= box[0] and area[1] <= box[1] and box[2] <= area[2] and box[3] <= area[3]


def _listed(value: Any) -> Any:
    return [_listed(part) for part in value] if isinstance(value, tuple) else value


def _rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, 4)
