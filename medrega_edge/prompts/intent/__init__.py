"""What a question asks for: its kind and the names in it.

`spelling` brings it into one script and spelling, `clauses` finds the part that asks, `naming` its names, `rules` and
`kinds` its kind. The words that they know are in `frames.json`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from medrega_edge.domain import Language, Modality, language_of
from medrega_edge.prompts.intent import kinds
from medrega_edge.prompts.intent.clauses import asking_clause
from medrega_edge.prompts.intent.facts import Facts
from medrega_edge.prompts.intent.kinds import Kind
from medrega_edge.prompts.intent.naming import (
    CONJOINED,
    ENUMERATED,
    SITE,
    composed,
    named,
    of_one_side,
    unplaced,
    with_other_side,
    without_context,
    without_side,
    without_sides,
    without_sites,
    without_wholes,
    without_wider,
    words_of,
)
from medrega_edge.prompts.intent.phrases import cue_words, has, pattern, without_fillers
from medrega_edge.prompts.intent.rules import by_phrases, decide
from medrega_edge.prompts.intent.spelling import known_words, plain_text, without_slips
from medrega_edge.prompts.intent.unread import Beside, beside_names, left_aside
from medrega_edge.vocabulary.body_parts import of_named_part
from medrega_edge.vocabulary.terminology import BilingualName, Terminology, may_be_name, parts_of, without_request_words
from medrega_edge.vocabulary.wording import (
    AREA,
    MARK,
    UNKNOWN,
    Generic,
    disease_word,
    findings_at,
    generic_labels,
    homonym,
    is_finding,
    is_finding_word,
    is_of_many,
    may_be_finding,
    ordinary_words,
    simplified,
    without_homonyms,
)

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
    reading = _read(text, terminology, modality, has_box)
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
            (*_names_of_history(text, reading, terminology, modality), *left_aside(reading.masked, _PHRASES_OF[kind])), names
        )
        if kind in _PHRASES_OF
        else (),
    )


def _without_names(words: Sequence[str], names: Sequence[BilingualName]) -> tuple[str, ...]:
    """Leave out the words that the names hold."""
    return tuple(word for word in words if not any(word in name for pair in names for name in pair))


def _is_typo(typed: str, meant: str) -> bool:
    return typed.casefold().replace("-", "") != meant.casefold()


_PHRASES_OF: Mapping[Kind, Sequence[str]] = {  # kinds whose answers regard no other words than names and these
    Kind.LOCATE: (),
    Kind.SEGMENT: (),
    Kind.PRESENCE: ("enlarged", "class_findings"),
    Kind.MEASURE: ("measure",),
    Kind.COUNT: ("count", "compare"),
    Kind.SIDE: ("side",),
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
_OF_LIMB = re.compile(  # of a history: "left-sided weakness"
    r"\b(?:left|right|[lr])[- ]?sided? (?:\w+ )?(?:weakness|pain|numbness|paralysis|hemiplegia|hemiparesis)"
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
    plain = _OF_LIMB.sub(" ", simplified(text).casefold())
    is_left, is_right = bool(_LEFT.search(plain)), bool(_RIGHT.search(plain))
    are_findings = bool(names) and all(is_finding(name[0]) or is_of_many(name[0]) for name in names)
    return ("left" if is_left else "right") if are_findings and is_left is not is_right else None


_PART = re.compile(
    r"[?？。;；,，]|并且?|以及"
    r"|\band (?=(?:how|what|which|in which|on which|where|is|are|tell|whether|measure|count)\b)"
)
_BY_HOW_MUCH = re.compile(r"(?:and )?by how much\b|[大小差]了?多少")  # each comparison says so
# An answer of a kind -> what it tells as well.
_TOLD_WITH = {Kind.COMPARE: (Kind.SIDE, Kind.MEASURE), Kind.BODY_PART: (Kind.MODALITY,), Kind.ORGANS: (Kind.COUNT,)}
_EXTRA = ("measure", "count", "side", "compare", "distance", "classify", "kind_of_image", "body_part")


def _also_asked(
    text: str, kind: Kind, names: Sequence[BilingualName], terminology: Terminology, modality: Modality | None
) -> tuple[Kind, ...]:
    """Return the kinds of question that parts of a text ask beside the one that is answered."""
    if kind in (Kind.HELP, Kind.IMPOSSIBLE, Kind.IDENTIFY, Kind.REPORT, Kind.GROUNDED_REPORT, Kind.ANSWER):
        return ()
    parts = [part for part in _PART.split(simplified(text).casefold()) if re.search(r"\w", part)]
    parts = [part for part in parts if not (kind is Kind.COMPARE and _BY_HOW_MUCH.match(part.strip()))]
    if len(parts) < 2:
        return ()
    asked: dict[Kind, None] = {}
    for part in parts:
        said = words_of(named(part, terminology, modality).masked)
        other = next((Kind(each) for each in _EXTRA if has(each, said)), None)
        if other and other is not kind and other not in _TOLD_WITH.get(kind, ()):
            asked[other] = None
    if kind is Kind.LOCATE and has("outline", simplified(text).casefold()):
        asked.pop(Kind.MEASURE, None)  # a mask has its area and its diameters
    if kind is Kind.LOCATE:
        asked.pop(Kind.BODY_PART, None)  # "in which part is the bleed?"
    if kind is Kind.CLASSIFY:
        asked.pop(Kind.COMPARE, None)  # "melanoma vs nevus"
    if names and all(name[0] != without_side(name[0]) for name in names):
        asked.pop(Kind.SIDE, None)  # "the left lung and the right one"
    return tuple(asked)


def _is_language(reading: _Reading, terminology: Terminology) -> bool:
    """Whether one word at least is known, of several in Latin letters."""
    words = re.findall(r"[a-z]{3,}", reading.plain)
    is_latin = reading.plain.isascii() and len(words) > 1
    known = known_words(terminology), ordinary_words()
    return not is_latin or reading.facts.has_name or any(word in some for word in words for some in known)


def features(text: str, terminology: Terminology, modality: Modality | None = None, has_box: bool = False) -> list[int]:
    """Return what the classifier of kinds sees of a question: its buckets."""
    facts = _read(text, terminology, modality, has_box).facts
    return kinds.buckets(facts.said, facts.whole, facts.flags)


def asked_text(text: str, terminology: Terminology, modality: Modality | None) -> str:
    """Return the clause of a text that asks, in plain words, where the others tell a history; else the text as it is."""
    plain = _plain(text, terminology, modality)[0]
    asked = asking_clause(plain, terminology, modality)
    return text if asked == plain else asked


def _plain(text: str, terminology: Terminology, modality: Modality | None) -> tuple[str, dict[str, str]]:
    plain, typos = plain_text(text, terminology)
    plain = terminology.with_shared_words(without_slips(without_homonyms(plain, modality), terminology))
    plain = plain if has("distance", plain) else terminology.with_ranges(plain)
    return without_context(plain, terminology), typos


def _read(text: str, terminology: Terminology, modality: Modality | None, has_box: bool) -> _Reading:
    plain, typos = _plain(text, terminology, modality)
    asked = asking_clause(plain, terminology, modality)
    return _Reading.of(asked, typos, terminology, modality, has_box, asked != plain)


def _names_of_history(text: str, reading: _Reading, terminology: Terminology, modality: Modality | None) -> tuple[str, ...]:
    """Return the names of clauses that do not ask, as far as the question does not have them, in the text's language."""
    if not reading.facts.is_clause:
        return ()
    column, said = language_of(text) is Language.ZH, terminology.find(reading.plain)
    whole, _ = _plain(text, terminology, modality)
    return tuple(
        name[column] for name in named(whole, terminology, modality).names if name not in (*said, *reading.facts.names)
    )


# Pixels or shares: "240, 250", "x=240 y=250", a box "[0.2, 0.3, 0.5, 0.6]".
_PLACE = re.compile(
    r"(?<![\d.])\d{2,4} ?[,/\u3001] ?\d{2,4}(?![\d.])|\bx(?: ?[=:] ?| )\d{1,4}\W+y(?: ?[=:] ?| )\d"
    r"|\bx\d{2,4}\W+y\d{2,4}"  # no place: "answer as [x1, y1, x2, y2]"
    r"|(?<![\d.])\d+(?:\.\d+)?(?:(?: ?[,/\u3001] ?| )\d+(?:\.\d+)?){3}(?![\d.])"
)
_AFTER_NAME = re.compile(
    rf"{MARK}(?:里|内|上|中)?(?:有没有|有无|是否有|有|长了?)?((?!没有|有没|有无)[\u3400-\u9fff]{{2,6}})"
)
_ILLNESS_ZH = re.compile(rf"{MARK}(?:[里内上]?(?:有没有|有无|是否有|有|得了?))?(病)(?![灶变例人房理情史毒症])")
_LISTED_ANEW = re.compile(
    rf"(?:有无|有没有|是否有|\b(?:any|is there|are there)(?: an?| any| the)?) ?{MARK}"
)  # "有无气胸 有无积液"
_COMMA_BETWEEN = re.compile(rf"{MARK} *(?:[,\uff0c\u3001/?\uff1f;+&] *)+(?:and |or )?(?:any |a |an |the )?{MARK}")
_LISTED = re.compile(rf"{MARK} ?(?:[,\uff0c\u3001;/]|[?\uff1f] *{MARK})|{CONJOINED.pattern}")
_FINDING_IN_STRUCTURE = re.compile(  # "stones in the gallbladder"
    rf"(?:{MARK}|{UNKNOWN}) (?:in|inside|within) (?:the |this |that |my |his |her |left |right )*{MARK}"
)
_ASKED_FIRST = re.compile(rf"\? ?{MARK}")


def _not_shown(generic: Sequence[Generic]) -> tuple[str, ...]:
    """Return the words for findings that stand for nothing in a kind of image."""
    return tuple(one.word for one in generic if not one.labels and is_finding_word(one.key))


@dataclass(frozen=True)
class _Reading:
    """A normalised question, its names, and what its generic words stand for."""

    plain: str
    masked: str
    typos: Mapping[str, str]
    facts: Facts
    names: list[BilingualName]
    meant: list[BilingualName]
    generic: list[Generic]
    unknown: tuple[str, ...]
    by_english: Mapping[str, BilingualName]
    alike: tuple[str, ...]

    @classmethod
    def of(
        cls,
        plain: str,
        typos: Mapping[str, str],
        terminology: Terminology,
        modality: Modality | None,
        has_box: bool,
        is_clause: bool,
    ) -> _Reading:
        whole = words_of(plain)
        found = named(plain, terminology, modality)
        masked, names, generic = found.masked, found.names, without_wholes(found.generic, found.names)
        by_english = {label[0]: label for label in terminology.labels}
        said = words_of(masked)
        structures, names = names, composed(names, generic, plain, said, by_english, modality)
        is_site = structures != names  # of a finding: the label of both is meant
        if {english for english, _ in names} == {"heart"} and has("enlarged", plain):
            names = [by_english["cardiomegaly"]] if "cardiomegaly" in by_english else names
        stand_for = {name[0]: homonym(name[0], modality) or [name[0]] for name in names}
        names = [by_english.get(each, name) for name in names for each in stand_for[name[0]]]
        alike = [each for several in stand_for.values() if len(several) > 1 for each in several]
        labels = of_named_part(plain, [label for one in generic for label in one.labels])
        meant = [by_english[label] for label in labels if label in by_english]
        if not (CONJOINED.search(said) or has("distance", said)):
            meant = [label for label in meant if is_finding(label[0])] or meant
        joined = CONJOINED if any(is_finding(name[0]) for name in names) else ENUMERATED
        is_enumerated = bool(joined.search(said)) and (
            joined is CONJOINED or not SITE.search(said)
        )  # "胆囊有没有结石" is not
        is_enumerated = is_enumerated or bool(_COMMA_BETWEEN.search(masked))
        is_compound = f"{MARK} {MARK}" in masked  # "heart disease"
        is_enumerated = is_enumerated or len(_LISTED_ANEW.findall(masked)) > 1
        if names and meant and is_enumerated and not (is_compound or is_site):
            told = {name[0] for name in names}  # a word that stands for one of these adds nothing
            added = {label for one in generic if not told & set(one.labels) for label in one.labels}
            names = [*names, *(label for label in meant if label[0] in added)]
        names = names if is_site or has("distance", said) else without_sites(names, said, masked)
        names = without_wider(names, plain, terminology)
        nowhere = () if is_site or not (names or meant) or not modality else _not_shown(generic)
        nowhere = unplaced(generic, structures, plain) if is_site and len(generic) > 1 else nowhere
        if alike and (at_site := findings_at([name[0] for name in structures]) & {*alike}):
            names, alike = [name for name in names if name[0] in at_site], [each for each in alike if each in at_site]
        facts = Facts(
            said,
            whole,
            tuple(names or dict.fromkeys(meant)),
            bool(names),
            bool(names or generic or found.unknown),
            has_box,
            any(end in "?\uff1f" for end in (plain.strip()[:1], plain.strip()[-1:])),  # "?fracture" asks, too
            is_clause,
            found.has_unknown_finding,
            bool(_PLACE.search(plain)),
            bool(_ASKED_FIRST.search(masked)),
        )
        return cls(plain, masked, typos, facts, names, meant, generic, (*found.unknown, *nowhere), by_english, tuple(alike))

    def findings_without_name(self, unread: Sequence[str]) -> tuple[str, ...]:
        """The findings of a structure that no label has, "stones in the gallbladder": the structure's box does not tell.

        So are `unread` words beside its name.
        """
        names = self.names or (self.meant if unread else [])
        if not names or any(is_finding(name[0]) for name in names) or _LISTED.search(self.masked):
            return ()
        if self.facts.has_unknown_finding:
            return self.unknown
        words = [word for word in re.findall("[a-z]+", self.facts.said) if may_be_finding(word)]
        structure = without_side(names[0][0]), names[0][1].lstrip("左右").removeprefix("侧")
        words += [word for word in _AFTER_NAME.findall(self.facts.said) if may_be_finding(word)]
        words += _ILLNESS_ZH.findall(self.facts.said)
        words += [one.word for one in self.generic if is_finding_word(one.key)]
        words = [word for word in words if not any(word in text for text in unread)]
        texts = [*unread, *(f"{MARK} {word}" if word.isascii() else f"{MARK}{word}" for word in words)]
        return tuple(text.replace(MARK, structure[not text.replace(MARK, "").isascii()]) for text in dict.fromkeys(texts))

    def chosen(self, kind: Kind) -> tuple[BilingualName, ...]:
        """The names that a question of a kind is about."""
        if kind in (Kind.COMPARE, Kind.DISTANCE):
            names = tuple(dict.fromkeys((*self.names, *self.meant)))
            if len({without_side(name[0]) for name in names}) > 1:  # "caudate against putamen on the left"
                names = of_one_side(names, self.plain) or names
            return with_other_side(names, self.masked, self.by_english, kind)
        if kind in (Kind.BODY_PART, Kind.MODALITY, Kind.ORGANS):
            return ()
        if kind is Kind.SIDE:
            return without_sides(self.facts.names)
        return of_one_side(self.facts.names, self.plain) or self.facts.names


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
