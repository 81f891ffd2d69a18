"""What a question tells beside what it asks: who asks, the patient's age, laboratory values.

"Neurosurgeon:", "House officer, A&E.", "14岁男孩,", "PSA 12 ng/ml".
"""

from __future__ import annotations

import re

_PROFESSION = (
    r"(?:[a-z]+ ){0,2}(?:doctor|physician|surgeon|radiologist|radiographer|sonographer|pathologist|dermatologist"
    r"|cardiologist|neurologist|oncologist|urologist|ophthalmologist|optometrist|gastroenterologist|endoscopist|midwife|nurse|dentist"
    r"|hygienist|orthodontist|physiotherapist|gp|(?:house )?officer|registrar|resident|consultant|student|trainee|intern"
    r"|technician|technologist|physicist|researcher|scientist|[a-z]*surgeon|paramedic|patient)"
)
_PROFESSION_ZH = (
    "[\u3400-\u9fff]{0,6}(?:医生|大夫|医师|护士|技师|技术员|药师|学生|研究生|规培生?|实习生|助理|主任|患者|病人|家属|外科|内科|儿科|妇科|产科"
    "|妇产科|骨科|眼科|牙科|口腔科|皮肤科|放射科|超声科|病理科|急诊科?|门诊|肿瘤科|泌尿科|神经科|消化科|呼吸科|心内科?|影像科|放疗科|筛查|复查"
    "|随访|体检|会诊|科研|教学)"
)
_WHERE = (
    r"(?:,? ?(?:in |at |from )?(?:the )?(?:a ?& ?e|er|ed|icu|itu|ward|clinic|[a-z]+ (?:ward|clinic|department|hospital)))?"
)
_ASKER = re.compile(
    rf"^\W*(?:i(?:'?m| am) (?:an? |the )?)?{_PROFESSION}{_WHERE}(?: here)?(?::| - |\. (?=\w))\s*"
    r"|^\W*(?:我是)?[\u3400-\u9fff]{0,4}(?:护士|护理师|医生|大夫|医师|技师)(?:长)?(?:想|要|来)?(?:请教|请问|问)一?下?"
    rf"|^\W*(?:我是)?{_PROFESSION_ZH}(?:的?(?:提问|问|求助|申请|用))?[:\uff1a]\s*",
    re.IGNORECASE,
)
_PERSON = r"(?:male|female|man|woman|boy|girl|child|infant|baby|toddler|lady|gentleman|smoker|patient|m|f)\b"
_PERSON_ZH = "(?:男|女|小|老)?(?:孩子?|性|童|婴|婴儿|宝宝|患者|病人|学生|人|童|士|生|儿)?"
_OF_AGE = re.compile(
    rf"^\W*(?:an? |my |the |this |our )?\d{{1,3}}[- ]?(?:years?|yrs?|months?|weeks?|days?|y|yo|m|f|mo)[- /]*(?:old|o)?\b"
    rf"(?:[ -]+(?:[a-z]+ ){{0,2}}?(?:{_PERSON}))?(?: patient)?(?=\s*(?:[,.;:]|with\b|who\b|present|complain))[,.;: ]*"
    rf"|^\W*(?:(?:患者|病人|患儿|我?(?:爸爸?|妈妈?|爷爷|奶奶|父亲|母亲|儿子|女儿|孩子|宝宝|老婆|老公)|我|老人家?)?"
    rf"[,\uff0c ]*(?:男|女)性?[,\uff0c ]*)?\d{{1,3}}(?:周?岁|个?月大?|天|y)"
    rf"(?:的)?{_PERSON_ZH}[,\uff0c。;\uff1b ]+",
    re.IGNORECASE,
)


_INDICATION = re.compile(  # "Colonoscopy for iron deficiency anaemia."
    r"^\W*(?:[a-z-]+ ){0,3}[a-z-]*(?:scopy|scan|ct|mri|x-?ray|ultrasound|smear|biopsy|examination|imaging)"
    r" (?:done |performed )?for [^.,:;?]{3,60}[.:;]\s*",
    re.IGNORECASE,
)
_SYMPTOM = re.compile(  # its side is none of a finding
    r"\b(?:left|right|[lr])[- ]?sided? (?:[a-z]+ )?(?:weakness|numbness|pain|paralysis|hemiplegia|hemiparesis"
    r"|facial droop)\b(?! (?:is|on|in))",
    re.IGNORECASE,
)
_VALUE = re.compile(
    r"\b(?:my |his |her |the )?(?:gcs|nihss|mrs|pack years?|hr|rr|sats?|spo2|temp|temperature|hb|wbc|bmi|ca[- ]?125"
    r"|ca[- ]?19[-.]9|ca[- ]?15[-.]3|afp|cea|psa|hba1c|hcg|crp|esr|egfr|creatinine|ha?emoglobin)(?![a-z])(?: level)?"
    r"(?: is| was| of| at|为|是)?"
    r"[ :=\uff1a]{0,2}\d+(?:\.\d+)?(?:/15)?(?: ?(?:%|[a-zμ]{1,4} ?/ ?[a-z]{1,3}\b))?|\bbp ?\d{2,3} ?/ ?\d{2,3}",
    re.IGNORECASE,
)


_TOPIC = re.compile(  # "my liver, is it healthy?"
    r"^\W*(?P<topic>(?:the|my|his|her|this|our) [a-z]+(?: [a-z]+){0,2}),"
    r" (?P<verb>(?:and )?(?:(?:how [a-z]+|how|where|what)(?: is|'s| are)|is|are|does|do|has|have)) (?:it|they|that)\b",
    re.IGNORECASE,
)


_GOOD_OR_BAD = re.compile("(?<!不)好的?(?:东西)?还是(?:不好|坏)的?(?:东西)?(?!说)")


def in_medical_words(text: str) -> str:
    """Return a text with the field's words for what patients call otherwise: a finding that is "好的还是坏的"."""
    return _GOOD_OR_BAD.sub("良性还是恶性", text)


def with_topic_in_place(text: str) -> str:
    """Return a question that begins with its topic as an ordinary one: "is my liver healthy?"."""
    return _TOPIC.sub(lambda match: f"{match['verb']} {match['topic']}", text)


def without_background(text: str) -> str:
    """Return a text without who asks, the patient's age before the question, and values; the text where no word is left."""
    for background in (_ASKER, _OF_AGE, _INDICATION, _SYMPTOM, _VALUE):
        rest = background.sub(" " if background in (_VALUE, _SYMPTOM) else "", text)
        text = rest if re.search(r"\w", rest) else text
    return text


_SPACED_ZH = re.compile(r"(?<=[\u3400-\u9fff]) +(?=[\u3400-\u9fff])")
_WORD_AT_END = re.compile("[\u3400-\u9fff]+$")


def _is_list(text: str, space: re.Match[str]) -> bool:
    """Whether a space stands between short names, "肝 胆 胰 脾都在哪里", and not between two clauses."""
    before = _WORD_AT_END.search(text[: space.start()])
    return before is not None and len(before.group()) <= 2


def with_signs(text: str) -> str:
    """Return a Chinese text with signs in the place of spaces: "肝 胆 脾在哪里", "病变在哪里 对称吗"."""
    return _SPACED_ZH.sub(lambda space: "、" if _is_list(text, space) else "\uff0c", text)
