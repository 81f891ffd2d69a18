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
    "neck": "head",
    "chest": "torso",
    "abdomen": "torso",
    "pelvis": "torso",
}
# Areas where a name can also show, beyond those where training has its boxes.
_ALSO_POSSIBLE = (
    (("fracture",), ("head", "torso", "limb", "fetus", "breast", "teeth")),
    (("vertebra", "spinal", "esophagus", "trachea", "larynx", "carotid"), ("head", "torso", "carotid", "fetus", "teeth")),
    (("femur", "femoral head", "hip bone", "ribs", "lung", "sacrum", "muscle", "gluteus"), ("limb", "torso", "breast")),
    (("colon", "rectum", "stomach", "duodenum", "bowel", "polyp", "gastrointestinal", "dysplasia"), ("gut", "torso")),
    (("cancer", "tumor", "carcinoma", "glioma", "meningioma", "mass", "edema"), ("microscopy",)),
    (("mandible", "tooth", "molar", "incisor", "caries"), ("head", "teeth")),
    (("breast", "pectoral", "heart", "aorta"), ("torso", "breast")),
    (("left eye", "right eye"), ("eye", "head")),
    (("brain", "ventricle"), ("fetus",)),
)
_ANYWHERE = ("blood vessel", "nerve", "suspicious lesion", "soft tissue", "bone lesion")
_LABELLED_THROUGHOUT = frozenset({"totalseg_example", "curvas_ct", "colin27_aal", "vxm_test_scan"})
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
        """Collect the body areas in which each label occurs, and what the data sets that label everything can label."""
        areas: dict[str, set[str]] = {}
        self._of_dataset: dict[str, set[str]] = {}
        for record in records:
            area = area_of(record)
            for region in record.targets:
                found = areas.setdefault(region.label_en, set())
                if area is not None:
                    found.add(area)
                if record.dataset in _LABELLED_THROUGHOUT:
                    self._of_dataset.setdefault(record.dataset, set()).add(region.label_en)
        for label, found in areas.items():
            for words, others in _ALSO_POSSIBLE:
                if any(word in label for word in words):
                    found |= set(others)
        self._areas = {
            label: found for label, found in areas.items() if found and not any(word in label for word in _ANYWHERE)
        }

    def elsewhere(self, record: Record) -> list[str]:
        """Labels that belong to other areas of the body only, sorted."""
        area = area_of(record)
        if area is None:
            return []
        return sorted(name for name, areas in self._areas.items() if area not in areas and name not in _names(record))

    def missing(self, record: Record) -> list[str]:
        """Labels that the area could show and the image does not, sorted: its class, or a whole annotation, says so."""
        missing = self._of_dataset.get(record.dataset, set()) - _names(record)
        return sorted(missing | {_RULED_OUT_BY_CLASS[label] for label in record.labels if label in _RULED_OUT_BY_CLASS})


def _names(record: Record) -> set[str]:
    return {region.label_en for region in record.regions}
