"""What an English label is: a finding, a device, one of a pair, one of many."""

from __future__ import annotations

import re

from medrega_edge.vocabulary.wording_table import table


def homonym(label: str, modality: str | None) -> list[str]:
    """Return the English labels that a label means in a kind of image that has no such thing: a gland, in mammography."""
    labels: list[str] = table()["homonyms"].get(label, {}).get(modality or "", [])
    return labels


def is_finding(label: str) -> bool:
    """Whether an English label is something that should not be there: a lesion, not a structure."""
    return any(word in label.casefold() for word in table()["finding_words"])


def wider_label(label: str, modality: str | None = None) -> str | None:
    """Return the English label that a structure has together with others, in a kind of image; None for most."""
    wider: dict[str, str] = table()["wider"]
    in_kind: dict[str, str] = table()["wider_in"].get(modality or "", {})
    return wider.get(label) or in_kind.get(label)


def is_of_midline(label: str) -> bool:
    """Whether an English label is a structure of the middle of the body, which a view from the side shows on no side."""
    return any(f" {word}" in f" {label.casefold()}" for word in table()["midline_words"])


def is_of_many(label: str) -> bool:
    """Whether images that show a label, by its English name, had three boxes of it or more in the training data's mean."""
    return label in table()["of_many"]


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
    return any(word in label.casefold() for word in table()["device_words"])
