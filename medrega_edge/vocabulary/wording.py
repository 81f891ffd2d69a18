"""A question as people type it -> the wording of the tables: one script, one spelling, singular names, few typos.

Generic words ("tumour", "lesion", "病灶") stand for the labels that a modality can show.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from medrega_edge.vocabulary.answers import asks_yes_or_no
from medrega_edge.vocabulary.phrase_index import PhraseIndex, index_of_names

_WORD = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
MARK = "\0"  # in the place of a name
UNKNOWN = "\1"  # in the place of a name that no label has
_MANY_PARTS = 6  # structures of a site from which on each is a part of an organ
_SHORTEST_TYPO, _SHORT, _LONG = 4, 5, 8  # letters
_HAN = re.compile(r"[\u3400-\u9fff]+")


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files("medrega_edge.vocabulary").joinpath("wording.json").read_text(encoding="utf-8"))
    pairs = table["traditional"]
    table["traditional"] = {ord(old): new for old, new in zip(pairs[::2], pairs[1::2], strict=True)}
    return table


def simplified(text: str) -> str:
    """Return a text in full-width-free lower case and simplified characters, as far as the terms need them."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_table()["traditional"])


def in_simplified_script(text: str) -> str:
    """Return a text in simplified characters, as far as the terms need them; its case and its width stay."""
    return text.translate(_table()["traditional"])


_LIST_SIGN = re.compile(r"(?:^|(?<=[\s\u3400-\u9fff,;:?.]))([a-h1-9])[.、)](?= ?[a-z\u3400-\u9fff])")


def without_list_signs(text: str) -> str:
    """Return a plain text with commas in the place of the signs of a list: "a. effusion b. nodule", "1)肝 2)脾"."""
    signs = _LIST_SIGN.findall(text)
    return _LIST_SIGN.sub(", ", text).lstrip(", ") if len(signs) > 1 and signs[0] in "a1" else text


def corrected(text: str, known: frozenset[str], right: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """Replace spellings, irregular plurals and typos of English words by `known` words; those that are `right` stay.

    Returns the text and the typos, with what replaced them.
    """
    table = _table()
    typos: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        if slip := table["slips"].get(match.group()):
            typos[match.group()] = slip
            return str(slip)
        word: str = table["spellings"].get(match.group(), match.group())
        word = word if word in known else table["plurals"].get(word, word)
        if word in known or word != match.group() or word in right or word in table["no_typos"]:
            return word
        candidates = _by_first_letter(known).get(word[0], ())
        near = sorted((distance, one) for one in candidates if (distance := _slips(word, one)) is not None)
        nearest = [one for distance, one in near if distance == near[0][0]]
        stems = {str(table["plurals"].get(one) or table["spellings"].get(one) or one) for one in nearest}
        meant = sorted(stems, key=lambda stem: (len(stem), stem))  # a set has another order in each process
        if not meant or (len(word) < _LONG and not all(one.startswith(meant[0]) for one in meant)):
            return word  # it may be either of two
        typos[word] = meant[-1] if len(word) > len(meant[0]) else meant[0]
        return typos[word]

    return _WORD.sub(replace, text), typos


@lru_cache(maxsize=4)
def _by_first_letter(known: frozenset[str]) -> dict[str, list[str]]:
    """The words that a typed one may stand for: the first letter is seldom wrong."""
    words: dict[str, list[str]] = {}
    for one in (*known, *_table()["plurals"], *_table()["spellings"]):
        words.setdefault(one[0], []).append(one)
    return words


@cache
def _edit_distance() -> Callable[..., int]:
    from rapidfuzz.distance import OSA  # 10 ms, and only for a word that is unknown

    return OSA.distance


def _slips(word: str, other: str) -> int | None:
    """Number of slips between a typed word and a known one of that first letter; None: too many for one word's typo."""
    length = len(word)
    if length < _SHORTEST_TYPO or abs(length - len(other)) > 1 + (length >= _LONG):
        return None
    distance = _edit_distance()(word, other, score_cutoff=2)
    if distance > (2 if length >= _LONG else 1):
        return None
    # In a short word another letter is another word; a missing, doubled or swapped one is a typo.
    is_letter_changed = len(other) == length and sorted(word) != sorted(other)
    return None if length <= _SHORT and is_letter_changed else distance


@cache
def _syllables() -> dict[str, str]:
    """Character -> syllable without tone, and without what many speakers do not tell apart."""
    table = json.loads(files("medrega_edge.vocabulary").joinpath("pinyin.json").read_text(encoding="utf-8"))
    return {
        character: syllable.replace("zh", "z").replace("ch", "c").replace("sh", "s").removesuffix("g")
        for syllable, characters in table.items()
        for character in characters
    }


def sound(text: str) -> tuple[str, ...]:
    """Return how Chinese characters sound; a character that the table lacks stands for itself."""
    return tuple(_syllables().get(character, character) for character in text)


@cache
def _lookalikes() -> dict[str, set[str]]:
    alike: dict[str, set[str]] = {}
    for group in _table()["lookalikes"].split():
        for character in group:
            alike.setdefault(character, set()).update(group)
    return alike


_COUNTED_ZH = {"哪个", "这个", "那个", "每个", "几个", "一个", "某个"}


def _is_counter(run: str, place: int) -> bool:
    """Whether a counter stands there behind its word: "在哪个部位" has no 各."""
    return place > 0 and run[place - 1 : place + 1] in _COUNTED_ZH


class Hearing:
    """Chinese phrases, to be found behind slips of an input method: what sounds like one, or looks like one."""

    def __init__(self, written: Collection[str], phrases: Sequence[str]) -> None:
        """Take the phrases, of two characters or more, the most important last; what is `written` right stays."""
        self._written = frozenset(written)
        self._longest_written = max(map(len, written), default=0)
        self._by_sound = {sound(phrase): phrase for phrase in phrases}
        self._ranks = {phrase: rank for rank, phrase in enumerate(phrases)}
        self._longest = max(map(len, phrases), default=0)

    def corrected(self, text: str) -> str:
        """Replace slips by the phrases, the longest first."""
        return _HAN.sub(lambda match: self._run(match.group()), text)

    def _run(self, run: str) -> str:
        place, pieces = 0, ""
        while place < len(run):
            if end := self._end_of_written(run, place):
                pieces, place = pieces + run[place:end], end
                continue
            for length in range(min(self._longest, len(run) - place), 1, -1):
                phrase = self._meant(run[place : place + length])
                if phrase and not (self._cuts_a_word(run, place, place + length) or _is_counter(run, place)):
                    pieces, place = pieces + phrase, place + length
                    break
            else:
                pieces, place = pieces + run[place], place + 1
        return pieces

    def _cuts_a_word(self, run: str, start: int, end: int) -> bool:
        """Whether a phrase that is well written begins inside and ends behind."""
        return any(self._end_of_written(run, at) > end for at in range(start + 1, end))

    def _end_of_written(self, run: str, place: int) -> int:
        """Where the longest phrase ends that is well written at a place; 0 if there is none."""
        longest = min(place + self._longest_written, len(run))
        return next((end for end in range(longest, place + 1, -1) if run[place:end] in self._written), 0)

    def _meant(self, typed: str) -> str | None:
        phrase = self._by_sound.get(sound(typed))
        if phrase and _is_slip(typed, phrase):
            return phrase
        for place, character in enumerate(typed):
            before, after = typed[:place], typed[place + 1 :]
            if any(f"{before}{alike}{after}" in self._ranks for alike in _lookalikes().get(character, ())):
                # Of all phrases that differ there only, one that is more important is meant, or none.
                fitting = [
                    p for p in self._ranks if len(p) == len(typed) and p[:place] == before and p[place + 1 :] == after
                ]
                meant = max(fitting, key=self._ranks.__getitem__)
                if meant[place] in _lookalikes()[character]:
                    return meant
        return None


def _is_slip(typed: str, meant: str) -> bool:
    """Whether half of the characters are right, or only their order is wrong: else the sound is chance."""
    same = sum(one == other for one, other in zip(typed, meant, strict=True))
    return 2 * same >= len(meant) or sorted(typed) == sorted(meant)


def common_words() -> list[str]:
    """Chinese words of every day, which are no slips of names that sound like them."""
    words: list[str] = _table()["common_zh"]
    return words


def typed_sound(text: str) -> str:
    """Return syllables in Latin letters as `sound` writes them, joined."""
    for long, short in (("zh", "z"), ("ch", "c"), ("sh", "s")):
        text = text.replace(long, short)
    return re.sub(r"(?<=[aeio])ng", "n", text)


def as_nouns(text: str) -> str:
    """Replace adjectives of organs by the organs: "renal" by "kidney"."""
    adjectives: dict[str, str] = _table()["adjectives"]
    return _WORD.sub(lambda match: adjectives.get(match.group(), match.group()), text)


def without_homonyms(text: str, modality: str | None = None) -> str:
    """Remove Chinese words that hold the name of another organ, as "fundus" holds "eye"; write out what context decides.

    The kind of image is context, too: "the head" of an ultrasound image is that of the fetus.
    """
    for pattern, full in _homonym_patterns(modality or ""):
        text = pattern.sub(full, text)
    return text


@cache
def _homonym_patterns(modality: str) -> list[tuple[re.Pattern[str], str]]:
    """Patterns, and what takes the place of what they match, in the order in which they are tried."""
    of_kind = _table()["in_modality"].get(modality, {})
    replaced = (*of_kind.items(), *_table()["in_context"].items(), *((word, " ") for word in _table()["not_names"]))
    return [(re.compile(short), full) for short, full in replaced]


_IS_NORMAL = re.compile(r"(?:normal|正常) ?[?？]\s*$|(?:正常|没事|没问题)的?吧\W*$")
_HOW_IS_EN = re.compile(
    r"\bhow(?:'s| is| are) [a-z ]+ (?:doing|looking|holding up)\W*$|\bhow (?:do|does) [a-z ]+ look\W*$", re.IGNORECASE
)
_HOW_IS_ZH = re.compile(  # of the structure itself: neither of its size, say, nor behind a request ("标出肝脏好吗")
    r"^(?!.*(?:[标圈框画指量数找]|定位|分割|勾|告诉|在哪|多[大少长宽高厚深]|还是))"
    r"(?!.*(?:大小|位置|形态|形状|边缘|边界|轮廓|密度|信号|回声|颜色|充盈|质量|控制|功能|结构|表面|厚度|个数|数量|分化|像))"
    r".*(?:怎么样|怎样|咋样|如何|好不好|好着吗|好吗|行不行|还行吗|正不正常|要紧吗|要不要紧)"
    r"[了啊呀呢哦]?\W*$"
)


def asks_how_it_is(text: str) -> bool:
    """Whether a question asks how what it names is, "how is my liver doing", "肾好不好", and nothing else of it."""
    return (_HOW_IS_EN.search(text) or _HOW_IS_ZH.search(simplified(text))) is not None


def asks_if_normal(text: str) -> bool:
    """Whether a question asks if something is normal, by yes or no or by a choice of both."""
    words, plain = _table()["normal_words"], f" {simplified(text)} ".replace("啥", "什么")
    is_said = any(re.search(rf"(?<![a-z]){word}(?![a-z])", plain) for word in words["en"]) or any(
        word in plain for word in words["zh"]
    )
    is_whether = re.search(r"\b(?:whether|if) (?:it|they|that|this|the|his|her|my|both)\b|是否|是不是", plain) is not None
    is_short = _IS_NORMAL.search(plain) is not None and re.search(r"\bor\b|还是", plain) is None
    return is_said and (
        asks_yes_or_no(text) or is_whether or is_short or any(choice in plain for choice in words["choices"])
    )


def disease_word(text: str) -> str | None:
    """Return the words that say how a structure is, "cirrhotic", "in the right place": its box does not tell it. Or None."""
    words, plain = _table()["disease_words"], simplified(text)
    if phrase := next((found for each in words["phrases"] if (found := re.search(rf"\b(?:{each})\b", plain))), None):
        return phrase.group()
    english = (word for word in re.findall(r"[a-z]+", plain) if word in words["en"])
    return next(english, next((word.rstrip("的性") for word in words["zh"] if word in plain), None))


def superlative(text: str) -> bool | None:
    """Whether a text asks for the largest of several, rather than the smallest; None where it asks for neither."""
    plain = simplified(text)
    if re.search(r"\b(?:biggest|largest|longest)\b|最[大长]的?(?!.{0,3}(?:直径|径|长度))", plain):
        return True
    return False if re.search(r"\b(?:smallest|tiniest)\b|最小的?(?!.{0,3}径)", plain) else None


def homonym(label: str, modality: str | None) -> list[str]:
    """Return the English labels that a label means in a kind of image that has no such thing: a gland, in mammography."""
    labels: list[str] = _table()["homonyms"].get(label, {}).get(modality or "", [])
    return labels


def kind_left_out(text: str, labels: Collection[str]) -> tuple[str, str] | None:
    """Return what a text says of a finding beyond its label, and that English label; None where it says no more.

    That is the name of one kind of such findings, "glioblastoma" of a glioma, or a word for one, "flat" of a polyp.
    """
    if kind := narrower_kind(text, labels):
        return kind
    findings = [label for label in labels if is_finding(label)]
    qualifier = next((word for word in qualifiers(text) if not any(word in label for label in findings)), None)
    return (qualifier, findings[0]) if findings and qualifier else None


def narrower_kind(text: str, labels: Collection[str]) -> tuple[str, str] | None:
    """Return the name of one kind of what a label holds, "glioblastoma", and that English label; None without one."""
    plain = simplified(text).replace("naev", "nev")
    words_of_text = f" {' '.join(re.findall(r'[a-z0-9]+', plain))} "
    for label in labels:
        for word in _table()["narrower"].get(label, ()):
            if f" {word} " in words_of_text if word.isascii() else word in plain:
                return word, label
    return None


def places_in(plain: str) -> list[re.Match[str]]:
    """Find what a plain text says of places within a structure or a picture, "upper pole", "2 o'clock", "第三节".

    A group of a match, where it has one, is the word that tells it.
    """
    return list(_places().finditer(plain))


@cache
def _places() -> re.Pattern[str]:
    return re.compile("|".join(_table()["places"]))


def qualifiers(text: str) -> list[str]:
    """Return the words of a text for one kind of any finding: "displaced", "陈旧"."""
    plain, words = simplified(text), _table()["qualifiers"]
    said = f" {' '.join(re.findall(r'[a-z0-9]+', plain))} "
    return [word for word in words["en"] if f" {word} " in said] + [word for word in words["zh"] if word in plain]


def names_cancer(text: str) -> bool:
    """Whether a text speaks of cancer, which a box of a lesion is no proof of."""
    plain = re.sub("[动血]脉?管?瘤", " ", simplified(text))  # an aneurysm is none
    return any(word in plain for word in _table()["cancer_words"])


def is_finding(label: str) -> bool:
    """Whether an English label is something that should not be there: a lesion, not a structure."""
    return any(word in label.casefold() for word in _table()["finding_words"])


def wider_label(label: str, modality: str | None = None) -> str | None:
    """Return the English label that a structure has together with others, in a kind of image; None for most."""
    wider: dict[str, str] = _table()["wider"]
    in_kind: dict[str, str] = _table()["wider_in"].get(modality or "", {})
    return wider.get(label) or in_kind.get(label)


def is_of_midline(label: str) -> bool:
    """Whether an English label is a structure of the middle of the body, which a view from the side shows on no side."""
    return any(f" {word}" in f" {label.casefold()}" for word in _table()["midline_words"])


def is_of_many(label: str) -> bool:
    """Whether images that show a label, by its English name, had three boxes of it or more in the training data's mean."""
    return label in _table()["of_many"]


# An outline has an area, a box has none.
AREA = re.compile(r"\barea\b|\bsquare\b|\b[cm]m ?(?:\^ ?)?[2²]|面积|平方", re.IGNORECASE)


def is_single(label: str) -> bool:
    """Whether a body has one of a label, by its English name, at most: one left lung, one L4, but several left ribs."""
    return (
        bool(re.match(r"[CTLS]\d+ ", label))
        or label.startswith(("left ", "right "))
        and label.split()[-1] != "ribs"
        and not is_finding(label)
    )


def is_device(label: str) -> bool:
    """Whether an English label is a tube or a line, which most images do not show."""
    return any(word in label.casefold() for word in _table()["device_words"])


@dataclass(frozen=True)
class Generic:
    """A generic word in a text, its key in the table, and the English labels that it stands for in a modality."""

    word: str
    key: str
    labels: tuple[str, ...]


def generic_words(
    text: str, modality: str | None, spans: Callable[[str], Sequence[tuple[int, int]]] | None = None
) -> tuple[str, list[Generic]]:
    """Replace generic words in a normalised text by a mark, longest first.

    Without a modality, or for one that shows none of the labels, a word stands for no label. With `spans`, which gives the
    places of names, only words for the parts of an object are replaced, which may hold a name, "lumbar vertebrae", but none
    inside a name.
    """
    found: list[Generic] = []
    for word, key, labels in _generic_entries_in(text):
        if word not in text or (spans and not ("any" in labels or " " in word)):  # a longer one may have held it
            continue
        pattern = _generic_pattern(word)
        match = pattern.search(text)
        if match is None or not _may_stand_alone(text[: match.start()], word):
            continue
        if spans and any(start <= match.start() and match.end() <= end for start, end in spans(text)):
            continue
        text = pattern.sub(MARK, text)
        found.append(Generic(word, key, tuple(labels.get("any") or labels.get(modality or "", ()))))
    return text, found


@cache
def _generic_entries() -> list[tuple[str, str, Mapping[str, Sequence[str]]]]:
    """Word, key and labels by modality, the longest word first."""
    generic = _table()["generic"].items()
    entries = [(word, key, entry["labels"]) for key, entry in generic for word in entry["words"]]
    return sorted(entries, key=lambda entry: -len(entry[0]))


@lru_cache(maxsize=64)  # each step of a question asks about the same words
def _generic_entries_in(text: str) -> list[tuple[str, str, Mapping[str, Sequence[str]]]]:
    return [entry for entry in _generic_entries() if entry[0] in text]


@cache
def _generic_pattern(word: str) -> re.Pattern[str]:
    end = _table()["not_before"].get(word, "")  # a section, "断面", is no break
    return re.compile(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" if word.isascii() else re.escape(word) + end)


def is_finding_word(key: str) -> bool:
    """Whether a generic word, by its key, stands for findings only: "stone", not "ventricles"."""
    return all(is_finding(label) for labels in _table()["generic"][key]["labels"].values() for label in labels)


def generic_labels(word: str) -> frozenset[str]:
    """Return the English labels that a generic word may stand for, in any kind of image."""
    entries = [entry for entry in _table()["generic"].values() if word in entry["words"]]
    tables = [labels for entry in entries for labels in (entry["labels"], entry.get("also", {}))]
    return frozenset(label for labels in tables for each in labels.values() for label in each)


def generic_key(word: str) -> str:
    """Return the key of a generic word, the first of its entry; the word itself where it has none."""
    return next((key for key, entry in _table()["generic"].items() if word in entry["words"]), word)


def generic_texts() -> list[str]:
    """All generic words."""
    return [word for entry in _table()["generic"].values() for word in entry["words"]]


def unknown_names() -> list[str]:
    """All names of the field that no label may have."""
    names: list[str] = _table()["unknown"]
    return names


@cache
def ordinary_words() -> frozenset[str]:
    """English words of every day."""
    return frozenset(_table()["no_typos"])


def site_words() -> list[str]:
    """All words for where a finding is."""
    return [word for site in _table()["sites"].values() for word in site["words"]]


def _may_stand_alone(before: str, word: str) -> bool:
    """Whether a generic word is none that is part of another one: only a single Chinese character needs a look."""
    before = before.rstrip()
    if len(word) > 1 or not before or not _HAN.match(before[-1]):
        return not before.endswith("-")
    return before[-1] in _table()["before_generic_zh"]


def _unknown_pattern(text: str) -> re.Pattern[str]:
    """A pattern of what a text holds of names that no label has, and of generic words with a site that no label has."""
    names = _unknown_index().within(text)
    generic = [word for word in _longest_generic_first() if word in text]
    sites = [site for site in _table()["unknown_sites"] if site in text]
    english, chinese = ([word for word in generic if word.isascii() is ascii] for ascii in (True, False))
    sites_en, sites_zh = ([site for site in sites if site.isascii() is ascii] for ascii in (True, False))
    patterns = [
        rf"(?<![a-z0-9])(?:{_any(sites_en)}) (?:{_any(english)})(?![a-z0-9])",
        rf"(?:{_any(sites_zh)})(?:里的|内的|上的|的)?(?:{_any(chinese)})",
        rf"(?<![a-z0-9])(?:{_any([name for name in names if name.isascii()])})(?:e?s)?(?![a-z0-9])",
        _any([name for name in names if not name.isascii()]),
    ]
    return re.compile("|".join(patterns))


@cache
def _longest_generic_first() -> list[str]:
    return sorted(generic_texts(), key=len, reverse=True)


@cache
def _unknown_index() -> PhraseIndex:
    """The names of the field that no label may have, the longest first."""
    return index_of_names(unknown_names())


def _any(texts: Sequence[str]) -> str:
    return "|".join(map(re.escape, texts)) or "(?!)"


def without_unknown_names(text: str, spans: Callable[[str], Sequence[tuple[int, int]]]) -> tuple[str, list[str]]:
    """Replace names of the field that no label has by a mark, but for those inside a name: `spans` gives their places.

    Returns the text and what was replaced.
    """
    known = spans(text)
    replaced: list[str] = []

    def replace(match: re.Match[str]) -> str:
        start, end = match.span()
        if any(one <= start and end <= other for one, other in known):
            return match.group()
        replaced.append(match.group())
        return UNKNOWN

    return _unknown_pattern(text).sub(replace, text), replaced


def may_be_finding(name: str) -> bool:
    """Whether a name that no label has sounds like a finding, not a structure."""
    return _finding_stems().search(name) is not None


@cache
def _finding_stems() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{stem})" for stem in _table()["unknown_findings"]))


def site_labels(key: str, structures: Collection[str], text: str) -> list[str]:
    """Return the labels of a generic word's key at a site: one that `structures` belong to, or whose word is in the text.

    Of several sites the one with the longest word counts: "骨头" holds "头".
    """
    is_in, found = _word_in(text.replace("肾上腺", " ").replace("adrenal", " ")), []
    for site in _table()["sites"].values():
        words = [word for word in site["words"] if is_in(word)]
        is_structure = any(one in site["structures"] for one in structures)
        labels = next((labels for keys, labels in site["labels"].items() if key in keys.split()), None)
        if labels and (words or is_structure):
            found.append((is_structure, max(map(len, words), default=0), labels))
    return list(max(found, key=lambda site: site[:2])[2]) if found else []


def is_part(label: str) -> bool:
    """Whether an English label is one of many parts whose findings have the labels of the whole: the thalamus, a rib."""
    stem = label.removeprefix("left ").removeprefix("right ")
    return any(stem in site["structures"] and len(site["structures"]) >= _MANY_PARTS for site in _table()["sites"].values())


def findings_at(structures: Collection[str]) -> set[str]:
    """Return the English labels of findings of structures, which are English labels too."""
    stems = {one.removeprefix("left ").removeprefix("right ") for one in structures}
    sites = [site for site in _table()["sites"].values() if stems & set(site["structures"])]
    return {label for site in sites for labels in site["labels"].values() for label in labels}


def _word_in(text: str) -> Callable[[str], bool]:
    words = f" {' '.join(re.findall(r'[a-z0-9]+', text))}"
    return lambda word: f" {word}" in words if word.isascii() else word in text


def nearest(word: str, names: Collection[str], count: int = 3) -> list[str]:
    """Return the names that resemble an unknown one most, the nearest first."""
    from rapidfuzz import fuzz, process

    found = process.extract(word, names, scorer=fuzz.WRatio, limit=count, score_cutoff=75.0)
    return [str(name) for name, _, _ in found]
