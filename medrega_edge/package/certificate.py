"""The certificate of a package: how accurate its answers were measured to be, and what quantisation cost.

`medrega export` writes certificate.json. Only the keys that a reader needs are described here; others are skipped, so that
a certificate which gains keys stays readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ConfigDict

from medrega_edge.answer import Certified
from medrega_edge.domain import Modality, Task
from medrega_edge.io.strict_json import Count, JsonFault, parse_json

FEWEST = 30  # answers about one modality; fewer tell too little
FEWEST_OF_LABEL = 20  # answers about one label in one modality
CERTIFICATE = "certificate.json"

_CONFIG: ConfigDict = {"extra": "ignore", "strict": True, "allow_inf_nan": False}


@dataclass(frozen=True)
class Difference:
    """A figure of full precision (`reference`) and of the package, and the loss with its 95 % interval."""

    __pydantic_config__ = _CONFIG

    reference: float
    package: float
    loss: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Entry:
    """The figures of one task in one language, over all modalities (None) or of one. Older ones have no `flipped`."""

    __pydantic_config__ = _CONFIG

    task: str
    language: str
    modality: str | None
    n: Count
    mean_iou: Difference | None
    accuracy: Difference | None
    flipped: float | None = None


@dataclass(frozen=True)
class LabelEntry:
    """The share of right boxes of one label, by its English name, in images of one modality."""

    __pydantic_config__ = _CONFIG

    label: str
    modality: str
    answers: Count
    right: float


@dataclass(frozen=True)
class Items:
    """The questions that were asked: their number, and a hash over theirs."""

    __pydantic_config__ = _CONFIG

    count: Count
    sha256: str | None


@dataclass(frozen=True)
class Flip:
    """A question whose answer became "right" or "wrong"."""

    __pydantic_config__ = _CONFIG

    to: str


@dataclass(frozen=True)
class LostItem:
    """A question that lost most; `item` is the hash of its line, `score` that of full precision and of the package."""

    __pydantic_config__ = _CONFIG

    item: str
    task: str
    language: str
    score: tuple[float, float]


@dataclass(frozen=True)
class Override:
    """A unit of the model with more bits than the rest."""

    __pydantic_config__ = _CONFIG

    unit: str
    bits: Count


@dataclass(frozen=True)
class Recipe:
    """How the package was quantised, as far as it is shown."""

    __pydantic_config__ = _CONFIG

    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True)
class Stage:
    """The numerical error of one stage of the export, and its limit if it has one."""

    __pydantic_config__ = _CONFIG

    error: float
    limit: float | None


@dataclass(frozen=True)
class Certificate:
    """What a certificate holds. `accuracy` is None if no questions were asked; `reason` says why.

    Older certificates name no `labels`, `flips`, `worst` items, `weights` and `code`; that of a reference no `packages`.
    """

    __pydantic_config__ = _CONFIG

    accuracy: tuple[Entry, ...] | None
    stages: Mapping[str, Stage]
    reason: str | None = None
    items: Items | None = None
    labels: tuple[LabelEntry, ...] = ()
    flips: tuple[Flip, ...] | None = None
    worst: tuple[LostItem, ...] = ()
    recipe: Recipe = Recipe()
    packages: Mapping[str, Mapping[str, str]] | None = None
    weights: Mapping[str, str] | None = None
    code: str | None = None


def read(text: str) -> Certificate:
    """Read certificate.json; raises PackageError that names the key at fault."""
    try:
        return parse_json(Certificate, text)
    except JsonFault as fault:
        raise fault.package_error(CERTIFICATE) from None


def was_measured(certificate: Certificate, task: str, modality: Modality) -> bool:
    """Whether the task was measured on images of this modality; True where no modality was."""
    modalities = {entry.modality for entry in certificate.accuracy or () if entry.task == task} - {None}
    return modality in modalities or not modalities


def certified(
    certificate: Certificate, task: str, language: str, modality: Modality | None, label: str | None = None
) -> Certified | None:
    """The accuracy measured for such answers about images of a modality; None where too few were.

    For boxes it is that of a label, by its English name, and the same in both languages; for other tasks that of the task in
    this language.
    """
    if modality is None:
        return None
    if task == Task.DETECT:
        cells = (cell for cell in certificate.labels if (cell.label, cell.modality) == (label, modality))
        cell = next((cell for cell in cells if cell.answers >= FEWEST_OF_LABEL), None)
        return None if cell is None else Certified(round(cell.right, 4), cell.answers, label, modality)
    for entry in certificate.accuracy or ():
        if (entry.task, entry.language, entry.modality) == (task, language, modality) and entry.n >= FEWEST:
            return None if entry.accuracy is None else Certified(round(entry.accuracy.package, 4), entry.n, None, modality)
    return None
