"""What a question asks for: its kind and the names in it, found by the phrases of `frames.json`.

A phrase is a text of plain words; `*` stands for up to four words, in Chinese for six characters, `#` for a name, `^` and
`$` for the start and the end, `<part>` for a word of that class. Kinds are tried in the order of `_RULES`, so a question
that counts is about a number, whatever else it says. A classifier (`kinds`) overrules the phrases where it is far surer of
another kind. Of a question with a history, "fell off a bike, any fracture?", only the clause that asks is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import kinds
from medrega_edge.vocabulary.phrase_index import PhraseIndex
from medrega_edge.vocabulary.terminology import BilingualName, Terminology, without_request_words
from medrega_edge.vocabulary.wording import (
    MARK,
    UNKNOWN,
    Generic,
    Hearing,
    as_nouns,
    common_words,
    corrected,
    generic_texts,
    generic_words,
    is_finding,
    may_be_finding,
    simplified,
    site_labels,
    sound,
    typed_sound,
    unknown_names,
    without_homonyms,
    without_unknown_names,
)


class Kind(StrEnum):
    """What can be asked."""

    LOCATE = "locate"
    SEGMENT = "segment"
    PRESENCE = "presence"
    COUNT = "count"
    MEASURE = "measure"
    SIDE = "side"
    COMPARE = "compare"
    DISTANCE = "distance"
    MODALITY = "kind_of_image"
    BODY_PART = "body_part"
    ORGANS = "organs"
    CLASSIFY = "classify"
    IDENTIFY = "identify"
    REPORT = "report"
    GROUNDED_REPORT = "grounded_report"
    ANSWER = "answer"
    HELP = "help"
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True)
class Intent:
    """The kind of a question, its names, and what had to be guessed.

    `generic` are words that stand for `names` in this modality, `typos` are corrected words. `reason` tells why a question
    is impossible: a key of `frames.json`. `asks_for_outline` tells whether the words ask for more than a box.
    """

    kind: Kind
    names: tuple[BilingualName, ...] = ()
    generic: tuple[str, ...] = ()
    typos: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    asks_for_outline: bool = False


_ENUMERATED = re.compile(rf"{MARK} ?(?:and|or|&|和|与|及|跟|或者?|、)? ?{MARK}")
_CONJOINED = re.compile(rf"{MARK} ?(?:and|or|&|和|与|及|跟|或者?) ?(?:the |a |an |any |有没有)?{MARK}")
_SITE = re.compile(
    rf"{MARK} (?:in|within|inside|of|on) (?:the |this |these |both |my |his |her )*{MARK}"
    rf"|{MARK}(?:[里内上中的处部面区有]|是否|有没有|有无|没有|存在|可见|能?看到|发现|长了?|得了?|患了?)+{MARK}"
)
_UNKNOWN_SITE = re.compile(
    rf"{MARK} (?:in|within|inside|of|on) (?:the |this |these |both |my |his |her )*{UNKNOWN}"
    rf"|{UNKNOWN}[里内上中的面有没长是否存在了个]*{MARK}"
)
_LINKED = re.compile(
    rf"{MARK}(?!\s*{MARK})"
    rf"(?:(?!\b(?:and|or|also|plus|with|as|then|but|vs|to|from)\b)[^{MARK},;.、，。和与及跟还或离到])*{MARK}"
)
_CLAUSE = re.compile(r"(?:[^;:!?。；：！？，.,()（）\n-]|[.,:](?=\d)|(?<=\S)-|-(?=\S))+[^\w\0\s]?")
_LATIN = re.compile(r"(?<![a-z0-9])[a-z]+(?: [a-z]+)*(?![a-z0-9])")
_MAX_SYLLABLES = 6
_SIDE_LETTER = re.compile(r"(?<![a-z0-9])([lr])t?\.?(?![a-z0-9]|-? ?\d|/o)")
_SHORTEST_TYPED = 4  # letters
_HAN = re.compile(r"[\u3400-\u9fff]+")
_NO_WORD = re.compile(rf"[^\w{MARK}]+")
_NEGATION = re.compile(r"(?:\bnot(?: the| a)?|不要|不是找|不找)\s*$")
_SIDE_ZH = re.compile("[左右]")
_BOTH = re.compile(r"\b(?:both|bilateral|two|each)\b|双|两|各")
_SIDES = {"left": "right", "right": "left"}
_SIDE_WORDS = {
    "left": re.compile(r"(?<![a-z])left(?![a-z])|左"),
    "right": re.compile(r"(?<!^)(?<![a-z])right(?![a-z])|右"),
}
_CLASS = re.compile(r"<(\w+)>")
_SIGNS = re.compile(rf"{_CLASS.pattern}|[*#^$]")
_OTHER_SIDE = re.compile(r"\b(?:right|left)(?: one| side)?\b|[左右]")


@cache
def _frames() -> dict[str, Any]:
    frames: dict[str, Any] = json.loads(files(__name__).joinpath("frames.json").read_text(encoding="utf-8"))
    return frames


@cache
def _index(kind: str, part: str) -> PhraseIndex:
    frames = _frames()[kind]
    phrases: list[str] = frames[part] if part else frames
    return PhraseIndex((phrase, _literals(phrase)) for phrase in sorted(phrases, key=len, reverse=True))


def _literals(phrase: str) -> list[str]:
    """The texts that a phrase holds between its gaps, classes and marks."""
    return _SIGNS.sub(" ", phrase).split()


def _has(kind: str, text: str, part: str = "", start: int | None = None) -> bool:
    """Whether a phrase of a kind is in a text, or with `start` begins there."""
    patterns = map(_compiled, _index(kind, part).within(text))
    return any(pattern.search(text) if start is None else pattern.match(text, start) for pattern in patterns)


def _pattern(kind: str, text: str) -> re.Pattern[str]:
    """A pattern of the phrases of a kind that can be in a text, the longest first."""
    return re.compile("|".join(map(_as_pattern, _index(kind, "").within(text))) or r"(?!)")


@cache
def _compiled(phrase: str) -> re.Pattern[str]:
    return re.compile(_as_pattern(phrase))


def _as_pattern(phrase: str) -> str:
    if not _CLASS.sub("", phrase).isascii():
        return ".{0,6}?".join(_as_piece(piece) for piece in phrase.split("*"))
    words = [r"(?:\S+ ){0,4}?" if word == "*" else _as_piece(word) + " " for word in phrase.split()]
    pattern = "".join(words).rstrip().replace("^ ", "^").replace(" $", "$")
    return rf"(?<![a-z0-9]){pattern}(?![a-z0-9])"


def _as_piece(text: str) -> str:
    """A pattern of a phrase without gaps."""
    pieces = []
    for place, piece in enumerate(_CLASS.split(text)):
        if place % 2:
            words = sorted(_frames()["classes"][piece], key=len, reverse=True)
            pieces.append(f"(?:{'|'.join(map(re.escape, words))})")
        else:
            pieces.append("".join({"#": MARK, "^": "^", "$": "$"}.get(sign, re.escape(sign)) for sign in piece))
    return "".join(pieces)


@cache
def _cue_words() -> set[str]:
    """English words of all phrases: they are no typos of names."""
    return {word for text in _texts(_frames()) for word in re.findall(r"[a-z0-9-]+", text)}


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for inner in (value.values() if isinstance(value, dict) else value) for text in _texts(inner)]


def understand(text: str, terminology: Terminology, modality: Modality | None = None, has_box: bool = False) -> Intent:
    """Tell what a question asks for. `modality` is that of the image, if it is known; generic words need it."""
    reading = _read(text, terminology, modality, has_box)
    # The classifier learned from questions whose names are known.
    kind, reason = _decide(reading.facts) if terminology.labels else _by_phrases(reading.facts)[:2]
    generic = tuple(one.word for one in reading.generic)
    return Intent(kind, reading.chosen(kind), generic, reading.typos, reason, reading.facts.has("outline"))


def features(text: str, terminology: Terminology, modality: Modality | None = None, has_box: bool = False) -> list[int]:
    """Return what the classifier of kinds sees of a question: its buckets."""
    facts = _read(text, terminology, modality, has_box).facts
    return kinds.buckets(facts.said, facts.whole, facts.flags)


def _read(text: str, terminology: Terminology, modality: Modality | None, has_box: bool) -> _Reading:
    plain = simplified(text).replace("'", " ").replace("\u2019", " ")
    plain = _SIDE_LETTER.sub(lambda match: {"l": "left", "r": "right"}[match.group(1)], plain)
    plain, typos = corrected(plain, terminology.words | _cue_words())
    plain = without_homonyms(_without_negated(plain, terminology))
    if _HAN.search(plain):
        plain = _hearing(terminology).corrected(plain)
    plain = terminology.with_shared_words(_from_syllables(plain, terminology))
    plain = plain if _has("distance", plain) else terminology.with_ranges(plain)
    asked = _asking_clause(plain, terminology, modality)
    return _Reading.of(asked, typos, terminology, modality, has_box, asked != plain)


@dataclass(frozen=True)
class _Named:
    """A text with its names. `masked` has marks in their place; `unknown` tells whether one of them has no label."""

    masked: str
    names: list[BilingualName]
    generic: list[Generic]
    has_unknown: bool
    has_unknown_finding: bool


def _named(plain: str, terminology: Terminology, modality: Modality | None) -> _Named:
    plain, unknown = without_unknown_names(terminology.without_unknown(plain), terminology.spans)
    plain = _without_described(plain, terminology)
    text_of_names, wholes = generic_words(plain, modality, terminology.spans)
    names = terminology.find(text_of_names)
    masked = terminology.mask(text_of_names)
    nouns = as_nouns(masked)
    names += [name for name in terminology.find(nouns) if name not in names]
    masked, generic = generic_words(terminology.mask(nouns), modality)
    generic = [] if _UNKNOWN_SITE.search(masked) else [*wholes, *generic]
    has_unknown = UNKNOWN in masked
    return _Named(masked.replace(UNKNOWN, MARK), names, generic, has_unknown, any(map(may_be_finding, unknown)))


def _without_described(text: str, terminology: Terminology) -> str:
    """Remove the names that only tell what image it is, "this eye photo", where others are left."""
    spans = terminology.spans(text)
    described = [(start, end) for start, end in spans if _has("described", text, start=end)]
    rest = text
    for start, end in reversed(described):
        rest = rest[:start] + " " + rest[end:]
    return rest if len(described) < len(spans) or generic_words(rest, None)[1] else text


@dataclass(frozen=True)
class _Reading:
    """A normalised question, its names, and what its generic words stand for."""

    plain: str
    masked: str
    typos: Mapping[str, str]
    facts: _Facts
    names: list[BilingualName]
    meant: list[BilingualName]
    generic: list[Generic]
    by_english: Mapping[str, BilingualName]

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
        whole = " ".join(_NO_WORD.sub(" ", plain).split())
        found = _named(plain, terminology, modality)
        masked, names, generic = found.masked, found.names, found.generic
        by_english = {label[0]: label for label in terminology.labels}
        said = " ".join(_NO_WORD.sub(" ", masked).split())
        names = _composed(names, generic, plain, said, by_english)
        if {english for english, _ in names} == {"heart"} and _has("enlarged", plain):
            names = [by_english["cardiomegaly"]] if "cardiomegaly" in by_english else names
        meant = [by_english[label] for one in generic for label in one.labels if label in by_english]
        if not _CONJOINED.search(said):
            meant = [label for label in meant if is_finding(label[0])] or meant
        joined = _CONJOINED if any(is_finding(name[0]) for name in names) else _ENUMERATED
        if names and meant and joined.search(said) and not set(names) & set(meant):
            names = [*names, *(label for label in meant if label not in names)]
        names = names if _has("distance", said) else _without_sites(names, said, masked)
        facts = _Facts(
            said,
            whole,
            tuple(names or dict.fromkeys(meant)),
            bool(names),
            bool(names or generic or found.has_unknown),
            has_box,
            plain.strip()[-1:] in "?\uff1f",
            is_clause,
            found.has_unknown_finding,
        )
        return cls(plain, masked, typos, facts, names, meant, generic, by_english)

    def chosen(self, kind: Kind) -> tuple[BilingualName, ...]:
        """The names that a question of a kind is about."""
        if kind in (Kind.COMPARE, Kind.DISTANCE):
            return _with_other_side(tuple(dict.fromkeys((*self.names, *self.meant))), self.masked, self.by_english, kind)
        if kind in (Kind.BODY_PART, Kind.MODALITY, Kind.ORGANS):
            return ()
        if kind is Kind.SIDE:
            return _without_sides(self.facts.names)
        return _of_one_side(self.facts.names, self.plain) or self.facts.names


def _asking_clause(plain: str, terminology: Terminology, modality: Modality | None) -> str:
    """Return the clause that asks, with those that only name, where the others tell a history; else the whole text."""
    clauses = [clause for clause in _CLAUSE.findall(plain) if re.search(r"\w", clause)]
    if len(clauses) < 2:
        return plain
    read = [_Clause.read(clause, terminology, modality) for clause in clauses]
    asking = [clause for clause in read if clause.asks and clause.is_named] or [
        clause for clause in read if clause.is_bare_question
    ]
    nameless = [clause for clause in read if clause.asks_without_name and not clause.is_named]
    if not asking and len(nameless) == 1 and not any(one.adds for one in read if one is not nameless[0]):
        return nameless[0].text
    if len(asking) != 1:
        return plain
    one = asking[0]
    others = [clause for clause in read if clause is not one]
    later = read[read.index(one) + 1 :]
    if any(other.asks_strongly for other in later) or any(_has("why", other.said) for other in others):
        return plain
    if not one.is_explicit and any(other.is_named for other in others):
        return plain
    return " ".join(clause.text for clause in read if clause is one or not _without_fillers(clause.said))


@dataclass(frozen=True)
class _Clause:
    text: str
    said: str
    is_named: bool
    is_explicit: bool

    @classmethod
    def read(cls, text: str, terminology: Terminology, modality: Modality | None) -> _Clause:
        found = _named(text, terminology, modality)
        said = " ".join(_NO_WORD.sub(" ", found.masked).split())
        return cls(text, said, MARK in found.masked, bool(found.names))

    @property
    def is_bare(self) -> bool:
        """Whether it is no more than names."""
        return self.is_named and not _without_fillers(self.said)

    @property
    def is_bare_question(self) -> bool:
        return self.is_bare and self.text.rstrip()[-1:] in "?\uff1f"

    @property
    def asks_strongly(self) -> bool:
        return any(_has(kind, self.said) for kind in ("measure", "count", "side", "compare", "distance", "locate"))

    @property
    def asks(self) -> bool:
        is_question = _has("question", self.said) or self.text.rstrip()[-1:] in "?\uff1f"
        return self.asks_strongly or _has("presence_strong", self.said) or (is_question and _has("presence", self.said))

    @property
    def adds(self) -> bool:
        """Whether it belongs to a question that stands in another clause."""
        return self.is_bare or self.asks or _has("with_boxes", self.said)

    @property
    def asks_without_name(self) -> bool:
        kinds = ("report_strong", "organs", "kind_of_image", "body_part", "classify", "identify", "answer")
        return any(_has(kind, self.said) for kind in kinds)


def _without_fillers(said: str) -> str:
    """Return what is left of a text without names and the words around them."""
    return " ".join(_pattern("fillers", said).sub(" ", said).replace(MARK, " ").split())


def _from_syllables(text: str, terminology: Terminology) -> str:
    """Replace Chinese words in Latin letters, "gan zang" or "ganzang", by what they sound like."""
    known, typed = terminology.words | _cue_words(), _typed(terminology)

    def replace(match: re.Match[str]) -> str:
        words, place = match.group().split(" "), 0
        pieces: list[str] = []
        while place < len(words):
            for length in range(min(_MAX_SYLLABLES, len(words) - place), 0, -1):
                window = words[place : place + length]
                meant = typed.get(typed_sound("".join(window)))
                if (
                    meant
                    and len("".join(window)) > _SHORTEST_TYPED
                    and not any(len(word) > 3 and word in known for word in window)
                ):
                    pieces, place = [*pieces, meant], place + length
                    break
            else:
                pieces, place = [*pieces, words[place]], place + 1
        return " ".join(pieces)

    return _LATIN.sub(replace, text)


def _composed(
    names: list[BilingualName], generic: Sequence[Generic], plain: str, said: str, by_english: Mapping[str, BilingualName]
) -> list[BilingualName]:
    """Join an organ and a generic word to a label: "a lesion in the liver" is the liver lesion."""
    if not generic or _has("distance", said) or (len(names) < 2 and _CONJOINED.search(said)):
        return names
    structures = [name[0].removeprefix("left ").removeprefix("right ") for name in names if not is_finding(name[0])]
    if len(structures) < len(names):
        return names
    labels = [label for one in generic for label in site_labels(one.key, structures, plain) if label in by_english]
    return [by_english[label] for label in dict.fromkeys(labels)] or names


def _without_sites(names: list[BilingualName], said: str, masked: str) -> list[BilingualName]:
    """Leave out where a finding is, "cavities in these teeth", and the lungs of "the lower lobes of both lungs"."""
    findings = [name for name in names if is_finding(name[0])]
    if findings and len(findings) < len(names) and (_has("which_has", said) or _LINKED.search(masked)):
        return findings
    if not _SITE.search(said):
        return names
    lobes = [name for name in names if "lobe" in name[0]]
    return findings or lobes or names


def _without_negated(text: str, terminology: Terminology) -> str:
    """Remove the names that a question says it does not mean: "not the liver, show the spleen"."""
    for start, end in reversed(terminology.spans(text)):
        if _NEGATION.search(text[:start]):
            text = f"{text[:start]} {text[end:]}"
    return text


def _of_one_side(names: Sequence[BilingualName], text: str) -> tuple[BilingualName, ...]:
    """Of pairs, the side that stands beside them: "the frontal lobe on the right". A label of the other side only goes."""
    sides = {side for side, words in _SIDE_WORDS.items() if words.search(text)}
    if len(sides) != 1 or _BOTH.search(text):
        return tuple(names)
    other = _SIDES[sides.pop()]
    return tuple(name for name in names if not name[0].startswith(f"{other} "))


def _without_sides(names: Sequence[BilingualName]) -> tuple[BilingualName, ...]:
    """What is asked for, without the paired organs that a question about the side names: "is it in the left lung?"."""
    single = tuple(name for name in names if not name[0].startswith(("left ", "right ")))
    return single or tuple(names)


@lru_cache(maxsize=2)
def _hearing(terminology: Terminology) -> Hearing:
    """The Chinese names and phrases that may be misspelt. A side is never heard: "有" and "右" sound alike."""
    frames = _frames()
    misspelt = [text for kind, value in frames.items() if kind not in ("impossible", "fillers") for text in _texts(value)]
    texts = (*terminology.chinese_phrases, *_texts(frames), *generic_texts(), *common_words(), *unknown_names())
    written = [text for text in texts if _HAN.fullmatch(text) and len(text) > 1]
    exact = re.compile("|".join(sorted(map(re.escape, written), key=len, reverse=True)))
    spoken = [text for text in (*terminology.chinese_phrases, *misspelt, *generic_texts()) if _HAN.fullmatch(text)]
    return Hearing(exact, [text for text in reversed(spoken) if len(text) > 1 and not _SIDE_ZH.search(text)])


@lru_cache(maxsize=2)
def _typed(terminology: Terminology) -> dict[str, str]:
    """The Chinese names and phrases by their syllables in Latin letters."""
    texts = (*terminology.chinese_phrases, *generic_texts(), *_texts(_frames()))
    written = [text for text in reversed(texts) if _HAN.fullmatch(text) and len(text) > 1]
    return {typed: text for text in written if len(typed := "".join(sound(text))) >= _SHORTEST_TYPED}


@dataclass(frozen=True)
class _Facts:
    """`said` is the normalised question with names as marks, `whole` with its names.

    `names` are explicit, or what generic words stand for; `has_name` is true for words that stand for nothing here too.
    `is_clause` tells that the question came with a history.
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
        return _has(kind, self.said, part)

    def has_whole(self, kind: str, part: str = "") -> bool:
        return _has(kind, self.whole, part)

    @property
    def compares(self) -> bool:
        """Whether there is something to compare: two names, or one that may be compared with its other side or its like."""
        bounded = self.has("measure") and self.has("bound")
        return bool(self.names) and not (bounded and len(self.names) == 1)

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
    def is_bare_class(self) -> bool:
        """Whether it is no more than classes to choose from, or one with "is this ...": "melanoma?"."""
        classes = len({match.group() for match in _pattern("class_words", self.whole).finditer(self.whole)})
        left = self.whole
        for kind in ("class_words", "choice", "is_it"):
            left = _pattern(kind, left).sub(" ", left)
        left = " ".join(left.split())
        return not _without_fillers(left) and (classes > 1 or (classes == 1 and not self.has_name))

    @property
    def is_bare_finding(self) -> bool:
        """Whether it is no more than the name of a finding with a question mark."""
        is_asked = self.ends_in_question_mark or self.has("or_not")
        is_bare = is_asked and MARK in self.said and not _without_fillers(self.said)
        if is_bare and not self.names:
            return self.has_unknown_finding
        return is_bare and (self.is_explicit or self.is_clause) and all(is_finding(name[0]) for name in self.names)


# Logarithms: how sure the classifier must be of a kind, and by how much surer than of the kind that no image can tell, that
# the phrases tell, and that they fall back on.
_SURE, _SURER_THAN_IMPOSSIBLE, _SURER, _SURER_THAN_FALLBACK = -1.0, 3.0, 1.0, 0.3


# "Where is it?", "它多大？": such questions go on from the last one, and the classifier saw none of them.
_PRONOUN = re.compile(r"\b(?:it|they|them)\b|它")
_OF_REGIONS = (Kind.LOCATE, Kind.MEASURE, Kind.COUNT, Kind.SIDE, Kind.COMPARE, Kind.DISTANCE)


def _decide(facts: _Facts) -> tuple[Kind, str | None]:
    kind, reason, margin = _by_phrases(facts)
    if facts.has_box or not facts.whole or (kind in _OF_REGIONS and _PRONOUN.search(facts.said) and not facts.names):
        return kind, reason
    likely = kinds.log_likelihoods(facts.said, facts.whole, facts.flags)
    likeliest = Kind(max(likely, key=lambda each: likely[each]))
    is_surer = likely[likeliest] > _SURE and likely[likeliest] - likely[kind] > margin
    return (likeliest, None) if is_surer else (kind, reason)


def _by_phrases(facts: _Facts) -> tuple[Kind, str | None, float]:
    """The kind, why it is impossible, and by how much surer the classifier must be of another one."""
    if facts.has_whole("graded"):
        return Kind.CLASSIFY, None, _SURER
    if facts.whole in _frames()["help"]["whole"] or (facts.has("help", "any") and not facts.has_name):
        return Kind.HELP, None, _SURER
    for reason in _frames()["impossible"]:
        is_context = reason == "care" and facts.is_explicit and facts.has("locate")  # "the liver, for radiotherapy"
        if facts.has_whole("impossible", reason) and not is_context:
            return Kind.IMPOSSIBLE, reason, _SURER_THAN_IMPOSSIBLE
    for kind, rule in _RULES:
        if rule(facts):
            return kind, None, _SURER
    is_name = facts.has_name or facts.has("locate") or facts.has("locate_weak") or facts.is_one_word
    return Kind.LOCATE if is_name else Kind.ANSWER, None, _SURER_THAN_FALLBACK


def _chooses(facts: _Facts) -> bool:
    """Whether a question offers classes to choose from."""
    classes = len({match.group() for match in _pattern("class_words", facts.whole).finditer(facts.whole)})
    return classes >= 2 and facts.has_whole("choice")


def _asks_for_modality(facts: _Facts) -> bool:
    return not facts.has_name and facts.has("kind_of_image")


def _asks_for_state(facts: _Facts) -> bool:
    """Whether a question asks how a structure is, not whether it is there: "is the liver normal?"."""
    return facts.is_explicit and not any(is_finding(name[0]) for name in facts.names) and facts.has("state")


_Rule = Callable[[_Facts], bool]
_RULES: Sequence[tuple[Kind, _Rule]] = (
    (Kind.IDENTIFY, lambda f: f.has_box and not f.has_name),
    (Kind.ANSWER, lambda f: f.has("why")),
    (Kind.DISTANCE, lambda f: f.has("distance")),
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
    (Kind.REPORT, lambda f: f.has("report_strong") and not f.has_name),
    (Kind.REPORT, lambda f: f.has("all_well") and not f.has_name),
    (Kind.ANSWER, lambda f: f.has("answer") or _asks_for_state(f)),
    (Kind.MODALITY, _asks_for_modality),
    (Kind.ORGANS, lambda f: f.has("organs") and not f.has_name),
    (Kind.MEASURE, lambda f: f.has("measure") or f.has_whole("measures_itself")),
    (Kind.COUNT, lambda f: f.has("count")),
    (Kind.REPORT, lambda f: f.has_whole("report") and not f.is_explicit),
    (Kind.IDENTIFY, lambda f: f.has("identify") and not f.has_name),
    # That an organ is there does not tell that it is enlarged.
    (Kind.ANSWER, lambda f: f.has_whole("enlarged") and not all(is_finding(name[0]) for name in f.names)),
    (
        Kind.PRESENCE,
        lambda f: f.has_name and (f.has("presence_strong") or f.has_whole("presence_strong")) and not f.has("where"),
    ),
    (Kind.PRESENCE, lambda f: f.has_name and f.has_whole("asks_itself") and not f.has("locate")),
    (Kind.LOCATE, lambda f: f.has("locate") and (f.has_name or not f.has("presence"))),
    (Kind.PRESENCE, lambda f: f.has("presence_strong")),
    (Kind.PRESENCE, lambda f: f.has_name and (f.has("presence") or f.is_bare_finding)),
    (Kind.PRESENCE, lambda f: f.asks_for_findings),
)


def _with_other_side(
    names: Sequence[BilingualName], masked: str, by_english: Mapping[str, BilingualName], kind: Kind
) -> tuple[BilingualName, ...]:
    """Add the other side of a name that is compared alone, or where a side stands alone: "as far as the right one"."""
    if len(names) == 1 and (kind is Kind.COMPARE or _OTHER_SIDE.search(masked)):
        side, _, base = names[0][0].partition(" ")
        if other := by_english.get(f"{_SIDES.get(side, '')} {base}"):
            return (names[0], other)
    return tuple(names)


_MAX_UNKNOWN = 4  # words of a name


def unknown_word(text: str) -> str:
    """Return what is left of a question without the words that ask: probably a name that no label has."""
    plain = simplified(text)
    for kind in ("locate", "measure", "count", "side", "compare", "distance", "presence"):
        plain = _pattern(kind, plain).sub(" ", plain)
    words = without_request_words(plain).split()
    return " ".join(words)[:40] if 0 < len(words) <= _MAX_UNKNOWN else ""
