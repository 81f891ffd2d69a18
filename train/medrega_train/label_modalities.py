"""Which modalities can show each label: the table that the runtime refuses impossible names by.

Training seldom has a label in every modality that could show it. So a label is impossible only where no clinic would see
it: the areas of the body that a modality shows are joined with the areas that the label can be in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import Record
from medrega_train.records import AREAS, areas_of_labels

_INSIDE = AREAS - {"microscopy"}
_AREAS_OF_MODALITY = {
    Modality.CT: _INSIDE,
    Modality.MRI: _INSIDE,
    Modality.ULTRASOUND: _INSIDE,
    Modality.XRAY: _INSIDE - {"eye"},
    Modality.FUNDUS: {"eye"},
    Modality.OCT: {"eye", "skin"},
    Modality.DERMOSCOPY: {"skin"},
    Modality.ENDOSCOPY: {"gut"},
    Modality.PATHOLOGY: {"microscopy"},
    Modality.MAMMOGRAPHY: set[str](),
}
# What a narrow modality shows beyond its areas: labels with a word that begins so.
_ALSO_SHOWS: dict[Modality, tuple[str, ...]] = {
    # Laparoscopy, thoracoscopy, bronchoscopy, cystoscopy, and endoscopy of mouth, nose, larynx, brain and spine.
    Modality.ENDOSCOPY: (
        *("adrenal", "aorta", "artery", "bladder", "bronchi", "caries", "ear", "gallbladder", "heart", "hepatic", "iliac"),
        *("incisor", "intervertebral", "kidney", "larynx", "lateral ventricle", "liver", "lung", "molar", "nasopharyngeal"),
        *("ovarian", "pancreas", "pituitary", "prostate", "spleen", "third ventricle", "tooth", "trachea", "tube", "vein"),
        "vena cava",
    ),
    Modality.MAMMOGRAPHY: ("breast", "central venous", "fibroglandular", "pectoral", "skin"),
    # Slides of a whole small organ.
    Modality.PATHOLOGY: ("adrenal", "amygdala", "eye", "hippocampus", "optic", "prostate", "spinal cord", "tooth"),
}


# Lesions that no sample of tissue shows.
_NOT_IN_TISSUE = frozenset({"cardiomegaly", "ground-glass opacity", "pleural effusion", "pneumothorax"})


def modalities_of_labels(records: Iterable[Record]) -> dict[str, list[Modality]]:
    """Return the modalities that can show each label, without the labels that may be anywhere."""
    records = list(records)
    seen: dict[str, set[Modality]] = {}
    lesions = set()
    for record in records:
        for region in record.targets:
            seen.setdefault(region.label_en, set()).add(record.modality)
            if region.is_lesion:
                lesions.add(region.label_en)
    return {
        label: [
            modality
            for modality in Modality
            if modality in seen[label]
            or areas & _AREAS_OF_MODALITY[modality]
            or any(re.search(rf"\b{word}", label) for word in _ALSO_SHOWS.get(modality, ()))
            or (modality is Modality.PATHOLOGY and label in lesions - _NOT_IN_TISSUE)
        ]
        for label, areas in areas_of_labels(records).items()
        if areas
    }
