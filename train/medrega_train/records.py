"""Which records training takes, what is certainly not in an image, and what certainly is although it has no box.

Absence is claimed only where it is certain: the organ belongs to another area of the body, or the image's own class rules
it out. A missing box alone proves nothing. A whole is never absent where a part of it is there, nor a part of what is there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from medrega_edge.domain import Modality
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
    **dict.fromkeys(("mbh_ct", "cpaisd_ct", "brats23_mr", "ms_flair_mr", "npc_mr"), "head"),
    **dict.fromkeys(
        (
            "lits_liver_ct",
            "nih_pancreas_ct",
            "kits19_ct",
            "chd_ct",
            "curvas_ct",
            "msd_lung_ct",
            "msd_hepatic_ct",
            "msd_spleen_ct",
            "lungsegdb_ct",
            "chaos_ct",
            "avt_aorta_ct",
            "mendeley_kidney_stone_ct",
            "left_atrium_mr",
            "uwm_gi_mr",
            "prostate158_mr",
            "hvsmr2_mr",
            "panseg_t2_mr",
            "ckd_kidney_mr",
            "spider_spine_mr",
            "montgomery_cxr",
            "shenzhen_cxr",
            "liver_us",
            "mmotu_us",
            "camus_us",
        ),
        "torso",
    ),
    **dict.fromkeys(("ufba425_dental", "dc1000_caries"), "teeth"),
    **dict.fromkeys(("ddsm_tissue_mammo", "bus_bra", "breast_lesions_usg"), "breast"),
    **dict.fromkeys(("smdg_glaucoma", "codras_fundus", "fives", "drive", "duke_dme_oct"), "eye"),
    **dict.fromkeys(("cvc_colon", "etis_larib", "edd2020"), "gut"),
    **dict.fromkeys(("monusac", "tnbc"), "microscopy"),
}
_AREA_OF_BODY_PART = {
    "brain": "head",
    "head": "head",
    "head and face": "head",
    "neck": "neck",
    "chest": "torso",
    "abdomen": "torso",
    "abdomen and pelvis": "torso",
    "pelvis": "torso",
    "heart": "torso",
}
AREAS = frozenset({*_AREA_OF_DATASET.values(), *_AREA_OF_BODY_PART.values()})
# Areas of labels of data sets whose images are of any area.
_AREA_OF_LABEL = dict.fromkeys(
    ("lung lesion", "mediastinal lesion", "abdominal lesion", "liver lesion", "kidney lesion", "pelvic lesion"), "torso"
)
# An image of such an area also shows these areas.
_ALSO_SHOWS = {"neck": ("head", "torso", "carotid"), "fetus": ("head",)}
# Areas where a name can also show, beyond those where training has its boxes.
_ALSO_POSSIBLE = (
    (("fracture",), ("head", "torso", "limb", "fetus", "breast", "teeth")),
    (("vertebra", "spinal", "trachea", "larynx", "carotid"), ("head", "torso", "carotid", "fetus", "teeth")),
    (("vertebra", "heart", "trachea", "colon", "bowel", "rectum", "bladder"), ("limb",)),  # of the hip and the shoulder
    (("esophagus",), ("head", "torso", "carotid", "fetus", "gut")),
    (("larynx", "mandible", "parotid"), ("torso", "teeth")),
    (
        ("femur", "femoral head", "hip bone", "rib", "costal", "lung", "sacrum", "muscle", "gluteus"),
        ("limb", "torso", "breast"),
    ),
    (("colon", "rectum", "stomach", "duodenum", "bowel", "polyp", "gastrointestinal", "dysplasia"), ("gut", "torso")),
    (
        ("cancer", "tumor", "carcinoma", "glioma", "meningioma", "mass", "edema", "lesion", "polyp", "dysplasia"),
        ("microscopy",),
    ),
    (("mandible", "tooth", "molar", "incisor", "caries"), ("head", "teeth")),
    (("breast", "pectoral", "heart", "aorta"), ("torso", "breast")),
    (("left eye", "right eye"), ("eye", "head")),
    (("brain", "ventricle"), ("fetus",)),
)
# What may be anywhere: an image never lacks it for certain.
_ANYWHERE = frozenset(
    {"blood vessel", "bone lesion", "gland", "peripheral nerve", "soft tissue lesion", "suspicious lesion"}
)
_SOFT_ORGANS = ("breast", "lung", "colon", "prostate", "kidney", "liver", "stomach", "bladder", "spleen", "pancreas")
# Tissue under the microscope is part of the organs whose names hold these words.
_TISSUE_OF_DATASET = {
    "glas": ("colon", "rectum", "bowel"),
    "lc25000_lung": ("lung",),
    "tnbc": ("breast",),
    "monusac": ("lung", "prostate", "kidney", "breast"),
    "dsb2018_he": _SOFT_ORGANS,
}
_LABELLED_THROUGHOUT = frozenset({"totalseg_example", "curvas_ct", "colin27_aal", "vxm_test_scan"})
_RULED_OUT_BY_CLASS = {"no fracture": ("fracture",), "normal breast": ("breast lesion",)}
_RULED_OUT_BY_NORMAL_CHEST = (
    *("atelectasis", "cardiomegaly", "consolidation", "lung infiltrate", "lung mass", "lung nodule"),
    *("pleural effusion", "pneumonia", "pneumothorax"),
)

# Where one of the names at the right is in an image, so is the name at the left.
_CHAMBERS = ("left ventricle", "right ventricle", "left atrium", "right atrium", "left ventricular myocardium")
_LOBES = ("frontal lobe", "temporal lobe", "parietal lobe", "occipital lobe", "insula", "cingulate gyrus")
_VERTEBRAE = tuple(
    f"{part}{number} vertebra" for part, last in (("C", 7), ("T", 12), ("L", 5), ("S", 1)) for number in range(1, last + 1)
)
_IMPLIED_BY = {
    "heart": (*_CHAMBERS, "left ventricle and left atrium", "heart and mediastinum", "cardiomegaly"),
    "heart and mediastinum": ("heart",),
    "left ventricle": ("left ventricle and left atrium",),
    "left atrium": ("left ventricle and left atrium",),
    "left ventricular myocardium": ("left ventricle", "left ventricle and left atrium"),
    "vertebra": _VERTEBRAE,
    "spinal canal": ("spinal cord",),
    "tooth": ("incisor", "canine tooth", "premolar", "molar", "third molar"),
    "liver": ("liver cancer", "liver tumor", "liver lesion", "liver mass", "hepatic vessels"),
    "prostate": ("prostate cancer",),
    "esophagus": ("Barrett's esophagus",),
    "trachea": ("trachea and main bronchi",),
    "optic disc": ("optic cup",),
    "ischemic stroke": ("ischemic stroke core",),
    **{
        f"{side} lung": tuple(f"{side} {lobe} lobe of lung" for lobe in ("upper", "middle", "lower"))
        for side in ("left", "right")
    },
    **{f"{side} cerebral hemisphere": tuple(f"{side} {lobe}" for lobe in _LOBES) for side in ("left", "right")},
}
_DOES_IT_CONTAIN = re.compile(r"does the picture contain (?:an? |the )?(?P<name>[a-z ]+?) ?\?")
_PAIRED = frozenset({"kidney", "lung"})
_IN_A_CHEST_FILM = ("heart", "heart and mediastinum", "left lung", "right lung")


def split_of(records: Iterable[Record], split: str) -> list[Record]:
    """Keep one split; training leaves out images that almost equal one outside train."""
    return [record for record in records if record.split == split and not record.dup_of_eval]


def area_of(record: Record) -> str | None:
    """Return the area of the body that an image shows, None where its data set and labels do not tell."""
    known = (_AREA_OF_BODY_PART[label] for label in record.labels if label in _AREA_OF_BODY_PART)
    return _AREA_OF_DATASET.get(record.dataset) or next(known, None)


def areas_of_labels(records: Iterable[Record]) -> dict[str, set[str]]:
    """Return the areas of the body that each label can be in; none where it may be anywhere, or no area is known."""
    areas: dict[str, set[str]] = {}
    for record in records:
        for region in record.targets:
            found = areas.setdefault(region.label_en, set())
            if area := area_of(record) or _AREA_OF_LABEL.get(region.label_en):
                found.add(area)
    for label, found in areas.items():
        for words, others in _ALSO_POSSIBLE:
            if found and any(word in label for word in words):
                found |= set(others)
        if label in _ANYWHERE:
            found.clear()
    return areas


def denied(record: Record) -> set[str]:
    """Return the names that an image does not show, by the answers to its own questions."""
    found: set[str] = set()
    for pair in record.qa:
        asked = _DOES_IT_CONTAIN.fullmatch(pair.question.strip().lower())
        if asked and pair.answer.strip(" .").lower() == "no":
            name = asked["name"]
            found.update((f"left {name}", f"right {name}") if name in _PAIRED else (name,))
    return found


def implied(record: Record, names: Collection[str]) -> set[str]:
    """Return the names of what else an image certainly shows where it shows `names`: the wholes of these parts."""
    film = record.modality is Modality.XRAY and "chest" in record.labels
    found = {*names, *(_IN_A_CHEST_FILM if film else ())}
    while more := {whole for whole, parts in _IMPLIED_BY.items() if whole not in found and not found.isdisjoint(parts)}:
        found |= more
    return found - set(names)


class Absence:
    """Which labels are certainly not in an image. Built from training records, so it knows their labels only."""

    def __init__(self, records: list[Record], asked: Mapping[str, int] | None = None) -> None:
        """Collect the areas of each label, and the labels of data sets that label everything.

        `asked` is how often training asks for each label where it is; default: the number of images that show it.
        """
        self._areas = {label: areas for label, areas in areas_of_labels(records).items() if areas}
        self._asked = asked or Counter(name for record in records for name in {region.label_en for region in record.targets})
        self._of_dataset: dict[str, set[str]] = {}
        for record in records:
            if record.dataset in _LABELLED_THROUGHOUT:
                self._of_dataset.setdefault(record.dataset, set()).update(_names(record))

    def elsewhere(self, record: Record) -> list[str]:
        """Labels that belong to other areas of the body only, sorted."""
        area = area_of(record)
        if area is None:
            return []
        here = {area, *_ALSO_SHOWS.get(area, ())}
        tissue = _TISSUE_OF_DATASET.get(record.dataset, ())
        return sorted(
            name
            for name in self._areas.keys() - _shown(record)
            if here.isdisjoint(self._areas[name]) and not any(word in name for word in tissue)
        )

    def missing(self, record: Record) -> list[str]:
        """Labels that the area could show and the image does not, sorted: its class, or a whole annotation, says so."""
        missing = self._of_dataset.get(record.dataset, set()) | denied(record)
        for label in record.labels:
            missing.update(_RULED_OUT_BY_CLASS.get(label, ()))
        if record.modality is Modality.XRAY and {"normal", "chest"} <= set(record.labels):
            missing.update(_RULED_OUT_BY_NORMAL_CHEST)
        return sorted(missing - _names(record) - implied(record, _names(record)))

    def draw(self, record: Record, count: int, rng: np.random.Generator) -> list[str]:
        """Draw up to `count` different labels that are not in an image, in proportion to how often they are asked for.

        A label that few images show, and all others lack, would else be learnt as absent everywhere.
        """
        names = sorted(name for name in {*self.elsewhere(record), *self.missing(record)} if self._asked.get(name))
        weights = np.array([self._asked[name] for name in names], np.float64)
        chosen = rng.choice(len(names), min(count, len(names)), replace=False, p=weights / weights.sum()) if names else ()
        return [names[int(i)] for i in chosen]


def _names(record: Record) -> set[str]:
    return {region.label_en for region in record.regions}


def _shown(record: Record) -> set[str]:
    """The names of what an image shows, of the wholes that it is part of, and of all their parts."""
    shown = _names(record) | implied(record, _names(record))
    return shown | {part for whole in shown for part in _IMPLIED_BY.get(whole, ())}
