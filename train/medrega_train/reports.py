"""What an image shows, told in fixed sentences built from its annotations, English and Chinese.

Kind of image, part of the body, what is seen, what is abnormal. A sentence is left out where the annotations do not say.
That nothing is abnormal is never written: annotations look for one thing, and say nothing of all others. Knows records;
knows no tokens.
"""

from __future__ import annotations

from medrega_edge.label_sets import LABEL_SETS, MODALITY_NAMES
from medrega_edge.prompts import Language
from medrega_train.augment import View
from medrega_train.records import VESSELS, Record

MOST_SEEN = 6  # the largest; a list of twenty teaches to make lists

_PARTS = {
    "chest": ("chest", "胸部"),
    "abdomen": ("abdomen", "腹部"),
    "abdomen and pelvis": ("abdomen and pelvis", "腹部和盆腔"),
    "pelvis": ("pelvis", "盆腔"),
    "brain": ("brain", "脑部"),
    "head": ("head", "头部"),
    "head and face": ("head and face", "头面部"),
    "neck": ("neck", "颈部"),
    "heart": ("heart", "心脏"),
    "spine": ("spine", "脊柱"),
    "hand": ("hand", "手"),
    "leg": ("leg", "腿"),
    "hip": ("hip", "髋部"),
    "shoulder": ("shoulder", "肩部"),
}
_PART_OF_AREA = {
    "breast": ("breast", "乳腺"),
    "skin": ("skin", "皮肤"),
    "eye": ("eye", "眼部"),
    "gut": ("gastrointestinal tract", "消化道"),
    "carotid": ("neck", "颈部"),
    "fetus": ("fetus", "胎儿"),
}
_NORMAL = {
    "normal",
    "no fracture",
    "normal breast",
    "benign lung tissue",
    "no diabetic retinopathy",
    "no diabetic macular edema",
}
_NOT_A_FINDING = {name for name, _ in LABEL_SETS["limb"].labels}
_FINDINGS = {en: zh for one in LABEL_SETS.values() for en, zh in one.labels if en not in _NORMAL | _NOT_A_FINDING}


def report(record: Record, view: View, language: Language) -> str:
    """Describe a view of an image."""
    chinese = language is Language.ZH
    modality = MODALITY_NAMES[record.modality][chinese]
    parts = [_PARTS[label] for label in record.labels if label in _PARTS]
    part = parts[0] if parts else _PART_OF_AREA.get(record.area or "")
    visible = sorted(
        (r for r in view.regions if r.label_en != VESSELS),
        key=lambda r: -float(((r.boxes[:, 2:] - r.boxes[:, :2]).prod(axis=1)).sum()),
    )
    kinds = {region.label_en: region.kind for region in record.regions}
    names = [((r.label_en, r.label_zh)[chinese], kinds.get(r.label_en) == "lesion") for r in visible]
    seen = [name for name, lesion in names if not lesion][:MOST_SEEN]
    abnormal = [name for name, lesion in names if lesion]
    abnormal += [(en, _FINDINGS[en])[chinese] for en in record.labels if en in _FINDINGS]
    abnormal = list(dict.fromkeys(abnormal))
    sentences = []
    if chinese:
        sentences.append(f"{modality}，{part[1]}。" if part else f"{modality}。")
        if seen:
            sentences.append(f"可见：{'、'.join(seen)}。")
        if abnormal:
            sentences.append(f"异常：{'、'.join(abnormal)}。")
        return "".join(sentences)
    sentences.append(f"{modality} of the {part[0]}." if part else f"{modality}.")
    if seen:
        sentences.append(f"Seen: {', '.join(seen)}.")
    if abnormal:
        sentences.append(f"Abnormal: {', '.join(abnormal)}.")
    return " ".join(sentences)
