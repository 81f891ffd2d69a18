"""What a part of a text points back to: "how big is it?", "and the spleen?", "哪一侧"; the part with it in its place."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import Intent, Kind, names_of_words, understand, unknown_word
from medrega_edge.prompts.intent.naming import Named, named, without_side
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.prompts.intent.reading import in_plain_words
from medrega_edge.vocabulary.generic_words import MARK, generic_labels, may_be_finding
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.label_sets import named_set
from medrega_edge.vocabulary.sites import findings_at
from medrega_edge.vocabulary.states import asks_if_normal
from medrega_edge.vocabulary.terminology import BilingualName, Terminology

# What stands for the names of the part before.
_INSIDE = re.compile(
    r"\b(?:in|inside|within|on) (?:(?:one|any|either|both|each|all) of )?(?:it|them|there)\b"
    r"|(?:它们?|其)?(?:里面|里头|其中|上面|内部)"
)
_DRAWS = re.compile(r"\b(?:box|circle|draw|outline|line|rectangle|contour)\b")
_AROUND = re.compile(r" (?:around|surrounding) (?:it|them)\b")  # no label tells where an edema lies
_PRONOUN = re.compile(r"\b(?:it|its|them|they|their)\b|\b(?:both(?: of them)?|each(?: one| of them)?)$|它们?")
_OF_SIDE = re.compile(
    r"\bthe (left|right) one(?=\W*$| (?:smaller|larger|bigger|shorter|longer|wider|enlarged|normal|too|as well)\b)"
    r"|^(?:and |what about |how about )+(?:the )?(left|right)(?: side)?(?=\W*$)"
)  # of the pair before: "where is the right one?"
_LEFT_OR_RIGHT_ZH = re.compile(
    "^(?:是)?(?:分别)?(?:位于|在)?((?:图像?|图片|画面|片子)(?:上|里|中)?的?)?左([\\u3400-\\u9fff]{0,3})还是(?:在)?右\\2$"
    "|^(?:是)?(?:分别)?(?:位于|在)?右([\\u3400-\\u9fff]{0,3})还是(?:在)?左\\3$"
)
_SIDED_ZH = re.compile("^那?([左右])[边侧](?:也)?(?:有没有|有吗|有|呢)[吗么呢]?$")
_BOTH_SIDES = re.compile("^(?:是)?(?:双侧|两侧|两边)(?:都)?(?:有)?[吗么]$")
# "its type": the class of a finding that was named.
_TYPE = (
    r"^(?:它的?)?(?:性质|类型)$|^(?:是|属于)?哪一?[种类型]的?$"
    r"|^(?:请)?(?:判断|说明|指出|告诉我)?(?:它|其)?(?:是|属于)?(?:哪一?种|什么|哪一?类)(?:类型|种类|性质|型)的?$"
)
_AND_ONE = re.compile(r"^(?:and |what about |how about )*the (?:left|right) one\W*$")
_WITH_ZH = re.compile("^那?[跟和与比]([\u3400-\u9fff]{1,6}?)(?:相?比|比较|比起来)(?:呢|怎么样|如何)?$")  # "跟肝比呢"
_FARTHEST_ZH = re.compile("^(最[上下左右前后][面边方]?)的?(?:那个|那节|那颗)?呢$")
_WHICH_TYPE = re.compile(r"^(?:and )?(?:what|which) (?:type|kind)$")
_FROM = re.compile(r"^(?:and )?how (?:far|close)(?: away)? (?:from|to)\b|^(?=[离距])")
TYPE_OF_LESION = "what type of lesion is it", "这是什么类型的病变"
_WHAT_IS_IT = re.compile(  # after a finding was named
    r"^(?:and )?what (?:is|could|might|may) (?:it|this|that)(?: be)?(?: most likely| probably)?$"
    r"|^(?:and )?what (?:is|are) (?:it|they) most likely$"
    rf"|^(?:and )?(?:the |its )?(?:type|kind|nature)$|{_TYPE}"
    r"|^(?:告诉我|说说|看看)?(?:它|这)是(?:个)?(?:什么|啥)(?:东西)?$|^(?:它)?(?:最?可能|大概|考虑)是?(?:什么|哪种)(?:病变|肿瘤|类型|性质)?的?$"
)
ARE_THERE = re.compile(r"(?<=\w) (?:is|are) there\W*$")
SIDE_SAID = re.compile(r"\b(?:left|right)\b|[左右]")
_ON_SIDE = re.compile(r" on the (?:left|right)$|^[左右]侧(?!.*[和、])")


@cache
def _goes_on() -> re.Pattern[str]:
    """Questions that only go on from the part before, "how big", "哪一侧": `goes_on.json` has them by topic."""
    table = json.loads(files("medrega_edge.prompts.intent").joinpath("goes_on.json").read_text(encoding="utf-8"))
    start = f"{table.pop('start_en')}{table.pop('start_zh')}"
    return re.compile(rf"^{start}(?:{'|'.join(text for texts in table.values() for text in texts)})[呢?？]?$")


def goes_on(piece: str) -> bool:
    """Whether a clause only goes on from the one before: "how big?", "请问在哪个位置"."""
    return any(each.search(piece) for each in (_goes_on(), _WITH_ZH))


def points_back(piece: str) -> bool:
    """Whether a part has a word for what was named before: "it", "in there", "the left one"."""
    return any(each.search(piece) for each in (_INSIDE, _PRONOUN, _OF_SIDE, _FROM))


def asks_of_a_side(piece: str) -> bool:
    """Whether a part asks no more than on which side, or of one side: "and the left?", "右边呢"."""
    return any(each.match(piece) for each in (_AND_ONE, _OF_SIDE, _SIDED_ZH, _BOTH_SIDES, _LEFT_OR_RIGHT_ZH))


def with_names(piece: str, names: BilingualName) -> str:
    """Put the names in the place of what points back to them."""
    english, chinese = names
    if not english:
        return piece
    if SIDE_SAID.search(piece):  # its own
        english, chinese = _ON_SIDE.sub("", english), _ON_SIDE.sub("", chinese)
    if match := _OF_SIDE.search(piece):
        side, names_before = match[1] or match[2], english.split(" and ")
        one_side = [name for name in names_before if name.startswith(side)]
        other_side = [f"{side} {name.split(' ', 1)[1]}" for name in names_before if name.startswith(("left ", "right "))]
        meant = " and ".join(one_side or other_side or [f"{side} {english}"])
        return _OF_SIDE.sub(f"where is the {meant}" if match[2] or _AND_ONE.match(piece) else f"the {meant}", piece)
    if sided := _SIDED_ZH.match(piece):
        return f"{sided[1]}边有没有{chinese}"
    if (either := _LEFT_OR_RIGHT_ZH.match(piece)) or _BOTH_SIDES.match(piece):
        return f"{chinese}在{(either[1] or '') if either else ''}哪一侧"
    if other := _WITH_ZH.match(piece):
        return f"{chinese}和{other[1]}哪个大"
    if farthest := _FARTHEST_ZH.match(piece):
        return f"{farthest[1]}的{chinese}在哪里"
    if _WHICH_TYPE.match(piece) and " and " not in english:
        return f"what type of {english} is it" if piece.isascii() else f"是什么类型的{chinese}"
    if _FROM.search(piece):
        return _FROM.sub(f"how far is the {english} from", piece) if piece.isascii() else f"{chinese}{piece}"
    if _WHAT_IS_IT.search(piece):
        return TYPE_OF_LESION[not piece.isascii()]
    if _goes_on().search(piece := ARE_THERE.sub("", piece)):
        return f"{piece}: the {english}" if piece.isascii() else f"{chinese}{piece}"
    piece = piece if _DRAWS.search(piece) else _AROUND.sub("", piece)
    piece = _INSIDE.sub(lambda match: f"in the {english}" if match.group().isascii() else f"{chinese}里", piece, count=1)
    return _PRONOUN.sub(lambda match: f"the {english}" if match.group().isascii() else chinese, piece, count=1)


_IN_PICTURE = re.compile(r"\b(?:in|inside|on) there\b|里[面头]")
_IS_IT = re.compile(
    r"^(?:and |or |but )?(?:is|was|could|might|may) (?:it|this|that) (?:be )?"
    r"(?:(?:suspicious|suggestive|likely|probably|consistent|due) )?"
    r"(?:for |of |with |to )?(?:an? )?[a-z]+\??$"
)
_OF_PICTURE = re.compile(
    r"\b(?:magnification|stain(?:ing)?|sequence|plane|weighting|modality|window|projection)\b|倍数|染色|序列|切面|窗"
)


def with_names_before(piece: str, before: BilingualName, terminology: Terminology) -> str:
    """Put the names of the part before where a part points back to them, and not to the picture or to a class of it.

    "Is the spleen in there?" asks for the picture, "is a lesion in there?" for the structure before; "is it glaucoma?" asks
    for a class.
    """
    found = terminology.find(piece)
    if any(not is_finding(name[0]) for name in found) and _IN_PICTURE.search(piece):
        return _IN_PICTURE.sub(lambda match: "in the picture" if match.group().isascii() else "图里", piece)
    is_of_class = (
        _IS_IT.search(piece) and _names_illness(piece) and (not found or all(is_finding(name[0]) for name in found))
    )
    if _OF_PICTURE.search(piece) or is_of_class:
        return piece
    return with_names(piece, before)


def _names_illness(piece: str) -> bool:
    """Whether the last word of a part names an illness, "is it glaucoma", and not how something is: "is it thickened"."""
    word = piece.rstrip("?").split()[-1]
    return may_be_finding(word) or has("class_words", word) or has("class_findings", word)


BARE_NAMES = re.compile(rf"^(?:and|or|but|what about|how about|那么?|还有)?(?: *the)?(?: *{MARK})+ *(?:呢|too|as well)?$")


def with_finding_before(
    piece: str, said_before: Sequence[str], before: Sequence[Intent], terminology: Terminology, modality: Modality | None
) -> str | None:
    """Ask for the finding before in a structure that is all of a part: "pneumonia in the left lung? And in the right?"."""
    if said_before and (side := _OF_SIDE.search(piece)) and side[2]:
        structure = named_in(said_before[0], terminology, modality).names
        piece = f"and the {side[2]} {structure[0][0].split()[-1]}" if structure else piece
    found = named_in(piece, terminology, modality)
    is_bare = BARE_NAMES.search(found.masked.strip(" ?？")) and found.names and not found.generic
    if not (is_bare and before) or any(is_finding(name[0]) for name in found.names):
        return None
    finding = _finding_asked_in_structure(said_before[0], before[0])
    if finding is None:
        return None
    if piece.isascii():
        return f"is there {finding[0]} in the {enumerated(found.names)[0]}?"
    return f"{_as_pair(found.names)}有没有{finding[1]}？"


_FINDING_IN = re.compile(
    r"\b(?:any|an?|is there|are there) (?P<en>[a-z]+(?: [a-z]+)?) (?:in|on|of) (?:the|his|her|my)\b"
    r"|(?:有没有|有无|是否有|有)(?P<zh>[\u3400-\u9fff]{2,6}?)[吗么没]?$"
)


def _finding_asked_in_structure(piece: str, intent: Intent) -> BilingualName | None:
    """Return the finding that a part asks for in a structure, "a stone in the liver?", in each language; else None."""
    if intent.kind is Kind.PRESENCE and intent.side and intent.names and all(is_finding(name[0]) for name in intent.names):
        return enumerated(intent.names)
    words = [word for word in intent.generic if any(map(is_finding, generic_labels(word)))]
    asked = _FINDING_IN.search(piece.strip(" ?？"))
    is_unlabelled = bool(intent.unknown) or intent.kind is Kind.ANSWER  # "calcification in the liver"
    if not words and asked and is_unlabelled:
        words = [asked["en"] or asked["zh"]]
    is_in_structure = asked is not None and (bool(intent.unknown) or bool(intent.names))
    return enumerated([(word, word) for word in words]) if words and is_in_structure else None


def named_in(piece: str, terminology: Terminology, modality: Modality | None) -> Named:
    """Find the names of a part, whatever its spelling: "oedema"."""
    return named(in_plain_words(piece, terminology, modality)[0], terminology, modality)


ASKS_FOR_FINDING = re.compile(
    r"^(?:is|are) there (?:any |an? )?[a-z]+(?: [a-z]+){0,4}$"
    r"|^(?:请|再|帮我|也|顺便)*(?:看看|看一?下|看)?(?:有没有|有无|是否有)(?!哪|什么|.*(?:大|萎缩|扩张)$)[\u3400-\u9fff]{2,5}$"
)  # also one that nobody knows


def in_structure_before(
    piece: str, before: Sequence[Intent], terminology: Terminology, modality: Modality | None
) -> str | None:
    """Ask for a finding in the one structure before, where it stands for another's: "the gallbladder? any stones?"."""
    if not before or len({without_side(name[0]) for name in before[0].names}) != 1:
        return None
    intent = understand(piece, terminology, modality)
    structures = [name[0] for name in before[0].names]
    if any(word in name for name in structures for word in ("vessel", "artery", "vein", "optic", "fovea")):
        return None  # a hemorrhage is that of the retina
    is_nameless = not (intent.names or intent.unknown or named_set(piece, modality))
    if not piece.isascii() and ASKS_FOR_FINDING.match(piece) and is_nameless and not any(map(is_finding, structures)):
        return f"{_as_pair(before[0].names)}{piece}"  # "椎间盘在哪里？有没有突出？"
    if intent.kind is not Kind.PRESENCE or not intent.generic or any(map(is_finding, structures)) or not intent.names:
        return None
    is_of_word = all(name[0] in intent.meant and is_finding(name[0]) for name in intent.names)
    here = findings_at(structures)
    is_told = here >= {name[0] for name in intent.names}
    if not is_of_word or is_told or (len(intent.names) > 1 and not here):
        return None
    english = enumerated(before[0].names)[0]
    return f"{piece.rstrip(' ?')} in the {english}?" if piece.isascii() else f"{_as_pair(before[0].names)}{piece}"


def of_other_side(piece: str, before: Sequence[str]) -> str | None:
    """Return the question for a state of the other side: "左边股骨头正常吗？右边呢？"."""
    sided = _SIDED_ZH.match(piece)
    if not (sided and before and asks_if_normal(before[0]) and len(set(SIDE_SAID.findall(before[0]))) == 1):
        return None
    return SIDE_SAID.sub(sided[1], before[0])


def said_names(piece: str, intent: Intent, terminology: Terminology, modality: Modality | None) -> BilingualName | None:
    """Return the names of a part as one enumeration in each language; of generic words, the words: "the tumour".

    Of a finding in a structure, "a mass in the liver", it is the finding.
    """
    if _goes_on().search(piece):
        return None  # those of the part before
    if intent.kind is Kind.LOCATE and not intent.names and not intent.unknown and (word := unknown_word(piece)):
        return word, word
    if findings := [word for word in intent.unknown if may_be_finding(word)]:  # "hepatic metastases? how many?"
        return findings[0], findings[0]
    if intent.alike and not intent.generic:
        return enumerated(terminology.find(piece))  # "a suspicious lesion"
    meant = names_of_words(intent.generic, terminology, modality)
    is_of_some = bool(intent.generic) and 0 < len(intent.names) < len(meant)
    structures = [] if is_of_some else named_in(piece, terminology, modality).names
    is_in_structure = (  # "any nodule in the lungs?"
        intent.kind in (Kind.PRESENCE, Kind.COUNT)
        and bool(structures)
        and not any(is_finding(name[0]) for name in structures)
    )
    if (is_of_some or is_in_structure) and intent.names and all(is_finding(name[0]) for name in intent.names):
        named_here, words = list(intent.names), tuple[str, ...]()
    else:
        is_of_two = intent.kind in (Kind.COMPARE, Kind.DISTANCE)  # the other side is added to those
        found = named_in(piece, terminology, modality).names
        named_here = found if intent.generic or is_of_two else list(intent.names)
        if modality in ("fundus", "oct"):
            named_here = [name for name in named_here if without_side(name[0]) != "eye"]  # the image itself
        words = intent.generic if not named_here or set(named_here) < set(intent.names) else ()
    if not (named_here or words):
        return None
    return enumerated([*named_here, *((word, word) for word in words)])


_EXTREME_ORGAN = re.compile(
    r"\b(?:largest|biggest|(smallest)) organ\b|\borgan is (?:the )?(?:largest|biggest|(smallest))\b"
    r"|最(?:大|(小))的?器官|哪一?个器官最?(?:大|(小))"
)


def extreme_organ(piece: str) -> BilingualName | None:
    """Return what "it" means behind a question for the largest or the smallest organ, which has no answer."""
    if (found := _EXTREME_ORGAN.search(piece)) is None:
        return None
    return ("smallest organ", "最小的器官") if any(found.groups()) else ("largest organ", "最大的器官")


def _as_pair(names: Sequence[BilingualName]) -> str:
    """Return Chinese names as one enumeration, and a pair as one word: "双肾" is where a finding may be."""
    stems = {chinese.lstrip("左右").removeprefix("侧") for _, chinese in names}
    return f"双{stems.pop()}" if len(names) == 2 and len(stems) == 1 else enumerated(names)[1]


def enumerated(names: Sequence[BilingualName]) -> BilingualName:
    """Return names as one enumeration in each language."""
    return " and ".join(english for english, _ in names), "和".join(chinese for _, chinese in names)
