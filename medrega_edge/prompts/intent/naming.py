"""The names in a question: which labels its words stand for, and which of them it is about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent.kinds import Kind
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.vocabulary.generic_words import (
    MARK,
    UNKNOWN,
    Generic,
    generic_words,
    is_finding_word,
    may_be_finding,
    without_unknown_names,
)
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.sites import site_labels
from medrega_edge.vocabulary.terminology import BilingualName, Terminology
from medrega_edge.vocabulary.wording import as_nouns, without_homonyms

_CONJUNCTION = r"(?:as well as|and also|and|or|plus|&|以及|还有|和|与|及|跟|或者?)"
_BEFORE_NAME = r"(?:(?:the|a|an|any|all|both|every|each|his|her|my|this|that|有没有|所有|那个) ?)*"
ENUMERATED = re.compile(rf"{MARK} ?{_CONJUNCTION}? ?{_BEFORE_NAME}{MARK}")
CONJOINED = re.compile(rf"{MARK} ?{_CONJUNCTION} ?{_BEFORE_NAME}{MARK}")
SITE = re.compile(
    rf"{MARK} (?:in|within|inside|of|on) (?:the |this |these |both |my |his |her )*{MARK}"
    rf"|{MARK}(?:[里内上中的处部面区有]|是否|有没有|有无|没有|存在|可见|能?看到|发现|长了?|得了?|患了?)+{MARK}"
)
_WITH = re.compile(
    rf"{MARK} (?:with|having|have|has|that (?:have|has)|show(?:ing)?) (?:an? |any |the )?{MARK}|{MARK}有{MARK}"
)
_COMPOUND = re.compile(rf"{MARK} {MARK}|{MARK}{MARK}")  # "rib fracture", "肋骨断了"
_UNKNOWN_SITE = re.compile(
    rf"{MARK} (?:in|within|inside|of|on) (?:the |this |these |both |my |his |her )*{UNKNOWN}"
    rf"|{UNKNOWN}[里内上中的面有没长是否存在了个]*{MARK}"
)
_LINKED = re.compile(
    rf"{MARK}(?!\s*{MARK})"
    rf"(?:(?!\b(?:and|or|also|plus|with|as|then|but|vs|to|from)\b)[^{MARK},;.、，。和与及跟还或离到])*{MARK}"
)
_NO_WORD = re.compile(rf"[^\w{MARK}]+")
_NEGATION = re.compile(
    r"(?:\b(?:(?:but )?(?:not|don ?['’]?t)(?: (?:show|mark|locate|segment|box|highlight|draw|include))?|ignor(?:e|ing)"
    r"|exclud(?:e|ing)|except(?: for)?|without|minus|leav(?:e|ing) out|skip|apart from|other than|besides"
    r"|rather than|instead of"
    r"|(?<=all )but|(?<=thing )but|(?<=organs )but|(?<=others )but)"
    r"(?: the| a| any| all)?"
    r"|\b(?:remove|hide|neither|nor)(?: the)?"
    r"|不要(?:定位|标|框|画|显示|分割|圈)?|(?:别|不用|不必|不想)[看管要]|不[看管](?!清|见|到|出)|去掉|移除|不是|不找|而非|别[标圈框]|不用标|除[了开去]?|不含|不包括|不算)\s*$"
)

_ALL = re.compile(r"\b(?:all|every|everything|anything|others?|organs)\b|所有|全部|其他|其它|别的|什么|器官|脏器|结构")

_PLACES = (
    "behind|besides?|next to|in front of|below|beneath|underneath|under|above|over|near(?:by| to)?|adjacent to|deep to"
    "|superficial to|lateral to|medial to|anterior to|posterior to|superior to|inferior to|cranial to|caudal to"
    "|alongside|around|surrounding|(?<!or )right of|(?<!or )left of|close by"
)
_OWN = "(?:the|a|an|his|her|my|this|that|both|these|two|left|right) "
_BESIDE = re.compile(rf"(?:\b(?:{_PLACES}) |\bbetween |\b(?:tell|distinguish|differentiate|separate)\b.* from )(?:{_OWN})*$")
_BETWEEN = re.compile(rf"\bbetween (?:{_OWN})*$")
_AND_LEFT_OUT = re.compile(rf" ?(?:,? ?(?:and|or|nor)?|[、和与及,，或]) ?(?:{_OWN})*")
_AND = re.compile(rf" and (?:{_OWN})*")
_BESIDE_ZH = re.compile(
    "的?(?:[后前下上旁]面|[后前下上]方|[后前下上旁]边|旁|周围|四周|附近|之间|中间|外侧|内侧|深面|隔壁)(?!还是|[吗么])"
)
_PART_OF = re.compile(rf"{MARK} (?:of|in|within|inside) (?:{_OWN})*{MARK}")
_BOTH = re.compile(r"\b(?:both|bilateral|two|each)\b|双|两|各")
_SIDES = {"left": "right", "right": "left"}
_SIDE_WORDS = {
    "left": re.compile(r"(?<![a-z])left(?![a-z])|左"),
    "right": re.compile(r"(?<!^)(?<![a-z])right(?![a-z])|右"),
}
_OTHER_SIDE = re.compile(r"\b(?:right|left)(?: one| side)?\b|[左右]")


def words_of(text: str) -> str:
    """Return a text without its punctuation."""
    return " ".join(_NO_WORD.sub(" ", text).split())


@dataclass(frozen=True)
class Named:
    """A text with its names. `masked` has marks in their place; `unknown` are those that no label has."""

    masked: str
    names: list[BilingualName]
    generic: list[Generic]
    unknown: tuple[str, ...]
    has_unknown_finding: bool


def named(plain: str, terminology: Terminology, modality: Modality | None) -> Named:
    """Find the names in a plain text; a generic word needs the modality."""
    without_label = terminology.names_without_label(plain)
    plain, unknown = without_unknown_names(terminology.without_unknown(plain), terminology.spans)
    unknown += [name for name in without_label if not (may_be_finding(name) or has("enlarged", name))]
    plain = _without_described(plain, terminology)
    text_of_names, wholes = generic_words(plain, modality, terminology.spans)
    names = terminology.find(text_of_names)
    masked = terminology.mask(text_of_names)
    nouns = as_nouns(masked)
    names += [name for name in terminology.find(nouns) if name not in names]
    names = _each_of_joint(names, terminology, modality)
    sites = _sites_in_compounds(text_of_names, terminology)
    names = [name for name in names if name not in sites]
    masked, generic = generic_words(terminology.mask(nouns), modality)
    generic = [] if _UNKNOWN_SITE.search(masked) else [*wholes, *generic]
    is_finding_unknown = any(map(may_be_finding, unknown))
    return Named(masked.replace(UNKNOWN, MARK), names, generic, tuple(dict.fromkeys(unknown)), is_finding_unknown)


def _each_of_joint(names: list[BilingualName], terminology: Terminology, modality: Modality | None) -> list[BilingualName]:
    """Return both labels for one of two, "left ventricle and left atrium", where such images had each of them, too."""
    by_english = {label[0]: label for label in terminology.labels}
    each: dict[BilingualName, None] = {}
    for name in names:
        parts = [by_english[part] for part in name[0].split(" and ") if part in by_english]
        is_of_two = len(parts) == 2 and (modality is None or all(is_known(modality, part) for part, _ in parts))
        each |= dict.fromkeys(parts if is_of_two else [name])
    return list(each)


def _sites_in_compounds(text: str, terminology: Terminology) -> list[BilingualName]:
    """Return the structures that stand right before a finding: the ribs of "pneumothorax or rib fracture"."""
    spans = terminology.spans(text)
    found = [terminology.find(text[start:end]) for start, end in spans]
    sites: list[BilingualName] = []
    for (_, end), (start, _), first, second in zip(spans, spans[1:], found, found[1:], strict=False):
        is_site = not any(is_finding(name[0]) for name in first) and all(is_finding(name[0]) for name in second)
        sites += first if is_site and not text[end:start].strip() else []
    return [name for name in sites if sum(name in each for each in found) == 1]


def _without_described(text: str, terminology: Terminology) -> str:
    """Remove the names that only tell what image it is, "this eye photo", where others are left."""
    spans = terminology.spans(text)
    described = [(start, end) for start, end in spans if has("described", text, start=end + text.startswith(" ", end))]
    rest = text
    for start, end in reversed(described):
        rest = rest[:start] + " " + rest[end:]
    return rest if len(described) < len(spans) or generic_words(rest, None)[1] else text


_AGAINST = re.compile(
    rf"{MARK}.*\b(?:compared (?:with|to)|(?:larg|bigg|small|wid|long)er than)\b.*{MARK}"
    rf"|\b(?:larger|bigger|smaller|wider|longer)\b.*{MARK},? or (?:the )?{MARK}|{MARK}[和与跟比]{MARK}(?:哪|[大小])"
)


def composed(
    names: list[BilingualName],
    generic: Sequence[Generic],
    plain: str,
    said: str,
    by_english: Mapping[str, BilingualName],
    modality: Modality | None,
) -> list[BilingualName]:
    """Join an organ and a generic word to labels: "a lesion in the liver" is the liver lesion.

    Of several labels those count that such images had in the training data.
    """
    is_of_two = has("distance", said) or _AGAINST.search(said) is not None
    if not generic or is_of_two or (len(names) < 2 and CONJOINED.search(said) and not SITE.search(said)):
        return names
    structures = [without_side(name[0]) for name in names if not is_finding(name[0])]
    if len(structures) < len(names):
        return names
    labels = [label for one in generic for label in site_labels(one.key, structures, plain) if label in by_english]
    labels = [label for label in labels if modality is None or is_known(modality, label)] or labels
    return [by_english[label] for label in dict.fromkeys(labels)] or names


def unplaced(generic: Sequence[Generic], structures: Sequence[BilingualName], plain: str) -> tuple[str, ...]:
    """Return the words for findings that no label has where they are asked for: fluid, in a kidney that may have stones."""
    sites = [without_side(name[0]) for name in structures]
    return tuple(one.word for one in generic if is_finding_word(one.key) and not site_labels(one.key, sites, plain))


def without_sites(names: list[BilingualName], said: str, masked: str) -> list[BilingualName]:
    """Leave out where a finding is, "cavities in these teeth", and the lungs of "the lower lobes of both lungs"."""
    findings = [name for name in names if is_finding(name[0])]
    if findings and len(findings) < len(names) and (has("which_has", said) or _LINKED.search(masked)):
        return findings
    if len(names) == len(findings) == 2 and _PART_OF.search(said):
        return names[:1]
    lobes = [name for name in names if "lobe" in name[0]]
    if findings and len(findings) < len(names) and _COMPOUND.search(said) and not CONJOINED.search(said):
        return findings
    if findings and has("count", said) and _WITH.search(said):
        return findings  # "how many teeth with caries"
    if not SITE.search(said):
        are_of_lungs = lobes and all(name in lobes or name[0] in _LUNGS for name in names)
        return lobes if are_of_lungs and not CONJOINED.search(said) else names
    return findings or lobes or names


_LUNGS = ("left lung", "right lung")
_WHOLES = ("brain", "hemispheres", "spine", "lung fields")  # keys of generic words that only tell where the others are


def without_wholes(generic: list[Generic], names: Sequence[BilingualName]) -> list[Generic]:
    """Leave out "brain" and the like beside other words for something: "the left hemisphere of the brain"."""
    for key in _WHOLES:
        if names or len(generic) > 1:
            generic = [one for one in generic if one.key != key]
    return generic


_LISTS = re.compile(r",? (?:and|or|plus|&) (?:of |the |any |all )*|、|[和与及跟](?:所有)?")
# A label -> the end of the labels of its kinds.
_KINDS_OF = {"vertebra": (" vertebra",), "tooth": (" tooth", "molar", "incisor")}


def without_wider(names: list[BilingualName], text: str, terminology: Terminology) -> list[BilingualName]:
    """Leave out "vertebra" beside "L3 vertebra", "tooth" beside "molar", and "trachea" beside "trachea and main bronchi".

    One of a list stays: "the teeth and the molars".
    """
    labels = {english for english, _ in names}
    if labels & _KINDS_OF.keys():
        spans = terminology.spans(text)
        for (start, end), (after, _) in zip(spans, spans[1:], strict=False):
            if _LISTS.fullmatch(text[end:after]):
                labels -= {name[0] for name in terminology.find(text[start:end])}
    wider = {
        one for one in labels & _KINDS_OF.keys() if any(each != one and each.endswith(_KINDS_OF[one]) for each in labels)
    }
    parts = {part for label in labels if " and " in label for part in label.split(" and ")}
    return [name for name in names if name[0] not in wider | parts]


def without_context(text: str, terminology: Terminology) -> str:
    """Remove the names that only tell which one is meant: "the spleen, not the liver", "the esophagus behind the trachea".

    One name or generic word at least stays.
    """
    text = _without_excluded_words(text, terminology)
    spans = terminology.spans(text)
    left = len(spans) + len(generic_words(terminology.mask(text), None)[1])
    left += len(without_unknown_names(text, terminology.spans)[1])  # "the macula, but not the optic disc"
    is_measured = has("distance", terminology.mask(text)) or has("compare", terminology.mask(text))
    removed: list[tuple[int, int]] = []
    negated: int | None = None  # the end of the name before, if that is left out
    for place, (start, end) in enumerate(spans):
        before, after = text[:start], text[end:]
        is_first = place == 0 and not any(one.key != "effusion" for one in generic_words(before, None)[1])
        is_beside = bool(_BESIDE.search(before)) and not is_first or bool(len(spans) > 1 and _BESIDE_ZH.match(after))
        is_second = bool(removed) and removed[-1][1] == spans[place - 1][1] and _is_second_between(text, removed[-1], start)
        negation = _NEGATION.search(before)
        if negation is None and negated is not None and _AND_LEFT_OUT.fullmatch(text[negated:start]):
            negation = re.search("$", text[:start])  # "except the liver and the spleen"
        is_left_out = _LEFT_OUT_ZH.match(after) is not None
        is_all_but = negation is not None and _ALL.search(f"{before} {after}") is not None
        if (left > 1 or is_all_but) and (negation or is_left_out or (not is_measured and (is_beside or is_second))):
            removed.append((negation.start() if negation else start, end))
            left -= 1
            negated = end if negation or is_left_out else None
    for start, end in reversed(removed):
        text = f"{text[:start]} {_OUTSIDE_ZH.sub('', text[end:])}"
    return text


_AROUND = re.compile(rf"\b(?:box|circle|ring|line|rectangle|contour|outline|mask|draw|frame|square) around (?:{_OWN})*$")


def _without_excluded_words(text: str, terminology: Terminology) -> str:
    """Remove the generic words that a text leaves out, "but not the tumour", where another name or word stays."""
    words = [one.word for one in generic_words(terminology.mask(text), None)[1]]
    for word in words:
        for match in re.finditer(rf"(?<![a-z]){re.escape(word)}(?![a-z])" if word.isascii() else re.escape(word), text):
            negation = _NEGATION.search(text[: match.start()])
            rest = f"{text[: negation.start()] if negation else ''} {text[match.end() :]}"
            is_asked = text[: match.start()].rstrip().endswith(("是不是", "不是不"))
            if negation and not is_asked and (terminology.spans(rest) or generic_words(rest, None)[1]):
                text = rest
                break
    return text


def near_another(text: str, names: Sequence[BilingualName], terminology: Terminology) -> str:
    """Return where a plain text says that its names are, near another one: "below the L5 vertebra". Empty without one."""
    for start, end in terminology.spans(text):
        if any(name in names for name in terminology.find(text[start:end])):
            continue
        if (before := _BESIDE.search(text[:start])) and not _AROUND.search(text[:start]):
            return text[before.start() : end].strip()
        if after := _BESIDE_ZH.match(text[end:]):
            return text[start : end + after.end()].strip()
    return ""


_LEFT_OUT_ZH = re.compile("(?:就)?(?:不用|不要|不必|别)(?:再)?[标圈框画勾看管]|除外|不要(?=[，,。；;]|$)")
_OUTSIDE_ZH = re.compile("^(?:以外|之外|外)(?:的|，|,)?")


_ONLY_LEFT_OUT = re.compile(
    r"^\W*(?:please |pls |and |but |just |show (?:it|them) )*"
    r"(?:don ?['’]?t|do not|remove|hide|exclud(?:e|ing)|skip|ignor(?:e|ing)|not|without|except(?: for)?)"
    rf"(?: (?:show|mark|locate|segment|box|draw))?(?: me)?(?: the| a| any| my)?(?: ?(?:and |, ?)?(?:the )?{MARK})+\W*$"
    rf"|^\W*(?:除了?|不包括|不包含|不含|不算|不是)(?:[、和与及]?{MARK})+(?:以外|之外|外)?的?\W*$"
    rf"|^\W*(?:请|麻烦)?(?:别|不要|不用|不必|去掉|移除|我?不想(?:知道|看)?)(?:再)?"
    rf"(?:定位|标出?|框出?|画出?|显示|分割|圈出?|看|管|找)?{MARK}(?:在哪[里儿]?)?\W*$"
)


def only_leaves_out(text: str, terminology: Terminology) -> bool:
    """Whether a text only names what is not wanted: "don't mark the liver", "去掉肝脏"."""
    return _ONLY_LEFT_OUT.search(terminology.mask(text.casefold())) is not None


def excluded(text: str, terminology: Terminology) -> list[BilingualName]:
    """Return the names that a text leaves out of all: "everything except the liver"."""
    plain = without_homonyms(text.casefold())
    left = terminology.find(without_context(plain, terminology))
    return [name for name in terminology.find(plain) if name not in left]


def _is_second_between(text: str, first: tuple[int, int], start: int) -> bool:
    """Whether a name at `start` is the second of two: "between the liver and the spleen"."""
    return bool(_BETWEEN.search(text[: first[0]]) and _AND.fullmatch(text[first[1] : start]))


def of_one_side(names: Sequence[BilingualName], text: str) -> tuple[BilingualName, ...]:
    """Of pairs, the side that stands beside them: "the frontal lobe on the right". A label of the other side only goes."""
    sides = {side for side, words in _SIDE_WORDS.items() if words.search(text)}
    if len(sides) != 1 or _BOTH.search(text):
        return tuple(names)
    side = sides.pop()
    paired = {without_side(name[0]) for name in names if name[0].startswith(f"{side} ")}  # "right ventricle and myocardium"
    return tuple(name for name in names if not (name[0].startswith(f"{_SIDES[side]} ") and without_side(name[0]) in paired))


def without_side(label: str) -> str:
    """Return an English label without its side."""
    return label.removeprefix("left ").removeprefix("right ")


def is_one_and_pair(names: Sequence[BilingualName]) -> bool:
    """Whether the names are one, and both of a pair: "how far is the spleen from the kidney?"."""
    sided = [english for english, _ in names if english != without_side(english)]
    return len(names) == 3 and len(sided) == 2 and len(set(map(without_side, sided))) == 1


def without_sides(names: Sequence[BilingualName]) -> tuple[BilingualName, ...]:
    """What is asked for, without the paired organs that a question about the side names: "is it in the left lung?"."""
    single = tuple(name for name in names if not name[0].startswith(("left ", "right ")))
    return single or tuple(names)


def with_other_side(
    names: Sequence[BilingualName], masked: str, by_english: Mapping[str, BilingualName], kind: Kind
) -> tuple[BilingualName, ...]:
    """Add the other side of a name that is compared alone, or where a side stands alone: "as far as the right one"."""
    if len(names) == 1 and (kind is Kind.COMPARE or _OTHER_SIDE.search(masked)):
        side, _, base = names[0][0].partition(" ")
        if other := by_english.get(f"{_SIDES.get(side, '')} {base}"):
            return (names[0], other)
    return tuple(names)
