"""The kind of a question: phrases tried in the order of `_RULES`, and a classifier where it is far surer of another kind.

A question that counts is about a number, whatever else it says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medrega_edge.prompts.intent import kinds
from medrega_edge.prompts.intent.kinds import Kind
from medrega_edge.prompts.intent.phrases import has, pattern, table, without_fillers
from medrega_edge.vocabulary.terminology import BilingualName
from medrega_edge.vocabulary.wording import MARK, is_finding, is_of_many, may_be_finding, superlative


@dataclass(frozen=True)
class Facts:
    """`said` is the normalised question with names as marks, `whole` with its names.

    `names` are explicit, or what generic words stand for; `has_name` is true for words that stand for nothing here too.
    `is_clause` tells that the question came with a history, `has_place` that it holds pixels, `is_asked_first` that a
    question mark stands before a name.
    """

    said: str
    whole: str
    names: tuple[BilingualName, ...]
    is_explicit: bool
    has_name: bool
    has_box: bool
    ends_in_question_mark: bool
    is_clause: bool
    has_unknown_finding: bool
    has_place: bool
    is_asked_first: bool

    @property
    def flags(self) -> tuple[str, ...]:
        """What the classifier sees beside the text."""
        several, findings = min(len(self.names), 2), self.names and all(is_finding(name[0]) for name in self.names)
        asked = self.ends_in_question_mark
        return (
            f"names {several}",
            f"names {several} {asked}",
            f"findings {bool(findings)}",
            f"findings {bool(findings)} {asked}",
            f"named {self.has_name}",
            f"explicit {self.is_explicit}",
            f"box {self.has_box}",
        )

    def has(self, kind: str, part: str = "") -> bool:
        """Whether the question, names as marks, holds a phrase of a kind."""
        return has(kind, self.said, part)

    def has_whole(self, kind: str, part: str = "") -> bool:
        """Whether the question, names and all, holds a phrase of a kind."""
        return has(kind, self.whole, part)

    @property
    def compares(self) -> bool:
        """Whether there is something to compare: two names, or one that may be compared with its other side or its like."""
        bounded = self.has("measure") and self.has("bound")
        return bool(self.names) and not (bounded and len(self.names) == 1)

    @property
    def are_paired(self) -> bool:
        """Whether its names have a side, or are findings: what lies on a side of them is not meant."""
        return all(is_finding(name[0]) or name[0].startswith(("left ", "right ")) for name in self.names)

    @property
    def asks_if_enlarged(self) -> bool:
        """Whether it asks if something is larger than usual; "脾大吗" does, and gives no length."""
        return self.has_whole("enlarged") or _IS_LARGE_ZH.search(self.said) is not None

    @property
    def is_one_word(self) -> bool:
        """Whether it is one word, which can only be a name."""
        return bool(re.fullmatch(r"[a-z][a-z-]{3,}|[\u3400-\u9fff]{2,4}", self.whole))

    @property
    def asks_for_findings(self) -> bool:
        """Whether it names findings alone and ends in a question mark."""
        is_certain = self.is_explicit or self.is_clause
        return is_certain and self.ends_in_question_mark and all(is_finding(name[0]) for name in self.names)

    @property
    def is_bare_structures(self) -> bool:
        """Whether it is no more than structures: "the kidneys, left and right"."""
        return self.is_no_more_than_structures and not self.ends_in_question_mark

    @property
    def is_no_more_than_structures(self) -> bool:
        """Whether it is that, with or without a question mark: "and the kidneys?"."""
        are_structures = self.names and not any(is_finding(name[0]) for name in self.names)
        return bool(are_structures) and not self.has("or_not") and not without_fillers(self.said)

    @property
    def is_bare_class(self) -> bool:
        """Whether it is no more than classes to choose from, or one with "is this ...": "melanoma?"."""
        left = self.whole
        classes = len({match.group() for match in pattern("class_words", left).finditer(left)})
        if self.names and self.has("or_not"):
            return False
        for kind in ("class_words", "choice", "is_it"):
            left = pattern(kind, left).sub(" ", left)
        left = " ".join(left.split())
        return not without_fillers(left) and (classes > 1 or (classes == 1 and not self.has_name))

    @property
    def is_bare_finding(self) -> bool:
        """Whether it is no more than the name of a finding with a question mark."""
        is_asked = self.ends_in_question_mark or self.has("or_not")
        is_bare = is_asked and MARK in self.said and not without_fillers(self.said)
        if is_bare and not self.names:
            return self.has_unknown_finding
        return is_bare and (self.is_explicit or self.is_clause) and all(is_finding(name[0]) for name in self.names)


_IS_LARGE_ZH = re.compile(rf"^(?:[\u3400-\u9fff]{{0,6}}的)?{MARK}(?:大吗|(?:是不是|是否)(?:很|太|有点|偏|比较)?大了?)\W*$")
# Logarithms: how sure the classifier must be of a kind, and by how much surer than of the kind that no image can tell, that
# the phrases tell, and that they fall back on.
_SURE, _SURER_THAN_IMPOSSIBLE, _SURER, _SURER_THAN_FALLBACK = -1.0, 3.0, 1.0, 0.3
_SURE_OF_REFUSAL = -0.5  # the same as _SURE where no answer follows


# "Where is it?", "它多大？": such questions go on from the last one, and the classifier saw none of them.
_PRONOUN = re.compile(r"\b(?:it|they|them)\b|它")
_OF_REGIONS = (Kind.LOCATE, Kind.MEASURE, Kind.COUNT, Kind.SIDE, Kind.COMPARE, Kind.DISTANCE)


def decide(facts: Facts) -> tuple[Kind, str | None]:
    """Return the kind of a question, and why it is impossible where it is."""
    kind, reason, margin = by_phrases(facts)
    if facts.has_place and kind is Kind.IDENTIFY:
        return kind, None
    if (
        facts.is_no_more_than_structures
        or (kind is Kind.ANSWER and facts.asks_if_enlarged)
        or facts.has_box
        or not facts.whole
        or (kind in _OF_REGIONS and _PRONOUN.search(facts.said) and not facts.names)
    ):
        return kind, reason
    likely = kinds.log_likelihoods(facts.said, facts.whole, facts.flags)
    likeliest = Kind(max(likely, key=lambda each: likely[each]))
    least = _SURE_OF_REFUSAL if likeliest in (Kind.HELP, Kind.IMPOSSIBLE) else _SURE
    if likeliest is Kind.ANSWER and kind is Kind.LOCATE and not facts.has_name and facts.has("locate"):
        return kind, reason  # of something unknown
    is_about_something = facts.has_name or may_be_finding(facts.whole)
    if likeliest in (Kind.HELP, Kind.IMPOSSIBLE) and kind in (Kind.COUNT, Kind.MEASURE) and is_about_something:
        return kind, reason  # of something unknown: its name is refused
    is_surer = likely[likeliest] > least and likely[likeliest] - likely[kind] > margin
    return (likeliest, None) if is_surer else (kind, reason)


def by_phrases(facts: Facts) -> tuple[Kind, str | None, float]:
    """The kind, why it is impossible, and by how much surer the classifier must be of another one."""
    if facts.has_whole("graded"):
        return Kind.CLASSIFY, None, _SURER
    if _IN_WHICH_SIDE.search(facts.whole) and facts.has_name:
        return Kind.SIDE, None, math.inf
    if facts.has_whole("measures_itself") and not _AROUND_IT.search(facts.whole):
        return Kind.MEASURE, None, math.inf
    if _MANY_ZH.search(facts.said):
        return Kind.COUNT, None, math.inf
    if _SIZE_COMPARED.search(facts.said):
        return Kind.COMPARE, None, math.inf
    if _WINDOW.search(facts.whole):
        return Kind.ANSWER, None, math.inf
    if (_LARGEST_ORGAN.search(facts.whole) or _QUALITY.search(facts.whole)) and not facts.names:
        return Kind.ANSWER, None, math.inf
    if _DIAGNOSIS.search(facts.whole) and not facts.has_name:
        return Kind.REPORT, None, math.inf
    if facts.has_name and (_HOW_IT_IS.search(facts.said) or _CLEAR.search(facts.said) or _WHOLE_ZH.search(facts.said)):
        return Kind.ANSWER, None, math.inf
    if facts.has_name and _OTHER_RATIO.search(facts.whole):
        return Kind.IMPOSSIBLE, "outline", math.inf
    if facts.has_name and _CATEGORY_ZH.search(facts.said):
        return Kind.IMPOSSIBLE, "score", math.inf
    if facts.has_name and _UP_OR_DOWN.search(facts.whole) and not facts.has("outline"):
        return Kind.IMPOSSIBLE, "relation", math.inf
    if _LARGEST_OF_ALL.search(facts.said) or _FUNCTION.search(facts.whole):
        return Kind.ANSWER, None, math.inf
    if _ORGAN_AT.search(facts.whole) and not facts.has_name:
        return Kind.IMPOSSIBLE, "relation", math.inf
    if _UNKNOWN_WHERE_ZH.match(facts.whole) and not facts.has_name:
        return Kind.LOCATE, None, math.inf
    if facts.names and _ON_ONE_SIDE.search(facts.said) and all(is_finding(name[0]) for name in facts.names):
        return Kind.SIDE, None, math.inf
    if facts.has_name and (_ABILITY_ZH.search(facts.said) or _GROWN.search(facts.said)):
        return Kind.ANSWER, None, math.inf
    if facts.has_name and _MORE_THAN.search(facts.said):
        return Kind.COUNT, None, math.inf
    if facts.has_name and _RATIO_ZH.search(facts.said) and any(is_of_many(name[0]) for name in facts.names):
        return Kind.IMPOSSIBLE, "outline", math.inf
    if facts.names and _LARGE_FINDING.search(facts.said) and all(is_finding(name[0]) for name in facts.names):
        return Kind.MEASURE, None, math.inf
    if _ONE_VERTEBRA.search(facts.said) and facts.names and not any(is_finding(name[0]) for name in facts.names):
        return Kind.LOCATE, None, math.inf
    if facts.has_name and _WELL_PLACED.search(facts.whole):
        return Kind.ANSWER, None, math.inf
    if facts.names and (_ENHANCES.search(facts.said) or _PRESSES.search(facts.said)):
        return Kind.ANSWER, None, math.inf
    if _KIND_OF_IT.search(facts.whole):
        return Kind.CLASSIFY, None, math.inf
    if facts.has_name and _PROBABILITY.search(facts.whole) and not _COURSE.search(facts.whole):
        return Kind.PRESENCE, None, math.inf
    if facts.has("help", "command"):  # "save the liver to a file": options of the program do that
        return Kind.HELP, None, math.inf
    if facts.whole in table()["help"]["whole"] or (facts.has("help", "any") and not facts.has_name):
        return Kind.HELP, None, _SURER_THAN_IMPOSSIBLE
    if _SIZE_OF_EACH.search(facts.whole) and facts.has_name:
        return Kind.MEASURE, None, math.inf
    for reason in table()["impossible"]:
        is_context = reason in ("care", "score", "identity") and facts.is_explicit and facts.has("locate")  # "my doctor"
        is_context |= reason in ("identity", "lab") and facts.has_box  # "the name of what is in it", "the arrow"
        is_context |= (
            reason == "age" and facts.is_explicit and all(is_finding(name[0]) for name in facts.names)
        )  # of a fracture
        is_context |= reason in ("identity", "age", "lab") and facts.is_explicit and facts.has("measure")  # "how tall is it"
        is_context |= facts.has("report_strong") and facts.has("with_boxes")  # "a report whose findings are marked"
        is_context |= reason == "brightness" and facts.has("why")
        if (facts.has_whole("impossible", reason) or facts.has("impossible", reason)) and not is_context:
            is_certain = (
                reason in ("brightness", "lab", "age")
                or _NO_BOX_TELLS.search(facts.whole) is not None
                or (reason == "care" and (not facts.has_name or _IS_NEEDED.search(facts.whole) is not None))
            )
            return Kind.IMPOSSIBLE, reason, math.inf if is_certain else _SURER_THAN_IMPOSSIBLE
    if _RATIO.search(facts.whole) and len(facts.names) > 1:
        return Kind.COMPARE, None, math.inf
    if _WEIGHTING.search(facts.said) and not (facts.has_name or facts.has("locate")):  # "where is T1?" asks for a vertebra
        return Kind.ANSWER, None, math.inf
    if _IN_PICTURE.search(facts.said) and not facts.has_name:
        return Kind.ANSWER, None, math.inf
    if _WHAT_IS.search(facts.said) and superlative(facts.whole) is not None:
        return Kind.LOCATE, None, math.inf  # "what is the biggest cell"
    if _WHAT_IS.search(facts.said) and not facts.is_explicit and not any(map(facts.has, _OTHERWISE_ASKED)):
        return Kind.IDENTIFY, None, math.inf
    if _asks_which_is_ill(facts):
        return Kind.REPORT, None, math.inf
    if _WHERE_TO_TREAT.search(facts.whole):
        return Kind.IMPOSSIBLE, "care", math.inf
    if _SHARE.search(facts.whole) and facts.has_name:
        return Kind.IMPOSSIBLE, "outline", math.inf
    if _asks_for_relation(facts):
        return Kind.IMPOSSIBLE, "relation", math.inf
    if _asks_for_class_finding(facts):
        return Kind.CLASSIFY, None, math.inf
    for kind, rule in _RULES:
        if rule(facts):
            if kind is Kind.GROUNDED_REPORT and facts.has("report_strong"):
                return kind, None, math.inf
            if kind is Kind.REPORT and _DESCRIBE.search(facts.said):
                return kind, None, math.inf
            if rule in (_asks_for_number, _asks_for_length):
                return kind, None, math.inf
            return kind, None, _SURER_THAN_IMPOSSIBLE if rule in (_asks_for_property, _asks_either_or) else _SURER
    is_name = facts.has_name or facts.has("locate") or facts.has("locate_weak") or facts.is_one_word
    return Kind.LOCATE if is_name else Kind.ANSWER, None, _SURER_THAN_FALLBACK


def _chooses(facts: Facts) -> bool:
    """Whether a question offers classes to choose from."""
    whole = pattern("or_not", facts.whole).sub(" ", facts.whole)  # "pituitary tumour or not" offers none
    classes = len({match.group() for match in pattern("class_words", whole).finditer(whole)})
    return classes >= 2 and has("choice", whole)


def _asks_for_modality(facts: Facts) -> bool:
    return not facts.has_name and facts.has("kind_of_image")


def _asks_for_class_finding(facts: Facts) -> bool:
    """Whether a question asks for a finding that only a class tells, as tuberculosis."""
    asks_for_region = any(facts.has(kind) for kind in ("locate", "measure", "count", "side", "compare"))
    return not facts.names and not asks_for_region and facts.has_whole("class_findings")


def _asks_for_state(facts: Facts) -> bool:
    """Whether a question asks how a structure is, not whether it is there: "is the liver normal?"."""
    return facts.has_name and not any(is_finding(name[0]) for name in facts.names) and facts.has("state")


# "气管居中吗", "is the fracture displaced": what stands between a name and the end is no word for being there.
_PROPERTY_ZH = re.compile(rf"{MARK}[^\u3400-\u9fff]*(?:的(?!地方|区域))?([\u3400-\u9fff]{{1,7}}?)了?[吗么嘛]\W*$")
_IS_IT_SO_ZH = re.compile(rf"{MARK}(?:是不是|是否|会不会)([\u3400-\u9fff]{{1,4}}?)了?[吗呢啊]?\W*$")  # "肺是不是烂了"
_IS_THERE_SO_ZH = re.compile("[有在见看存得长插拔拍到没]")
_IS_THERE_ZH = re.compile("[有在见看存得长切断破插拔拍到没]")
_PROPERTY = re.compile(
    rf"^(?:is|are|was|were) (?:[a-z]+ )*?(?:{MARK}[ ,]*(?:(?:and|or) )?(?:the )?)+([a-z-]+)(?: or [a-z-]+)?\W*$"
)


_A_NOT_A = re.compile(
    rf"{MARK}(?:[\u3400-\u9fff]{{0,3}}?([\u3400-\u9fff])不\1|[\u3400-\u9fff]{{1,8}}([好对正直齐稳])不\2)"
)  # "侧脑室扩不扩"
_IS_THERE_OR_SIZE_ZH = re.compile("[有在见看存是能可会大小长左右多]")


def _asks_either_or(facts: Facts) -> bool:
    """Whether a Chinese question asks what a structure is like by a word and its denial: "侧脑室扩不扩"."""
    either = _A_NOT_A.search(facts.said)
    return either is not None and not _IS_THERE_OR_SIZE_ZH.match(either[1] or either[2])


def _asks_for_property(facts: Facts) -> bool:
    """Whether a question asks what a structure is like, by one word that is none for being there."""
    if facts.has("locate"):
        return False
    if _asks_either_or(facts):
        return True
    if chinese := _PROPERTY_ZH.search(facts.said) or _IS_IT_SO_ZH.search(facts.said):
        is_so = _IS_IT_SO_ZH.search(facts.said) is not None
        is_there = (_IS_THERE_SO_ZH if is_so else _IS_THERE_ZH).search(chinese[1]) is not None
        return not is_there and bool(without_fillers(chinese[1])) and "大" not in chinese[1]
    english = _PROPERTY.match(facts.said)
    return english is not None and not has("is_there", english[1]) and bool(without_fillers(english[1]))


_NUMBER = re.compile(
    rf"\ball (?:two|three|four|five|six|\d+) (?:[a-z]+ )?{MARK}"
    rf"|^are there (?:two|three|four|five|six|\d+) (?:[a-z]+ ){{1,3}}{MARK}"
    rf"|\b(?:(?:more|fewer|less) than|at (?:least|most)|exactly|only|just|over) (?:\d+|one|two|three|four|five|six|ten)\b"
    rf"|^(?:(?:are|is) there )?(?:two|three|four|five|six|\d+) {MARK}"
    r"|(?:超过|不止|至少|最多|多于|少于|只有|仅有|正好)[\d一两二三四五六十]+[个颗枚处块根]"
)


def _asks_for_number(facts: Facts) -> bool:
    """Whether a question asks if there is some number of something: whether it is there at all is no answer."""
    is_asked = facts.ends_in_question_mark or facts.said.endswith(("吗", "么", "嘛"))
    return facts.has_name and is_asked and _NUMBER.search(facts.said) is not None


def _asks_which_is_ill(facts: Facts) -> bool:
    """Whether a question asks which of several structures is ill; to name the finding is another question."""
    is_asked = facts.has("which_is_ill") or facts.has_whole("which_is_ill")
    return is_asked and not any(is_finding(name[0]) for name in facts.names)


_POSITION = (
    r"inside|within|touch\w*|overlap\w*|behind|in front of|above|below|underneath|beside|next to|left of|right of"
    r"|higher than|lower than|anterior to|posterior to|medial to|lateral to|to the (?:left|right) of"
    r"|(?:left|right) or (?:left|right) of"
)
_REACHES = (
    "(?:extend|spread|reach|invad|involv|cross|abut|encas|infiltrat|compress|displac|push|erod|enter)(?:e?s|e|ed|ing)?"
)
_PROBABILITY = re.compile(
    r"\b(?:probability|likelihood|chances?|odds) (?:of|that)\b|\bhow (?:likely|probable) is\b|的?(?:概率|几率)"
)
_COURSE = re.compile(
    r"surviv|recur|relaps|spread|progress|grow|heal|cure|复发|生存|存活|治愈|转移|恶化|扩散|进展|变成|遗传|再"
)
_IS_NEEDED = re.compile(
    "(?:能不能|可不可以|能否|可否)(?=溶栓|手术|治|切|吃|打)|需要|需不需|该不该|要不要(?:[拔切插打吃治住]|手术|开刀|穿刺)|\\b(?:needs?|requires?)\\b"
)
_SIZE_OF_EACH = re.compile("分别[^，。？]{0,4}(?:面积|多大|大小|多长|多宽)|(?:面积|大小)分别")
_RATIO = re.compile("cup to disc ratio|杯盘比")  # the only ratio that two boxes tell
# The kind of image does not tell sequence, phase or contrast medium.
_WEIGHTING = re.compile(
    r"\bsequence\b|[什哪]么?个?序列|\bt[12]\b|weight(?:ed|ing)|\b(?:flair|dwi|adc|stir)\b|加权"
    r"|平扫还是|是平扫|平扫吗|[动静]脉期|门脉期|延迟期|什么期|增强(?:扫描|期|还是|的?[吗么？?]|$)"
    r"|\b(?:with|without) contrast\b|\bcontrast[- ]enhanced\b|\bnon[- ]?contrast\b"
    r"|\b(?:arterial|venous|portal) phase\b|打了?造影剂"
)
_WHAT_IS = re.compile(
    r"^what (?:is|are|s|re) (?:the|that|this|these|those) (?:[a-z]+ ){0,2}" + MARK + r"\W*$"
)  # "what are the white spots"
_NO_BOX_TELLS = re.compile(r"hounsfield|\b(?:resect|remov|excis)|切除|出血量")  # what is impossible for certain
_SIZE_COMPARED = re.compile(rf"how (?:large|big|long|wide) .*{MARK}.*\bcompared (?:with|to)\b.*{MARK}")
_LARGEST_ORGAN = re.compile(r"\b(?:biggest|largest|smallest) organ\b|最[大小]的?器官")
_WINDOW = re.compile(r"\bor\b[^.,]*\bwindow\b|\b(?:which|what) window\b|窗还是|还是.{0,3}窗|[什哪]么?个?窗")
_QUALITY = re.compile(
    r"\b(?:image|picture|film|scan|technical|diagnostic) quality\b|(?:片子?|图像?|图片|影像|照片|成像|拍摄)的?质量"
)
_DIAGNOSIS = re.compile(r"^(?:so )?what(?: is| s|s)? (?:the |your )?(?:most likely |likely )?diagnosis\W*$")
_HOW_IT_IS = re.compile(
    r"\bany of (?:them|these|those) (?:ab)?normal\b|"
    r"^how (?:asymmetric|symmetric|irregular|regular|dense|round|smooth|sharp"
    r"|bright|dark|deep|raised|pigmented)\w* (?:is|are)\b"
    rf"|^(?:is|are) (?:this |the |that )?{MARK} (?:irregular|round|raised|pigmented)"
    rf"|^is (?:this |the |that )?{MARK} a?symmetric"
)
_CLEAR = re.compile(rf"^(?:are |is )?(?:the |both |my |his |her )?{MARK} (?:clear|ok|okay|fine)\W*$|^clear {MARK}\W*$")
_WHOLE_ZH = re.compile("[拍照扫显](?:示)?得?(?:全|完整)")
_ENHANCES = re.compile(
    r"有没有(?:明显)?强化|强化[吗么不了]|\b(?:enhanc(?:e|es|ing(?! and))|light(?:s|ing)? up)\b"
)  # in the words beside the names
_OTHER_RATIO = re.compile(r"\bheart[- ]to[- ]chest\b|\bcardio ?-?thoracic (?:ratio|index)\b")
_UP_OR_DOWN = re.compile(r"(?:在|位于|靠)[左右]?[上下](?:角|方|面)?还是[左右]?[上下](?:角|方|面)?\W*$")
_CATEGORY_ZH = re.compile(rf"{MARK}(?:是|属于|算)?[几哪]类")
_LARGEST_OF_ALL = re.compile(rf"^(?:is|are) (?:the |this )?{MARK} the (?:largest|biggest|smallest)\b")
_FUNCTION = re.compile(r"器官的?(?:功能|作用)|\bfunction of (?:this|the) (?:organ|structure)\b|\bwhat does this organ do\b")
_ORGAN_AT = re.compile(
    r"(?:最[左右上下][边面侧]?|[左右上下][边面侧])(?:的|那个)(?:器官|结构|东西)(?:是|叫)"
    r"|\b(?:leftmost|rightmost|topmost|lowest|uppermost) (?:organ|structure|thing)\b"
    r"|\bwhat (?:organ|structure) is (?:on|at) the (?:left|right|top|bottom)\b"
)
_UNKNOWN_WHERE_ZH = re.compile("^(?!.*[这那图拍照扫部位身体说用])[\\u3400-\\u9fff]{1,4}在哪[里儿]?\\W*$")
_ON_ONE_SIDE = re.compile(
    rf"^(?:is|are) (?!there)(?:both )?.*{MARK}.* on (?:the |his |her |their )?(?:same side|left|right)(?: side)?\W*$"
)
_AROUND_IT = re.compile("circumference|围")
_ABILITY_ZH = re.compile(
    rf"{MARK}(?:能不能|可不可以|能否|可否|会不会|能|会)(?!看|见|找|定|标|圈|框|画|勾|描|测|量|数|确|认|查|显|是|有|指|给|分|帮|告|说|不|提|检|辨|排|显|见)"
    rf"[\u3400-\u9fff]{{1,8}}[吗么？?]?\W*$|{MARK}[^，。？]{{0,3}}(?<![看见找扫拍切得])到(?:了)?{MARK}里?了?[吗没]"
)
_GROWN = re.compile("怎么(?:长|来|得|形成|回事)|\\bin line with\\b|\\balign(?:ed|ment)\\b")
_MORE_THAN = re.compile(
    rf"\b(?:more|fewer|less) (?:of )?(?:the )?{MARK} than\b|{MARK}\W* (?:are|is) more numerous|more numerous\W.*{MARK}"
)
_RATIO_ZH = re.compile(rf"{MARK}.{{0,6}}的?比例|\bratio of\b.*{MARK}")
_LARGE_FINDING = re.compile(rf"{MARK}(?:是不是|是否)?(?:很|特别|有点|比较|太|非常)?大(?:不大|吗|么|嘛)?\W*$")
_ONE_VERTEBRA = re.compile(rf"^which (?:{MARK}|structure|organ|muscle|one|part) is (?:the )?{MARK}\W*$")
_WELL_PLACED = re.compile(
    "(?:位置|深度)(?:对不对|对吗|正不正确|正确吗|合不合适|合适吗|好不好|好吗|正常吗|到位)|到位[吗了没]"
)
_PRESSES = re.compile(r"\b(?:compress|invad|displac|infiltrat|erod)\w*|压迫|侵犯(?!到哪)|推移")
_MANY_ZH = re.compile(rf"{MARK}(?:数量)?多(?:不多|[吗么])\W*$")
_IN_WHICH_SIDE = re.compile(
    r"\b(?:in|on) the (?:left(?: [a-z]+){0,3} or (?:the )?right|right(?: [a-z]+){0,3} or (?:the )?left)\b"
    r"|\b(?:in |on )?which hemisphere\b|哪[边侧]的?[肾肺](?:[里上]?[有长]|$)"
)
_KIND_OF_IT = re.compile(
    r"^(?:what|which) (?:kind|type|sort) (?:is it|are they|of lesion is it)\W*$"
    r"|^它们?(?:是|属于)(?:什么|哪种)(?:类型|种类)\W*$|几腔心?(?:切面|$)"
)
_DESCRIBE = re.compile(
    r"^(?:please |can you |could you |how would you |would you )*describe (?:the |this |that )*" + MARK + r"\W*$"
)
_OTHERWISE_ASKED = ("locate", "where", "measure", "side", "count", "classify", "body_part", "kind_of_image", "report_strong")
_IN_PICTURE = re.compile(
    r"\b(?:left|right|upper|lower|top|bottom)(?:[- ]?hand)?(?:[- ](?:left|right))?"
    r"(?: (?:half|third|part|corner|quadrant|side|edge))?"
    r" of (?:the |this )?(?:picture|image|screen|photo|photograph|film|frame)\b"
    r"|(?:图像|图片|图中|画面|照片|影像)的?(?:左|右|上|下)[半侧边方部角上下]"
)
_RELATION = re.compile(
    rf"^(?:is|are|does|do) (?:the |this |a )*{MARK} (?:lie |lies |sit |located |lying )?(?:{_POSITION}) .*{MARK}"
    rf"|^(?:is|are|does|do) .*{MARK}.* (?:upper|lower|left|right|top|bottom) (?:half|third|part|corner|quadrant)"
    rf"|^which (?:of .*|.*{MARK}) is (?:lower|higher)"
    rf"|^(?:is|are) (?:the |this |a )*{MARK} (?:on |to )?(?:the )?(?:left|right) or (?:(?:on |to )?the )?(?:left|right)"
    rf" of (?:the )?{MARK}"
    rf"|{MARK}(?:是不是|是否)?在{MARK}(?:的)?(?:里面|上面|下面|前面|后面|上方|下方|前方|后方|旁边)"
)


_IN_STRUCTURE = re.compile(
    rf"^(?:is|are) (?:it|they|(?:the |this |that )*{MARK}) (?:(?:located|situated|lying|sitting) )?"
    rf"in (?:the |his |her )*(?:left |right )*{MARK}|^(?:它|{MARK})(?:是不是|是否)?(?:在|位于){MARK}[里内上中]?[吗么？?]"
)
_REACHES_IT = re.compile(
    rf"^(?:is|are|does|do|did|has|have) .*{MARK}.*\b(?:{_REACHES})\b.*{MARK}"
    rf"|\b(?:extend|spread|reach|invad|break)\w* (?:outside|beyond|through|past|out of)\b.*{MARK}"
    rf"|{MARK}(?:是不是|是否|有没有|有无)?(?:侵犯|侵及|累及|延伸|突破|压迫|推移|包绕|破入)(?:到|至|了)?{MARK}"
)
_ON_SIDE_OF = re.compile(rf"在{MARK}的?哪一?[边侧面]|\b(?:which|what) side of the {MARK}")
_IN_RELATION = re.compile(r"\b(?:in relation to|relative to|relationship)\b|关系|[近远][吗么不]")
_NEAR_IT = re.compile(
    rf"\b(?:in relation to|relationship (?:of|between|to))\b.*{MARK}|^where .*\brelative to\b.*{MARK}"
    rf"|{MARK}.*(?:与|和|跟|同).*{MARK}的?(?:位置)?关系"
    rf"|^[^{MARK}]*{MARK}(?:离|距离?)(?!{MARK})[^{MARK}，。？]{{1,6}}[近远][吗么不]"
    r"|\b(?:structures?|organs?|something|anything|thing|vessels?)\b.* "
    r"(?:next to|close to|near|around|beside|behind|above|below|under"
    rf"|(?:adjacent|medial|lateral|anterior|posterior|superior|inferior) to) (?:the )?{MARK}$"
)
_IN_WHICH_PART = re.compile(
    r"\b(?:which|what) (?:[a-z]+ )?(?:lobe|segment|zone|quadrant|vertebra|rib|bone|joint|chamber|wall|level"
    r"|metacarpal|metatarsal|phalanx|carpal|finger|toe)s? "
    r"(?!(?:is|are) (?:this|that|it|they|shown|seen|visible)\b)"
    r"|\b(?:closer|nearer|closest|nearest) to\b"
    r"|^what (?:is|lies|organ is) between\b"
    r"|^what(?: is| s|s| lies| sits| organ is) (?:right |just )?"
    r"(?:above|below|beneath|under|behind|in front of|beside|next to)\b"
    r"|它的?(?:上面|下面|上方|下方|后面|前面|旁边|后方|前方)的?(?:是|有)什么"
    r"|\b(?:which|what) (?:vascular )?territory\b|在第几个?[腰胸颈骶]?椎的?(?:水平|高度)|的哪一?个?叶(?!子)"
    r"|哪一?[个各根块节段叶处](?:肺叶|脑叶|肝段|椎体|椎骨|肋骨|骨头|象限)"
    r"|第几(?:根|节|个)?(?:掌骨|跖骨|指骨|肋骨?|手?指|脚?趾)|离.{1,6}[更较最]近|[哪谁].{0,3}离.{1,6}[近远]|哪一?极"
)


_IN_CORNER = re.compile(r"\b(?:any|some|no)thing\b.* corner\b|[左右][上下]角有")
_WHICH_LIES = re.compile(
    r"哪一?个[^，。？]{0,4}?(?:更|比较|最)?(?:在|靠)(?:[^？?，,]{0,4}的?)?[左右上下前后]|哪一?个[^，。？]{0,4}更[高低]|在[^，,？?]{1,8}的?[前后上下]面还是[前后上下]面"
)
_SHARE = re.compile(r"[占佔][^，,？?]{0,4}(?:图|画面|片子)|百分之[多几]|\bper ?cent(?:age)? of\b")
_WHERE_TO_TREAT = re.compile(
    r"\bwhere (?:should|would|do|can|could|must) (?:i|we|you|they|one) "
    r"(?:biopsy|cut|inject|puncture|insert|place|drain|operate|incise)"
    r"|(?:阻滞|针|药)[^，。]{0,3}(?:打|注射)(?:到|在)?哪|(?:从|在)?哪[里儿](?:穿刺|活检|进针|下刀|切开|引流)|针(?:应该|要)?从哪"
)
_BESIDE_IT = re.compile(
    r"^(?!what )[^.,;-]{0,40}\b(?:above|below|beneath|underneath|beside|next to|adjacent to) (?:it|them|that one)\W*$"
    r"|^(?:and )?(?:the )?[a-z]+ between (?:it|them)\W*$"
    r"|^它们?的?(?:上|下|前|后|旁)[面方边]"
)
_NEXT_TO_IT = re.compile(r"^what .* (?:it|them|this|that)\W*$|^它")


def _asks_for_relation(facts: Facts) -> bool:
    """Whether a question asks how structures lie to each other, or in which part of the image or of a structure one lies."""
    are_findings = facts.is_explicit and all(is_finding(name[0]) for name in facts.names)  # "the lesion in the liver"
    in_picture = _IN_PICTURE.search(facts.said) is not None and not facts.has("locate")
    is_side = facts.is_explicit and not facts.has(
        "presence_strong"
    )  # of a structure: "is the liver on the left of the image?"
    return (
        _IN_CORNER.search(facts.said) is not None
        or (
            _NEAR_IT.search(facts.said) is not None
            and (not facts.has("locate") or _IN_RELATION.search(facts.said) is not None)
        )
        or _WHICH_LIES.search(facts.whole) is not None
        or (
            _BESIDE_IT.search(facts.whole) is not None
            and (not facts.names or any(is_of_many(name[0]) for name in facts.names))
        )
        or (in_picture and facts.has_name and not is_side)
        or (_ON_SIDE_OF.search(facts.said) is not None and facts.is_explicit and not facts.are_paired)
        or (_REACHES_IT.search(facts.said) is not None and facts.has_name and not are_findings)
        or (_IN_STRUCTURE.search(facts.said) is not None and not are_findings)
        or ((facts.has_name or _NEXT_TO_IT.search(facts.whole)) and _IN_WHICH_PART.search(facts.whole) is not None)
        or (facts.is_explicit and _RELATION.search(facts.said) is not None)
    )


_LENGTH = re.compile(
    r"\b(?:than|over|under|above|below|at least|exceeds?|exceeding)\b[^.?]*\d ?(?:mm|cm|millimet|centimet)"
    r"|(?:[大小长宽高厚]于|超过|不到|达到|有没有|至少)[^。？?]{0,4}\d[^。？?]{0,3}(?:毫米|厘米|公分|mm|cm)"
)


def _asks_for_length(facts: Facts) -> bool:
    """Whether a question holds a size against a length: "is the lesion bigger than 2 cm?"."""
    return facts.has_name and _LENGTH.search(facts.said) is not None


_Rule = Callable[[Facts], bool]
_RULES: Sequence[tuple[Kind, _Rule]] = (
    (
        Kind.IDENTIFY,
        lambda f: f.has_box and (not f.has_name or f.has("identify") or f.has("identify_strong")),
    ),
    (Kind.ANSWER, lambda f: f.has("why")),
    (Kind.IDENTIFY, lambda f: f.has_place and not f.has_name and not f.has("measure")),
    (Kind.LOCATE, lambda f: f.is_bare_structures),
    (Kind.ANSWER, _asks_either_or),
    (Kind.MEASURE, _asks_for_length),
    (Kind.DISTANCE, lambda f: f.has_name and f.has("distance")),
    (Kind.ORGANS, lambda f: f.has("organs_strong") and not f.has_name),
    (Kind.BODY_PART, lambda f: f.has("body_part") and not f.names),
    (Kind.BODY_PART, lambda f: f.has_whole("parts") and not f.is_explicit),
    (
        Kind.CLASSIFY,
        lambda f: (
            f.has("classify") or f.has_whole("classify_named") or f.has("classify_named") or _chooses(f) or f.is_bare_class
        ),
    ),
    (Kind.SIDE, lambda f: (f.has_whole("side") or f.has("side")) and not f.has("compare")),
    (Kind.COMPARE, lambda f: f.has("compare") and f.compares),
    (Kind.GROUNDED_REPORT, lambda f: f.has("report") and f.has("with_boxes") and not f.is_explicit),
    (Kind.IDENTIFY, lambda f: f.has("identify_strong") and not f.has_name),
    (Kind.REPORT, lambda f: f.has("report_strong") and not f.is_explicit),
    (Kind.REPORT, lambda f: f.has("all_well") and not f.has_name),
    (Kind.ANSWER, lambda f: f.has("answer") or _asks_for_state(f)),
    (Kind.MODALITY, _asks_for_modality),
    (Kind.ORGANS, lambda f: f.has("organs") and not f.has_name),
    (Kind.MEASURE, lambda f: f.has("measure")),
    (Kind.COUNT, _asks_for_number),
    (Kind.COUNT, lambda f: f.has("count") and "哪几" not in f.said),  # "which of them", no number
    (Kind.REPORT, lambda f: f.has_whole("report") and not f.is_explicit),
    (Kind.IDENTIFY, lambda f: f.has("identify") and not f.has_name),
    # That an organ is there does not tell that it is enlarged.
    (Kind.ANSWER, lambda f: f.asks_if_enlarged and not all(is_finding(name[0]) for name in f.names)),
    (Kind.ANSWER, _asks_for_property),
    (
        Kind.PRESENCE,
        lambda f: f.has_name and (f.has("presence_strong") or f.has_whole("presence_strong")) and not f.has("where"),
    ),
    (Kind.PRESENCE, lambda f: f.is_asked_first),
    (Kind.PRESENCE, lambda f: f.has_name and f.has_whole("asks_itself") and not f.has("locate")),
    (Kind.LOCATE, lambda f: f.has("locate") and (f.has_name or not f.has("presence"))),
    (Kind.PRESENCE, lambda f: f.has("presence_strong")),
    (Kind.PRESENCE, lambda f: f.has_name and (f.has("presence") or f.is_bare_finding)),
    (Kind.PRESENCE, lambda f: f.asks_for_findings),
)
