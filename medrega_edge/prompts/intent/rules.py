"""The kind of a question: phrases tried in the order of `_RULES`, and a classifier where it is far surer of another kind.

A question that counts is about a number, whatever else it says.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from medrega_edge.prompts.intent import kinds
from medrega_edge.prompts.intent.certain import certain_kind
from medrega_edge.prompts.intent.facts import Facts
from medrega_edge.prompts.intent.kinds import Kind
from medrega_edge.prompts.intent.phrases import has, pattern, table, without_fillers
from medrega_edge.prompts.intent.relations import asks_for_relation, asks_in_which_part
from medrega_edge.vocabulary.generic_words import MARK, may_be_finding
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.wording import superlative

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
    if facts.has_whole("measures_itself") and not _AROUND_IT.search(facts.whole):
        return Kind.MEASURE, None, math.inf
    if certain := certain_kind("first", facts):
        return *certain, math.inf
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
        is_context |= reason == "time" and _IS_IT_MALIGNANT.search(facts.whole) is not None  # that it grew is its history
        if (facts.has_whole("impossible", reason) or facts.has("impossible", reason)) and not is_context:
            is_certain = (
                reason in ("brightness", "lab", "age")
                or _NO_BOX_TELLS.search(facts.whole) is not None
                or (reason == "care" and (not facts.has_name or _IS_NEEDED.search(facts.whole) is not None))
            )
            return Kind.IMPOSSIBLE, reason, math.inf if is_certain else _SURER_THAN_IMPOSSIBLE
    if certain := certain_kind("then", facts):
        return *certain, math.inf
    if _WHAT_IS.search(facts.said) and superlative(facts.whole) is not None:
        return Kind.LOCATE, None, math.inf  # "what is the biggest cell"
    is_otherwise = any(map(facts.has, _OTHERWISE_ASKED)) or facts.has_whole("measure")
    if _WHAT_IS.search(facts.said) and not facts.is_explicit and not is_otherwise:
        return Kind.IDENTIFY, None, math.inf
    if _asks_which_is_ill(facts):
        return Kind.REPORT, None, math.inf
    if certain := certain_kind("last", facts):
        return *certain, math.inf
    if asks_in_which_part(facts):
        return Kind.IMPOSSIBLE, "part", math.inf
    if asks_for_relation(facts):
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
    rf"|有[两二三四五六七八九十\d]+[个颗枚处块根条][\u3400-\u9fff]{{0,3}}{MARK}"
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


_IS_IT_MALIGNANT = re.compile(
    r"\b(?:(?:is|are) (?:it|this|they|that)|it is|they are) (?:[a-z]+ ){0,2}(?:benign|malignant|cancer\w*|melanoma)\b"
    r"|(?:是不是|会不会是|是否为?)(?:恶性|良性|黑色素瘤|癌)|[良恶]性(?:吗|还是)"
)
_IS_NEEDED = re.compile(
    "(?:能不能|可不可以|能否|可否)(?=溶栓|手术|治|切|吃|打)|需要|需不需|该不该|要不要(?:[拔切插打吃治住]|手术|开刀|穿刺)|\\b(?:needs?|requires?)\\b"
)
_SIZE_OF_EACH = re.compile("分别[^，。？]{0,4}(?:面积|多大|大小|多长|多宽)|(?:面积|大小)分别")
# The kind of image does not tell sequence, phase or contrast medium.
_WHAT_IS = re.compile(
    r"^what (?:is|are|s|re) (?:the|that|this|these|those) (?:[a-z]+ ){0,2}" + MARK + r"(?: on (?:my|his|her|the) \w+)?\W*$"
)  # "what are the white spots"
_NO_BOX_TELLS = re.compile(r"hounsfield|\b(?:resect|remov|excis)|切除|出血量")  # what is impossible for certain
_AROUND_IT = re.compile("circumference|围")
_DESCRIBE = re.compile(
    r"^(?:please |can you |could you |how would you |would you )*describe (?:the |this |that )*" + MARK + r"\W*$"
)
_OTHERWISE_ASKED = ("locate", "where", "measure", "side", "count", "classify", "body_part", "kind_of_image", "report_strong")


_LENGTH = re.compile(
    r"\b(?:than|over|under|above|below|at least|exceeds?|exceeding)\b[^.?]*\d ?(?:mm|cm|millimet|centimet|px|pixel)"
    r"|(?:[大小长宽高厚]于|超过|不到|达到|有没有|至少)[^。？?]{0,4}\d[^。？?]{0,3}(?:毫米|厘米|公分|像素|mm|cm|px)"
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
