"""The answer to a question: frozen dataclasses, and `to_dict()`, which gives the published JSON schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from medrega_edge.boxes import PixelBox, is_scaled
from medrega_edge.domain import NOTICE, Language, Modality, Task
from medrega_edge.i18n.message import Message
from medrega_edge.masks import Mask
from medrega_edge.measures import Diameter, Measures

SCHEMA_VERSION = 1
LIKELY = 0.5  # confidence from which on a region is said to be there; below, it is a best guess
SURE = 0.75  # and from which on no "probably" stands beside it
OTHER_CLASS = "task.other_class"  # warning that a name is located in an image that the model takes for another class
UNFAMILIAR = "task.unfamiliar_image"  # warning that the image is unlike all of its kind that the weights were trained on
WITHHELD = "task.withheld"  # warning that boxes of these names are less sure than the user wants, and are left out
# Warnings that a class, however sure, is a guess.
GUESSED_CLASSES = (UNFAMILIAR, "task.unfamiliar_class", "task.unproven_class")
# Warnings that a box, however sure, does not prove its name. One without a name is about every box.
_DOUBTS = (
    OTHER_CLASS,
    "task.where_not_whether",
    "task.unknown_in_kind",
    "task.unfamiliar_name",
    "task.named_otherwise",
    "dicom.left_on_the_left",  # the weights have learned the convention, and take the spleen for the liver
    UNFAMILIAR,
)


def is_doubt(warning: Message) -> bool:
    """Whether a warning says that a box is no proof that its name is in the image."""
    return warning.code in _DOUBTS


@dataclass(frozen=True)
class BoxInterval:
    """Where the true box lies if this one overlaps it, for the share `level` of the objects that were measured.

    `outer` holds it, and it holds `inner`; None where no box is sure to lie in it. `width` and `height` are its smallest and
    largest in pixels, each for that share.
    """

    level: float
    inner: PixelBox | None
    outer: PixelBox
    width: tuple[float, float]
    height: tuple[float, float]


@dataclass(frozen=True)
class Region:
    """A named box.

    `confidence` is the probability that its IoU with the truth is 0.5 or more, if the package was calibrated; else a raw
    score. None where there is no score. `mask` is None where none was asked for, and where it has no pixel; `measures` are
    those of the mask. `interval` is None for the user's own box, and where none was fitted.
    """

    label: str
    box: PixelBox
    confidence: float | None
    mask: Mask | None = None
    measures: Measures | None = None
    interval: BoxInterval | None = None


@dataclass(frozen=True)
class Label:
    """A class of the whole image, with its probability."""

    label: str
    confidence: float | None


@dataclass(frozen=True)
class ImageFacts:
    """The image that was read.

    `modality` is what the file states, else what the weights recognise, then with `modality_confidence`; None where
    neither is known, and for no medical image. `series` and `slice` count from 0.
    """

    path: str | None
    width: int
    height: int
    modality: Modality | None
    frame: int | None
    window: tuple[float, float] | None
    sha256: str
    spacing_mm: tuple[float, float] | None = None  # size of a pixel in millimetres, across and down
    modality_confidence: float | None = None
    sides: tuple[str, str, str, str] | None = None  # the patient's directions at the left, top, right and bottom
    series: int | None = None
    slice: int | None = None
    spacing_areas: tuple[PixelBox, ...] = ()  # where `spacing_mm` holds; everywhere if empty
    window_function: str | None = None  # DICOM's VOI LUT Function of `window`

    def scale(self, box: PixelBox) -> tuple[float, float] | None:
        """Return the size of the pixels of a box in millimetres, across and down; None where it is unknown."""
        return self.spacing_mm if is_scaled(box, self.spacing_areas) else None

    def in_millimetres(self, box: PixelBox) -> tuple[float, float, float, float] | None:
        """Return a box in millimetres from the image's top left corner; None where the pixel size is unknown."""
        scale = self.scale(box)
        if scale is None:
            return None
        across, down = scale
        return box.x1 * across, box.y1 * down, box.x2 * across, box.y2 * down

    def in_square_millimetres(self, mask: Mask) -> float | None:
        """Return the area of a mask in square millimetres; None where the pixel size is unknown."""
        scale = self.scale(mask.box)
        return None if scale is None else mask.area * scale[0] * scale[1]


@dataclass(frozen=True)
class Certified:
    """Accuracy measured when the package was certified: the share `right` of so many `answers`.

    The answers were about images of one modality; those with boxes were about one `label`, by its English name, which other
    tasks lack. A box is right from an IoU of 0.5 on.
    """

    right: float
    answers: int
    label: str | None
    modality: Modality


@dataclass(frozen=True)
class ModelFacts:
    """The package that answered. `sha256` is that of its manifest; `certified` is None where nothing was measured."""

    name: str
    version: str
    sha256: str
    precision: str
    certified: Certified | None = None


@dataclass(frozen=True)
class Timings:
    """Milliseconds. `load` is for the package; `image` and `vision` are for reading and encoding the image, once each.

    `total` is the time of this answer: all generations, and reading and encoding if it is the image's first answer.
    """

    load: float = 0.0
    image: float = 0.0
    vision: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    total: float = 0.0


def not_regarded(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words of a question that its answer does not regard, from the facts of the answer or of its parts."""
    parts = facts.get("parts", [facts])
    return tuple(dict.fromkeys(word for part in parts for word in part.get("not_regarded", ())))


@dataclass(frozen=True)
class Answer:
    """The answer to one question about one image.

    `text` is for a person, `raw_text` is the model's output with its markup; `finish` is "stop" or "length". `confidence` is
    that of the words that answer a free question: the probability that they are right, if the package was calibrated; else a
    raw score. None for other tasks, and where the package does not list the answers that it can give. Where that is too low,
    `text` says "Not sure." and `guess` holds the answer; else `guess` is None. `intent` is what a
    question without a named task was understood to ask for, "count" for example; `facts` are the answer's values for
    programs. docs/answer.md lists both. `reading` says in `language` how the question was understood; JSON lacks it.
    `searched` are the names, in `language`, that were to be located.
    """

    text: str
    raw_text: str
    task: Task
    language: Language
    regions: tuple[Region, ...]
    labels: tuple[Label, ...]
    image: ImageFacts
    model: ModelFacts
    device: str
    finish: str
    prompt_tokens: int
    generated_tokens: int
    timings: Timings
    warnings: tuple[Message, ...] = ()
    confidence: float | None = None
    intent: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    reading: str = ""
    guess: str | None = None
    searched: tuple[str, ...] = ()

    @property
    def not_regarded(self) -> tuple[str, ...]:
        """The words of the question that the answer does not regard."""
        return not_regarded(self.facts)

    @property
    def words(self) -> str:
        """The answer itself: the best guess where `text` says that the model is not sure."""
        return self.text if self.guess is None else self.guess

    def is_best_guess(self, region: Region) -> bool:
        """Whether a region is rather wrong than right, or doubted by a warning."""
        is_unlikely = region.confidence is not None and region.confidence < LIKELY
        doubts = (warning.params.get("name") for warning in self.warnings if is_doubt(warning))
        return is_unlikely or any(name in (None, region.label) for name in doubts)

    def best_confidence(self, label: str) -> float:
        """Return the confidence of the best region of a label, 0 without one; a region without a confidence counts as 1."""
        scores = (
            1.0 if region.confidence is None else region.confidence for region in self.regions if region.label == label
        )
        return max(scores, default=0.0)

    @property
    def is_unfamiliar(self) -> bool:
        """Whether the image is unlike all of its kind that the weights were trained on, so that nothing here is sure."""
        return any(warning.code == UNFAMILIAR for warning in self.warnings)

    @property
    def best_guesses(self) -> list[str]:
        """The labels without a region that is more than a best guess."""
        certain = {region.label for region in self.regions if not self.is_best_guess(region)}
        return [label for label in dict.fromkeys(region.label for region in self.regions) if label not in certain]

    @property
    def not_found(self) -> list[str]:
        """The names that were searched for and have no region; one whose boxes were left out was found."""
        left_out = [name for warning in self.warnings if warning.code == WITHHELD for name in warning.params["names"]]
        known = {*left_out, *(region.label for region in self.regions)}
        return [name for name in self.searched if name not in known]

    def to_dict(self, include_identifiers: bool = False) -> dict[str, Any]:
        """Return the answer as JSON data of schema 1.

        Without `include_identifiers` the image's path is null, because file and folder names often name a patient. The
        file's sha256 identifies the image.
        """
        image = asdict(self.image) | ({} if include_identifiers else {"path": None})
        return {
            "schema_version": SCHEMA_VERSION,
            "text": self.text,
            "raw_text": self.raw_text,
            "task": self.task,
            "intent": self.intent,
            "facts": dict(self.facts),
            "language": self.language,
            "regions": [
                {"label": r.label, "box": [round(v, 2) for v in r.box], "confidence": _rounded(r.confidence)}
                | {"best_guess": self.is_best_guess(r)}
                | self._in_millimetres(r)
                | self._interval(r)
                | mask_data(r.mask, r.measures, self.image)
                for r in self.regions
            ],
            "not_found": self.not_found,
            "confidence": _rounded(self.confidence),
            "guess": self.guess,
            "labels": [{"label": x.label, "confidence": _rounded(x.confidence)} for x in self.labels],
            "image": {name: _listed(value) for name, value in image.items()},
            "model": asdict(self.model),
            "device": self.device,
            "finish": self.finish,
            "tokens": {"prompt": self.prompt_tokens, "generated": self.generated_tokens},
            "timings_ms": {name: round(value, 2) for name, value in asdict(self.timings).items()},
            "warnings": [str(warning) for warning in self.warnings],
            "warning_details": [warning_data(warning, self.language) for warning in self.warnings],
            "notice": NOTICE,
        }

    def _in_millimetres(self, region: Region) -> dict[str, list[float]]:
        """Return the key `box_mm` where the pixel size is known."""
        box = self.image.in_millimetres(region.box)
        return {} if box is None else {"box_mm": [round(value, 2) for value in box]}

    def _interval(self, region: Region) -> dict[str, Any]:
        """Return the key `interval` where one was fitted."""
        if (interval := region.interval) is None:
            return {}
        values: dict[str, Any] = {
            "level": interval.level,
            "inner": None if interval.inner is None else _numbers(interval.inner),
            "outer": _numbers(interval.outer),
            "width": _numbers(interval.width),
            "height": _numbers(interval.height),
        }
        if (scale := self.image.scale(region.box)) is not None:
            values["width_mm"] = _numbers([value * scale[0] for value in interval.width])
            values["height_mm"] = _numbers([value * scale[1] for value in interval.height])
        return {"interval": values}


def warning_data(warning: Message, language: Language) -> dict[str, Any]:
    """Return a warning in JSON, of a Chinese answer in Chinese, too."""
    return warning.to_dict() | ({"message_zh": warning.text(Language.ZH)} if language is Language.ZH else {})


def _numbers(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in values]


def mask_data(mask: Mask | None, measures: Measures | None, image: ImageFacts) -> dict[str, Any]:
    """Return the key `mask` of a region in JSON, nothing without one: COCO run lengths, and what follows from them."""
    if mask is None:
        return {}
    area = image.in_square_millimetres(mask)
    return {
        "mask": {
            "size": [mask.height, mask.width],
            "counts": mask.counts,
            "area": mask.area,
            "centroid": [round(value, 2) for value in mask.centroid],
            "box": list(mask.box),
            "score": round(mask.score, 4),
        }
        | ({} if area is None else {"area_mm2": round(area, 2)})
        | ({} if measures is None else measures_data(measures))
    }


def measures_data(measures: Measures) -> dict[str, Any]:
    """Return what is measured of a mask in JSON: both diameters, and the mean of the values."""
    return {
        "longest_diameter": _diameter(measures.longest),
        "perpendicular_diameter": _diameter(measures.perpendicular),
        "length_unit": measures.unit,
        "mean_value": None if measures.mean is None else round(measures.mean, 2),
        "value_unit": measures.mean_unit,
    }


def _diameter(diameter: Diameter) -> dict[str, Any]:
    values: dict[str, Any] = {"length": round(diameter.length, 2), "line": _numbers(diameter.line)}
    return values if diameter.interval is None else values | {"interval": _numbers(diameter.interval)}


def _listed(value: Any) -> Any:
    return [_listed(part) for part in value] if isinstance(value, tuple) else value


def _rounded(confidence: float | None) -> float | None:
    return None if confidence is None else round(confidence, 4)
