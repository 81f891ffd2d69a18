"""Named sets of labels for a whole image, English beside Chinese.

Training and benchmark read here which labels belong together.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from medrega_edge.domain import Language, Modality
from medrega_edge.vocabulary.answers import offers_choice
from medrega_edge.vocabulary.plain_text import simplified


@dataclass(frozen=True)
class LabelSet:
    """Candidate labels for a whole image, and the modalities that they are for.

    With `multiple`, more than one may be right. `parts` are the body parts of its images, as reports name them. `wider` is
    the name of a set for more images of that kind, `wider_labels` the label of it that holds each of these labels.
    """

    name: str
    modalities: tuple[Modality, ...]
    labels: tuple[tuple[str, str], ...]  # (English, Chinese)
    multiple: bool = False
    parts: tuple[str, ...] = ()
    wider: str = ""
    wider_labels: tuple[str, ...] = ()

    def right(self, labels: Collection[str], modality: Modality) -> list[tuple[str, str]]:
        """Return the candidates that an image's English labels name; none for an image of another modality.

        Without `multiple` there are none either unless exactly one fits.
        """
        fitting = [pair for pair in self.labels if pair[0] in labels]
        return fitting if modality in self.modalities and (self.multiple or len(fitting) == 1) else []

    def names(self, language: Language) -> tuple[str, ...]:
        """The labels in one language."""
        return tuple(zh if language is Language.ZH else en for en, zh in self.labels)


LABEL_SETS = {
    label_set.name: label_set
    for label_set in (
        LabelSet(
            "skin",
            (Modality.DERMOSCOPY,),
            (("melanoma", "黑色素瘤"), ("benign nevus", "良性痣"), ("seborrheic keratosis", "脂溢性角化病")),
        ),
        LabelSet(
            "nevus",
            (Modality.DERMOSCOPY,),
            (("common nevus", "普通痣"), ("atypical nevus", "非典型痣"), ("melanoma", "黑色素瘤")),
            wider="skin",
            wider_labels=("benign nevus", "benign nevus", "melanoma"),
        ),
        LabelSet(
            "breast",
            (Modality.ULTRASOUND, Modality.MRI),
            (
                ("normal breast", "正常乳腺"),
                ("benign breast lesion", "乳腺良性病变"),
                ("malignant breast lesion", "乳腺恶性病变"),
            ),
            parts=("breast",),
        ),
        LabelSet(
            "retinopathy",
            (Modality.FUNDUS, Modality.OCT),
            (
                ("no diabetic retinopathy", "无糖尿病视网膜病变"),
                ("non-proliferative diabetic retinopathy", "非增殖性糖尿病视网膜病变"),
                ("proliferative diabetic retinopathy", "增殖性糖尿病视网膜病变"),
            ),
        ),
        LabelSet(
            "macular-edema",
            (Modality.FUNDUS, Modality.OCT),
            (("no diabetic macular edema", "无糖尿病性黄斑水肿"), ("diabetic macular edema", "糖尿病性黄斑水肿")),
        ),
        LabelSet(
            "lung-tissue",
            (Modality.PATHOLOGY,),
            (
                ("benign lung tissue", "良性肺组织"),
                ("lung adenocarcinoma", "肺腺癌"),
                ("lung squamous cell carcinoma", "肺鳞状细胞癌"),
            ),
        ),
        LabelSet(
            "brain-tumor",
            (Modality.MRI,),
            (("glioma", "胶质瘤"), ("meningioma", "脑膜瘤"), ("pituitary tumor", "垂体瘤")),
            parts=("brain", "head"),
        ),
        LabelSet(
            "fracture",
            (Modality.XRAY,),
            (("fracture", "骨折"), ("no fracture", "无骨折")),
            parts=("hand", "leg", "hip", "shoulder"),
        ),
        LabelSet(
            "limb",
            (Modality.XRAY,),
            (
                ("hand", "手"),
                ("leg", "腿"),
                ("hip", "髋部"),
                ("shoulder", "肩部"),
                ("frontal", "正位"),
                ("lateral", "侧位"),
                ("oblique", "斜位"),
                ("hardware", "内固定物"),
            ),
            multiple=True,
            parts=("hand", "leg", "hip", "shoulder"),
        ),
        LabelSet("tuberculosis", (Modality.XRAY,), (("normal", "正常"), ("tuberculosis", "肺结核")), parts=("chest",)),
        LabelSet(
            "liver-mass",
            (Modality.ULTRASOUND,),
            (("benign liver mass", "肝脏良性肿块"), ("malignant liver mass", "肝脏恶性肿块")),
            parts=("liver", "abdomen"),
        ),
        LabelSet(
            "kidney-disease",
            (Modality.MRI,),
            (("healthy kidneys", "健康肾脏"), ("chronic kidney disease", "慢性肾病")),
            parts=("abdomen", "genitourinary system"),
        ),
        LabelSet(
            "brain-hemorrhage",
            (Modality.CT,),
            (
                ("epidural hematoma", "硬膜外血肿"),
                ("subdural hematoma", "硬膜下血肿"),
                ("subarachnoid hemorrhage", "蛛网膜下腔出血"),
                ("intraparenchymal hemorrhage", "脑实质内出血"),
                ("intraventricular hemorrhage", "脑室内出血"),
            ),
            multiple=True,
            parts=("brain", "head"),
        ),
        LabelSet(
            "heart-view",
            (Modality.ULTRASOUND,),
            (("apical two-chamber view", "心尖两腔切面"), ("apical four-chamber view", "心尖四腔切面")),
            parts=("heart",),
        ),
        LabelSet(
            "heart-phase",
            (Modality.ULTRASOUND,),
            (("end-diastole", "舒张末期"), ("end-systole", "收缩末期")),
            parts=("heart",),
        ),
    )
}

# Words of a question that mean a set, beside its labels.
_SET_WORDS: dict[str, tuple[str, ...]] = {
    "skin": ("mole", "skin", "nevus", "痣", "皮损", "皮肤"),
    "nevus": ("atypical", "dysplastic", "common or", "or common", "非典型", "不典型", "异型"),
    "breast": ("breast", "乳腺", "乳房"),
    "liver-mass": ("liver", "hepatic", "肝"),
    "retinopathy": ("retinopathy", "diabetic", "dr", "npdr", "pdr", "grade", "增殖期", "糖网", "糖尿病", "分级", "几级"),
    "macular-edema": ("macular edema", "macular oedema", "dme", "黄斑水肿"),
    "lung-tissue": ("lung", "pulmon", "adenocarcinoma", "squamous", "肺", "腺癌", "鳞癌"),
    "brain-tumor": ("brain", "tumor", "tumour", "脑", "瘤"),
    "fracture": ("fracture", "broken", "骨折"),
    "limb": ("projection", "limb", "肢"),
    "tuberculosis": ("tuberculosis", "tb", "koch", "结核"),
    "kidney-disease": ("kidney", "肾"),
    "brain-hemorrhage": ("hemorrhage", "haemorrhage", "bleed", "出血"),
    "heart-view": ("apical", "view is this", "view is it", "chamber", "切面", "四腔", "两腔", "二腔"),
    "heart-phase": ("diastole", "systole", "phase", "舒张", "收缩"),
}
_OF_DIABETES = ("diabetic", "糖尿病")
_FINDING_SETS = ("retinopathy", "macular-edema", "tuberculosis")  # their words name the finding that they tell
_FIRST_CHOICE = {  # of several sets for a kind of image, where the words name none
    Modality.DERMOSCOPY: "skin",
    Modality.FUNDUS: "retinopathy",
    Modality.OCT: "macular-edema",
}


def label_set_of(text: str, modality: Modality | None) -> str | None:
    """Return the name of the set that a question to classify an image means; None where that is not clear.

    A set for the kind of image whose labels the question names goes before one whose words it holds.
    """
    scores = _scores(text, modality)
    best = [name for name, score in scores.items() if score and score == max(scores.values())]
    if len(best) == 1:
        return best[0]
    if modality in _FIRST_CHOICE and (not best or _FIRST_CHOICE[modality] in best):
        return _FIRST_CHOICE[modality]
    return None


def set_words(name: str) -> tuple[str, ...]:
    """Return the words that name a set: "tb"."""
    return _SET_WORDS[name]


def names_class(text: str, modality: Modality | None) -> bool:
    """Whether a text names a set for the kind of image, or one of its labels."""
    return any(_scores(text, modality).values())


def _scores(text: str, modality: Modality | None) -> dict[str, int]:
    """How much each set for the kind of image is named; "normal" alone, which many sets have, counts least."""
    text, scores = simplified(text), {}
    for each in LABEL_SETS.values():
        if modality is None or modality in each.modalities:
            named = [pair for pair in each.labels if any(name.casefold() in text for name in pair)]
            labels = sum(1 if pair[0] == "normal" else 4 for pair in named)
            scores[each.name] = labels + 2 * sum(_is_in(text, word) for word in _SET_WORDS[each.name])
    return scores


_ABBREVIATION = 4  # letters of the longest; longer words may be the beginning of others, "pulmon"


def _is_in(text: str, word: str) -> bool:
    if word.isascii() and len(word) <= _ABBREVIATION:
        return re.search(rf"\b{word}s?\b", text) is not None
    return word in text


BENIGN_OR_NOT = ("benign", "malignant", "良性", "恶性")
_OF_BENIGN = (*BENIGN_OR_NOT, "melanoma", "adenocarcinoma", "normal")  # words of labels that tell benign from malignant


def answers_whether_benign(text: str, name: str) -> bool:
    """Whether the labels of a set tell benign from malignant, if a question asks that."""
    labels = [each for label in LABEL_SETS[name].labels for each in label]
    is_asked = any(word in simplified(text) for word in BENIGN_OR_NOT)
    return not is_asked or any(word in label for label in labels for word in _OF_BENIGN)


_GRADE = re.compile(r"\b(?:grad(?:e|es|ed|ing)|stag(?:e|es|ed|ing))\b|几级|几期|分级|分期")
_GRADED = ("retinopathy",)  # sets whose labels are grades


def candidate_sets(text: str, modality: Modality | None) -> tuple[str, ...]:
    """Return the names of the sets that a question that names none may mean: if it asks, those of benign and malignant.

    One that offers a choice of its own, "cystic or solid", means none.
    """
    fitting = [each for each in LABEL_SETS.values() if modality is None or modality in each.modalities]
    if _GRADE.search(simplified(text)):
        fitting = [each for each in fitting if each.name in _GRADED]
    if any(word in simplified(text) for word in BENIGN_OR_NOT):
        fitting = [each for each in fitting if any(label.startswith(BENIGN_OR_NOT) for label, _ in each.labels)]
    elif offers_choice(text):
        return ()
    return tuple(each.name for each in fitting)


def named_set(text: str, modality: Modality | None) -> str | None:
    """Return the name of the set, for a kind of image, that a question names by one of its words: "TB"."""
    text, words = simplified(text), f" {' '.join(re.findall('[a-z]+', simplified(text)))} "
    named = {
        name: said
        for name in _FINDING_SETS
        if modality is None or modality in LABEL_SETS[name].modalities
        if (said := [word for word in _SET_WORDS[name] if (f" {word} " in words if word.isascii() else word in text)])
    }
    if len(named) > 1:  # "diabetic macular edema" names no retinopathy
        named = {name: said for name, said in named.items() if set(said) - {*_OF_DIABETES}}
    return next(iter(named)) if len(named) == 1 else None


# Findings that a report can name: the labels above without the normal ones, and without views and phases.
_NO_FINDING = {
    "no fracture",
    "normal breast",
    "benign lung tissue",
    "no diabetic retinopathy",
    "no diabetic macular edema",
    "normal",
    "healthy kidneys",
    *(en for name in ("limb", "heart-view", "heart-phase") for en, _ in LABEL_SETS[name].labels),
}
_FINDINGS_OF_NO_SET = {
    "congenital heart disease": "先天性心脏病",
    "multiple sclerosis": "多发性硬化",
    "diabetic retinopathy": "糖尿病视网膜病变",
    "age-related macular degeneration": "年龄相关性黄斑变性",
}
FINDINGS = _FINDINGS_OF_NO_SET | {
    en: zh for label_set in LABEL_SETS.values() for en, zh in label_set.labels if en not in _NO_FINDING
}

DENIED_BY = {"diabetic retinopathy": "no diabetic retinopathy"}  # finding -> the label of a set that excludes it

BODY_PARTS = {
    "chest": "胸部",
    "abdomen": "腹部",
    "abdomen and pelvis": "腹部和盆腔",
    "pelvis": "盆腔",
    "brain": "脑部",
    "head": "头部",
    "head and face": "头面部",
    "neck": "颈部",
    "heart": "心脏",
    "spine": "脊柱",
    "hand": "手",
    "leg": "腿",
    "hip": "髋部",
    "shoulder": "肩部",
    "breast": "乳腺",
    "skin": "皮肤",
    "eye": "眼部",
    "gastrointestinal tract": "消化道",
    "fetus": "胎儿",
    "liver": "肝脏",
    "ovary": "卵巢",
    "genitourinary system": "泌尿生殖系统",
    "spine and muscles": "脊柱和肌肉",
    "teeth": "牙齿",
}

NOT_MEDICAL = ("not a medical image", "非医学图像")
MODALITY_NAMES = {
    Modality.CT: ("CT scan", "CT图像"),
    Modality.MRI: ("MRI", "磁共振图像"),
    Modality.XRAY: ("X-ray", "X光片"),
    Modality.ULTRASOUND: ("ultrasound image", "超声图像"),
    Modality.FUNDUS: ("fundus photograph", "眼底照片"),
    Modality.OCT: ("OCT scan", "OCT图像"),
    Modality.DERMOSCOPY: ("dermoscopy image", "皮肤镜图像"),
    Modality.ENDOSCOPY: ("endoscopy image", "内镜图像"),
    Modality.PATHOLOGY: ("microscopy image", "显微镜图像"),
    Modality.MAMMOGRAPHY: ("mammogram", "乳腺X线片"),
}


def modality_name(modality: Modality, language: Language) -> str:
    """Return what a person calls an image of a modality."""
    return MODALITY_NAMES[modality][language is Language.ZH]
