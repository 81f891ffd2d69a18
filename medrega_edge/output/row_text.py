"""A row of a batch -> lines of text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medrega_edge.domain import Language
from medrega_edge.i18n.message import Message


def row_lines(name: str | None, row: dict[str, Any]) -> Iterator[str]:
    """The answer of a row with its regions and warnings, one a line, in the language of the answer."""
    language = Language(row["language"])
    yield Message("output.labelled", label=name or "", value=row["text"]).text(language)
    for number, region in enumerate(row["regions"], 1):
        score = "" if region["confidence"] is None else f"  {region['confidence']:.2f}"
        score += " ?" if region["best_guess"] else ""
        yield f"  [{number}] {region['label']}  {', '.join(f'{value:.0f}' for value in region['box'])}{score}"
    for warning in row["warning_details"]:
        yield f"  {Message('output.warning', warning=Message.from_dict(warning)).text(language)}"
