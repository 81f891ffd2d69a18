"""The names that a package can locate, for a person or a program that looks for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medrega_edge.domain import Language, Modality, language_of
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import understand
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.terminology import BilingualName, Terminology, term_of
from medrega_edge.vocabulary.typos import corrected, nearest
from medrega_edge.vocabulary.usual_labels import usual


def find_labels(
    terminology: Terminology, word: str | None, modality: Modality | None = None, part: str | None = None
) -> Sequence[BilingualName]:
    """Return the labels that a word names, stands for or is a part of; without a word, what such images usually show.

    Raises UsageError where there is none.
    """
    if word is None:
        return usual(terminology.labels, modality, part)
    labels = [label for label in terminology.labels if terminology.can_show(modality, label[0])]
    named = understand(word, terminology, modality).names
    plain, _ = corrected(simplified(word).strip(), frozenset(terminology.words))
    found = [label for label in labels if label in named or any(plain in name.casefold() for name in label)]
    if not found:
        column = language_of(word) is Language.ZH
        near = nearest(plain, [label[column] for label in labels])
        if near:
            raise UsageError("task.unknown_name", word=word, near=near)
        raise UsageError("task.unknown_name_only", word=word)
    return found


def label_data(label: BilingualName, terminology: Terminology) -> dict[str, Any]:
    """Return a label as JSON: its names, its SNOMED CT code, and the modalities that can show it (none: all)."""
    term = term_of(label[0])
    code, kinds = term.snomed if term else None, terminology.modalities_of(label[0])
    return {"en": label[0], "zh": label[1], "snomed": code, "kinds": list(kinds)}
