"""How far boxes and lengths may be off: intervals that held the truth for 90 % of the objects that they were fitted on.

Split conformal prediction (Papadopoulos et al., 2002; of boxes: Andéol et al., 2023). `medrega bench calibrate` fits the
numbers for each kind of image and each level of confidence, over objects whose box overlaps the true one. They hold for the
weights that they were fitted with and for images like those: they are part of a package, or a file of the user for data of
a site.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality
from medrega_edge.errors import PackageError
from medrega_edge.io.strict_json import STRICT, Count, JsonFault, Number, Share, parse_json
from medrega_edge.package.manifest import INTERVALS
from medrega_edge.package.package import Package
from medrega_edge.package.registry import user_folders

LEVEL = 0.9  # share of objects whose truth an interval holds
BOX_LENGTHS, MASK_LENGTHS = ("width", "height"), ("mask_width", "mask_height")  # of a box; of the box around a mask
DIAMETERS = ("longest", "perpendicular")  # of a mask
LENGTHS = (*BOX_LENGTHS, *MASK_LENGTHS, *DIAMETERS)
ALL = ""  # name of all kinds of images together, and of all confidences
# Names of confidences, with the least one: chosen on val, where the lengths of sure boxes were within a sixth of the true
# ones, those of likely boxes within a half.
CONFIDENCES = {"sure": 0.85, "likely": 0.5, "unsure": 0.0}
# Findings and structures err in other ways, so each has levels of its own: "sure finding".
OWN_LEVELS = tuple(f"{name} {what}" for name in CONFIDENCES for what in ("finding", "structure"))

Range = tuple[float, float]


@dataclass(frozen=True)
class Group:
    """What the interval of a box depends on: the modality that the answer states, its confidence, and what it shows."""

    modality: Modality | None
    confidence: float
    is_finding: bool

    @property
    def levels(self) -> tuple[str, str]:
        """Its level, one of `OWN_LEVELS`, and that of findings and structures together."""
        name = next(name for name, least in CONFIDENCES.items() if self.confidence >= least)
        return f"{name} {'finding' if self.is_finding else 'structure'}", name


@dataclass(frozen=True)
class BoxMargins:
    """Shares of a box's width and height by which its sides move out to hold the true box, or in to lie in it.

    They were fitted on `n` boxes.
    """

    __pydantic_config__ = STRICT

    n: Count
    outer: Number
    inner: Number


@dataclass(frozen=True)
class LengthFactors:
    """Factors of a length that give its interval, fitted on `n` lengths."""

    __pydantic_config__ = STRICT

    n: Count
    low: Number
    high: Number


@dataclass(frozen=True)
class Margins:
    """The numbers of one kind of image and one level of confidence; what too few objects were there for is missing.

    `mask_box` are those of boxes around masks, which err less.
    """

    __pydantic_config__ = STRICT

    box: BoxMargins | None = None
    lengths: Mapping[str, LengthFactors] = field(default_factory=dict)
    mask_box: BoxMargins | None = None


@dataclass(frozen=True)
class Intervals:
    """What a file of intervals holds. `weights` is `Manifest.weights` of the package whose boxes were measured.

    `kinds` are by the modality that an answer states, then by the level, one of `OWN_LEVELS` or `ALL`. Missing numbers are
    those of `ALL` kinds of this level, fitted on the kinds without numbers of their own, then those of the confidence, of
    findings and structures together, then those of all confidences. A kind that has no number of a measure at the level
    `ALL` was not measured, so it has no interval. `data` says what they were fitted on.
    """

    __pydantic_config__ = STRICT

    weights: str
    level: Share
    data: str
    kinds: Mapping[str, Mapping[str, Margins]]

    def to_json(self) -> str:
        """Serialise as the file."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1) + "\n"

    def around(self, box: PixelBox, group: Group, of_mask: bool = False) -> tuple[PixelBox | None, PixelBox] | None:
        """Return the box that lies in the true one, None where none is sure to, and the box that holds the true one.

        `of_mask`: the box is that around a mask. None where nothing was fitted.
        """
        found = (each.mask_box if of_mask else each.box for each in self._found(group))
        of_kind = self._of_kind(group)
        is_measured = of_kind is None or (of_kind.mask_box if of_mask else of_kind.box) is not None
        margins = next(filter(None, found), None) if is_measured else None
        if margins is None:
            return None
        inner = box.grown(-margins.inner) if margins.inner < 0.5 else None
        return inner, box.grown(margins.outer)

    def of_length(self, length: float, name: str, group: Group) -> Range | None:
        """Return the interval of a length, one of `LENGTHS`, of such a box; None where nothing was fitted."""
        found = (margins.lengths.get(name) for margins in self._found(group))
        of_kind = self._of_kind(group)
        is_measured = of_kind is None or name in of_kind.lengths
        factors = next(filter(None, found), None) if is_measured else None
        return None if factors is None else (length * factors.low, length * factors.high)

    def _of_kind(self, group: Group) -> Margins | None:
        """The numbers of a kind of image over all confidences; None for an image of no known kind.

        Files of before kinds had such numbers are taken to hold for every kind.
        """
        have_whole = any(kind != ALL and ALL in levels for kind, levels in self.kinds.items())
        if group.modality is None or not have_whole:
            return None
        return self.kinds.get(group.modality, {}).get(ALL, Margins())

    def _found(self, group: Group) -> Iterator[Margins]:
        own, of_both = group.levels
        own_kind = group.modality or ALL
        # Files of before findings and structures had own levels have those of both under a kind, too.
        for kind, level in ((own_kind, own), (own_kind, of_both), (ALL, own), (ALL, of_both), (ALL, ALL)):
            margins = self.kinds.get(kind, {}).get(level)
            if margins is not None:
                yield margins


def site_file(weights: str) -> Path | None:
    """Return the path of the user's own intervals for a package's weights; None where the system has no place for data."""
    folders = user_folders()
    return folders[0].with_name("intervals") / f"{weights[:16]}.json" if folders else None


def find(package: Package) -> Intervals | None:
    """Return the intervals for a package: the user's own, else those in it, if they were fitted with its weights.

    Raises PackageError for a file that cannot be read.
    """
    weights = package.manifest.weights
    own = site_file(weights)
    texts = []
    if own is not None and own.is_file():
        texts.append((own.name, own.read_text(encoding="utf-8", errors="replace")))
    if INTERVALS in package.manifest.files:
        texts.append((package.manifest.files[INTERVALS].path, package.text(INTERVALS)))
    for name, text in texts:
        try:
            intervals = parse_json(Intervals, text)
        except JsonFault as fault:
            raise fault.package_error(name) from None
        levels = {level for kind in intervals.kinds.values() for level in kind}
        if not {*intervals.kinds} <= {ALL, *Modality} or not levels <= {ALL, *CONFIDENCES, *OWN_LEVELS}:
            raise PackageError("package.wrong_value", file=name, key="kinds")
        if intervals.weights == weights:
            return intervals
    return None
