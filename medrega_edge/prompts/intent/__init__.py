"""What a question asks for: its kind and the names in it, found by the phrases of `frames.json`.

A phrase is a text of plain words; `*` stands for up to four words, in Chinese for six characters. Kinds are tried in the
order of `_RULES`, so a question that counts is about a number, whatever else it says.
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
from medrega_edge.vocabulary.terminology import BilingualName, Terminology, without_request_words
from medrega_edge.vocabulary.wording import (
    MARK,
    Generic,
    as_nouns,
    common_words,
    corrected,
    generic_texts,
    generic_words,
    heard,
    is_finding,
    simplified,
    sound,
    typed_sound,
    without_homonyms,
)


class Kind(StrEnum):
    """What can be asked."""

    LOCATE = "locate"
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
    is impossible: a key of `frames.json`.
    """

    kind: Kind
    names: tuple[BilingualName, ...] = ()
    generic: tuple[str, ...] = ()
    typos: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None


_SYLLABLES = re.compile(r"(?<![a-z0-9])[a-z]{6,}(?![a-z0-9])")
_ENUMERATED = re.compile(rf"{MARK} ?(?:and|or|&|和|与|及|跟|或者?|、)? ?{MARK}")
_SITE = re.compile(rf"{MARK} (?:in|within|inside|of) (?:the |this |these |both |my |his |her )*{MARK}")
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
_OTHER_SIDE = re.compile(r"\b(?:right|left)(?: one| side)?\b|[左右]")


@cache
def _frames() -> dict[str, Any]:
    frames: dict[str, Any] = json.loads(files(__name__).joinpath("frames.json").read_text(encoding="utf-8"))
    return frames


@cache
def _pattern(kind: str, part: str = "") -> re.Pattern[str]:
    frames = _frames()[kind]
    phrases: list[str] = frames[part] if part else frames
    return re.compile("|".join(map(_as_pattern, sorted(phrases, key=len, reverse=True))) or r"(?!)")


def _as_pattern(phrase: str) -> str:
    if not phrase.isascii():
        return ".{0,6}?".join(map(re.escape, phrase.split("*")))
    words = [r"(?:\S+ ){0,4}?" if word == "*" else re.escape(word) + " " for word in phrase.split()]
    return r"(?<![a-z0-9])" + "".join(words).rstrip() + r"(?![a-z0-9])"


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
    plain = simplified(text).replace("'", " ").replace("\u2019", " ")
    plain, typos = corrected(plain, terminology.words | _cue_words())
    plain = without_homonyms(_without_negated(plain, terminology))
    if _HAN.search(plain):
        plain = heard(plain, *_sounds(terminology))
    plain = _SYLLABLES.sub(lambda word: _typed(terminology).get(typed_sound(word.group()), word.group()), plain)
    whole = " ".join(_NO_WORD.sub(" ", plain).split())
    plain = terminology.without_unknown(plain)
    text_of_names, wholes = generic_words(plain, modality, terminology.spans)
    names = terminology.find(text_of_names)
    masked = terminology.mask(text_of_names)
    nouns = as_nouns(masked)
    names += [name for name in terminology.find(nouns) if name not in names]
    masked, generic = generic_words(terminology.mask(nouns), modality)
    generic = [*wholes, *generic]
    by_english = {label[0]: label for label in terminology.labels}
    names = _composed(names, generic, by_english)
    if {english for english, _ in names} == {"heart"} and _pattern("enlarged").search(plain):
        names = [by_english["cardiomegaly"]] if "cardiomegaly" in by_english else names
    said = " ".join(_NO_WORD.sub(" ", masked).split())
    meant = [by_english[label] for one in generic for label in one.labels if label in by_english]
    named = bool(names or generic)
    if names and meant and _ENUMERATED.search(said) and not any(is_finding(name[0]) for name in names):
        names = [*names, *(label for label in meant if label not in names)]
    names = _without_sites(names, said)
    facts = _Facts(
        said, whole, tuple(names or dict.fromkeys(meant)), bool(names), named, has_box, text.strip()[-1:] in "?\uff1f"
    )
    kind, reason = _decide(facts)
    chosen = facts.names
    if kind in (Kind.COMPARE, Kind.DISTANCE):
        chosen = _with_other_side(tuple(dict.fromkeys((*names, *meant))), masked, by_english, kind)
    elif kind is Kind.SIDE:
        chosen = _without_sides(chosen)
    elif names:
        chosen = _of_one_side(chosen, plain)
    return Intent(kind, tuple(chosen), tuple(one.word for one in generic), typos, reason)


def _composed(
    names: list[BilingualName], generic: Sequence[Generic], by_english: Mapping[str, BilingualName]
) -> list[BilingualName]:
    """Join an organ and a generic word to a label: "a lesion in the liver" is the liver lesion."""
    organs = {name[0].removeprefix("left ").removeprefix("right ") for name in names}
    if len(organs) == 1:
        organ = organs.pop()
        for one in generic:
            if label := by_english.get(f"{organ} {one.key}"):
                return [label]
    return names


def _without_sites(names: list[BilingualName], said: str) -> list[BilingualName]:
    """Leave out where a finding is, "cavities in these teeth", and the lungs of "the lower lobes of both lungs"."""
    if not _SITE.search(said):
        return names
    findings = [name for name in names if is_finding(name[0])]
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
def _sounds(terminology: Terminology) -> tuple[re.Pattern[str], dict[tuple[str, ...], str]]:
    """A pattern of the Chinese names and phrases, and those that may be misspelt by their sound.

    A side is never heard: "有" and "右" sound alike.
    """
    frames = [text for kind, value in _frames().items() if kind != "impossible" for text in _texts(value)]
    texts = (*terminology.chinese_phrases, *_texts(_frames()), *generic_texts(), *common_words())
    written = [text for text in texts if _HAN.fullmatch(text)]
    exact = re.compile("|".join(sorted(map(re.escape, (text for text in written if len(text) > 1)), key=len, reverse=True)))
    spoken = [
        text for text in (*terminology.chinese_phrases, *frames, *generic_texts()) if _HAN.fullmatch(text) and len(text) > 1
    ]
    return exact, {sound(text): text for text in reversed(spoken) if not _SIDE_ZH.search(text)}


@lru_cache(maxsize=2)
def _typed(terminology: Terminology) -> dict[str, str]:
    """The Chinese names by their syllables in Latin letters."""
    return {"".join(sound(text)): text for text in reversed(terminology.chinese_phrases) if len(text) > 1}


@dataclass(frozen=True)
class _Facts:
    """`said` is the normalised question with names as marks, `whole` with its names.

    `names` are explicit, or what generic words stand for; `has_name` is true for words that stand for nothing here too.
    """

    said: str
    whole: str
    names: tuple[BilingualName, ...]
    is_explicit: bool
    has_name: bool
    has_box: bool
    ends_in_question_mark: bool

    def has(self, kind: str, part: str = "") -> bool:
        return bool(_pattern(kind, part).search(self.said))

    def has_whole(self, kind: str, part: str = "") -> bool:
        return bool(_pattern(kind, part).search(self.whole))

    @property
    def is_one_word(self) -> bool:
        """Whether it is one word, which can only be a name."""
        return bool(re.fullmatch(r"[a-z][a-z-]{3,}|[\u3400-\u9fff]{2,4}", self.whole))

    @property
    def is_bare_finding(self) -> bool:
        """Whether it is no more than the name of a finding with a question mark."""
        bare = not re.sub(rf"[{MARK} ]|\b(?:or|and)\b|或者?|还是|和", "", self.said)
        return bare and self.is_explicit and self.ends_in_question_mark and all(is_finding(name[0]) for name in self.names)


def _decide(facts: _Facts) -> tuple[Kind, str | None]:
    if facts.whole in _frames()["help"]["whole"] or (facts.has("help", "any") and not facts.has_name):
        return Kind.HELP, None
    for reason in _frames()["impossible"]:
        if facts.has_whole("impossible", reason):
            return Kind.IMPOSSIBLE, reason
    for kind, rule in _RULES:
        if rule(facts):
            return kind, None
    return Kind.ANSWER, None


def _chooses(facts: _Facts) -> bool:
    """Whether a question offers classes to choose from."""
    classes = len({match.group() for match in _pattern("class_words").finditer(facts.whole)})
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
    (Kind.BODY_PART, lambda f: f.has("body_part") and not f.names),
    (Kind.CLASSIFY, lambda f: f.has("classify") or _chooses(f)),
    (Kind.SIDE, lambda f: f.has_whole("side") and not f.has("compare")),
    (Kind.COMPARE, lambda f: f.has("compare") and bool(f.names)),
    (Kind.GROUNDED_REPORT, lambda f: f.has("report") and f.has("with_boxes") and not f.is_explicit),
    (Kind.REPORT, lambda f: f.has("report_strong") and not f.has_name),
    (Kind.ANSWER, lambda f: f.has("answer") or _asks_for_state(f)),
    (Kind.MODALITY, _asks_for_modality),
    (Kind.ORGANS, lambda f: f.has("organs") and not f.has_name),
    (Kind.MEASURE, lambda f: f.has("measure")),
    (Kind.COUNT, lambda f: f.has("count")),
    (Kind.REPORT, lambda f: f.has_whole("report") and not f.is_explicit),
    (Kind.IDENTIFY, lambda f: f.has("identify") and not f.has_name),
    # That an organ is there does not tell that it is enlarged.
    (Kind.ANSWER, lambda f: f.has_whole("enlarged") and not all(is_finding(name[0]) for name in f.names)),
    (Kind.PRESENCE, lambda f: f.has_name and f.has("presence_strong") and not f.has("where")),
    (Kind.LOCATE, lambda f: f.has("locate") and (f.has_name or not f.has("presence"))),
    (Kind.PRESENCE, lambda f: f.has("presence_strong")),
    (Kind.PRESENCE, lambda f: f.has_name and (f.has("presence") or f.is_bare_finding)),
    (Kind.LOCATE, lambda f: f.has_name),
    (Kind.LOCATE, lambda f: f.has("locate") or f.has("locate_weak") or f.is_one_word),
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
        plain = _pattern(kind).sub(" ", plain)
    words = without_request_words(plain).split()
    return " ".join(words)[:40] if 0 < len(words) <= _MAX_UNKNOWN else ""
