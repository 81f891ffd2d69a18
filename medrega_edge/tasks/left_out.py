"""What a question says beyond what its answer regards: a place, one kind of a finding, other classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from medrega_edge.domain import Language, Modality, language_of
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Intent, Kind, understand
from medrega_edge.prompts.intent.back_references import goes_on
from medrega_edge.prompts.intent.clauses import tells_history
from medrega_edge.prompts.intent.naming import named, near_another, without_side, words_of
from medrega_edge.prompts.intent.phrases import has, pattern, without_fillers
from medrega_edge.prompts.intent.pieces import TELLS_WHO, Clause, asks_for_something, clauses, is_conditional, tells_to_say
from medrega_edge.prompts.intent.unread import has_content, is_unread_zh
from medrega_edge.vocabulary.generic_words import generic_labels
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import BENIGN_OR_NOT, LABEL_SETS, LabelSet, answers_whether_benign, set_words
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.sites import findings_at, is_part
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.wording import as_nouns, kind_left_out, places_in, qualifiers, without_homonyms


def _structure_left_out(text: str, intent: Intent, terminology: Terminology) -> str:
    """Return the structures in which a finding is asked for and which its label does not name: a bone of a fracture."""
    asked = {english for english, _ in intent.names}
    if not asked or not all(map(is_finding, asked)):
        return ""
    column = language_of(text) is Language.ZH
    named = terminology.find(as_nouns(simplified(text)))
    sites = {name[0]: findings_at([name[0]]) & asked for name in named if not is_finding(name[0])}
    if intent.kind is Kind.SIDE and _WHICH_SIDE.search(simplified(text)):  # "in which hemisphere"
        named = [name for name in named if without_side(name[0]) not in _ON_BOTH_SIDES]
    is_of_some = bool(intent.generic) and any(sites.values())  # of the liver, but not of the pancreas
    structures = [name[column] for name in named if is_part(name[0]) or (is_of_some and not sites.get(name[0], asked))]
    named_words = " ".join(each for pair in intent.names for each in pair)  # "脑室" of "脑室内出血"
    structures += [
        word
        for word in intent.generic
        if word != "cell" and word not in named_words and not any(map(is_finding, generic_labels(word)))
    ]
    return ("、" if column else ", ").join(structures)


_ON_BOTH_SIDES = ("cerebral hemisphere", "cerebellar hemisphere", "lung", "kidney", "breast", "eye")
_WHICH_SIDE = re.compile(r"\b(?:which|what) (?:side|hemisphere|lung|kidney|half)\b|\bleft\b.*\bright\b|哪一?[侧边]|左.*右")


_SIDE_OF_PLACE = re.compile(r"\b(?:left|right)\b|[左右]")  # "the upper left": the answer regards the side


def place_left_out(text: str, intent: Intent, terminology: Terminology) -> str:
    """Return the parts of structures that a question speaks of and none of its names has; empty without any."""
    plain = simplified(text)
    places = places_in(plain) if intent.names else []
    if not places:
        is_located = intent.kind in (Kind.LOCATE, Kind.SEGMENT, Kind.COUNT, Kind.MEASURE, Kind.PRESENCE)
        near = near_another(plain, intent.names, terminology) if is_located else ""
        return near or _structure_left_out(text, intent, terminology)
    left_out = (_without_side(each.group(), intent) for each in places if not _is_regarded(each, intent, plain))
    return listed_words(left_out, text)


def listed_words(words: Iterable[str], text: str) -> str:
    """Return words as a list, each once, in the language of a text."""
    return ("、" if language_of(text) is Language.ZH else ", ").join(dict.fromkeys(filter(None, words)))


def _is_regarded(place: re.Match[str], intent: Intent, plain: str) -> bool:
    """Whether names have a place, or the kind of question tells it: the edge of an outline, "in the left or right lobe?"."""
    word = next((group for group in place.groups() if group), place.group())
    if intent.asks_for_outline and _EDGE.search(place.group()):
        return True
    if intent.kind is Kind.SIDE and _SIDE_OF_PLACE.search(place.group()) and _LEFT_OR_RIGHT.search(plain):
        return True
    return all(word in english.casefold() or word in chinese for english, chinese in intent.names)


def _without_side(place: str, intent: Intent) -> str:
    return " ".join(_SIDE_OF_PLACE.sub("", place).strip(" -").split()) if intent.side else place


_EDGE = re.compile("edge|border|margin|rim|边缘|边界|轮廓")
_LEFT_OR_RIGHT = re.compile(r"\bleft or (?:the )?right\b|\bright or (?:the )?left\b|左.{0,3}还是右")


_OF_ANYTHING = (Kind.LOCATE, Kind.SEGMENT, Kind.PRESENCE)  # what a clause without a name is taken for
_TOLD_BY_WORDS = {
    Kind.MEASURE,
    Kind.COUNT,
    Kind.SIDE,
    Kind.COMPARE,
    Kind.DISTANCE,
    Kind.LOCATE,
    Kind.CLASSIFY,
    Kind.BODY_PART,
}
_OF_BOXES = (Kind.MEASURE, Kind.COUNT, Kind.SIDE, Kind.COMPARE, Kind.DISTANCE)  # kinds that boxes tell, each by itself
_OF_STATE = (Kind.ANSWER, Kind.CLASSIFY, Kind.IMPOSSIBLE)  # kinds that ask of a name what its box does not tell


def questions_left_out(
    text: str, intent: Intent, terminology: Terminology, modality: Modality | None
) -> tuple[Message, ...]:
    """Say which clauses of a text ask for something that the answer to its intent does not regard."""
    said = clauses(text)
    if len(said) < 2:
        return ()
    left = [clause.text for clause in said if _is_left(clause, intent, terminology, modality)]
    return tuple(Message("task.question_left_out", question=clause) for clause in left)


def other_findings_left_out(text: str) -> tuple[Message, ...]:
    """Say that other diseases beside a named one are not looked for: "tuberculosis or any other disease?"."""
    match = _OR_OTHERS.search(simplified(text))
    return (Message("task.question_left_out", question=match.group(1) or match.group(2)),) if match else ()


_OR_OTHERS = re.compile(
    r"\b(?:or|and) ((?:(?:any|some) )?other (?:diseases?|findings?|abnormalit\w+|patholog\w+|problems?)"
    r"|another (?:disease|finding|abnormality|problem)|(?:anything|something) else)\W*$"
    r"|(?:或者?|还是|以及|和)((?:有没有|有无)?其[他它]的?(?:疾病|病变|异常|问题|病|发现))"
)


def _is_left(clause: Clause, answered: Intent, terminology: Terminology, modality: Modality | None) -> bool:
    text, is_asked = clause.text, clause.is_asked
    if (not is_asked and tells_history(text)) or _LEAVES_OUT.search(text):
        return False
    kinds = {answered.kind, *answered.also_asked}
    told = {without_side(name[0]) for name in answered.names}
    unknown = " ".join(answered.unknown)
    intent = understand(text, terminology, modality)
    if intent.kind is Kind.ANSWER and intent.asks_if_enlarged and Kind.MEASURE in kinds:
        return False
    if _SEPARATELY.search(text) and places_in(text):
        return True  # "count the teeth, upper and lower separately"
    if is_conditional(text) or (goes_on(text) and intent.kind in kinds):
        return False
    if intent.kind is Kind.CLASSIFY and not _without_classes(words_of(text)):
        return False  # "a melanoma or a keratosis" of a choice
    labels = {without_side(name[0]) for name in intent.names} | {without_side(label) for label in intent.meant}
    labels -= {"eye"} if modality in _OF_ONE_SIDE else set()
    said = words_of(named(text, terminology, modality).masked)
    asks = is_asked or has("question", said) or asks_for_something(text)
    if not is_asked and TELLS_WHO.match(text):
        return False  # "I'm 34 and have fair skin."
    if not is_asked and _VIEW.match(text):
        return False  # "short axis cine."
    if Kind.SIDE in kinds and _LEFT_AND_RIGHT.match(text):
        return False  # "where is the nodule, left lung or right lung?"
    if Kind.CLASSIFY in kinds and _STAGE.match(text):
        return False  # the class of a retinopathy is its stage
    if answered.alike and findings_at(list(labels)) & {*answered.alike}:
        return False  # "which tooth is bad?"
    if labels & told and len(told) > 1 and intent.kind is Kind.CLASSIFY and Kind.PRESENCE in kinds:
        return False  # "what type of bleed, subdural or epidural?", "edema or hemorrhage?"
    if labels & told:
        if _OFFERS.match(text) and len(told) > 1 and Kind.PRESENCE in kinds:
            return False  # "what kind of bleed is this: epidural, subdural or intraparenchymal?"
        told_with = (Kind.MEASURE, Kind.SIDE, Kind.COMPARE) if kinds & {Kind.COMPARE, Kind.DISTANCE} else ()
        return asks and intent.kind in (*_OF_STATE, *_OF_BOXES) and intent.kind not in (*kinds, *told_with)
    if labels:
        is_bare = not without_fillers(_LINK.sub("", said))
        return asks or is_bare or tells_to_say(text) or has("locate", said) or has("presence_strong", said)
    if intent.reason:
        return is_asked
    if intent.unknown or _GOES_WITH.search(text):
        return asks and bool(intent.unknown) and not any(word in unknown for word in intent.unknown)
    if _WHICH_ONE.search(text):
        return not {Kind.SIDE, Kind.COMPARE, Kind.DISTANCE, Kind.CLASSIFY, Kind.ANSWER} & kinds
    named_kinds = {kind for kind in _TOLD_BY_WORDS if has(kind, said)}
    is_unread = asks and not text.isascii() and not named_kinds & kinds and is_unread_zh(text)
    is_said = has_content(said) or is_unread
    is_choice = is_asked and intent.kind in _OF_STATE and _CHOICE.search(text) is not None  # "a lung window or another?"
    if not (is_said or is_choice) and (named_kinds & kinds or not named_kinds):  # "and a length, please", "which is it?"
        return False
    if intent.kind in _OF_ANYTHING:
        is_question = (is_asked or has("question", said)) and not (has("locate", said) or has("outline", said))
        return is_question and is_said  # "is there posterior shadowing?"
    is_told = (
        intent.kind in kinds
        or (intent.kind is Kind.HELP and not (is_asked and is_said))
        or (intent.kind is Kind.REPORT and Kind.PRESENCE in kinds)
    )
    return asks and not is_told and (is_asked or is_said or not tells_to_say(text))


def _without_classes(said: str) -> str:
    for kind in ("class_words", "choice", "is_it"):
        said = pattern(kind, said).sub(" ", said)
    return without_fillers(" ".join(word for word in said.split() if word not in _WORDS_OF_CLASSES))


_WORDS_OF_CLASSES = {word for each in LABEL_SETS.values() for pair in each.labels for name in pair for word in name.split()}


_LEFT_AND_RIGHT = re.compile(r"(?:in |on )?(?:the )?left (?:\w+ )?or (?:in |on )?(?:the )?right(?: \w+)?\W*$")
_VIEW = re.compile(
    r"(?:(?:short|long|apical|parasternal|axial|sagittal|coronal|[24][ -]?|two|four|cine|axis|view|chamber)\W*)+$"
    r"|(?:[长短]轴|[四两二]腔心?|轴|矢状?|冠状?|横断|[侧正]|心尖|胸骨旁)+[位面](?:片|像|图|切面)?$"
)
_STAGE = re.compile("严重程度|(?:第|是|属于)?(?:几|哪一?)[期级]")


def is_of_class(text: str) -> bool:
    """Whether each word of a text, but for a side, stands in the name of some class: "left lung", "nevus"."""
    return all(word in _WORDS_OF_CLASSES for word in without_side(text).split())


_OFFERS = re.compile(r"(?:which|what)\b[^:-]*(?::| - )")
_LEAVES_OUT = re.compile(
    r"^(?:and |but |just )*(?:not|no|without|ignor(?:e|ing)|exclud(?:e|ing)|except|skip|leave out|leaving out)\b"
    r"|^(?:不要|不用|不必|别|不看|除了?|去掉)|(?:不用|不必|不要|别)(?:再)?(?:标|圈|框|画|管)(?:出来?|了)?$"
)
_LINK = re.compile(r"^(?:and |then |also |next |finally |the |same |for |plus )*|^(?:然后|还有|另外|再|也|同样|最后)*")
_SEPARATELY = re.compile(r"\bseparately\b|\b(?:each|individually)\W*$|分开|分别")
_WHICH_ONE = re.compile(r"\bwhich (?:one|of (?:them|these|those|the two))\b|哪一?个")
# A clause that only goes on with the one before: "left or right?", "do you see it too?", "还是别的病？".
_GOES_WITH = re.compile(
    r"^(?:(?:the )?(?:left|right|both|l|r|or|v|vs|either|against|side|one)\W*)+$"
    r"|\b(?:see|seen|visible|anyone|look)\b|\bthere\W*$"
    r"|^(?:is|are|does|do|did|was|were|has|have|can) (?:it|they|he|she|that|this)(?: too| there)?$"
    r"|^[左右双两侧边或]+$|^还是|^(?:看|能看|判断|是不是|是吗|对吗|有吗|可有)"
)


# Kinds of images that show one of a pair, a breast or an eye: no side of the picture is the patient's.
_OF_ONE_SIDE = (Modality.MAMMOGRAPHY, Modality.FUNDUS, Modality.OCT)
_BOTH = re.compile(
    r"\b(?:in |on |of )?(?:both (?:lungs|sides|kidneys|eyes|hemispheres|breasts|lobes)"
    r"|all (?:three|four|five|six)\b(?: \w+)?)"
    r"|(?:双|两)(?:肺|肾|侧|眼|乳|边|叶).{0,2}(?:都|均)"
)
_IN_ORDER = re.compile(
    r"\b(?:by|in order of|order(?:ed)? by|sorted by) size\b|\b(?:largest|biggest|smallest) (?:first|to)\b"
    r"|从大到小|从小到大|按大小|大小排|大小顺序"
)
_AS_USUAL = re.compile(r"\b(?:ab)?normal(?:ly)?\b|\benlarged\b|\btoo (?:big|large|small)\b|正常|异常|偏[大小]|过[大小]")
_IN_WHICH = re.compile(r"\bwhich (?:tooth|teeth|bones?|vertebrae?|ribs?)\b|哪一?[几]?[颗根节块](?:牙|骨|椎|肋)")
_OF_BREAST = re.compile("breast lesion")
_OTHER_MEASURE = re.compile(
    r"\bhow much of the (?:image|picture|frame|screen|view|field|slice|scan)\b|长宽比|纵横比|长短径比"
    r"|\b(?:taller|wider) than (?:it is )?(?:wide|tall)\b"
    r"|\b(?:head |abdominal )?circumference\b|\bbi-?parietal(?: diameter)?\b|(?<![a-z])bpd(?![a-z])|头围|腹围|周长|双顶径",
    re.IGNORECASE,
)


def narrowing_words(intent: Intent, place: str) -> list[str]:
    """Return the words beside the names of an intent that no label holds, without those of a place that is left out."""
    names = [name for pair in intent.names for name in pair]
    return [
        word for word in (*intent.unread, *intent.narrowing) if word not in place and not any(word in name for name in names)
    ]


def notes_of(text: str, intent: Intent, modality: Modality | None, place: str) -> tuple[Message, ...]:
    """Return what else a question asks and its answer leaves out: a measure that no box gives, the side of a breast."""
    notes = []
    if intent.kind is Kind.MEASURE and (measure := _OTHER_MEASURE.search(simplified(text))):
        notes.append(Message("task.measure_left_out", measure=measure.group()))
    if intent.kind is Kind.MEASURE and (intent.asks_if_enlarged or _AS_USUAL.search(simplified(text))):
        notes.append(Message("task.normal_size_left_out"))
    if intent.kind is Kind.ORGANS and _IN_ORDER.search(simplified(text)):
        notes.append(Message("task.in_order"))
    are_findings = bool(intent.names) and all(is_finding(name[0]) for name in intent.names)
    if intent.kind is Kind.PRESENCE and are_findings and (both := _BOTH.search(simplified(text))):
        notes.append(Message("task.words_left_out", words=[both.group()]))
    if intent.kind is Kind.LOCATE and are_findings and _IN_WHICH.search(simplified(text)):
        notes.append(Message("task.impossible_part"))
    if words := narrowing_words(intent, place):
        notes.append(Message("task.words_left_out", words=words))
    if intent.side and shows_one_side(intent, modality):
        notes.append(Message("task.which_of_pair"))
    return tuple(notes)


def shows_one_side(intent: Intent, modality: Modality | None) -> bool:
    """Whether an image shows one of a pair: a breast, but for slices, or an eye."""
    is_of_breast = any(_OF_BREAST.match(name[0]) for name in intent.names)
    return modality in _OF_ONE_SIDE or (is_of_breast and modality not in (Modality.CT, Modality.MRI))


def side_left_out(text: str) -> Message | None:
    """Say that a class of the whole image tells no side, where a question names one."""
    side = _ONE_SIDE.search(simplified(text))
    return Message("task.words_left_out", words=[side.group().strip()]) if side else None


_ONE_SIDE = re.compile(
    r"\b(?:left|right)(?:[- ]sided)? (?=lung|kidney|breast|eye|side|hand|leg|upper|lower)|[左右](?:侧|边|肺|肾|眼|乳)"
)


def classes_unknown(text: str, intent: Intent, label_sets: Sequence[LabelSet]) -> tuple[str, ...]:
    """Return the findings and kinds of findings that a question names beside the classes of sets, as it calls them."""
    text = _AGE.sub(" ", text)
    told = [each.casefold() for label_set in label_sets for pair in label_set.labels for each in pair]
    told += [word for label_set in label_sets for word in set_words(label_set.name)]
    plain = (
        simplified(text)
        .replace("pituitary adenoma", "pituitary tumor")
        .replace("naev", "nev")
        .replace("糖尿病性视", "糖尿病视")
    )
    edema = _MACULAR_EDEMA.search(plain)  # a class of its own, whose words name the fluid, too
    kind = kind_left_out(text, [name[0] for name in intent.names])
    if kind:
        is_told = kind[0] in BENIGN_OR_NOT and any(answers_whether_benign(text, each.name) for each in label_sets)
        named = [] if is_told else [kind[0]]
    elif not _CHOICE.search(plain) and intent.kind is Kind.CLASSIFY:
        named = []  # "what kind of skin lesion is this" offers no class
    elif intent.generic or not all(is_finding(name[0]) for name in intent.names):
        named = []
    else:
        column = language_of(text) is Language.ZH
        named = [
            name[column] for name in intent.names if name[0] not in told and not (edema and name[0] == "intraretinal fluid")
        ]
        named += [edema.group()] if edema else []
    if intent.kind is Kind.CLASSIFY or not intent.names:
        classes = (match.group() for match in pattern("class_words", plain).finditer(plain))
        named += [word for word in classes if word not in _ANY_CLASS and not _is_word_of(word, told)]
    if not kind:
        named += [word for word in qualifiers(text) if word not in BENIGN_OR_NOT and not _is_word_of(word, told)]
    return tuple(word for word in dict.fromkeys((*intent.unknown, *named)) if not any(word in each for each in told))


_AGE = re.compile(r"\b\d+[- ]?(?:years?|months?|weeks?|days?)?[- ]?(?:old|yo)\b", re.IGNORECASE)
_ANY_CLASS = (
    *BENIGN_OR_NOT,
    "normal",
    "abnormal",
    "healthy",
    "cancerous",
    "tumor",
    "tumour",
    "cancer",
    "正常",
    "异常",
    "肿瘤",
    "癌",
    "良恶性",
)


def _is_word_of(word: str, texts: Sequence[str]) -> bool:
    return any(word in each or each in word for each in texts)


_ALL_OF_IMAGE = ("eye", "breast")  # what such an image is of


def structures_of_other_classes(text: str, terminology: Terminology, label_sets: Sequence[LabelSet]) -> tuple[str, ...]:
    """Return the structures that a text names and that classes of the sets are not about: the colon, of lung tissue."""
    told = " ".join(name for label_set in label_sets for pair in label_set.labels for name in (label_set.name, *pair))
    column = language_of(text) is Language.ZH
    named = (
        name
        for name in terminology.find(as_nouns(without_homonyms(simplified(text), None)))
        if not is_finding(name[0]) and without_side(name[0]) not in _ALL_OF_IMAGE
    )
    others = (
        name
        for name in named
        if without_side(name[0]).split()[-1] not in told and name[1].lstrip("左右").removeprefix("侧") not in told
    )
    return tuple(dict.fromkeys(name[column] for name in others))


def is_outside_choice(text: str, classes: Sequence[str]) -> bool:
    """Whether a question offers a choice, "adenocarcinoma or normal mucosa?", and the classes share no word with it."""
    plain = simplified(text)
    if not _CHOICE.search(plain):
        return False
    said = set(re.findall(r"[a-z]+", plain.replace("naev", "nev").replace("mole", "nevus")))
    if re.search("癌|恶性", plain) and any(re.search("癌|恶性", each) for each in classes):
        return False
    if "痣" in plain and any("痣" in each for each in classes):
        return False
    words = {word for each in classes for word in re.findall(r"[a-z]+", each.casefold())}
    pairs = {each[place : place + 2] for each in classes if not each.isascii() for place in range(len(each) - 1)}
    return not (words & said or any(pair in plain for pair in pairs))


_MACULAR_EDEMA = re.compile(r"\bmacular o?edema\b|黄斑水肿")
_CHOICE = re.compile(r"\bor\b(?! (?:not|no|nah)\b)|还是")
