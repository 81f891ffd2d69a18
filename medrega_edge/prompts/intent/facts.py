"""What is known of a question before its kind is: its words, with names as marks, and what its names are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medrega_edge.prompts.intent.phrases import has, pattern, without_fillers
from medrega_edge.vocabulary.generic_words import MARK
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.terminology import BilingualName


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
        return self.has("enlarged") or self.has_whole("enlarged") or _IS_LARGE_ZH.search(self.said) is not None

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
