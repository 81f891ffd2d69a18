"""Tasks, languages and modalities as closed sets; the notice on every output, and who made it."""

from __future__ import annotations

import re
from enum import StrEnum

NOTICE = "Research use only - not a medical device"
NOTICE_ZH = "仅供研究使用 - 非医疗器械"
MANUFACTURER = "medrega-edge"  # of every DICOM object that this program makes, by which it tells its own


class Task(StrEnum):
    """Kind of task; the values are those of an answer's JSON."""

    VQA = "vqa"
    CLASSIFY = "classify"
    REPORT = "report"
    IDENTIFY = "identify"
    DETECT = "detect"
    GROUNDED_REPORT = "grounded_report"


class Language(StrEnum):
    """Language of question and answer."""

    EN = "en"
    ZH = "zh"


NOTICES = {Language.EN: NOTICE, Language.ZH: NOTICE_ZH}


class Modality(StrEnum):
    """Imaging modality. `mammography` and `oct` are not part of `xray` and `fundus`, because they look different."""

    CT = "ct"
    MRI = "mri"
    XRAY = "xray"
    ULTRASOUND = "ultrasound"
    FUNDUS = "fundus"
    OCT = "oct"
    DERMOSCOPY = "dermoscopy"
    ENDOSCOPY = "endoscopy"
    PATHOLOGY = "pathology"
    MAMMOGRAPHY = "mammography"


PROJECTIONS = (Modality.XRAY, Modality.MAMMOGRAPHY)  # they show the body enlarged

_CJK = re.compile(r"[\u3400-\u9fff]")
_WISHES = {  # "report in Chinese", "用英文写报告"
    "zh": re.compile(r"\b(?:in|into) (?:simplified |traditional )?(?:chinese|mandarin)\b", re.ASCII | re.IGNORECASE),
    "en": re.compile(r"(?:用|以|写|出|给|要)[个份]?英[文语]|英[文语](?:回答|答|报告|写|描述|版)"),
}


def language_of(question: str) -> Language:
    """Return the language of the answer to a text: the one that it asks for, else Chinese if it has a Chinese character."""
    is_chinese = _CJK.search(question) is not None
    wish = _WISHES["en" if is_chinese else "zh"].search(question) is not None
    return Language.ZH if is_chinese is not wish else Language.EN
