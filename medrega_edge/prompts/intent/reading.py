"""A question in plain words, its names, and what its generic words stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medrega_edge.domain import Modality
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
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.prompts.intent.spelling import plain_text, without_slips
from medrega_edge.vocabulary.body_parts import of_named_part
from medrega_edge.vocabulary.generic_words import MARK, Generic, is_finding_word, may_be_finding
from medrega_edge.vocabulary.label_kinds import homonym, is_finding
from medrega_edge.vocabulary.sites import findings_at
from medrega_edge.vocabulary.terminology import BilingualName, Terminology
from medrega_edge.vocabulary.wording import without_homonyms

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
_LISTED = re.compile(  # more than a comma behind the only one: "hepatic metastases, how many"
    rf"{MARK} ?[,\uff0c\u3001;/?\uff1f] *(?:(?:and|or|any|the|an?|is there|are there|有没有|有无|有) ?)*{MARK}"
    rf"|{CONJOINED.pattern}"
)
_FINDING_LAST = re.compile(rf"{CONJOINED.pattern}(?! ?{MARK})[^{MARK}]*$")
_ASKED_FIRST = re.compile(rf"\? ?{MARK}")


def _not_shown(generic: Sequence[Generic]) -> tuple[str, ...]:
    """Return the words for findings that stand for nothing in a kind of image."""
    return tuple(one.word for one in generic if not one.labels and is_finding_word(one.key))


@dataclass(frozen=True)
class Reading:
    """The clause of a text that asks, in plain words: its names, and what its generic words stand for.

    `whole` is the text in plain words; it says more than `plain` where other clauses tell a history.
    """

    whole: str
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
        whole: str,
        plain: str,
        typos: Mapping[str, str],
        terminology: Terminology,
        modality: Modality | None,
        has_box: bool,
    ) -> Reading:
        """Find the names of a clause, and what they mean in a kind of image."""
        found = named(plain, terminology, modality)
        masked, names, generic = found.masked, found.names, without_wholes(found.generic, found.names)
        by_english = {label[0]: label for label in terminology.labels}
        said = words_of(masked)
        structures, names = names, composed(names, generic, plain, said, by_english, modality)
        is_site = structures != names  # of a finding: the label of both is meant
        is_listed = bool(CONJOINED.search(said) or _COMMA_BETWEEN.search(masked)) and _FINDING_LAST.search(said) is not None
        if is_site and is_listed and not (SITE.search(said) or has("presence_strong", said)):
            names, is_site = [*structures, *names], False  # "both kidneys and the tumor"
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
            words_of(plain),
            tuple(names or dict.fromkeys(meant)),
            bool(names),
            bool(names or generic or found.unknown),
            has_box,
            any(end in "?\uff1f" for end in (plain.strip()[:1], plain.strip()[-1:])),  # "?fracture" asks, too
            plain != whole,
            found.has_unknown_finding,
            bool(_PLACE.search(plain)),
            bool(_ASKED_FIRST.search(masked)),
        )
        unknown = (*found.unknown, *nowhere)
        return cls(whole, plain, masked, typos, facts, names, meant, generic, unknown, by_english, tuple(alike))

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


def in_plain_words(text: str, terminology: Terminology, modality: Modality | None) -> tuple[str, dict[str, str]]:
    """Return a text in the wording of the terms, without names that only tell which one is meant, and its typos."""
    plain, typos = plain_text(text, terminology)
    plain = terminology.with_shared_words(without_slips(without_homonyms(plain, modality), terminology))
    plain = plain if has("distance", plain) else terminology.with_ranges(plain)
    return without_context(plain, terminology), typos


def read(text: str, terminology: Terminology, modality: Modality | None, has_box: bool) -> Reading:
    """Read the clause of a text that asks."""
    whole, typos = in_plain_words(text, terminology, modality)
    return Reading.of(whole, asking_clause(whole, terminology, modality), typos, terminology, modality, has_box)
