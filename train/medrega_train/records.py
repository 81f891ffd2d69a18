"""Which records training takes, and what is certainly not in an image.

Absence is claimed only where it is certain: the organ belongs to another area of the body, or the image's own class rules
it out. A missing box alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from medrega_edge.evaluation.records import Record

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


def split_of(records: Iterable[Record], split: str) -> list[Record]:
    """Keep one split; training leaves out images that almost equal one outside train."""
    return [record for record in records if record.split == split and not record.dup_of_eval]


def area_of(record: Record) -> str | None:
    """Return the area of the body that an image shows, None where its data set and labels do not tell."""
    known = (_AREA_OF_BODY_PART[label] for label in record.labels if label in _AREA_OF_BODY_PART)
    return _AREA_OF_DATASET.get(record.dataset) or next(known, None)


class Absence:
    """Which labels are certainly not in an image. Built from training records, so it knows their labels only."""

    def __init__(self, records: list[Record]) -> None:
        """Collect the body areas in which each label occurs."""
        self._areas: dict[str, set[str]] = {}
        for record in records:
            if (area := area_of(record)) is not None:
                for region in record.regions:
                    self._areas.setdefault(region.label_en, set()).add(area)
        for label, areas in _ALSO_POSSIBLE.items():
            if label in self._areas:
                self._areas[label] |= areas

    def other_area(self, record: Record) -> list[str]:
        """Labels that belong to other areas of the body only, sorted."""
        area = area_of(record)
        if area is None:
            return []
        return sorted(label for label, areas in self._areas.items() if area not in areas)

    def by_class(self, record: Record) -> list[str]:
        """Labels that the image's own class rules out, sorted."""
        return sorted(_RULED_OUT_BY_CLASS[label] for label in record.labels if label in _RULED_OUT_BY_CLASS)
