"""`records.jsonl` -> Record, and what a record lets one say about absence.

Knows the data's layout and its body areas; knows no model. Absence is only claimed where it is certain: the organ
belongs to another area of the body, or the image's own class rules it out. A missing box alone proves nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Modality
from medrega_edge.errors import UsageError

VESSELS = "retinal blood vessels"  # they fill the whole image: no detection target

_AREA_OF_DATASET = {
    "cheng_brain_tumor": "head",
    "colin27_aal": "head",
    "vxm_test_scan": "head",
    "chaos_mr": "torso",
    "acdc": "torso",
    "covid_cxr_seg": "torso",
    "spine_xray": "torso",
    "totalseg_example": "torso",
    "sammed2d_demo": "torso",
    "fracatlas": "limb",
    "busi": "breast",
    "cdd_cesm": "breast",
    "ccaus": "carotid",
    "hc18": "fetus",
    "kvasir_seg": "gut",
    "ph2": "skin",
    "isic2017": "skin",
    "bccd": "microscopy",
    "dsb2018_he": "microscopy",
    "glas": "microscopy",
    "lc25000_lung": "microscopy",
    "drishti_gs": "eye",
    "chase_db1": "eye",
    "unam_fundus": "eye",
    "unam_oct": "eye",
}
_AREA_OF_BODY_PART = {
    "brain": "head",
    "head": "head",
    "head and face": "head",
    "neck": "head",
    "chest": "torso",
    "abdomen": "torso",
    "pelvis": "torso",
}
# A broken bone may show in any picture that shows bone.
_ALSO_POSSIBLE = {"fracture": {"head", "torso", "limb", "fetus", "breast"}, "vertebra": {"head", "fetus"}}
_RULED_OUT_BY_CLASS = {"no fracture": "fracture", "normal breast": "breast lesion"}


@dataclass(frozen=True)
class Region:
    """One labelled object: names in both languages and boxes in pixels of the image."""

    label_en: str
    label_zh: str
    kind: str
    boxes: tuple[PixelBox, ...]


@dataclass(frozen=True)
class Asked:
    """A question of the data's own about an image, with its answer; `closed` ones are answered by yes, no or a choice."""

    language: Language
    question: str
    answer: str
    closed: bool


@dataclass(frozen=True)
class Record:
    """One image with everything that is known about it."""

    id: str
    dataset: str
    path: Path
    patient: str
    split: str
    modality: Modality
    plane: str | None
    geometry: Geometry
    regions: tuple[Region, ...]
    labels: tuple[str, ...]
    asked: tuple[Asked, ...]
    terms: str
    dup_of_eval: bool
    area: str | None

    @property
    def detectable(self) -> tuple[Region, ...]:
        """Regions whose boxes are worth locating."""
        return tuple(region for region in self.regions if region.label_en != VESSELS and region.boxes)


def load_records(data: Path) -> list[Record]:
    """Read every record of the data folder; raises UsageError that names the line it cannot read."""
    path = data / "records.jsonl"
    if not path.is_file():
        raise UsageError("train.no_records", folder=data)
    records = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                records.append(_record(json.loads(line), data))
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError("train.record_unreadable", line=number, problem=repr(error)) from None
    return records


def split_of(records: list[Record], split: str) -> list[Record]:
    """Keep one split; training leaves out images that almost equal one outside train."""
    return [r for r in records if r.split == split and not r.dup_of_eval]


def _record(row: dict[str, object], data: Path) -> Record:
    labels = tuple(row["labels"] or ())  # type: ignore[arg-type]
    dataset = str(row["dataset"])
    area = _AREA_OF_DATASET.get(dataset)
    if area is None:
        area = next((_AREA_OF_BODY_PART[label] for label in labels if label in _AREA_OF_BODY_PART), None)
    regions = tuple(
        Region(r["label_en"], r["label_zh"], r["kind"], tuple(PixelBox(*box) for box in r["boxes"]))
        for r in row["regions"]  # type: ignore[attr-defined]
    )
    return Record(
        id=str(row["id"]),
        dataset=dataset,
        path=data / str(row["image"]),
        patient=str(row["patient"]),
        split=str(row["split"]),
        modality=Modality(str(row["modality"])),
        plane=row["plane"],  # type: ignore[arg-type]
        geometry=Geometry(int(row["width"]), int(row["height"])),  # type: ignore[call-overload]
        regions=regions,
        labels=labels,
        asked=tuple(
            Asked(Language(q["lang"]), " ".join(q["question"].split()), " ".join(q["answer"].split()), q["type"] == "closed")
            for q in row["qa"] or ()  # type: ignore[attr-defined]
        ),
        terms=str(row["terms"]),
        dup_of_eval=bool(row["dup_of_eval"]),
        area=area,
    )


class Absence:
    """Which labels are certainly not in an image. Built from training records, so it knows their labels only."""

    def __init__(self, records: list[Record]) -> None:
        """Collect the body areas in which each label occurs."""
        self._areas: dict[str, set[str]] = {}
        for record in records:
            for region in record.regions:
                if record.area is not None:
                    self._areas.setdefault(region.label_en, set()).add(record.area)
        for label, areas in _ALSO_POSSIBLE.items():
            if label in self._areas:
                self._areas[label] |= areas

    def other_area(self, record: Record) -> list[str]:
        """Labels that belong to other areas of the body only, sorted."""
        if record.area is None:
            return []
        return sorted(label for label, areas in self._areas.items() if record.area not in areas)

    def by_class(self, record: Record) -> list[str]:
        """Labels that the image's own class rules out, sorted."""
        return sorted(_RULED_OUT_BY_CLASS[label] for label in record.labels if label in _RULED_OUT_BY_CLASS)
