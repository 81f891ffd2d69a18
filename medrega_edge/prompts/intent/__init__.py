"""What a question asks for: its kind and the names in it.

`spelling` brings it into one script and spelling, `clauses` finds the part that asks, `naming` and `reading` its names,
`rules` and `kinds` its kind, `unread` what is left. The words that they know are in `frames.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from medrega_edge.domain import Language, Modality, language_of
from medrega_edge.prompts.intent import kinds
from medrega_edge.prompts.intent.clauses import asking_clause
from medrega_edge.prompts.intent.kinds import Kind
from medrega_edge.prompts.intent.naming import named, without_side, words_of
from medrega_edge.prompts.intent.phrases import cue_words, has, pattern, without_fillers
from medrega_edge.prompts.intent.reading import Reading, in_plain_words, read
from medrega_edge.prompts.intent.rules import by_phrases, decide
from medrega_edge.prompts.intent.spelling import known_words, plain_text, without_slips
from medrega_edge.prompts.intent.unread import Beside, beside_names, left_aside
from medrega_edge.vocabulary.generic_words import MARK, UNKNOWN, generic_labels
from medrega_edge.vocabulary.label_kinds import is_finding, is_of_many
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.states import disease_word
from medrega_edge.vocabulary.terminology import BilingualName, Terminology, may_be_name, parts_of, without_request_words
from medrega_edge.vocabulary.typos import ordinary_words
from medrega_edge.vocabulary.wording import AREA

__all__ = ["Intent", "Kind", "asked_text", "names_of_words", "understand", "unknown_word"]


@dataclass(frozen=True)
class Intent:
    """The kind of a question, its names, and what had to be guessed.

    `generic` are words that stand for `names` in this modality, `typos` are corrected words. `reason` tells why a question
    is impossible: a key of `frames.json`. `asks_for_outline` tells whether the words ask for more than a box. `unknown` are
    names of the field that no label has; `is_language` is false where no word is known at all. `side`, "left" or "right", is
    where a finding is asked for; `also_asked` are other kinds of question in the same text, which have no answer. `unread`
    are words beside a name that the layer does not know, `narrowing` those that no label holds: "open" of a fracture.
    `alike` are the English labels of one name that stands for several here: a suspicious lesion. `aside` are words that
    neither a name nor a phrase of its kind holds: no answer regards them.
    """

    kind: Kind
    names: tuple[BilingualName, ...] = ()
    generic: tuple[str, ...] = ()
    typos: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    asks_for_outline: bool = False
    unknown: tuple[str, ...] = ()
    is_language: bool = True
    side: str | None = None
    also_asked: tuple[Kind, ...] = ()
    unread: tuple[str, ...] = ()
    narrowing: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()
    asks_if_enlarged: bool = False

    @property
    def meant(self) -> frozenset[str]:
        """The English labels that its generic words may stand for, in any kind of image, and those that are `alike`."""
        return frozenset(self.alike).union(*map(generic_labels, self.generic))


def names_of_words(words: Sequence[str], terminology: Terminology, modality: Modality | None) -> tuple[BilingualName, ...]:
    """Return the names that generic words stand for in a kind of image, each once."""
    return tuple(dict.fromkeys(name for word in words for name in understand(word, terminology, modality).names))


@lru_cache(maxsize=256)  # a batch asks the same of each image, and one question's parts are read several times
def understand(text: str, terminology: Terminology, modality: Modality | None = None, has_box: bool = False) -> Intent:
    """Tell what a question asks for. `modality` is that of the image, if it is known; generic words need it."""
    reading = read(text, terminology, modality, has_box)
    # The classifier learned from questions whose names are known.
    kind, reason = decide(reading.facts) if terminology.labels else by_phrases(reading.facts)[:2]
    generic, names, unknown = tuple(one.word for one in reading.generic), reading.chosen(kind), reading.unknown
    asks_for_it = kind in (Kind.PRESENCE, Kind.COUNT) or (
        kind in (Kind.LOCATE, Kind.SEGMENT)
        and (reading.facts.ends_in_question_mark or _FINDING_IN_STRUCTURE.search(words_of(reading.masked)))
    )
    unread, narrowing = beside_names(reading.masked, terminology) if names and kind in _OF_REGIONS else Beside()
    unread = unread if kind in _OF_BOXES else ()
    if kind is Kind.PRESENCE and not any(is_finding(name[0]) for name in names):  # "brain death" is no brain
        said = words_of(reading.masked)
        ends = (text for text in narrowing if text.startswith(MARK) and said.endswith(text))
        unread = (*unread, *(text for text in ends if disease_word(text) is None))
    is_bare = bool(unread) and not without_fillers(_without(unread, reading.facts.said))  # "liver transplant?"
    nameless = reading.findings_without_name(unread if kind is Kind.PRESENCE or is_bare else ())
    if nameless and (asks_for_it or is_bare):
        generic, names, unknown, unread, narrowing = (), (), nameless, (), ()
    is_of_size = any(name[0] == "cardiomegaly" for name in names)  # which "enlarged" is a word for
    phrases = (*_PHRASES_OF.get(kind, ()), *(["enlarged"] if is_of_size else []))
    return Intent(
        kind,
        names,
        generic,
        {typed: meant for typed, meant in reading.typos.items() if _is_typo(typed, meant) and meant in reading.plain},
        reason,
        reading.facts.has("outline"),
        unknown,
        _is_language(reading, terminology),
        _side_of_findings(text, names) if kind in _OF_ONE_SIDE else None,
        _also_asked(text, kind, names, terminology, modality),
        tuple(text.replace(MARK, "").strip() for text in unread),
        (*(text.replace(MARK, "").strip() for text in narrowing if text not in unread), *_choice_of_one(text, kind, names)),
        reading.alike,
        _without_names(
            (*_names_of_history(text, reading, terminology, modality), *left_aside(reading.masked, phrases)), names
        )
        if kind in _PHRASES_OF
        else (),
        reading.facts.asks_if_enlarged,
    )


def _without_names(words: Sequence[str], names: Sequence[BilingualName]) -> tuple[str, ...]:
    """Leave out the words that the names hold."""
    return tuple(word for word in words if not any(word in name for pair in names for name in pair))


def _is_typo(typed: str, meant: str) -> bool:
    typed = typed.casefold().replace("-", "")
    return typed != meant.casefold() and typed.removesuffix("s") != meant.casefold()


_PHRASES_OF: Mapping[Kind, Sequence[str]] = {  # kinds whose answers regard no other words than names and these
    Kind.LOCATE: ("superlative",),
    Kind.SEGMENT: ("superlative",),
    Kind.PRESENCE: ("class_findings",),
    Kind.MEASURE: ("measure", "superlative"),
    Kind.COUNT: ("count", "compare"),
    Kind.SIDE: ("side", "superlative"),
    Kind.COMPARE: ("compare", "measure"),
    Kind.DISTANCE: ("distance", "measure"),
    Kind.CLASSIFY: ("classify", "class_words", "choice", "class_findings", "graded", "classify_named"),
    Kind.REPORT: ("report", "report_strong", "all_well", "with_boxes", "which_is_ill"),
    Kind.GROUNDED_REPORT: ("report", "report_strong", "all_well", "with_boxes"),
    Kind.IDENTIFY: ("identify", "identify_strong"),
    Kind.MODALITY: ("kind_of_image", "classes", "body_part"),
    Kind.BODY_PART: ("body_part", "parts", "classes", "kind_of_image"),
    Kind.ORGANS: ("organs", "organs_strong"),
}


_FINDING_IN_STRUCTURE = re.compile(  # "stones in the gallbladder"
    rf"(?:{MARK}|{UNKNOWN}) (?:in|inside|within) (?:the |this |that |my |his |her |left |right )*{MARK}"
)
_CHOICE = re.compile(r"([^,.;?，。；？]*?(?:还是|\bor\b)[^,.;?，。；？]*)")


def _choice_of_one(text: str, kind: Kind, names: Sequence[BilingualName]) -> tuple[str, ...]:
    """Return a choice whose alternatives have one label: "a gastric or a colonic polyp"."""
    choice = _CHOICE.search(simplified(text)) if kind is Kind.PRESENCE and len(names) == 1 else None
    halves = re.split(r"还是|\bor\b", choice[1]) if choice else []
    is_of_one = (
        len(halves) == 2
        and not re.search("没|无|\\bno\\b", halves[1])
        and all(any(name.casefold() in half for name in names[0]) for half in halves)
    )
    return (choice[1].strip(),) if choice and is_of_one else ()


_OF_REGIONS = (
    Kind.LOCATE,
    Kind.SEGMENT,
    Kind.MEASURE,
    Kind.COUNT,
    Kind.PRESENCE,
    Kind.SIDE,
    Kind.COMPARE,
    Kind.DISTANCE,
)
_OF_BOXES = (Kind.LOCATE, Kind.SEGMENT, Kind.MEASURE, Kind.COUNT, Kind.PRESENCE)
_OF_ONE_SIDE = (Kind.LOCATE, Kind.PRESENCE, Kind.COUNT, Kind.MEASURE)
_LEFT = re.compile(r"\bleft(?! over| out| behind)\b|左(?!右)")
_OF_LIMB = re.compile(  # of a history, "left-sided weakness", of what one film shows, and of a lobe
    r"\b(?:left|right) (?:arm|leg|hand|foot|hip|knee|ankle|wrist|elbow|shoulder|thigh|calf|finger|toe|femur|tibia)s?\b"
    r"|[左右](?:侧|边)?(?:手|脚|腿|臂|髋|膝|踝|腕|肘|肩|足|趾|指|上肢|下肢|肢体|股骨|胫骨|腓骨|桡骨|尺骨|肱骨|锁骨)"
    r"|[左右](?:[上下]腹|侧?腰|腹)(?=.{0,3}[疼痛])|(?<=肝)(?:脏|的)?[左右]叶|[左右]肝叶"
    r"|\b(?:left|right) (?:arm|leg|hand|face|facial|flank|sided) (?:weakness|pain|numbness|droop)"
    r"|[左右](?:侧|边)?(?:肢体?|上肢|下肢|半身|偏瘫|面部|手臂?|脚|腿|胳膊|腰部?疼?)(?=.{0,4}(?:无力|麻|疼|痛|瘫|乏力))"
)
_RIGHT = re.compile(  # "all right", "there is a stone, right?" and "right now" are no sides
    r"(?<![,.;] )(?<!all )\bright\b(?! now| away| there| here|\W*$)|\b(?:the|on|his|her|their) right\b|(?<!左)右"
)


def _without(unread: Sequence[str], said: str) -> str:
    for text in unread:
        said = said.replace(text.replace(MARK, "").strip(), " ")
    return said


def _side_of_findings(text: str, names: Sequence[BilingualName]) -> str | None:
    """The side that a question for findings, or for some of many, names: "a stone in the left kidney", "the left molars"."""
    plain = _OF_LIMB.sub(" ", simplified(text))
    is_left, is_right = bool(_LEFT.search(plain)), bool(_RIGHT.search(plain))
    are_findings = bool(names) and all(is_finding(name[0]) or is_of_many(name[0]) for name in names)
    return ("left" if is_left else "right") if are_findings and is_left is not is_right else None


_PART = re.compile(
    r"[?？。;；,，]|并且?|以及"
    r"|\band (?=(?:how|what|which|in which|on which|where|is|are|tell|whether|measure|count)\b)"
)
_BY_HOW_MUCH = re.compile(r"(?:and )?by how much\b|[大小差]了?多少")  # each comparison says so
_HOW_LIKELY = re.compile("可能性|把握|概率|几率")
# An answer of a kind -> what it tells as well.
_TOLD_WITH = {Kind.COMPARE: (Kind.SIDE, Kind.MEASURE), Kind.BODY_PART: (Kind.MODALITY,), Kind.ORGANS: (Kind.COUNT,)}
_EXTRA = ("measure", "count", "side", "compare", "distance", "classify", "kind_of_image", "body_part")


def _also_asked(
    text: str, kind: Kind, names: Sequence[BilingualName], terminology: Terminology, modality: Modality | None
) -> tuple[Kind, ...]:
    """Return the kinds of question that parts of a text ask beside the one that is answered."""
    if kind in (Kind.HELP, Kind.IMPOSSIBLE, Kind.IDENTIFY, Kind.REPORT, Kind.GROUNDED_REPORT, Kind.ANSWER):
        return ()
    parts = [part for part in _PART.split(simplified(text)) if re.search(r"\w", part)]
    parts = [part for part in parts if not (kind is Kind.COMPARE and _BY_HOW_MUCH.match(part.strip()))]
    if len(parts) < 2:
        return ()
    asked: dict[Kind, None] = {}
    for part in parts:
        said = words_of(named(part, terminology, modality).masked)
        other = next((Kind(each) for each in _EXTRA if has(each, said)), None)
        if other and other is not kind and other not in _TOLD_WITH.get(kind, ()):
            asked[other] = None
    if kind is Kind.LOCATE and has("outline", simplified(text)):
        asked.pop(Kind.MEASURE, None)  # a mask has its area and its diameters
    if kind is Kind.LOCATE:
        asked.pop(Kind.BODY_PART, None)  # "in which part is the bleed?"
    if kind is Kind.CLASSIFY:
        asked.pop(Kind.COMPARE, None)  # "melanoma vs nevus"
        if _HOW_LIKELY.search(text):
            asked.pop(Kind.MEASURE, None)  # "可能性有多大"
    if names and all(name[0] != without_side(name[0]) for name in names):
        asked.pop(Kind.SIDE, None)  # "the left lung and the right one"
    return tuple(asked)


def _is_language(reading: Reading, terminology: Terminology) -> bool:
    """Whether one word at least is known, of several in Latin letters."""
    words = re.findall(r"[a-z]{3,}", reading.plain)
    is_latin = reading.plain.isascii() and len(words) > 1
    known = known_words(terminology), ordinary_words()
    return not is_latin or reading.facts.has_name or any(word in some for word in words for some in known)


def features(text: str, terminology: Terminology, modality: Modality | None = None, has_box: bool = False) -> list[int]:
    """Return what the classifier of kinds sees of a question: its buckets."""
    facts = read(text, terminology, modality, has_box).facts
    return kinds.buckets(facts.said, facts.whole, facts.flags)


def asked_text(text: str, terminology: Terminology, modality: Modality | None) -> str:
    """Return the clause of a text that asks, in plain words, where the others tell a history; else the text as it is."""
    plain = in_plain_words(text, terminology, modality)[0]
    asked = asking_clause(plain, terminology, modality)
    return text if asked == plain else asked


def _names_of_history(text: str, reading: Reading, terminology: Terminology, modality: Modality | None) -> tuple[str, ...]:
    """Return the names of clauses that do not ask, as far as the question does not have them, in the text's language."""
    if not reading.facts.is_clause:
        return ()
    column, asked = language_of(text) is Language.ZH, (*terminology.find(reading.plain), *reading.facts.names)
    return tuple(name[column] for name in named(reading.whole, terminology, modality).names if name not in asked)


def unknown_parts(text: str, terminology: Terminology) -> dict[int, str]:
    """Return the parts of an enumeration that name something unknown even to the field, with their numbers from 1.

    Words that ask are no names: "is there a polyp, and which side?".
    """
    found = named(without_slips(plain_text(text, terminology)[0], terminology), terminology, None)
    known = cue_words()
    unknown = {}
    for number, part in enumerate(parts_of(found.masked), 1):
        rest = _TELL_ZH.sub(" ", part)
        for kind in ("fillers", "outline", *_ASKING):
            rest = pattern(kind, rest).sub(" ", rest)
        rest = AREA.sub(" ", rest)
        is_name = not all(word in known for word in re.findall(r"[a-z]+", rest)) or re.search(r"[\u3400-\u9fff]{2}", rest)
        if MARK not in part and is_name and may_be_name(part) and not _DESCRIBES_IMAGE_ZH.search(rest):
            unknown[number] = " ".join(without_request_words(part).split()).strip(" .?!。？！")
    return unknown


_ASKING = ("locate", "measure", "count", "side", "compare", "distance", "presence")
_TELL_ZH = re.compile("(?:再|然后|顺便|接着)?(?:告诉|说说|讲讲)我?|然后|顺便|接着|^ ?再")
_DESCRIBES_IMAGE_ZH = re.compile(r"[^位]位[片像]|(?:平|增强)扫|片子?\W*$")  # "手部侧位片"
_MAX_UNKNOWN = 4  # words of a name
_COUNTER_ZH = re.compile("^[个颗处块枚张](?=[\u3400-\u9fff])")  # what is left of "这个囊肿"


def unknown_word(text: str) -> str:
    """Return what is left of a question without the words that ask: probably a name that no label has."""
    plain = simplified(text)
    for kind in _ASKING:
        plain = pattern(kind, plain).sub(" ", plain)
    words = re.sub(
        r"\b(?:and|or|but)$|^(?:and|or|but|does|do|did)\b", " ", " ".join(without_request_words(plain).split())
    ).split()
    words = [_COUNTER_ZH.sub("", word) for word in words]
    return " ".join(words)[:40] if 0 < len(words) <= _MAX_UNKNOWN else ""
