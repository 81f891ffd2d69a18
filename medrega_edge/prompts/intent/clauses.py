"""The clause of a question that asks: "fell off a bike, any fracture?" tells a history before it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent.naming import named, words_of
from medrega_edge.prompts.intent.phrases import has, without_fillers
from medrega_edge.vocabulary.generic_words import MARK, is_finding_word
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.states import asks_if_normal
from medrega_edge.vocabulary.terminology import Terminology

_CLAUSE = re.compile(r"(?:[^;:!?。；：！？，.,()（）\n-]|[.,:](?=\d)|(?<=\S)-|-(?=\S))+[^\w\0\s]?")

_PRONOUN = re.compile(r"\b(?:it|them|that one)\b|它|[把将给]其")
_WHICH_ONE = re.compile(r"which (?:one )?(?:is|lies|sits)\b|哪一?个")
_POINTS = re.compile(r"\b(?:it|this|that)\b|^\W*那?(?:是不是|是否|是)")
_WHICH_ZH = re.compile("哪[个颗些几节根块]")
_WHETHER_ZH = re.compile("([\u3400-\u9fff])不\\1")
_WHAT = re.compile(r"\W*what(?: is| are| ?'?s)\b")  # "what's the abnormality?"
_SIDE = re.compile(  # of a finding; a history has those of limbs
    r"\b(?:left|right)\b(?![- ](?:sided|arm|leg|face|hemi|eye|hand|foot|knee|shoulder|hip))"
    r"|[左右](?![侧边]?(?:的?[手脚腿臂肢]|上肢|下肢|半身))"
)

_REQUEST = re.compile(r"\b(?:please|pls|look|check|identify|show|find|locate|mark)\b|请|看看|看一?下|麻烦")
_GOES_ON = re.compile(
    rf"^(?:and |the |a |an |以及|还有|[和及与、])*{MARK}(?: (?:and|or|plus|&) |$|[和与及、]|[\u3400-\u9fff]{{0,2}}$)"
)

_LEFT_OUT = re.compile(
    r"\b(?:don'?t|do not|not) (?:show|mark|locate|segment|box|highlight|draw|include)\b"
    r"|^\W*(?:如果|要是|若)不是|^\W*if (?:it|this)(?: is|'s| s)? ?n(?:o|')?t\b|\bbut not\b|\bexcept\b"
    r"|\bwithout\b|除外|除了|不含|不包括|不要|不用[标圈框画勾]|别[标圈框画勾]"
)


def asking_clause(plain: str, terminology: Terminology, modality: Modality | None) -> str:
    """Return the clause that asks, with those that only name, where the others tell a history; else the whole text."""
    clauses = [clause for clause in _CLAUSE.findall(plain) if re.search(r"\w", clause)]
    is_report = has("report_strong", plain) and has("with_boxes", plain)  # "a report, and ring what you mention"
    if len(clauses) < 2 or is_report or _LEFT_OUT.search(plain):
        return plain
    read = [_Clause.read(clause, terminology, modality) for clause in clauses]
    asking = [clause for clause in read if clause.asks and clause.is_named] or [
        clause for clause in read if clause.is_bare_question
    ]
    nameless = [clause for clause in read if clause.asks_without_name and not clause.is_named]
    points_back = any(_PRONOUN.search(clause.text) or has("with_boxes", clause.said) for clause in nameless)
    if points_back and any(clause.is_named for clause in read):
        return plain  # "the esophagus behind the trachea, mark it"
    asks_by_name = any(clause.is_named and clause.is_asked for clause in read)
    if not (asking or asks_by_name) and len(nameless) == 1 and not nameless[0].text.endswith(":"):
        rest = [clause for clause in read if clause is not nameless[0]]
        offers = any(has("class_words", clause.text) for clause in rest)  # "classify: nevus, melanoma"
        says_more = any(without_fillers(clause.said) for clause in rest)
        if says_more and not (offers or any(clause.adds or clause.is_asked for clause in rest)):
            return nameless[0].text
    if len(asking) != 1:
        return plain
    one = asking[0]
    others = [clause for clause in read if clause is not one]
    if not (one.has_finding or one.asks_strongly) and any(
        other.has_finding and not _STAGED.search(other.text) for other in others
    ):
        return plain  # "nodules: any in the lungs?"
    if any(_SIDE.search(other.text) for other in others) and not _SIDE.search(one.text):
        return plain
    later = read[read.index(one) + 1 :]
    if any(other.asks_strongly and (other in later or not other.is_named) for other in others) or any(
        has("why", other.said) for other in others
    ):
        return plain
    if any(other.is_named and (_REQUEST.search(other.text) or (other in later and other.goes_on)) for other in others):
        return plain  # "where is the spleen, and have a look at the stomach"
    asks_anew = one.has_finding and not one.asks_strongly  # "any effusion?", unlike "show me those spots"
    named = [other for other in others if other.is_named and not tells_history(other.text)]
    if _POINTS.search(one.text) and not one.is_explicit and any(other.is_explicit and other.has_finding for other in named):
        return plain  # "a lump on the kidney, is it cancer?"
    if not one.is_explicit and any(not (asks_anew and other.has_finding) for other in named):
        return plain
    if any(
        not other.is_named and other.is_asked and (has("compare", other.said) or _WHICH_ONE.match(other.text.strip()))
        for other in others
    ):
        return plain  # "left kidney against right kidney: which is higher?"
    told = {place + 1 for place, clause in enumerate(read) if _HISTORY_FOLLOWS.match(clause.text)}
    asked = [
        clause
        for place, clause in enumerate(read)
        if clause is one or not (without_fillers(clause.said) or place in told or _HISTORY.search(clause.text))
    ]
    return " ".join(clause.text for clause in asked) if len(asked) < len(read) else plain


_HISTORY_FOLLOWS = re.compile(
    r"^\W*(?:hx|pmhx?|dx|history|known|background|past medical history|病史|既往史?|主诉|诊断)\W*$"
)
_STAGED = re.compile(r"\b(?:stage|grade|type) (?:\d|[iv]+)\b")  # "chronic kidney disease stage 4"
_HISTORY = re.compile(
    r"\b(?:hx|pmhx?|history|known|previous(?:ly)?|prior|patients?|pt|with|had|died|post|s/p)\b|病史|既往|患者|病人|术后|确诊|报告[说上写]"
    r"|\bno [a-z ]{2,20} (?:suspected|reported|known|expected)\b|\b(?:stage|grade) (?:\d|[iv]+)\b"
    r"|(?:scopy|scan|ct|mri|x-?ray|ultrasound|smear|biopsy|examination|imaging) (?:done |performed )?for\b"
    r"|没力|[无乏]力|麻木|呕吐|咳嗽|发[烧热]|头[晕疼痛]|摔[了倒跤到]|撞[了到]"
)


def tells_history(clause: str) -> bool:
    """Whether a clause has a word for what was before, or for a patient: "known TB"."""
    return _HISTORY.search(clause) is not None


@dataclass(frozen=True)
class _Clause:
    text: str
    said: str
    is_named: bool
    is_explicit: bool
    has_finding: bool

    @classmethod
    def read(cls, text: str, terminology: Terminology, modality: Modality | None) -> _Clause:
        found = named(text, terminology, modality)
        said = words_of(found.masked)
        findings = any(is_finding(name[0]) for name in found.names) or any(is_finding_word(one.key) for one in found.generic)
        return cls(text, said, MARK in found.masked, bool(found.names), findings)

    @property
    def is_asked(self) -> bool:
        """Whether it ends in a question mark."""
        return self.text.rstrip()[-1:] in "?\uff1f"

    @property
    def is_bare(self) -> bool:
        """Whether it is no more than names."""
        return self.is_named and not without_fillers(self.said)

    @property
    def is_bare_question(self) -> bool:
        return self.is_bare and self.is_asked

    @property
    def goes_on(self) -> bool:
        """Whether it is one more of a list of names: "locate the pancreas, duodenum and the mesenteric artery"."""
        return _GOES_ON.match(self.said) is not None and not tells_history(self.text)

    @property
    def asks_strongly(self) -> bool:
        return any(has(kind, self.said) for kind in ("measure", "count", "side", "compare", "distance", "locate"))

    @property
    def asks(self) -> bool:
        is_question = has("question", self.said) or self.is_asked or _WHETHER_ZH.search(self.said) is not None
        is_of_state = self.is_named and has("state", self.said) and (is_question or asks_if_normal(self.text))
        asks_for_it = has("presence_strong", self.said) or (is_question and has("presence", self.said))
        is_what = (self.is_asked and _WHAT.match(self.text)) or _WHICH_ZH.search(self.text)
        asks_what = self.is_named and is_what is not None
        return self.asks_strongly or asks_for_it or is_of_state or asks_what

    @property
    def adds(self) -> bool:
        """Whether it belongs to a question that stands in another clause."""
        return self.is_bare or self.asks or has("with_boxes", self.said)

    @property
    def asks_without_name(self) -> bool:
        kinds = ("report_strong", "organs", "kind_of_image", "body_part", "classify", "identify", "answer")
        return any(has(kind, self.said) for kind in kinds)
